//! Reads of batches, which take rows in stretches, forward and backward, give what reads give that look at each row.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use kodiak::{Db, ScanOptions, Settings, Snapshot, Table, TableSchema};

const KEYS: u64 = 3000;

fn mixed(n: u64) -> u64 {
    (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) >> 16
}

/// Rows whose columns a key can be made of in several ways; `long` values begin alike.
fn rows(keys: impl Iterator<Item = u64> + Clone, version: u64) -> RecordBatch {
    let column = |of: fn(u64) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(keys.clone().map(of))) };
    let some: Int32Array = keys.clone().map(|n| (n % 50 != 7).then_some(n as i32)).collect();
    let long = keys
        .clone()
        .map(|n| format!("all keys begin with this, and then {:06}", n));
    let name = keys
        .clone()
        .map(|n| (n % 9 != 0).then(|| format!("ä{}", (n ^ version) % 100)));
    let flag: BooleanArray = keys.clone().map(|n| Some((n + version).is_multiple_of(3))).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("id", column(|n| n as i64 - 1500), false),
        ("group", column(|n| (n / 700) as i64), false),
        ("some", Arc::new(some), true),
        ("long", Arc::new(StringArray::from_iter_values(long)), false),
        ("name", Arc::new(name.collect::<StringArray>()), true),
        ("flag", Arc::new(flag), false),
        (
            "version",
            Arc::new(Int64Array::from_value(version as i64, keys.count())),
            false,
        ),
    ])
    .expect("rows")
}

fn read(table: &Table, at: Option<&Snapshot>, names: &[&str], how: (bool, usize, usize)) -> RecordBatch {
    let (reverse, limit, batch_size) = how;
    let mut read = table
        .read()
        .project(names.iter().copied())
        .batch_size(batch_size)
        .limit(limit);
    if let Some(snapshot) = at {
        read = read.at(snapshot);
    }
    if reverse {
        read = read.rev();
    }
    let batches = read.batches().expect("batches");
    let schema: SchemaRef = batches.schema();
    let batches: Vec<RecordBatch> = batches.collect::<Result<_, _>>().expect("rows");
    assert!(batches.iter().all(|batch| (1..=batch_size).contains(&batch.num_rows())));
    concat_batches(&schema, &batches).expect("one schema")
}

fn reversed(rows: &RecordBatch) -> RecordBatch {
    let order = arrow::array::UInt32Array::from_iter_values((0..rows.num_rows() as u32).rev());
    arrow::compute::take_record_batch(rows, &order).expect("rows")
}

/// Compares rows, which have all columns, with those that are found one by one: by a scan of entries, and some by their keys.
fn check_each(table: &Table, at: Option<&Snapshot>, key: &[&str], all: &RecordBatch, what: &str) {
    let options = match at {
        Some(snapshot) => ScanOptions::new(..).at(snapshot),
        None => ScanOptions::new(..),
    };
    let entries: Vec<_> = table
        .scan_with(options)
        .expect("a scan")
        .collect::<Result<_, _>>()
        .expect("entries");
    assert_eq!(entries.len(), all.num_rows(), "{what}");
    let columns = key
        .iter()
        .map(|name| all.schema().index_of(name.trim_start_matches('-')));
    let columns: Vec<usize> = columns.collect::<Result<_, _>>().expect("key columns");
    for row in (0..all.num_rows()).step_by(61) {
        let one = all.project(&columns).expect("keys").slice(row, 1);
        let found = match at {
            Some(snapshot) => table.get_row_at(snapshot, &one),
            None => table.get_row(&one),
        };
        assert_eq!(found.expect("a read"), Some(all.slice(row, 1)), "{what}, row {row}");
    }
}

fn check(table: &Table, at: Option<&Snapshot>, key: &[&str], what: &str) {
    for names in [
        &["id", "version"][..],
        &["name", "flag", "some"],
        &["long"],
        &["id", "group", "some", "long", "name", "flag", "version"],
    ] {
        let backward = read(table, at, names, (true, usize::MAX, 500));
        let expected = reversed(&backward);
        if names.len() == rows(0..1, 0).num_columns() {
            check_each(table, at, key, &expected, what);
        }
        for (limit, batch_size) in [(usize::MAX, 8192), (usize::MAX, 7), (1000, 100), (1, 1)] {
            let some = read(table, at, names, (true, limit, batch_size));
            assert_eq!(
                some,
                backward.slice(0, limit.min(backward.num_rows())),
                "{what}, {names:?}, the last {limit}"
            );
        }
        for (limit, batch_size) in [(usize::MAX, 8192), (usize::MAX, 7), (1000, 100), (1, 1)] {
            let forward = read(table, at, names, (false, limit, batch_size));
            assert_eq!(
                forward,
                expected.slice(0, limit.min(expected.num_rows())),
                "{what}, {names:?}, {limit}"
            );
        }
    }
}

#[test]
fn reads_in_stretches_give_what_reads_of_each_row_give() {
    let keys = [
        &["id"][..],
        &["-id"],
        &["group", "id"],
        &["some", "id"],
        &["long"],
        &["long", "id"],
        &["group", "-flag", "name", "id"],
        &["-long", "some", "id"],
    ];
    for (number, key) in keys.into_iter().enumerate() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut settings = Settings::default();
        settings.format.block_size = Some(2 << 10);
        settings.format.kind = ["feather", "parquet", "row"][number % 3].to_owned();
        let db = Db::open(dir.path(), settings).expect("a database");
        let schema = TableSchema::new(rows(0..1, 0).schema(), key).expect("a schema");
        let table = db.create_table("t", schema).expect("a table");
        // Some keys come later.
        let first = (0..KEYS).filter(|n| n % 13 != 5);
        table.bulk_insert([Ok(rows(first, 0))]).expect("inserted");
        check(&table, None, key, &format!("{key:?}, one run"));
        let mut snapshots = Vec::new();
        for round in 1..6u64 {
            // Here and there, and a stretch.
            let changed = (0..KEYS).filter(move |n| mixed(n ^ round << 20).is_multiple_of(10) || n / 100 == round * 5);
            table.insert(&rows(changed, round)).expect("inserted");
            let gone = (0..KEYS).filter(move |n| mixed(n ^ round << 30).is_multiple_of(40));
            table.delete_keys(&rows(gone, round)).expect("deleted");
            check(&table, None, key, &format!("{key:?}, round {round}, in memory"));
            snapshots.push(db.snapshot());
            if round == 3 {
                let all: Vec<_> = table.scan(..).expect("a scan").collect::<Result<_, _>>().expect("rows");
                table.delete_range(&all[700].0[..]..&all[760].0[..]).expect("deleted");
            }
            if round != 4 {
                db.flush().expect("flushed");
                check(&table, None, key, &format!("{key:?}, round {round}, flushed"));
            }
        }
        for (number, snapshot) in snapshots.iter().enumerate() {
            check(&table, Some(snapshot), key, &format!("{key:?}, snapshot {number}"));
        }
        db.compact().expect("compacted");
        check(&table, None, key, &format!("{key:?}, compacted"));
        check(
            &table,
            snapshots.first(),
            key,
            &format!("{key:?}, the first snapshot, compacted"),
        );
    }
}
