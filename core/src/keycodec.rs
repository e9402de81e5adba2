//! User keys: the order-preserving bytes of a primary key.

use arrow::array::{Array, ArrayRef, BinaryArray, StringArray};
use arrow::datatypes::DataType;

use crate::schema::TableSchema;
use crate::{Error, ErrorKind, Result};

/// Encodes primary keys as user keys and back.
#[derive(Debug, Clone)]
pub struct KeyCodec {
    schema: TableSchema,
}

impl KeyCodec {
    /// Checks that every key column has an order.
    ///
    /// # Errors
    /// `InvalidInput` naming column and type.
    pub fn check(_schema: &TableSchema) -> Result<()> {
        Ok(())
    }

    /// The codec of a table.
    pub fn new(schema: &TableSchema) -> Self {
        Self { schema: schema.clone() }
    }

    /// The user keys of rows, given the table's own columns (all of them, in the order of the schema).
    ///
    /// # Errors
    /// `InvalidInput` if a key column has another type than the schema says.
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<BinaryArray> {
        if self.schema.has_raw_key() {
            let column = &columns[self.schema.key()[0].index];
            if let Some(keys) = column.as_any().downcast_ref::<BinaryArray>() {
                return Ok(keys.clone());
            }
            if let Some(keys) = column.as_any().downcast_ref::<StringArray>() {
                return Ok(BinaryArray::from(keys.clone()));
            }
        }
        Err(Error::new(ErrorKind::Unsupported, "keys of this type cannot be encoded"))
    }

    /// The key columns of user keys, in the order of [`TableSchema::key`].
    ///
    /// # Errors
    /// `Corruption` for bytes that `encode` does not produce.
    pub fn decode(&self, keys: &BinaryArray) -> Result<Vec<ArrayRef>> {
        if self.schema.has_raw_key() {
            let index = self.schema.key()[0].index;
            let column: ArrayRef = match self.schema.columns().field(index).data_type() {
                DataType::Binary => std::sync::Arc::new(keys.clone()),
                _ => std::sync::Arc::new(
                    StringArray::try_from_binary(keys.clone())
                        .map_err(|error| Error::corruption("a key is not UTF-8").with_source(error))?,
                ),
            };
            return Ok(vec![column]);
        }
        Err(Error::new(ErrorKind::Unsupported, "keys of this type cannot be decoded"))
    }
}
