//! User keys: the order-preserving bytes of a primary key.
//!
//! The bytes of two keys compare as the keys do: column by column, ascending or descending as the schema says, floats in
//! total order (as Arrow's sort: -0.0 before 0.0, NaN last), and nulls first *in either direction* (Arrow's
//! `SortOptions { descending, nulls_first: true }`). The encoding is described in `docs/formats/keys.md` and never changes.

mod decode;
mod encode;
mod fixed;
mod heads;
pub mod ordered;
#[cfg(test)]
mod tests;
mod text;
mod unmade;
pub(crate) mod view;
mod words;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, StringArray};
use arrow::datatypes::DataType;

use crate::schema::TableSchema;
use crate::{Error, Result};
pub use heads::KeyPlace;
pub use unmade::{Keys, UnmadeKeys};
use view::{Physical, physical, plain};

/// Encodes primary keys as user keys and back.
#[derive(Debug, Clone)]
pub struct KeyCodec {
    schema: TableSchema,
    parts: Arc<[Part]>,
}

/// One key column.
#[derive(Debug, Clone)]
struct Part {
    /// Its index in the table's schema.
    index: usize,
    name: String,
    /// Its type in the schema, perhaps a dictionary.
    declared: DataType,
    /// The type of its values.
    plain: DataType,
    /// `None` if the type has no order; `check` refuses it.
    physical: Option<Physical>,
    nullable: bool,
    descending: bool,
    /// The last column, ascending and of variable width: nothing follows, so its bytes need no escapes and no end.
    tail: bool,
}

impl Part {
    fn physical(&self) -> Result<Physical> {
        self.physical.ok_or_else(|| {
            Error::invalid_input(format!(
                "key column \"{}\" has type {}, which has no order; a key may have columns of type boolean, integer, float, \
                 decimal, date, time, timestamp, duration, text, binary, and dictionaries of these",
                self.name, self.declared
            ))
        })
    }

    /// The values of the column in `array`, a dictionary or view unpacked.
    fn values(&self, array: &ArrayRef) -> Result<ArrayRef> {
        if !array.data_type().equals_datatype(&self.declared) {
            return Err(Error::invalid_input(format!(
                "key column \"{}\" has type {}, the schema says {}",
                self.name,
                array.data_type(),
                self.declared
            )));
        }
        let values = if self.plain == self.declared {
            Arc::clone(array)
        } else {
            arrow::compute::cast(array, &self.plain).map_err(|error| {
                Error::invalid_input(format!("key column \"{}\" cannot be unpacked", self.name)).with_source(error)
            })?
        };
        if !self.nullable && values.null_count() > 0 {
            let message = format!(
                "key column \"{}\" has a null; the schema says that it has none",
                self.name
            );
            return Err(Error::invalid_input(message));
        }
        Ok(values)
    }
}

impl KeyCodec {
    /// Checks that every key column has an order.
    ///
    /// # Errors
    /// `InvalidInput` naming column and type.
    pub fn check(schema: &TableSchema) -> Result<()> {
        Self::new(schema)
            .parts
            .iter()
            .try_for_each(|part| part.physical().map(drop))
    }

    /// The codec of a table.
    pub fn new(schema: &TableSchema) -> Self {
        let last = schema.key().len() - 1;
        let parts = schema.key().iter().enumerate().map(|(position, key)| {
            let field = schema.columns().field(key.index);
            let plain = plain(field.data_type()).clone();
            let physical = physical(&plain);
            Part {
                index: key.index,
                name: field.name().clone(),
                declared: field.data_type().clone(),
                physical,
                nullable: field.is_nullable(),
                descending: key.descending,
                tail: position == last && !key.descending && matches!(physical, Some(Physical::Var { .. })),
                plain,
            }
        });
        Self {
            schema: schema.clone(),
            parts: parts.collect(),
        }
    }

    /// The user keys of rows, given the table's own columns (all of them, in the order of the schema).
    ///
    /// # Errors
    /// `InvalidInput` if a key column has another type than the schema says, a null where it says there are none, or if
    /// the keys have more than 2 GiB together.
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<BinaryArray> {
        match self.keys(|index| columns.get(index))? {
            Keys::Made(keys) => Ok(keys),
            Keys::Unmade(keys) => Ok(keys.encode()),
        }
    }

