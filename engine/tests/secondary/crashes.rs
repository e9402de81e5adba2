//! Databases as power losses leave them, at every change of the storage.

use std::sync::Arc;

use kodiak::settings::Maintenance;
use kodiak::{Db, ErrorKind, SyncMode};
use kodiak_storage::FaultStorage;

use crate::common::crash_everywhere;
use crate::support::*;

fn some(round: i64) -> Vec<Person> {
    let age = |id: i64| Some(((id + round) % 11) as i32);
    (0..40)
        .map(|id| (id, age(id), Some(format!("town{}", id % 3)), round))
        .collect()
}

fn prepare(storage: &Arc<FaultStorage>, kind: &str, maintenance: Maintenance, sync: SyncMode) -> Db {
    let mut settings = settings(kind, maintenance);
    settings.wal.sync = sync;
    let db = open(storage, settings);
    let table = people(&db, false);
    table.create_index(by_age()).expect("create_index");
    table.insert(&batch(&some(0))).expect("insert");
    db.flush().expect("flush");
    table.insert(&batch(&some(1))).expect("insert");
    db
}

fn work(db: &Db) {
    let table = db.table("people").expect("table");
    table.create_index(by_town()).expect("create_index");
    table.delete_keys(&ids(&[3, 4, 5])).expect("delete");
    db.flush().expect("flush");
    db.compact().expect("compact");
    table.insert(&batch(&some(2)[..20])).expect("insert");
    table.drop_index("by_age").expect("drop_index");
    db.flush().expect("flush");
}

#[test]
fn whatever_moment_a_crash_leaves_indexes_find_what_scans_find() {
    let kept_or_lost = [
        ("bplus", Maintenance::Lazy, SyncMode::Full),
        ("fractal", Maintenance::Eager, SyncMode::Full),
        // What was in memory and log is lost; what it had replaced is not, nor is that missing in an index.
        ("bplus", Maintenance::Eager, SyncMode::None),
    ];
    for (kind, maintenance, sync) in kept_or_lost {
        let prepare = |storage: &Arc<FaultStorage>| prepare(storage, kind, maintenance, sync);
        crash_everywhere(prepare, work, |image, nth| {
            let db = open(image, settings(kind, maintenance));
            let table = db.table("people").expect("table");
            let names: Vec<String> = table.indexes().into_iter().map(|index| index.name).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let age = names.contains(&"by_age");
            // It is created before the other one goes.
            assert!(age || names.contains(&"by_town"), "crash {nth}: {names:?}");
            check(&table, &names, None);
            if !age {
                assert_eq!(table.index("by_age").expect_err("none").kind(), ErrorKind::NotFound);
            }
            // Life goes on.
            table.insert(&batch(&some(5))).expect("insert");
            db.compact().expect("compact");
            check(&table, &names, None);
            check_sound(&db);
        });
    }
}
