//! Rows decoded one by one.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;

use super::build::Builder;
use super::{RowCodec, named, too_long};
use crate::Result;

impl RowCodec {
    /// A decoder of rows that come one after the other, about `rows` of them; only of the columns that are `wanted` by their
    /// indexes in the table's schema.
    ///
    /// # Errors
    /// `Unsupported` for a type that cannot be decoded.
    pub fn decoder(&self, rows: usize, wanted: &dyn Fn(usize) -> bool) -> Result<RowDecoder> {
        let behind = self.columns.iter().rposition(|(index, _)| wanted(*index));
        let columns = self.columns[..behind.map_or(0, |last| last + 1)].iter();
        let columns = columns.map(|(index, field)| {
            let wanted = wanted(*index);
            Ok(DecodedColumn {
                builder: Builder::new(field.data_type(), if wanted { rows } else { 0 })
                    .map_err(|error| named(field, error))?,
                field: Arc::clone(field),
                wanted,
            })
        });
        Ok(RowDecoder {
            columns: columns.collect::<Result<_>>()?,
            codec: self.clone(),
            rows: 0,
        })
    }
}

/// Decodes rows one after the other, without keeping their bytes; made by [`RowCodec::decoder`].
#[derive(Debug)]
pub struct RowDecoder {
    codec: RowCodec,
    /// Up to the last one that is wanted.
    columns: Vec<DecodedColumn>,
    rows: usize,
}

#[derive(Debug)]
struct DecodedColumn {
    field: FieldRef,
    builder: Builder,
    wanted: bool,
}

impl RowDecoder {
    /// Adds a row; without one (a delete) all columns have a null.
    ///
    /// # Errors
    /// `Corruption` for bytes that [`RowCodec::encode`] does not produce, rows of another schema of the table among them; the
    /// decoder is of no use then.
    #[inline]
    pub fn push(&mut self, row: Option<&[u8]>) -> Result<()> {
        let at = self.rows;
        self.rows += 1;
        let Some(row) = row else {
            let wanted = self.columns.iter_mut().filter(|column| column.wanted);
            wanted.for_each(|column| column.builder.push_null());
            return Ok(());
        };
        let mut open = self.codec.open_bytes(row, at)?;
        for (position, column) in self.columns.iter_mut().enumerate() {
            let pushed = match (open.is_null(position), column.wanted) {
                (false, true) => column.builder.push(&mut open.values),
                (false, false) => column.builder.skip(&mut open.values),
                (true, true) => {
                    column.builder.push_null();
                    Ok(())
                }
                (true, false) => Ok(()),
            };
            pushed.map_err(|error| named(&column.field, error).with_offset(at as u64))?;
        }
        if self.columns.len() == self.codec.columns.len() && !open.values.is_empty() {
            return Err(too_long(at, &open));
        }
        Ok(())
    }

    /// The non-key columns in the order of [`TableSchema::value_columns`](crate::schema::TableSchema::value_columns), those that are wanted.
    ///
    /// # Errors
    /// `Corruption` for values that are none of their type; `Unsupported` if a column is a dictionary whose key type cannot count
    /// its values.
    pub fn finish(self) -> Result<Vec<Option<ArrayRef>>> {
        let mut columns: Vec<Option<ArrayRef>> = Vec::with_capacity(self.codec.columns.len());
        for DecodedColumn { field, builder, wanted } in self.columns {
            columns.push(match wanted {
                true => Some(
                    builder
                        .finish(field.data_type())
                        .map_err(|error| named(&field, error))?,
                ),
                false => None,
            });
        }
        columns.resize(self.codec.columns.len(), None);
        Ok(columns)
    }
}
