//! Directories, links and pipes in the places of a database's files, or nothing at all.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use kodiak::core::storage::Storage;
use kodiak::{Builder, ErrorKind, MemoryStorage};
use kodiak_storage::FaultStorage;

use super::common::*;

const KINDS: [&str; 4] = ["a directory", "a symbolic link", "a dangling link", "a pipe"];

/// Puts something in the place of a file, which the link leads to.
fn put(kind: &str, file: &Path, aside: &Path) {
    std::fs::rename(file, aside).expect("aside");
    match kind {
        "a directory" => {
            std::fs::create_dir(file).expect("a directory");
            std::fs::write(file.join("notes"), "found here").expect("written");
        }
        "a pipe" => assert!(Command::new("mkfifo").arg(file).status().expect("mkfifo").success()),
        "a symbolic link" => std::os::unix::fs::symlink(aside, file).expect("a link"),
        _ => std::os::unix::fs::symlink("nowhere", file).expect("a link"),
    }
}

#[test]
fn what_is_no_file_in_the_place_of_one_is_told_and_moved_away() {
    for name in ["LOCK", "CURRENT", "SETTINGS.toml", "tables/000001/TABLE", "wal"] {
        for kind in KINDS {
            if (name, kind) == ("wal", "a directory") {
                continue;
            }
            let what = format!("{kind} as {name}");
            let root = tempfile::tempdir().expect("a directory");
            let dir = root.path().join("db");
            let db = Builder::new(small()).open(&dir).expect("open");
            fill(&db);
            db.flush().expect("flush");
            let expected = contents(&db);
            db.close().expect("close");
            let file = dir.join(name);
            put(kind, &file, &root.path().join("aside"));
            let builder = || Builder::new(small()).existing();
            if name == "LOCK" {
                let error = builder().open(&dir).map(drop).expect_err(&what);
                assert_eq!(error.kind(), ErrorKind::Corruption, "{what}: {error}");
                assert_eq!(error.file(), Some(&*file), "{what}: {error}");
                let is = kind.replace("dangling", "symbolic");
                for told in [&*is, "move it away", "kodiak repair"] {
                    assert!(error.message().contains(told), "{what}: {error}");
                }
                let db = builder().read_only().open(&dir).expect(&what);
                assert_eq!(contents(&db), expected, "{what}");
            }
            let found = builder().verify(&dir).expect(&what);
            let of_file = |error: &&kodiak::Error| error.file() == Some(&*file);
            let told = found.problems.iter().find(of_file);
            assert!(told.is_some(), "{what}: {found}");
            let report = builder().repair(&dir).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(report.problems.iter().any(|error| of_file(&error)), "{what}: {report}");
            assert!(!report.lost.is_empty(), "{what}: {report}");
            let found = builder().verify(&dir).expect(&what);
            assert!(found.is_clean(), "{what}: {found}");
            let db = builder().open(&dir).unwrap_or_else(|error| panic!("{what}: {error}"));
            let left = contents(&db);
            assert!(left.keys().eq(expected.keys()), "{what}: {:?}", left.keys());
            assert!(name == "wal" || name == "CURRENT" || left == expected, "{what}");
        }
    }
}

#[test]
fn a_directory_in_the_place_of_the_lock_is_told_by_every_storage() {
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let faulty: Arc<dyn Storage> = Arc::new(FaultStorage::new());
    for storage in [memory, faulty] {
        let builder = || Builder::new(small()).storage(Arc::clone(&storage));
        builder().open("/db").and_then(kodiak::Db::close).expect("made");
        let lock = Path::new("/db/LOCK");
        storage.remove(lock).expect("removed");
        storage.create_dir_all(lock).expect("a directory");
        let error = builder().open("/db").map(drop).expect_err("no lock");
        assert!(
            error
                .message()
                .starts_with("a directory is where the lock file belongs"),
            "{error}"
        );
        assert_eq!(error.file(), Some(lock), "{error}");
        builder().repair("/db").expect("repair");
        builder().open("/db").expect("open");
    }
}

#[test]
fn reads_of_a_missing_file_that_the_opening_did_not_look_for_name_it_and_say_what_to_do() {
    let storage = Arc::new(MemoryStorage::new());
    let mut settings = small();
    "bplus".clone_into(&mut settings.index.catalogue);
    settings.index.catalogue_changes = 1;
    let open = || {
        let builder = Builder::new(settings.clone()).storage(storage.clone());
        builder.open("/db").expect("open")
    };
    let db = open();
    let table = db.create_table("t", kodiak::TableSchema::key_value()).expect("create");
    table.put(b"key", b"value").expect("put");
    db.flush().expect("flush");
    drop(table);
    db.close().expect("close");
    // The list of runs goes into the catalogue.
    open().close().expect("close");
    for ending in [".feather", ".meta"] {
        let [path] = &table_files(&*storage, "/db/tables/000001", ending)[..] else {
            panic!("one run");
        };
        let aside = Path::new("/aside");
        storage.rename(path, aside).expect("aside");
        let db = open();
        let error = db.table("t").expect("table").get(b"key").expect_err("missing");
        assert_eq!(
            (error.kind(), error.file()),
            (ErrorKind::NotFound, Some(&**path)),
            "{error}"
        );
        assert!(error.message().contains("kodiak repair"), "{error}");
        let found = db.verify().expect("verify");
        assert!(
            found.problems.iter().any(|error| error.file() == Some(&**path)),
            "{found}"
        );
        drop(db);
        storage.rename(aside, path).expect("back");
        let found = open().table("t").expect("table").get(b"key").expect("get");
        assert_eq!(found.as_deref(), Some(&b"value"[..]));
    }
}
