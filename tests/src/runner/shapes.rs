//! Altered tables: the model knows rows by the columns that a table was created with, whatever columns it has had since.
//!
//! Columns that come later hold [`EXTRA`] in every row, old and new; so what a row must be follows from the model alone.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int32Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type};
use kodiak::core::rowcodec::RowCodec;
use kodiak::{Alteration, ErrorKind, Table, TableSchema};

use super::{Outcome, Runner, failed};
use crate::history::{Change, Value};
use crate::model::{Kind, TABLES};

/// What columns hold that a history adds.
const EXTRA: i32 = 7;
/// How many columns a history adds before it drops some.
const MOST_EXTRAS: usize = 3;

/// Rows of the model as rows of a table of this schema.
pub(super) fn to_table(kind: Kind, schema: &TableSchema, rows: &RecordBatch) -> RecordBatch {
    let own = kind.schema();
    let column = |(index, field): (usize, &Arc<Field>)| -> ArrayRef {
        let column: ArrayRef = match own.index_of_number(schema.column_number(index)) {
            Some(known) => Arc::clone(rows.column(known)),
            None => Arc::new(Int32Array::from(vec![EXTRA; rows.num_rows()])),
        };
        cast(&column, field.data_type()).expect("a wider type")
    };
    let columns = schema.columns().fields().iter().enumerate().map(column).collect();
    RecordBatch::try_new(Arc::clone(schema.columns()), columns).expect("columns of the schema")
}

/// Rows of a table of this schema as rows of the model.
fn to_model(kind: Kind, schema: &TableSchema, columns: &[(usize, ArrayRef)]) -> Outcome<Vec<(usize, ArrayRef)>> {
    let own = kind.schema();
    let mut known = Vec::new();
    for (index, column) in columns {
        match own.index_of_number(schema.column_number(*index)) {
            Some(place) => {
                let narrow = cast(column, own.columns().field(place).data_type()).map_err(|error| error.to_string())?;
                known.push((place, narrow));
            }
            None => {
                let extra = cast(column, &DataType::Int64).map_err(|error| error.to_string())?;
                let extra = extra.as_primitive::<Int64Type>();
                if extra.null_count() > 0 || extra.values().iter().any(|&value| value != i64::from(EXTRA)) {
                    return Err(format!(
                        "column \"{}\" has lost its value",
                        schema.columns().field(*index).name()
                    ));
                }
            }
        }
    }
    known.sort_by_key(|(place, _)| *place);
    Ok(known)
}

/// The row of a typed table that a change is about, if it is to be made by rows and not by bytes; about half are.
pub(super) fn typed_row(kind: Kind, schema: Option<&TableSchema>, change: &Change) -> Option<RecordBatch> {
    let (key, value) = match change {
        Change::Put(key, value) | Change::Merge(key, value) => (key, *value),
        Change::Delete(key) => (key, Value { len: 0, seed: 0 }),
        Change::DeleteRange(..) => return None,
    };
    let by_rows = (value.seed as usize ^ key.0.len()) & 1 == 0;
    if by_rows {
        Some(to_table(kind, schema?, &kind.row(key, value)?))
    } else {
        None
    }
}

/// Rows that were read of a table of this schema, as the model has them.
pub(super) fn read_rows(kind: Kind, schema: &TableSchema, rows: &RecordBatch) -> Outcome<RecordBatch> {
    let columns: Vec<(usize, ArrayRef)> = rows.columns().iter().cloned().enumerate().collect();
    let columns = to_model(kind, schema, &columns)?.into_iter().map(|(_, column)| column);
    RecordBatch::try_new(Arc::clone(kind.schema().columns()), columns.collect()).map_err(|error| error.to_string())
}

/// The bytes of a row of a table of this schema, as the model has them.
pub(super) fn read_bytes(kind: Kind, schema: &TableSchema, row: &[u8]) -> Outcome<Vec<u8>> {
    if schema.number() == 0 {
        return Ok(row.to_vec());
    }
    let values = RowCodec::new(schema).decode(&BinaryArray::from_iter_values([row]));
    let values = values.map_err(failed("decode a row"))?;
    let columns: Vec<(usize, ArrayRef)> = schema.value_columns().zip(values).collect();
    let own = kind.schema();
    let filler: ArrayRef = Arc::new(Int32Array::from(vec![0]));
    let mut all = vec![filler; own.columns().fields().len()];
    for (place, column) in to_model(kind, schema, &columns)? {
        all[place] = column;
    }
    let mut out = Vec::new();
    RowCodec::new(&own)
        .encode(&all, 0, &mut out)
        .map_err(failed("encode a row"))?;
    Ok(out)
}

