//! Every type that tables hold, through every format and back.

mod support;

use std::sync::Arc;

use arrow::array::*;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, Schema, TimeUnit, i256};
use support::Kodiak;

/// Four rows of every type: the least, the greatest, something between, and nothing.
fn columns() -> Vec<(&'static str, ArrayRef)> {
    macro_rules! extremes {
        ($array:ty, $native:ty) => {
            Arc::new(<$array>::from(vec![
                Some(<$native>::MIN),
                Some(<$native>::MAX),
                Some(1 as $native),
                None,
            ])) as ArrayRef
        };
    }
    let floats = |values: [f64; 3]| -> ArrayRef {
        Arc::new(Float64Array::from(vec![
            Some(values[0]),
            Some(values[1]),
            Some(values[2]),
            None,
        ]))
    };
    let as_type = |values: &ArrayRef, of: DataType| cast(values, &of).expect("a cast");
    let texts: ArrayRef = Arc::new(StringArray::from(vec![
        Some(""),
        Some("NA"),
        Some("\u{e9},\"\n\u{1f980}"),
        None,
    ]));
    let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![
        Some(&b""[..]),
        Some(&[0, 255, 10][..]),
        Some(&b"NA"[..]),
        None,
    ]));
    let fixed = vec![Some([0u8, 255]), Some([1, 2]), Some([3, 4]), None].into_iter();
    let fixed = FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed, 2).expect("bytes");
    // Days and times of the years 1 to 9999.
    let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(-719_162), Some(2_932_896), Some(0), None]));
    let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![
        Some(-62_135_596_800),
        Some(253_402_300_799),
        Some(0),
        None,
    ]));
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![
        Some(i64::MIN + 1_000_000_000),
        Some(i64::MAX),
        Some(-1),
        None,
    ]));
    let clock: ArrayRef = Arc::new(Time64NanosecondArray::from(vec![
        Some(0),
        Some(86_399_999_999_999),
        Some(1),
        None,
    ]));
    let decimals = Decimal256Array::from(vec![
        Some(i256::from_i128(-99_999_999)),
        Some(i256::from_i128(99_999_999)),
        Some(i256::ZERO),
        None,
    ]);
    let decimals: ArrayRef = Arc::new(decimals.with_precision_and_scale(76, 3).expect("decimals"));
    let intervals = IntervalMonthDayNanoArray::from(vec![
        Some(IntervalMonthDayNano::new(-5, -7, i64::MAX)),
        Some(IntervalMonthDayNano::new(i32::MAX, i32::MAX, -1)),
        Some(IntervalMonthDayNano::new(0, 0, 0)),
        None,
    ]);
    let words = as_type(
        &texts,
        DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)),
    );
    let zone = |zone: &str| Some(zone.into());
    let mut columns = vec![
        ("i8", extremes!(Int8Array, i8)),
        ("i16", extremes!(Int16Array, i16)),
        ("i32", extremes!(Int32Array, i32)),
        ("i64", extremes!(Int64Array, i64)),
        ("u8", extremes!(UInt8Array, u8)),
        ("u16", extremes!(UInt16Array, u16)),
        ("u32", extremes!(UInt32Array, u32)),
        ("u64", extremes!(UInt64Array, u64)),
        (
            "truth",
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), Some(true), None])),
        ),
        ("f16", as_type(&floats([-65504.0, -0.0, f64::NAN]), DataType::Float16)),
        (
            "f32",
            as_type(
                &floats([f64::from(f32::MIN), f64::INFINITY, f64::from(0.1f32)]),
                DataType::Float32,
            ),
        ),
        ("f64", floats([f64::MIN, f64::MIN_POSITIVE / 8.0, -0.0])),
        ("odd", floats([f64::NAN, f64::NEG_INFINITY, 0.1])),
        ("large", as_type(&texts, DataType::LargeUtf8)),
        ("view", as_type(&texts, DataType::Utf8View)),
        ("blob", as_type(&bytes, DataType::LargeBinary)),
        ("blob_view", as_type(&bytes, DataType::BinaryView)),
        ("fixed", Arc::new(fixed)),
        ("at_s", Arc::clone(&seconds)),
        (
            "at_us",
            as_type(&seconds, DataType::Timestamp(TimeUnit::Microsecond, zone("UTC"))),
        ),
        (
            "at_ms",
            as_type(&seconds, DataType::Timestamp(TimeUnit::Millisecond, zone("+01:00"))),
        ),
        ("at_ns", nanos),
        ("date64", as_type(&days, DataType::Date64)),
        ("clock_ns", Arc::clone(&clock)),
        ("clock_us", as_type(&clock, DataType::Time64(TimeUnit::Microsecond))),
        ("clock_ms", as_type(&clock, DataType::Time32(TimeUnit::Millisecond))),
        ("clock_s", as_type(&clock, DataType::Time32(TimeUnit::Second))),
        ("took", extremes!(DurationNanosecondArray, i64)),
        ("took_s", extremes!(DurationSecondArray, i64)),
        ("d32", as_type(&decimals, DataType::Decimal32(9, 3))),
        ("d64", as_type(&decimals, DataType::Decimal64(18, 4))),
        ("d128", as_type(&decimals, DataType::Decimal128(38, 30))),
        ("d256", decimals),
        ("interval", Arc::new(intervals)),
        ("words", words),
    ];
    columns.extend([("texts", texts), ("bytes", bytes), ("days", days)]);
    let nested: Vec<_> = [0, 7, 9, 10, 12, 26, 27, 35, 36, 37]
        .map(|of| columns[of].clone())
        .into();
    for (of, (name, values)) in nested.into_iter().enumerate() {
        let item = Arc::new(Field::new("item", values.data_type().clone(), true));
        let shape: ArrayRef = match of % 3 {
            // Two values, none, no list, and two values again, of which one is missing.
            0 => Arc::new(ListArray::new(
                item,
                arrow::buffer::OffsetBuffer::from_lengths([2, 0, 0, 2]),
                values,
                Some(vec![true, true, false, true].into()),
            )),
            1 => {
                let members = vec![(Arc::new(Field::new("a", values.data_type().clone(), true)), values)];
                Arc::new(StructArray::from(members))
            }
            _ => {
                let keys: ArrayRef = Arc::new(Int16Array::from(vec![-1, 2, 3, 4]));
                let entries = StructArray::from(vec![
                    (Arc::new(Field::new("key", DataType::Int16, false)), keys),
                    (Arc::new(Field::new("value", values.data_type().clone(), true)), values),
                ]);
                let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
                let offsets = arrow::buffer::OffsetBuffer::from_lengths([1, 0, 0, 3]);
                let nulls = Some(vec![true, true, false, true].into());
                Arc::new(MapArray::new(field, offsets, entries, nulls, false))
            }
        };
        let name: &'static str = format!("nested_{name}").leak();
        columns.push((name, shape));
    }
    columns
}

