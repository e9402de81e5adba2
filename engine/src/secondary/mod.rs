//! Secondary indexes: rows in the order of other columns than the key's.
//!
//! An index (`indexes/`) of each definition maps *index key ++ user key* to a mark. It holds what the runs do, and
//! is committed with the manifest edit that changes the runs, as the primary index is; what is in memtables is in a memtable of
//! index entries beside each (`memory.rs`), filled by the same writes.
//!
//! **Entries are candidates.** For every version of a row that some reader may see there is an entry; there may be others. A read
//! (`scan.rs`) takes the candidates of all places in order and keeps those whose row has that index key at the moment that is read
//! at. So an index needs no versions of its own, and snapshots are exact, older than the index or not.
//!
//! **Maintenance.** *Lazy*: flushes add entries without reading anything; what has become void is taken away by the compaction
//! that drops the version (`update.rs`). *Eager*: a flush looks up the rows that it replaces, and marks their entries void from
//! then on. As long as that was always so, the index is *exact*: readers of the newest state need no look at rows, and answer
//! from the index alone. An ingestion marks them, too, but takes none away, because readers begin before it is visible.
//! Tables with a merge operator are maintained lazily, and rows that are known by operands only are
//! *pending*: the index has their keys, and reads resolve them (`pending.rs`). So are those whose entries are too long for a tree.
//!
//! This is "validation" of Luo and Carey, "Efficient data ingestion and query processing for LSM-based storage systems" (PVLDB
//! 12(5), 2019), and the lazy and eager stand-alone indexes of Qadah, Hristidis et al., "A comparative study of secondary indexing
//! techniques in LSM-based NoSQL databases" (SIGMOD 2018), but for where entries are: in a tree, not in an LSM tree of their own.
//!
//! **Unique** indexes are checked before a write is logged, one writer of a table at a time (`unique.rs`).

mod batch;
mod before;
mod changes;
mod check;
mod codec;
mod columns;
mod create;
mod definition;
mod entry;
mod memory;
mod open;
mod pending;
mod read;
mod renew;
mod replaced;
mod scan;
mod scope;
mod source;
mod stats;
mod unique;
mod update;
mod walk;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use kodiak_core::compaction::RunId;
use kodiak_core::index::{Index, IndexStats, IndexView, Root, Upsert};
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, ErrorKind, Result};
use parking_lot::{Mutex, MutexGuard};

pub(crate) use check::{verify_closed, verify_open};
use codec::IndexCodec;
pub(crate) use create::check_alteration;
pub(crate) use definition::KeyExtractors;
pub use definition::{IndexColumn, IndexDefinition, IndexedBy, KeyExtractor, StoredDefinition};
pub(crate) use entry::{ENTRY, Mark, NewestMark};
pub(crate) use memory::{SlotIndex, check_ingested, check_ingestion, guard, replay};
pub use read::{IndexBatches, IndexEntries, IndexRead};
use stats::Counters;
pub use stats::SecondaryStats;
pub(crate) use update::{Postponed, SecondaryChange, SecondaryUpdate};

use crate::manifest::SecondaryMeta;

/// The name of an index file.
pub(crate) fn file_name(id: RunId) -> String {
    // The last part is that of primary indexes, so that what knows these as no runs knows these, too.
    format!("{id:010}.secondary.{}", crate::primary::EXTENSION)
}

pub(crate) fn path(dir: &Path, id: RunId) -> PathBuf {
    dir.join(file_name(id))
}

/// What index files of secondary indexes are made with.
pub(crate) fn operator() -> Arc<dyn Upsert> {
    Arc::new(entry::NewestMark)
}

/// An index of an open table.
#[derive(Debug)]
pub(crate) struct Secondary {
    pub name: String,
    pub definition: StoredDefinition,
    extractor: Option<Arc<dyn KeyExtractor>>,
    /// The codec used last, with the number of the schema that it is for.
    codec: ArcSwapOption<(u32, Arc<IndexCodec>)>,
    /// Its file could not be maintained: it is built anew by the next opening.
    broken: AtomicBool,
    pending: pending::Pending,
    counters: Counters,
}

