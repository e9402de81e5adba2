//! Random schemas of every type that tables may have, and random rows for them.

mod arrays;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};
use kodiak::TableSchema;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

pub use arrays::array;

/// How deep random types are nested.
const DEPTH: usize = 2;

const UNITS: [TimeUnit; 4] = [
    TimeUnit::Second,
    TimeUnit::Millisecond,
    TimeUnit::Microsecond,
    TimeUnit::Nanosecond,
];

/// A random type that a key may have.
pub fn orderable(rng: &mut StdRng) -> DataType {
    use DataType as D;
    let unit = *UNITS.choose(rng).expect("four");
    let zone = *[None, Some("UTC"), Some("Europe/Rome")].choose(rng).expect("three");
    let plain = [
        D::Boolean,
        D::Int8,
        D::Int16,
        D::Int32,
        D::Int64,
        D::UInt8,
        D::UInt16,
        D::UInt32,
        D::UInt64,
        D::Float16,
        D::Float32,
        D::Float64,
        D::Date32,
        D::Date64,
        D::Utf8,
        D::LargeUtf8,
        D::Utf8View,
        D::Binary,
        D::LargeBinary,
        D::BinaryView,
        D::FixedSizeBinary(rng.random_range(1..20)),
    ];
    match rng.random_range(0..10) {
        0 => match unit {
            TimeUnit::Second | TimeUnit::Millisecond => D::Time32(unit),
            TimeUnit::Microsecond | TimeUnit::Nanosecond => D::Time64(unit),
        },
        1 => D::Timestamp(unit, zone.map(Into::into)),
        2 => D::Duration(unit),
        3 => decimal(rng),
        4 => {
            let index = [D::Int8, D::UInt8, D::Int16, D::Int32, D::UInt32, D::Int64];
            let values = [D::Utf8, D::Int64, D::LargeUtf8, D::Binary, D::Date32];
            D::Dictionary(
                Box::new(index.choose(rng).expect("some").clone()),
                Box::new(values.choose(rng).expect("some").clone()),
            )
        }
        _ => plain.choose(rng).expect("some").clone(),
    }
}

fn decimal(rng: &mut StdRng) -> DataType {
    let mut digits = |most: u8| {
        let precision = rng.random_range(2..=most);
        (precision, rng.random_range(0..=precision as i8))
    };
    // Those of 256 bits are rare, since many tools do not read files that have them.
    let ([small, middle, large, huge], which) =
        ([digits(9), digits(18), digits(38), digits(76)], rng.random_range(0..10));
    match which {
        0..3 => DataType::Decimal32(small.0, small.1),
        3..6 => DataType::Decimal64(middle.0, middle.1),
        6..9 => DataType::Decimal128(large.0, large.1),
        _ => DataType::Decimal256(huge.0, huge.1),
    }
}

/// A random type of values, nested `depth` levels deep at most.
fn value(rng: &mut StdRng, depth: usize) -> DataType {
    use DataType as D;
    if depth > 0 && rng.random_bool(0.3) {
        return nested(rng, depth);
    }
    if rng.random_bool(0.02) {
        // The only one that Python knows.
        return D::Interval(IntervalUnit::MonthDayNano);
    }
    orderable(rng)
}

fn nested(rng: &mut StdRng, depth: usize) -> DataType {
    use DataType as D;
    let mut field =
        |name: &str, nullable: bool| -> FieldRef { Arc::new(Field::new(name, value(rng, depth - 1), nullable)) };
    let (item, strict) = (field("item", true), field("item", false));
    match rng.random_range(0..6) {
        0 => D::List(item),
        1 => D::List(strict),
        2 => D::LargeList(item),
        3 => D::FixedSizeList(item, rng.random_range(1..4)),
        4 => {
            let (second, third) = (value(rng, depth - 1), value(rng, depth - 1));
            let fields = [
                item.as_ref().clone().with_name("first"),
                Field::new("second", second, true),
                Field::new("third", third, rng.random()),
            ];
            D::Struct(Fields::from(fields.to_vec()))
        }
        _ => {
            let keys = [D::Utf8, D::Int32, D::Int64];
            let key = Field::new("key", keys.choose(rng).expect("three").clone(), false);
            let entries = [key, item.as_ref().clone().with_name("value")];
            D::Map(
                Arc::new(Field::new("entries", D::Struct(Fields::from(entries.to_vec())), false)),
                false,
            )
        }
    }
}

/// A random table: one to three key columns, ascending or descending, and up to six others, in any order; of types that are
/// not refused. `values_null` if values, as partial updates want, may all be null.
pub fn schema(rng: &mut StdRng, refuses: &dyn Fn(&DataType) -> bool, values_null: bool) -> TableSchema {
    let mut fields = Vec::new();
    let mut key = Vec::new();
    for index in 0..rng.random_range(1..=3) {
        let data_type = accepted(rng, refuses, orderable);
        // Names that must be quoted.
        let name = format!("k{index} \"it's\"");
        key.push(format!("{}{name}", if rng.random_bool(0.3) { "-" } else { "" }));
        fields.push(Field::new(name, data_type, rng.random_bool(0.4)));
    }
    for index in 0..rng.random_range(0..=6) {
        let data_type = accepted(rng, refuses, |rng| value(rng, DEPTH));
        let nullable = values_null || rng.random_bool(0.7);
        let place = rng.random_range(0..=fields.len());
        // Some differ from others in capital letters only, or are those of columns that readers have besides.
        let name = match (rng.random_range(0..5), index) {
            (0, 1..) => format!("V{}", index - 1),
            (1, 2) => "Filename".to_owned(),
            (1, 3) => "file_row_number".to_owned(),
            _ => format!("v{index}"),
        };
        fields.insert(place, Field::new(name, data_type, nullable));
    }
    let key: Vec<&str> = key.iter().map(String::as_str).collect();
    TableSchema::new(Arc::new(Schema::new(fields)), &key).expect("every type is one of tables'")
}

/// A random type of values that is not refused.
pub fn value_type(rng: &mut StdRng, refuses: &dyn Fn(&DataType) -> bool) -> DataType {
    accepted(rng, refuses, |rng| value(rng, DEPTH))
}

fn accepted(rng: &mut StdRng, refuses: &dyn Fn(&DataType) -> bool, make: impl Fn(&mut StdRng) -> DataType) -> DataType {
    loop {
        let made = make(rng);
        if !refuses(&made) {
            return made;
        }
    }
}

/// Random rows of some of a table's columns, the key's among them. There are about `keys` keys, so that many come again.
pub fn rows(rng: &mut StdRng, table: &TableSchema, columns: &SchemaRef, rows: usize, keys: u64) -> RecordBatch {
    let parts = table.key().len() as f64;
    let each = (keys as f64).powf(1.0 / parts).ceil().max(2.0) as u64;
    let made = columns.fields().iter().map(|field| {
        let at = table.columns().index_of(field.name()).expect("a column of the table");
        let key = table.is_key_column(at);
        let nulls = if field.is_nullable() { 0.2 } else { 0.0 };
        let numbers: Vec<Option<u64>> = (0..rows)
            .map(|_| (!rng.random_bool(nulls)).then(|| if key { rng.random_range(0..each) } else { rng.next_u64() }))
            .collect();
        array(field, &numbers)
    });
    RecordBatch::try_new(SchemaRef::clone(columns), made.collect()).expect("columns of the schema")
}
