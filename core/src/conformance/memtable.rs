//! What every memtable must pass: [`all`] runs everything.
//!
//! The model is a `BTreeMap` ordered by key and descending sequence number.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::entry::{EntryCursor, EntryRef, MAX_SEQ, Op, SeqNo};
use crate::memtable::{Memtable, MemtableFactory, Version};

type Place = (Vec<u8>, Reverse<SeqNo>);
type Row = (Op, Vec<u8>);
type Model = BTreeMap<Place, Row>;

/// Runs the whole suite.
///
/// # Panics
/// If the memtable breaks a promise.
pub fn all(factory: &MemtableFactory) {
    empty_table_has_nothing(factory);
    versions_are_seen_at_their_sequence_numbers(factory);
    operations_and_values_come_back_whole(factory);
    large_entries_fit(factory);
    random_histories_match_the_model(factory);
    cursors_outlive_the_handle(factory);
    borrowed_values_stay_as_the_table_grows(factory);
    cursors_see_what_came_before_their_seek(factory);
    frozen_tables_read_the_same(factory);
    memory_grows_with_what_is_stored(factory);
    readers_see_all_that_was_acknowledged(factory);
    if factory.capabilities.concurrent_insert {
        concurrent_writers_lose_nothing(factory);
        concurrent_writers_of_neighbouring_keys_lose_nothing(factory);
    }
}

fn create(factory: &MemtableFactory) -> Arc<dyn Memtable> {
    factory
        .create_default(1 << 20)
        .expect("default options make a memtable")
}

fn put(table: &dyn Memtable, key: &[u8], seq: SeqNo, value: &[u8]) {
    table
        .insert(EntryRef {
            key,
            seq,
            op: Op::Put,
            value,
        })
        .expect("a small entry is inserted");
}

/// An endless stream of numbers that look random (SplitMix64; Steele, Lea, Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let n = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        n ^ (n >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// The kinds of keys that memtables get wrong.
const KEY_KINDS: usize = 7;

fn key_of_kind(kind: usize, random: &mut Random) -> Vec<u8> {
    match kind {
        // Prefixes of each other, the empty key among them.
        0 => b"abababababababababababab"[..random.below(25)].to_vec(),
        // Zero bytes, alone and in rows: shorter keys must not equal padded ones.
        1 => vec![0; random.below(20)],
        // Zeroes, ones and 0xFF in any order.
        2 => (0..random.below(12))
            .map(|_| [0, 1, 0xFE, 0xFF][random.below(4)])
            .collect(),
        // A shared beginning longer than any inline prefix.
        3 => format!(
            "a-long-beginning-that-all-the-keys-of-this-kind-share/{:06}",
            random.below(3000)
        )
        .into_bytes(),
        // Counters, as databases like them.
        4 => format!("user{:010}", random.below(3000)).into_bytes(),
        // Any bytes.
        5 => (0..random.below(24)).map(|_| random.next() as u8).collect(),
        // Long ones that differ late.
        _ => {
            let mut key = vec![b'x'; 300];
            key[290] = random.next() as u8;
            key.truncate(280 + random.below(20));
            key
        }
    }
}

fn any_key(random: &mut Random) -> Vec<u8> {
    let kind = random.below(KEY_KINDS);
    key_of_kind(kind, random)
}

/// Nothing is found in, and no cursor stands on anything of, a new memtable.
pub fn empty_table_has_nothing(factory: &MemtableFactory) {
    let table = create(factory);
    assert!(table.is_empty());
    assert_eq!(table.len(), 0, "as is_empty says");
    assert_eq!(table.get(b"", MAX_SEQ), None);
    let mut cursor = Arc::clone(&table).cursor();
    assert_eq!(cursor.entry(), None);
    for step in 0..8 {
        match step {
            0 => cursor.seek_first(),
            1 => cursor.seek_last(),
            2 => cursor.seek(b"", MAX_SEQ),
            3 => cursor.seek(b"k", 0),
            4 => cursor.seek_before(b"", MAX_SEQ),
            5 => cursor.seek_before(b"k", 0),
            6 => cursor.next(),
            _ => cursor.prev(),
        }
        .expect("moves");
        assert_eq!(cursor.entry(), None, "after step {step}");
    }
    table.freeze();
    assert!(table.is_empty());
}

