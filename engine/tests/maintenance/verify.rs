use std::path::Path;
use std::sync::Arc;

use kodiak::core::storage::Storage;
use kodiak::{ErrorKind, MemoryStorage};

use super::common::*;

fn filled(storage: &Arc<MemoryStorage>) {
    let db = open(storage, "/db");
    fill(&db);
    let report = db.verify().expect("verify while open");
    assert!(report.is_clean(), "{report}");
    assert!(
        report.tables == 2 && report.runs >= 4 && report.entries > 100 && report.log_batches > 0,
        "{report}"
    );
    db.close().expect("close");
}

#[test]
fn a_sound_database_has_no_problems() {
    for format in ["feather", "parquet", "orc", "row"] {
        let storage = Arc::new(MemoryStorage::new());
        let mut settings = small();
        settings.format.kind = format.to_owned();
        let builder = || kodiak::Builder::new(settings.clone()).storage(storage.clone());
        let db = builder().open("/db").expect("open");
        fill(&db);
        let report = db.verify().expect("verify while open");
        assert!(report.is_clean(), "{format}: {report}");
        db.close().expect("close");
        let report = builder().verify("/db").expect("verify");
        assert!(
            report.is_clean() && report.runs >= 4 && report.blocks > 4,
            "{format}: {report}"
        );
        assert!(report.to_string().ends_with("no problems"), "{report}");
    }
}

#[test]
fn an_open_or_missing_database_is_not_verified_from_outside() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    assert_eq!(
        builder(&storage).verify("/db").expect_err("open").kind(),
        ErrorKind::Locked
    );
    assert_eq!(
        builder(&storage).verify("/nowhere").expect_err("missing").kind(),
        ErrorKind::NotFound
    );
    storage.create_dir_all(Path::new("/notes")).expect("a directory");
    let file = storage.create(Path::new("/notes/today")).expect("a file");
    file.finish(false).expect("written");
    let error = builder(&storage).verify("/notes").expect_err("no database");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let names = storage.list(Path::new("/notes")).expect("names");
    assert_eq!(names, ["today"], "nothing is changed, no lock made");
    drop(db);
}

#[test]
fn every_damaged_file_is_named_and_damage_does_not_end_the_reading() {
    let storage = Arc::new(MemoryStorage::new());
    filled(&storage);
    let mut damaged = Vec::new();
    for table in ["/db/tables/000001", "/db/tables/000002"] {
        damaged.extend(table_files(&*storage, table, ".feather"));
    }
    damaged.push(table_files(&*storage, "/db/tables/000001", ".meta").remove(0));
    damaged.push(Path::new("/db/tables/000002/TABLE").to_owned());
    assert!(damaged.len() >= 5);
    for path in &damaged {
        flip(&*storage, path, storage.len(path).expect("len").expect("there") / 2);
    }
    let report = builder(&storage).verify("/db").expect("verify");
    for path in &damaged {
        let named = report.problems.iter().find(|problem| problem.file() == Some(path));
        let problem = named.unwrap_or_else(|| panic!("{} is not named: {report}", path.display()));
        assert_eq!(problem.kind(), ErrorKind::Corruption, "{problem}");
        assert!(
            problem.offset().is_some() || path.extension().is_none_or(|ending| ending == "meta"),
            "{problem}"
        );
    }
}

