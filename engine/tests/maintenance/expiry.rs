//! When rows expire of a table that was opened anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kodiak::{TableOptions, TableSchema};
use kodiak_storage::{FaultStorage, OpKind};

use super::common::*;

const SECOND: u64 = 1_000_000;

/// Rows `0..count`, each written half a second after the one before, and flushed `flushed` at a time; they live for 1000 seconds.
fn written_slowly(storage: &Arc<FaultStorage>, count: u64, flushed: u64, ascending: bool) -> kodiak::Db {
    let db = open(storage, "/db");
    let options = TableOptions::new().ttl(Duration::from_secs(1000));
    let table = db
        .create_table_with("t", TableSchema::key_value(), options)
        .expect("create");
    for row in 0..count {
        storage.freeze_clock(1000 * SECOND + row * SECOND / 2);
        let key = if ascending { row } else { row * 7919 % 10_000 };
        table.put(format!("{key:04}"), row.to_string()).expect("put");
        if (row + 1) % flushed == 0 {
            db.flush().expect("flush");
        }
    }
    db
}

/// From `from`, in seconds, on: rows expire when they did before, never early and late by two samples at most, whose spacing is a second.
fn check_expiry(db: &kodiak::Db, storage: &FaultStorage, from: u64, count: u64) {
    let table = db.table("t").expect("table");
    for now in (from..2010 + count / 2).step_by(9) {
        storage.freeze_clock(now * SECOND);
        let left = table.scan(..).expect("scan").map(|item| {
            let (_, row) = item.expect("row");
            std::str::from_utf8(&row).expect("text").parse::<u64>().expect("number")
        });
        let left: BTreeSet<u64> = left.collect();
        for row in 0..count {
            let end = 2000 * SECOND + row * SECOND / 2;
            if now * SECOND < end {
                assert!(left.contains(&row), "row {row} expired early at {now}");
            } else if now * SECOND >= end + 2 * SECOND {
                assert!(!left.contains(&row), "row {row} is late at {now}");
            }
        }
    }
}

#[test]
fn rows_expire_after_opening_as_before_and_few_files_are_read_for_it() {
    // Whether keys ascend, how many rows are flushed at once, whether all is compacted, and how many sidecars are read at most.
    for (ascending, flushed, compacted, most) in [
        (true, 2, false, 0),
        (false, 2, false, 8),
        (false, 40, false, 10),
        (false, 40, true, 1),
    ] {
        // Before any has expired, and after some have.
        for now in [1300, 2100] {
            let storage = Arc::new(FaultStorage::new());
            let count = 400;
            let db = written_slowly(&storage, count, flushed, ascending);
            if compacted {
                db.compact().expect("compact");
            }
            // Or the next opening would go on with compactions, which read sidecars too.
            db.wait_idle().expect("wait_idle");
            db.close().expect("close");
            let runs = table_files(&*storage, "/db/tables/000001", ".meta").len();
            assert!(runs >= if ascending { 200 } else { 1 }, "{runs} runs");
            storage.freeze_clock(now * SECOND);
            storage.record_trace(true);
            let db = open(&storage, "/db");
            storage.record_trace(false);
            let opened = storage.trace().into_iter().filter(|event| {
                event.kind == OpKind::Open && event.path.extension().is_some_and(|extension| extension == "meta")
            });
            let opened: BTreeSet<_> = opened.map(|event| event.path).collect();
            assert!(
                now > 2000 || opened.len() <= most,
                "{ascending}, {flushed}, {compacted} at {now}: {opened:?}"
            );
            check_expiry(&db, &storage, now.max(1990), count);
            db.close().expect("close");
        }
    }
}