    /// The user keys of rows, not yet encoded if that can wait; `column` has the table's own columns by index, those of the key
    /// at least.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn keys<'c>(&self, column: impl Fn(usize) -> Option<&'c ArrayRef>) -> Result<Keys> {
        if self.schema.has_raw_key()
            && let Some(column) = column(self.parts[0].index)
            && column.null_count() == 0
        {
            if let Some(keys) = column.as_any().downcast_ref::<BinaryArray>() {
                return Ok(Keys::Made(keys.clone()));
            }
            if let Some(keys) = column.as_any().downcast_ref::<StringArray>() {
                return Ok(Keys::Made(BinaryArray::from(keys.clone())));
            }
        }
        let of_part = |part: &Part| {
            let missing = || Error::invalid_input(format!("key column \"{}\" is missing", part.name));
            part.values(column(part.index).ok_or_else(missing)?)
        };
        let values = self.parts.iter().map(of_part).collect::<Result<Vec<_>>>()?;
        match UnmadeKeys::new(&self.parts, values.clone())? {
            Some(keys) => Ok(Keys::Unmade(keys)),
            None => encode::columns(&self.parts, &values).map(Keys::Made),
        }
    }

    /// How long every key is, if all are equally long.
    pub fn width(&self) -> Option<usize> {
        let width = |part: &Part| match part.physical {
            Some(Physical::Fixed { width, .. }) if !part.nullable => Some(width),
            Some(Physical::Bool) if !part.nullable => Some(1),
            _ => None,
        };
        self.parts.iter().map(width).sum()
    }

    /// Appends the user key of one row, given the table's own columns.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_row(&self, columns: &[ArrayRef], row: usize, out: &mut Vec<u8>) -> Result<()> {
        for part in self.parts.iter() {
            encode::value(part, &part.values(&column(columns, part)?.slice(row, 1))?, out)?;
        }
        Ok(())
    }

    /// Appends the bytes with which the user keys begin whose first columns have the values in `row` of `key_columns`: the
    /// first key columns in the order of [`TableSchema::key`], all or fewer. With all of them it is the user key.
    ///
    /// Keys that share the values share the prefix, and no others do, except that a last column of variable width matches
    /// everything that begins with it.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); `InvalidInput` for more columns than the key has.
    pub fn encode_prefix(&self, key_columns: &[ArrayRef], row: usize, out: &mut Vec<u8>) -> Result<()> {
        if key_columns.len() > self.parts.len() {
            let message = format!(
                "{} key columns given, the key has {}",
                key_columns.len(),
                self.parts.len()
            );
            return Err(Error::invalid_input(message));
        }
        for (part, column) in self.parts.iter().zip(key_columns) {
            encode::value(part, &part.values(&column.slice(row, 1))?, out)?;
        }
        Ok(())
    }

    /// The key columns of user keys, in the order of [`TableSchema::key`].
    ///
    /// # Errors
    /// `Corruption` for bytes that `encode` does not produce. `Unsupported` if a column is a dictionary whose key type
    /// cannot count its values.
    pub fn decode(&self, keys: &BinaryArray) -> Result<Vec<ArrayRef>> {
        if self.schema.has_raw_key() {
            let column: ArrayRef = match self.parts[0].declared {
                DataType::Binary => Arc::new(keys.clone()),
                _ => Arc::new(
                    StringArray::try_from_binary(keys.clone())
                        .map_err(|error| Error::corruption("a key is not UTF-8").with_source(error))?,
                ),
            };
            return Ok(vec![column]);
        }
        decode::columns(&self.parts, keys)
    }

    /// Those of the key columns that are `wanted`, by their place in [`TableSchema::key`]; what is behind the last of them in a key
    /// is not looked at.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_some(&self, keys: &BinaryArray, wanted: impl Fn(usize) -> bool) -> Result<Vec<Option<ArrayRef>>> {
        if self.schema.has_raw_key() {
            return Ok(self
                .decode(keys)?
                .into_iter()
                .map(|column| wanted(0).then_some(column))
                .collect());
        }
        decode::some_columns(&self.parts, keys, wanted)
    }
}

fn column<'a>(columns: &'a [ArrayRef], part: &Part) -> Result<&'a ArrayRef> {
    columns.get(part.index).ok_or_else(|| {
        Error::invalid_input(format!(
            "key column \"{}\" is missing: {} columns given",
            part.name,
            columns.len()
        ))
    })
}