/// A get finds the newest version that is not newer than asked for, whatever order the versions came in.
pub fn versions_are_seen_at_their_sequence_numbers(factory: &MemtableFactory) {
    for key in [
        b"".as_slice(),
        b"k",
        b"\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"0123456789abcdef",
    ] {
        let table = create(factory);
        for seq in [40, 10, 30, 20, 50_u64] {
            put(&*table, key, seq, &seq.to_le_bytes());
            // Neighbours on both sides must not be taken for it.
            put(&*table, &[key, b"\0"].concat(), seq, b"longer");
            if let Some((_, shorter)) = key.split_last() {
                put(&*table, shorter, seq, b"shorter");
            }
        }
        for seq in 0..60 {
            let found = table.get(key, seq).map(|version| version.seq);
            assert_eq!(
                found,
                (seq >= 10).then(|| (seq / 10 * 10).min(50)),
                "at {seq} of {key:?}"
            );
        }
        assert_eq!(
            table.get(key, MAX_SEQ),
            Some(Version {
                seq: 50,
                op: Op::Put,
                value: &50_u64.to_le_bytes()
            })
        );
        assert_eq!(table.get(&[key, b"x"].concat(), MAX_SEQ), None);
    }
}

/// Every operation and value, the empty one too, and the extreme sequence numbers.
pub fn operations_and_values_come_back_whole(factory: &MemtableFactory) {
    let table = create(factory);
    let ops = [Op::Put, Op::Delete, Op::Merge];
    for (seq, len) in [0, 1, 255, 256, 65_535, 65_536, 100_000].into_iter().enumerate() {
        for op in ops {
            let value = vec![seq as u8; if op == Op::Delete { 0 } else { len }];
            let entry = EntryRef {
                key: &[op as u8],
                seq: seq as u64,
                op,
                value: &value,
            };
            table.insert(entry).expect("inserts");
            let found = table.get(&[op as u8], seq as u64);
            assert_eq!(
                found,
                Some(Version {
                    seq: seq as u64,
                    op,
                    value: &value
                })
            );
        }
    }
    put(&*table, b"last", MAX_SEQ, b"v");
    assert_eq!(table.get(b"last", MAX_SEQ).map(|version| version.seq), Some(MAX_SEQ));
    assert_eq!(table.get(b"last", MAX_SEQ - 1), None);
    assert_eq!(table.len(), 7 * ops.len() + 1);
}

/// Keys of 1 MiB that differ in their last byte, and a value of 12 MiB.
pub fn large_entries_fit(factory: &MemtableFactory) {
    let table = create(factory);
    let mut key = vec![0xAB; 1 << 20];
    let value: Vec<u8> = (0..12 << 20).map(|at| (at / 4096) as u8).collect();
    put(&*table, b"before", 1, b"small");
    for last in [3, 1, 2] {
        *key.last_mut().expect("not empty") = last;
        put(&*table, &key, 2, &[last]);
    }
    put(&*table, b"big", 3, &value);
    assert_eq!(
        table.get(b"big", MAX_SEQ).map(|version| version.value),
        Some(&value[..])
    );
    let mut cursor = Arc::clone(&table).cursor();
    cursor.seek(&key[..key.len() - 1], MAX_SEQ).expect("seeks");
    for last in [1, 2, 3] {
        let entry = cursor.entry().expect("three long keys");
        assert!(entry.key.len() == 1 << 20 && entry.value == [last]);
        cursor.next().expect("moves");
    }
    assert_eq!(cursor.entry(), None);
    assert!(table.memory() >= 15 << 20, "{}", table.memory());
    assert_eq!(
        table.get(b"before", MAX_SEQ).map(|version| version.value),
        Some(&b"small"[..])
    );
}

/// Seeded histories of inserts, gets and cursor moves give what the model gives.
pub fn random_histories_match_the_model(factory: &MemtableFactory) {
    for seed in 0..2 * KEY_KINDS as u64 + 2 {
        let mut random = Random(seed);
        // Half of the histories mix the kinds of keys, the others keep to one.
        let kind = (seed as usize).checked_sub(KEY_KINDS + 2);
        let mut new_key = |random: &mut Random| match kind {
            Some(kind) => key_of_kind(kind, random),
            None => any_key(random),
        };
        let table = create(factory);
        let mut model = Model::new();
        for round in 1..=4_u64 {
            for n in 0..500 {
                // Versions come out of order within a round.
                let seq = round * 1000 + (n * 7 % 500);
                let op = [Op::Put, Op::Put, Op::Delete, Op::Merge][random.below(4)];
                let value = if op == Op::Delete {
                    Vec::new()
                } else {
                    vec![n as u8; random.below(40)]
                };
                let key = new_key(&mut random);
                table
                    .insert(EntryRef {
                        key: &key,
                        seq,
                        op,
                        value: &value,
                    })
                    .expect("inserts");
                model.insert((key, Reverse(seq)), (op, value));
            }
            assert_eq!(table.len(), model.len());
            gets_match(&*table, &model, &mut random, &mut new_key);
            moves_match(&table, &model, &mut random, &mut new_key);
        }
        scans_match(&table, &model);
    }
}

