//! Runs as versions hold them: opened when they are first needed, removed with their last user.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use kodiak_core::block::FoundVersion;
use kodiak_core::compaction::{RunId, RunShape};
use kodiak_core::storage::ReadableFile;
use kodiak_core::{ErrorKind, Result, SeqNo};
use kodiak_storage::MemoryReader;

use super::context::RunContext;
use super::reader::{KeyHash, RunReader};
use super::removals::Removal;
use super::writer::DISTINCT;
use crate::components::outside::OutsideFile;
use crate::manifest::RunMeta;
use crate::primary::locator::Locator;
use crate::range_delete::RangeTombstones;

/// What to do about a file that is missing: not every opening looks whether all are there.
const MISSING: &str = "the manifest names it: if this database is open for reading only and another process writes to it, open it \
                       anew; else restore a backup, or do without the file after `kodiak repair`";

/// What the sidecar of a run says of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowFacts {
    /// The number of the schema that they are of.
    pub schema: u32,
    /// Partial updates and operands among them.
    pub operands: u64,
    /// It is known that no two of them have the same key.
    pub distinct: bool,
}

/// A file that is open, and its path.
pub type HeldFile = (PathBuf, Arc<dyn ReadableFile>);

/// What becomes of the files of a run with its last user.
const STAY: u8 = 0;
/// That user removes them.
const GO: u8 = 1;
/// They are handed over to be removed, unless that user [leaves](Run::leave) the run.
const GO_ELSEWHERE: u8 = 2;

/// A run: what the manifest says of it, and a reader once it has been needed. Its files go when the last user drops a run
/// that has been marked [`obsolete`](Self::mark_obsolete) or [`replaced`](Self::mark_replaced).
pub struct Run {
    meta: RunMeta,
    context: Arc<RunContext>,
    reader: ArcSwapOption<RunReader>,
    /// Second chance: set by each use, cleared when the limit on open files looks for one to close.
    used: AtomicBool,
    busy: AtomicBool,
    /// Once somebody has asked for them.
    facts: OnceLock<RowFacts>,
    fate: AtomicU8,
}

impl Run {
    /// The run of a manifest entry; no file is touched.
    pub fn new(meta: RunMeta, context: Arc<RunContext>) -> Self {
        Self {
            meta,
            context,
            reader: ArcSwapOption::empty(),
            used: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            facts: OnceLock::new(),
            fate: AtomicU8::new(STAY),
        }
    }

    /// Its number.
    pub fn id(&self) -> RunId {
        self.meta.id
    }

    /// What the manifest says of it.
    pub fn meta(&self) -> &RunMeta {
        &self.meta
    }

    /// Smallest user key of entries and range deletes.
    #[inline]
    pub fn min_key(&self) -> &[u8] {
        &self.meta.min_key
    }

    /// Largest user key of entries, or end of a range delete.
    #[inline]
    pub fn max_key(&self) -> &[u8] {
        &self.meta.max_key
    }

    /// The paths of data file and sidecar.
    ///
    /// # Errors
    /// `InvalidSettings` if its format is not registered.
    pub fn paths(&self) -> Result<[PathBuf; 2]> {
        let format = self.context.formats.find(&self.meta.format)?;
        let data = self.context.data_path(self.meta.id, format.capabilities.extension);
        Ok([data, self.context.sidecar_path(self.meta.id)])
    }

    /// The data file, as one that someone else wrote.
    ///
    /// # Errors
    /// As [`OutsideFile::open`].
    pub fn outside(&self) -> Result<OutsideFile> {
        let [data, _] = self.paths()?;
        OutsideFile::open(self.context.storage.open(&data)?).map_err(|error| error.with_file(&data))
    }

    /// Bytes of both files.
    pub fn bytes(&self) -> u64 {
        self.meta.data_bytes + self.meta.sidecar_bytes
    }

    /// The reader, opened now if it is not open.
    ///
    /// # Errors
    /// `Corruption` naming the file, `NotFound`, `Io`.
    pub fn reader(self: &Arc<Self>) -> Result<Arc<RunReader>> {
        if let Some(reader) = self.reader.load_full() {
            self.mark_used();
            return Ok(reader);
        }
        self.open()
    }

    /// Data file and sidecar, if the run is open: they can be read even if another process has removed them.
    ///
    /// # Errors
    /// As [`paths`](Self::paths).
    pub fn held_files(&self) -> Result<Vec<HeldFile>> {
        let Some(reader) = self.reader.load_full() else {
            return Ok(Vec::new());
        };
        let [data, sidecar] = self.paths()?;
        let bytes = MemoryReader::new(sidecar.clone(), reader.sidecar().bytes().clone());
        Ok(vec![(data, Arc::clone(&reader.file)), (sidecar, Arc::new(bytes))])
    }

