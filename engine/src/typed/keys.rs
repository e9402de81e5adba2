//! User keys of key columns that callers give by name.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch};
use kodiak_core::block::Codecs;
use kodiak_core::entry::prefix_end;
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, Result};

use super::conform;
use crate::read::ScanBounds;

/// The user keys of the rows of `batch`, whose key columns are found by name.
///
/// # Errors
/// `InvalidInput` naming the column that is missing or does not fit.
pub fn encode(schema: &TableSchema, codecs: &Codecs, batch: &RecordBatch) -> Result<BinaryArray> {
    let columns = key_columns(schema, batch, schema.key().len())?;
    // The codec looks at key columns only: any column stands in for the others.
    let mut own: Vec<ArrayRef> = vec![Arc::clone(&columns[0]); schema.columns().fields().len()];
    for (key, column) in schema.key().iter().zip(columns) {
        own[key.index] = column;
    }
    codecs.key.encode(&own)
}

/// The first `count` key columns, in the order of the key.
fn key_columns(schema: &TableSchema, batch: &RecordBatch, count: usize) -> Result<Vec<ArrayRef>> {
    let fields = schema.columns().fields();
    let wanted = schema.key().iter().take(count).map(|key| &fields[key.index]);
    wanted
        .map(|field| {
            let column = batch.column_by_name(field.name()).ok_or_else(|| {
                let given = conform::names(batch.schema_ref().fields());
                Error::invalid_input(format!(
                    "key column \"{}\" is missing; given are: {given}",
                    field.name()
                ))
            })?;
            conform::column(field, column)?;
            Ok(Arc::clone(column))
        })
        .collect()
}

/// The bytes with which the keys begin whose first columns are those of `batch` (one row), and whether that is all of them.
fn prefix(schema: &TableSchema, codecs: &Codecs, batch: &RecordBatch) -> Result<(Vec<u8>, bool)> {
    if batch.num_rows() != 1 {
        return Err(Error::invalid_input(format!(
            "one row of key columns is needed, not {}",
            batch.num_rows()
        )));
    }
    let fields = schema.columns().fields();
    let named = |key: &kodiak_core::schema::KeyColumn| batch.column_by_name(fields[key.index].name()).is_some();
    let count = schema.key().iter().take_while(|key| named(key)).count();
    if count == 0 || count != batch.num_columns() {
        let key: Vec<_> = schema
            .key()
            .iter()
            .map(|key| fields[key.index].name().as_str())
            .collect();
        return Err(Error::invalid_input(format!(
            "a key or its beginning has the first of the columns {}; given are: {}",
            key.join(", "),
            conform::names(batch.schema_ref().fields())
        )));
    }
    let columns = key_columns(schema, batch, count)?;
    let mut bytes = Vec::new();
    codecs.key.encode_prefix(&columns, 0, &mut bytes)?;
    Ok((bytes, count == schema.key().len()))
}

/// The user keys of a range whose ends are keys or beginnings of keys.
///
/// # Errors
/// `InvalidInput` naming the column that is missing or does not fit.
pub fn bounds(schema: &TableSchema, codecs: &Codecs, range: &impl RangeBounds<RecordBatch>) -> Result<ScanBounds> {
    // The first key after all that have these columns; `None` if there is no such key.
    let after = |batch: &RecordBatch| -> Result<Option<Vec<u8>>> {
        let (mut bytes, whole) = prefix(schema, codecs, batch)?;
        if whole {
            bytes.push(0);
            return Ok(Some(bytes));
        }
        Ok(prefix_end(&bytes))
    };
    let start = match range.start_bound() {
        Bound::Unbounded => Vec::new(),
        Bound::Included(batch) => prefix(schema, codecs, batch)?.0,
        Bound::Excluded(batch) => match after(batch)? {
            Some(start) => start,
            None => {
                return Ok(ScanBounds {
                    start: Vec::new(),
                    end: Some(Vec::new()),
                });
            }
        },
    };
    let end = match range.end_bound() {
        Bound::Unbounded => None,
        Bound::Included(batch) => after(batch)?,
        Bound::Excluded(batch) => Some(prefix(schema, codecs, batch)?.0),
    };
    Ok(ScanBounds { start, end })
}
