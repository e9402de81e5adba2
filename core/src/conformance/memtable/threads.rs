//! Threads at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Random, create, put};
use crate::entry::{EntryCursor, MAX_SEQ, SeqNo, compare};
use crate::memtable::{Memtable, MemtableFactory};

/// Beside one writer, readers find at once what was acknowledged, in order and whole.
pub fn readers_see_all_that_was_acknowledged(factory: &MemtableFactory) {
    for sequential in [false, true] {
        let table = create(factory);
        let acknowledged = AtomicU64::new(0);
        let count = if factory.capabilities.fast_cursor {
            20_000_u64
        } else {
            3_000
        };
        let key = |n: u64| {
            let scattered = if sequential {
                n
            } else {
                n.wrapping_mul(0x9E37_79B9_7F4A_7C15)
            };
            format!("key/{scattered:020}").into_bytes()
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..=count {
                    put(&*table, &key(n), n, &n.to_le_bytes());
                    acknowledged.store(n, Ordering::Release);
                }
            });
            scope.spawn(|| {
                let mut random = Random(7);
                loop {
                    let done = acknowledged.load(Ordering::Acquire);
                    for n in [done, random.next() % count.max(1) + 1] {
                        let found = table.get(&key(n), MAX_SEQ);
                        assert!(found.is_some() || n == 0 || n > done, "{n} of {done} is not found");
                        assert!(found.is_none_or(|found| found.seq == n && found.value == n.to_le_bytes()));
                    }
                    if done == count {
                        break;
                    }
                }
            });
            scope.spawn(|| {
                loop {
                    let done = acknowledged.load(Ordering::Acquire);
                    assert_eq!(
                        count_up_to(&mut *Arc::clone(&table).cursor(), done, false),
                        done,
                        "forwards"
                    );
                    assert_eq!(
                        count_up_to(&mut *Arc::clone(&table).cursor(), done, true),
                        done,
                        "backwards"
                    );
                    if done == count {
                        break;
                    }
                }
            });
        });
    }
}

/// Scans everything, checks the order, and counts the entries up to `seq`.
fn count_up_to(cursor: &mut dyn EntryCursor, seq: SeqNo, backwards: bool) -> u64 {
    if backwards {
        cursor.seek_last()
    } else {
        cursor.seek_first()
    }
    .expect("seeks");
    let (mut count, mut last) = (0, None::<Vec<u8>>);
    while let Some(entry) = cursor.entry() {
        if let Some(last) = &mut last {
            assert!(
                if backwards {
                    entry.key < &last[..]
                } else {
                    entry.key > &last[..]
                },
                "out of order"
            );
            last.clear();
            last.extend_from_slice(entry.key);
        } else {
            last = Some(entry.key.to_vec());
        }
        assert_eq!(entry.value, entry.seq.to_le_bytes(), "torn entry");
        count += u64::from(entry.seq <= seq);
        if backwards { cursor.prev() } else { cursor.next() }.expect("moves");
    }
    count
}

/// Writers of scattered keys at once: each sees its own at once, and all are there in the end.
pub fn concurrent_writers_lose_nothing(factory: &MemtableFactory) {
    writers_lose_nothing(factory, |n| {
        n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes().to_vec()
    });
}

/// Writers that fight for the same places: neighbouring keys, in ascending order.
pub fn concurrent_writers_of_neighbouring_keys_lose_nothing(factory: &MemtableFactory) {
    writers_lose_nothing(factory, |n| format!("the/same/beginning/{n:012}").into_bytes());
}

fn writers_lose_nothing(factory: &MemtableFactory, key: impl Fn(u64) -> Vec<u8> + Sync) {
    const WRITERS: u64 = 4;
    let each = if factory.capabilities.fast_get { 5_000 } else { 500 };
    let (table, key) = (create(factory), &key);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let table = &table;
            scope.spawn(move || {
                for n in (1 + writer..=each * WRITERS).step_by(WRITERS as usize) {
                    put(&**table, &key(n), n, &n.to_le_bytes());
                    let found = table.get(&key(n), MAX_SEQ);
                    assert!(
                        found.is_some_and(|found| found.seq == n),
                        "a writer does not find its own {n}"
                    );
                }
            });
        }
    });
    let count = each * WRITERS;
    assert_eq!(table.len() as u64, count);
    assert_eq!(count_up_to(&mut *Arc::clone(&table).cursor(), count, false), count);
    assert_eq!(count_up_to(&mut *Arc::clone(&table).cursor(), count, true), count);
    for n in 1..=count {
        let found = table.get(&key(n), MAX_SEQ);
        assert_eq!(found.map(|found| found.seq), Some(n));
    }
}

