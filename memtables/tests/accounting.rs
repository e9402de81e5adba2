//! `memory()` is within 10 % of what the allocator and the system handed out. One test only: the allocator counts for the whole process.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use kodiak_core::entry::{EntryRef, MAX_SEQ, Op};
use kodiak_core::memtable::MemtableFactory;

struct Counting;

static IN_USE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that the process has from the allocator, and memtables from the system.
fn in_use() -> isize {
    IN_USE.load(Ordering::Relaxed) + kodiak_core::memory::mapped_bytes() as isize
}

#[test]
fn memory_is_what_the_allocator_handed_out() {
    for factory in kodiak_memtables::ALL {
        for capacity in [1 << 20, 64 << 20] {
            for (value, count) in [(0, 20_000), (100, 20_000), (5_000, 2_000), (3 << 20, 3)] {
                for sequential in [false, true] {
                    check(factory, capacity, value, count, sequential);
                }
            }
        }
    }
}

fn check(factory: &MemtableFactory, capacity: usize, value: usize, count: u64, sequential: bool) {
    let (name, value) = (factory.component.name, vec![1; value]);
    let before = in_use();
    let table = factory.create_default(capacity).expect("creates");
    for seq in 1..=count {
        let n = if sequential {
            seq
        } else {
            seq.wrapping_mul(0x9E37_79B9_7F4A_7C15)
        };
        let key = (u128::from(n) << 64 | 1).to_be_bytes();
        table
            .insert(EntryRef {
                key: &key,
                seq,
                op: Op::Put,
                value: &value,
            })
            .expect("inserts");
        if seq.is_power_of_two() && seq >= 1024 {
            compare(name, table.memory(), before, seq);
        }
    }
    compare(name, table.memory(), before, count);
    // What reading builds counts as well.
    let mut cursor = std::sync::Arc::clone(&table).cursor();
    cursor.seek(b"", MAX_SEQ).expect("seeks");
    table.freeze();
    compare(name, table.memory(), before, count);
    drop(cursor);
    drop(table);
    // The skip list may leave a few objects to the epoch's collector.
    let left = in_use() - before;
    assert!(left < 64 << 10, "{name}: {left} bytes are left after {count} entries");
}

fn compare(name: &str, said: usize, before: isize, count: u64) {
    let truth = (in_use() - before) as f64;
    let ratio = said as f64 / truth;
    assert!(
        (0.9..=1.1).contains(&ratio),
        "{name}: says {said}, holds {truth} bytes with {count} entries"
    );
}
