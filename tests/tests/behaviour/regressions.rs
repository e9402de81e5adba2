//! Bugs that the metamorphic tests have found, each by itself.

use std::sync::Arc;

use kodiak::core::options::OptionValue;
use kodiak::{Builder, Db, SyncMode, TableSchema};
use kodiak_storage::{CrashOptions, FaultStorage};
use kodiak_tests::factors::small;

fn open(storage: &FaultStorage, wal: &str, sync: SyncMode) -> Db {
    let mut settings = small();
    settings.wal.kind = wal.to_owned();
    settings.wal.sync = sync;
    Builder::new(settings)
        .storage(Arc::new(storage.clone()))
        .open("/db")
        .expect("open")
}

/// Fills the memtable of a table until it has been flushed by itself.
fn fill(db: &Db, name: &str) {
    let table = db.table(name).expect("table");
    (0..40u8).for_each(|key| table.put([key], [key; 4000]).expect("put"));
    db.wait_idle().expect("idle");
}

/// Segments were counted from the oldest that was needed. With no log on disk to count on from, new ones got numbers below the
/// mark up to which a table was flushed, and its next flush was refused.
#[test]
fn without_a_log_flushes_go_on_after_a_kill() {
    let storage = FaultStorage::with_seed(1);
    let db = open(&storage, "none", SyncMode::Normal);
    let idle = db.create_table("idle", TableSchema::key_value()).expect("create");
    idle.put(b"k", b"v").expect("put");
    db.create_table("busy", TableSchema::key_value()).expect("create");
    fill(&db, "busy");
    fill(&db, "busy");
    let storage = storage.kill_image();
    let db = open(&storage, "none", SyncMode::Normal);
    db.table("busy").expect("table").put(b"after", b"v").expect("put");
    db.flush().expect("a flush after the kill");
    let storage = storage.kill_image();
    let db = open(&storage, "segment", SyncMode::Normal);
    assert!(db.table("busy").expect("table").get(b"after").expect("get").is_some());
}

/// The flush of one table was on disk before what had been written to another one earlier: a power loss left the later write
/// without the earlier, and one half of a batch.
#[test]
fn a_power_loss_after_a_flush_leaves_no_hole_in_other_tables() {
    for wal in ["mapped", "segment"] {
        for sync in [SyncMode::None, SyncMode::Normal] {
            let storage = FaultStorage::with_seed(1);
            let db = open(&storage, wal, sync);
            let quiet = db.create_table("quiet", TableSchema::key_value()).expect("create");
            let busy = db.create_table("busy", TableSchema::key_value()).expect("create");
            let mut batch = db.batch();
            batch.put(&quiet, b"half", b"v").put(&busy, b"other half", b"v");
            db.write(batch).expect("write");
            fill(&db, "busy");
            let db = open(&storage.crash_image(&CrashOptions::SYNCED_ONLY), wal, sync);
            let has = |name: &str, key: &[u8]| db.table(name).expect("table").get(key).expect("get").is_some();
            assert!(has("busy", b"other half"), "{wal} {sync:?}: the flush is on disk");
            assert!(has("quiet", b"half"), "{wal} {sync:?}: and so is what came before it");
        }
    }
}

/// A compaction that ran while its table was dropped failed, and the next flush or wait reported that as its own failure.
#[test]
fn dropping_a_table_that_is_being_compacted_troubles_nobody() {
    let storage = FaultStorage::with_seed(1);
    let db = open(&storage, "mapped", SyncMode::Normal);
    let stays = db.create_table("stays", TableSchema::key_value()).expect("create");
    for round in 0..20u8 {
        let goes = db.create_table("goes", TableSchema::key_value()).expect("create");
        for key in 0..120u8 {
            goes.put([key], [round; 4000]).expect("put");
        }
        db.drop_table("goes").expect("drop");
        stays.put([round], b"v").expect("put");
        db.flush().expect("flush");
        db.wait_idle().expect("idle");
    }
    assert_eq!(stays.scan(..).expect("scan").count(), 20);
}

