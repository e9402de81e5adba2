//! Writers, readers and scans at once, on threads that are joined one by one, over tables that are never dropped: so that a thread
//! sanitizer without an instrumented standard library has nothing to complain of but the tables themselves (`docs/testing.md`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use kodiak_core::entry::{EntryRef, MAX_SEQ, Op};
use kodiak_core::memtable::Memtable;

const WRITES: u64 = 3000;

/// What all threads of a test share, for ever.
struct Shared {
    table: Arc<dyn Memtable>,
    /// Numbers of entries below these, one for each writer, are in the table.
    written: [AtomicU64; 2],
}

fn key(writer: usize, number: u64) -> Vec<u8> {
    // Of different lengths, some a prefix of others, close to those of the other writer.
    let text = format!("{:04}", number * 7919 % WRITES);
    [
        text.as_bytes(),
        &b"~~~~~~~~~~~~"[..(number % 12) as usize],
        &[writer as u8],
    ]
    .concat()
}

fn value(writer: usize, number: u64) -> Vec<u8> {
    vec![number as u8; 10 + (number as usize * 31 + writer) % 90]
}

fn write(shared: &Shared, writer: usize) {
    for number in 0..WRITES {
        let (key, value) = (key(writer, number), value(writer, number));
        let entry = EntryRef {
            key: &key,
            seq: 1 + 2 * number + writer as u64,
            op: Op::Put,
            value: &value,
        };
        shared.table.insert(entry).expect("there is room");
        shared.written[writer].store(number + 1, Ordering::Release);
    }
}

fn read(shared: &Shared, writer: usize) {
    let mut draw = 1u64;
    loop {
        let below = shared.written[writer].load(Ordering::Acquire);
        for _ in 0..below.min(20) {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = (draw >> 33) % below;
            let found = shared.table.get(&key(writer, number), MAX_SEQ).expect("it was written");
            assert_eq!(found.value, value(writer, number));
        }
        if below == WRITES {
            return;
        }
    }
}

fn scan(shared: &Shared) {
    loop {
        let least: u64 = shared
            .written
            .iter()
            .map(|written| written.load(Ordering::Acquire))
            .sum();
        let mut cursor = Arc::clone(&shared.table).cursor();
        cursor.seek_first().expect("seeks");
        let (mut count, mut last) = (0, Vec::new());
        while let Some(entry) = cursor.entry() {
            assert!(count == 0 || entry.key > last.as_slice(), "keys ascend");
            last = entry.key.to_vec();
            assert!(entry.value.iter().all(|&byte| byte == entry.value[0]));
            count += 1;
            cursor.next().expect("moves");
        }
        assert!(count >= least, "{count} of {least}");
        if least == 2 * WRITES {
            return;
        }
    }
}

#[test]
fn what_was_written_is_read_while_others_write() {
    for factory in kodiak_memtables::ALL {
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            table: factory.create_default(4 << 20).expect("default options"),
            written: [AtomicU64::new(0), AtomicU64::new(0)],
        }));
        let writers = if factory.capabilities.concurrent_insert {
            vec![thread::spawn(|| write(shared, 0)), thread::spawn(|| write(shared, 1))]
        } else {
            vec![thread::spawn(|| {
                write(shared, 0);
                write(shared, 1);
            })]
        };
        let readers = [
            thread::spawn(|| read(shared, 0)),
            thread::spawn(|| read(shared, 1)),
            thread::spawn(|| scan(shared)),
        ];
        for thread in writers.into_iter().chain(readers) {
            thread.join().unwrap_or_else(|_| panic!("{}", factory.component.name));
        }
        assert_eq!(shared.table.len(), 2 * WRITES as usize, "{}", factory.component.name);
    }
}
