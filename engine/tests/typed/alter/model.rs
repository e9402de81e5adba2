//! What an altered table should hold: rows as values by column, whatever schema they were written by.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array,
    LargeStringArray, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};

/// A value, in a form that all types of its column share.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Float(f32),
    Text(String),
    /// Hundredths.
    Money(i64),
    Days(i32),
}

/// A column by the number that only the model knows.
#[derive(Debug, Clone)]
pub struct Column {
    pub number: usize,
    pub name: String,
    pub data_type: DataType,
    pub nullable: bool,
}

type Key = (i64, String);

/// Columns as of now, and rows.
#[derive(Debug, Clone)]
pub struct Model {
    /// With the key's two, numbers 0 and 1.
    pub columns: Vec<Column>,
    pub rows: BTreeMap<Key, BTreeMap<usize, Value>>,
    /// Of columns that have one.
    pub defaults: BTreeMap<usize, Value>,
    pub next_number: usize,
    next_name: usize,
}

/// The types of value columns.
pub const TYPES: [DataType; 8] = [
    DataType::Int8,
    DataType::Int16,
    DataType::Int32,
    DataType::Float32,
    DataType::Utf8,
    DataType::Decimal128(6, 2),
    DataType::Date32,
    DataType::Int64,
];

/// The types that a column of a type may become in these tests.
pub fn wider(of: &DataType) -> Vec<DataType> {
    match of {
        DataType::Int8 => vec![DataType::Int16, DataType::Int32, DataType::Int64],
        DataType::Int16 => vec![DataType::Int32, DataType::Int64],
        DataType::Int32 => vec![DataType::Int64],
        DataType::Float32 => vec![DataType::Float64],
        DataType::Utf8 => vec![DataType::LargeUtf8],
        DataType::Decimal128(6, 2) => vec![DataType::Decimal128(12, 4)],
        // ORC, which some of the tests write, has no other dates.
        _ => Vec::new(),
    }
}

pub fn value(rng: &mut StdRng, of: &DataType, nullable: bool) -> Value {
    if nullable && rng.random_range(0..4) == 0 {
        return Value::Null;
    }
    match of {
        DataType::Int8 => Value::Int(i64::from(rng.next_u32() as i8)),
        DataType::Int16 => Value::Int(i64::from(rng.next_u32() as i16)),
        DataType::Int32 => Value::Int(i64::from(rng.next_u32() as i32)),
        DataType::Int64 => Value::Int(rng.next_u64() as i64),
        DataType::Float32 | DataType::Float64 => Value::Float(rng.next_u32() as f32 / 8.0),
        DataType::Utf8 | DataType::LargeUtf8 => Value::Text("x".repeat(rng.random_range(0..20))),
        DataType::Decimal128(..) => Value::Money(rng.random_range(-999_999..1_000_000)),
        DataType::Date32 => Value::Days(rng.random_range(-100_000..100_000)),
        other => panic!("no values of type {other}"),
    }
}

/// Values as a column of a type.
pub fn array<'a>(of: &DataType, values: impl Iterator<Item = &'a Value>) -> ArrayRef {
    let ints = |values: &mut dyn Iterator<Item = &'a Value>| -> Vec<Option<i64>> {
        values
            .map(|value| match value {
                Value::Int(int) => Some(*int),
                Value::Days(days) => Some(i64::from(*days)),
                Value::Money(cents) => Some(*cents),
                _ => None,
            })
            .collect()
    };
    let texts = |values: &mut dyn Iterator<Item = &'a Value>| -> Vec<Option<&'a str>> {
        values
            .map(|value| match value {
                Value::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect()
    };
    let floats = |values: &mut dyn Iterator<Item = &'a Value>| -> Vec<Option<f32>> {
        values
            .map(|value| match value {
                Value::Float(float) => Some(*float),
                _ => None,
            })
            .collect()
    };
    let mut values = values;
    let values = &mut values;
    match of {
        DataType::Int8 => Arc::new(
            ints(values)
                .iter()
                .map(|int| int.map(|int| int as i8))
                .collect::<Int8Array>(),
        ),
        DataType::Int16 => Arc::new(
            ints(values)
                .iter()
                .map(|int| int.map(|int| int as i16))
                .collect::<Int16Array>(),
        ),
        DataType::Int32 => Arc::new(
            ints(values)
                .iter()
                .map(|int| int.map(|int| int as i32))
                .collect::<Int32Array>(),
        ),
        DataType::Int64 => Arc::new(Int64Array::from(ints(values))),
        DataType::Float32 => Arc::new(Float32Array::from(floats(values))),
        DataType::Float64 => Arc::new(
            floats(values)
                .into_iter()
                .map(|float| float.map(f64::from))
                .collect::<Float64Array>(),
        ),
        DataType::Utf8 => Arc::new(StringArray::from(texts(values))),
        DataType::LargeUtf8 => Arc::new(LargeStringArray::from(texts(values))),
        DataType::Decimal128(_, scale) => {
            let factor = 10i128.pow(*scale as u32 - 2);
            let column: Decimal128Array = ints(values)
                .iter()
                .map(|int| int.map(|int| i128::from(int) * factor))
                .collect();
            Arc::new(column.with_data_type(of.clone()))
        }
        DataType::Date32 => Arc::new(
            ints(values)
                .iter()
                .map(|int| int.map(|int| int as i32))
                .collect::<Date32Array>(),
        ),
        other => panic!("no columns of type {other}"),
    }
}