/// Four threads over few keys with many versions: writers (one, if the table takes only one), a reader of single versions,
/// and one that scans to and fro. Whatever they interleave, what was acknowledged is there, whole and in order.
pub fn readers_and_writers_agree(factory: &MemtableFactory) {
    let writers = if factory.capabilities.concurrent_insert { 2 } else { 1 };
    let each = if factory.capabilities.fast_cursor { 6_000 } else { 600 };
    let run = Run {
        table: create(factory),
        acknowledged: (0..writers).map(|_| AtomicU64::new(0)).collect(),
        each,
    };
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let run = &run;
            scope.spawn(move || {
                for n in 1..=each {
                    let seq = run.seq(writer, n);
                    put(&*run.table, &Run::key(n), seq, &seq.to_le_bytes());
                    run.acknowledged[writer].store(n, Ordering::Release);
                }
            });
        }
        scope.spawn(|| run.read_versions());
        scope.spawn(|| run.scan_to_and_fro());
    });
}

/// What the threads of [`readers_and_writers_agree`] share.
struct Run {
    table: Arc<dyn Memtable>,
    acknowledged: Vec<AtomicU64>,
    each: u64,
}

impl Run {
    /// The key of a writer's `n`th entry: all writers go through the same ones.
    fn key(n: u64) -> Vec<u8> {
        match n % 3 {
            // Ascending, each once per writer.
            0 => format!("ascending/{n:08}").into_bytes(),
            // Again and again.
            1 => format!("often/{:02}", n * 7 % 97).into_bytes(),
            _ => n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[..3].to_vec(),
        }
    }

    fn seq(&self, writer: usize, n: u64) -> SeqNo {
        n * self.acknowledged.len() as u64 + writer as u64
    }

    /// How many entries of each writer were acknowledged.
    fn done(&self) -> Vec<u64> {
        self.acknowledged.iter().map(|n| n.load(Ordering::Acquire)).collect()
    }

    fn is_over(&self, done: &[u64]) -> bool {
        done.iter().all(|&n| n == self.each)
    }

    fn read_versions(&self) {
        let mut random = Random(17);
        loop {
            let done = self.done();
            for (writer, &acknowledged) in done.iter().enumerate().filter(|(_, n)| **n > 0) {
                let n = random.next() % acknowledged + 1;
                let (key, seq) = (Self::key(n), self.seq(writer, n));
                let found = self.table.get(&key, seq).expect("it was acknowledged");
                assert!(
                    found.seq == seq && found.value == seq.to_le_bytes(),
                    "{found:?} at {seq}"
                );
                let newest = self.table.get(&key, MAX_SEQ).expect("it was acknowledged");
                assert!(
                    newest.seq >= seq && newest.value == newest.seq.to_le_bytes(),
                    "{newest:?}"
                );
            }
            if self.is_over(&done) {
                return;
            }
        }
    }

    fn scan_to_and_fro(&self) {
        let mut random = Random(18);
        let mut cursor = Arc::clone(&self.table).cursor();
        loop {
            let done = self.done();
            cursor.seek_first().expect("seeks");
            let mut seen = 0;
            let mut last = None;
            while let Some(place) = place_of(&*cursor) {
                assert!(last.is_none_or(|last| is_before(&last, &place)), "out of order");
                let (n, writer) = (place.1 / done.len() as u64, place.1 % done.len() as u64);
                seen += u64::from(n <= done[writer as usize]);
                if random.below(64) == 0 {
                    self.step_back_and_forth(&mut *cursor, &place);
                }
                cursor.next().expect("moves");
                last = Some(place);
            }
            assert_eq!(seen, done.iter().sum::<u64>(), "the scan missed or repeated entries");
            if self.is_over(&done) {
                return;
            }
        }
    }

    /// Goes back a few entries and comes forward to `place` again.
    fn step_back_and_forth(&self, cursor: &mut dyn EntryCursor, place: &(Vec<u8>, SeqNo)) {
        let mut last = place.clone();
        for _ in 0..5 {
            cursor.prev().expect("moves");
            let Some(before) = place_of(cursor) else { break };
            assert!(is_before(&before, &last), "out of order backwards");
            last = before;
        }
        cursor.seek(&last.0, last.1).expect("seeks");
        assert_eq!(place_of(cursor).as_ref(), Some(&last), "a seek misses what was there");
        cursor.seek(&place.0, place.1).expect("seeks");
        assert_eq!(place_of(cursor).as_ref(), Some(place));
    }
}

fn is_before(left: &(Vec<u8>, SeqNo), right: &(Vec<u8>, SeqNo)) -> bool {
    compare((&left.0, left.1), (&right.0, right.1)).is_lt()
}

/// Key and sequence number under the cursor, the value being whole.
fn place_of(cursor: &dyn EntryCursor) -> Option<(Vec<u8>, SeqNo)> {
    let entry = cursor.entry()?;
    assert_eq!(entry.value, entry.seq.to_le_bytes(), "torn entry");
    Some((entry.key.to_vec(), entry.seq))
}
