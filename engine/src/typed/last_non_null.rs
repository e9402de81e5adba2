//! Updates of some columns: the newest value of each column that is not null.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, UInt32Array};
use arrow::compute::take;
use kodiak_core::block::Codecs;
use kodiak_core::rowcodec::RowCodec;
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, ErrorKind, Result};

use crate::merge::{LastNonNull, MergeOperator};

/// The merge operator of a table, as its schema needs it.
///
/// # Errors
/// `InvalidSettings` for an operator that works on bytes, in a typed table: its results would be no rows.
pub fn table_operator(
    schema: &TableSchema,
    codecs: &Codecs,
    operator: Arc<dyn MergeOperator>,
) -> Result<Arc<dyn MergeOperator>> {
    if schema.is_key_value() {
        return Ok(operator);
    }
    if operator.name() != LastNonNull.name() {
        return Err(Error::new(
            ErrorKind::InvalidSettings,
            format!(
                "merge operator \"{}\" works on the bytes of values, so only key-value tables can have it; a typed table can \
                 have \"{}\"",
                operator.name(),
                LastNonNull.name()
            ),
        ));
    }
    let columns = schema.value_columns().count();
    Ok(Arc::new(LastNonNullRow {
        codec: Arc::clone(&codecs.row),
        columns,
        width: schema.columns().fields().len(),
        schema: schema.clone(),
    }))
}

/// `last-non-null` over rows: column by column.
#[derive(Debug)]
struct LastNonNullRow {
    codec: Arc<RowCodec>,
    /// Value columns.
    columns: usize,
    /// All columns.
    width: usize,
    schema: TableSchema,
}

impl LastNonNullRow {
    /// One row of `rows`, oldest first.
    fn overlay(&self, rows: &[&[u8]]) -> Result<Vec<u8>> {
        let decoded = self.codec.decode(&BinaryArray::from_iter_values(rows))?;
        debug_assert_eq!(decoded.len(), self.columns);
        // The encoder wants the table's own columns; of the key's it looks at none.
        let filler: ArrayRef = Arc::new(UInt32Array::from(vec![0]));
        let mut own = vec![filler; self.width];
        for (index, column) in self.schema.value_columns().zip(&decoded) {
            let nulls = column.logical_nulls();
            let newest = (0..rows.len())
                .rev()
                .find(|&row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)));
            let place = UInt32Array::from(vec![newest.unwrap_or(0) as u32]);
            own[index] = take(column, &place, None)
                .map_err(|error| Error::corruption("a row cannot be put together").with_source(error))?;
        }
        let mut out = Vec::new();
        self.codec.encode(&own, 0, &mut out)?;
        Ok(out)
    }
}

impl MergeOperator for LastNonNullRow {
    fn name(&self) -> &str {
        LastNonNull.name()
    }

    fn merge(&self, _key: &[u8], base: Option<&[u8]>, operands: &[&[u8]]) -> Result<Vec<u8>> {
        let rows: Vec<&[u8]> = base.into_iter().chain(operands.iter().copied()).collect();
        self.overlay(&rows)
    }

    fn combine(&self, _key: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        self.overlay(&[older, newer]).ok()
    }
}
