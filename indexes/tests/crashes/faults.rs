//! Operations that fail, once or from then on, and a disk that is full, with readers beside them.

use std::sync::Arc;

use kodiak_core::conformance::extent;
use kodiak_core::conformance::index::{Model, Random, assert_sound, compare, entries};
use kodiak_core::index::{Index, IndexFactory, IndexView, Root};
use kodiak_core::{Error, ErrorKind};
use kodiak_storage::{CrashOptions, Fault, FaultPlan, FaultRule, FaultStorage, OpKind};

use crate::common::{context, random_batch, small};

/// The kinds that an index asks for, whether it is made, opened, written to or read.
const KINDS: [OpKind; 11] = [
    OpKind::Len,
    OpKind::Remove,
    OpKind::CreateLog,
    OpKind::Rename,
    OpKind::SyncDir,
    OpKind::Open,
    OpKind::Read,
    OpKind::Write,
    OpKind::Sync,
    OpKind::Grow,
    OpKind::Trim,
];

/// How a run ended.
struct Outcome {
    index: Option<Box<dyn Index>>,
    /// What the last commit that returned holds.
    committed: Model,
    root: Option<Root>,
    error: Option<Error>,
}

/// Either what a root holds, or an error.
fn check_view(view: &Arc<dyn IndexView>, model: &Model, what: &str) {
    match entries(view) {
        Ok(found) => assert!(
            found.iter().map(|(key, value)| (key, value)).eq(model),
            "{what}: a reader sees something else"
        ),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{what}: a reader: {error}"),
    }
}

/// Makes an index, and runs batches, commits and releases until something fails. Beside it, readers hold roots over several commits.
fn run(factory: &'static IndexFactory, storage: &FaultStorage, seed: u64, what: &str) -> Outcome {
    let mut outcome = Outcome {
        index: None,
        committed: Model::new(),
        root: None,
        error: None,
    };
    let index = match (factory.create)(context(factory, Arc::new(storage.clone()), small(factory))) {
        Ok(index) => index,
        Err(error) => {
            outcome.error = Some(error);
            return outcome;
        }
    };
    outcome.root = index.roots().last().copied();
    let (mut random, mut model) = (Random::new(seed), Model::new());
    let mut readers: Vec<(Arc<dyn IndexView>, Model)> = Vec::new();
    for round in 0..8 {
        let batch = random_batch(&mut random, &mut model, 100);
        let written = index.apply(&batch.updates, None);
        for (view, model) in &readers {
            check_view(view, model, what);
        }
        match written.and_then(|()| index.commit()) {
            Ok(root) => (outcome.root, outcome.committed) = (Some(root), model.clone()),
            Err(error) => {
                outcome.error = Some(error);
                break;
            }
        }
        let newest = *index.roots().last().expect("one is always there");
        readers.push((index.view(newest).expect("it is there"), model.clone()));
        if round % 3 == 2 {
            readers.remove(0);
        }
        for old in index.roots().into_iter().filter(|old| *old < newest) {
            index.release(old).expect("an older root");
        }
    }
    for (view, model) in &readers {
        check_view(view, model, what);
    }
    outcome.index = Some(index);
    outcome
}

/// One run with a plan; true if anything failed. Nothing that was committed may be lost.
fn fail(factory: &'static IndexFactory, plan: FaultPlan, seed: u64, what: &str) -> bool {
    let storage = FaultStorage::with_seed(seed);
    storage.set_plan(plan);
    let Outcome {
        index,
        committed,
        root,
        error,
    } = run(factory, &storage, seed, what);
    let fired = storage.faults_fired() > 0;
    storage.set_plan(FaultPlan::none());
    if let Some(error) = &error {
        assert!(fired, "{what}: {error}");
        assert_eq!(error.kind(), ErrorKind::Io, "{what}: {error}");
        assert!(error.file().is_some(), "{what}: {error}");
    }
    let Some(root) = root else {
        made_again(factory, &storage, what);
        return fired;
    };
    let index = index.expect("there is a root");
    if error.is_some() {
        after_failure(&*index, &storage, &committed, root, what);
    }
    drop(index);
    go_on(factory, &storage, &committed, root, what);
    fired
}

/// One that could not be made leaves nothing in the way.
fn made_again(factory: &'static IndexFactory, storage: &FaultStorage, what: &str) {
    let context = || context(factory, Arc::new(storage.clone()), small(factory));
    let index = match (factory.create)(context()) {
        // Its name is there, but was not made to survive.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => (factory.open)(context()),
        made => made,
    };
    assert_sound(&*index.unwrap_or_else(|error| panic!("{what}: made again: {error}")));
}

/// Everything is refused but going back. After a failed sync that is as well: nothing is acknowledged, and no sync is tried again.
fn after_failure(index: &dyn Index, storage: &FaultStorage, committed: &Model, root: Root, what: &str) {
    let syncs = storage.count(OpKind::Sync);
    let refused = index.commit().expect_err("the working state is half way");
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{what}: {refused}");
    compare(index, root, committed);
    let mut model = committed.clone();
    let batch = random_batch(&mut Random::new(5), &mut model, 100);
    match index.rollback() {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}");
            for refused in [
                index.apply(&batch.updates, None).err(),
                index.commit().err(),
                index.reset_to(root).err(),
            ] {
                let refused = refused.unwrap_or_else(|| panic!("{what}: something was acknowledged"));
                assert_eq!(refused.kind(), ErrorKind::Unavailable, "{what}: {refused}");
            }
            assert_eq!(storage.count(OpKind::Sync), syncs, "{what}: a sync was tried again");
        }
        Ok(()) => {
            let applied = index.apply(&batch.updates, None);
            applied.unwrap_or_else(|error| panic!("{what}: {error}"));
            // Kept apart from what reopening compares.
            index.rollback().unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }
    compare(index, root, committed);
}

