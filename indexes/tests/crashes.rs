//! What a crash at every write leaves, what a full disk does, and what damage is called.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::{context, put, random_batch, small};
use kodiak_core::ErrorKind;
use kodiak_core::conformance::index::{Model, Random, assert_sound, compare};
use kodiak_core::index::{Index, IndexFactory, Root};
use kodiak_core::storage::Storage;
use kodiak_storage::{BlockSize, CrashOptions, Fault, FaultRule, FaultStorage, MemoryStorage, Moment, OpKind};

/// What a script did before it was stopped, or all of it.
#[derive(Default)]
struct Done {
    /// What each root that was committed holds, also those released since.
    roots: BTreeMap<u64, Model>,
    /// The last commit that returned, and the one that was running.
    acknowledged: u64,
    /// By mutation of the storage: the last commit that had returned when it began.
    at_mutation: Vec<(u64, u64)>,
}

/// Batches, commits, releases, a rollback and a reset.
fn script(factory: &'static IndexFactory, storage: &FaultStorage) -> Done {
    let mut done = Done::default();
    let index = (factory.create)(context(factory, Arc::new(storage.clone()), small(factory))).expect("healthy");
    done.roots.insert(1, Model::new());
    done.acknowledged = 1;
    done.at_mutation.push((storage.mutations(), 1));
    let (mut model, mut random) = (Model::new(), Random::new(11));
    for round in 0..10 {
        let batch = random_batch(&mut random, &mut model, 120);
        index.apply(&batch.updates, None).expect("healthy");
        if round == 4 {
            index.rollback().expect("healthy");
            model = done.roots[&done.acknowledged].clone();
            continue;
        }
        if round == 7 {
            index.reset_to(Root(done.acknowledged - 1)).expect("it is kept");
            model = done.roots[&(done.acknowledged - 1)].clone();
        }
        // The root may survive although its commit has not returned.
        done.roots.insert(done.acknowledged + 1, model.clone());
        let root = index.commit().expect("healthy");
        assert_eq!(root.0, done.acknowledged + 1);
        done.acknowledged = root.0;
        done.at_mutation.push((storage.mutations(), root.0));
        for old in index.roots().into_iter().filter(|old| old.0 + 2 < root.0) {
            index.release(old).expect("an older root");
        }
    }
    done
}

#[test]
fn after_a_crash_at_any_write_every_acknowledged_root_is_there() {
    for factory in kodiak_indexes::ALL {
        let storage = FaultStorage::with_seed(1);
        let done = script(factory, &storage);
        let last = storage.mutations();
        assert!(last > 60, "{last} mutations");
        for mutation in 1..=last {
            let survival = [0, 50, 100][mutation as usize % 3];
            let block = [BlockSize::Sector, BlockSize::Page][mutation as usize % 2];
            let storage = FaultStorage::with_seed(1);
            let moment = if mutation % 5 == 0 {
                Moment::After
            } else {
                Moment::Before
            };
            storage.crash_at(mutation, moment, CrashOptions::new(survival, block, mutation));
            script(factory, &storage);
            let image = storage.take_crash_image().expect("the mutation has come");
            // The number of the last commit that had returned before this mutation began.
            let acknowledged = done
                .at_mutation
                .iter()
                .rev()
                .find(|(after, _)| *after < mutation)
                .map(|(_, root)| *root);
            check_image(factory, image, &done, acknowledged, mutation);
        }
    }
}

