//! Point reads of rows.

use std::sync::Arc;

use arrow::array::{BinaryArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use kodiak_core::{Error, Result, Slice};

use super::{keys, own_columns};
use crate::db::{Snapshot, Table};

/// The row with the key in the only row of `key`.
pub fn get(table: &Table, key: &RecordBatch, snapshot: Option<&Snapshot>) -> Result<Option<RecordBatch>> {
    if key.num_rows() != 1 {
        return Err(Error::invalid_input(format!(
            "one key is needed, not {}",
            key.num_rows()
        )));
    }
    let schemas = &table.inner.schemas;
    let version = match snapshot {
        Some(snapshot) => schemas.at(snapshot.seq()),
        None => schemas.current(),
    };
    let user_keys = keys::encode(&version.schema, &version.codecs, key)?;
    // By the schema of the moment that is read at, should it change meanwhile.
    let (target, value) = table.get_encoded(user_keys.value(0), snapshot)?;
    let Some(value) = value else { return Ok(None) };
    let columns = own_columns(&target, user_keys, one(value)?)?;
    let schema = target.schema();
    let row = RecordBatch::try_new(Arc::clone(schema.columns()), columns)
        .map_err(|error| Error::corruption("a row does not fit the table's schema").with_source(error))?;
    Ok(Some(row))
}

/// A column of one value, shared with it.
fn one(value: Slice) -> Result<BinaryArray> {
    let offsets = OffsetBuffer::from_lengths([value.len()]);
    BinaryArray::try_new(offsets, value.into_buffer(), None)
        .map_err(|error| Error::corruption("a row cannot be read").with_source(error))
}