fn read(table: &kodiak::Table) -> RecordBatch {
    let batches = table.read().batches().expect("read");
    let batches: Vec<RecordBatch> = batches.map(|batch| batch.expect("batch")).collect();
    arrow::compute::concat_batches(&table.schema().columns().clone(), &batches).expect("one schema")
}

/// What formats cannot hold, by the beginnings of the columns' names: an export with such a column is refused.
const REFUSED: [(&str, &[&str]); 2] = [
    ("parquet", &["interval"]),
    ("orc", &["u64", "f16", "clock", "took", "interval", "d256", "date64"]),
];

/// The columns of a table that can be exported in a format. Each of the others is refused by its name.
fn held(kodiak: &Kodiak, format: &str, names: &[&str]) -> Vec<String> {
    let refused = REFUSED
        .iter()
        .find(|(of, _)| *of == format)
        .map_or(&[][..], |(_, refused)| refused);
    let is_refused = |name: &str| {
        let plain = name.strip_prefix("nested_").unwrap_or(name);
        refused.iter().any(|refused| plain.starts_with(refused))
    };
    let file = format!("one.{format}");
    for name in names.iter().filter(|name| is_refused(name)) {
        let columns = format!("id,{name}");
        let error = kodiak.refuses(&["export", "db", "t", "--columns", &columns, "--output", &file]);
        assert!(error.contains(&format!("\"{name}\" of type")), "{error}");
    }
    let held = names.iter().filter(|name| !is_refused(name));
    held.map(|name| (*name).to_owned()).collect()
}

