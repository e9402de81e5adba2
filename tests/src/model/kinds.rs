//! The kinds of tables in a history, and what their keys and values are made of.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use kodiak::core::keycodec::KeyCodec;
use kodiak::core::rowcodec::RowCodec;
use kodiak::{MergeOperator, TableOptions, TableSchema};

use super::Content;
use crate::history::{Change, Key, ScanOp, Value};

/// The kinds of table in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Keys and values.
    Plain,
    /// With the merge operator of this name.
    Merging(&'static str),
    /// With typed columns, and one that is the key.
    Typed,
    /// With typed columns of which three are the key, and updates of some columns.
    Composite,
    /// Entries live for [`LIFE`].
    Expiring,
}

/// The tables of a history. Their names are such as must not become names of files.
pub const TABLES: [(&str, Kind); 8] = [
    ("plain", Kind::Plain),
    ("../append", Kind::Merging("append")),
    ("/counter\0", Kind::Merging("counter")),
    ("LAST non-null", Kind::Merging("last-non-null")),
    ("fold\u{fc}\u{1f43b}", Kind::Merging("fold")),
    (".", Kind::Typed),
    ("..", Kind::Composite),
    ("CURRENT", Kind::Expiring),
];

/// How far the clock goes on at a tick.
pub const TICK: Duration = Duration::from_secs(1);

/// The ticks that an entry of an expiring table lives.
pub const LIFE: u64 = 8;

/// A merge operator from outside, without `combine`: the operands' order and number both matter.
#[derive(Debug)]
pub struct Fold;