    #[inline]
    fn mark_used(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    #[cold]
    fn open(self: &Arc<Self>) -> Result<Arc<RunReader>> {
        let reader = RunReader::open(&self.meta, &self.context).map_err(|error| match error.kind() {
            ErrorKind::NotFound => error.with_advice(MISSING),
            _ => error,
        })?;
        let reader = Arc::new(reader);
        self.used.store(true, Ordering::Relaxed);
        self.reader.store(Some(Arc::clone(&reader)));
        self.context.open_runs.opened(self);
        Ok(reader)
    }

    /// Closes the reader unless it was used since the last call; true if it is closed now.
    pub fn try_close(&self) -> bool {
        if self.used.swap(false, Ordering::Relaxed) {
            return false;
        }
        self.reader.store(None);
        true
    }

    /// The newest version of `key` not newer than `seq`. A put that need not be `dated` may be told with a later sequence number
    /// than its own.
    #[inline]
    pub fn get(
        self: &Arc<Self>,
        key: &[u8],
        hash: &mut KeyHash,
        seq: SeqNo,
        dated: bool,
    ) -> Result<Option<FoundVersion>> {
        let guard = self.reader.load();
        match guard.as_ref() {
            Some(reader) => {
                self.mark_used();
                reader.get(key, hash, seq, dated)
            }
            None => self.open()?.get(key, hash, seq, dated),
        }
    }

    /// False if the filter knows that no version of `key` is in the run.
    pub fn may_contain(self: &Arc<Self>, key: &[u8], hash: &mut KeyHash) -> Result<bool> {
        Ok(self.reader()?.may_contain(key, hash))
    }

    /// The version of `key` that a primary index has located, if it is there.
    #[inline]
    pub fn version_at(self: &Arc<Self>, key: &[u8], locator: &Locator) -> Result<Option<FoundVersion>> {
        let guard = self.reader.load();
        match guard.as_ref() {
            Some(reader) => {
                self.mark_used();
                reader.version_at(key, locator)
            }
            None => self.open()?.version_at(key, locator),
        }
    }

    /// The newest range delete not newer than `seq` that covers `key`; 0 for none. No file is touched if there are none.
    pub fn covering(self: &Arc<Self>, key: &[u8], seq: SeqNo) -> Result<SeqNo> {
        if self.meta.range_deletes == 0 {
            return Ok(0);
        }
        Ok(self.reader()?.tombstones.covering(key, seq))
    }

    /// The range deletes.
    pub fn tombstones(self: &Arc<Self>) -> Result<RangeTombstones> {
        if self.meta.range_deletes == 0 {
            return Ok(RangeTombstones::default());
        }
        Ok(self.reader()?.tombstones.clone())
    }

    /// What there is to know of its rows without reading them. The run is opened only the first time.
    ///
    /// # Errors
    /// Those of [`reader`](Self::reader).
    pub fn row_facts(self: &Arc<Self>) -> Result<RowFacts> {
        if let Some(facts) = self.facts.get() {
            return Ok(*facts);
        }
        let reader = self.reader()?;
        let meta = reader.sidecar().meta();
        let facts = RowFacts {
            schema: reader.schema().number(),
            operands: meta.merges,
            distinct: meta.properties.iter().any(|(name, _)| name == DISTINCT),
        };
        Ok(*self.facts.get_or_init(|| facts))
    }

    /// Takes the run as input of a compaction; false if another one has it.
    pub fn try_take(&self) -> bool {
        !self.busy.swap(true, Ordering::AcqRel)
    }

    /// Gives the run back.
    pub fn give_back(&self) {
        self.busy.store(false, Ordering::Release);
    }

    /// The run is no longer in any version, or never was: its files go with the last user, who waits for it.
    pub fn mark_obsolete(&self) {
        // If it was replaced as well, somebody may wait for its files to go.
        let _ = self
            .fate
            .compare_exchange(STAY, GO, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Others are in the place of the run: its files go once the last user is done, who may be a program's read or write, and does
    /// not wait for it.
    pub fn mark_replaced(&self) {
        if self.fate.swap(GO_ELSEWHERE, Ordering::AcqRel) != GO_ELSEWHERE {
            self.context.replaced.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The end of a use by somebody who has the time to remove files. So a compaction that nobody reads beside removes
    /// its inputs itself, and at once.
    pub fn leave(self: Arc<Self>) {
        if let Some(mut run) = Arc::into_inner(self)
            && *run.fate.get_mut() == GO_ELSEWHERE
        {
            *run.fate.get_mut() = STAY;
            run.context.removals.carry_out(run.removal());
        }
    }

    fn removal(&self) -> Removal {
        let paths = self
            .paths()
            .inspect_err(|error| tracing::warn!(%error, "the files of an obsolete run could not be removed"));
        Removal {
            reader: self.reader.swap(None),
            context: Arc::clone(&self.context),
            paths: paths.into_iter().flatten().collect(),
            id: self.meta.id,
            blocks: self.meta.blocks as u32,
        }
    }

    /// What compaction policies see.
    pub fn shape(&self) -> RunShape {
        let meta = &self.meta;
        RunShape {
            id: meta.id,
            min_key: Arc::clone(&meta.min_key),
            max_key: Arc::clone(&meta.max_key),
            bytes: self.bytes(),
            entries: meta.entries,
            tombstones: meta.tombstones + meta.range_deletes,
            dead: 0,
            min_seq: meta.min_seq,
            max_seq: meta.max_seq,
            oldest_micros: meta.oldest_micros,
            newest_micros: meta.newest_micros,
            busy: self.busy.load(Ordering::Acquire),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        match *self.fate.get_mut() {
            STAY => {}
            GO => self.removal().carry_out(),
            _ => self.context.removals.hand_over(self.removal()),
        }
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("meta", &self.meta).finish_non_exhaustive()
    }
}
