//! A commit that synced once counts only if all of it is there.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{context, put, small};
use kodiak_core::conformance::index::assert_sound;
use kodiak_core::index::{Index, IndexFactory, Root, Updates};
use kodiak_core::storage::Storage;
use kodiak_storage::{CrashOptions, Fault, FaultPlan, FaultRule, FaultStorage, MemoryStorage, OpKind};

/// An index of three commits, and its file without the last bytes of the slots: nobody knows whether the last commit was synced.
fn unsynced(factory: &'static IndexFactory) -> (Vec<u8>, Vec<u8>) {
    let storage = Arc::new(MemoryStorage::new());
    let bytes = |storage: &MemoryStorage| {
        let file = storage.open(Path::new(common::PATH)).expect("it exists");
        file.read(0, file.len() as usize).expect("within the file").to_vec()
    };
    let index = (factory.create)(context(factory, storage.clone(), small(factory))).expect("healthy");
    let mut before = Vec::new();
    for round in 0..2u8 {
        before = bytes(&storage);
        let mut updates = Updates::new();
        updates.put(b"key", &[b'0' + round]);
        index.apply(&updates, None).expect("healthy");
        index.commit().expect("healthy");
    }
    drop(index);
    let mut file = bytes(&storage);
    // Commit 3, in slot 1, as its slot was before the sync came to its end.
    set_unsynced(&mut file[4096..4096 + 512]);
    (before, file)
}

