//! Publishing: a table's current version for other programs' readers, exactly, without copying data.
//!
//! The directory `published/<table number>` of a database holds, under second names (hard links), the data files that make up
//! the version; the rows of each that are dead, as an ordinary Parquet file; what there is to merge of partial updates, merged;
//! and for readers a record of all that (`PUBLISHED.json`), `view.sql`, `read.py` and, where its types allow, a Delta table. Links keep the
//! files as long as they are there, whatever compactions do, and whether or not the database is open. See
//! `docs/formats/published.md`.

mod beside;
mod columns;
mod continuous;
mod dead;
mod delta;
mod lists;
mod names;
mod publisher;
mod record;
mod remembered;
mod scripts;
pub(crate) mod types;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kodiak_core::storage::Storage;
use kodiak_core::{Error, ErrorKind, Result, SeqNo};

use crate::db::{Shared, Table, TableInner, View, closing};
pub use crate::exact::EXACT_FILE;
use crate::maintenance::replace_file;
use crate::run::Run;
use crate::typed::Target;
use columns::Columns;
pub(crate) use continuous::Continuous;
pub use continuous::PublicationStats;
use publisher::Publisher;
use record::Record;
pub(crate) use remembered::Remembered;
use remembered::Trust;

/// The directory, within the database, of what is published.
pub const PUBLISHED_DIR: &str = "published";
/// The name of the record in a table's published directory.
pub const RECORD_FILE: &str = "PUBLISHED.json";

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Where it is.
    pub dir: PathBuf,
    /// The sequence number of the last write in it.
    pub seq: SeqNo,
    /// Rows of the table.
    pub rows: u64,
    /// Data files.
    pub files: usize,
    /// Data files whose rows were looked at: those that have come since the last publication, and those that were not settled
    /// then.
    pub looked_at: usize,
    /// Rows of the data files that are not the table's any more.
    pub dead_rows: u64,
    /// Rows that were merged of partial updates, and are in a file of their own.
    pub merged_rows: u64,
    /// Why a reader of the data files alone would not get the table; empty if it would.
    pub why_not_exact: Vec<String>,
    /// Why there is no view for DuckDB; `None` if there is one.
    pub why_no_view: Option<String>,
    /// Why there is no Delta table; `None` if there is one.
    pub why_no_delta: Option<String>,
}

impl Table {
    /// Makes the table as it is now readable for other programs, exactly: with pyarrow, Polars, DuckDB and readers of Delta
    /// tables; see `docs/formats/published.md`. Returns where.
    ///
    /// No data is copied where the file system has hard links. The work is in proportion to what flushes and compactions have
    /// written since the last publication, which this one replaces; in a table with TTL also to the files in which rows have
    /// expired, and where partial updates wait to be merged, to the files that hold them. Files of an older schema stay as they are,
    /// unless there can be a Delta table and a column was renamed or widened, or added with a default: then the table is
    /// rewritten first, unless the setting `publish.delta` says otherwise. Writers go on; altering the table waits.
    ///
    /// With the setting `publish.continuous`, typed tables are published in the background as well, whenever a flush or
    /// compaction has changed their files.
    ///
    /// Says afterwards, as [`mark_exact`](Self::mark_exact), whether the table's own files are exact as they lie.
    ///
    /// # Errors
    /// `Unsupported` naming a file in a format that other programs do not read; `NotFound` if the table was dropped;
    /// `Unavailable` in a database that is closed or open for reading only; those of flushing, reading and writing. The last
    /// publication stays in force then.
    pub fn publish(&self) -> Result<Published> {
        let published = self.publish_now()?;
        self.open.shared.look_whether_exact(&self.inner);
        Ok(published)
    }

    fn publish_now(&self) -> Result<Published> {
        let (shared, inner) = (&self.open.shared, &self.inner);
        shared.check_writable()?;
        let mut remembered = inner.publishing.lock();
        check_there(inner)?;
        let (_unaltered, target) = inner.hold_schema()?;
        let dir = directory(shared, inner);
        let known = remembered.take(&*shared.storage, &dir, (shared.identity, inner.id), Trust::Files);
        let snapshot = shared.snapshots.take(|| shared.visible());
        let view = settled_view(shared, inner, &target, known.as_ref().map(|known| &known.record))?;
        let publisher = Publisher {
            shared,
            inner,
            target,
            seq: durable(shared, snapshot.seq())?,
            _snapshot: snapshot,
            view,
            dir,
        };
        let (published, known) = publisher.replace(known)?;
        remembered.keep(known);
        Ok(published)
    }

