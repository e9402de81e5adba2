//! Copies and verification by databases that are open for reading only, beside a writer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kodiak::core::storage::Storage;
use kodiak::maintenance::BackupDir;
use kodiak::{Builder, Db, ErrorKind, LocalStorage, MemoryStorage, Settings};
use kodiak_storage::{Fault, FaultPlan, FaultRule, FaultStorage};

use super::common::*;

fn read(storage: &Arc<impl Storage + 'static>, settings: &Settings, dir: &str) -> Db {
    let builder = Builder::new(settings.clone()).storage(Arc::clone(storage) as Arc<dyn Storage>);
    builder.read_only().open(dir).expect("open for reading")
}

/// Settings that keep something else beside runs, or keep them in another way.
fn various() -> Vec<Settings> {
    let mut all = vec![small()];
    for (changes, vectors) in [
        (
            &[
                "index.primary=bplus",
                "index.catalogue=bplus",
                "index.catalogue_changes=1",
            ][..],
            true,
        ),
        (
            &["index.primary=fractal", "format.kind=parquet", "wal.kind=segment"],
            false,
        ),
        (
            &["memtable.kind=vector", "format.kind=row", "compaction.preset=tiered"],
            false,
        ),
    ] {
        let mut settings = small();
        for change in changes {
            let (path, value) = change.split_once('=').expect("a change");
            settings.set(path, value).expect("a setting");
        }
        settings.index.deletion_vectors = vectors;
        all.push(settings);
    }
    all
}

/// Takes everything away, so that no file stays that was there before.
fn empty(db: &Db) {
    for name in db.tables() {
        let table = db.table(&name).expect("table");
        table.delete_range(b"".as_slice()..b"\xFF".as_slice()).expect("delete");
    }
    db.compact().expect("compact");
    db.wait_idle().expect("idle");
    let stats = db.stats();
    let mut levels = stats.tables.iter().flat_map(|table| &table.levels);
    assert!(levels.all(|level| level.runs == 0), "{stats}");
}

/// A reader's copies are what it read, although the writer has removed all files since; they need nothing of the original.
fn check_copies(storage: &Arc<impl Storage + 'static>, root: &str, settings: &Settings) {
    let path = |name: &str| format!("{root}/{name}");
    let builder = || Builder::new(settings.clone()).storage(Arc::clone(storage) as Arc<dyn Storage>);
    let db = builder().open(path("db")).expect("open");
    fill(&db);
    db.wait_idle().expect("idle");
    let whole = contents(&db);
    let reader = read(storage, settings, &path("db"));
    let tables = path("db/tables/000001");
    let before = table_files(&**storage, &tables, "");
    reader.checkpoint(path("early")).expect("while the files are there");
    assert_eq!(
        table_files(&**storage, &tables, ""),
        before,
        "the original is as it was"
    );
    empty(&db);
    assert!(
        table_files(&**storage, &tables, ".meta").is_empty(),
        "nothing is left of the files"
    );
    let report = reader.verify().expect("verify");
    assert!(
        report.is_clean() && report.runs_only && report.runs >= 4 && report.entries > 100,
        "{report}"
    );
    reader.checkpoint(path("late")).expect("when the files are gone");
    let backed_up = reader.backup(path("backups")).expect("backup");
    let again = reader.backup(path("backups")).expect("backup");
    assert!(
        again.copied < backed_up.copied && again.bytes == backed_up.bytes,
        "{again:?}, {backed_up:?}"
    );
    db.close().expect("close");
    storage.remove_dir_all(Path::new(&path("db"))).expect("remove");
    let backups = BackupDir::open(Arc::clone(storage) as Arc<dyn Storage>, path("backups")).expect("backups");
    for info in [backed_up, again] {
        assert!(backups.verify(info.id).expect("verify").is_empty());
        backups
            .restore(info.id, path(&format!("restored{}", info.id)))
            .expect("restore");
    }
    assert_eq!(
        storage.list(Path::new(&path("backups"))).expect("list"),
        ["LOCK", "backups", "runs"]
    );
    for copy in ["early", "late", "restored1", "restored2"] {
        let closed = builder().verify(path(copy)).expect("verify");
        assert!(closed.is_clean(), "{copy}: {closed}");
        for round in 0..2 {
            let db = builder().existing().open(path(copy)).expect("open");
            assert_eq!(contents(&db), whole, "{copy}, round {round}");
            assert!(db.verify().expect("verify").is_clean(), "{copy}, round {round}");
            db.table("users").expect("table").put("anew", "1").expect("put");
            db.compact().expect("compact");
            db.table("users").expect("table").delete("anew").expect("delete");
        }
    }
}

#[test]
fn what_a_reader_copies_is_what_it_read() {
    for settings in various() {
        check_copies(&Arc::new(MemoryStorage::new()), "", &settings);
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().to_str().expect("a name");
        check_copies(&Arc::new(LocalStorage::new()), root, &settings);
    }
}

