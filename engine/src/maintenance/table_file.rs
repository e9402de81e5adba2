//! The `TABLE` file in each table's directory: name, schema and options, so that repair does not depend on the manifest.

use std::collections::BTreeMap;
use std::path::Path;

use kodiak_core::Result;
use kodiak_core::batch::TableId;
use kodiak_core::storage::Storage;
use kodiak_core::varint::{put_bytes, put_u64};

use super::{files, sealed};
use crate::db::{IndexOptions, TableOptions};
use crate::manifest::{SchemaState, SecondaryState, TableState};

/// The name of the file.
pub(crate) const TABLE_FILE: &str = "TABLE";

const MAGIC: &[u8; 8] = b"KODIAKTB";
/// Of a table that was never altered.
const VERSION: u32 = 1;
/// Of an altered one: its later schemas follow.
const ALTERED: u32 = 2;
/// Of one with secondary indexes: besides, their definitions follow.
const INDEXED: u32 = 3;

/// What the file says. Its bytes are in `docs/formats/table.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableFile {
    /// The identity of the database.
    pub database: u64,
    /// The table's number.
    pub table: TableId,
    /// Its name.
    pub name: String,
    /// The schema that it was created with, as `TableSchema::to_bytes` writes it.
    pub schema: Vec<u8>,
    /// Its options, as the engine writes them.
    pub options: Vec<u8>,
    /// The schemas that it has had since, by number.
    pub schemas: BTreeMap<u32, SchemaState>,
    /// The definitions of its secondary indexes, by name.
    pub indexes: BTreeMap<String, Vec<u8>>,
}

impl TableFile {
    /// What the manifest says of a table.
    pub fn of(database: u64, table: TableId, state: &TableState) -> Self {
        Self {
            database,
            table,
            name: state.name.clone(),
            schema: state.schema.clone(),
            options: state.options.clone(),
            schemas: state.schemas.clone(),
            indexes: state
                .secondary
                .iter()
                .map(|(name, index)| (name.clone(), index.definition.clone()))
                .collect(),
        }
    }

    /// The state of a table without runs.
    pub fn state(&self) -> TableState {
        TableState {
            name: self.name.clone(),
            schema: self.schema.clone(),
            options: self.options.clone(),
            schemas: self.schemas.clone(),
            secondary: self
                .indexes
                .iter()
                .map(|(name, definition)| {
                    let (definition, index) = (definition.clone(), None);
                    (name.clone(), SecondaryState { definition, index })
                })
                .collect(),
            ..TableState::default()
        }
    }

    /// True if it tells of what `other` does, and perhaps of later schemas: those of an alteration that was cut short. Of indexes it
    /// may tell otherwise, if their creation or choice was cut short.
    pub fn covers(&self, other: &Self) -> bool {
        let mut known = self.clone();
        let last = other.schemas.last_key_value().map_or(0, |(last, _)| *last);
        known.schemas.retain(|number, _| *number <= last);
        known.indexes.clone_from(&other.indexes);
        known.options = lasting(&self.options);
        known
            == Self {
                options: lasting(&other.options),
                ..other.clone()
            }
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let version = match (self.schemas.is_empty(), self.indexes.is_empty()) {
            (true, true) => VERSION,
            (false, true) => ALTERED,
            (_, false) => INDEXED,
        };
        let mut out = sealed::begin(MAGIC, version);
        out.extend_from_slice(&self.database.to_le_bytes());
        put_u64(&mut out, u64::from(self.table));
        put_bytes(&mut out, self.name.as_bytes());
        put_bytes(&mut out, &self.schema);
        put_bytes(&mut out, &self.options);
        if version >= ALTERED {
            put_u64(&mut out, self.schemas.len() as u64);
            for (number, later) in &self.schemas {
                put_u64(&mut out, u64::from(*number));
                out.push(u8::from(later.in_force));
                put_bytes(&mut out, &later.schema);
            }
        }
        if version >= INDEXED {
            put_u64(&mut out, self.indexes.len() as u64);
            for (name, definition) in &self.indexes {
                put_bytes(&mut out, name.as_bytes());
                put_bytes(&mut out, definition);
            }
        }
        sealed::seal(out)
    }