fn check_image(
    factory: &'static IndexFactory,
    image: FaultStorage,
    done: &Done,
    acknowledged: Option<u64>,
    mutation: u64,
) {
    let name = factory.component.name;
    let opened = (factory.open)(context(factory, Arc::new(image), small(factory)));
    let index = match (opened, acknowledged) {
        (Ok(index), _) => index,
        (Err(error), None) => {
            assert_eq!(
                error.kind(),
                ErrorKind::NotFound,
                "{name} at mutation {mutation}: {error}"
            );
            return;
        }
        (Err(error), Some(root)) => panic!("{name} at mutation {mutation}: root {root} is lost: {error}"),
    };
    let newest = index.roots().last().expect("one is always there").0;
    let least = acknowledged.unwrap_or(1);
    assert!(
        newest == least || newest == least + 1,
        "{name} at mutation {mutation}: root {newest} where {least} was acknowledged"
    );
    for root in index.roots() {
        compare(&*index, root, &done.roots[&root.0]);
    }
    assert_sound(&*index);
    // It goes on as if nothing had been.
    let (mut model, mut random) = (done.roots[&newest].clone(), Random::new(mutation));
    let batch = random_batch(&mut random, &mut model, 60);
    index.apply(&batch.updates, None).expect("healthy");
    let root = index.commit().expect("healthy");
    compare(&*index, root, &model);
    assert_sound(&*index);
}

/// Runs batches and commits until one fails; returns what is certain and what may be.
fn run_until_failure(index: &dyn Index, random: &mut Random) -> (Model, Option<kodiak_core::Error>, Root) {
    let (mut model, mut committed) = (Model::new(), Model::new());
    let mut root = *index.roots().last().expect("one is always there");
    for _ in 0..12 {
        let batch = random_batch(random, &mut model, 120);
        let result = index.apply(&batch.updates, None).and_then(|()| index.commit());
        match result {
            Ok(new) => (root, committed) = (new, model.clone()),
            Err(error) => return (committed, Some(error), root),
        }
    }
    (committed, None, root)
}

#[test]
fn a_failing_operation_harms_nothing_committed() {
    let kinds = [OpKind::Write, OpKind::Read, OpKind::Sync, OpKind::Grow];
    for factory in kodiak_indexes::ALL {
        for kind in kinds {
            for (fault, sticky) in [(Fault::Eio, false), (Fault::Enospc, true)] {
                let mut fired = 0;
                for nth in (1..).map(|round: u64| round * round) {
                    let storage = FaultStorage::with_seed(nth);
                    let index =
                        (factory.create)(context(factory, Arc::new(storage.clone()), small(factory))).expect("healthy");
                    let rule = FaultRule::nth(kind, nth, fault);
                    storage.set_plan(if sticky { rule.sticky() } else { rule });
                    let (committed, error, root) = run_until_failure(&*index, &mut Random::new(nth));
                    let times = storage.faults_fired();
                    storage.set_plan(FaultRule::nth(kind, u64::MAX, fault));
                    let Some(error) = error else {
                        assert_eq!(times, 0, "a failure was kept quiet");
                        break;
                    };
                    fired += 1;
                    let what = format!("{} {kind:?} {nth} {fault:?}", factory.component.name);
                    assert_eq!(error.kind(), ErrorKind::Io, "{what}: {error}");
                    assert!(error.file().is_some(), "{what}: {error}");
                    after_failure(&*index, &committed, root, &what);
                    drop(index);
                    let index =
                        (factory.open)(context(factory, Arc::new(storage.clone()), small(factory))).expect("it opens");
                    // A commit whose slot was written, but not synced, counts for a process that goes on.
                    let newest = *index.roots().last().expect("one");
                    if newest == root {
                        compare(&*index, root, &committed);
                    }
                    compare(&*index, root, &committed);
                    assert_sound(&*index);
                }
                assert!(fired > 0, "{kind:?} never failed");
            }
        }
    }
}

/// Everything is refused but going back; after that the index works, or has to be opened anew.
fn after_failure(index: &dyn Index, committed: &Model, root: Root, what: &str) {
    let refused = index.commit().expect_err("the working state is half way");
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{what}: {refused}");
    compare(index, root, committed);
    match index.rollback() {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}"),
        Ok(()) => {
            let mut model = committed.clone();
            let batch = random_batch(&mut Random::new(5), &mut model, 100);
            index
                .apply(&batch.updates, None)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            // Kept apart from what reopening compares.
            index.rollback().unwrap_or_else(|error| panic!("{what}: {error}"));
            compare(index, root, committed);
        }
    }
}

