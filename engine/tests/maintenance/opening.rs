//! What opening does about lost manifests, left-overs and dropped tables, and what a read-only database may not do.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kodiak::core::storage::Storage;
use kodiak::{Builder, ErrorKind, MemoryStorage, TableSchema};

use super::common::*;

fn remove_manifest(storage: &dyn Storage, dir: &str) {
    for name in storage.list(Path::new(dir)).expect("list") {
        if name == "CURRENT" || name.starts_with("MANIFEST") {
            storage.remove(&Path::new(dir).join(name)).expect("remove");
        }
    }
}

#[test]
fn no_database_is_created_over_one_that_lost_its_manifest() {
    for flushed in [false, true] {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, "/db");
        let table = db.create_table("t", TableSchema::key_value()).expect("create");
        table.put(b"key", b"value").expect("put");
        if flushed {
            db.flush().expect("flush");
        }
        db.close().expect("close");
        remove_manifest(&*storage, "/db");
        if flushed {
            storage.remove_dir_all(Path::new("/db/wal")).expect("remove");
        }
        for builder in [
            builder(&storage),
            builder(&storage).existing(),
            builder(&storage).create_new(),
            builder(&storage).read_only(),
        ] {
            let error = builder.open("/db").expect_err("there is data");
            assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
            assert!(
                error.to_string().contains("kodiak repair") && error.file() == Some(Path::new("/db")),
                "{error}"
            );
        }
    }
}

#[test]
fn foreign_files_beside_an_empty_directory_do_not_stop_creation() {
    let storage = Arc::new(MemoryStorage::new());
    storage.create_dir_all(Path::new("/db/tables")).expect("create");
    storage.create_dir_all(Path::new("/db/wal")).expect("create");
    storage
        .create(Path::new("/db/README"))
        .expect("create")
        .finish(true)
        .expect("finish");
    assert!(open(&storage, "/db").tables().is_empty());
}

#[test]
fn a_database_open_for_reading_shows_everything_and_changes_nothing() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    fill(&db);
    let whole = contents(&db);
    // Beside a writer, and after it has gone.
    for closed in [false, true] {
        if closed {
            db.clone().close().expect("close");
        }
        let listing = || {
            let dirs = ["/db", "/db/wal", "/db/tables/000001", "/db/tables/000002"];
            let files = dirs.iter().flat_map(|dir| {
                let names = storage.list(Path::new(dir)).expect("list");
                names.into_iter().map(move |name| Path::new(dir).join(name))
            });
            files
                .map(|file| (storage.len(&file).expect("len"), file))
                .collect::<Vec<_>>()
        };
        let before = listing();
        let reader = builder(&storage).read_only().open("/db").expect("open");
        assert_eq!(contents(&reader), whole);
        let table = reader.table("users").expect("table");
        let refused = [
            table.put(b"k", b"v").expect_err("put"),
            reader.create_table("x", TableSchema::key_value()).expect_err("create"),
            reader.drop_table("users").expect_err("drop"),
            reader.flush().expect_err("flush"),
            reader.compact().expect_err("compact"),
        ];
        assert!(
            refused.iter().all(|error| error.kind() == ErrorKind::Unavailable),
            "{refused:?}"
        );
        reader.close().expect("close");
        assert_eq!(listing(), before);
    }
    let missing = builder(&storage)
        .read_only()
        .open("/nowhere")
        .expect_err("nothing there");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(storage.list(Path::new("/nowhere")).is_err(), "nothing is created");
}

#[test]
fn a_reader_reads_on_when_the_writer_has_removed_its_files() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    fill(&db);
    db.flush().expect("flush");
    let whole = contents(&db);
    let reader = builder(&storage).read_only().open("/db").expect("open");
    for name in db.tables() {
        let table = db.table(&name).expect("table");
        table.delete_range(b"".as_slice()..b"\xFF".as_slice()).expect("delete");
    }
    db.compact().expect("compact");
    assert_eq!(db.stats().disk_bytes(), 0, "nothing is left of the files");
    assert_eq!(contents(&reader), whole);
}

