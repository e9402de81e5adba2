//! Mends whose reason seldom shows by itself.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kodiak::core::storage::Storage;
use kodiak::manifest::{Manifest, State};
use kodiak::{Builder, ErrorKind, MemoryStorage, MergeOperator, TableOptions, TableSchema};
use kodiak_storage::{BlockSize, CrashOptions, FaultStorage, Moment};
use kodiak_tests::factors::small;
use parking_lot::Mutex;

/// A program's own operator with a defect: it panics while it is armed.
#[derive(Debug, Default)]
struct Explosive(AtomicBool);

impl MergeOperator for Explosive {
    fn name(&self) -> &str {
        "explosive"
    }

    fn merge(&self, _key: &[u8], base: Option<&[u8]>, operands: &[&[u8]]) -> kodiak::Result<Vec<u8>> {
        assert!(!self.0.load(Ordering::Acquire), "the operator explodes");
        Ok([base.unwrap_or_default(), &operands.concat()].concat())
    }
}

/// The thread that met the panic was gone, so that a flush was waited for in vain.
#[test]
fn a_panic_of_background_work_is_told_and_the_work_done_when_it_can_be() {
    let operator = Arc::new(Explosive::default());
    let db = Builder::new(small())
        .storage(Arc::new(MemoryStorage::new()))
        .merge_operator(operator.clone())
        .expect("a free name")
        .open("/db")
        .expect("open");
    let options = TableOptions::new().merge_operator("explosive");
    let table = db
        .create_table_with("t", TableSchema::key_value(), options)
        .expect("create");
    table.put(b"key", b"a").expect("put");
    table.merge(b"key", b"b").expect("merge");
    operator.0.store(true, Ordering::Release);
    for _ in 0..3 {
        let error = db.flush().expect_err("the operator panics");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("the operator explodes"), "{error}");
    }
    // Others go on meanwhile.
    table.put(b"other", b"v").expect("put");
    assert_eq!(table.get(b"other").expect("get").as_deref(), Some(&b"v"[..]));
    operator.0.store(false, Ordering::Release);
    db.flush().expect("the defect is gone");
    assert_eq!(table.get(b"key").expect("get").as_deref(), Some(&b"ab"[..]));
    drop(table);
    db.close().expect("close");
}

const DIR: &str = "/db";

/// What a power loss at any moment of some work would leave, in four ways.
pub(crate) fn power_losses(storage: &FaultStorage, work: impl FnOnce(Arc<FaultStorage>)) -> Vec<FaultStorage> {
    let images = Arc::new(Mutex::new(Vec::new()));
    let (kept, camera) = (Arc::clone(&images), storage.clone());
    storage.on_op(Some(Arc::new(move |event| {
        let Some(mutation) = event.mutation.filter(|_| event.moment == Moment::Before) else {
            return;
        };
        for survival in [0, 50, 50, 50] {
            let seed = mutation * 31 + kept.lock().len() as u64;
            let options = CrashOptions::new(survival, BlockSize::Page, seed);
            kept.lock().push(camera.crash_image(&options));
        }
    })));
    work(Arc::new(storage.clone()));
    storage.on_op(None);
    std::mem::take(&mut *images.lock())
}

/// A process died between switching to a new manifest file and making that durable. The next one removed the older file at
/// once; a power loss then took the switch back, and the file that was in force again was gone.
#[test]
fn an_older_manifest_goes_only_when_a_newer_one_is_in_force_on_disk() {
    let dir = Path::new(DIR);
    let storage = FaultStorage::with_seed(1);
    let open = |storage: &FaultStorage| Builder::new(small()).storage(Arc::new(storage.clone())).open(dir);
    let db = open(&storage).expect("open");
    db.create_table("t", TableSchema::key_value()).expect("create");
    db.close().expect("close");
    let killed = Arc::new(Mutex::new(Vec::new()));
    let (kept, camera) = (Arc::clone(&killed), storage.clone());
    storage.on_op(Some(Arc::new(move |event| {
        if event.mutation.is_some() && event.moment == Moment::After {
            kept.lock().push(camera.kill_image());
        }
    })));
    open(&storage).expect("open").close().expect("close");
    storage.on_op(None);
    let killed = std::mem::take(&mut *killed.lock());
    assert!(killed.len() > 10, "{} moments", killed.len());
    let mut lost = 0;
    for (moment, image) in killed.into_iter().enumerate() {
        let opens =
            |storage: Arc<FaultStorage>| drop(Manifest::open(storage, dir).expect("a killed process loses nothing"));
        for crashed in power_losses(&image, opens) {
            lost += 1;
            let state = Manifest::read(&crashed, dir).unwrap_or_else(|error| panic!("moment {moment}: {error}"));
            assert_eq!(state.tables.len(), 1, "moment {moment}");
        }
    }
    assert!(lost > 200, "{lost} power losses");
}

/// The power failed while a database was created, and again while what that had left was cleared away: a manifest file without
/// the tail beside it looked like a database that had been damaged.
#[test]
fn a_creation_that_power_losses_interrupt_twice_can_be_repeated() {
    let dir = Path::new(DIR);
    let create = |storage: Arc<FaultStorage>| {
        if !Manifest::exists(&*storage, dir).expect("it is no damage") {
            storage.create_dir_all(dir).expect("a directory");
            drop(Manifest::create(storage, dir, State::new(7)).expect("created"));
        }
    };
    let empty = FaultStorage::with_seed(1);
    empty.create_dir_all(dir).expect("a directory");
    let mut lost = 0;
    for once in power_losses(&empty, create) {
        for twice in power_losses(&once, create) {
            lost += 1;
            create(Arc::new(twice.clone()));
            assert_eq!(Manifest::read(&twice, dir).expect("created").identity, 7);
        }
    }
    assert!(lost > 1000, "{lost} power losses");
}
