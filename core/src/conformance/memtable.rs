//! What every memtable must pass: [`all`] runs everything.
//!
//! The model is a `BTreeMap` ordered by key and descending sequence number.

mod histories;
mod threads;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::entry::{EntryRef, MAX_SEQ, Op, SeqNo};
use crate::memtable::{Memtable, MemtableFactory, Version};
pub use histories::random_histories_match_the_model;
use histories::{entry_of, scans_match};
pub use threads::{
    concurrent_writers_lose_nothing, concurrent_writers_of_neighbouring_keys_lose_nothing, readers_and_writers_agree,
    readers_see_all_that_was_acknowledged,
};

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
    readers_and_writers_agree(factory);
    small_tables_stay_small(factory);
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
        fit >= count * 85 / 100 && fit <= count * 115 / 100,
        "{count} entries in {grown} bytes; said to fit: {fit}"
    );
}

/// A table made for 64 KiB does not overshoot by what a large one would take at once: it fills the engine's limit with entries.
pub fn small_tables_stay_small(factory: &MemtableFactory) {
    let size = 64 << 10;
    let table = factory.create_default(size).expect("default options make a memtable");
    let empty = table.memory();
    let mut random = Random(3);
    let mut seq = 0;
    while table.memory() < empty + size {
        seq += 1;
        put(&*table, &random.next().to_be_bytes(), seq, &[1; 100]);
    }
    let (memory, stored) = (table.memory() - empty, seq as usize * 108);
    assert!(memory <= size * 5 / 4, "{memory} bytes when it was to hold {size}");
    // Hash memtables may take more for their buckets than for the entries of so small a table.
    if factory.capabilities.fast_cursor {
        assert!(stored >= size / 3, "only {stored} bytes of entries fit {size}");
    }
}
