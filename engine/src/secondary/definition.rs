//! What an index is of, and its bytes.

use std::fmt::Debug;
use std::sync::Arc;

use kodiak_core::schema::TableSchema;
use kodiak_core::varint::{Reader, put_bytes, put_u64};
use kodiak_core::{Error, ErrorKind, Result};
use serde::Serialize;

/// Takes out of an entry of a key-value table what an index orders it by. Named by definitions of indexes and registered with
/// [`Builder::key_extractor`](crate::Builder::key_extractor) at every opening.
pub trait KeyExtractor: Send + Sync + Debug {
    /// The name that definitions remember. An extractor that begins to take out something else needs another name.
    fn name(&self) -> &str;

    /// The bytes by which the index orders the entry; `None` if the entry is not in it. A pure function of its arguments.
    fn extract(&self, key: &[u8], value: &[u8]) -> Option<Vec<u8>>;
}

/// The extractors that a program has registered.
#[derive(Debug, Default, Clone)]
pub(crate) struct KeyExtractors(Vec<Arc<dyn KeyExtractor>>);

impl KeyExtractors {
    pub fn register(&mut self, extractor: Arc<dyn KeyExtractor>) -> Result<()> {
        let name = extractor.name();
        if name.is_empty() || name.len() > 255 || self.find(name).is_ok() {
            return Err(Error::invalid_input(format!(
                "a key extractor cannot be named \"{name}\": names have 1 to 255 bytes and are taken once"
            )));
        }
        self.0.push(extractor);
        Ok(())
    }

    pub fn find(&self, name: &str) -> Result<Arc<dyn KeyExtractor>> {
        let found = self.0.iter().find(|known| known.name() == name).cloned();
        found.ok_or_else(|| {
            let message = format!("the key extractor \"{name}\" is not registered: register it with the builder");
            Error::new(ErrorKind::Unavailable, message)
        })
    }
}

/// Describes a secondary index for [`Table::create_index`](crate::Table::create_index).
#[derive(Debug, Clone)]
pub struct IndexDefinition {
    pub(super) name: String,
    pub(super) of: Wanted,
    pub(super) unique: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Columns(Vec<String>),
    Extractor(String),
}

impl IndexDefinition {
    /// An index by these columns in this order; a name with a leading `-` is descending. Nulls come first. The columns are those
    /// of a typed table, or `key` and `value` of a key-value table.
    pub fn on<C: Into<String>>(name: impl Into<String>, columns: impl IntoIterator<Item = C>) -> Self {
        Self {
            name: name.into(),
            of: Wanted::Columns(columns.into_iter().map(Into::into).collect()),
            unique: false,
        }
    }

    /// An index of a key-value table by what the registered extractor of this name takes out of its entries.
    pub fn extracted(name: impl Into<String>, extractor: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            of: Wanted::Extractor(extractor.into()),
            unique: false,
        }
    }

    /// No two rows may have the same values in its columns, unless one of these is null.
    #[must_use]
    pub fn unique(mut self) -> Self {
        self.unique = true;
        self
    }
}

/// A column of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IndexColumn {
    /// Its number within the table, which stays whatever the column is called.
    pub number: u32,
    /// Larger values come first.
    pub descending: bool,
}

/// What the entries of an index are ordered by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexedBy {
    /// Columns.
    Columns(Vec<IndexColumn>),
    /// What the extractor of this name takes out.
    Extractor(String),
}

/// What an index is of, as the manifest keeps it. Bytes in `docs/formats/secondary.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredDefinition {
    /// What its entries are ordered by.
    pub by: IndexedBy,
    /// Whether two rows may not have the same values.
    pub unique: bool,
}

const VERSION: u8 = 1;
const COLUMNS: u8 = 0;
const EXTRACTOR: u8 = 1;

impl StoredDefinition {
    /// What `wanted` means for a table of this schema.
    ///
    /// # Errors
    /// `InvalidInput` naming the column.
    pub(super) fn of(wanted: &IndexDefinition, schema: &TableSchema) -> Result<Self> {
        let by = match &wanted.of {
            Wanted::Extractor(name) if schema.is_key_value() => IndexedBy::Extractor(name.clone()),
            Wanted::Extractor(name) => {
                let message =
                    format!("the key extractor \"{name}\" is for key-value tables: name columns of a typed one");
                return Err(Error::invalid_input(message));
            }
            Wanted::Columns(names) => IndexedBy::Columns(columns(names, schema)?),
        };
        Ok(Self {
            by,
            unique: wanted.unique,
        })
    }

