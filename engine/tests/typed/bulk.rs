//! Inserting many rows at once, as columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use kodiak::{Builder, Db, Error, ErrorKind, MemoryStorage, Settings, Table, TableSchema};

use crate::histories::small;
use crate::model::collect;

fn table(settings: Settings) -> (Db, Table) {
    let db = Builder::new(settings)
        .storage(Arc::new(MemoryStorage::new()))
        .open("/db")
        .expect("open");
    let columns = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("text", DataType::Utf8, true),
    ]);
    let schema = TableSchema::new(Arc::new(columns), &["id"]).expect("valid");
    let table = db.create_table("t", schema).expect("create");
    (db, table)
}

fn rows(ids: &[i64], text: impl Fn(i64) -> String) -> RecordBatch {
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(ids.iter().map(|&id| text(id))));
    let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("text", texts, true)]).expect("rows")
}

#[test]
fn of_rows_with_equal_keys_the_last_one_stays_whether_or_not_they_are_of_one_batch_or_step() {
    let mut settings = small("skiplist", "feather");
    settings.memtable.size = 64 << 10;
    let (db, table) = table(settings);
    table.insert(&rows(&[5, 6], |_| "before".to_owned())).expect("insert");
    let falling: Vec<i64> = (0..5000).rev().collect();
    let batches = [
        rows(&falling, |_| "first".to_owned()),
        rows(&[3, 4, 3], |_| "second".to_owned()),
        RecordBatch::new_empty(table.schema().columns().clone()),
        rows(&falling, |_| "x".repeat(100)),
        rows(&[7, 8, 8], |id| format!("last {id}")),
    ];
    let done = table.bulk_insert(batches.into_iter().map(Ok)).expect("bulk insert");
    assert!(done.runs > 1 && done.bytes > 0, "{done:?}");
    table.insert(&rows(&[9], |_| "after".to_owned())).expect("insert");
    for compacted in [false, true] {
        if compacted {
            db.compact().expect("compact");
        }
        let all = collect(table.read().batches().expect("read"));
        assert_eq!(all.num_rows(), 5000);
        let expected = rows(&(0..5000).collect::<Vec<_>>(), |id| match id {
            7 | 8 => format!("last {id}"),
            9 => "after".to_owned(),
            _ => "x".repeat(100),
        });
        assert_eq!(all, expected);
    }
}

#[test]
fn a_row_that_is_too_large_or_an_error_of_the_source_leaves_nothing_of_its_step() {
    let mut settings = small("skiplist", "feather");
    settings.limits.max_value = 1000;
    let (_db, table) = table(settings);
    let large = rows(&(0..50).collect::<Vec<_>>(), |id| {
        "x".repeat(if id == 7 { 1001 } else { 10 })
    });
    for sorted in [true, false] {
        let batch = match sorted {
            true => large.clone(),
            false => arrow::compute::concat_batches(&large.schema(), [&large.slice(25, 25), &large.slice(0, 25)])
                .expect("rows"),
        };
        let error = table.bulk_insert([Ok(batch)]).expect_err("too large");
        let shown = format!("{error}");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(
            shown.contains("entry 7") && shown.contains("limits.max_value"),
            "{shown}"
        );
        let error = table.ingest_batches([Ok(large.clone())]).expect_err("too large");
        assert!(error.to_string().contains("entry 7"));
    }
    let failing = [Ok(rows(&[1], |_| "1".to_owned())), Err(Error::invalid_input("no more"))];
    assert!(table.bulk_insert(failing).is_err());
    let other = RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).expect("rows");
    assert!(table.bulk_insert([Ok(other)]).is_err());
    assert_eq!(table.read().batches().expect("read").count(), 0);
}

#[test]
fn threads_write_shares_of_the_rows_into_runs_of_their_own() {
    const ROWS: i64 = 20_000;
    let mut settings = small("skiplist", "feather");
    settings.memtable.size = 8 << 20;
    settings.compaction.target_run_size = 512 << 10;
    settings.compaction.max_subcompactions = 3;
    settings.limits.max_value = 1000;
    let rising: Vec<i64> = (0..ROWS).collect();
    let text = |version: &'static str| move |id: i64| format!("{id} {version} {:100}", "");
    for sorted in [true, false] {
        let (db, table) = table(settings.clone());
        let batch = |version| {
            let rows = rows(&rising, text(version));
            match sorted {
                true => rows,
                // The two halves the other way around.
                false => {
                    let half = ROWS as usize / 2;
                    let halves = [&rows.slice(half, ROWS as usize - half), &rows.slice(0, half)];
                    arrow::compute::concat_batches(&rows.schema(), halves).expect("rows")
                }
            }
        };
        // One batch, and many that do not end where shares do.
        let done = table.bulk_insert([Ok(batch("old"))]).expect("bulk insert");
        assert_eq!(done.entries, ROWS as u64);
        assert!(done.runs >= 3, "{done:?}");
        let new = batch("new");
        let parts = (0..ROWS as usize).step_by(700).map(|from| {
            let len = 700.min(ROWS as usize - from);
            Ok(new.slice(from, len))
        });
        assert_eq!(table.bulk_insert(parts).expect("bulk insert").entries, ROWS as u64);
        // A row at the end, which the last thread has, is too large: nothing of the others stays.
        let large = rows(&rising, |id| "x".repeat(if id == ROWS - 10 { 1001 } else { 200 }));
        let error = table.bulk_insert([Ok(large)]).expect_err("too large").to_string();
        assert!(error.contains(&format!("entry {}", ROWS - 10)), "{error}");
        assert_eq!(
            collect(table.read().batches().expect("read")),
            rows(&rising, text("new"))
        );
        db.compact().expect("compact");
        assert_eq!(
            collect(table.read().batches().expect("read")),
            rows(&rising, text("new"))
        );
        assert!(db.verify().expect("verified").problems.is_empty());
    }
}

#[test]
fn keys_and_values_are_inserted_in_bulk_too() {
    let db = Builder::new(small("skiplist", "feather"))
        .storage(Arc::new(MemoryStorage::new()))
        .open("/db")
        .expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    let keys: ArrayRef = Arc::new(BinaryArray::from_iter_values(["b", "a", "b"]));
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(["1", "2", "3"]));
    let batch = RecordBatch::try_from_iter([("key", keys), ("value", values)]).expect("rows");
    assert_eq!(table.bulk_insert([Ok(batch)]).expect("bulk insert").entries, 2);
    assert_eq!(table.get("b").expect("get").as_deref(), Some(&b"3"[..]));
    assert_eq!(table.get("a").expect("get").as_deref(), Some(&b"2"[..]));
}
