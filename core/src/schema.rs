//! Schemas of tables, and of the runs that hold them.

mod evolve;
mod widen;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::varint::{Reader, put_bytes, put_u64};
use crate::{Error, ErrorKind, Result};
use evolve::Evolution;
pub use evolve::SchemaChange;
pub use widen::widens;

/// The column of a run that holds the sequence number of each row.
pub const SEQ_COLUMN: &str = "_seq";
/// The column of a run that holds the operation of each row, as [`Op`](crate::Op) numbers it.
pub const OP_COLUMN: &str = "_op";

/// The version of [`TableSchema::to_bytes`] of a table as it was created.
const BYTES_VERSION: u8 = 1;
/// The version of [`TableSchema::to_bytes`] of a table that has been altered: besides, what its columns stand for.
const EVOLVED_VERSION: u8 = 2;

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
    /// `None` as the table was created: its columns are numbered in order.
    evolution: Option<Arc<Evolution>>,
}

impl TableSchema {
    /// The plain key-value table: `{key: Binary, value: Binary}`, keyed by `key`.
    pub fn key_value() -> Self {
        let columns = Schema::new(vec![
            Field::new("key", DataType::Binary, false),
            Field::new("value", DataType::Binary, false),
        ]);
        Self {
            columns: Arc::new(columns),
            key: vec![KeyColumn {
                index: 0,
                descending: false,
            }],
            key_value: true,
            evolution: None,
        }
    }

    /// A typed table keyed by the named columns, ascending; a name with a leading `-` is descending.
    ///
    /// # Errors
    /// `InvalidInput` for a missing or repeated key column, no key, no columns, a repeated column name, a name that is
    /// reserved (leading underscore), or a key type without an order.
    pub fn new(columns: SchemaRef, key: &[&str]) -> Result<Self> {
        let mut names = std::collections::HashSet::new();
        for field in columns.fields() {
            check_name(field.name())?;
            if !names.insert(field.name().as_str()) {
                return Err(Error::invalid_input(format!(
                    "column \"{}\" is named twice",
                    field.name()
                )));
            }
        }
        if key.is_empty() {
            return Err(Error::invalid_input(
                "a table needs a primary key of at least one column",
            ));
        }
        let mut keys: Vec<KeyColumn> = Vec::with_capacity(key.len());
        for name in key {
            let (name, descending) = match name.strip_prefix('-') {
                Some(name) => (name, true),
                None => (*name, false),
            };
            let index = columns.index_of(name).map_err(|_| {
                let known: Vec<_> = columns.fields().iter().map(|field| field.name().as_str()).collect();
                Error::invalid_input(format!(
                    "key column \"{name}\" is not among the columns {}",
                    known.join(", ")
                ))
            })?;
            if keys.iter().any(|known| known.index == index) {
                return Err(Error::invalid_input(format!("key column \"{name}\" is named twice")));
            }
            keys.push(KeyColumn { index, descending });
        }
        Self::typed(columns, keys)
    }

    /// A schema of these columns, whatever they are called.
    fn typed(columns: SchemaRef, key: Vec<KeyColumn>) -> Result<Self> {
        let schema = Self {
            columns,
            key,
            key_value: false,
            evolution: None,
        };
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
    /// have an empty value. In a table that has been altered columns carry their numbers, so that a file tells whose they are.
    pub fn run_columns(&self) -> SchemaRef {
        let mut fields: Vec<Arc<Field>> = Vec::with_capacity(self.columns.fields().len() + 2);
        for (index, field) in self.columns.fields().iter().enumerate() {
            let whole = self.key_value || self.is_key_column(index);
            match &self.evolution {
                None if whole => fields.push(Arc::clone(field)),
                None => fields.push(Arc::new(field.as_ref().clone().with_nullable(true))),
                Some(evolution) => {
                    let field = evolution.numbered(index, field.as_ref().clone());
                    let nullable = !whole || field.is_nullable();
                    fields.push(Arc::new(field.with_nullable(nullable)));
                }
            }
        }
        fields.push(Arc::new(Field::new(SEQ_COLUMN, DataType::Int64, false)));
        fields.push(Arc::new(Field::new(OP_COLUMN, DataType::Int8, false)));
        Arc::new(Schema::new(fields))
    }

    /// The stable serialised form, as the manifest keeps it (see `docs/formats/keys.md`).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = vec![u8::from(self.key_value)];
        put_u64(&mut body, self.key.len() as u64);
        for key in &self.key {
            put_u64(&mut body, key.index as u64);
            body.push(u8::from(key.descending));
        }
        let message = arrow::ipc::writer::IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
            &self.columns,
            &mut arrow::ipc::writer::DictionaryTracker::new(false),
            &arrow::ipc::writer::IpcWriteOptions::default(),
        );
        put_bytes(&mut body, &message.ipc_message);
        let mut out = vec![BYTES_VERSION];
        if let Some(evolution) = &self.evolution {
            out[0] = EVOLVED_VERSION;
            evolution.encode(&mut body);
        }
        out.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        out.extend_from_slice(&body);
        out
    }

    /// The schema of [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// `Corruption` for other bytes; `Unsupported` for a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        match version {
            BYTES_VERSION | EVOLVED_VERSION => {}
            0 => {
                return Err(Error::corruption(
                    "a table's schema has version 0, which was never written",
                ));
            }
            version => {
                let message = format!("a table's schema has version {version}; this program knows {EVOLVED_VERSION}");
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        }
        // Arrow's reader of schema messages panics on some damaged ones, so none gets there unverified.
        let checksum = reader.u32_le()?;
        let body = reader.take(reader.remaining())?;
        if crc32fast::hash(body) != checksum {
            return Err(Error::corruption("a table's schema does not match its checksum"));
        }
        Self::from_body(body, version == EVOLVED_VERSION)
    }

    fn from_body(body: &[u8], evolved: bool) -> Result<Self> {
        let mut reader = Reader::new(body);
        let key_value = reader.u8()? == 1;
        let count = reader.len(reader.remaining())?;
        let mut keys = Vec::with_capacity(count);
        for _ in 0..count {
            let index = reader.len(usize::MAX)?;
            let descending = reader.u8()? == 1;
            keys.push(KeyColumn { index, descending });
        }
        // Copied, because the message must be aligned.
        let message = arrow::buffer::Buffer::from(reader.bytes()?);
        let rest = reader.take(reader.remaining())?;
        if !evolved && !rest.is_empty() {
            return Err(Error::corruption("a table's schema is followed by more bytes"));
        }
        if key_value {
            return Ok(Self::key_value());
        }
        let columns = arrow::ipc::convert::try_schema_from_flatbuffer_bytes(&message)
            .map_err(|error| Error::corruption("a table's columns cannot be read").with_source(error))?;
        let mut seen = std::collections::HashSet::new();
        let missing = |key: &KeyColumn| key.index >= columns.fields().len() || !seen.insert(key.index);
        if keys.is_empty() || keys.iter().any(missing) {
            return Err(Error::corruption("a table's key columns are missing or repeated"));
        }
        let width = columns.fields().len();
        let mut schema = Self::typed(Arc::new(columns), keys)
            .map_err(|error| Error::corruption("a stored table schema is not valid").with_source(error))?;
        if evolved {
            schema.evolution = Some(Arc::new(Evolution::decode(rest, width)?));
        }
        Ok(schema)
    }
}

/// Refuses names that are Kodiak's own.
fn check_name(name: &str) -> Result<()> {
    if name.starts_with('_') {
        return Err(Error::invalid_input(format!(
            "column \"{name}\": names with a leading underscore are reserved"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