/// Opened again, it has what was committed, and what is committed from then on survives a power loss.
fn go_on(factory: &'static IndexFactory, storage: &FaultStorage, committed: &Model, root: Root, what: &str) {
    let open = |storage: &FaultStorage| {
        let opened = (factory.open)(context(factory, Arc::new(storage.clone()), small(factory)));
        opened.unwrap_or_else(|error| panic!("{what}: it does not open: {error}"))
    };
    let lost = open(&storage.crash_image(&CrashOptions::SYNCED_ONLY));
    compare(&*lost, root, committed);
    let index = open(storage);
    compare(&*index, root, committed);
    // A commit whose slot was written, but not synced, counts for a process that goes on.
    index.reset_to(root).expect("it is there");
    let mut model = committed.clone();
    let batch = random_batch(&mut Random::new(root.0), &mut model, 60);
    let written = index.apply(&batch.updates, None).and_then(|()| index.commit());
    let root = written.unwrap_or_else(|error| panic!("{what}: it does not go on: {error}"));
    assert_sound(&*index);
    drop(index);
    let lost = open(&storage.crash_image(&CrashOptions::SYNCED_ONLY));
    compare(&*lost, root, &model);
    assert_sound(&*lost);
}

/// The numbers to try: the first ones, then ever fewer.
fn numbers(tries: u64) -> impl Iterator<Item = u64> {
    (1..).scan(1u64, move |next, _| {
        let now = *next;
        *next += 1 + now / tries;
        Some(now)
    })
}

fn fail_each(factory: &'static IndexFactory, faults: &[Fault]) {
    let tries = extent("KODIAK_FAULT_POINTS", [2, u64::MAX, u64::MAX]);
    for kind in KINDS {
        for &fault in faults {
            for sticky in [false, true] {
                // Byte by byte, once is enough.
                let most = if sticky && fault == Fault::ShortOne {
                    2
                } else {
                    usize::MAX
                };
                for (round, nth) in numbers(tries).take(most).enumerate() {
                    let rule = FaultRule::nth(kind, nth, fault);
                    let rule = if sticky { rule.sticky() } else { rule };
                    let what = format!(
                        "{} {kind:?} number {nth} {fault:?} (sticky: {sticky})",
                        factory.component.name
                    );
                    let fired = fail(factory, rule.into(), nth, &what);
                    // A file need not be cut, and transfers are the only ones that can be short.
                    let is_transfer = matches!(kind, OpKind::Read | OpKind::Write);
                    let optional =
                        kind == OpKind::Trim || (matches!(fault, Fault::ShortOne | Fault::ShortHalf) && !is_transfer);
                    assert!(fired || round > 0 || optional, "{what}: it never failed");
                    if !fired {
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn a_failing_operation_harms_nothing_committed() {
    for factory in kodiak_indexes::ALL {
        fail_each(factory, &[Fault::Eio, Fault::Enospc]);
    }
}

#[test]
fn interruptions_and_short_transfers_harm_nothing_committed() {
    for factory in kodiak_indexes::ALL {
        fail_each(factory, &[Fault::Interrupted, Fault::ShortOne, Fault::ShortHalf]);
    }
}

#[test]
fn writes_go_on_once_a_full_disk_has_room_again_and_nothing_is_left_over() {
    for factory in kodiak_indexes::ALL {
        let storage = FaultStorage::with_seed(2);
        let make = || context(factory, Arc::new(storage.clone()), small(factory));
        let mut index = (factory.create)(make()).expect("healthy");
        let (mut model, mut random) = (Model::new(), Random::new(8));
        let (mut committed, mut full, mut used) = (Model::new(), 0, Vec::new());
        let mut root = index.roots()[0];
        for cycle in 0..100u64 {
            // Files that grow find no room, and later whatever is written.
            let kind = [OpKind::Grow, OpKind::Write][cycle as usize % 2];
            let view = index
                .view(*index.roots().last().expect("one is always there"))
                .expect("it is there");
            storage.set_plan(FaultRule::nth(kind, 1 + cycle / 2 % 12, Fault::Enospc).sticky());
            let batch = random_batch(&mut random, &mut model, 150);
            let written = index.apply(&batch.updates, None).and_then(|()| index.commit());
            check_view(&view, &committed, "a full disk");
            storage.set_plan(FaultPlan::none());
            let written = written.or_else(|error| {
                assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                full += 1;
                drop(view);
                if index.rollback().is_err() {
                    // Nobody knows which slot the disk has.
                    index = (factory.open)(make()).expect("it is sound");
                }
                // A commit that failed may be there all the same.
                index.reset_to(root).expect("it is there");
                model.clone_from(&committed);
                let batch = random_batch(&mut random, &mut model, 50);
                index.apply(&batch.updates, None).and_then(|()| index.commit())
            });
            root = written.expect("there is room again");
            committed.clone_from(&model);
            compare(&*index, root, &committed);
            for old in index.roots().into_iter().filter(|old| *old < root) {
                index.release(old).expect("an older root");
            }
            assert_sound(&*index);
            used.push(index.stats().used_bytes);
        }
        assert!(full > 30, "the disk was full {full} times");
        let (early, late) = (used[20..50].iter().max(), used[70..].iter().max());
        let (early, late) = (*early.expect("thirty"), *late.expect("thirty"));
        assert!(late < early * 2, "{late} bytes are used where {early} were");
    }
}