/// The bytes of a file with several roots.
fn sample(factory: &'static IndexFactory) -> (Vec<u8>, BTreeMap<u64, Model>) {
    let storage = Arc::new(MemoryStorage::new());
    let index = (factory.create)(context(factory, storage.clone(), small(factory))).expect("healthy");
    let (mut model, mut random, mut roots) = (Model::new(), Random::new(3), BTreeMap::new());
    roots.insert(1, Model::new());
    for _ in 0..5 {
        let batch = random_batch(&mut random, &mut model, 200);
        index.apply(&batch.updates, None).expect("healthy");
        roots.insert(index.commit().expect("healthy").0, model.clone());
    }
    drop(index);
    let file = storage.open(Path::new(common::PATH)).expect("it exists");
    (
        file.read(0, file.len() as usize).expect("within the file").to_vec(),
        roots,
    )
}

#[test]
fn damage_is_found_and_named_and_nothing_false_is_returned() {
    for factory in kodiak_indexes::ALL {
        let (file, roots) = sample(factory);
        let mut random = Random::new(9);
        let (mut refused, mut found) = (0, 0);
        for round in 0..450 {
            let mut damaged = file.clone();
            // Every byte of the slots, then bytes all over.
            let at = match round {
                0..64 => [0, 4096][round % 2] + round * 8,
                _ => random.below(file.len()),
            };
            damaged[at] ^= 1 << random.below(8);
            let storage = Arc::new(MemoryStorage::new());
            put(&*storage, &damaged);
            let index = match (factory.open)(context(factory, storage, small(factory))) {
                Ok(index) => index,
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Corruption), "byte {at}: {error}");
                    assert!(error.file().is_some() && error.offset().is_some(), "byte {at}: {error}");
                    refused += 1;
                    continue;
                }
            };
            let mut findings = Vec::new();
            index
                .verify(&mut |finding| findings.push(finding))
                .expect("a storage that works");
            let mut failed = false;
            for (root, model) in &roots {
                let view = index.view(Root(*root)).expect("it is kept");
                match kodiak_core::conformance::index::entries(&view) {
                    Ok(entries) => assert!(
                        entries == model.clone().into_iter().collect::<Vec<_>>(),
                        "byte {at} of root {root}"
                    ),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Corruption, "byte {at}: {error}");
                        let offset = error.offset().expect("it names the place");
                        assert!(
                            error.file().is_some() && offset <= at as u64 && at as u64 - offset < 1 << 17,
                            "byte {at}: {error}"
                        );
                        failed = true;
                    }
                }
            }
            assert!(
                !failed || !findings.is_empty(),
                "verify did not find what a read found at byte {at}"
            );
            found += usize::from(!findings.is_empty());
        }
        assert!(
            refused >= 64 && found > 30,
            "{}: {refused} refused, {found} found",
            factory.component.name
        );
    }
}

#[test]
fn a_file_cut_at_any_page_is_refused_or_whole() {
    for factory in kodiak_indexes::ALL {
        let (file, roots) = sample(factory);
        let mut whole = 0;
        for len in (0..file.len()).step_by(4096).chain([1, 511, 4097, file.len() - 1]) {
            let storage = Arc::new(MemoryStorage::new());
            put(&*storage, &file[..len]);
            match (factory.open)(context(factory, storage, small(factory))) {
                Ok(index) => {
                    whole += 1;
                    for (root, model) in &roots {
                        compare(&*index, Root(*root), model);
                    }
                }
                Err(error) => assert!(
                    error.kind() == ErrorKind::Corruption && error.file().is_some(),
                    "{len}: {error}"
                ),
            }
        }
        assert!(whole < 64 + 1, "a file that lacks pages in use was opened");
    }
}