#[test]
fn every_flipped_byte_of_a_run_is_seen() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    let table = db.create_table("t", kodiak::TableSchema::key_value()).expect("create");
    (0..40u32).for_each(|key| table.put(key.to_be_bytes(), [key as u8; 20]).expect("put"));
    table
        .delete_range([0u8, 0, 0, 5]..[0u8, 0, 0, 9])
        .expect("delete_range");
    db.close().expect("close");
    open(&storage, "/db").flush().expect("flush");
    let sidecar = table_files(&*storage, "/db/tables/000001", ".meta").remove(0);
    let data = table_files(&*storage, "/db/tables/000001", ".feather").remove(0);
    let blocks = kodiak::inspect::sidecar(&*storage, &sidecar).expect("sidecar").blocks;
    assert!(blocks.len() > 1);
    for path in [&sidecar, &data] {
        // What is outside the blocks of a data file is for other programs, and has bytes that mean nothing.
        let in_block = |offset: u64| {
            blocks
                .iter()
                .any(|block| (block.offset..block.offset + block.bytes).contains(&offset))
        };
        let len = storage.len(path).expect("len").expect("there");
        for offset in (0..len)
            .step_by(7)
            .filter(|&offset| *path == sidecar || in_block(offset))
        {
            flip(&*storage, path, offset);
            let report = builder(&storage).verify("/db").expect("verify");
            assert!(!report.is_clean(), "{} at {offset}: {report}", path.display());
            flip(&*storage, path, offset);
        }
    }
    // A footer that other programs could not read the file by.
    let len = storage.len(&data).expect("len").expect("there");
    flip(&*storage, &data, len - 3);
    assert!(!builder(&storage).verify("/db").expect("verify").is_clean());
    flip(&*storage, &data, len - 3);
    assert!(builder(&storage).verify("/db").expect("verify").is_clean());
    // Nor one that readers of the stream could not: the first message, as long as it is, the name of a column in it, and the end.
    let bytes = storage.open(&data).expect("open").read(0, len as usize).expect("read");
    let name = bytes.windows(5).position(|bytes| bytes == b"value").expect("a column") as u64;
    let footer = i32::from_le_bytes(bytes[bytes.len() - 10..bytes.len() - 6].try_into().expect("a length"));
    let end = len - 10 - footer as u64 - 8;
    for (offset, what) in [
        (9, "message"),
        (12, "message"),
        (name, "column"),
        (end, "stream"),
        (end + 4, "stream"),
    ] {
        flip(&*storage, &data, offset);
        let report = builder(&storage).verify("/db").expect("verify");
        let told = report.problems.iter().any(|problem| problem.message().contains(what));
        assert!(told && report.problems.len() == 1, "at {offset}: {report}");
        flip(&*storage, &data, offset);
    }
    assert!(builder(&storage).verify("/db").expect("verify").is_clean());
}

#[test]
fn missing_files_and_manifests_are_problems_and_the_rest_is_still_read() {
    let storage = Arc::new(MemoryStorage::new());
    filled(&storage);
    let run = table_files(&*storage, "/db/tables/000001", ".feather").remove(0);
    storage.remove(&run).expect("remove");
    let report = builder(&storage).verify("/db").expect("verify");
    assert!(
        report.problems.iter().any(|problem| problem.file() == Some(&run)),
        "{report}"
    );
    storage.remove(Path::new("/db/CURRENT")).expect("remove");
    let report = builder(&storage).verify("/db").expect("verify");
    assert!(
        report
            .problems
            .iter()
            .any(|problem| problem.file() == Some(Path::new("/db/CURRENT"))),
        "{report}"
    );
    assert!(
        report.problems.iter().any(|problem| problem.file() == Some(&run)),
        "{report}"
    );
    assert!(report.entries > 50, "{report}");
}

#[test]
fn a_run_of_another_table_is_noticed() {
    let storage = Arc::new(MemoryStorage::new());
    filled(&storage);
    let one = table_files(&*storage, "/db/tables/000001", ".meta").remove(0);
    let two = table_files(&*storage, "/db/tables/000002", ".meta").remove(0);
    storage.remove(&one).expect("remove");
    storage.hard_link(&two, &one).expect("link");
    let report = builder(&storage).verify("/db").expect("verify");
    let about_table = |problem: &&kodiak::Error| problem.file() == Some(&one) && problem.message().contains("table");
    assert!(report.problems.iter().any(|problem| about_table(&problem)), "{report}");
}

