//! Open databases and their tables.

mod background;
mod builder;
mod counters;
mod facade;
mod flush;
mod index_options;
mod index_updates;
mod left_overs;
mod level0;
mod log_end;
mod log_needs;
mod named_files;
mod open;
mod options;
mod plans;
mod recovery;
mod room;
mod scan_options;
mod seq_times;
mod shared;
mod slot;
mod snapshot;
mod stall;
mod stats;
mod table;
mod table_state;
mod upkeep;
mod visibility;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kodiak_core::schema::TableSchema;
use kodiak_core::wal::SyncMode;
use kodiak_core::{Error, ErrorKind, Result};

pub use builder::Builder;
pub use index_options::IndexOptions;
pub(crate) use index_updates::IndexUpdates;
pub(crate) use log_end::{check_log_end, check_open_log_end};
pub(crate) use named_files::list_table;
pub(crate) use open::{LOCK_FILE, TABLES_DIR, WAL_DIR, wal_context};
pub use options::TableOptions;
pub(crate) use plans::Moved;
pub use scan_options::ScanOptions;
pub(crate) use shared::{Open, Shared, Signal};
pub(crate) use slot::Slot;
pub use snapshot::Snapshot;
pub use stall::StallCause;
pub(crate) use stall::closing;
pub use stats::{LevelStats, Stats, TableStats, WorkStats};
pub use table::Table;
pub(crate) use table_state::{ScanRange, TableInner, View};
pub use upkeep::RangeSize;
pub use write::WriteBatch;
pub(crate) use write::{check_limits, poisoned_gate};

use crate::compact::change_version;
use crate::maintenance::TableFile;
use crate::manifest::{Change, Marks, TableState, VersionEdit};
use crate::primary::put_in_force;
use crate::settings::Settings;
use crate::typed::{SchemaVersion, Schemas};

/// An open database: a directory of tables that share a log and one order of writes.
///
/// Handles are cheap to clone and may be used from any thread. The database is closed by [`close`](Self::close), or when the
/// last handle (its tables' included) is dropped.
#[derive(Debug, Clone)]
pub struct Db {
    pub(crate) open: Arc<Open>,
}

impl Db {
    /// Opens the database in the directory `path`, creating it if there is none. For more choices see [`Builder`].
    ///
    /// # Errors
    /// `InvalidSettings` before anything is touched; `Locked` if it is open elsewhere; `Corruption` naming file and offset;
    /// `Unsupported` if a newer version wrote it; `Io`.
    pub fn open(path: impl AsRef<Path>, settings: Settings) -> Result<Self> {
        Builder::new(settings).open(path)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.open.shared
    }

    fn handle(&self, inner: Arc<TableInner>) -> Table {
        Table {
            open: Arc::clone(&self.open),
            inner,
        }
    }

    /// Creates a table. Its name may be any text of 1 to 255 bytes; it never becomes the name of a file.
    ///
    /// # Errors
    /// `AlreadyExists`; `InvalidInput` for a name that is too long, or naming a column that a format in the settings cannot
    /// hold; `Io`, `Unavailable`.
    pub fn create_table(&self, name: &str, schema: TableSchema) -> Result<Table> {
        self.create_table_with(name, schema, TableOptions::new())
    }

