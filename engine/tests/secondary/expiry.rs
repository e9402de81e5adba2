//! Rows that expire, and indexes.

use std::sync::Arc;
use std::time::Duration;

use kodiak::{TableOptions, TableSchema};
use kodiak_storage::FaultStorage;

use crate::support::{KINDS, MAINTENANCE, batch, by_age, columns, open, settings};

/// A flush leaves expired rows out. With them goes what tells when they were written, so that an entry that was left behind would
/// pass for a row's after the next opening.
#[test]
fn rows_that_expire_before_their_flush_leave_no_entries() {
    for (kind, maintenance) in KINDS.into_iter().flat_map(|kind| MAINTENANCE.map(|how| (kind, how))) {
        for first in ["the index", "the row"] {
            let what = format!("{kind}, {maintenance:?}, {first} comes first");
            let storage = Arc::new(FaultStorage::with_seed(1));
            let db = open(&storage, settings(kind, maintenance));
            let schema = TableSchema::new(columns(), &["id"]).expect("schema");
            let options = TableOptions::new().ttl(Duration::from_secs(1));
            let table = db.create_table_with("people", schema, options).expect("table");
            if first == "the index" {
                table.create_index(by_age()).expect("index");
            }
            table.insert(&batch(&[(1, Some(30), None, 0)])).expect("insert");
            if first == "the row" {
                table.create_index(by_age()).expect("index");
            }
            let found = || table.index("by_age").expect("index").keys().expect("keys").count();
            assert_eq!(found(), 1, "{what}");
            storage.jump_clock(2_000_000);
            assert_eq!(found(), 0, "{what}");
            db.flush().expect("flush");
            assert_eq!(table.scan(..).expect("scan").count(), 0, "{what}");
            drop(table);
            db.close().expect("close");

            let db = open(&storage, settings(kind, maintenance));
            let table = db.table("people").expect("table");
            let keys = table.index("by_age").expect("index").keys().expect("keys");
            assert_eq!(keys.count(), 0, "{what}, after reopening");
            let report = db.verify().expect("verify");
            assert!(report.problems.is_empty(), "{what}: {:?}", report.problems);
        }
    }
}
