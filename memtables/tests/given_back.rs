//! The memory of a memtable that is gone is the system's again. One test only: it looks at the whole process.

use kodiak_core::entry::{EntryRef, Op};
use kodiak_core::memtable::MemtableFactory;

const SIZE: usize = 64 << 20;

/// Bytes of this process that belong to no file; `None` where there is no `/proc`.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let rest = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    rest.split_whitespace()
        .next()?
        .parse::<usize>()
        .ok()
        .map(|kib| kib << 10)
}

fn fill(factory: &MemtableFactory, bytes: usize) -> std::sync::Arc<dyn kodiak_core::memtable::Memtable> {
    let table = factory.create_default(SIZE).expect("creates");
    let mut seq = 0;
    while table.memory() < bytes {
        seq += 1;
        let entry = EntryRef {
            key: &u64::to_be_bytes(seq),
            seq,
            op: Op::Put,
            value: &[7; 1000],
        };
        table.insert(entry).expect("inserts");
    }
    table
}

#[test]
fn what_lives_longer_does_not_keep_the_memory_of_a_memtable() {
    for factory in kodiak_memtables::ALL {
        let name = factory.component.name;
        let before = resident();
        let mut kept = Vec::new();
        for _ in 0..4 {
            // Pieces as large as a chunk that come and go teach an allocator to keep them.
            drop(vec![1u8; 3 << 20]);
            let table = fill(factory, SIZE / 4);
            kept.push(vec![1u8; 1000]);
            let another = fill(factory, SIZE / 4);
            kept.push(vec![1u8; 1000]);
            drop((table, another));
        }
        let (Some(before), Some(after)) = (before, resident()) else {
            eprintln!("skipped: there is no /proc here to measure with");
            return;
        };
        assert!(
            after < before + (8 << 20),
            "{name}: {} MiB stay behind",
            (after - before) >> 20
        );
    }
}
