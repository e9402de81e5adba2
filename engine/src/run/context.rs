//! What the runs of a table share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kodiak_core::compaction::RunId;
use kodiak_core::filter::FilterFactory;
use kodiak_core::format::FormatFactory;
use kodiak_core::registry::Registry;
use kodiak_core::storage::Storage;

use super::cache::BlockCache;
use super::open_runs::OpenRuns;
use super::removals::Removals;
use crate::typed::Schemas;

/// What the runs of a table share.
#[derive(Debug)]
pub struct RunContext {
    /// The files.
    pub storage: Arc<dyn Storage>,
    /// The table's directory.
    pub dir: PathBuf,
    /// The table's schemas.
    pub schemas: Arc<Schemas>,
    /// The formats that runs may be in.
    pub formats: Registry<FormatFactory>,
    /// The filters that runs may have.
    pub filters: Registry<FilterFactory>,
    /// The cache of decoded blocks.
    pub cache: Arc<BlockCache>,
    /// Which runs are open.
    pub open_runs: Arc<OpenRuns>,
    /// Files that another thread removes.
    pub removals: Arc<Removals>,
    /// Runs that were replaced and whose files are still there.
    pub replaced: AtomicUsize,
    /// The table was dropped: its directory goes with the last run or handle.
    pub dropped: AtomicBool,
}

impl Drop for RunContext {
    fn drop(&mut self) {
        if self.dropped.load(Ordering::Acquire)
            && let Err(error) = self.storage.remove_dir_all(&self.dir)
        {
            // The next opening removes it.
            tracing::warn!(%error, "the directory of a dropped table could not be removed");
        }
    }
}

impl RunContext {
    /// The same for runs in another directory.
    pub fn in_dir(&self, dir: PathBuf) -> Self {
        Self {
            storage: Arc::clone(&self.storage),
            dir,
            schemas: Arc::clone(&self.schemas),
            formats: self.formats.clone(),
            filters: self.filters.clone(),
            cache: Arc::clone(&self.cache),
            open_runs: Arc::clone(&self.open_runs),
            removals: Arc::clone(&self.removals),
            replaced: AtomicUsize::new(0),
            dropped: AtomicBool::new(false),
        }
    }

    /// The table was dropped.
    pub fn mark_dropped(&self) {
        self.dropped.store(true, Ordering::Release);
    }

    /// The path of a run's data file.
    pub fn data_path(&self, id: RunId, extension: &str) -> PathBuf {
        self.dir.join(format!("{id:010}.{extension}"))
    }

    /// The path of a run's sidecar.
    pub fn sidecar_path(&self, id: RunId) -> PathBuf {
        self.dir.join(format!("{id:010}.meta"))
    }
}