#[test]
fn a_log_that_was_closed_and_lacks_its_end_is_damaged() {
    for kind in ["mapped", "segment"] {
        for keep in [0, 1, 2] {
            let storage = Arc::new(MemoryStorage::new());
            let builder = |recovery: &str| {
                let mut settings = small();
                settings.memtable.size = 1 << 20;
                settings.set("wal.kind", kind).expect("a log");
                settings.set("wal.recovery", recovery).expect("a mode");
                Builder::new(settings).storage(Arc::clone(&storage) as Arc<dyn Storage>)
            };
            let db = builder("point-in-time").open("/db").expect("open");
            let table = db.create_table("t", TableSchema::key_value()).expect("create");
            for key in 0..2000u32 {
                table.put(key.to_be_bytes(), [0; 100]).expect("put");
            }
            drop(table);
            db.close().expect("close");
            let wal = Path::new("/db/wal");
            let mut segments = storage.list(wal).expect("list");
            segments.sort();
            for lost in &segments[keep..] {
                storage.remove(&wal.join(lost)).expect("remove");
            }
            for mode in ["point-in-time", "tolerate-tail", "absolute"] {
                for builder in [builder(mode), builder(mode).read_only()] {
                    let error = builder.open("/db").expect_err("the end is gone");
                    assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
                    assert!(error.to_string().contains("/db/wal"), "{error}");
                }
            }
            let db = builder("skip-corrupt").open("/db").expect("takes what is there");
            let left = db.table("t").expect("table").scan(..).expect("scan").count();
            assert!(left < 2000 && (left > 0) == (keep > 0), "{left} of {keep} segments");
            db.close().expect("close");
            let db = builder("point-in-time").open("/db").expect("told once");
            assert_eq!(db.table("t").expect("table").scan(..).expect("scan").count(), left);
        }
    }
}

#[test]
fn the_directory_of_a_dropped_table_goes_with_its_last_user() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    fill(&db);
    db.flush().expect("flush");
    let table = db.table("users").expect("table");
    let dir = Path::new("/db/tables/000001");
    let scan = table.scan(..).expect("scan");
    db.drop_table("users").expect("drop");
    drop(table);
    db.wait_idle().expect("idle");
    assert!(storage.list(dir).is_ok(), "the scan reads on");
    assert!(scan.count() > 200);
    assert_eq!(storage.list(dir).expect_err("gone").kind(), ErrorKind::NotFound);
    db.close().expect("close");
    let db = open(&storage, "/db");
    assert_eq!(db.tables(), ["counts"]);
}

#[test]
fn left_over_files_are_removed_and_nothing_else() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    fill(&db);
    db.flush().expect("flush");
    let whole = contents(&db);
    db.close().expect("close");
    let left_overs = [
        "/db/tables/000001/0000009999.feather",
        "/db/tables/000001/0000009999.meta",
        "/db/tables/000001/TABLE.new",
        "/db/tables/000001/garbage",
        "/db/tables/000077/0000000001.feather",
        "/db/SETTINGS.toml.new",
    ];
    storage.create_dir_all(Path::new("/db/tables/000077")).expect("create");
    let kept = ["/db/notes", "/db/tables/000001/TABLE"];
    for path in left_overs.iter().chain(&kept[..1]) {
        storage
            .create(Path::new(path))
            .expect("create")
            .finish(true)
            .expect("finish");
    }
    assert_eq!(contents(&open(&storage, "/db")), whole);
    for path in left_overs {
        assert_eq!(storage.len(Path::new(path)).expect("len"), None, "{path}");
    }
    for path in kept {
        assert!(storage.len(Path::new(path)).expect("len").is_some(), "{path}");
    }
    assert!(storage.list(Path::new("/db/tables/000077")).is_err());
}