/// As above, by an ingestion into a table that has nothing in memory.
#[test]
fn a_power_loss_after_an_ingestion_leaves_no_hole_in_other_tables() {
    for wal in ["mapped", "segment"] {
        for sync in [SyncMode::None, SyncMode::Normal] {
            let storage = FaultStorage::with_seed(1);
            let db = open(&storage, wal, sync);
            let quiet = db.create_table("quiet", TableSchema::key_value()).expect("create");
            let loaded = db.create_table("loaded", TableSchema::key_value()).expect("create");
            quiet.put(b"before", b"v").expect("put");
            loaded.ingest([Ok((b"after", b"v"))]).expect("ingest");
            let db = open(&storage.crash_image(&CrashOptions::SYNCED_ONLY), wal, sync);
            let has = |name: &str, key: &[u8]| db.table(name).expect("table").get(key).expect("get").is_some();
            assert!(has("loaded", b"after"), "{wal} {sync:?}: what was ingested is on disk");
            assert!(has("quiet", b"before"), "{wal} {sync:?}: and so is what came before it");
        }
    }
}

/// Size-tiered compaction may pass over the newest run and merge those behind it, from several levels. The result was taken
/// for newer than the one passed over, so that old values came back.
#[test]
fn a_merge_behind_a_newer_run_stays_behind_it() {
    let mut settings = small();
    settings.compaction.preset = "tiered".to_owned();
    settings.compaction.levels = 3;
    let options = [("max_size_amplification".to_owned(), OptionValue::Int(800))];
    settings.compaction.options = options.into();
    let db = Builder::new(settings)
        .storage(Arc::new(FaultStorage::with_seed(1)))
        .open("/db")
        .expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    table.put(b"key", [1; 10_000]).expect("put");
    db.compact().expect("compact");
    table.put(b"small", b"1").expect("put");
    db.flush().expect("flush");
    table.put(b"large", [1; 40_000]).expect("put");
    table.put(b"key", b"old").expect("put");
    db.flush().expect("flush");
    table.put(b"key", b"new").expect("put");
    db.flush().expect("flush");
    db.wait_idle().expect("idle");
    assert!(db.stats().compactions.jobs > 1, "nothing was merged: {}", db.stats());
    assert_eq!(table.get(b"key").expect("get").as_deref(), Some(&b"new"[..]));
}

/// Snapshots keep versions of a key, and a block ends between two of them. A scan that had passed over plain rows up to the end of
/// the block took the older version for another key.
#[test]
fn a_scan_gives_a_key_once_though_a_block_ends_between_its_versions() {
    for format in ["feather", "row"] {
        let mut settings = small();
        settings.format.kind = format.to_owned();
        settings.format.block_size = Some(1 << 10);
        let db = Builder::new(settings)
            .storage(Arc::new(FaultStorage::with_seed(1)))
            .open("/db")
            .expect("open");
        for before in 0..40u8 {
            let table = db
                .create_table(&format!("{before}"), TableSchema::key_value())
                .expect("create");
            for key in 0..before {
                table.put([b'a', key], [1; 60]).expect("put");
            }
            let mut snapshots = Vec::new();
            for version in 0..30u8 {
                table.put(b"key", [version; 60]).expect("put");
                snapshots.push(db.snapshot());
            }
            table.put(b"key", [99; 60]).expect("put");
            db.flush().expect("flush");
            let rows: Vec<_> = table.scan(..).expect("scan").map(|row| row.expect("a row")).collect();
            assert_eq!(rows.len(), usize::from(before) + 1, "{format}, {before} keys before");
            let (key, value) = &rows[usize::from(before)];
            assert_eq!(
                (&**key, &**value),
                (&b"key"[..], &[99; 60][..]),
                "{format}, {before} keys before"
            );
        }
    }
}
