use std::path::Path;
use std::sync::Arc;

use kodiak::core::storage::Storage;
use kodiak::maintenance::BackupDir;
use kodiak::{ErrorKind, MemoryStorage};
use kodiak_storage::{Fault, FaultPlan, FaultRule, FaultStorage};

use super::common::*;

fn dir<S: Storage + 'static>(storage: &Arc<S>) -> BackupDir {
    BackupDir::open(Arc::clone(storage) as Arc<dyn Storage>, "/backups").expect("open the backups")
}

fn restored<S: Storage + 'static>(storage: &Arc<S>, id: u64, target: &str) -> Contents {
    dir(storage).restore(id, target).expect("restore");
    contents(&open(storage, target))
}

#[test]
fn every_backup_restores_the_database_as_it_was() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    fill(&db);
    let mut states = vec![contents(&db)];
    let first = db.backup("/backups").expect("backup");
    assert!(
        first.id == 1 && first.tables == 2 && first.copied == first.bytes && first.bytes > 0,
        "{first:?}"
    );
    db.table("users").expect("table").put(b"later", b"1").expect("put");
    states.push(contents(&db));
    let second = db.backup("/backups").expect("backup");
    assert!(
        second.id == 2 && second.copied < second.bytes / 2,
        "only the new run is copied: {second:?}"
    );
    db.drop_table("counts").expect("drop");
    db.compact().expect("compact");
    states.push(contents(&db));
    db.backup("/backups").expect("backup");
    let infos = dir(&storage).list().expect("list");
    assert_eq!(infos.iter().map(|info| info.id).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((&infos[0], &infos[1]), (&first, &second));
    drop(db);
    for (index, state) in states.iter().enumerate() {
        let target = format!("/restored{index}");
        assert_eq!(
            &restored(&storage, index as u64 + 1, &target),
            state,
            "backup {}",
            index + 1
        );
        let report = builder(&storage).verify(&target).expect("verify");
        assert!(report.is_clean(), "{report}");
    }
    let report = open(&storage, "/restored0").verify().expect("verify");
    assert!(report.is_clean(), "{report}");
}

#[test]
fn deleting_a_backup_keeps_what_others_need() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    fill(&db);
    db.backup("/backups").expect("backup");
    db.compact().expect("compact");
    db.table("users").expect("table").put(b"later", b"1").expect("put");
    db.backup("/backups").expect("backup");
    let whole = contents(&db);
    let backups = dir(&storage);
    let files = || storage.list(Path::new("/backups/runs")).expect("list").len();
    let before = files();
    backups.delete(1).expect("delete");
    assert!(files() < before);
    assert_eq!(backups.delete(1).expect_err("gone").kind(), ErrorKind::NotFound);
    assert!(backups.verify(2).expect("verify").is_empty());
    drop(backups);
    assert_eq!(restored(&storage, 2, "/restored"), whole);
    // Numbers are not given out again while a later one is there.
    assert_eq!(db.backup("/backups").expect("backup").id, 3);
    dir(&storage).delete(2).expect("delete");
    dir(&storage).delete(3).expect("delete");
    assert_eq!(files(), 0);
}

#[test]
fn damage_is_found_by_verification_and_stops_a_restore() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    fill(&db);
    db.backup("/backups").expect("backup");
    let data = table_files(&*storage, "/backups/runs", ".feather").remove(0);
    // The last bytes of a Feather file are under no block's checksum.
    flip(&*storage, &data, storage.len(&data).expect("len").expect("there") - 20);
    let problems = dir(&storage).verify(1).expect("verify");
    assert!(problems.len() == 1 && problems[0].file() == Some(&data), "{problems:?}");
    let error = dir(&storage).restore(1, "/restored").expect_err("damaged");
    assert!(
        error.kind() == ErrorKind::Corruption && error.file() == Some(&data),
        "{error}"
    );
    assert!(storage.list(Path::new("/restored")).is_err(), "nothing is left");
    flip(&*storage, Path::new("/backups/backups/0000000001"), 30);
    let listed = dir(&storage).list().expect_err("damaged");
    for error in [listed, db.backup("/backups").expect_err("damaged")] {
        assert_eq!(error.file(), Some(Path::new("/backups/backups/0000000001")), "{error}");
    }
}

