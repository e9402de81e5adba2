//! A file gives space at its end back, and no crash finds anything missing then.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{PATH, context, small};
use kodiak_core::conformance::index::{assert_sound, entries};
use kodiak_core::index::{Index, IndexFactory, Root, Updates};
use kodiak_core::storage::Storage;
use kodiak_storage::{BlockSize, CrashOptions, FaultStorage, Moment};

/// Keys that are put at first, and commits after all of them but one are deleted.
const KEYS: u32 = 16_000;
const LATER: u64 = 64;

/// What one commit made.
struct Commit {
    /// The mutations of the storage until then.
    mutations: u64,
    root: u64,
    /// The length of the file.
    len: u64,
}

fn release_old(index: &dyn Index) {
    let roots = index.roots();
    for old in &roots[..roots.len() - 1] {
        index.release(*old).expect("an older root");
    }
}

/// Many keys, none but "key", and a value of that in every commit from then on, its number.
fn script(factory: &'static IndexFactory, storage: &FaultStorage) -> Vec<Commit> {
    let index = (factory.create)(context(factory, Arc::new(storage.clone()), small(factory))).expect("healthy");
    let mut updates = Updates::new();
    for number in 0..KEYS {
        updates.put(&number.wrapping_mul(0x9E37_79B9).to_be_bytes(), &[1; 100]);
    }
    index.apply(&updates, None).expect("healthy");
    index.commit().expect("healthy");
    updates.clear();
    updates.delete_range(b"", None);
    index.apply(&updates, None).expect("healthy");
    let mut commits = Vec::new();
    for round in 0..LATER {
        updates.clear();
        updates.put(b"key", &round.to_le_bytes());
        index.apply(&updates, None).expect("healthy");
        let root = index.commit().expect("healthy").0;
        release_old(&*index);
        commits.push(Commit {
            mutations: storage.mutations(),
            root,
            len: storage.len(Path::new(PATH)).expect("healthy").expect("it is there"),
        });
    }
    commits
}

#[test]
fn a_file_whose_entries_are_gone_gets_short_and_is_whole_after_a_crash_at_any_moment() {
    for factory in kodiak_indexes::ALL {
        let storage = FaultStorage::with_seed(1);
        let commits = script(factory, &storage);
        let (first, last) = (&commits[0], &commits[commits.len() - 1]);
        let name = factory.component.name;
        assert!(
            first.len > 1_500_000 && last.len < first.len / 2,
            "{name}: {} to {}",
            first.len,
            last.len
        );
        // The commits that give something back, and the ones after them.
        let shorter = commits.windows(3).filter(|three| three[1].len < three[0].len);
        for mutation in shorter.flat_map(|three| three[0].mutations + 1..=three[2].mutations) {
            let storage = FaultStorage::with_seed(1);
            let survival = [0, 50, 100][mutation as usize % 3];
            let moment = [Moment::Before, Moment::After][mutation as usize % 2];
            storage.crash_at(mutation, moment, CrashOptions::new(survival, BlockSize::Page, mutation));
            script(factory, &storage);
            let image = storage.take_crash_image().expect("the mutation has come");
            let done = commits.iter().rev().find(|commit| commit.mutations < mutation);
            let least = done.expect("the first has").root;
            let index = (factory.open)(context(factory, Arc::new(image), small(factory)))
                .unwrap_or_else(|error| panic!("{name} at mutation {mutation}: {error}"));
            let newest = index.roots().last().expect("one is always there").0;
            assert!(
                newest == least || newest == least + 1,
                "{name} at mutation {mutation}: {newest}, not {least}"
            );
            let view = index.view(Root(newest)).expect("it is there");
            let round = newest - first.root;
            let expected = vec![(b"key".to_vec(), round.to_le_bytes().to_vec())];
            assert_eq!(
                entries(&view).expect("sound"),
                expected,
                "{name} at mutation {mutation}"
            );
            assert_sound(&*index);
        }
    }
}

#[test]
fn a_view_keeps_what_lies_behind_the_rest() {
    for factory in kodiak_indexes::ALL {
        let storage = FaultStorage::with_seed(1);
        let index = (factory.create)(context(factory, Arc::new(storage.clone()), small(factory))).expect("healthy");
        let mut updates = Updates::new();
        for number in 0..KEYS {
            updates.put(&number.to_be_bytes(), &[1; 100]);
        }
        index.apply(&updates, None).expect("healthy");
        let view = index.view(index.commit().expect("healthy")).expect("it is there");
        updates.clear();
        updates.delete_range(b"", None);
        index.apply(&updates, None).expect("healthy");
        let len = || storage.len(Path::new(PATH)).expect("healthy").expect("it is there");
        let commit = || {
            for round in 0..LATER {
                let mut updates = Updates::new();
                updates.put(b"key", &round.to_le_bytes());
                index.apply(&updates, None).expect("healthy");
                index.commit().expect("healthy");
                release_old(&*index);
            }
        };
        commit();
        assert!(len() > 1_500_000, "{}", len());
        assert_eq!(entries(&view).expect("sound").len(), KEYS as usize);
        drop(view);
        commit();
        assert!(len() < 1_000_000, "{}", len());
        assert_sound(&*index);
    }
}
