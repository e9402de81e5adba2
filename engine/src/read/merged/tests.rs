use kodiak_core::Op;
use kodiak_core::memtable::Memtable;

use super::*;

/// Keys of which many share their first sixteen bytes, are prefixes of each other, or end in zeros.
fn key(n: u64) -> Vec<u8> {
    let mut key = [&b"sixteen bytes of"[..], b"ab", b""][(n % 3) as usize].to_vec();
    key.extend(std::iter::repeat_n(0, (n / 3 % 4) as usize));
    key.extend_from_slice(&n.to_be_bytes()[(8 - n / 12 % 3) as usize..]);
    key
}

type Version = (Vec<u8>, SeqNo);

/// `count` memtables among which versions of 200 keys are spread, and all entries in order.
fn sources(count: u64) -> (Vec<Arc<dyn Memtable>>, Vec<Version>) {
    let tables: Vec<_> = (0..count)
        .map(|_| kodiak_memtables::ALL[0].create_default(1 << 16).expect("a memtable"))
        .collect();
    let mut all = Vec::new();
    for seq in 1..=600u64 {
        let spread = seq.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        let key = key(spread % 200);
        let entry = EntryRef {
            key: &key,
            seq,
            op: Op::Put,
            value: b"",
        };
        tables[(spread / 200 % count) as usize].insert(entry).expect("insert");
        all.push((key, seq));
    }
    all.sort_by(|a, b| compare((&a.0, a.1), (&b.0, b.1)));
    (tables, all)
}

fn cursor(tables: &[Arc<dyn Memtable>], reverse: bool) -> MergedCursor {
    let sources = tables.iter().map(|table| Source::Memory(Arc::clone(table).cursor()));
    MergedCursor::new(sources.collect(), reverse)
}

fn rest(cursor: &mut MergedCursor) -> Vec<Version> {
    let mut found = Vec::new();
    while let Some(entry) = cursor.entry() {
        found.push((entry.key.to_vec(), entry.seq));
        cursor.advance().expect("advance");
    }
    found
}

#[test]
fn few_and_many_sources_are_read_in_order_both_ways() {
    for count in [1, 2, 3, 8, 9, 40] {
        let (tables, all) = sources(count);
        let backward: Vec<_> = all.iter().rev().cloned().collect();
        for (reverse, expected) in [(false, &all), (true, &backward)] {
            let mut cursor = cursor(&tables, reverse);
            cursor.start(Start::Edge).expect("start");
            assert_eq!(rest(&mut cursor), *expected, "{count} sources");
            for (key, seq) in all.iter().step_by(37) {
                cursor.start(Start::At(key, *seq)).expect("start");
                let at = expected.iter().position(|entry| entry == &(key.clone(), *seq));
                let at = at.expect("it is there") + usize::from(reverse);
                assert_eq!(rest(&mut cursor), expected[at..], "{count} sources from {key:?}");
            }
        }
    }
}

#[test]
fn a_key_is_passed_with_all_its_versions() {
    for count in [1, 5, 20] {
        let (tables, mut all) = sources(count);
        let mut cursor = cursor(&tables, false);
        cursor.start(Start::Edge).expect("start");
        all.dedup_by(|next, kept| next.0 == kept.0);
        let mut key = Vec::new();
        for (expected, _) in &all {
            assert_eq!(cursor.entry().map(|entry| entry.key.to_vec()).as_ref(), Some(expected));
            cursor.pass_key(&mut key).expect("pass");
            assert_eq!(&key, expected);
        }
        assert!(cursor.entry().is_none());
    }
}