impl Model {
    pub fn new(rng: &mut StdRng) -> Self {
        let mut model = Self {
            columns: Vec::new(),
            rows: BTreeMap::new(),
            defaults: BTreeMap::new(),
            next_number: 0,
            next_name: 0,
        };
        for data_type in [DataType::Int64, DataType::Utf8] {
            let mut column = model.new_column(data_type, false);
            column.name = format!("key{}", column.number);
            model.columns.push(column);
        }
        for _ in 0..rng.random_range(0..4) {
            let data_type = TYPES[rng.random_range(0..TYPES.len())].clone();
            let nullable = rng.random_range(0..4) > 0;
            let column = model.new_column(data_type, nullable);
            model.columns.insert(rng.random_range(0..=model.columns.len()), column);
        }
        model
    }

    /// A column under one of a few names, so that names come again.
    pub fn new_column(&mut self, data_type: DataType, nullable: bool) -> Column {
        let number = self.next_number;
        self.next_number += 1;
        let name = self.free_name();
        Column {
            number,
            name,
            data_type,
            nullable,
        }
    }

    pub fn free_name(&mut self) -> String {
        loop {
            // Few names, so that those of dropped columns come again; always one more than are taken.
            self.next_name = (self.next_name + 1) % (self.columns.len() + 1).max(12);
            let name = format!("c{}", self.next_name);
            if self.columns.iter().all(|column| column.name != name) {
                return name;
            }
        }
    }

    pub fn schema(&self) -> SchemaRef {
        let field = |column: &Column| Field::new(&column.name, column.data_type.clone(), column.nullable);
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }

    pub fn key_names(&self) -> [String; 2] {
        [0, 1].map(|number| {
            let column = self.columns.iter().find(|column| column.number == number);
            column.expect("a key column").name.clone()
        })
    }

    /// Rows with random keys and, of the named columns, random values.
    pub fn random_rows(&self, rng: &mut StdRng, rows: usize) -> Vec<(Key, BTreeMap<usize, Value>)> {
        (0..rows)
            .map(|_| {
                let key = (
                    rng.random_range(0..40),
                    ["", "a", "b"][rng.random_range(0..3)].to_owned(),
                );
                let values = self.columns.iter().map(|column| {
                    let value = match column.number {
                        0 => Value::Int(key.0),
                        1 => Value::Text(key.1.clone()),
                        _ => value(rng, &column.data_type, column.nullable),
                    };
                    (column.number, value)
                });
                (key.clone(), values.collect())
            })
            .collect()
    }

    /// The columns, perhaps without some that have a default.
    pub fn some_columns(&self, rng: &mut StdRng) -> Vec<Column> {
        let columns = self.columns.iter();
        let kept = columns.filter(|column| !self.defaults.contains_key(&column.number) || rng.random());
        kept.cloned().collect()
    }

    /// Puts rows that were inserted with these columns.
    pub fn insert(&mut self, columns: &[Column], rows: Vec<(Key, BTreeMap<usize, Value>)>) {
        for (key, mut row) in rows {
            row.retain(|number, _| columns.iter().any(|column| column.number == *number));
            for (number, default) in &self.defaults {
                row.entry(*number).or_insert_with(|| default.clone());
            }
            self.rows.insert(key, row);
        }
    }

    /// Rows as a batch of some columns.
    pub fn batch<'a>(
        &self,
        columns: &[Column],
        rows: impl Iterator<Item = &'a BTreeMap<usize, Value>> + Clone,
    ) -> RecordBatch {
        let fields: Vec<Field> = columns
            .iter()
            .map(|column| Field::new(&column.name, column.data_type.clone(), column.nullable))
            .collect();
        let arrays = columns
            .iter()
            .map(|column| {
                array(
                    &column.data_type,
                    rows.clone().map(|row| row.get(&column.number).unwrap_or(&Value::Null)),
                )
            })
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("values of the columns")
    }

    /// All rows in key order, as the table should hand them out.
    pub fn all(&self) -> RecordBatch {
        self.batch(&self.columns, self.rows.values())
    }
}
