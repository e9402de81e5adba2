//! Dates and times of years that are not those from 0 to 9999.

mod support;

use std::sync::Arc;

use arrow::array::*;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use support::Kodiak;

/// A table of every type of date and time, by itself and in a list, with the least and greatest value.
fn table(kodiak: &Kodiak) -> RecordBatch {
    use TimeUnit::*;
    let zones = [None, Some("UTC"), Some("Europe/Rome"), Some("-11:30")];
    let mut types = vec![DataType::Date32, DataType::Date64];
    for unit in [Second, Millisecond, Microsecond, Nanosecond] {
        types.extend(zones.map(|zone| DataType::Timestamp(unit, zone.map(Into::into))));
    }
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    let ids: ArrayRef = Arc::new(Int8Array::from_iter_values(0..5));
    fields.push(Field::new("id", DataType::Int8, false));
    columns.push(ids);
    for (number, of) in types.into_iter().enumerate() {
        let days = [Some(i32::MIN), Some(i32::MAX), Some(2_932_897), Some(-719_529), None];
        // The first moments of the year 10000 and the last one of the year -1, in seconds.
        let times = [
            Some(i64::MIN),
            Some(i64::MAX),
            Some(253_402_300_800),
            Some(-62_167_219_201),
            None,
        ];
        let values: ArrayRef = match of {
            DataType::Date32 => Arc::new(Date32Array::from(days.to_vec())),
            _ => cast(&Int64Array::from(times.to_vec()), &of).expect("a cast"),
        };
        let item = Arc::new(Field::new("item", of.clone(), true));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([2, 0, 3, 0, 0]);
        let list: ArrayRef = Arc::new(ListArray::new(item, offsets, Arc::clone(&values), None));
        fields.push(Field::new(format!("t{number}"), of, true));
        fields.push(Field::new(format!("l{number}"), list.data_type().clone(), true));
        columns.extend([values, list]);
    }
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("rows");
    let db = kodiak::Db::open(kodiak.path("db"), kodiak::Settings::default()).expect("open");
    let schema = kodiak::TableSchema::new(rows.schema(), &["id"]).expect("a schema");
    let table = db.create_table("t", schema).expect("a table");
    table.insert(&rows).expect("written");
    drop(table);
    db.close().expect("closed");
    rows
}

#[test]
fn times_of_all_years_come_back_exactly() {
    let kodiak = Kodiak::new();
    let rows = table(&kodiak);
    let written = kodiak.file("schema.txt", &kodiak.prints(&["tables", "db", "t"]));
    for format in ["csv", "jsonl", "feather"] {
        let file = format!("t.{format}");
        kodiak.prints(&["export", "db", "t", "--output", &file]);
        kodiak.prints(&["import", "db", format, &file, "--key", "id", "--schema-file", &written]);
    }
    let text = std::fs::read_to_string(kodiak.path("t.csv")).expect("written");
    assert!(
        text.lines()
            .nth(3)
            .is_some_and(|line| line.starts_with("2,+10000-01-01,")),
        "{text}"
    );
    let db = kodiak::Db::open(kodiak.path("db"), kodiak::Settings::default()).expect("open");
    for table in ["t", "csv", "jsonl", "feather"] {
        let table = db.table(table).expect(table);
        let batches: Vec<_> = table
            .read()
            .batches()
            .expect("read")
            .map(|batch| batch.expect("batch"))
            .collect();
        let found = arrow::compute::concat_batches(&batches[0].schema(), &batches).expect("one schema");
        for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
            let back = found.column_by_name(field.name()).expect("a column");
            assert_eq!(back.as_ref(), column.as_ref(), "{}: {field}", table.name());
        }
    }
}

#[test]
fn times_that_a_type_does_not_reach_are_rejected() {
    let kodiak = Kodiak::new();
    let file = kodiak.file(
        "rows.csv",
        "id,at\n1,+10000-01-01T00:00:00\n2,+300000-01-01T00:00:00\n3,+10000-02-30T00:00:00\n4,+10000-01-01T00:00:00.5\n",
    );
    for (unit, lines) in [("us", vec![3, 4]), ("s", vec![4, 5]), ("ns", vec![2, 3, 4, 5])] {
        let (schema, rejects) = (format!("id:int8,at:timestamp({unit})"), format!("{unit}.rejects"));
        let import = [
            "import",
            "db",
            unit,
            &file,
            "--key",
            "id",
            "--schema",
            &schema,
            "--rejects",
            &rejects,
        ];
        kodiak.prints(&import);
        let rejected = std::fs::read_to_string(kodiak.path(&rejects)).expect("written");
        let found = rejected.lines().map(|line| {
            let reject: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(reject["column"], "at");
            reject["line"].as_u64().expect("a number")
        });
        assert_eq!(found.collect::<Vec<_>>(), lines, "{unit}");
    }
}