#[test]
fn a_damaged_run_is_not_backed_up() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    fill(&db);
    db.backup("/backups").expect("backup");
    db.compact().expect("compact");
    let data = table_files(&*storage, "/db/tables/000001", ".feather").remove(0);
    flip(&*storage, &data, 600);
    let error = db.backup("/backups").expect_err("damaged");
    assert!(
        error.kind() == ErrorKind::Corruption && error.file() == Some(&data),
        "{error}"
    );
    let backups = dir(&storage);
    assert_eq!(backups.list().expect("list").len(), 1);
    assert!(backups.verify(1).expect("verify").is_empty());
}

#[test]
fn a_directory_holds_backups_of_one_database_and_serves_one_at_a_time() {
    let storage = Arc::new(MemoryStorage::new());
    let (one, two) = (open(&storage, "/one"), open(&storage, "/two"));
    one.backup("/backups").expect("backup");
    assert_eq!(
        two.backup("/backups").expect_err("another database").kind(),
        ErrorKind::InvalidInput
    );
    let held = dir(&storage);
    assert_eq!(one.backup("/backups").expect_err("in use").kind(), ErrorKind::Locked);
    assert_eq!(held.restore(9, "/x").expect_err("missing").kind(), ErrorKind::NotFound);
    assert_eq!(
        held.restore(1, "/one").expect_err("not empty").kind(),
        ErrorKind::AlreadyExists
    );
}

#[test]
fn failures_and_power_losses_leave_old_backups_whole() {
    let prepare = |storage: &Arc<FaultStorage>| {
        let db = open(storage, "/db");
        fill(&db);
        db.backup("/backups").expect("the first backup");
        db.table("users").expect("table").put(b"later", b"1").expect("put");
        db
    };
    let storage = Arc::new(FaultStorage::new());
    let db = prepare(&storage);
    let second = contents(&db);
    drop(db);
    let first = restored(&storage, 1, "/first");
    let check = |storage: &Arc<FaultStorage>, what: &str| {
        let backups = dir(storage);
        let ids: Vec<u64> = backups.list().expect("list").iter().map(|info| info.id).collect();
        drop(backups);
        assert!(ids == [1] || ids == [1, 2], "{what}: {ids:?}");
        assert_eq!(restored(storage, 1, "/restored1"), first, "{what}: the first");
        if ids.len() == 2 {
            assert_eq!(restored(storage, 2, "/restored2"), second, "{what}: the second");
        }
        ids.len()
    };
    let seen = std::cell::RefCell::new(std::collections::BTreeSet::new());
    crash_everywhere(
        prepare,
        |db| {
            db.backup("/backups").expect("the second backup");
        },
        |image, nth| {
            seen.borrow_mut().insert(check(image, &format!("mutation {nth}")));
            let db = open(image, "/db");
            db.backup("/backups").expect("once more");
        },
    );
    assert!(seen.into_inner().contains(&1));
    for nth in (1..40).step_by(3) {
        let storage = Arc::new(FaultStorage::new());
        let db = prepare(&storage);
        storage.set_plan(FaultRule::nth_of_any(nth, Fault::Enospc).on_path("/backups"));
        let made = db.backup("/backups");
        storage.set_plan(FaultPlan::none());
        let count = check(&storage, &format!("operation {nth}"));
        assert!(made.is_err() || count == 2, "operation {nth}");
        db.backup("/backups").expect("once more");
    }
}

#[test]
fn a_restore_cut_short_does_not_open() {
    let storage = Arc::new(FaultStorage::new());
    let db = open(&storage, "/db");
    fill(&db);
    let whole = contents(&db);
    db.backup("/backups").expect("backup");
    drop(db);
    for nth in 1u64.. {
        let target = format!("/restored{nth}");
        storage.crash_at(
            storage.mutations() + nth,
            kodiak_storage::Moment::Before,
            kodiak_storage::CrashOptions::new(50, Default::default(), nth),
        );
        dir(&storage).restore(1, &target).expect("restore");
        let Some(image) = storage.take_crash_image() else {
            assert!(nth > 5);
            return;
        };
        match builder(&Arc::new(image)).existing().open(&target) {
            Ok(db) => assert_eq!(contents(&db), whole, "mutation {nth}"),
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corruption),
                "{error}"
            ),
        }
    }
}
