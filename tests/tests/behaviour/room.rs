//! What bounds memtables and the log when there are many tables, or one that is hardly written to.

use std::sync::Arc;

use kodiak::{Builder, Db, MemoryStorage, Settings, Table, TableSchema};
use kodiak_tests::factors::small;

fn open(storage: &Arc<MemoryStorage>, settings: &Settings) -> Db {
    let builder = Builder::new(settings.clone()).storage(storage.clone());
    builder.open("/db").expect("open")
}

fn table(db: &Db, name: &str) -> Table {
    db.table_or_create(name, TableSchema::key_value()).expect("a table")
}

#[test]
fn many_tables_share_the_memory_of_memtables() {
    let mut settings = small();
    settings.memtable.size = 1 << 20;
    settings.limits.max_immutable_memtables = 2;
    let db = open(&Arc::new(MemoryStorage::new()), &settings);
    let tables: Vec<Table> = (0..20).map(|number| table(&db, &format!("t{number}"))).collect();
    let used = || tables.iter().map(|table| table.stats().memtable_bytes).sum::<u64>();
    let empty = used();
    // By 64 KiB each may grow before anybody looks.
    let most = settings.memtable_budget() + empty + 20 * (64 << 10);
    let mut written = 0;
    for number in 0..6000u32 {
        for table in &tables {
            table.put(number.to_be_bytes(), [number as u8; 100]).expect("put");
            written += 104;
        }
        assert!(used() <= most, "{} bytes after {written}", used());
    }
    assert!(written > 2 * most, "{written} bytes do not tell");
    for table in &tables {
        assert_eq!(table.scan(..).expect("scan").count(), 6000);
    }
}

#[test]
fn a_table_that_is_hardly_written_to_does_not_keep_the_log() {
    let mut settings = small();
    settings.wal.segment_size = 64 << 10;
    settings.wal.max_size = Some(512 << 10);
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, &settings);
    let (idle, busy) = (table(&db, "idle"), table(&db, "busy"));
    idle.put("key", "value").expect("put");
    let mut most = 0;
    for number in 0..60_000u32 {
        busy.put(number.to_be_bytes(), [7; 100]).expect("put");
        if number % 1000 == 0 {
            db.wait_idle().expect("idle");
            most = most.max(db.stats().wal.segments);
        }
    }
    assert!((8..=24).contains(&most), "{most} segments, for 512 KiB");
    assert_eq!(idle.stats().memtable_entries, 0);
    assert_eq!(idle.get("key").expect("get").as_deref(), Some(&b"value"[..]));
    drop((idle, busy, db));
    let db = open(&storage, &settings);
    assert_eq!(
        table(&db, "idle").get("key").expect("get").as_deref(),
        Some(&b"value"[..])
    );
    assert_eq!(table(&db, "busy").scan(..).expect("scan").count(), 60_000);
}

#[test]
fn short_openings_do_not_leave_a_run_each() {
    let storage = Arc::new(MemoryStorage::new());
    let settings = small();
    for number in 0..60u32 {
        let db = open(&storage, &settings);
        table(&db, "t").put(number.to_be_bytes(), "value").expect("put");
        db.close().expect("close");
    }
    let db = open(&storage, &settings);
    db.wait_idle().expect("idle");
    let stats = db.stats();
    let runs: usize = stats.tables[0].levels.iter().map(|level| level.runs).sum();
    assert!(runs <= 20, "{runs} runs");
    assert!(stats.wal.segments <= 8, "{} segments", stats.wal.segments);
    assert_eq!(table(&db, "t").scan(..).expect("scan").count(), 60);
}

#[test]
fn a_batch_that_fills_a_memtable_is_replayed_as_a_whole() {
    let storage = Arc::new(MemoryStorage::new());
    let settings = small();
    let db = open(&storage, &settings);
    let t = table(&db, "t");
    let mut batch = db.batch();
    batch
        .put(&t, "large", vec![7; 60 << 10])
        .put(&t, "larger", vec![8; 60 << 10]);
    batch.put(&t, "small", "value").put(&t, "smaller", "value");
    t.put("before", "value").expect("put");
    db.write(batch).expect("written");
    drop((t, db));
    let db = open(&storage, &settings);
    db.wait_idle().expect("idle");
    let stats = table(&db, "t").stats();
    assert_eq!(stats.memtable_entries, 0, "half of a batch is in a run: {stats:?}");
    assert_eq!(table(&db, "t").scan(..).expect("scan").count(), 5);
}
