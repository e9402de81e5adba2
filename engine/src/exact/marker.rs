//! The marker as a file.

use std::path::Path;

use kodiak_core::batch::TableId;
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::findings::Files;
use crate::maintenance::{read_small, remove_if_there, replace_file};

/// The name of the marker in a table's directory.
pub const EXACT_FILE: &str = "EXACT.json";

/// The version of the marker.
const FORMAT: u32 = 1;

/// Why files are not exact of which more is not known.
const UNKNOWN: &str = "nobody has looked since the table was made, copied, written to or rewritten: rows may be in memory and in the \
                       log only, superseded or deleted";
/// Why files are not exact of a table that has rows elsewhere.
pub const IN_MEMORY: &str = "rows are in memory, or in the log only";
/// Why files are not exact while somebody changes them.
pub(super) const UNDER_WAY: &str = "a compaction or ingestion was under way, or the table was being altered";
/// Why files are not exact among which there are others, behind how many.
pub(super) const STRANGERS: &str = "data files in the directory are not the table's any more, or somebody's own";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    format: u32,
    database: String,
    table: String,
    table_number: TableId,
    /// All rows of all data files in the directory, and nothing else, are the table's.
    pub exact: bool,
    /// If not, why not, as it was found.
    pub why_not_exact: Vec<String>,
    /// What to read instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instead: Option<String>,
    /// If exact, which files these are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,
    /// If exact, the table's columns; files have others besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    columns: Vec<String>,
}

impl Marker {
    /// Of files that nobody has looked at.
    pub fn unknown(database: u64, number: TableId, table: &str) -> Self {
        Self::inexact(database, number, table, vec![UNKNOWN.to_owned()])
    }

    /// Of files that are not exact.
    pub fn inexact(database: u64, number: TableId, table: &str, why: Vec<String>) -> Self {
        Self {
            format: FORMAT,
            database: format!("{database:016x}"),
            table: table.to_owned(),
            table_number: number,
            exact: false,
            why_not_exact: why,
            instead: Some(format!(
                "what kodiak publish, or Table::publish, makes in published/{number:06} of the database"
            )),
            files: None,
            columns: Vec::new(),
        }
    }

    /// Of files that are the table.
    pub fn exact(database: u64, number: TableId, table: &str, files: Files, schema: &TableSchema) -> Self {
        let columns = schema.columns().fields().iter();
        Self {
            exact: true,
            instead: None,
            files: Some(files),
            columns: columns.map(|field| field.name().clone()).collect(),
            ..Self::inexact(database, number, table, Vec::new())
        }
    }

    /// True if what it says may be over by now, although no files of the table were changed: then somebody has to look again.
    pub fn may_be_over(&self) -> bool {
        let passes = |why: &String| [UNKNOWN, IN_MEMORY, UNDER_WAY].contains(&why.as_str()) || why.ends_with(STRANGERS);
        self.why_not_exact.iter().any(passes)
    }

    /// True if it is of this table, and says either that files are exact, and which, or that they are not.
    pub fn is_of(&self, database: u64, table: TableId) -> bool {
        self.database == format!("{database:016x}")
            && self.table_number == table
            && self.exact == self.files.is_some()
            && self.exact == self.why_not_exact.is_empty()
    }

    /// The one in a table's directory; `None` if there is none.
    ///
    /// # Errors
    /// `Corruption` naming the file if it is no marker; `Unsupported` for one of a newer version; `Io`.
    pub fn read(storage: &dyn Storage, dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(EXACT_FILE);
        let bytes = match read_small(storage, &path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let marker: Self = serde_json::from_slice(&bytes).map_err(|error| {
            let message =
                "it does not say whether the table's files are exact: opening the database for writing makes it anew";
            Error::corruption(message).with_source(error).with_file(&path)
        })?;
        if marker.format != FORMAT {
            let message = format!("it is of version {}, and {FORMAT} is known", marker.format);
            return Err(Error::new(ErrorKind::Unsupported, message).with_file(&path));
        }
        Ok(Some(marker))
    }

    /// Writes it in place of the one before.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, storage: &dyn Storage, dir: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| Error::corruption("a marker cannot be written").with_source(error))?;
        replace_file(storage, &dir.join(EXACT_FILE), (json + "\n").as_bytes())
    }

    /// Removes the one in a table's directory, before something is done to its files that only a later opening can judge.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove(storage: &dyn Storage, dir: &Path) -> Result<()> {
        remove_if_there(storage, &dir.join(EXACT_FILE))?;
        storage.sync_dir(dir)
    }

    /// It says exact, and `why` speaks against that.
    pub fn untrue(&self, dir: &Path, why: &str) -> Error {
        let message = format!("it says that the table's data files are exact as they lie, but {why}");
        Error::corruption(message).with_file(dir.join(EXACT_FILE))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use kodiak_storage::MemoryStorage;

    use super::*;

    #[test]
    fn markers_are_written_as_documented_and_read_back() {
        let storage = MemoryStorage::new();
        let dir = Path::new("/db/tables/000002");
        storage.create_dir_all(dir).expect("a directory");
        assert_eq!(Marker::read(&storage, dir).expect("read"), None);
        let columns = Schema::new(vec![Field::new("id", DataType::Int64, false)]);
        let schema = TableSchema::new(Arc::new(columns), &["id"]).expect("valid");
        let files = Files {
            sequence: 9,
            count: 1,
            bytes: 700,
            rows: 5,
        };
        let exact = Marker::exact(10, 2, "t", files, &schema);
        let inexact = Marker::inexact(10, 2, "t", vec!["why".to_owned()]);
        for (marker, text) in [
            (
                exact,
                r#"{"format":1,"database":"000000000000000a","table":"t","table_number":2,"exact":true,"why_not_exact":[],"files":{"sequence":9,"count":1,"bytes":700,"rows":5},"columns":["id"]}"#,
            ),
            (
                inexact,
                r#"{"format":1,"database":"000000000000000a","table":"t","table_number":2,"exact":false,"why_not_exact":["why"],"instead":"what kodiak publish, or Table::publish, makes in published/000002 of the database"}"#,
            ),
        ] {
            marker.write(&storage, dir).expect("write");
            assert_eq!(serde_json::to_string(&marker).expect("JSON"), text);
            assert_eq!(Marker::read(&storage, dir).expect("read"), Some(marker.clone()));
            assert!(marker.is_of(10, 2) && !marker.is_of(11, 2) && !marker.is_of(10, 3));
        }
        assert!(Marker::unknown(10, 2, "t").may_be_over());
        for (bytes, kind) in [
            (&b"{"[..], ErrorKind::Corruption),
            (
                br#"{"format":2,"database":"a","table":"t","table_number":2,"exact":true,"why_not_exact":[]}"#,
                ErrorKind::Unsupported,
            ),
        ] {
            replace_file(&storage, &dir.join(EXACT_FILE), bytes).expect("write");
            assert_eq!(Marker::read(&storage, dir).expect_err("damaged").kind(), kind);
        }
    }
}
