//! Crash tests of the indexes notice a storage that breaks its promises; without a bug they find nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use kodiak_core::conformance::index::{Append, Model, entries};
use kodiak_core::index::{IndexContext, IndexFactory, Root, Updates};
use kodiak_core::options::{OptionValue, Options};
use kodiak_core::storage::Storage;
use kodiak_storage::{BlockSize, CrashOptions, FaultStorage, Moment};
use kodiak_tests::crash::buggy::{Bug, BuggyStorage};

fn context(factory: &IndexFactory, storage: Arc<dyn Storage>) -> IndexContext {
    let small = [
        ("page_size", 4 << 10),
        ("node_size", 16 << 10),
        ("basement_size", 4 << 10),
        ("fanout", 4),
    ];
    let known = factory.component.options;
    let given = small
        .iter()
        .filter(|(name, _)| known.iter().any(|option| option.name == *name))
        .map(|(name, value)| ((*name).to_owned(), OptionValue::Int(*value)));
    let options = Options::resolve(known, given).expect("valid options");
    IndexContext {
        storage,
        path: PathBuf::from("/db/x.index"),
        pool: (factory.pool)((factory.smallest_pool)(&options)),
        options,
        upsert: Some(Arc::new(Append)),
    }
}

/// Commits, and returns what each root holds, and after which mutation it was acknowledged.
fn script(factory: &IndexFactory, fault: &Arc<FaultStorage>, storage: Arc<dyn Storage>) -> Vec<(u64, Root, Model)> {
    fault.create_dir_all("/db".as_ref()).expect("healthy");
    let index = (factory.create)(context(factory, storage)).expect("healthy");
    let mut model = Model::new();
    let mut done = vec![(fault.mutations(), index.roots()[0], Model::new())];
    for round in 0..8u32 {
        let mut updates = Updates::new();
        for number in 0..90u32 {
            let key = number.wrapping_mul(2_654_435_761) % 700 + round;
            let value = vec![round as u8; 30];
            updates.put(&key.to_be_bytes(), &value);
            model.insert(key.to_be_bytes().to_vec(), value);
        }
        index.apply(&updates, None).expect("healthy");
        let root = index.commit().expect("healthy");
        done.push((fault.mutations(), root, model.clone()));
        index.release(done[done.len() - 2].1).expect("an older root");
    }
    done
}

/// How many crash points leave less than was acknowledged, or something else.
fn wrong_images(factory: &'static IndexFactory, bug: Option<Bug>) -> usize {
    let make = || {
        let fault = Arc::new(FaultStorage::with_seed(3));
        let storage: Arc<dyn Storage> = match bug {
            Some(bug) => Arc::new(BuggyStorage::new(Arc::clone(&fault), bug)),
            None => Arc::clone(&fault) as _,
        };
        (fault, storage)
    };
    let (fault, storage) = make();
    let done = script(factory, &fault, storage);
    let states: BTreeMap<Root, &Model> = done.iter().map(|(_, root, model)| (*root, model)).collect();
    let mut wrong = 0;
    for mutation in 1..=fault.mutations() {
        let (fault, storage) = make();
        let survival = [0, 50, 90][mutation as usize % 3];
        fault.crash_at(
            mutation,
            Moment::After,
            CrashOptions::new(survival, BlockSize::Page, mutation),
        );
        script(factory, &fault, storage);
        let Some(image) = fault.take_crash_image() else {
            continue;
        };
        let acknowledged = done
            .iter()
            .rev()
            .find(|(after, ..)| *after < mutation)
            .map(|(_, root, _)| *root);
        let sound = match (factory.open)(context(factory, Arc::new(image))) {
            Err(_) => acknowledged.is_none(),
            Ok(index) => {
                let newest = *index.roots().last().expect("one is always there");
                let read = index.view(newest).and_then(|view| entries(&view));
                let expected = states
                    .get(&newest)
                    .map(|model| (*model).clone().into_iter().collect::<Vec<_>>());
                Some(newest) >= acknowledged && read.ok() == expected
            }
        };
        wrong += usize::from(!sound);
    }
    wrong
}

#[test]
fn a_storage_that_keeps_its_promises_loses_nothing() {
    for factory in kodiak_indexes::ALL {
        assert_eq!(wrong_images(factory, None), 0, "{}", factory.component.name);
    }
}

#[test]
fn every_planted_bug_is_noticed() {
    let bugs = [
        Bug::LogNotSynced("index"),
        Bug::LogSyncedSometimes("index"),
        Bug::WritesSwapped("index"),
        Bug::DirNotSynced("db"),
    ];
    for factory in kodiak_indexes::ALL {
        for bug in bugs {
            assert!(
                wrong_images(factory, Some(bug)) > 0,
                "{}: {bug:?}",
                factory.component.name
            );
        }
    }
}