/// The slot as it is before the sync of its commit has come to its end.
fn set_unsynced(slot: &mut [u8]) {
    slot[48] = 0;
    let crc = crc32fast::hash(&slot[..508]);
    slot[508..512].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn a_commit_that_lacks_any_of_its_pages_is_passed_over_and_cannot_come_back() {
    for factory in kodiak_indexes::ALL {
        let (before, file) = unsynced(factory);
        let open = |storage: &Arc<MemoryStorage>| {
            (factory.open)(context(factory, storage.clone(), small(factory))).expect("the commit before is whole")
        };
        let value = |index: &dyn Index| index.get(b"key").expect("healthy");
        let storage = Arc::new(MemoryStorage::new());
        put(&*storage, &file);
        assert_eq!(
            value(&*open(&storage)).as_deref(),
            Some(&b"1"[..]),
            "all of it is there"
        );
        let changed: Vec<usize> = (2..file.len() / 4096)
            .map(|page| page * 4096)
            .filter(|&at| before.get(at..at + 4096) != Some(&file[at..at + 4096]))
            .collect();
        assert!(changed.len() >= 2, "a leaf and an account");
        for at in changed {
            let mut torn = file.clone();
            torn[at..at + 4096].fill(0);
            let storage = Arc::new(MemoryStorage::new());
            put(&*storage, &torn);
            let index = open(&storage);
            assert_eq!(value(&*index).as_deref(), Some(&b"0"[..]), "without the page at {at}");
            assert_eq!(index.roots().last(), Some(&Root(2)));
            // Before anything else is written, its slot goes: else its page, written again, would bring it back.
            let mut updates = Updates::new();
            updates.put(b"other", &[7; 100]);
            index.apply(&updates, None).expect("healthy");
            index.commit().expect("healthy");
            drop(index);
            let index = open(&storage);
            assert_eq!(value(&*index).as_deref(), Some(&b"0"[..]));
            assert_eq!(index.roots().last(), Some(&Root(3)));
            assert_sound(&*index);
        }
    }
}

#[test]
fn a_commit_that_was_passed_over_does_not_come_back_when_its_pages_are_written_again() {
    for factory in kodiak_indexes::ALL {
        let mut updates = Updates::new();
        for number in 0..3000u32 {
            updates.put(&number.wrapping_mul(0x9E37_79B9).to_be_bytes(), &[1; 90]);
        }
        let storage = Arc::new(MemoryStorage::new());
        let index = (factory.create)(context(factory, storage.clone(), small(factory))).expect("healthy");
        index.apply(&updates, None).expect("healthy");
        let early = index.stats().writes;
        assert!(early > 4, "the pool is too large for this test: {early} writes");
        index.commit().expect("healthy");
        drop(index);
        let file = storage.open(Path::new(common::PATH)).expect("it exists");
        let mut file = file.read(0, file.len() as usize).expect("within the file").to_vec();
        // Commit 2, in slot 0, before its sync has come to its end; and without what it wrote first.
        set_unsynced(&mut file[..512]);
        file[3 * 4096..4 * 4096].fill(0);
        let storage = Arc::new(MemoryStorage::new());
        put(&*storage, &file);
        let open = || (factory.open)(context(factory, storage.clone(), small(factory))).expect("commit 1 is whole");
        let index = open();
        assert_eq!(index.roots(), [Root(1)], "a page of commit 2 is missing");
        // The same again, to the same pages, but never committed.
        index.apply(&updates, None).expect("healthy");
        drop(index);
        assert_eq!(open().roots(), [Root(1)], "{}", factory.component.name);
    }
}

#[test]
fn a_small_commit_syncs_once_and_a_large_one_leaves_nothing_to_check() {
    for factory in kodiak_indexes::ALL {
        let storage = Arc::new(MemoryStorage::new());
        let index = (factory.create)(context(factory, storage, small(factory))).expect("healthy");
        let commit = |rounds: u32| {
            for round in 0..rounds {
                let mut updates = Updates::new();
                for number in 0..1000u32 {
                    let key = (round * 1000 + number).wrapping_mul(0x9E37_79B9);
                    updates.put(&key.to_be_bytes(), &[3; 200]);
                }
                index.apply(&updates, None).expect("healthy");
            }
            let before = index.stats().syncs;
            index.commit().expect("healthy");
            index.stats().syncs - before
        };
        // What an opening finds is synced before the first write.
        commit(1);
        assert_eq!(commit(1), 1);
        assert_eq!(commit(40), 2, "{} KiB", index.stats().used_bytes >> 10);
    }
}

#[test]
fn what_a_failed_sync_left_in_memory_only_is_written_again_once_the_file_is_opened() {
    for factory in kodiak_indexes::ALL {
        // The sync of a small commit, those of a large one, and one that fails while the file is opened for the second time.
        for (size, nth) in [(10, 1), (1500, 1), (1500, 2)] {
            let storage = FaultStorage::with_seed(7);
            let open = |storage: &FaultStorage| {
                (factory.open)(context(factory, Arc::new(storage.clone()), small(factory)))
                    .expect("what was committed opens")
            };
            let put = |index: &dyn Index, size: usize, byte: u8| {
                let mut updates = Updates::new();
                for number in 0..size as u32 {
                    updates.put(&number.to_be_bytes(), &vec![byte; 4000.min(size * 4)]);
                }
                index.apply(&updates, None).expect("space");
            };
            let index = (factory.create)(context(factory, Arc::new(storage.clone()), small(factory))).expect("healthy");
            put(&*index, 10, 1);
            index.commit().expect("healthy");
            put(&*index, size, 2);
            storage.set_plan(FaultRule::nth(OpKind::Sync, nth, Fault::Eio));
            index.commit().expect_err("its sync fails");
            storage.set_plan(FaultPlan::none());
            drop(index);
            let index = open(&storage);
            let syncs = storage.count(OpKind::Sync);
            put(&*index, 20, 3);
            let root = index.commit().expect("healthy");
            assert!(storage.count(OpKind::Sync) > syncs);
            drop(index);
            let lost = storage.crash_image(&CrashOptions::SYNCED_ONLY);
            let index = open(&lost);
            assert_eq!(
                index.roots().last(),
                Some(&root),
                "{} {size} {nth}",
                factory.component.name
            );
            let value = index.get(&19u32.to_be_bytes()).expect("healthy").expect("it was put");
            assert_eq!(value[0], 3);
            assert_sound(&*index);
        }
    }
}
