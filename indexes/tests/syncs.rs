//! A commit that synced once counts only if all of it is there.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{context, put, small};
use kodiak_core::conformance::index::assert_sound;
use kodiak_core::index::{Index, IndexFactory, Root, Updates};
use kodiak_core::storage::Storage;
use kodiak_storage::MemoryStorage;

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
    file[4096 + 48] = 0;
    let crc = crc32fast::hash(&file[4096..4096 + 508]);
    file[4096 + 508..4096 + 512].copy_from_slice(&crc.to_le_bytes());
    (before, file)
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