/// The bytes of a row of the model, as a table of this schema has them.
pub(super) fn write_bytes(kind: Kind, schema: &TableSchema, row: Vec<u8>) -> Vec<u8> {
    if schema.number() == 0 {
        return row;
    }
    let own = kind.schema();
    let values = RowCodec::new(&own)
        .decode(&BinaryArray::from_iter_values([&row]))
        .expect("a row");
    let filler: ArrayRef = Arc::new(Int32Array::from(vec![0]));
    let mut all = vec![filler; schema.columns().fields().len()];
    for index in schema.value_columns() {
        let place = own.index_of_number(schema.column_number(index));
        let column = match place.and_then(|place| own.value_columns().position(|own| own == place)) {
            Some(place) => Arc::clone(&values[place]),
            None => Arc::new(Int32Array::from(vec![EXTRA])) as ArrayRef,
        };
        all[index] = cast(&column, schema.columns().field(index).data_type()).expect("a wider type");
    }
    let mut out = Vec::new();
    RowCodec::new(schema)
        .encode(&all, 0, &mut out)
        .expect("columns of the schema");
    out
}

/// Some change of the columns, by `what`.
fn alteration<'t>(table: &'t Table, kind: Kind, what: usize) -> Alteration<'t> {
    let (schema, own) = (table.schema(), kind.schema());
    let fields = schema.columns().fields();
    let extras: Vec<usize> = (0..fields.len())
        .filter(|&index| own.index_of_number(schema.column_number(index)).is_none())
        .collect();
    let alter = table.alter();
    let any = what / 8 % fields.len();
    match what % 8 {
        0..=2 if extras.len() < MOST_EXTRAS => {
            let name = format!(
                "extra{}",
                (0..)
                    .find(|number| schema.columns().index_of(&format!("extra{number}")).is_err())
                    .unwrap_or(0)
            );
            let initial: ArrayRef = cast(&Int32Array::from(vec![EXTRA]), &DataType::Int16).expect("small");
            alter.add_column_with(Field::new(name, DataType::Int16, what.is_multiple_of(2)), initial)
        }
        0..=3 if !extras.is_empty() => alter.drop_column(fields[extras[what / 8 % extras.len()]].name()),
        4 => {
            let mut names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            names.rotate_left(any);
            alter.order_columns(names)
        }
        5 | 6 => match fields[any].data_type() {
            DataType::Int16 => alter.widen_column(fields[any].name(), DataType::Int64),
            DataType::Utf8 if !schema.is_key_column(any) => alter.widen_column(fields[any].name(), DataType::LargeUtf8),
            _ => alter,
        },
        _ => {
            let name = fields[any].name();
            let new = match name.strip_prefix("new ") {
                Some(old) => old.to_owned(),
                None => format!("new {name}"),
            };
            match schema.columns().index_of(&new) {
                Ok(_) => alter,
                Err(_) => alter.rename_column(name, new),
            }
        }
    }
}

impl Runner<'_> {
    /// Changes the columns of a typed table.
    pub(super) fn alter(&mut self, place: usize, what: usize) -> Outcome {
        let Some(table) = self.tables[place]
            .as_ref()
            .filter(|table| !table.schema().is_key_value())
        else {
            return Ok(());
        };
        let before = table.schema().number();
        if let Err(error) = alteration(table, TABLES[place].1, what).commit() {
            // An index stands in the way: it is dropped, and that is all for now.
            let index = self.indexes[place]
                .iter()
                .find(|name| error.message().contains(&format!("\"{name}\"")));
            let Some(index) = index.filter(|_| error.kind() == ErrorKind::InvalidInput).cloned() else {
                return Err(format!("alter: {error}"));
            };
            table.drop_index(&index).map_err(failed("drop an index"))?;
            self.indexes[place].remove(&index);
            return Ok(());
        }
        // The log is synced first, if there is something to change.
        if self.durable && table.schema().number() != before {
            self.journal.settle(&self.model);
        }
        Ok(())
    }

    /// The schema of a table, if it is a typed one.
    pub(super) fn typed_schema(&self, place: usize) -> Option<Arc<TableSchema>> {
        let table = self.tables[place].as_ref()?;
        Some(table.schema()).filter(|schema| !schema.is_key_value())
    }
}
