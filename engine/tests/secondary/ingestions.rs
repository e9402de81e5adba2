//! Ingestions into tables with indexes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use kodiak::{ErrorKind, MemoryStorage};

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
                for _ in 0..30 {
                    match table.create_index(by_age()) {
                        Ok(()) => table.drop_index("by_age").expect("drop_index"),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
                    }
                }
                done.store(true, Ordering::SeqCst);
            });
            table.create_index(by_age()).expect("create_index");
            check(&table, &["by_age"], None);
            check_sound(&db);
        });
    }
}
