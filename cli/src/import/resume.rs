//! How far an import is: written with the rows themselves, in one batch, so that it can go on exactly where it was killed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use kodiak::{Db, Error, ErrorKind, Result, Table, TableSchema, WriteBatch};
use serde::{Deserialize, Serialize};

use super::rows::Position;

/// The table in which imports that are under way are recorded.
pub const IMPORTS: &str = "_kodiak_imports";
/// How much of a file is compared, to tell that it is the same.
const HEAD: u64 = 64 << 10;

/// What is recorded of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    version: u32,
    file: FileId,
    /// The arguments that say what the rows are.
    how: String,
    position: Position,
    rejected: (u64, u64),
}

const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FileId {
    bytes: u64,
    modified_nanos: u64,
    head: u32,
}

impl FileId {
    fn of(path: &Path) -> Result<Self> {
        let failed = |error| Error::io("look at the file", path, error);
        let file = std::fs::File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let mut head = Vec::new();
        file.take(HEAD).read_to_end(&mut head).map_err(failed)?;
        let modified = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Ok(Self {
            bytes: metadata.len(),
            modified_nanos: modified.map_or(0, |time| time.as_nanos() as u64),
            head: crc32fast::hash(&head),
        })
    }
}

/// The record of one import.
pub struct Progress {
    /// Made when there is something to record.
    imports: Option<Table>,
    key: Vec<u8>,
    file: FileId,
    how: String,
}

impl Progress {
    /// The record of importing `path` into `table` in a manner that `how` describes.
    ///
    /// # Errors
    /// Those of the database; `Io`.
    pub fn open(db: &Db, table: &str, path: &Path, how: String) -> Result<Self> {
        let imports = match db.table(IMPORTS) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            found => Some(found?),
        };
        let path: PathBuf = std::fs::canonicalize(path).map_err(|error| Error::io("look at the file", path, error))?;
        let mut key = table.as_bytes().to_vec();
        key.push(0);
        key.extend_from_slice(path.as_os_str().as_encoded_bytes());
        Ok(Self {
            imports,
            key,
            file: FileId::of(&path)?,
            how,
        })
    }

    /// Where to go on, and how many rows were rejected in how many bytes; `None` if the import has not begun, or is done.
    ///
    /// # Errors
    /// `InvalidInput` if the file or the arguments are others than those that it began with.
    pub fn resume(&self) -> Result<Option<(Position, (u64, u64))>> {
        let found = self
            .imports
            .as_ref()
            .map(|imports| imports.get(&self.key))
            .transpose()?;
        let Some(bytes) = found.flatten() else {
            return Ok(None);
        };
        let record: Record = serde_json::from_slice(&bytes)
            .map_err(|error| Error::corruption("the record of the import cannot be read").with_source(error))?;
        if record.version > VERSION {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a newer version of Kodiak began this import",
            ));
        }
        if record.file != self.file {
            return Err(Error::invalid_input(
                "the file has changed since its import began: import it anew, without --resume",
            ));
        }
        if record.how != self.how {
            return Err(Error::invalid_input(format!(
                "the import began with other arguments ({}, now {}): use the same, or import anew without --resume",
                record.how, self.how
            )));
        }
        Ok(Some((record.position, record.rejected)))
    }

    /// Adds to a batch that the file is imported up to `position`.
    ///
    /// # Errors
    /// `InvalidInput` if that cannot be written down; those of the database.
    pub fn record(&mut self, db: &Db, batch: &mut WriteBatch, position: Position, rejected: (u64, u64)) -> Result<()> {
        let record = Record {
            version: VERSION,
            file: self.file.clone(),
            how: self.how.clone(),
            position,
            rejected,
        };
        let bytes = serde_json::to_vec(&record)
            .map_err(|error| Error::invalid_input("the import cannot be recorded").with_source(error))?;
        let imports = match &self.imports {
            Some(imports) => imports,
            None => self.imports.insert(db.create_table(IMPORTS, TableSchema::key_value())?),
        };
        batch.put(imports, &self.key, bytes);
        Ok(())
    }

    /// Forgets the import, which is done.
    ///
    /// # Errors
    /// Those of the database.
    pub fn finish(self, db: &Db) -> Result<()> {
        let Some(imports) = self.imports else { return Ok(()) };
        imports.delete(&self.key)?;
        let none = imports.scan(..)?.next().is_none();
        drop(imports);
        // A table that holds nothing would only puzzle people.
        if none { db.drop_table(IMPORTS) } else { Ok(()) }
    }
}