impl Secondary {
    fn new(name: &str, definition: StoredDefinition, extractor: Option<Arc<dyn KeyExtractor>>) -> Self {
        Self {
            name: name.to_owned(),
            definition,
            extractor,
            codec: ArcSwapOption::empty(),
            broken: AtomicBool::new(false),
            pending: pending::Pending::default(),
            counters: Counters::default(),
        }
    }

    /// The codec for rows of a schema.
    ///
    /// # Errors
    /// Those of [`IndexCodec::new`].
    fn codec(&self, schema: &TableSchema) -> Result<Arc<IndexCodec>> {
        if let Some(known) = &*self.codec.load()
            && known.0 == schema.number()
        {
            return Ok(Arc::clone(&known.1));
        }
        let made = Arc::new(IndexCodec::new(&self.definition, schema, self.extractor.as_ref())?);
        self.codec.store(Some(Arc::new((schema.number(), Arc::clone(&made)))));
        Ok(made)
    }

    fn give_up(&self, error: &Error) {
        if !self.broken.swap(true, Ordering::AcqRel) {
            tracing::error!(%error, index = self.name, "a secondary index is given up: the next opening builds it anew");
        }
    }

    fn check_whole(&self) -> Result<()> {
        if self.broken.load(Ordering::Acquire) {
            let message = format!(
                "index \"{}\" could not be kept up to date: reopen the database, which builds it anew",
                self.name
            );
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        Ok(())
    }
}

/// An index file; it goes with its last user once it is obsolete.
#[derive(Debug)]
pub(crate) struct IndexFile {
    index: Option<Box<dyn Index>>,
    storage: Arc<dyn Storage>,
    path: PathBuf,
    obsolete: AtomicBool,
}

impl IndexFile {
    fn new(index: Box<dyn Index>, storage: Arc<dyn Storage>, path: PathBuf) -> Self {
        Self {
            index: Some(index),
            storage,
            path,
            obsolete: AtomicBool::new(false),
        }
    }

    fn index(&self) -> Result<&dyn Index> {
        let gone = || Error::new(ErrorKind::Unavailable, "an index file was closed");
        self.index.as_deref().ok_or_else(gone)
    }

    fn mark_obsolete(&self) {
        self.obsolete.store(true, Ordering::Release);
    }
}

impl Drop for IndexFile {
    fn drop(&mut self) {
        self.index = None;
        if *self.obsolete.get_mut()
            && let Err(error) = self.storage.remove(&self.path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, "an index file that is not needed any more could not be removed");
        }
    }
}

/// The state of an index that belongs to the runs of a view.
#[derive(Debug)]
pub(crate) struct SecondaryView {
    pub index: Arc<Secondary>,
    view: Arc<dyn IndexView>,
    exact: bool,
    // After the view, which reads it.
    _file: Arc<IndexFile>,
}

impl SecondaryView {
    /// The state of the index file.
    pub fn tree(&self) -> &Arc<dyn IndexView> {
        &self.view
    }
}

/// The states of all indexes of a view.
pub(crate) type SecondaryViews = Arc<[Arc<SecondaryView>]>;

/// An index, open for maintenance.
#[derive(Debug)]
struct OpenSecondary {
    index: Arc<Secondary>,
    file: Arc<IndexFile>,
    meta: SecondaryMeta,
    /// It is being filled: flushes add to it, but nothing is committed or forgotten.
    building: bool,
    /// The manifest has it.
    recorded: bool,
}

impl OpenSecondary {
    fn root(&self) -> Root {
        Root(self.meta.file.root)
    }

    /// The state of a root.
    fn view(&self, root: Root) -> Result<Arc<SecondaryView>> {
        Ok(Arc::new(SecondaryView {
            index: Arc::clone(&self.index),
            view: self.file.index()?.view(root)?,
            exact: self.meta.exact,
            _file: Arc::clone(&self.file),
        }))
    }

    /// The manifest names this root from now on: others are given up.
    fn moved_to(&mut self, root: Root) {
        self.meta.file.root = root.0;
        let Ok(index) = self.file.index() else { return };
        for other in index.roots() {
            if other != root
                && let Err(error) = index.release(other)
            {
                // Its pages stay in use until the next opening.
                tracing::warn!(%error, "a root of a secondary index could not be released");
            }
        }
    }
}