/// Flushes and compactions replace files all the time, and the log's segments are used again; a reader opens at one moment between
/// all that.
#[test]
fn a_reader_opens_beside_a_busy_writer_and_sees_a_beginning_of_what_it_writes() {
    let mut read = 0;
    for _ in 0..20 {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, "/db");
        let table = db.create_table("t", TableSchema::key_value()).expect("create");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for key in (0..100_000u32).take_while(|_| !done.load(Ordering::Acquire)) {
                    table.put(key.to_be_bytes(), [7; 64]).expect("put");
                }
            });
            for _ in 0..8 {
                let reader = builder(&storage).read_only().open("/db").expect("open");
                let scan = reader.table("t").expect("table").scan(..).expect("scan");
                let keys: kodiak::Result<Vec<_>> = scan.map(|entry| Ok(entry?.0.to_vec())).collect();
                match keys {
                    Ok(keys) => {
                        read += 1;
                        let strange = keys
                            .iter()
                            .zip(0u32..)
                            .find(|(key, number)| key[..] != number.to_be_bytes());
                        assert_eq!(strange, None, "of {} keys", keys.len());
                    }
                    // A run that was merged away while it was read.
                    Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
                }
            }
            done.store(true, Ordering::Release);
        });
    }
    assert!(read > 20, "{read} of 160 were not cut short");
}

#[test]
fn a_database_that_was_never_flushed_does_not_open_without_the_beginning_of_its_log() {
    let storage = Arc::new(MemoryStorage::new());
    let mut settings = small();
    settings.memtable.size = 16 << 20;
    let builder = || Builder::new(settings.clone()).storage(storage.clone());
    let db = builder().open("/db").expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    for key in 0..100u8 {
        table.put([key], [7; 4096]).expect("put");
    }
    db.close().expect("close");
    let mut segments = storage.list(Path::new("/db/wal")).expect("list");
    segments.sort_unstable();
    assert!(segments.len() >= 3, "{segments:?}");
    storage
        .remove(&Path::new("/db/wal").join(&segments[0]))
        .expect("remove");
    for builder in [builder(), builder().read_only()] {
        let error = builder.open("/db").expect_err("entries are missing");
        assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
        assert!(error.to_string().contains(&segments[0]), "{error}");
    }
    let report = builder().verify("/db").expect("verify");
    assert_eq!(report.problems.len(), 1, "{report}");
    builder().repair("/db").expect("repair");
    let left = contents(&builder().open("/db").expect("open"))["t"].len();
    assert!(left > 20 && left < 100, "{left} entries");
}

#[test]
fn a_table_whose_directory_is_missing_is_damage_and_not_a_database_to_be_made() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    fill(&db);
    db.compact().expect("compact");
    let whole = contents(&db);
    db.close().expect("close");
    let dir = Path::new("/db/tables/000001");
    storage.remove_dir_all(dir).expect("remove");
    for builder in [
        builder(&storage),
        builder(&storage).existing(),
        builder(&storage).read_only(),
    ] {
        let error = builder.open("/db").expect_err("a table is missing");
        assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
        assert_eq!(error.file(), Some(dir), "{error}");
        assert!(
            error.message().contains("\"users\"") && error.message().contains("kodiak repair"),
            "{error}"
        );
    }
    let found = builder(&storage).verify("/db").expect("verify");
    assert!(
        found.problems.iter().any(|problem| problem.file() == Some(dir)),
        "{found}"
    );
    let report = repair(&storage);
    assert!(
        report.problems.iter().any(|problem| problem.file() == Some(dir)),
        "{report}"
    );
    assert!(builder(&storage).verify("/db").expect("verify").is_clean());
    let left = contents(&open(&storage, "/db"));
    assert!(left["users"].is_empty());
    assert_eq!(left["counts"], whole["counts"]);
}