    /// Takes back what is published of the table, and gives up the files that are only there for it. Nothing published is fine.
    /// With the setting `publish.continuous`, the next flush or compaction that changes a typed table publishes it again.
    ///
    /// # Errors
    /// `Unavailable` in a database that is closed or open for reading only; `Io`.
    pub fn withdraw(&self) -> Result<()> {
        let (shared, inner) = (&self.open.shared, &self.inner);
        shared.check_writable()?;
        let mut remembered = inner.publishing.lock();
        remembered.forget();
        withdraw(&*shared.storage, &directory(shared, inner))
    }
}

fn directory(shared: &Shared, table: &TableInner) -> PathBuf {
    shared.dir.join(PUBLISHED_DIR).join(format!("{:06}", table.id))
}

/// The moment `seq`, or the newest one before it whose number no later write can have, whatever is lost in a power loss. Between
/// them no write has gone into a run that is there: whoever calls this has loaded the runs before.
fn durable(shared: &Shared, seq: SeqNo) -> Result<SeqNo> {
    let manifest = shared.manifest.lock();
    let manifest = manifest.as_ref().ok_or_else(closing)?;
    Ok(seq.min(manifest.state().last_seq))
}

fn check_there(table: &TableInner) -> Result<()> {
    if table.dropped.load(Ordering::Acquire) {
        let message = format!("table \"{}\" was dropped", table.name);
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    Ok(())
}

/// Removes what is published in a directory: the record first, so that none is left that names what is gone.
fn withdraw(storage: &dyn Storage, dir: &Path) -> Result<()> {
    let record = dir.join(RECORD_FILE);
    if storage.len(&record)?.is_some() {
        storage.remove(&record)?;
        storage.sync_dir(dir)?;
    }
    remove_dir(storage, dir)
}

fn remove_dir(storage: &dyn Storage, dir: &Path) -> Result<()> {
    match storage.remove_dir_all(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

impl Shared {
    /// A table was dropped: what is published of it goes.
    pub(crate) fn withdraw_dropped(&self, table: &TableInner) {
        // A publication that is under way ends first, and none begins any more.
        let mut remembered = table.publishing.lock();
        remembered.forget();
        if let Err(error) = withdraw(&*self.storage, &directory(self, table)) {
            // The next opening removes it.
            tracing::warn!(%error, table = table.name, "what was published of a dropped table could not be removed");
        }
    }

    /// During opening: removes what is published of tables that are gone.
    pub(crate) fn withdraw_orphans(&self) -> Result<()> {
        let root = self.dir.join(PUBLISHED_DIR);
        for name in crate::maintenance::list_files(&*self.storage, &root)? {
            let dir = root.join(&name);
            // A file is nothing that was published.
            let published = self.storage.len(&dir)?.is_none();
            if published && name.parse().ok().and_then(|id: u32| self.table(id)).is_none() {
                withdraw(&*self.storage, &dir)?;
            }
        }
        Ok(())
    }
}

/// A view whose runs hold everything that is visible now, in files that read as the table's schema says.
fn settled_view(
    shared: &Shared,
    table: &Arc<TableInner>,
    target: &Target,
    known: Option<&Record>,
) -> Result<Arc<View>> {
    shared.flush_all()?;
    for attempt in 0.. {
        let view = table.view.load_full();
        if !outdated(shared, table, &view, target, known)? {
            return Ok(view);
        }
        if attempt == 3 {
            break;
        }
        shared.compact_fully(table)?;
    }
    Err(Error::new(
        ErrorKind::Conflict,
        "files of an older schema cannot be rewritten: try again",
    ))
}

/// True if a file of the view does not read as the schema says, so that it must be rewritten first.
///
/// # Errors
/// `Unsupported` naming a file in a format that other programs do not read; those of opening runs.
fn outdated(shared: &Shared, table: &TableInner, view: &View, target: &Target, known: Option<&Record>) -> Result<bool> {
    let mut columns = Columns::new(table, target.schema(), &view.version, shared.settings.publish.delta)?;
    let mut outdated = false;
    for (_, run) in view.version.runs()? {
        let (schema, _) = facts(run, known)?;
        outdated |= columns.in_files_of(schema)?.is_none();
        let format = shared.resolved.components().formats().find(&run.meta().format)?;
        if !format.capabilities.open {
            let message = format!(
                "run {} of table \"{}\" is in format \"{}\", which other programs do not read: set an open format, and \
                 compact",
                run.id(),
                table.name,
                run.meta().format
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    }
    Ok(outdated)
}

/// The number of a run's schema, and whether it holds operands: as the last publication has it, so that runs that were in it need
/// not be opened.
fn facts(run: &Arc<Run>, known: Option<&Record>) -> Result<(u32, bool)> {
    if let Some(facts) = known.and_then(|known| known.facts(run.id())) {
        return Ok(facts);
    }
    let facts = run.row_facts()?;
    Ok((facts.schema, facts.operands > 0))
}

/// Writes a file in place of another.
fn write_file(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> Result<()> {
    replace_file(storage, path, bytes)
}