fn gets_match(
    table: &dyn Memtable,
    model: &Model,
    random: &mut Random,
    new_key: &mut dyn FnMut(&mut Random) -> Vec<u8>,
) {
    for _ in 0..200 {
        let (key, seq) = (new_key(random), random.next() % 5500);
        let expected = model
            .range((key.clone(), Reverse(seq))..)
            .next()
            .filter(|(found, _)| found.0 == key);
        let expected = expected.map(|(key, (op, value))| Version {
            seq: key.1.0,
            op: *op,
            value,
        });
        assert_eq!(table.get(&key, seq), expected, "key {key:?} at {seq}");
    }
}

fn entry_of<'a>((key, row): (&'a Place, &'a Row)) -> EntryRef<'a> {
    EntryRef {
        key: &key.0,
        seq: key.1.0,
        op: row.0,
        value: &row.1,
    }
}

fn moves_match(
    table: &Arc<dyn Memtable>,
    model: &Model,
    random: &mut Random,
    new_key: &mut dyn FnMut(&mut Random) -> Vec<u8>,
) {
    let mut cursor = Arc::clone(table).cursor();
    let mut at: Option<Place> = None;
    for _ in 0..600 {
        let wanted = (new_key(random), Reverse(random.next() % 5500));
        let after = |key| model.range((Bound::Excluded(key), Bound::Unbounded)).next();
        let before = |key| model.range(..key).next_back();
        let choice = random.below(16);
        let (moved, expected) = match choice {
            0 | 1 => (cursor.seek(&wanted.0, wanted.1.0), model.range(wanted.clone()..).next()),
            2 | 3 => (cursor.seek_before(&wanted.0, wanted.1.0), before(wanted.clone())),
            4 if at.is_none() => (cursor.seek_first(), model.iter().next()),
            5 if at.is_none() => (cursor.seek_last(), model.iter().next_back()),
            4..=9 => (cursor.next(), at.clone().and_then(after)),
            _ => (cursor.prev(), at.clone().and_then(before)),
        };
        moved.expect("moves");
        assert_eq!(
            cursor.entry(),
            expected.map(entry_of),
            "after {choice} from {at:?}, wanted {wanted:?}"
        );
        at = expected.map(|(key, _)| key.clone());
    }
}

fn scans_match(table: &Arc<dyn Memtable>, model: &Model) {
    let mut cursor = Arc::clone(table).cursor();
    cursor.seek_first().expect("seeks");
    for row in model {
        assert_eq!(cursor.entry(), Some(entry_of(row)));
        cursor.next().expect("moves");
    }
    assert_eq!(cursor.entry(), None, "past the end");
    cursor.prev().expect("moves");
    assert_eq!(cursor.entry(), None, "a cursor past the end stays there");
    cursor.seek_last().expect("seeks");
    for row in model.iter().rev() {
        assert_eq!(cursor.entry(), Some(entry_of(row)));
        cursor.prev().expect("moves");
    }
    assert_eq!(cursor.entry(), None, "before the start");
    // To and fro over every boundary.
    cursor.seek_first().expect("seeks");
    for (here, there) in model.iter().zip(model.iter().skip(1)) {
        cursor.next().expect("moves");
        assert_eq!(cursor.entry(), Some(entry_of(there)));
        cursor.prev().expect("moves");
        assert_eq!(cursor.entry(), Some(entry_of(here)));
        cursor.next().expect("moves");
    }
}

/// A cursor keeps the memtable alive.
pub fn cursors_outlive_the_handle(factory: &MemtableFactory) {
    let table = create(factory);
    for n in 0..1000_u32 {
        put(&*table, &n.to_be_bytes(), 1, b"v");
    }
    let mut cursor = Arc::clone(&table).cursor();
    drop(table);
    cursor.seek(&500_u32.to_be_bytes(), MAX_SEQ).expect("seeks");
    for n in 500..1000_u32 {
        assert_eq!(
            cursor.entry().map(|entry| entry.key.to_vec()),
            Some(n.to_be_bytes().to_vec())
        );
        cursor.next().expect("moves");
    }
}

