//! The order in which files are written, synced, named and removed.

use std::path::Path;
use std::sync::Arc;

use kodiak::manifest::{Change, VersionEdit};
use kodiak::{Builder, Settings, SyncMode, Table, TableSchema};
use kodiak_storage::{FaultStorage, Moment, OpKind};
use kodiak_tests::crash::order::{Violations, watch};
use kodiak_tests::crash::points::{Sample, collect_watched};
use kodiak_tests::crash::script::{DIR, Setup};
use parking_lot::Mutex;

#[test]
fn nothing_is_named_before_it_is_durable_or_removed_before_it_is_superseded() {
    for (wal, sync) in [
        ("mapped", SyncMode::Normal),
        ("mapped", SyncMode::Full),
        ("segment", SyncMode::None),
    ] {
        for seed in 1..4 {
            let setup = Setup {
                wal,
                sync,
                seed,
                writes: 150,
                background: true,
                publish: false,
            };
            let storage = FaultStorage::with_seed(seed);
            let violations = Violations::default();
            let watch = watch(&storage, &violations);
            collect_watched(&setup, Sample::NONE, &storage, &|storage| storage, Some(watch)).expect("no faults");
            let violations = violations.lock();
            assert!(
                violations.is_empty(),
                "wal {wal} sync {} seed {seed}: {violations:#?}",
                sync.name()
            );
        }
    }
}

/// What is being written at this moment.
type Pending = Arc<Mutex<Option<(Table, Vec<u8>)>>>;

#[test]
fn nothing_is_visible_before_its_log_record_is_synced() {
    for wal in ["mapped", "segment"] {
        let setup = Setup {
            wal,
            sync: SyncMode::Full,
            seed: 1,
            writes: 0,
            background: true,
            publish: false,
        };
        let storage = FaultStorage::with_seed(1);
        let db = Builder::new(setup.settings())
            .storage(Arc::new(storage.clone()))
            .open(DIR)
            .expect("open");
        let table = db.create_table("t", TableSchema::key_value()).expect("create");
        let pending = Pending::default();
        let seen = Arc::new(Mutex::new((0, Vec::new())));
        let (pending_in, seen_in) = (Arc::clone(&pending), Arc::clone(&seen));
        storage.on_op(Some(Arc::new(move |event| {
            let logged = matches!(event.kind, OpKind::Write | OpKind::MapWrite | OpKind::Sync);
            let synced = event.kind == OpKind::Sync && event.moment == Moment::After;
            if !logged || synced || !event.path.starts_with("/db/wal") {
                return;
            }
            let pending = pending_in.lock().clone();
            if let Some((table, key)) = pending {
                let mut seen = seen_in.lock();
                seen.0 += 1;
                if table.get(&key).expect("get").is_some() {
                    seen.1.push(format!(
                        "{} is visible at {:?} {}",
                        key.escape_ascii(),
                        event.kind,
                        event.path.display()
                    ));
                }
            }
        })));
        for number in 0..60 {
            let key = format!("key{number}").into_bytes();
            *pending.lock() = Some((table.clone(), key.clone()));
            table.put(&key, vec![b'v'; 100]).expect("put");
            *pending.lock() = None;
            assert!(table.get(&key).expect("get").is_some());
        }
        storage.on_op(None);
        let seen = seen.lock();
        assert!(seen.0 >= 60, "the log was written {} times", seen.0);
        assert!(seen.1.is_empty(), "{:#?}", seen.1);
        drop(table);
        db.close().expect("close");
    }
}

#[test]
fn a_flush_is_one_edit_which_also_says_what_log_is_needed() {
    let storage = FaultStorage::with_seed(3);
    let builder = Builder::new(Settings::default()).storage(Arc::new(storage.clone()));
    let db = builder.open(DIR).expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    let other = db.create_table("u", TableSchema::key_value()).expect("create");
    let manifest = || kodiak::inspect::manifest(&storage, Path::new(DIR)).expect("manifest");
    for round in 0..5 {
        table.put(format!("key{round}"), "value").expect("put");
        let held_back = round == 3;
        if held_back {
            other.put("key", "value").expect("put");
        }
        let before = manifest().state.wal_from;
        table.flush().expect("flush");
        let after = manifest();
        // What the other table has in memory is in the log only.
        assert_eq!(after.state.wal_from > before, !held_back, "{round}: {after}");
        if held_back {
            other.flush().expect("flush");
            assert!(manifest().state.wal_from > after.state.wal_from, "{}", manifest());
        }
    }
    let edits = manifest().edits;
    let flushed = |edit: &VersionEdit| {
        edit.changes
            .iter()
            .any(|change| matches!(change, Change::Flushed { .. }))
    };
    assert_eq!(
        edits.iter().filter(|(_, edit)| flushed(edit)).count(),
        6,
        "{}",
        manifest()
    );
    let apart = edits
        .iter()
        .find(|(_, edit)| matches!(*edit.changes, [Change::WalFrom(_)]));
    assert!(apart.is_none(), "an edit of the log alone: {apart:?}");
    drop((table, other));
    db.close().expect("close");
}
