//! Random schemas, and rows for them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, TimeUnit};
use kodiak::TableSchema;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn list() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Int32, true)))
}

/// Of every nested kind, in each other.
fn map() -> DataType {
    let small = DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Int16, false)), 2);
    let entries = vec![
        Field::new("keys", DataType::Utf8, false),
        Field::new(
            "values",
            DataType::LargeList(Arc::new(Field::new("item", small, true))),
            true,
        ),
    ];
    DataType::Map(
        Arc::new(Field::new("entries", DataType::Struct(entries.into()), false)),
        false,
    )
}

fn structure() -> DataType {
    let fields = vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Utf8, true),
    ];
    DataType::Struct(fields.into())
}

/// Types that a key may have.
pub fn key_types() -> Vec<DataType> {
    use DataType::*;
    vec![
        Utf8,
        Int64,
        Binary,
        Boolean,
        Int8,
        UInt16,
        Int32,
        UInt64,
        Float32,
        Float64,
        Date32,
        Timestamp(TimeUnit::Microsecond, None),
        Decimal128(12, 2),
        LargeUtf8,
        dictionary(),
        Utf8View,
    ]
}

/// Types that only values may have.
pub fn value_types() -> Vec<DataType> {
    vec![list(), structure(), map()]
}

/// A schema of one to three key columns and up to four others, in any order.
pub fn schema(rng: &mut StdRng) -> TableSchema {
    let (keys, values) = (rng.random_range(1..=3), rng.random_range(0..=4));
    let all: Vec<DataType> = key_types().into_iter().chain(value_types()).collect();
    let mut fields = Vec::new();
    let mut key = Vec::new();
    for index in 0..keys {
        let data_type = key_types().choose(rng).expect("there are types").clone();
        let descending = rng.random_bool(0.3);
        key.push(format!("{}k{index}", if descending { "-" } else { "" }));
        fields.push(Field::new(format!("k{index}"), data_type, rng.random_bool(0.4)));
    }
    for index in 0..values {
        let data_type = all.choose(rng).expect("there are types").clone();
        let place = rng.random_range(0..=fields.len());
        fields.insert(place, Field::new(format!("v{index}"), data_type, rng.random_bool(0.6)));
    }
    let key: Vec<&str> = key.iter().map(String::as_str).collect();
    TableSchema::new(Arc::new(Schema::new(fields)), &key).expect("every type is supported")
}

/// A column of random values, few of them distinct.
fn column(rng: &mut impl Rng, field: &Field, rows: usize, distinct: i64) -> ArrayRef {
    let nulls = if field.is_nullable() { 0.15 } else { 0.0 };
    let numbers: Int64Array = (0..rows)
        .map(|_| (!rng.random_bool(nulls)).then(|| rng.random_range(0..distinct)))
        .collect();
    let text = || cast(&numbers, &DataType::Utf8).expect("numbers have a text");
    match field.data_type() {
        DataType::Boolean => Arc::new(numbers.iter().map(|n| n.map(|n| n % 2 == 1)).collect::<BooleanArray>()),
        DataType::Float64 | DataType::Float32 => {
            let floats: Float64Array = numbers
                .iter()
                .map(|n| {
                    n.map(|n| {
                        if n == 7 {
                            f64::NAN
                        } else if n == 9 {
                            -0.0
                        } else {
                            (n - 20) as f64 / 3.0
                        }
                    })
                })
                .collect();
            cast(&floats, field.data_type()).expect("floats")
        }
        DataType::Int8 => {
            let small: Int64Array = numbers.iter().map(|n| n.map(|n| n % 256 - 128)).collect();
            cast(&small, field.data_type()).expect("small numbers")
        }
        DataType::Binary => {
            // With zero bytes, which escapes must keep in order.
            let bytes = numbers
                .iter()
                .map(|n| n.map(|n| vec![(n % 3) as u8; (n / 3 % 5) as usize]));
            Arc::new(bytes.collect::<arrow::array::BinaryArray>())
        }
        DataType::Date32 => cast(&cast(&numbers, &DataType::Int32).expect("small"), &DataType::Date32).expect("days"),
        DataType::Utf8 => text(),
        DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => {
            cast(&text(), field.data_type()).expect("texts")
        }
        DataType::List(_) => {
            let lists = numbers.iter().map(|n| {
                n.map(|n| {
                    (0..n % 4)
                        .map(|item| (item != 2).then_some((n * item) as i32))
                        .collect::<Vec<_>>()
                })
            });
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))
        }
        DataType::Map(entries, _) => {
            use arrow::array::{FixedSizeListBuilder, Int16Builder, LargeListBuilder, MapBuilder, StringBuilder};
            let DataType::Struct(fields) = entries.data_type() else {
                unreachable!("a map's entries are a struct")
            };
            let DataType::LargeList(pair) = fields[1].data_type() else {
                unreachable!("as `map` says")
            };
            let small = FixedSizeListBuilder::new(Int16Builder::new(), 2).with_field(Field::new(
                "item",
                DataType::Int16,
                false,
            ));
            let lists = LargeListBuilder::new(small).with_field(Arc::clone(pair));
            let mut maps = MapBuilder::new(None, StringBuilder::new(), lists).with_values_field(Arc::clone(&fields[1]));
            for number in &numbers {
                for entry in 0..number.unwrap_or(0) % 3 {
                    maps.keys().append_value(format!("k{entry}"));
                    for item in 0..entry {
                        maps.values().values().values().append_slice(&[item as i16, 7]);
                        maps.values().values().append(item != 1);
                    }
                    maps.values().append(entry != 2);
                }
                maps.append(number.is_some()).expect("as many keys as values");
            }
            let made = maps.finish();
            let entries_made = made.entries().columns().to_vec();
            let nulls = made.nulls().cloned();
            let inner = StructArray::new(fields.clone(), entries_made, None);
            Arc::new(arrow::array::MapArray::new(
                Arc::clone(entries),
                made.offsets().clone(),
                inner,
                nulls,
                false,
            ))
        }
        DataType::Struct(fields) => {
            let nulls = numbers.nulls().cloned();
            let columns = vec![Arc::new(numbers.clone()) as ArrayRef, text()];
            Arc::new(StructArray::new(fields.clone(), columns, nulls))
        }
        other => cast(&numbers, other).expect("numbers become everything else"),
    }
}

/// Random rows; of keys there are few enough that many come twice.
pub fn rows(rng: &mut impl Rng, schema: &TableSchema, rows: usize, distinct: i64) -> RecordBatch {
    let fields = schema.columns().fields();
    let columns = fields.iter().map(|field| column(rng, field, rows, distinct)).collect();
    RecordBatch::try_new(Arc::clone(schema.columns()), columns).expect("columns of the schema")
}
