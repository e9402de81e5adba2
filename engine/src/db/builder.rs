//! How a database is opened.

use std::path::Path;
use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::storage::Storage;
use kodiak_core::wal::RecoveryMode;
use kodiak_storage::LocalStorage;

use super::Db;
use super::open;
use crate::components::{Components, Resolved};
use crate::merge::{MergeOperator, MergeOperators};
use crate::secondary::{KeyExtractor, KeyExtractors};
use crate::settings::Settings;

/// Opens a database with choices beyond its settings: components and merge operators from outside, another storage, reading
/// only.
///
/// ```
/// # fn main() -> kodiak::Result<()> {
/// let storage = std::sync::Arc::new(kodiak::MemoryStorage::new());
/// let db = kodiak::Builder::new(kodiak::Settings::default()).storage(storage).open("/db")?;
/// let users = db.create_table("users", kodiak::TableSchema::key_value())?;
/// users.put(b"ada", b"countess")?;
/// assert_eq!(users.get(b"ada")?.as_deref(), Some(&b"countess"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    pub(crate) settings: Settings,
    pub(crate) components: Components,
    pub(crate) operators: MergeOperators,
    pub(crate) extractors: KeyExtractors,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) mode: OpenMode,
    pub(crate) recovery: Option<RecoveryMode>,
}

/// What opening may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenMode {
    /// Open, or create if there is none.
    OpenOrCreate,
    /// Open one that exists.
    OpenExisting,
    /// Create one that does not exist.
    CreateNew,
    /// Change nothing.
    ReadOnly,
}

impl Builder {
    /// Local files, built-in components, the database created if there is none.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            components: Components::new(),
            operators: MergeOperators::default(),
            extractors: KeyExtractors::default(),
            storage: Arc::new(LocalStorage::new()),
            mode: OpenMode::OpenOrCreate,
            recovery: None,
        }
    }

    /// Uses other components: the built-in ones with more registered, say.
    pub fn components(mut self, components: Components) -> Self {
        self.components = components;
        self
    }

    /// Registers a merge operator.
    ///
    /// # Errors
    /// `InvalidInput` if the name is taken.
    pub fn merge_operator(mut self, operator: Arc<dyn MergeOperator>) -> Result<Self> {
        self.operators.register(operator)?;
        Ok(self)
    }

    /// Registers a key extractor, by which indexes of key-value tables may be.
    ///
    /// # Errors
    /// `InvalidInput` if the name is taken.
    pub fn key_extractor(mut self, extractor: Arc<dyn KeyExtractor>) -> Result<Self> {
        self.extractors.register(extractor)?;
        Ok(self)
    }

    /// Keeps the files elsewhere than on local disk.
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = storage;
        self
    }

    /// Fails with `NotFound` if there is no database, instead of creating one.
    pub fn existing(mut self) -> Self {
        self.mode = OpenMode::OpenExisting;
        self
    }

    /// Fails with `AlreadyExists` if there is a database.
    pub fn create_new(mut self) -> Self {
        self.mode = OpenMode::CreateNew;
        self
    }

    /// Reads only: takes no lock, changes no file, shows the state at this moment (what the log holds included). Files of runs are
    /// opened at once, up to `limits.max_open_files`, so that they stay readable when another process, which has the database open for
    /// writing, removes them. With more runs than that, reads of files that are gone fail with `NotFound`, and so do, with
    /// `Unavailable`, reads through secondary indexes whose pages that process has used again; open anew then. Opening fails with
    /// `NotFound` if, time after time, that process flushes its log before it is read.
    pub fn read_only(mut self) -> Self {
        self.mode = OpenMode::ReadOnly;
        self
    }

    /// What the replay of the log does about damage this time, whatever `wal.recovery` is in the settings. Those that are kept with the
    /// database stay as they are, so that later openings do not pass over damage that nobody has seen; a database that is made now keeps it.
    pub fn recovery(mut self, mode: RecoveryMode) -> Self {
        self.recovery = Some(mode);
        self
    }

    /// The components of the settings, with the mode of recovery of this time.
    ///
    /// # Errors
    /// `InvalidSettings`.
    pub(crate) fn resolve_once(&self) -> Result<Resolved> {
        let mut resolved = self.components.resolve(&self.settings)?;
        resolved.settings.wal.recovery = self.recovery.unwrap_or(self.settings.wal.recovery);
        Ok(resolved)
    }

    /// Opens the database in the directory `path`. Errors as [`Db::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Db> {
        open::open(self, path.as_ref())
    }
}
