//! Indexes that change side by side in one pool.

mod common;

use std::sync::Arc;

use common::small;
use kodiak_core::conformance::index::assert_sound;
use kodiak_core::index::{Index, IndexContext, IndexFactory, Updates};
use kodiak_core::storage::Storage;
use kodiak_storage::MemoryStorage;

const ROUNDS: u64 = 4;
const ENTRIES: u64 = 600;

fn key(writer: u64, number: u64) -> [u8; 8] {
    (number * 64 + writer).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
}

/// Applies batches and commits some of them; every third one comes in small parts.
fn write(index: &dyn Index, writer: u64) {
    let mut updates = Updates::new();
    for round in 0..ROUNDS {
        let part = if round % 3 == 2 { 10 } else { ENTRIES };
        for number in 0..ENTRIES {
            updates.put(&key(writer, round * ENTRIES + number), &[writer as u8; 24]);
            if (number + 1) % part == 0 {
                index.apply(&updates, None).expect("a sound batch");
                updates.clear();
            }
        }
        if round % 2 == 1 {
            index.commit().expect("space");
        }
    }
}

fn side_by_side(factory: &'static IndexFactory, writers: u64, pools: usize) {
    let options = small(factory);
    let pool = (factory.pool)(pools * (factory.smallest_pool)(&options));
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let create = |writer: u64| {
        let context = IndexContext {
            storage: storage.clone(),
            path: format!("/{writer}").into(),
            pool: pool.clone(),
            options: options.clone(),
            upsert: None,
            owner: Vec::new(),
        };
        (factory.create)(context).expect("a new index")
    };
    let indexes: Vec<_> = (0..writers).map(create).collect();
    std::thread::scope(|scope| {
        for (writer, index) in (0..).zip(&indexes) {
            scope.spawn(move || write(&**index, writer));
        }
    });
    let name = factory.component.name;
    assert!(
        pool.peak() <= pool.budget(),
        "{writers} indexes of {name}: {} bytes of {}",
        pool.peak(),
        pool.budget()
    );
    for (writer, index) in (0..).zip(&indexes) {
        index.commit().expect("space");
        assert_sound(&**index);
        for number in (0..ROUNDS * ENTRIES).step_by(97) {
            let value = index.get(&key(writer, number)).expect("a sound state");
            assert_eq!(
                value.as_deref(),
                Some(&[writer as u8; 24][..]),
                "{name} {writer} {number}"
            );
        }
    }
    drop(indexes);
    assert_eq!(pool.used(), 0, "memory is still counted for indexes that are closed");
}

#[test]
fn however_many_write_at_once_the_budget_holds_and_all_come_to_an_end() {
    for factory in kodiak_indexes::ALL {
        for (writers, pools) in [(2, 1), (8, 1), (24, 1), (8, 4)] {
            side_by_side(factory, writers, pools);
        }
    }
}
