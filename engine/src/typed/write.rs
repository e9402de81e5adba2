//! Rows on their way into the log and the memtables.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, new_null_array};
use kodiak_core::batch::Batch;
use kodiak_core::rowcodec::row_schema;
use kodiak_core::{Error, Op, Result};

use super::{Target, conform, keys, own_columns};
use crate::db::{Table, TableInner, WriteBatch, check_limits};

/// Encoded bytes at which a step of a large insert ends.
const STEP_BYTES: usize = 4 << 20;

pub fn insert(table: &Table, rows: &RecordBatch) -> Result<()> {
    let (_unaltered, target) = table.inner.hold_schema()?;
    let rows = &*conform::complete(target.schema(), rows)?;
    let keys = target.codecs().key.encode(rows.columns())?;
    write(table, &target, Op::Put, &keys, rows.columns())
}

pub fn update(table: &Table, rows: &RecordBatch) -> Result<()> {
    let (_unaltered, target) = table.inner.hold_schema()?;
    let columns = partial_columns(&table.inner, &target, rows)?;
    let keys = target.codecs().key.encode(&columns)?;
    write(table, &target, Op::Merge, &keys, &columns)
}

pub fn delete_keys(table: &Table, rows: &RecordBatch) -> Result<()> {
    let (_unaltered, target) = table.inner.hold_schema()?;
    let keys = keys::encode(target.schema(), target.codecs(), rows)?;
    write(table, &target, Op::Delete, &keys, &[])
}

/// All columns of the table: those that `rows` has, and nulls for the others.
fn partial_columns(table: &TableInner, target: &Target, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let schema = target.schema();
    if schema.is_key_value() || table.operator.is_none() {
        let message = "updates of some columns need a typed table with the merge operator \"last-non-null\"";
        return Err(Error::invalid_input(format!("table \"{}\": {message}", table.name)));
    }
    let fields = schema.columns().fields();
    for (index, given) in rows.schema_ref().fields().iter().enumerate() {
        if schema.columns().index_of(given.name()).is_err() {
            return Err(Error::invalid_input(format!(
                "column \"{}\" is not in the table, whose columns are {}",
                given.name(),
                conform::names(fields)
            )));
        }
        if rows.schema_ref().index_of(given.name()).ok() != Some(index) {
            return Err(Error::invalid_input(format!(
                "column \"{}\" is given twice",
                given.name()
            )));
        }
    }
    fields
        .iter()
        .enumerate()
        .map(|(index, field)| match rows.column_by_name(field.name()) {
            Some(column) => conform::column(field, column).map(|()| Arc::clone(column)),
            // If the row does not exist, merging gives it the default.
            None if field.is_nullable() || schema.initial(index)?.is_some() => {
                Ok(new_null_array(field.data_type(), rows.num_rows()))
            }
            None => Err(Error::invalid_input(format!(
                "column \"{}\" may not be null, so an update must have it: the row may not exist yet",
                field.name()
            ))),
        })
        .collect()
}

/// Calls `row` with each key and its encoded row; a delete's is empty.
fn encode_rows(
    target: &Target,
    op: Op,
    keys: &BinaryArray,
    columns: &[ArrayRef],
    mut row: impl FnMut(&[u8], &[u8]) -> Result<()>,
) -> Result<()> {
    if op == Op::Delete {
        return (0..keys.len()).try_for_each(|index| row(keys.value(index), &[]));
    }
    if target.schema().is_key_value() {
        let values = columns.get(1).and_then(|column| column.as_binary_opt::<i32>());
        let values = values.ok_or_else(|| Error::invalid_input("column \"value\" is missing or not binary"))?;
        return (0..keys.len()).try_for_each(|index| row(keys.value(index), values.value(index)));
    }
    let encoder = target.codecs().row.encoder(columns)?;
    let mut value = Vec::new();
    for index in 0..keys.len() {
        value.clear();
        encoder.encode(index, &mut value);
        row(keys.value(index), &value)?;
    }
    Ok(())
}

