use std::sync::Arc;
use std::time::Duration;

use kodiak_storage::{FaultStorage, Moment, OpEvent, OpKind};
use parking_lot::Mutex;

use crate::run::Run;
use crate::{Builder, Db, Settings, Table, TableSchema};

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(60);

/// The threads that have removed data files, by name.
type Removers = Arc<Mutex<Vec<String>>>;

/// Notes the threads that remove data files from now on, each after a while.
fn note(storage: &FaultStorage, removers: &Removers, after: Duration) {
    let removers = Arc::clone(removers);
    storage.on_op(Some(Arc::new(move |event: &OpEvent| {
        if (event.kind, event.moment) == (OpKind::Remove, Moment::After)
            && event.path.extension().is_some_and(|extension| extension == "feather")
        {
            std::thread::sleep(after);
            removers.lock().push(own_name());
        }
    })));
}

fn own_name() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

/// A table with two runs, which nothing merges by itself.
fn two_runs() -> (Db, Table, FaultStorage, Removers) {
    let storage = FaultStorage::new();
    let removers = Removers::default();
    note(&storage, &removers, Duration::ZERO);
    let db = Builder::new(Settings::default())
        .storage(Arc::new(storage.clone()))
        .open("/db")
        .expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    for round in 0..2u8 {
        table.put(b"key", [round]).expect("put");
        db.flush().expect("flush");
    }
    (db, table, storage, removers)
}

#[test]
fn whoever_leaves_a_replaced_run_last_removes_its_files_and_other_last_users_do_not() {
    let (db, table, _, removers) = two_runs();
    let version = Arc::clone(&table.inner.view.load().version);
    let replaced = version.known_runs().map(|(_, run)| {
        let run = Run::new(run.meta().clone(), Arc::clone(&table.inner.runs));
        run.mark_replaced();
        Arc::new(run)
    });
    let [alone, shared] = <[_; 2]>::try_from(replaced.collect::<Vec<_>>()).expect("two");
    alone.leave();
    assert_eq!(*removers.lock(), [own_name()]);
    let reader = Arc::clone(&shared);
    shared.leave();
    assert_eq!(removers.lock().len(), 1, "somebody reads it");
    drop(reader);
    table.inner.runs.removals.settle(&table.inner.runs, LONG);
    assert_eq!(removers.lock()[1..], ["kodiak-remove"]);
    db.close().expect("close");
}

#[test]
fn a_scan_does_not_remove_the_files_that_it_used_last() {
    let (db, table, _, removers) = two_runs();
    let scan = table.scan(..).expect("scan");
    table.compact().expect("compact");
    assert!(removers.lock().is_empty(), "the scan reads them");
    assert_eq!(scan.count(), 1);
    db.wait_idle().expect("idle");
    // A thread that plans compactions may have had a look at them just then.
    table.inner.runs.removals.settle(&table.inner.runs, LONG);
    assert_eq!(*removers.lock(), ["kodiak-remove", "kodiak-remove"]);
    db.close().expect("close");
}

#[test]
fn a_scan_that_outlives_its_database_removes_the_files_itself() {
    let (db, table, _, removers) = two_runs();
    let scan = table.scan(..).expect("scan");
    table.compact().expect("compact");
    db.close().expect("close");
    assert!(removers.lock().is_empty());
    drop(scan);
    assert_eq!(*removers.lock(), [own_name(), own_name()]);
}

#[test]
fn closing_waits_for_what_was_handed_over() {
    let (db, table, storage, removers) = two_runs();
    let scan = table.scan(..).expect("scan");
    table.compact().expect("compact");
    note(&storage, &removers, Duration::from_millis(30));
    drop(scan);
    db.close().expect("close");
    assert_eq!(removers.lock().len(), 2);
}

#[test]
fn whoever_needs_the_files_gone_waits_for_the_last_user() {
    let (db, table, _, removers) = two_runs();
    let version = Arc::clone(&table.inner.view.load().version);
    table.compact().expect("compact");
    let removals = &table.inner.runs.removals;
    removals.settle(&table.inner.runs, Duration::from_millis(1));
    assert!(removers.lock().is_empty(), "the version has them");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            drop(version);
        });
        removals.settle(&table.inner.runs, LONG);
    });
    assert_eq!(removers.lock().len(), 2);
    db.close().expect("close");
}