#[test]
fn a_reader_without_a_writer_leaves_the_database_as_it_is() {
    let storage = Arc::new(FaultStorage::new());
    let db = open(&storage, "/db");
    fill(&db);
    let whole = contents(&db);
    db.close().expect("close");
    let before = storage.mutations();
    let reader = read(&storage, &small(), "/db");
    assert!(reader.verify().expect("verify").is_clean());
    assert_eq!(storage.mutations(), before);
    reader.checkpoint("/copy").expect("checkpoint");
    reader.backup("/backups").expect("backup");
    reader.clone().close().expect("close");
    for closed in [reader.checkpoint("/other").err(), reader.verify().err()] {
        assert_eq!(closed.expect("closed").kind(), ErrorKind::Unavailable);
    }
    assert_eq!(contents(&open(&storage, "/copy")), whole);
    assert_eq!(contents(&open(&storage, "/db")), whole);
}

#[test]
fn a_copy_by_a_reader_that_fails_leaves_nothing_and_harms_nothing() {
    let storage = Arc::new(FaultStorage::new());
    let db = open(&storage, "/db");
    fill(&db);
    db.wait_idle().expect("idle");
    let whole = contents(&db);
    let mut failed = 0;
    for nth in 1..60 {
        let reader = read(&storage, &small(), "/db");
        storage.set_plan(FaultRule::nth_of_any(nth, Fault::Enospc).on_path("/copy"));
        let made = reader.checkpoint("/copy");
        storage.set_plan(FaultRule::nth_of_any(nth, Fault::Enospc).on_path("/backups"));
        let backed_up = reader.backup("/backups");
        storage.set_plan(FaultPlan::none());
        failed += u32::from(made.is_err()) + u32::from(backed_up.is_err());
        if made.is_err() {
            let left = storage.list(Path::new("/copy")).map(|names| names.len());
            assert_eq!(left.unwrap_or(0), 0, "operation {nth}");
            reader.checkpoint("/copy").expect("the second time");
        }
        let info = backed_up
            .or_else(|_| reader.backup("/backups"))
            .expect("the second time");
        let names = storage.list(Path::new("/backups")).expect("list");
        assert_eq!(names, ["LOCK", "backups", "runs"], "operation {nth}");
        let backups = BackupDir::open(storage.clone() as _, "/backups").expect("backups");
        backups.restore(info.id, "/restored").expect("restore");
        for copy in ["/copy", "/restored"] {
            assert_eq!(contents(&open(&storage, copy)), whole, "operation {nth}: {copy}");
            storage.remove_dir_all(Path::new(copy)).expect("remove");
        }
    }
    assert!(failed > 60, "{failed}");
    assert_eq!(contents(&db), whole);
    assert!(db.verify().expect("verify").is_clean());
}

#[test]
fn a_reader_tells_damage_from_files_that_the_writer_has_removed() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    fill(&db);
    db.flush().expect("flush");
    db.wait_idle().expect("idle");
    // It can hold no more than a few of the runs.
    let mut few = small();
    few.limits.max_open_files = 8;
    let table = db.table("users").expect("table");
    for round in 0..12u32 {
        for key in 0..200u32 {
            table.put(format!("{key:05}-{round}"), [7; 2000]).expect("put");
        }
    }
    db.compact().expect("compact");
    let reader = read(&storage, &few, "/db");
    let runs = db
        .stats()
        .tables
        .iter()
        .flat_map(|table| &table.levels)
        .map(|level| level.runs)
        .sum::<usize>();
    assert!(runs > 10, "{runs}");
    let file = table_files(&*storage, "/db/tables/000001", ".feather").remove(2);
    let middle = storage.len(&file).expect("len").expect("there") / 2;
    flip(&*storage, &file, middle);
    let report = reader.verify().expect("verify");
    assert_eq!(report.runs, runs as u64);
    assert!(!report.is_clean());
    assert!(
        report.problems.iter().all(|problem| problem.file() == Some(&*file)),
        "{report}"
    );
    flip(&*storage, &file, middle);
    assert!(reader.verify().expect("verify").is_clean());
    empty(&db);
    let report = reader.verify().expect("verify");
    assert!(
        report.is_clean() && report.runs > 0 && report.runs < runs as u64,
        "{report}"
    );
    let error = reader.checkpoint("/copy").expect_err("not all is held");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(storage.list(Path::new("/copy")).is_err(), "nothing is left of it");
}

#[test]
fn copies_beside_a_busy_writer_hold_all_that_was_acknowledged_and_no_half_of_a_batch() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("a name").to_owned();
    let storage = Arc::new(LocalStorage::new());
    let db = open(&storage, &path("db"));
    let copies = beside_a_writer(&db, |acknowledged| {
        let copy = |number: u64| {
            let at_least = acknowledged.load(Ordering::Acquire);
            let reader = builder(&storage).read_only().open(path("db"))?;
            let name = path(&format!("copy{number}"));
            match number % 2 {
                0 => reader.checkpoint(&name)?,
                _ => {
                    let id = reader.backup(path("backups"))?.id;
                    kodiak::maintenance::backups(path("backups"))?.restore(id, &name)?;
                }
            }
            Ok((name, at_least))
        };
        (0..6).map(copy).collect::<kodiak::Result<Vec<(String, u64)>>>()
    });
    for (name, at_least) in copies.expect("copies") {
        let count = batches_in(&name, &open(&storage, &name));
        assert!(count >= at_least, "{name} holds {count} of {at_least}");
    }
}
