//! Upserts of one key, whose operands wait together, cost as much as upserts of many. One test only: the allocator counts for the whole
//! process.
#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::PATH;
use kodiak_core::index::{IndexContext, IndexFactory, Updates, Upsert};
use kodiak_core::options::Options;
use kodiak_storage::MemoryStorage;

struct Counting;

/// Bytes handed out so far: what is copied is copied to some of them.
static HANDED_OUT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HANDED_OUT.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The last operand counts. It cannot say what two do together.
#[derive(Debug)]
struct Last;

impl Upsert for Last {
    fn name(&self) -> &str {
        "last"
    }

    fn apply(&self, _key: &[u8], _existing: Option<&[u8]>, operand: &[u8]) -> Option<Vec<u8>> {
        Some(operand.to_vec())
    }
}

/// Bytes that the allocator hands out for so many upserts of one key, or of many.
fn cost(factory: &IndexFactory, upserts: u32, one_key: bool, batch: u32) -> usize {
    let context = IndexContext {
        storage: Arc::new(MemoryStorage::new()),
        path: PATH.into(),
        pool: (factory.pool)(64 << 20),
        options: Options::defaults(factory.component.options),
        upsert: Some(Arc::new(Last)),
        owner: Vec::new(),
    };
    let index = (factory.create)(context).expect("a new index");
    let mut updates = Updates::new();
    let before = HANDED_OUT.load(Ordering::Relaxed);
    for start in (0..upserts).step_by(batch as usize) {
        updates.clear();
        for number in start..(start + batch).min(upserts) {
            let key = if one_key { 0 } else { number };
            updates.upsert(&key.to_be_bytes(), &number.to_le_bytes());
        }
        index.apply(&updates, None).expect("a sound batch");
    }
    let cost = HANDED_OUT.load(Ordering::Relaxed) - before;
    let last = if one_key { 0 } else { upserts - 1 };
    let value = index.get(&last.to_be_bytes()).expect("a sound state");
    assert_eq!(value.as_deref(), Some(&(upserts - 1).to_le_bytes()[..]));
    cost
}

#[test]
fn upserts_of_one_key_cost_no_more_than_those_of_many() {
    const UPSERTS: u32 = 10_000;
    for factory in kodiak_indexes::ALL {
        // One by one they only wait together where there are buffers to wait in.
        let batches: &[u32] = if factory.capabilities.blind_writes {
            &[1, UPSERTS]
        } else {
            &[UPSERTS]
        };
        for &batch in batches {
            let (one, many) = (
                cost(factory, UPSERTS, true, batch),
                cost(factory, UPSERTS, false, batch),
            );
            assert!(
                one < 2 * many,
                "{} in batches of {batch}: {one} bytes for upserts of one key, {many} for upserts of many",
                factory.component.name
            );
        }
    }
}