/// The secondary indexes of a table.
///
/// Its locks are taken in this order: `defining`, `switching`, the primary index, `open`; then `Shared::manifest` and
/// `TableInner::edit`. The gate that keeps writers out comes before or after `open`, as needed, and only together with `switching`:
/// whoever has one of the two and waits for the other has that, so that no two wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Secondaries {
    /// Writers have something to do.
    any: AtomicBool,
    /// What writers maintain, those being built included. Changed while writers are kept out.
    indexes: ArcSwap<Vec<Arc<Secondary>>>,
    /// Held by the one job that changes the runs while it brings the indexes up to date and puts all in force.
    open: Mutex<Vec<OpenSecondary>>,
    /// Why rows cannot be written: an extractor that is not registered.
    unmaintained: ArcSwapOption<Error>,
    /// Held by the one writer that may be between checking unique indexes and making its rows visible.
    checking: Mutex<()>,
    /// Held by whoever creates or drops an index.
    defining: Mutex<()>,
    /// Held by whoever has both `open` and the gate, from before it has either: ingestions, and whoever puts an index in force or
    /// withdraws it.
    switching: Mutex<()>,
    /// The kinds of files and numbers about them, by name, as last seen: a job may hold the indexes for long.
    files: Mutex<HashMap<String, (String, IndexStats)>>,
}

impl Secondaries {
    /// Keeps others from creating, dropping and choosing indexes.
    pub fn define(&self) -> MutexGuard<'_, ()> {
        self.defining.lock()
    }

    /// To be called before whoever needs both takes the indexes or keeps writers out.
    pub fn switch(&self) -> MutexGuard<'_, ()> {
        self.switching.lock()
    }

    /// What writers maintain.
    pub fn all(&self) -> Arc<Vec<Arc<Secondary>>> {
        self.indexes.load_full()
    }

    /// The columns of all indexes, by their numbers, with the name of one that has the column.
    pub fn columns(&self) -> Vec<(u32, String)> {
        let of = |index: &Arc<Secondary>| match &index.definition.by {
            IndexedBy::Columns(columns) => columns
                .iter()
                .map(|column| (column.number, index.name.clone()))
                .collect(),
            IndexedBy::Extractor(_) => Vec::new(),
        };
        self.indexes.load().iter().flat_map(of).collect()
    }

    /// Numbers about each; about its file those of before, while they are being brought up to date. What can be read are the
    /// indexes of `states`.
    pub fn stats(&self, states: &[Arc<SecondaryView>]) -> Vec<SecondaryStats> {
        if let Some(open) = self.open.try_lock() {
            self.note(&open);
        }
        let files = self.files.lock();
        let of = |index: &Arc<Secondary>| {
            let state = states.iter().find(|state| Arc::ptr_eq(&state.index, index));
            let (kind, file) = files.get(&index.name).cloned().unwrap_or_default();
            let (exact, readable) = (state.is_some_and(|state| state.exact), state.is_some());
            SecondaryStats::of(index, kind, file, exact, !readable)
        };
        self.indexes.load().iter().map(of).collect()
    }

    /// Other files, `open`, are in force.
    fn note(&self, open: &[OpenSecondary]) {
        let file = |open: &OpenSecondary| {
            let stats = open.file.index().ok()?.stats();
            Some((open.index.name.clone(), (open.meta.file.kind.clone(), stats)))
        };
        *self.files.lock() = open.iter().filter_map(file).collect();
    }

    /// The table is dropped: the files go with their last readers.
    pub fn mark_dropped(&self) {
        self.open.lock().iter().for_each(|open| open.file.mark_obsolete());
    }

    fn set(&self, indexes: Vec<Arc<Secondary>>) {
        let any = !indexes.is_empty() || self.unmaintained.load().is_some();
        self.indexes.store(Arc::new(indexes));
        self.any.store(any, Ordering::Release);
    }

    /// True if writers have something to do.
    #[inline]
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }
}
