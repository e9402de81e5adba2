//! Schemas of tables, and of the runs that hold them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::{Error, Result};

/// The column of a run that holds the sequence number of each row.
pub const SEQ_COLUMN: &str = "_seq";
/// The column of a run that holds the operation of each row, as [`Op`](crate::Op) numbers it.
pub const OP_COLUMN: &str = "_op";

/// One column of a primary key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyColumn {
    /// Its index in the table's schema.
    pub index: usize,
    /// True if larger values come first.
    pub descending: bool,
}

/// The schema of a table: Arrow columns, and an ordered primary key of one or more of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    columns: SchemaRef,
    key: Vec<KeyColumn>,
    key_value: bool,
}

impl TableSchema {
    /// The plain key-value table: `{key: Binary, value: Binary}`, keyed by `key`.
    pub fn key_value() -> Self {
        let columns = Schema::new(vec![
            Field::new("key", DataType::Binary, false),
            Field::new("value", DataType::Binary, false),
        ]);
        Self { columns: Arc::new(columns), key: vec![KeyColumn { index: 0, descending: false }], key_value: true }
    }

    /// A typed table keyed by the named columns, ascending; a name with a leading `-` is descending.
    ///
    /// # Errors
    /// `InvalidInput` for a missing or repeated key column, no key, no columns, a repeated column name, a name that is
    /// reserved (leading underscore), or a key type without an order.
    pub fn new(columns: SchemaRef, key: &[&str]) -> Result<Self> {
        let mut names = std::collections::HashSet::new();
        for field in columns.fields() {
            if field.name().starts_with('_') {
                return Err(Error::invalid_input(format!(
                    "column \"{}\": names with a leading underscore are reserved",
                    field.name()
                )));
            }
            if !names.insert(field.name().as_str()) {
                return Err(Error::invalid_input(format!("column \"{}\" is named twice", field.name())));
            }
        }
        if key.is_empty() {
            return Err(Error::invalid_input("a table needs a primary key of at least one column"));
        }
        let mut keys: Vec<KeyColumn> = Vec::with_capacity(key.len());
        for name in key {
            let (name, descending) = match name.strip_prefix('-') {
                Some(name) => (name, true),
                None => (*name, false),
            };
            let index = columns.index_of(name).map_err(|_| {
                let known: Vec<_> = columns.fields().iter().map(|field| field.name().as_str()).collect();
                Error::invalid_input(format!("key column \"{name}\" is not among the columns {}", known.join(", ")))
            })?;
            if keys.iter().any(|known| known.index == index) {
                return Err(Error::invalid_input(format!("key column \"{name}\" is named twice")));
            }
            keys.push(KeyColumn { index, descending });
        }
        let schema = Self { columns, key: keys, key_value: false };
        crate::keycodec::KeyCodec::check(&schema)?;
        crate::rowcodec::RowCodec::check(&schema)?;
        Ok(schema)
    }

    /// True for the plain key-value table.
    pub fn is_key_value(&self) -> bool {
        self.key_value
    }

    /// The table's own columns.
    pub fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// The primary key.
    pub fn key(&self) -> &[KeyColumn] {
        &self.key
    }

    /// True if the column with this index is part of the primary key.
    pub fn is_key_column(&self, index: usize) -> bool {
        self.key.iter().any(|key| key.index == index)
    }

    /// The indexes of the columns that are not part of the key, in order.
    pub fn value_columns(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.columns.fields().len()).filter(|&index| !self.is_key_column(index))
    }

    /// True if the user key is the key column's bytes as they are: a lone ascending non-null Binary or Utf8 column.
    pub fn has_raw_key(&self) -> bool {
        let [key] = self.key.as_slice() else { return false };
        let field = self.columns.field(key.index);
        !key.descending && !field.is_nullable() && matches!(field.data_type(), DataType::Binary | DataType::Utf8)
    }

    /// The columns of a run's data file: the table's own, then `_seq` and `_op`.
    ///
    /// Value columns of a typed table are nullable there, because rows of deletes have none. In a key-value table such rows
    /// have an empty value.
    pub fn run_columns(&self) -> SchemaRef {
        let mut fields: Vec<Arc<Field>> = Vec::with_capacity(self.columns.fields().len() + 2);
        for (index, field) in self.columns.fields().iter().enumerate() {
            if self.key_value || self.is_key_column(index) {
                fields.push(Arc::clone(field));
            } else {
                fields.push(Arc::new(field.as_ref().clone().with_nullable(true)));
            }
        }
        fields.push(Arc::new(Field::new(SEQ_COLUMN, DataType::Int64, false)));
        fields.push(Arc::new(Field::new(OP_COLUMN, DataType::Int8, false)));
        Arc::new(Schema::new(fields))
    }
}
