//! Ingestions into tables with indexes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use kodiak::settings::Maintenance;
use kodiak::{MemoryStorage, Snapshot};
use kodiak_storage::FaultStorage;
use parking_lot::Mutex;

use crate::support::*;

/// Far longer than any of these takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Rows of even ids, which differ from round to round.
fn evens(round: i64) -> arrow::array::RecordBatch {
    let person = |n: i64| (2 * n, Some(((n + round) % 12) as i32), None, round);
    batch(&(0..300).map(person).collect::<Vec<_>>())
}

/// Runs an action on a thread of its own, which is not waited for if it hangs.
fn within_patience(action: impl FnOnce() + Send + 'static) {
    let (done, ended) = channel();
    let thread = std::thread::spawn(move || {
        action();
        let _ = done.send(());
    });
    match ended.recv_timeout(PATIENCE) {
        Err(RecvTimeoutError::Timeout) => panic!("nothing has moved for {PATIENCE:?}: threads wait for each other"),
        _ => thread.join().expect("no panic"),
    }
}

#[test]
fn ingestions_and_puts_go_on_while_indexes_are_created_and_dropped() {
    for (kind, maintenance) in KINDS.into_iter().zip(MAINTENANCE) {
        within_patience(move || {
            let storage = Arc::new(MemoryStorage::new());
            let db = open(&storage, settings(kind, maintenance));
            let table = people(&db, false);
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let (table, done) = (&table, &done);
                scope.spawn(move || {
                    let mut round = 0;
                    while !done.load(Ordering::SeqCst) || round < 30 {
                        round += 1;
                        table.ingest_batches([Ok(evens(round))]).expect("ingest");
                    }
                });
                scope.spawn(move || {
                    let mut round = 0i64;
                    while !done.load(Ordering::SeqCst) {
                        round += 1;
                        let person = (2 * (round % 100) + 1, Some((round % 12) as i32), None, round);
                        table.insert(&batch(&[person])).expect("insert");
                        std::thread::sleep(Duration::from_micros(50));
                    }
                });
                let come_and_go = || table.create_index(by_age()).and_then(|()| table.drop_index("by_age"));
                let outcome = (0..60).try_for_each(|_| come_and_go());
                done.store(true, Ordering::SeqCst);
                outcome.expect("create_index, drop_index");
            });
            table.create_index(by_age()).expect("create_index");
            check(&table, &["by_age"], None);
            check_sound(&db);
        });
    }
}

/// A snapshot of each moment of an ingestion, none other held meanwhile, finds through indexes what a scan finds.
#[test]
fn snapshots_taken_while_rows_are_ingested_find_what_these_replace() {
    for kind in KINDS {
        let mut during = 0;
        for nth in 1.. {
            let storage = Arc::new(FaultStorage::with_seed(nth));
            let db = open(&storage, settings(kind, Maintenance::Eager));
            let table = people(&db, false);
            table.create_index(by_age()).expect("create_index");
            table.insert(&evens(1)).expect("insert");
            db.flush().expect("flush");
            table.insert(&evens(2).slice(100, 50)).expect("insert");
            let (taken, mutations): (Arc<Mutex<Option<Snapshot>>>, AtomicU64) = Default::default();
            let (taking, to_take) = (db.clone(), Arc::clone(&taken));
            storage.on_op(Some(Arc::new(move |event| {
                if event.mutation.is_some() && mutations.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                    *to_take.lock() = Some(taking.snapshot());
                }
            })));
            table.ingest_batches([Ok(evens(3))]).expect("ingest");
            storage.on_op(None);
            let Some(snapshot) = taken.lock().take() else { break };
            let scanned = rows(table.read().at(&snapshot).batches().expect("scan"));
            during += usize::from(scanned.iter().all(|person| person.3 < 3));
            check(&table, &["by_age"], Some(&snapshot));
            check(&table, &["by_age"], None);
            if nth % 8 == 0 {
                db.compact().expect("compact");
                check(&table, &["by_age"], Some(&snapshot));
                drop(snapshot);
                check(&table, &["by_age"], None);
                check_sound(&db);
            }
        }
        assert!(during > 5, "{during} snapshots were taken before the rows were visible");
    }
}

#[test]
fn readers_beside_ingestions_find_through_indexes_what_scans_find() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, settings(kind, Maintenance::Eager));
        let table = people(&db, false);
        table.create_index(by_age()).expect("create_index");
        table.insert(&evens(0)).expect("insert");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..80 {
                    match round % 2 {
                        0 => table.ingest_batches([Ok(evens(round))]).expect("ingest"),
                        _ => table.bulk_insert([Ok(evens(round))]).expect("bulk_insert"),
                    };
                }
                done.store(true, Ordering::SeqCst);
            });
            while !done.load(Ordering::SeqCst) {
                // None is held while the next one is waited for.
                let count = table.index("by_age").expect("index").keys().expect("read").count();
                assert_eq!(count, 300, "a read of now");
                let snapshot = db.snapshot();
                std::thread::sleep(Duration::from_millis(2));
                check(&table, &["by_age"], Some(&snapshot));
            }
        });
        check(&table, &["by_age"], None);
        check_sound(&db);
    }
}