#[test]
fn damage_in_the_log_is_a_problem_and_a_torn_end_is_none() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    let table = db.create_table("t", kodiak::TableSchema::key_value()).expect("create");
    for key in 0..200u32 {
        table.put(key.to_be_bytes(), [1; 100]).expect("put");
        db.sync().expect("sync");
    }
    db.close().expect("close");
    let log = table_files(&*storage, "/db/wal", ".wal").remove(0);
    flip(&*storage, &log, 5000);
    let report = builder(&storage).verify("/db").expect("verify");
    assert!(
        report
            .problems
            .iter()
            .any(|problem| problem.file() == Some(&log) && problem.offset().is_some()),
        "{report}"
    );
}

#[test]
fn an_open_database_is_told_that_its_log_lacks_its_end() {
    let last = |storage: &MemoryStorage, from: usize| {
        let mut segments = storage.list(Path::new("/db/wal")).expect("list");
        segments.sort();
        segments.split_off(from)
    };
    type Damage = fn(&MemoryStorage, &Path);
    let remove: Damage = |storage, path| storage.remove(path).expect("remove");
    let cut: Damage = |storage, path| truncate(storage, path, 5000);
    let empty: Damage = |storage, path| truncate(storage, path, 0);
    for kind in ["mapped", "segment"] {
        for (what, from, damage) in [
            ("removed", 1, remove),
            ("cut", 1, cut),
            ("emptied", 1, empty),
            ("all", 0, remove),
        ] {
            let what = format!("{kind}, {what}");
            let storage = Arc::new(MemoryStorage::new());
            let mut settings = small();
            settings.memtable.size = 1 << 20;
            kind.clone_into(&mut settings.wal.kind);
            let open = || {
                let builder = kodiak::Builder::new(settings.clone());
                builder.storage(storage.clone()).open("/db").expect(&what)
            };
            let db = open();
            let table = db.create_table("t", kodiak::TableSchema::key_value()).expect("create");
            for key in 0..1000u32 {
                table.put(key.to_be_bytes(), [0; 100]).expect("put");
            }
            let found = db.verify().expect("verify");
            assert!(found.is_clean() && found.log_batches == 1000, "{what}: {found}");
            let segments = last(&storage, from);
            assert!(segments.len() > 1, "{what}: {segments:?}");
            // The first of them that is damaged and the ones after it: no later one tells that something is missing.
            for (at, segment) in segments.iter().enumerate() {
                let path = Path::new("/db/wal").join(segment);
                if at == 0 {
                    damage(&storage, &path)
                } else {
                    storage.remove(&path).expect("remove")
                }
            }
            let found = db.verify().expect("verify");
            let told = |problem: &kodiak::Error| problem.file().is_some_and(|file| file.starts_with("/db/wal"));
            assert!(found.problems.iter().any(told), "{what}: {found}");
            // What is in runs needs no log.
            db.flush().expect("flush");
            let found = db.verify().expect("verify");
            assert!(!found.problems.iter().any(told), "{what}: {found}");
            drop((table, db));
            assert_eq!(contents(&open())["t"].len(), 1000, "{what}");
        }
    }
}

#[test]
fn verification_beside_writers_finds_nothing_wrong_with_the_log() {
    for kind in ["mapped", "segment"] {
        let storage = Arc::new(MemoryStorage::new());
        let mut settings = small();
        settings.memtable.size = 1 << 20;
        kind.clone_into(&mut settings.wal.kind);
        let builder = kodiak::Builder::new(settings).storage(storage);
        let db = builder.open("/db").expect("open");
        let table = db.create_table("t", kodiak::TableSchema::key_value()).expect("create");
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for writer in 0..3u32 {
                let (table, done) = (&table, &done);
                scope.spawn(move || {
                    for key in (0u32..).take_while(|_| !done.load(std::sync::atomic::Ordering::Relaxed)) {
                        let key = [writer, key % 5000].map(u32::to_be_bytes).concat();
                        table.put(key, [0; 100]).expect("put");
                    }
                });
            }
            let problems: Vec<_> = (0..20).flat_map(|_| db.verify().expect("verify").problems).collect();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(problems.is_empty(), "{kind}: {problems:?}");
        });
    }
}
