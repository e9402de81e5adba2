//! Tables with a primary index: gets ask it once, and answer as they would without, whatever happens to index and runs.

#[path = "maintenance/common.rs"]
#[allow(dead_code, reason = "shared with the tests of maintenance")]
mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{Contents, contents, crash_everywhere, fill, flip, small, table_files};
use kodiak::core::storage::Storage;
use kodiak::maintenance::BackupDir;
use kodiak::{Builder, Db, MemoryStorage, Settings, Table, TableOptions, TableSchema};

const KINDS: [&str; 2] = ["bplus", "fractal"];

/// Small databases, with the smallest nodes and pool.
fn settings(kind: &str) -> Settings {
    let mut settings = small();
    kind.clone_into(&mut settings.index.primary);
    settings.index.pool = 1 << 20;
    let sizes: &[(&str, u64)] = match kind {
        "bplus" => &[("page_size", 4 << 10)],
        "fractal" => &[("node_size", 16 << 10), ("basement_size", 4 << 10)],
        _ => &[],
    };
    for (name, size) in sizes {
        let value = kodiak::core::options::OptionValue::Int(*size);
        settings.index.options.insert((*name).to_owned(), value);
    }
    // Runs gather on level 0.
    settings
        .compaction
        .options
        .insert("l0_trigger".to_owned(), kodiak::core::options::OptionValue::Int(100));
    (settings.backpressure.l0_slowdown, settings.backpressure.l0_stop) = (100, 200);
    settings
}

fn builder(storage: &Arc<impl Storage + 'static>, kind: &str) -> Builder {
    Builder::new(settings(kind)).storage(Arc::clone(storage) as Arc<dyn Storage>)
}

fn open(storage: &Arc<impl Storage + 'static>, kind: &str) -> Db {
    builder(storage, kind).open("/db").expect("open")
}

fn index_files(storage: &dyn Storage) -> Vec<std::path::PathBuf> {
    table_files(storage, "/db/tables/000001", ".index")
}

fn table(db: &Db) -> Table {
    db.table_or_create("t", TableSchema::key_value()).expect("table")
}

fn key(number: u32) -> String {
    format!("key{number:05}")
}

/// Runs that all have the same keys, with one value each.
fn overlapping_runs(table: &Table, db: &Db, runs: u32) {
    for run in 0..runs {
        for number in 0..200 {
            table
                .put(key(number), format!("value {number} of run {run}"))
                .expect("put");
        }
        db.flush().expect("flush");
    }
}

/// The number of runs that `work` has searched.
fn searched(db: &Db, work: impl FnOnce()) -> u64 {
    let before = db.stats().reads.runs;
    work();
    db.stats().reads.runs - before
}

fn check_sound(db: &Db) {
    let report = db.verify().expect("verify");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.indexes, report.tables, "not every table has an index");
}

#[test]
fn a_get_searches_one_run_or_none_however_many_there_are() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, kind);
        let table = table(&db);
        overlapping_runs(&table, &db, 12);
        table.delete(key(7)).expect("delete");
        db.flush().expect("flush");
        assert_eq!(db.stats().tables[0].levels[0].runs, 13);
        let found = searched(&db, || {
            let value = table.get(key(5)).expect("get");
            assert_eq!(value.as_deref(), Some(&b"value 5 of run 11"[..]));
        });
        assert_eq!(found, 1, "{kind}");
        let absent = searched(&db, || {
            assert!(table.get("key00005x").expect("get").is_none());
            assert!(table.get(key(7)).expect("get").is_none());
        });
        assert_eq!(absent, 0, "{kind}");
        check_sound(&db);
    }
}

#[test]
fn older_snapshots_see_what_they_saw() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, kind);
        let table = table(&db);
        table.put("a", "1").expect("put");
        table.put("gone", "1").expect("put");
        let first = db.snapshot();
        db.flush().expect("flush");
        table.put("a", "2").expect("put");
        table.delete_range("g".."h").expect("delete_range");
        let second = db.snapshot();
        db.flush().expect("flush");
        table.delete("a").expect("delete");
        table.put("new", "3").expect("put");
        db.flush().expect("flush");
        let see = || {
            let at = |snapshot, key: &str| table.get_at(snapshot, key).expect("get").map(|value| value.to_vec());
            assert_eq!(at(&first, "a").as_deref(), Some(&b"1"[..]), "{kind}");
            assert_eq!(at(&first, "gone").as_deref(), Some(&b"1"[..]), "{kind}");
            assert_eq!(at(&first, "new"), None, "{kind}");
            assert_eq!(at(&second, "a").as_deref(), Some(&b"2"[..]), "{kind}");
            assert_eq!(at(&second, "gone"), None, "{kind}");
            assert!(table.get("a").expect("get").is_none(), "{kind}");
            assert_eq!(table.get("new").expect("get").as_deref(), Some(&b"3"[..]), "{kind}");
        };
        see();
        db.compact().expect("compact");
        see();
        check_sound(&db);
    }
}

