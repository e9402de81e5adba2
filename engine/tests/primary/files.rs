//! What becomes of index files.

use std::path::Path;
use std::sync::Arc;

use kodiak::MemoryStorage;
use kodiak::core::storage::Storage;
use kodiak::maintenance::BackupDir;

use crate::common::{Contents, contents, crash_everywhere, fill, flip};
use crate::support::{KINDS, builder, check_sound, index_files, key, open, overlapping_runs, table};

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