fn fold(state: u64, bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(state.wrapping_mul(31).wrapping_add(7), |state, &byte| {
            (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
        })
}

impl MergeOperator for Fold {
    fn name(&self) -> &str {
        "fold"
    }

    fn merge(&self, _key: &[u8], base: Option<&[u8]>, operands: &[&[u8]]) -> kodiak::Result<Vec<u8>> {
        let start = base.map_or(0, |base| fold_start(Some(base)));
        Ok(operands
            .iter()
            .fold(start, |state, operand| fold(state, operand))
            .to_le_bytes()
            .to_vec())
    }
}

/// The state that a value stands for: any bytes, since values are put as well.
fn fold_start(base: Option<&[u8]>) -> u64 {
    match base {
        None => 0,
        Some(base) => match base.try_into() {
            Ok(bytes) => u64::from_le_bytes(bytes),
            Err(_) => fold(1, base),
        },
    }
}

/// A typed table's schema, and the codecs of its keys and rows.
struct Shape {
    schema: TableSchema,
    keys: KeyCodec,
    rows: RowCodec,
}

impl Shape {
    fn new(fields: Vec<Field>, key: &[&str]) -> Self {
        let schema = TableSchema::new(Arc::new(Schema::new(fields)), key).expect("a valid schema");
        Self {
            keys: KeyCodec::new(&schema),
            rows: RowCodec::new(&schema),
            schema,
        }
    }
}

static TYPED: LazyLock<Shape> = LazyLock::new(|| {
    let fields = vec![
        Field::new("number", DataType::Int64, true),
        Field::new("id", DataType::Binary, false),
        Field::new("text", DataType::Utf8, true),
    ];
    Shape::new(fields, &["id"])
});

static COMPOSITE: LazyLock<Shape> = LazyLock::new(|| {
    let fields = vec![
        Field::new("number", DataType::Int64, true),
        Field::new("id", DataType::Binary, false),
        Field::new("text", DataType::Utf8, true),
        Field::new("group", DataType::Utf8, true),
        Field::new("rank", DataType::Int32, false),
    ];
    // A text of any length that may be null, a number in descending order, and bytes.
    Shape::new(fields, &["group", "-rank", "id"])
});

impl Kind {
    fn shape(self) -> Option<&'static Shape> {
        match self {
            Self::Typed => Some(&TYPED),
            Self::Composite => Some(&COMPOSITE),
            _ => None,
        }
    }

    /// The schema of such a table.
    pub fn schema(self) -> TableSchema {
        self.shape()
            .map_or_else(TableSchema::key_value, |shape| shape.schema.clone())
    }

    /// The options of such a table.
    pub fn options(self) -> TableOptions {
        match self {
            Self::Merging(operator) => TableOptions::new().merge_operator(operator),
            Self::Composite => TableOptions::new().merge_operator("last-non-null"),
            Self::Expiring => TableOptions::new().ttl(TICK * LIFE as u32),
            _ => TableOptions::new(),
        }
    }

    /// True if operands can be merged.
    pub fn merges(self) -> bool {
        matches!(self, Self::Merging(_) | Self::Composite)
    }

    /// The user key that stands for the key of a history.
    pub fn key(self, key: &Key) -> Vec<u8> {
        let Self::Composite = self else { return key.0.clone() };
        let keys = COMPOSITE.keys.encode(&self.columns(key, Value { len: 0, seed: 0 }));
        keys.expect("columns of the schema").value(0).to_vec()
    }

    /// The own columns of one row of a typed table.
    fn columns(self, Key(key): &Key, value: Value) -> Vec<ArrayRef> {
        let text: Option<String> = (!value.seed.is_multiple_of(5))
            .then(|| value.bytes().iter().map(|byte| char::from(b' ' + byte % 90)).collect());
        let number = (!value.seed.is_multiple_of(3)).then_some(i64::from(value.seed) - i64::from(u32::MAX / 2));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![number])),
            Arc::new(BinaryArray::from_vec(vec![key])),
            Arc::new(StringArray::from(vec![text])),
        ];
        if self == Self::Composite {
            // Few groups, one a prefix of another, with the letters that an encoding could stumble over.
            let group = (!key.len().is_multiple_of(3)).then(|| -> String {
                let letters = key
                    .iter()
                    .take(3)
                    .map(|byte| ['\0', '\u{1}', '\u{fc}'][usize::from(byte % 3)]);
                letters.collect()
            });
            let rank = key.iter().map(|&byte| i32::from(byte)).sum::<i32>() % 5 - 2;
            columns.push(Arc::new(StringArray::from(vec![group])));
            columns.push(Arc::new(Int32Array::from(vec![rank])));
        }
        columns
    }

    /// The row that a put of `value` writes, of a typed table.
    pub fn row(self, key: &Key, value: Value) -> Option<RecordBatch> {
        let columns = self.shape()?.schema.columns().clone();
        Some(RecordBatch::try_new(columns, self.columns(key, value)).expect("columns of the schema"))
    }

    /// The user keys and values of rows.
    pub fn entries(self, rows: &RecordBatch) -> Vec<(Vec<u8>, Arc<[u8]>)> {
        let Some(shape) = self.shape() else {
            let (keys, values) = (rows.column(0).as_binary::<i32>(), rows.column(1).as_binary::<i32>());
            let entry = |row: usize| (keys.value(row).to_vec(), values.value(row).into());
            return (0..rows.num_rows()).map(entry).collect();
        };
        let keys = shape.keys.encode(rows.columns()).expect("columns of the schema");
        let encoder = shape.rows.encoder(rows.columns()).expect("columns of the schema");
        let entry = |row: usize| {
            let mut value = Vec::new();
            encoder.encode(row, &mut value);
            (keys.value(row).to_vec(), value.into())
        };
        (0..rows.num_rows()).map(entry).collect()
    }

    /// The rows of user keys and values.
    pub fn rows(self, content: &Content) -> RecordBatch {
        let schema = self.schema();
        let keys = BinaryArray::from_iter_values(content.keys());
        let values = BinaryArray::from_iter_values(content.values());
        let mut columns: Vec<Option<ArrayRef>> = vec![None; schema.columns().fields().len()];
        match self.shape() {
            None => columns = vec![Some(Arc::new(keys)), Some(Arc::new(values))],
            Some(shape) => {
                let key_columns = shape.keys.decode(&keys).expect("keys of the table");
                let value_columns = shape.rows.decode(&values).expect("rows of the table");
                let places = schema.key().iter().map(|key| key.index).chain(schema.value_columns());
                for (place, column) in places.zip(key_columns.into_iter().chain(value_columns)) {
                    columns[place] = Some(column);
                }
            }
        }
        let columns = columns.into_iter().flatten().collect();
        RecordBatch::try_new(schema.columns().clone(), columns).expect("columns of the schema")
    }

    /// The bytes that a put of `value` writes at a tick of the clock.
    pub fn encode(self, value: Value, tick: u64) -> Vec<u8> {
        match self {
            Self::Plain => value.bytes(),
            Self::Merging("counter") => Value { len: 8, ..value }.bytes(),
            Self::Merging(_) => value.bytes(),
            // So that the model knows the age of what it holds.
            Self::Expiring => [tick.to_be_bytes().as_slice(), &value.bytes()].concat(),
            Self::Typed | Self::Composite => {
                let mut row = Vec::new();
                if let Some(shape) = self.shape() {
                    let encoded = shape.rows.encode(&self.columns(&Key::default(), value), 0, &mut row);
                    encoded.expect("columns of the schema");
                }
                row
            }
        }
    }

    /// True if a value that [`encode`](Self::encode) made has expired at `tick`.
    pub fn expired(self, value: &[u8], tick: u64) -> bool {
        let Self::Expiring = self else { return false };
        let born = value.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        born + LIFE <= tick
    }

    /// What a merge makes of a value.
    pub fn merge(self, base: Option<&[u8]>, operand: &[u8]) -> Option<Vec<u8>> {
        let operator = match self {
            Self::Merging(operator) => operator,
            Self::Composite => return Some(merge_rows(base, operand)),
            _ => return None,
        };
        Some(match operator {
            "append" => [base.unwrap_or_default(), operand].concat(),
            "last-non-null" if operand.is_empty() => base.unwrap_or_default().to_vec(),
            "last-non-null" => operand.to_vec(),
            "counter" => {
                let read = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().expect("counters have eight bytes"));
                base.map_or(0, read).wrapping_add(read(operand)).to_le_bytes().to_vec()
            }
            _ => fold(fold_start(base), operand).to_le_bytes().to_vec(),
        })
    }

    /// The change with the user keys of such a table.
    pub fn change(self, change: &Change) -> Change {
        let key = |given: &Key| Key(self.key(given));
        match change {
            Change::Put(at, value) => Change::Put(key(at), *value),
            Change::Delete(at) => Change::Delete(key(at)),
            Change::DeleteRange(start, end) => Change::DeleteRange(key(start), key(end)),
            Change::Merge(at, operand) => Change::Merge(key(at), *operand),
        }
    }

    /// The scan with the user keys of such a table.
    pub fn scan(self, scan: &ScanOp) -> ScanOp {
        let key = |given: &Key| Key(self.key(given));
        let prefix = |given: &Key| match self {
            // Any bytes that keys begin with will do.
            Self::Composite => Key(self.key(given).into_iter().take(given.0.len()).collect()),
            _ => given.clone(),
        };
        ScanOp {
            start: scan.start.as_ref().map(key),
            end: scan.end.as_ref().map(key),
            prefix: scan.prefix.as_ref().map(prefix),
            seek: scan.seek.as_ref().map(|(after, at)| (*after, key(at))),
            ..scan.clone()
        }
    }
}

/// Column by column the operand's value, or the base's where that is null.
fn merge_rows(base: Option<&[u8]>, operand: &[u8]) -> Vec<u8> {
    let decode = |row: &[u8]| {
        let columns = COMPOSITE
            .rows
            .decode(&BinaryArray::from_vec(vec![row]))
            .expect("a row of the table");
        let (numbers, texts) = (columns[0].as_primitive::<Int64Type>(), columns[1].as_string::<i32>());
        let number = numbers.is_valid(0).then(|| numbers.value(0));
        (number, texts.is_valid(0).then(|| texts.value(0).to_owned()))
    };
    let (number, text) = decode(operand);
    let (old_number, old_text) = base.map_or((None, None), decode);
    let mut columns = Kind::Composite.columns(&Key::default(), Value { len: 0, seed: 0 });
    columns[0] = Arc::new(Int64Array::from(vec![number.or(old_number)]));
    columns[2] = Arc::new(StringArray::from(vec![text.or(old_text)]));
    let mut row = Vec::new();
    COMPOSITE
        .rows
        .encode(&columns, 0, &mut row)
        .expect("columns of the schema");
    row
}