#[test]
fn a_version_that_a_compaction_drops_leaves_the_index() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, kind);
        let table = table(&db);
        overlapping_runs(&table, &db, 2);
        let snapshot = db.snapshot();
        // The newest version of `key00003` is dropped, an older one is kept for the snapshot.
        table.put(key(3), "short-lived").expect("put");
        table.delete_range(key(0)..key(100)).expect("delete_range");
        table.delete(key(150)).expect("delete");
        db.flush().expect("flush");
        db.compact().expect("compact");
        assert!(table.get(key(3)).expect("get").is_none());
        assert!(table.get(key(150)).expect("get").is_none());
        let value = table.get_at(&snapshot, key(3)).expect("get");
        assert_eq!(value.as_deref(), Some(&b"value 3 of run 1"[..]), "{kind}");
        check_sound(&db);
        drop(snapshot);
        db.compact().expect("compact");
        check_sound(&db);
        // Nothing is left of what was deleted: `verify` would tell of a key that is in the index only.
        table.delete_range("a".."z").expect("delete_range");
        db.compact().expect("compact");
        assert_eq!(
            db.stats().tables[0]
                .levels
                .iter()
                .map(|level| level.runs)
                .sum::<usize>(),
            0
        );
        check_sound(&db);
        assert!(table.get(key(120)).expect("get").is_none());
    }
}

#[test]
fn operands_and_expired_versions_read_as_without_an_index() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, kind);
        let options = TableOptions::new().merge_operator("counter");
        let counts = db
            .create_table_with("counts", TableSchema::key_value(), options)
            .expect("create");
        let options = TableOptions::new().ttl(Duration::from_millis(50));
        let brief = db
            .create_table_with("brief", TableSchema::key_value(), options)
            .expect("create");
        for round in 1..5i64 {
            counts.merge("n", round.to_le_bytes()).expect("merge");
            db.flush().expect("flush");
            assert_eq!(
                counts.get("n").expect("get").as_deref(),
                Some(&(1..=round).sum::<i64>().to_le_bytes()[..]),
                "{kind}"
            );
        }
        counts.merge("n", 100i64.to_le_bytes()).expect("merge");
        assert_eq!(
            counts.get("n").expect("get").as_deref(),
            Some(&110i64.to_le_bytes()[..]),
            "{kind}"
        );
        storage.freeze_clock(1_000_000);
        brief.put("k", "v").expect("put");
        db.flush().expect("flush");
        storage.jump_clock(20_000);
        assert!(brief.get("k").expect("get").is_some(), "{kind}");
        storage.jump_clock(60_000);
        assert!(brief.get("k").expect("get").is_none(), "{kind}");
        db.compact().expect("compact");
        assert!(brief.get("k").expect("get").is_none(), "{kind}");
        check_sound(&db);
    }
}

#[test]
fn keys_that_are_too_long_for_an_index_are_found() {
    let long = |last: u8| [vec![b'k'; 20 << 10], vec![last]].concat();
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, kind);
        let table = table(&db);
        for last in 0..3 {
            table.put(long(last), [last]).expect("put");
            table.put([b'a' + last], [last]).expect("put");
            db.flush().expect("flush");
        }
        table.delete(long(1)).expect("delete");
        db.compact().expect("compact");
        assert_eq!(table.get(long(2)).expect("get").as_deref(), Some(&[2][..]), "{kind}");
        assert!(table.get(long(1)).expect("get").is_none(), "{kind}");
        assert_eq!(table.get("b").expect("get").as_deref(), Some(&[1][..]), "{kind}");
        check_sound(&db);
    }
}

#[test]
fn an_index_comes_and_goes_with_the_setting() {
    let storage = Arc::new(MemoryStorage::new());
    let mut kept: Option<Contents> = None;
    for kind in ["fence", "bplus", "bplus", "fractal", "fence", "fractal", "fence"] {
        let db = open(&storage, kind);
        match &kept {
            None => {
                fill(&db);
                kept = Some(contents(&db));
            }
            Some(kept) => assert!(contents(&db) == *kept, "{kind}"),
        }
        db.flush().expect("flush");
        if kind != "fence" {
            check_sound(&db);
            assert!(db.stats().to_string().contains(&format!("primary index: {kind}")));
        }
        assert_eq!(index_files(&*storage).len(), usize::from(kind != "fence"), "{kind}");
        db.close().expect("close");
        let report = builder(&storage, kind).verify("/db").expect("verify");
        assert!(report.is_clean(), "{kind}: {report}");
        assert_eq!(report.indexes, if kind == "fence" { 0 } else { 2 });
    }
}

