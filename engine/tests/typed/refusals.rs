//! What typed tables do not take, and that they say which column is at fault.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use kodiak::{Builder, Db, ErrorKind, MemoryStorage, Settings, Table, TableOptions, TableSchema};

fn open(settings: Settings) -> Db {
    Builder::new(settings)
        .storage(Arc::new(MemoryStorage::new()))
        .open("/db")
        .expect("open")
}

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("age", DataType::Int32, true),
    ]))
}

fn people() -> (Db, Table) {
    let db = open(Settings::default());
    let schema = TableSchema::new(columns(), &["id"]).expect("valid");
    let table = db.create_table("people", schema).expect("create");
    (db, table)
}

fn batch(fields: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(fields).expect("columns of one length")
}

fn ids(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

fn names(values: Vec<&str>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

fn refused(result: kodiak::Result<()>, words: &[&str]) {
    let error = result.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let text = error.to_string();
    assert!(
        words.iter().all(|word| text.contains(word)),
        "\"{text}\" lacks one of {words:?}"
    );
}

#[test]
fn rows_of_another_schema_are_refused_with_the_column() {
    let (_db, table) = people();
    let age = || Arc::new(Int32Array::from(vec![1])) as ArrayRef;
    let short = batch(vec![("id", ids(vec![1])), ("name", names(vec!["a"]))]);
    refused(table.insert(&short), &["\"age\"", "missing"]);
    let renamed = batch(vec![("id", ids(vec![1])), ("nom", names(vec!["a"])), ("age", age())]);
    refused(table.insert(&renamed), &["\"nom\"", "\"name\""]);
    let retyped = batch(vec![
        ("id", ids(vec![1])),
        ("name", names(vec!["a"])),
        ("age", ids(vec![1])),
    ]);
    refused(table.insert(&retyped), &["\"age\"", "Int64", "Int32"]);
    let wide = batch(vec![
        ("id", ids(vec![1])),
        ("name", names(vec!["a"])),
        ("age", age()),
        ("more", age()),
    ]);
    refused(table.insert(&wide), &["\"more\""]);
    let null_name = Arc::new(StringArray::from(vec![None::<&str>])) as ArrayRef;
    let null = batch(vec![("id", ids(vec![1])), ("name", null_name), ("age", age())]);
    refused(table.insert(&null), &["\"name\"", "null"]);
    let null_key = Arc::new(Int64Array::from(vec![None])) as ArrayRef;
    let null = batch(vec![("id", null_key), ("name", names(vec!["a"])), ("age", age())]);
    refused(table.insert(&null), &["\"id\"", "null"]);
    assert_eq!(
        table.read().batches().expect("read").count(),
        0,
        "nothing of it was written"
    );
}

#[test]
fn keys_and_columns_that_are_not_there_are_refused_by_name() {
    let (_db, table) = people();
    let wrong = batch(vec![("name", names(vec!["a"]))]);
    refused(table.delete_keys(&wrong), &["\"id\"", "missing"]);
    refused(table.get_row(&wrong).map(drop), &["\"id\""]);
    refused(
        table.get_row(&batch(vec![("id", ids(vec![1, 2]))])).map(drop),
        &["one key"],
    );
    refused(
        table.read().project(["nope"]).batches().map(drop),
        &["\"nope\"", "id, name, age"],
    );
    refused(table.read().prefix(&wrong).batches().map(drop), &["id", "name"]);
}

#[test]
fn bytes_that_are_no_row_are_refused_before_they_are_written() {
    let (db, table) = people();
    refused(table.put(b"k", b"v"), &["people", "typed"]);
    refused(table.delete(b"k"), &["people", "typed"]);
    let mut writes = db.batch();
    writes.put(&table, b"k", b"v");
    refused(db.write(writes), &["people", "typed"]);
    // What the codecs wrote is taken.
    let row = batch(vec![
        ("id", ids(vec![7])),
        ("name", names(vec!["g"])),
        ("age", Arc::new(Int32Array::from(vec![None]))),
    ]);
    table.insert(&row).expect("insert");
    let (key, value) = table.scan(..).expect("scan").next().expect("one row").expect("row");
    table.delete(&key).expect("delete");
    table.put(&key, &value).expect("put");
    db.flush().expect("flush");
    let found = table
        .get_row(&batch(vec![("id", ids(vec![7]))]))
        .expect("get")
        .expect("there");
    assert_eq!(found.columns(), row.columns());
}

#[test]
fn a_format_that_cannot_hold_a_column_says_so_when_the_table_is_created() {
    let mut refusals = 0;
    for factory in kodiak::Components::default().formats().iter() {
        let name = factory.component.name;
        let types = [
            DataType::Int32,
            DataType::UInt64,
            DataType::Float16,
            DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano),
            DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)),
            DataType::Map(
                Arc::new(Field::new_struct(
                    "entries",
                    vec![
                        Field::new("keys", DataType::Utf8, false),
                        Field::new("values", DataType::Utf8, true),
                    ],
                    false,
                )),
                false,
            ),
        ];
        for data_type in types {
            let mut settings = Settings::default();
            settings.format.kind = name.to_owned();
            let db = open(settings);
            let fields = vec![
                Field::new("id", DataType::Int64, false),
                Field::new("odd", data_type.clone(), true),
            ];
            let Ok(schema) = TableSchema::new(Arc::new(Schema::new(fields)), &["id"]) else {
                continue;
            };
            let created = db.create_table("t", schema);
            match (factory.capabilities.refuses)(&data_type) {
                None => drop(created.expect("the format holds it")),
                Some(reason) => {
                    refused(created.map(drop), &["\"odd\"", &data_type.to_string(), name, &reason]);
                    assert!(db.tables().is_empty());
                    refusals += 1;
                }
            }
        }
    }
    assert!(refusals > 0, "at least ORC has no unsigned 64-bit numbers");
}

#[test]
fn merge_operators_on_bytes_are_for_key_value_tables() {
    let db = open(Settings::default());
    for (operator, taken) in [("counter", false), ("append", false), ("last-non-null", true)] {
        let schema = TableSchema::new(columns(), &["id"]).expect("valid");
        let created = db.create_table_with(operator, schema, TableOptions::new().merge_operator(operator));
        match created {
            Ok(_) => assert!(taken, "{operator}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidSettings);
                assert!(!taken && error.to_string().contains("last-non-null"), "{error}");
            }
        }
    }
}
