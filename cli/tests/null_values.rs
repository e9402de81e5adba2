//! Columns in which there is nothing but nulls, inside of others.

mod support;

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::ipc::writer::FileWriter;
use support::Kodiak;

/// Lists, structs and maps of values of the type null, as pyarrow makes them of lists without values.
fn rows() -> RecordBatch {
    let nulls = |count| Arc::new(NullArray::new(count)) as ArrayRef;
    let null = |name: &str| Arc::new(Field::new(name, DataType::Null, true));
    let lists = ListArray::new(
        null("item"),
        OffsetBuffer::from_lengths([2, 0, 0]),
        nulls(2),
        Some(vec![true, true, false].into()),
    );
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), None, Some(8)]));
    let structs = StructArray::new(
        Fields::from(vec![Arc::new(Field::new("a", DataType::Int32, true)), null("n")]),
        vec![numbers, nulls(3)],
        Some(vec![true, true, false].into()),
    );
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["x", "y"]));
    let entries = StructArray::from(vec![
        (Arc::new(Field::new("key", DataType::Utf8, false)), keys),
        (null("value"), nulls(2)),
    ]);
    let entries_field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let maps = MapArray::new(
        entries_field,
        OffsetBuffer::from_lengths([2, 0, 0]),
        entries,
        None,
        false,
    );
    let deep = ListArray::new(
        Arc::new(Field::new("item", lists.data_type().clone(), true)),
        OffsetBuffer::from_lengths([1, 2, 0]),
        Arc::new(lists.clone()),
        None,
    );
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
    let columns: [(&str, ArrayRef); 6] = [
        ("id", ids),
        ("l", Arc::new(lists)),
        ("s", Arc::new(structs)),
        ("m", Arc::new(maps)),
        ("d", Arc::new(deep)),
        ("n", nulls(3)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, name != "id"))).expect("rows")
}

const JSON: &str = "{\"id\":1,\"l\":[null,null],\"s\":{\"a\":7,\"n\":null},\"m\":{\"x\":null,\"y\":null},\"d\":[[null,null]],\"n\":null}\n\
    {\"id\":2,\"l\":[],\"s\":{\"a\":null,\"n\":null},\"m\":{},\"d\":[[],null],\"n\":null}\n\
    {\"id\":3,\"l\":null,\"s\":null,\"m\":{},\"d\":[],\"n\":null}\n";

#[test]
fn values_of_nothing_but_nulls_become_any_type() {
    let kodiak = Kodiak::new();
    let rows = rows();
    let mut feather = FileWriter::try_new(Vec::new(), &rows.schema()).expect("a writer");
    feather.write(&rows).expect("memory");
    std::fs::write(kodiak.path("nulls.feather"), feather.into_inner().expect("memory")).expect("written");
    let parquet = kodiak::export::parquet_bytes(&rows).expect("a file");
    std::fs::write(kodiak.path("nulls.parquet"), parquet).expect("written");
    let schema = "id:int32, l:large_list<struct<x:int8>>, s:struct<a:int64, n:list<date>>, m:map<text, bool>, \
        d:list<list<decimal(5, 2)>>, n:int8";
    for file in ["nulls.feather", "nulls.parquet"] {
        for command in ["import", "ingest"] {
            let table = format!("{command}_{}", file.replace('.', "_"));
            kodiak.prints(&[command, "db", &table, file, "--key", "id"]);
            let columns = kodiak.prints(&["tables", "db", &table]);
            assert!(
                columns.contains("l: list<text>")
                    && columns.contains("s: struct<a: int32, n: text>")
                    && columns.contains("m: map<text, text>")
                    && columns.contains("d: list<list<text>>")
                    && columns.contains("n: text"),
                "{columns}"
            );
            let other = format!("{table}_other");
            kodiak.prints(&[command, "db", &other, file, "--key", "id", "--schema", schema]);
            for table in [&table, &other] {
                assert_eq!(
                    kodiak.prints(&["export", "db", table, "--format", "jsonl"]),
                    JSON,
                    "{table}"
                );
            }
        }
    }
    let written = kodiak.file("schema.txt", &kodiak.prints(&["tables", "db", "import_nulls_feather"]));
    for format in ["csv", "jsonl", "parquet", "feather", "orc"] {
        let (file, copy) = (format!("again.{format}"), format!("again_{format}"));
        kodiak.prints(&["export", "db", "import_nulls_feather", "--output", &file]);
        kodiak.prints(&["import", "db", &copy, &file, "--key", "id", "--schema-file", &written]);
        assert_eq!(
            kodiak.prints(&["export", "db", &copy, "--format", "jsonl"]),
            JSON,
            "{format}"
        );
    }
}

#[test]
fn tables_refuse_them_naming_column_and_type() {
    let kodiak = Kodiak::new();
    let db = kodiak::Db::open(kodiak.path("db"), kodiak::Settings::default()).expect("open");
    let rows = rows();
    for index in 1..rows.num_columns() {
        let columns = Schema::new(vec![rows.schema().field(0).clone(), rows.schema().field(index).clone()]);
        let schema = kodiak::TableSchema::new(Arc::new(columns), &["id"]).expect("a schema");
        let error = db.create_table("t", schema).expect_err("nothing to store").to_string();
        let field = rows.schema().field(index).clone();
        assert!(
            error.contains(&format!("\"{}\" of type {}", field.name(), field.data_type()))
                && error.contains("values of nothing but nulls have nothing to store"),
            "{error}"
        );
    }
}