#[test]
fn a_file_that_is_gone_or_damaged_is_built_anew() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, kind);
        fill(&db);
        db.flush().expect("flush");
        let expected = contents(&db);
        db.close().expect("close");
        for damage in 0..3 {
            let files = index_files(&*storage);
            let [file] = files.as_slice() else {
                panic!("{files:?} are not one index file")
            };
            match damage {
                0 => storage.remove(file).expect("remove"),
                1 => (0..2).for_each(|slot| flip(&*storage, file, slot * 4096 + 20)),
                _ => {
                    // A leaf: found by a get, which goes through the runs, and by `verify`.
                    let len = storage.len(file).expect("len").expect("it is there");
                    (2..len / 4096).for_each(|page| flip(&*storage, file, page * 4096 + 100));
                }
            }
            let report = builder(&storage, kind).verify("/db").expect("verify");
            assert!(!report.is_clean(), "{kind}, damage {damage}");
            let db = open(&storage, kind);
            assert!(contents(&db) == expected, "{kind}, damage {damage}");
            let table = db.table("users").expect("table");
            table.put("user0000", "anew").expect("put");
            db.flush().expect("a damaged index is given up");
            assert_eq!(table.get("user0000").expect("get").as_deref(), Some(&b"anew"[..]));
            table
                .put("user0000", &expected["users"][&b"user0000"[..]])
                .expect("put");
            db.compact().expect("compact");
            db.close().expect("close");
            let db = open(&storage, kind);
            check_sound(&db);
            assert!(contents(&db) == expected, "{kind}, damage {damage}");
            db.close().expect("close");
        }
    }
}

#[test]
fn a_database_open_for_reading_goes_without() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "bplus");
    fill(&db);
    let expected = contents(&db);
    db.close().expect("close");
    let db = builder(&storage, "bplus").read_only().open("/db").expect("open");
    assert!(contents(&db) == expected);
}

#[test]
fn copies_and_repaired_databases_have_their_indexes_built() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, kind);
        fill(&db);
        let expected = contents(&db);
        db.checkpoint("/copy").expect("checkpoint");
        let backup = db.backup("/backups").expect("backup");
        db.close().expect("close");
        let backups = BackupDir::open(Arc::clone(&storage) as Arc<dyn Storage>, "/backups").expect("open");
        backups.restore(backup.id, "/restored").expect("restore");
        let report = builder(&storage, kind).repair("/db").expect("repair");
        assert!(report.problems.is_empty() && report.lost.is_empty(), "{report}");
        storage.remove(Path::new("/db/CURRENT")).expect("remove");
        builder(&storage, kind).repair("/db").expect("repair");
        for path in ["/copy", "/restored", "/db"] {
            let db = builder(&storage, kind).open(path).expect("open");
            assert!(contents(&db) == expected, "{kind}, {path}");
            check_sound(&db);
            db.close().expect("close");
        }
    }
}

#[test]
fn ingested_and_moved_runs_are_in_the_index() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, kind);
        let table = table(&db);
        table.put(key(1), "older").expect("put");
        let entries = (0..2000).map(|number| Ok((key(number), format!("ingested {number}"))));
        table.ingest(entries).expect("ingest");
        table.put(key(2), "newer").expect("put");
        check_sound(&db);
        let found = searched(&db, || {
            assert_eq!(table.get(key(1)).expect("get").as_deref(), Some(&b"ingested 1"[..]));
            assert_eq!(table.get(key(2)).expect("get").as_deref(), Some(&b"newer"[..]));
        });
        assert_eq!(found, 1, "{kind}");
        db.compact().expect("compact");
        assert_eq!(table.get(key(1)).expect("get").as_deref(), Some(&b"ingested 1"[..]));
        check_sound(&db);
        db.drop_table("t").expect("drop");
        drop(table);
        db.close().expect("close");
        assert!(
            storage.list(Path::new("/db/tables")).expect("list").is_empty(),
            "{kind}"
        );
    }
}

#[test]
fn a_crash_at_any_moment_leaves_index_and_runs_of_one_state() {
    for kind in KINDS {
        crash_everywhere(
            |storage| {
                let db = open(storage, kind);
                overlapping_runs(&table(&db), &db, 3);
                db
            },
            |db| {
                let table = table(db);
                (0..200)
                    .step_by(3)
                    .for_each(|number| table.put(key(number), "last").expect("put"));
                table.delete_range(key(50)..key(60)).expect("delete_range");
                db.flush().expect("flush");
                db.compact().expect("compact");
                table.put("x", "y").expect("put");
                db.flush().expect("flush");
            },
            |image, nth| {
                let db = open(image, kind);
                check_sound(&db);
                // Compares each get with a scan.
                let entries = &contents(&db)["t"];
                assert!(entries.len() >= 190, "{kind}, crash {nth}: {} entries", entries.len());
                db.close().expect("close");
            },
        );
    }
}