    /// Creates a table with options. Errors as [`create_table`](Self::create_table); besides, `InvalidSettings` for an
    /// unknown merge operator or index.
    pub fn create_table_with(&self, name: &str, schema: TableSchema, options: TableOptions) -> Result<Table> {
        let shared = self.shared();
        shared.check_writable()?;
        if name.is_empty() || name.len() > 255 {
            return Err(Error::invalid_input(format!(
                "a table's name has 1 to 255 bytes, not {}",
                name.len()
            )));
        }
        // Another table's schema may be given, with a history of its own.
        let schema = schema.without_history();
        shared.check_formats(&schema)?;
        let segment = shared.check_writable()?.active_segment();
        // The manifest's lock makes creating, dropping and renaming one after the other.
        let mut manifest = shared.manifest.lock();
        let Some(manifest) = manifest.as_mut() else {
            return Err(stall::closing());
        };
        if shared.tables.read().by_name.contains_key(name) {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("there is a table \"{name}\" already"),
            ));
        }
        let id = manifest.state().next_table.max(1);
        let stored = schema.to_bytes();
        let schemas = Schemas::new(vec![SchemaVersion::new(schema, true, 0)]);
        let inner = Arc::new(shared.new_table(id, name, schemas, options.clone(), segment)?);
        shared.storage.create_dir_all(&inner.runs.dir)?;
        let state = TableState {
            name: name.to_owned(),
            schema: stored.clone(),
            options: options.to_bytes(),
            ..TableState::default()
        };
        TableFile::of(shared.identity, id, &state).write(&*shared.storage, &inner.runs.dir)?;
        shared.read_exact_marker(&inner)?;
        let mut edit = VersionEdit::new().with(Change::CreateTable {
            id,
            name: state.name,
            schema: stored,
            options: state.options,
        });
        let version = Arc::clone(&inner.view.load().version);
        let roles = inner.roles.load_full();
        let number = roles
            .primary
            .as_ref()
            .map(|_| shared.new_run_id_in(manifest))
            .transpose()?;
        let primary = shared.make_index(&inner, roles.primary.as_ref(), &version, number)?;
        if let Some(primary) = &primary {
            edit.push(primary.record(id));
        }
        if roles.vectors {
            let dead = Some(Marks {
                anew: true,
                runs: Vec::new(),
            });
            edit.push(Change::MarkDead { table: id, dead });
        }
        manifest.append(&edit)?;
        if let Some(primary) = primary {
            put_in_force(&inner, &version, None, primary)?;
        }
        if roles.vectors {
            change_version(&inner, None, |version| version.dead = Some(Arc::default()));
        }
        let mut tables = shared.tables.write();
        tables.by_name.insert(name.to_owned(), id);
        tables.by_id.insert(id, Arc::clone(&inner));
        drop(tables);
        inner.continuous.changed();
        Ok(self.handle(inner))
    }

    /// The table of a name.
    ///
    /// # Errors
    /// `NotFound`, listing the tables there are.
    pub fn table(&self, name: &str) -> Result<Table> {
        let tables = self.shared().tables.read();
        match tables.by_name.get(name).and_then(|id| tables.by_id.get(id)) {
            Some(inner) => Ok(self.handle(Arc::clone(inner))),
            None => {
                let known: Vec<_> = tables.by_name.keys().map(String::as_str).collect();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                Err(Error::new(
                    ErrorKind::NotFound,
                    format!("there is no table \"{name}\"; the tables are: {known}"),
                ))
            }
        }
    }

    /// The table of a name, created with `schema` if there is none.
    ///
    /// # Errors
    /// As [`create_table`](Self::create_table); `InvalidInput` if the table has other columns or another key by now.
    pub fn table_or_create(&self, name: &str, schema: TableSchema) -> Result<Table> {
        self.existing_or_new(name, schema, TableOptions::default())
    }

    /// As [`table_or_create`](Self::table_or_create), with options. How indexes are made and kept may be another by now; that
    /// is left as it is.
    ///
    /// # Errors
    /// As there; `InvalidInput` also if the table was created with another TTL or merge operator.
    pub fn table_or_create_with(&self, name: &str, schema: TableSchema, options: TableOptions) -> Result<Table> {
        let table = self.existing_or_new(name, schema, options.clone())?;
        let known = table.options();
        let wrong = match () {
            () if known.get_ttl() != options.get_ttl() => "TTL",
            () if known.get_merge_operator() != options.get_merge_operator() => "merge operator",
            () => return Ok(table),
        };
        Err(Error::invalid_input(format!(
            "table \"{name}\" exists with another {wrong}"
        )))
    }

    fn existing_or_new(&self, name: &str, schema: TableSchema, options: TableOptions) -> Result<Table> {
        match self.create_table_with(name, schema.clone(), options) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let table = self.table(name)?;
                if table.schema().same_columns(&schema) {
                    Ok(table)
                } else {
                    Err(Error::invalid_input(format!(
                        "table \"{name}\" exists with another schema"
                    )))
                }
            }
            other => other,
        }
    }

    /// The names of all tables, sorted.
    pub fn tables(&self) -> Vec<String> {
        self.shared().tables.read().by_name.keys().cloned().collect()
    }

    /// Drops a table and everything in it. Its files go when the last reader is done.
    ///
    /// # Errors
    /// `NotFound`; `Io`, `Unavailable`.
    pub fn drop_table(&self, name: &str) -> Result<()> {
        let shared = self.shared();
        shared.check_writable()?;
        let inner = self.table(name)?.inner;
        let _changing = shared.changing(&inner)?;
        {
            // Writers that have checked the flag are waited for, so that nothing is acknowledged after the drop.
            let _alone = shared.gate.write().map_err(|_| write::poisoned_gate())?;
            let mut manifest = shared.manifest.lock();
            let Some(manifest) = manifest.as_mut() else {
                return Err(stall::closing());
            };
            if inner.dropped.load(Ordering::Acquire) {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("table \"{name}\" was dropped already"),
                ));
            }
            manifest.append(&VersionEdit::new().with(Change::DropTable(inner.id)))?;
            inner.dropped.store(true, Ordering::Release);
            let mut tables = shared.tables.write();
            tables.by_name.remove(name);
            tables.by_id.remove(&inner.id);
        }
        inner.runs.mark_dropped();
        inner.secondary.mark_dropped();
        shared.withdraw_dropped(&inner);
        inner
            .view
            .load()
            .version
            .known_runs()
            .for_each(|(_, run)| run.mark_obsolete());
        shared.stalls.refresh(shared);
        shared.signals.progress.raise();
        Ok(())
    }

    /// An empty batch for [`write`](Self::write).
    pub fn batch(&self) -> WriteBatch {
        WriteBatch::new(self.shared().limits())
    }

    /// Writes all operations of a batch at once, as durably as the settings say.
    ///
    /// # Errors
    /// The first mistake made while it was filled; otherwise as [`Table::put`]. Nothing of it is visible then.
    pub fn write(&self, batch: WriteBatch) -> Result<()> {
        let mode = self.shared().settings.wal.sync;
        self.shared().write_batch(batch, mode)
    }

    /// Writes a batch with another durability than the settings say. Errors as [`write`](Self::write); `InvalidSettings` if
    /// the log cannot give it.
    pub fn write_with(&self, batch: WriteBatch, mode: SyncMode) -> Result<()> {
        let log = self.shared().resolved.wal.factory;
        if mode == SyncMode::Full && !log.capabilities.durable {
            return Err(Error::settings(
                "wal.kind",
                format!(
                    "log \"{}\" keeps nothing, so that no write can be \"full\"",
                    log.component.name
                ),
            ));
        }
        self.shared().write_batch(batch, mode)
    }

    /// A moment at which all tables can be read from now on.
    pub fn snapshot(&self) -> Snapshot {
        let shared = self.shared();
        shared.snapshots.take(|| shared.visible())
    }

    /// Makes every acknowledged write survive a power loss.
    ///
    /// # Errors
    /// `Io`, after which nothing more can be written; `Unavailable`.
    pub fn sync(&self) -> Result<()> {
        self.shared().check_writable()?.sync()
    }

    /// What the database consists of and what it has done since it was opened.
    pub fn stats(&self) -> Stats {
        let shared = self.shared();
        let stats = Stats::collect(shared);
        shared.counters.tell(|| stats.clone());
        stats
    }

    /// The settings it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.shared().settings
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.shared().dir
    }

    /// Closes the database: ends background work and makes what was written survive. Other handles fail with `Unavailable`
    /// from now on. With the setting `publish.continuous`, publications that are due are made first, as far as they need no
    /// flush; one that fails is told as an event only.
    ///
    /// # Errors
    /// Those of the last sync.
    pub fn close(self) -> Result<()> {
        self.open.close()
    }
}
