//! What becomes of index files.

use std::path::Path;
use std::sync::Arc;

use kodiak::core::storage::Storage;
use kodiak::maintenance::BackupDir;
use kodiak::{Builder, MemoryStorage};
use kodiak_storage::FaultStorage;

use crate::common::{Contents, contents, crash_everywhere, fill, flip, table_files};
use crate::support::{
    KINDS, builder, check_sound, index_files, key, open, overlapping_runs, searched, settings, table,
};

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
fn a_database_open_for_reading_uses_the_index_and_changes_nothing() {
    for kind in KINDS {
        let storage = Arc::new(FaultStorage::with_seed(1));
        let db = open(&storage, kind);
        fill(&db);
        overlapping_runs(&table(&db), &db, 8);
        table(&db).put(key(7), "in the log").expect("put");
        let expected = contents(&db);
        db.close().expect("close");
        // Whatever the settings say.
        for setting in [kind, "fence"] {
            let before = storage.mutations();
            let mut settings = settings(setting);
            // The defaults of an index that the settings do not name need more.
            settings.index.pool = 64 << 20;
            let reading = Builder::new(settings).storage(Arc::clone(&storage) as Arc<dyn Storage>);
            let db = reading.read_only().open("/db").expect("open");
            let stats = db.stats();
            let kinds = stats
                .tables
                .iter()
                .map(|table| table.index.as_ref().map(|(kind, _)| kind.as_str()));
            assert!(kinds.eq([Some(kind); 3]), "{stats}");
            assert!(contents(&db) == expected, "{kind}");
            let table = db.table("t").expect("table");
            let runs = searched(&db, || assert!(table.get(key(100)).expect("get").is_some()));
            assert_eq!(runs, 1, "{kind}");
            db.close().expect("close");
            assert_eq!(storage.mutations(), before, "{kind}: something was changed");
        }
        // A damaged one is done without.
        for file in index_files(&*storage) {
            (0..2).for_each(|slot| flip(&*storage, &file, slot * 4096 + 20));
        }
        let db = builder(&storage, kind).read_only().open("/db").expect("open");
        assert!(db.stats().tables[0].index.is_none() && contents(&db) == expected);
    }
}

#[test]
fn a_reader_beside_a_writer_goes_through_the_runs_once_pages_are_used_again() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, kind);
        let written = table(&db);
        overlapping_runs(&written, &db, 3);
        let reader = builder(&storage, kind).read_only().open("/db").expect("open");
        assert!(reader.stats().tables[0].index.is_some());
        let read = reader.table("t").expect("table");
        // No run is merged away, but the index is written anew again and again.
        for round in 0..20 {
            for number in 0..200 {
                written.put(key(number), format!("newer {round}")).expect("put");
            }
            db.flush().expect("flush");
            for number in (round % 7..200).step_by(7) {
                let expected = format!("value {number} of run 2");
                let found = read.get(key(number)).expect("get");
                assert_eq!(found.as_deref(), Some(expected.as_bytes()), "{kind}, round {round}");
            }
        }
    }
}

