use std::path::Path;
use std::sync::Arc;

use kodiak::core::storage::Storage;
use kodiak::{Builder, ErrorKind, LocalStorage, MemoryStorage};
use kodiak_storage::{Fault, FaultRule, FaultStorage, OpKind};

use super::common::*;

#[test]
fn a_checkpoint_is_a_database_of_its_own() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    fill(&db);
    let before = contents(&db);
    db.checkpoint("/copies/one").expect("checkpoint");
    db.table("users").expect("table").put(b"later", b"1").expect("put");
    db.drop_table("counts").expect("drop");
    db.compact().expect("compact");
    let copy = open(&storage, "/copies/one");
    assert_eq!(contents(&copy), before);
    copy.table("users")
        .expect("table")
        .put(b"elsewhere", b"2")
        .expect("put");
    copy.compact().expect("compact");
    drop(copy);
    let copy = open(&storage, "/copies/one");
    assert_eq!(
        copy.table("users")
            .expect("table")
            .get(b"elsewhere")
            .expect("get")
            .as_deref(),
        Some(&b"2"[..])
    );
    assert!(
        db.table("users")
            .expect("table")
            .get(b"elsewhere")
            .expect("get")
            .is_none()
    );
    copy.checkpoint("/copies/two").expect("of a checkpoint");
    assert_eq!(contents(&open(&storage, "/copies/two")), contents(&copy));
}

#[test]
fn a_checkpoint_needs_an_empty_directory() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    fill(&db);
    open(&storage, "/other").close().expect("close");
    for path in ["/other", "/other/wal", "/other/CURRENT"] {
        assert_eq!(
            db.checkpoint(path).expect_err("taken").kind(),
            ErrorKind::AlreadyExists,
            "{path}"
        );
    }
    let before = contents(&db);
    storage.create_dir_all(Path::new("/empty")).expect("create");
    db.checkpoint("/empty").expect("an empty one");
    assert_eq!(contents(&open(&storage, "/empty")), before);
}

#[test]
fn local_checkpoints_share_the_files_of_runs() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().expect("a directory");
    let storage = Arc::new(LocalStorage::new());
    let path = |name: &str| dir.path().join(name).to_str().expect("a name").to_owned();
    let db = open(&storage, &path("db"));
    fill(&db);
    db.checkpoint(path("copy")).expect("checkpoint");
    let files = table_files(&*storage, &path("copy/tables/000001"), ".meta");
    assert!(!files.is_empty());
    assert!(
        files
            .iter()
            .all(|file| std::fs::metadata(file).expect("there").nlink() >= 2)
    );
    assert_eq!(contents(&open(&storage, &path("copy"))), contents(&db));
}

#[test]
fn where_links_cannot_be_made_files_are_copied() {
    let storage = Arc::new(FaultStorage::new());
    let db = open(&storage, "/db");
    fill(&db);
    storage.set_plan(FaultRule::nth(OpKind::Link, 1, Fault::Eio).sticky());
    db.checkpoint("/copy").expect("copied");
    assert!(storage.faults_fired() > 0);
    storage.set_plan(kodiak_storage::FaultPlan::none());
    assert_eq!(contents(&open(&storage, "/copy")), contents(&db));
}

#[test]
fn a_checkpoint_that_fails_leaves_nothing_and_harms_nothing() {
    for nth in 1..40 {
        let storage = Arc::new(FaultStorage::new());
        let db = open(&storage, "/db");
        fill(&db);
        db.flush().expect("flush");
        let before = contents(&db);
        storage.set_plan(FaultRule::nth_of_any(nth, Fault::Enospc).on_path("/copy"));
        let made = db.checkpoint("/copy");
        storage.set_plan(kodiak_storage::FaultPlan::none());
        if made.is_err() {
            assert_eq!(
                storage.list(Path::new("/copy")).map(|names| names.len()).unwrap_or(0),
                0,
                "operation {nth}"
            );
            db.checkpoint("/copy").expect("the second time");
        }
        assert_eq!(contents(&open(&storage, "/copy")), before, "operation {nth}");
        assert_eq!(contents(&db), before, "operation {nth}");
    }
}

#[test]
fn no_half_of_a_batch_is_in_a_checkpoint_taken_while_others_write() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    let copies: Vec<String> = (0..8).map(|number| format!("/copy{number}")).collect();
    beside_a_writer(&db, |_| {
        for copy in &copies {
            db.checkpoint(copy).expect("checkpoint");
        }
    });
    for copy in &copies {
        batches_in(copy, &open(&storage, copy));
    }
}

#[test]
fn a_power_loss_during_a_checkpoint_leaves_all_of_it_or_nothing_that_opens() {
    let prepare = |storage: &Arc<FaultStorage>| {
        let db = open(storage, "/db");
        fill(&db);
        db
    };
    let whole = contents(&prepare(&Arc::new(FaultStorage::new())));
    let opened = std::cell::Cell::new(0);
    crash_everywhere(
        prepare,
        |db| db.checkpoint("/copy").expect("checkpoint"),
        |image, nth| {
            assert_eq!(contents(&open(image, "/db")), whole, "mutation {nth}: the original");
            match builder(image).existing().open("/copy") {
                Ok(copy) => {
                    assert_eq!(contents(&copy), whole, "mutation {nth}: the copy");
                    opened.set(opened.get() + 1);
                }
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corruption),
                    "mutation {nth}: {error}"
                ),
            }
        },
    );
    assert!(opened.get() > 0, "the last crashes leave a whole copy");
}

#[test]
fn copies_have_no_place_in_the_directory_of_their_database() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("db");
    let db = Builder::new(small()).open(&dir).expect("open");
    let link = root.path().join("link");
    std::os::unix::fs::symlink(&dir, &link).expect("link");
    let before = std::fs::read_dir(&dir).expect("list").count();
    for inside in [
        dir.clone(),
        dir.join("copy"),
        dir.join("tables/copy/deeper"),
        link.join("copy"),
        root.path().join("other/../db/copy"),
    ] {
        for error in [
            db.checkpoint(&inside).expect_err("inside"),
            db.backup(&inside).expect_err("inside"),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().contains("outside of it"), "{error}");
        }
    }
    assert_eq!(std::fs::read_dir(&dir).expect("list").count(), before);
    // Beside it, also where the name begins alike.
    db.checkpoint(root.path().join("db2")).expect("beside");
    db.backup(root.path().join("db-backups")).expect("beside");
    drop(db);
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    for inside in ["/db", "/db/copy", "db/copy", "/other/../db/copy"] {
        let error = db.checkpoint(inside).expect_err("inside");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}
