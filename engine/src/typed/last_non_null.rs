//! Updates of some columns: the newest value of each column that is not null.

use arrow::array::{Array, ArrayRef, BinaryArray, UInt32Array};
use arrow::compute::take;
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, ErrorKind, Result};

use super::Target;
use crate::merge::{LastNonNull, MergeOperator};

/// Checks that a table may have a merge operator.
///
/// # Errors
/// `InvalidSettings` for an operator that works on bytes, in a typed table: its results would be no rows.
pub fn check_operator(schema: &TableSchema, operator: &dyn MergeOperator) -> Result<()> {
    if schema.is_key_value() {
        return Ok(());
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
    Ok(())
}

/// `last-non-null` over rows, column by column. Rows of older schemas have the defaults of newer columns, operands among them:
/// when the column came, the row that they change had that value, or came into being with it. Rows that come into being later, by an
/// operand without that column, have it as well.
#[derive(Debug)]
pub struct LastNonNullRow(pub Target);

impl LastNonNullRow {
    /// One row of `rows`, oldest first; with `defaults` in columns that none of them has.
    fn overlay(&self, rows: &[&[u8]], defaults: bool) -> Result<Vec<u8>> {
        let decoded = self.0.decode(&BinaryArray::from_iter_values(rows))?;
        let schema = self.0.schema();
        let newest = |(column, index): (&ArrayRef, usize)| {
            let nulls = column.logical_nulls();
            let newest = (0..rows.len())
                .rev()
                .find(|&row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)));
            if newest.is_none()
                && defaults
                && let Some(default) = schema.initial(index)?
            {
                return Ok(default);
            }
            let place = UInt32Array::from(vec![newest.unwrap_or(0) as u32]);
            take(column, &place, None)
                .map_err(|error| Error::corruption("a row cannot be put together").with_source(error))
        };
        let values: Vec<ArrayRef> = decoded
            .iter()
            .zip(schema.value_columns())
            .map(newest)
            .collect::<Result<_>>()?;
        let mut out = Vec::new();
        self.0.encode(&values, 0, &mut out)?;
        Ok(out)
    }
}

impl MergeOperator for LastNonNullRow {
    fn name(&self) -> &str {
        LastNonNull.name()
    }

    fn merge(&self, _key: &[u8], base: Option<&[u8]>, operands: &[&[u8]]) -> Result<Vec<u8>> {
        let rows: Vec<&[u8]> = base.into_iter().chain(operands.iter().copied()).collect();
        self.overlay(&rows, base.is_none())
    }

    fn combine(&self, _key: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        self.overlay(&[older, newer], false).ok()
    }
}
