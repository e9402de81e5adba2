//! Seeded histories against the model.

use std::cmp::Reverse;
use std::ops::Bound;
use std::sync::Arc;

use super::{KEY_KINDS, Model, Place, Random, Row, any_key, create, key_of_kind};
use crate::entry::{EntryRef, Op};
use crate::memtable::{Memtable, MemtableFactory, Version};

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

pub(super) fn entry_of<'a>((key, row): (&'a Place, &'a Row)) -> EntryRef<'a> {
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

pub(super) fn scans_match(table: &Arc<dyn Memtable>, model: &Model) {
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