    /// The stored form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION, u8::from(self.unique)];
        match &self.by {
            IndexedBy::Columns(columns) => {
                out.push(COLUMNS);
                put_u64(&mut out, columns.len() as u64);
                for column in columns {
                    put_u64(&mut out, u64::from(column.number));
                    out.push(u8::from(column.descending));
                }
            }
            IndexedBy::Extractor(name) => {
                out.push(EXTRACTOR);
                put_bytes(&mut out, name.as_bytes());
            }
        }
        out
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// `Corruption` for bytes that `to_bytes` does not produce; `Unsupported` for a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version > VERSION {
            let message = format!("an index is defined by version {version}; this Kodiak knows up to {VERSION}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let malformed = || Error::corruption("the definition of an index is malformed");
        let flag = |reader: &mut Reader<'_>| match reader.u8()? {
            byte @ 0..=1 => Ok(byte == 1),
            _ => Err(malformed()),
        };
        let unique = flag(&mut reader)?;
        let by = match reader.u8()? {
            COLUMNS => {
                let mut columns = Vec::new();
                for _ in 0..reader.len(reader.remaining())? {
                    columns.push(IndexColumn {
                        number: reader.len(u32::MAX as usize)? as u32,
                        descending: flag(&mut reader)?,
                    });
                }
                IndexedBy::Columns(columns)
            }
            EXTRACTOR => IndexedBy::Extractor(reader.str()?.to_owned()),
            _ => return Err(malformed()),
        };
        let empty = matches!(&by, IndexedBy::Columns(columns) if columns.is_empty());
        if version == 0 || empty || !reader.is_empty() {
            return Err(malformed());
        }
        Ok(Self { by, unique })
    }
}

fn columns(names: &[String], schema: &TableSchema) -> Result<Vec<IndexColumn>> {
    let fields = schema.columns().fields();
    let mut columns: Vec<IndexColumn> = Vec::with_capacity(names.len());
    for name in names {
        let (name, descending) = match name.strip_prefix('-') {
            Some(name) => (name, true),
            None => (name.as_str(), false),
        };
        let index = schema.columns().index_of(name).map_err(|_| {
            let known: Vec<_> = fields.iter().map(|field| field.name().as_str()).collect();
            Error::invalid_input(format!(
                "there is no column \"{name}\" to index; the columns are {}",
                known.join(", ")
            ))
        })?;
        let number = schema.column_number(index);
        if columns.iter().any(|known| known.number == number) {
            return Err(Error::invalid_input(format!("column \"{name}\" is named twice")));
        }
        columns.push(IndexColumn { number, descending });
    }
    if columns.is_empty() {
        return Err(Error::invalid_input("an index is by one column or more"));
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_documentation() {
        let columns = vec![
            IndexColumn {
                number: 300,
                descending: false,
            },
            IndexColumn {
                number: 2,
                descending: true,
            },
        ];
        let by_columns = StoredDefinition {
            by: IndexedBy::Columns(columns),
            unique: true,
        };
        assert_eq!(by_columns.to_bytes(), [1, 1, 0, 2, 0xac, 0x02, 0, 2, 1]);
        let extracted = StoredDefinition {
            by: IndexedBy::Extractor("tag".to_owned()),
            unique: false,
        };
        assert_eq!(extracted.to_bytes(), [1, 0, 1, 3, b't', b'a', b'g']);
        for definition in [by_columns, extracted] {
            let bytes = definition.to_bytes();
            assert_eq!(StoredDefinition::from_bytes(&bytes).expect("whole"), definition);
            for cut in 0..bytes.len() {
                StoredDefinition::from_bytes(&bytes[..cut]).expect_err("cut short");
            }
            let newer = [&[2], &bytes[1..]].concat();
            let error = StoredDefinition::from_bytes(&newer).expect_err("newer");
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
        StoredDefinition::from_bytes(&[1, 0, 0, 0]).expect_err("no columns");
    }
}