#[test]
fn copies_have_the_indexes_of_their_moment() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, kind);
        fill(&db);
        overlapping_runs(&table(&db), &db, 3);
        let expected = contents(&db);
        db.checkpoint("/copy").expect("checkpoint");
        let first = db.backup("/backups").expect("backup");
        let again = db.backup("/backups").expect("backup");
        assert!(first.copied > 0 && again.copied == 0, "{first:?}, {again:?}");
        table(&db).put(key(1), "later").expect("put");
        let later = db.backup("/backups").expect("backup");
        assert!(later.copied > 0 && later.copied < first.copied, "{later:?}");
        db.close().expect("close");
        let backups = BackupDir::open(Arc::clone(&storage) as Arc<dyn Storage>, "/backups").expect("open");
        backups.delete(first.id).expect("delete");
        assert!(backups.verify(again.id).expect("verify").is_empty());
        backups.restore(again.id, "/restored").expect("restore");
        backups.delete(again.id).expect("delete");
        backups.delete(later.id).expect("delete");
        assert!(storage.list(Path::new("/backups/runs")).expect("list").is_empty());
        for path in ["/copy", "/restored"] {
            let report = builder(&storage, kind).verify(path).expect("verify");
            assert!(report.is_clean() && report.indexes == 3, "{path}: {report}");
            let db = builder(&storage, kind).read_only().open(path).expect("open");
            assert!(db.stats().tables.iter().all(|table| table.index.is_some()), "{path}");
            assert!(contents(&db) == expected, "{kind}, {path}");
            db.close().expect("close");
            // They are gone on with, not built anew.
            let files = table_files(&*storage, &format!("{path}/tables/000003"), ".index");
            let db = builder(&storage, kind).open(path).expect("open");
            overlapping_runs(&table(&db), &db, 1);
            check_sound(&db);
            assert_eq!(
                table_files(&*storage, &format!("{path}/tables/000003"), ".index"),
                files
            );
            db.close().expect("close");
        }
    }
}

#[test]
fn an_index_that_cannot_be_read_is_left_out_of_copies() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "bplus");
    overlapping_runs(&table(&db), &db, 3);
    let expected = contents(&db);
    db.close().expect("close");
    let db = open(&storage, "bplus");
    let file = index_files(&*storage).remove(0);
    let len = storage.len(&file).expect("len").expect("it is there");
    (2..len / 4096).for_each(|page| flip(&*storage, &file, page * 4096 + 100));
    db.checkpoint("/copy").expect("checkpoint");
    db.backup("/backups").expect("backup");
    assert!(table_files(&*storage, "/copy/tables/000001", ".index").is_empty());
    db.close().expect("close");
    let db = builder(&storage, "bplus").open("/copy").expect("open");
    assert!(contents(&db) == expected);
    check_sound(&db);
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
        let tables = report.tables;
        let built = |report: &kodiak::maintenance::RepairReport| {
            assert!(report.indexes == tables && report.indexes_left.is_none(), "{report}");
            assert!(report.to_string().contains("indexes built anew: "), "{report}");
            let manifest = kodiak::manifest::Manifest::read(&*storage, Path::new("/db")).expect("a manifest");
            let indexes = manifest.tables.values().filter_map(|table| table.index.as_ref());
            assert!(
                indexes.filter(|index| index.kind == kind).count() as u64 == tables,
                "{report}"
            );
        };
        built(&report);
        storage.remove(Path::new("/db/CURRENT")).expect("remove");
        // Of the settings of the database, not those of who repairs it.
        built(&builder(&storage, "fence").repair("/db").expect("repair"));
        // Without the file of an index, and with what the manifest says of it.
        for file in index_files(&*storage) {
            storage.remove(&file).expect("remove");
        }
        built(&builder(&storage, "fence").repair("/db").expect("repair"));
        for path in ["/copy", "/restored", "/db"] {
            let db = builder(&storage, kind).open(path).expect("open");
            assert!(contents(&db) == expected, "{kind}, {path}");
            check_sound(&db);
            db.close().expect("close");
        }
    }
}

#[test]
fn a_repair_that_cannot_build_indexes_leaves_them_to_the_next_opening_and_says_so() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "bplus");
    fill(&db);
    let expected = contents(&db);
    db.close().expect("close");
    storage.remove(Path::new("/db/SETTINGS.toml")).expect("remove");
    let report = builder(&storage, "bplus").repair("/db").expect("repair");
    assert!(report.indexes == 0 && report.indexes_left.is_some(), "{report}");
    assert!(
        report.to_string().contains("the next opening builds the indexes"),
        "{report}"
    );
    let db = open(&storage, "bplus");
    assert!(contents(&db) == expected);
    check_sound(&db);
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