    /// Reads the bytes of the file.
    ///
    /// # Errors
    /// `Corruption`; `Unsupported` for a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (version, mut reader) = sealed::open(bytes, MAGIC, INDEXED)?;
        let mut read = Self {
            database: reader.u64_le()?,
            table: reader.len(TableId::MAX as usize)? as TableId,
            name: reader.str()?.to_owned(),
            schema: reader.bytes()?.to_vec(),
            options: reader.bytes()?.to_vec(),
            schemas: BTreeMap::new(),
            indexes: BTreeMap::new(),
        };
        if version >= ALTERED {
            for _ in 0..reader.len(reader.remaining())? {
                let number = reader.len(u32::MAX as usize)? as u32;
                let in_force = reader.u8()? == 1;
                let schema = reader.bytes()?.to_vec();
                read.schemas.insert(number, SchemaState { in_force, schema });
            }
        }
        if version >= INDEXED {
            for _ in 0..reader.len(reader.remaining())? {
                let name = reader.str()?.to_owned();
                read.indexes.insert(name, reader.bytes()?.to_vec());
            }
        }
        if reader.is_empty() {
            Ok(read)
        } else {
            Err(sealed::damaged())
        }
    }

    /// Reads the file of a table's directory.
    ///
    /// # Errors
    /// As [`decode`](Self::decode); `NotFound`, `Io`.
    pub fn read(storage: &dyn Storage, dir: &Path) -> Result<Self> {
        let path = dir.join(TABLE_FILE);
        Self::decode(&files::read_small(storage, &path)?).map_err(|error| error.with_file(path))
    }

    /// Writes or replaces the file of a table's directory; it survives a power loss when this returns.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, storage: &dyn Storage, dir: &Path) -> Result<()> {
        files::replace(storage, &dir.join(TABLE_FILE), &self.encode())
    }
}

/// Options without what a table may choose anew at any time.
fn lasting(options: &[u8]) -> Vec<u8> {
    match TableOptions::from_bytes(options) {
        Ok(known) => known.indexes(IndexOptions::new()).to_bytes(),
        Err(_) => options.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kodiak_core::ErrorKind;

    fn file() -> TableFile {
        TableFile {
            database: 7,
            table: 300,
            name: "t".to_owned(),
            schema: vec![1, 2, 3],
            options: vec![9],
            schemas: BTreeMap::new(),
            indexes: BTreeMap::new(),
        }
    }

    fn indexed() -> TableFile {
        TableFile {
            indexes: [("by".to_owned(), vec![7, 8])].into(),
            ..altered()
        }
    }

    fn altered() -> TableFile {
        let later = |in_force, schema: &[u8]| SchemaState {
            in_force,
            schema: schema.to_vec(),
        };
        TableFile {
            schemas: [(1, later(true, &[4])), (3, later(false, &[5, 6]))].into(),
            ..file()
        }
    }

    #[test]
    fn what_is_written_comes_back_and_every_damage_is_seen() {
        assert_eq!(TableFile::decode(&altered().encode()).expect("whole"), altered());
        assert_eq!(TableFile::decode(&indexed().encode()).expect("whole"), indexed());
        let bytes = file().encode();
        assert_eq!(TableFile::decode(&bytes).expect("whole"), file());
        for cut in 0..bytes.len() {
            assert!(TableFile::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                TableFile::decode(&damaged).expect_err("damaged").kind(),
                ErrorKind::Corruption,
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_newer_version_is_refused() {
        let mut bytes = file().encode();
        bytes[8] = 4;
        let end = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&crc);
        assert_eq!(
            TableFile::decode(&bytes).expect_err("newer").kind(),
            ErrorKind::Unsupported
        );
    }

    #[test]
    fn the_bytes_are_as_documented() {
        let hex: String = file().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        let body = "4b4f4449414b5442010000000700000000000000ac0201740301020301";
        assert_eq!(hex[..hex.len() - 8], format!("{body}09"));
        assert_eq!(hex.len(), 68);
        let bytes = altered().encode();
        let end: String = bytes[30..bytes.len() - 4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            (bytes[8], end.as_str()),
            (2, "020101010403000205 06".replace(' ', "").as_str())
        );
        let bytes = indexed().encode();
        let end: String = bytes[40..bytes.len() - 4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            (bytes[8], end.as_str()),
            (3, "0102 6279 020708".replace(' ', "").as_str())
        );
    }

    #[test]
    fn a_file_may_tell_of_an_alteration_that_was_cut_short() {
        assert!(altered().covers(&altered()) && altered().covers(&file()));
        assert!(!file().covers(&altered()));
        assert!(file().covers(&TableFile {
            indexes: indexed().indexes,
            ..file()
        }));
    }
}
