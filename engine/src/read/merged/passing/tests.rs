use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Builder, Db, MemoryStorage, ScanOptions, Settings, Snapshot, Table, TableSchema};

/// Keys of which many share their first sixteen bytes, are prefixes of each other, or end in zeros.
fn key(n: u64) -> Vec<u8> {
    let mut key = [&b"sixteen bytes of"[..], b"ab", b""][(n % 3) as usize].to_vec();
    key.extend(std::iter::repeat_n(0, (n / 3 % 4) as usize));
    key.extend_from_slice(&n.to_be_bytes()[(8 - n / 12 % 3) as usize..]);
    key
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Numbers that look random.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ (mixed >> 27)) % bound
    }
}

/// A database whose runs on level 0 stay until somebody asks for their compaction.
fn open(format: &str) -> (Db, Table) {
    let mut settings = Settings::default();
    settings.set("format.kind", format).expect("a format");
    settings.set("format.block_size", "4KiB").expect("a size");
    for (name, value) in [
        ("l0_trigger", "100"),
        ("delete_triggered", "false"),
        ("read_triggered", "false"),
    ] {
        settings.set(&format!("compaction.{name}"), value).expect("an option");
    }
    settings.backpressure.l0_slowdown = 200;
    settings.backpressure.l0_stop = 300;
    let builder = Builder::new(settings).storage(Arc::new(MemoryStorage::new()));
    let db = builder.open("/db").expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    (db, table)
}

/// What scans of everything and of some ranges say, beside what the model has.
fn compare(table: &Table, snapshot: Option<&Snapshot>, model: &Model, numbers: &mut Numbers) {
    let read = |options: ScanOptions<'_>| -> Vec<_> {
        let options = match snapshot {
            Some(snapshot) => options.at(snapshot),
            None => options,
        };
        let entries = table.scan_with(options).expect("scan");
        entries
            .map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).expect("read"))
            .collect()
    };
    let owned = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
    let all: Vec<_> = model.iter().map(owned).collect();
    assert_eq!(read(ScanOptions::new(..)), all);
    let backward: Vec<_> = all.iter().rev().cloned().collect();
    assert_eq!(read(ScanOptions::new(..).rev()), backward);
    for _ in 0..5 {
        let (a, b) = (key(numbers.below(KEYS)), key(numbers.below(KEYS)));
        let (from, to) = (a.clone().min(b.clone()), a.max(b));
        let expected: Vec<_> = model.range(from.clone()..to.clone()).map(owned).collect();
        assert_eq!(read(ScanOptions::new(from.clone()..to.clone())), expected);
        let backward: Vec<_> = expected.into_iter().rev().collect();
        assert_eq!(read(ScanOptions::new(from..to).rev()), backward);
    }
}

const KEYS: u64 = 600;

#[test]
fn scans_and_compactions_of_many_deletes_keep_what_a_map_keeps() {
    for (seed, format) in (0..).zip(["feather", "row", "feather", "parquet"]) {
        let mut numbers = Numbers(seed);
        let (db, table) = open(format);
        let mut model = Model::new();
        let write = |n: u64, value: Option<u64>, model: &mut Model| match value {
            Some(value) => {
                table.put(key(n), value.to_be_bytes()).expect("put");
                model.insert(key(n), value.to_be_bytes().to_vec());
            }
            None => {
                table.delete(key(n)).expect("delete");
                model.remove(&key(n));
            }
        };
        (0..KEYS).for_each(|n| write(n, Some(n), &mut model));
        table.compact().expect("compact");
        let mut snapshots = Vec::new();
        for round in 0..4 {
            // Some keys are written several times in a round, and the last one stays in memory.
            for step in 0..KEYS {
                let value = (numbers.below(6) == 0).then_some(step);
                write(numbers.below(KEYS), value, &mut model);
            }
            compare(&table, None, &model, &mut numbers);
            for (snapshot, then) in &snapshots {
                compare(&table, Some(snapshot), then, &mut numbers);
            }
            if round < 3 {
                snapshots.push((db.snapshot(), model.clone()));
                db.flush().expect("flush");
            }
        }
        // With snapshots, and without.
        for left in (0..=snapshots.len()).rev() {
            table.compact().expect("compact");
            snapshots.truncate(left);
            compare(&table, None, &model, &mut numbers);
            for (snapshot, then) in &snapshots {
                compare(&table, Some(snapshot), then, &mut numbers);
            }
            write(numbers.below(KEYS), None, &mut model);
        }
        table.compact().expect("compact");
        compare(&table, None, &model, &mut numbers);
        let entries: u64 = db.stats().tables[0].levels.iter().map(|level| level.entries).sum();
        assert_eq!(entries, model.len() as u64, "nothing but what is there is left");
    }
}

#[test]
fn a_bounded_scan_reads_no_deletes_beyond_its_end() {
    let (db, table) = open("feather");
    let key = |n: u32| n.to_be_bytes();
    (0..20_000).for_each(|n| table.put(key(n), b"value").expect("put"));
    table.compact().expect("compact");
    (10..20_000).for_each(|n| table.delete(key(n)).expect("delete"));
    db.flush().expect("flush");
    let before = table.inner.read_debt.bytes();
    assert_eq!(table.scan(key(5)..key(20)).expect("scan").count(), 5);
    let lost = table.inner.read_debt.bytes() - before;
    assert!(lost < 2000, "as for a few dozen rows, not {lost}");
}