#[test]
fn all_types_come_back_exactly_through_every_format_that_takes_them() {
    let kodiak = Kodiak::new();
    let (mut fields, mut values) = (vec![Field::new("id", DataType::Int64, false)], Vec::new());
    values.push(Arc::new(Int64Array::from(vec![1, 2, 3, 4])) as ArrayRef);
    for (name, column) in columns() {
        fields.push(Field::new(name, column.data_type().clone(), true));
        values.push(column);
    }
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), values).expect("rows");
    let open = || kodiak::Db::open(kodiak.path("db"), kodiak::Settings::default()).expect("open");
    let db = open();
    let schema = kodiak::TableSchema::new(rows.schema(), &["id"]).expect("a schema");
    let table = db.create_table("t", schema).expect("a table");
    table.insert(&rows).expect("written");
    drop(table);
    db.close().expect("closed");
    let written = kodiak.file("schema.txt", &kodiak.prints(&["tables", "db", "t"]));
    let names = rows.schema();
    let names: Vec<&str> = names.fields().iter().map(|field| field.name().as_str()).collect();
    let mut tables = Vec::new();
    for format in ["csv", "jsonl", "feather", "parquet", "orc"] {
        let file = format!("t.{format}");
        let held = held(&kodiak, format, &names);
        kodiak.prints(&["export", "db", "t", "--output", &file, "--columns", &held.join(",")]);
        let import = ["import", "db", format, &file, "--key", "id", "--schema-file", &written];
        kodiak.prints(&import);
        tables.push((format.to_owned(), held.clone()));
        // Files with types tell them without a schema.
        if !["csv", "jsonl"].contains(&format) {
            let table = format!("inferred_{format}");
            kodiak.prints(&["import", "db", &table, &file, "--key", "id"]);
            tables.push((table, held));
        }
    }
    let db = open();
    for (table, held) in tables {
        let found = read(&db.table(&table).expect("made"));
        for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
            let back = match found.column_by_name(field.name()) {
                Some(back) if held.contains(field.name()) => back,
                Some(none) => {
                    assert_eq!(none.null_count(), 4, "{table}: {}", field.name());
                    continue;
                }
                None => {
                    assert!(!held.contains(field.name()), "{table}: {}", field.name());
                    continue;
                }
            };
            // Without a schema, dictionaries become what is in them.
            let back = match table.starts_with("inferred") {
                true => cast(back, column.data_type()).expect("a cast"),
                false => Arc::clone(back),
            };
            assert_eq!(back.as_ref(), column.as_ref(), "{}: {}", table, field.name());
        }
    }
}

#[test]
fn whole_numbers_are_never_rounded() {
    let kodiak = Kodiak::new();
    let text = "id,u\n9007199254740993,18446744073709551615\n9007199254740992,0\n0.5,1\n";
    let file = kodiak.file("rows.csv", text);
    kodiak.prints(&["import", "db", "t", &file, "--key", "id"]);
    let exported = kodiak.prints(&["export", "db", "t"]);
    assert_eq!(
        exported,
        "id,u\n0.5,1\n9007199254740992,0\n9007199254740993,18446744073709551615\n"
    );
    let columns = kodiak.prints(&["tables", "db", "t"]);
    assert!(
        columns.contains("id: text") && columns.contains("u: uint64"),
        "{columns}"
    );
}