/// Writes one operation for each key, in steps. Nothing is written if one of them is above a limit.
fn write(table: &Table, target: &Target, op: Op, keys: &BinaryArray, columns: &[ArrayRef]) -> Result<()> {
    let (shared, inner) = (&table.open.shared, &table.inner);
    let mut steps = vec![Batch::new()];
    encode_rows(target, op, keys, columns, |key, value| {
        check_limits(inner, op, key, value, shared.limits())?;
        if steps.last().is_none_or(|step| step.payload().len() >= STEP_BYTES) {
            steps.push(Batch::new());
        }
        if let Some(step) = steps.last_mut() {
            step.push(inner.id, op, key, value);
        }
        Ok(())
    })?;
    shared.check_writable()?;
    let mode = shared.settings.wal.sync;
    for step in steps.into_iter().filter(|step| !step.is_empty()) {
        shared.commit(&step, std::slice::from_ref(inner), mode)?;
    }
    Ok(())
}

impl WriteBatch {
    /// Inserts rows as [`Table::insert`] does, whatever their size together with the rest of the batch.
    pub fn insert(&mut self, table: &Table, rows: &RecordBatch) -> &mut Self {
        let target = table.inner.target();
        let rows = match conform::complete(target.schema(), rows) {
            Ok(rows) => rows,
            Err(error) => return self.add_rows(table, &target, Op::Put, Err(error), &[]),
        };
        let keys = target.codecs().key.encode(rows.columns());
        self.add_rows(table, &target, Op::Put, keys, rows.columns())
    }

    /// Changes the named columns of rows as [`Table::update`] does.
    pub fn update(&mut self, table: &Table, rows: &RecordBatch) -> &mut Self {
        let target = table.inner.target();
        let columns = match partial_columns(&table.inner, &target, rows) {
            Ok(columns) => columns,
            Err(error) => return self.add_rows(table, &target, Op::Merge, Err(error), &[]),
        };
        let keys = target.codecs().key.encode(&columns);
        self.add_rows(table, &target, Op::Merge, keys, &columns)
    }

    /// Deletes the rows with these keys as [`Table::delete_keys`] does.
    pub fn delete_keys(&mut self, table: &Table, keys: &RecordBatch) -> &mut Self {
        let target = table.inner.target();
        let keys = keys::encode(target.schema(), target.codecs(), keys);
        self.add_rows(table, &target, Op::Delete, keys, &[])
    }

    fn add_rows(
        &mut self,
        table: &Table,
        target: &Target,
        op: Op,
        keys: Result<BinaryArray>,
        columns: &[ArrayRef],
    ) -> &mut Self {
        let added = keys.and_then(|keys| {
            self.note_schema(table, target.version().number())?;
            encode_rows(target, op, &keys, columns, |key, value| {
                self.push_checked(table, op, key, value);
                Ok(())
            })
        });
        if let Err(error) = added {
            self.fail(error);
        }
        self
    }
}

/// Refuses keys and rows of a typed table that are not what its codecs write: the bytes of a caller.
///
/// # Errors
/// `InvalidInput`.
#[inline]
pub fn check_bytes(table: &TableInner, op: Op, key: &[u8], value: &[u8]) -> Result<()> {
    // The ends of a range are only compared, never decoded.
    if table.key_value || op == Op::RangeDelete {
        return Ok(());
    }
    check_row(table, op, key, value).map_err(|error| {
        Error::invalid_input(format!(
            "table \"{}\" is typed, and these bytes are no row of it ({}): insert record batches",
            table.name,
            error.message()
        ))
    })
}

fn check_row(table: &TableInner, op: Op, key: &[u8], value: &[u8]) -> Result<()> {
    let target = table.target();
    let (schema, codecs) = (target.schema(), target.codecs());
    let value = if op == Op::Delete { None } else { Some(value) };
    if let Some(value) = value
        && row_schema(value)? != schema.number()
    {
        return Err(Error::invalid_input(format!(
            "the row is of schema {}, the table's is {} by now: it was altered",
            row_schema(value)?,
            schema.number()
        )));
    }
    let rows = BinaryArray::from_iter([value]);
    let columns = own_columns(&target, BinaryArray::from_iter_values([key]), rows)?;
    // There is one encoding of each key, or order would be lost.
    if codecs.key.encode(&columns)?.value(0) != key {
        return Err(Error::invalid_input("the key is not as the table encodes it"));
    }
    if op == Op::Put {
        schema
            .columns()
            .fields()
            .iter()
            .zip(&columns)
            .try_for_each(|(field, column)| conform::column(field, column))?;
    }
    Ok(())
}