/// What `get` returned stays in place and whole while thousands of entries follow.
pub fn borrowed_values_stay_as_the_table_grows(factory: &MemtableFactory) {
    let table = create(factory);
    put(&*table, b"first", 1, b"the value of the first");
    let first = table.get(b"first", MAX_SEQ).expect("found");
    for n in 0..5000_u32 {
        put(&*table, &n.wrapping_mul(0x9E37_79B1).to_be_bytes(), 2, b"another");
    }
    assert_eq!(first.value, b"the value of the first");
    let again = table.get(b"first", MAX_SEQ).expect("found");
    assert_eq!(again.value.as_ptr(), first.value.as_ptr());
}

/// A seek shows everything inserted before it, though the cursor be older; moves may, but need not, show what came later.
pub fn cursors_see_what_came_before_their_seek(factory: &MemtableFactory) {
    let table = create(factory);
    let mut cursor = Arc::clone(&table).cursor();
    for n in 0..300_u32 {
        let key = n.wrapping_mul(0x9E37_79B1).to_be_bytes();
        put(&*table, &key, 1, b"v");
        cursor.seek(&key, MAX_SEQ).expect("seeks");
        assert_eq!(cursor.entry().map(|entry| entry.key.to_vec()), Some(key.to_vec()));
    }
    // Inserting under a standing cursor neither moves it nor makes it skip or repeat what was there before.
    cursor.seek_first().expect("seeks");
    let (mut seen, mut last) = (0, None);
    while let Some(key) = cursor.entry().map(|entry| entry.key.to_vec()) {
        assert!(last < Some(key.clone()), "{last:?} then {key:?}");
        seen += usize::from(key.len() == 4);
        put(&*table, &[&key[..], b"+"].concat(), 2, b"");
        if key.len() > 4 {
            // Enough: children of children would go on for ever.
            cursor.seek(&[&key[..4], &[0xFF; 300]].concat(), 0).expect("seeks");
        } else {
            put(&*table, &[&key[..3], &[key[3].wrapping_sub(1)], b"-"].concat(), 3, b"");
            assert_eq!(
                cursor.entry().map(|entry| entry.key.to_vec()),
                Some(key.clone()),
                "the cursor stays"
            );
            cursor.next().expect("moves");
        }
        last = Some(key);
    }
    assert_eq!(seen, 300);
}

/// Freezing, also twice and under a cursor, changes nothing that can be read.
pub fn frozen_tables_read_the_same(factory: &MemtableFactory) {
    let (table, mut random, mut model) = (create(factory), Random(99), Model::new());
    for seq in 1..2000 {
        let key = any_key(&mut random);
        put(&*table, &key, seq, b"v");
        model.insert((key, Reverse(seq)), (Op::Put, b"v".to_vec()));
    }
    let mut cursor = Arc::clone(&table).cursor();
    cursor.seek_first().expect("seeks");
    table.freeze();
    assert_eq!(cursor.entry(), model.iter().next().map(entry_of));
    scans_match(&table, &model);
    table.freeze();
    scans_match(&table, &model);
    assert_eq!(table.len(), model.len());
}

/// `memory` covers at least keys and values; the declared overhead is roughly what it comes to.
pub fn memory_grows_with_what_is_stored(factory: &MemtableFactory) {
    let table = create(factory);
    assert!(table.memory() < 2 << 20, "an empty table has {} bytes", table.memory());
    let empty = table.memory();
    let count = 20_000_u64;
    let mut random = Random(5);
    for seq in 1..=count {
        put(
            &*table,
            &u128::from(random.next()).to_be_bytes().map(|byte| byte ^ seq as u8),
            seq,
            &[1; 100],
        );
    }
    table.freeze();
    let grown = (table.memory() - empty) as u64;
    assert!(grown >= count * 116, "{grown} bytes for {count} entries of 116 bytes");
    let fit = factory.capabilities.entries_in(grown as usize, 16, 100) as u64;
    assert!(
        fit >= count * 7 / 10 && fit <= count * 13 / 10,
        "{count} entries in {grown} bytes; said to fit: {fit}"
    );
}

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
