//! Updates of some columns, and writes of several tables at once.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use kodiak::{Builder, Db, ErrorKind, MemoryStorage, Settings, Table, TableOptions, TableSchema};

use crate::model::collect;

fn open() -> (Db, Table) {
    let db = Builder::new(Settings::default())
        .storage(Arc::new(MemoryStorage::new()))
        .open("/db")
        .expect("open");
    let columns = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("age", DataType::Int32, true),
    ]);
    let schema = TableSchema::new(Arc::new(columns), &["id"]).expect("valid");
    let options = TableOptions::new().merge_operator("last-non-null");
    let table = db.create_table_with("people", schema, options).expect("create");
    (db, table)
}

fn id(id: i64) -> (&'static str, ArrayRef) {
    ("id", Arc::new(Int64Array::from(vec![id])))
}

fn name(name: Option<&str>) -> (&'static str, ArrayRef) {
    ("name", Arc::new(StringArray::from(vec![name])))
}

fn age(age: Option<i32>) -> (&'static str, ArrayRef) {
    ("age", Arc::new(Int32Array::from(vec![age])))
}

fn row<const N: usize>(columns: [(&'static str, ArrayRef); N]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, name != "id")))
        .expect("columns")
}

fn read(table: &Table, wanted: i64) -> Option<(Option<String>, Option<i32>)> {
    let found = table.get_row(&row([id(wanted)])).expect("get")?;
    let (names, ages) = (
        found.column(1).as_string::<i32>(),
        found.column(2).as_primitive::<Int32Type>(),
    );
    let name = names.is_valid(0).then(|| names.value(0).to_owned());
    Some((name, ages.is_valid(0).then(|| ages.value(0))))
}

#[test]
fn an_update_changes_the_columns_that_it_has() {
    for settle in [|_: &Db| Ok(()), |db: &Db| db.flush(), |db: &Db| db.compact()] {
        let (db, table) = open();
        let step = || settle(&db).expect("settle");
        table
            .insert(&row([id(1), name(Some("ada")), age(Some(36))]))
            .expect("insert");
        step();
        table.update(&row([age(Some(37)), id(1)])).expect("update");
        step();
        table
            .update(&row([id(1), name(Some("ada l.")), age(None)]))
            .expect("update");
        step();
        assert_eq!(read(&table, 1), Some((Some("ada l.".to_owned()), Some(37))));
        table
            .update(&row([id(2), age(Some(5))]))
            .expect("a row that does not exist yet");
        step();
        assert_eq!(read(&table, 2), Some((None, Some(5))));
        table.delete_keys(&row([id(1)])).expect("delete");
        table.update(&row([id(1), age(Some(1))])).expect("update");
        step();
        assert_eq!(
            read(&table, 1),
            Some((None, Some(1))),
            "nothing comes back from before a delete"
        );
        let all = collect(table.read().project(["age"]).batches().expect("read"));
        assert_eq!(all.column(0).as_primitive::<Int32Type>().values(), &[1, 5]);
        let back = collect(table.read().rev().project(["age"]).batches().expect("read"));
        assert_eq!(back.column(0).as_primitive::<Int32Type>().values(), &[5, 1]);
    }
}

#[test]
fn updates_that_cannot_be_are_refused() {
    let (db, table) = open();
    let error = table
        .update(&row([id(1), ("nope", id(1).1)]))
        .expect_err("no such column");
    assert!(error.to_string().contains("\"nope\""), "{error}");
    let columns = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, false),
    ]);
    let schema = TableSchema::new(Arc::new(columns), &["id"]).expect("valid");
    let options = TableOptions::new().merge_operator("last-non-null");
    let strict = db.create_table_with("strict", schema.clone(), options).expect("create");
    let error = strict.update(&row([id(1)])).expect_err("the row may be new");
    assert!(
        error.kind() == ErrorKind::InvalidInput && error.to_string().contains("\"name\""),
        "{error}"
    );
    let plain = db.create_table("plain", schema).expect("create");
    let error = plain.update(&row([id(1)])).expect_err("no operator");
    assert!(error.to_string().contains("last-non-null"), "{error}");
}

#[test]
fn a_write_batch_changes_typed_and_key_value_tables_together_or_not_at_all() {
    let (db, people) = open();
    let log = db.create_table("log", TableSchema::key_value()).expect("create");
    let mut writes = db.batch();
    writes
        .insert(&people, &row([id(1), name(Some("ada")), age(None)]))
        .put(&log, b"1", b"hired");
    writes.update(&people, &row([id(1), age(Some(36))]));
    db.write(writes).expect("write");
    assert_eq!(read(&people, 1), Some((Some("ada".to_owned()), Some(36))));
    let mut writes = db.batch();
    writes.delete_keys(&people, &row([id(1)])).put(&log, b"2", b"left");
    writes.insert(&people, &row([id(2)]));
    let error = db.write(writes).expect_err("a row without its columns");
    assert!(error.to_string().contains("\"name\""), "{error}");
    assert!(
        read(&people, 1).is_some() && log.get(b"2").expect("get").is_none(),
        "nothing of it was written"
    );
}
