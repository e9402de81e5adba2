//! What all handles and background threads of an open database share.

mod signals;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crossbeam_utils::sync::ShardedLock;
use kodiak_core::batch::TableId;
use kodiak_core::compaction::RunId;
use kodiak_core::storage::{Lock, Storage};
use kodiak_core::wal::Wal;
use kodiak_core::{Error, ErrorKind, Result, SeqNo};
use parking_lot::{Mutex, RwLock};

use super::background::{Background, Trouble};
use super::counters::Counters;
use super::snapshot::Snapshots;
use super::stall::Stalls;
use super::table_state::TableInner;
use super::visibility::Visibility;
use crate::components::{IndexPools, Resolved};
use crate::manifest::{Change, Manifest, SortedRunId, State, VersionEdit};
use crate::merge::MergeOperators;
use crate::run::{BlockCache, OpenRuns, Removals};
use crate::secondary::KeyExtractors;
use crate::settings::Settings;
pub(crate) use signals::{Signal, Signals};

/// The tables, by number and by name.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub by_id: HashMap<TableId, Arc<TableInner>>,
    pub by_name: BTreeMap<String, TableId>,
}

/// So many numbers of runs are reserved at once.
const RESERVED: u64 = 4096;

/// Whether a database takes work.
const OPEN: u8 = 0;
const CLOSED: u8 = 1;

/// An open database.
#[derive(Debug)]
pub(crate) struct Shared {
    pub storage: Arc<dyn Storage>,
    pub dir: PathBuf,
    pub settings: Settings,
    pub resolved: Resolved,
    pub operators: MergeOperators,
    /// Held while the database is open for writing.
    pub lock: Mutex<Option<Box<dyn Lock>>>,
    /// `None` in a database open for reading only.
    pub wal: Option<Box<dyn Wal>>,
    /// Writers hold it shared from taking their sequence numbers to inserting; whoever freezes a memtable, exclusively.
    pub gate: ShardedLock<()>,
    pub visibility: Visibility,
    pub snapshots: Arc<Snapshots>,
    pub tables: RwLock<Tables>,
    pub manifest: Mutex<Option<Manifest>>,
    /// In a database open for reading only: what its manifest said but for the runs, which the tables have.
    pub as_read: Option<State>,
    pub next_run: AtomicU64,
    /// With a catalogue: numbers of runs below this one may be used. Whatever has a number from the manifest's next one on was then not
    /// there before this opening, so that what is left over can be told from it later.
    reserved_runs: AtomicU64,
    /// Until they have been looked for: the runs as of the opening, where others are left over.
    pub left_overs: Mutex<Option<State>>,
    pub next_sorted_run: AtomicU64,
    pub cache: Arc<BlockCache>,
    pub open_runs: Arc<OpenRuns>,
    /// Files of replaced runs.
    pub removals: Arc<Removals>,
    /// The memory of all primary indexes, once there are any.
    pub index_pools: IndexPools,
    /// The memory of all secondary indexes, once there are any.
    pub secondary_pools: IndexPools,
    pub extractors: KeyExtractors,
    pub stalls: Stalls,
    pub counters: Counters,
    pub signals: Signals,
    /// What background work has failed with, and not succeeded since.
    pub trouble: Mutex<Trouble>,
    state: AtomicU8,
    /// Held while a compaction is planned and its inputs are taken.
    pub planning: Mutex<()>,
    /// Held while memtables are flushed, so that nothing newer than a checkpoint gets into its runs. Taken before `gate`,
    /// which is taken before `manifest`.
    pub flushing: Mutex<()>,
    /// Held by the one ingestion that may run.
    pub ingesting: Mutex<()>,
    /// The last sequence number that replay found in the log.
    pub(super) log_end: AtomicU64,
    pub identity: u64,
}

/// What a new [`Shared`] is made of.
pub(crate) struct SharedParts {
    pub storage: Arc<dyn Storage>,
    pub dir: PathBuf,
    pub resolved: Resolved,
    pub operators: MergeOperators,
    pub extractors: KeyExtractors,
    pub lock: Option<Box<dyn Lock>>,
    pub wal: Option<Box<dyn Wal>>,
    pub manifest: Option<Manifest>,
    pub as_read: Option<State>,
    pub last_seq: SeqNo,
    pub next_run: RunId,
    pub next_sorted_run: SortedRunId,
    pub cache: Arc<BlockCache>,
    pub open_runs: Arc<OpenRuns>,
    pub counters: Counters,
    pub identity: u64,
}

impl Shared {
    pub fn new(parts: SharedParts) -> Self {
        let reserves = parts.resolved.catalogue.is_some() && parts.manifest.is_some();
        Self {
            storage: parts.storage,
            dir: parts.dir,
            stalls: Stalls::new(&parts.resolved.settings),
            index_pools: IndexPools::primary(&parts.resolved.settings),
            secondary_pools: IndexPools::secondary(&parts.resolved.settings),
            extractors: parts.extractors,
            settings: parts.resolved.settings.clone(),
            resolved: parts.resolved,
            operators: parts.operators,
            lock: Mutex::new(parts.lock),
            wal: parts.wal,
            gate: ShardedLock::new(()),
            visibility: Visibility::new(parts.last_seq),
            snapshots: Arc::default(),
            tables: RwLock::default(),
            manifest: Mutex::new(parts.manifest),
            as_read: parts.as_read,
            next_run: AtomicU64::new(parts.next_run),
            reserved_runs: AtomicU64::new(if reserves { 0 } else { RunId::MAX }),
            left_overs: Mutex::default(),
            next_sorted_run: AtomicU64::new(parts.next_sorted_run),
            cache: parts.cache,
            open_runs: parts.open_runs,
            removals: Arc::default(),
            counters: parts.counters,
            signals: Signals::default(),
            trouble: Mutex::default(),
            state: AtomicU8::new(OPEN),
            planning: Mutex::new(()),
            flushing: Mutex::new(()),
            ingesting: Mutex::new(()),
            identity: parts.identity,
            log_end: AtomicU64::new(0),
        }
    }

    /// The sequence number up to which writes are visible: those acknowledged before the call, at least.
    #[inline]
    pub fn visible(&self) -> SeqNo {
        self.visibility.newest(|| self.check_log())
    }

    fn check_log(&self) -> Result<()> {
        self.wal.as_ref().map_or(Ok(()), |wal| wal.check())
    }

    /// During opening: the log has been replayed up to `last_seq`.
    pub fn replayed(&self, last_seq: SeqNo) {
        self.log_end.store(last_seq, Ordering::Release);
    }

    /// The sequence number that the next write gets, or would get once there is a log.
    pub fn next_seq(&self) -> SeqNo {
        match &self.wal {
            Some(wal) => wal.next_seq(),
            None => self.visible() + 1,
        }
    }

    /// Sequence numbers up to `last_seq` have been given out, and are visible; nobody else writes.
    pub fn recovered(&self, last_seq: SeqNo) {
        if let Some(wal) = &self.wal {
            wal.skip_to(last_seq + 1);
        }
        self.visibility.reset(last_seq);
    }

    /// Makes `first..=last` visible as soon as everything before is. `synced`: the disk has the log up to there.
    ///
    /// # Errors
    /// `Unavailable` if the log failed meanwhile: a write before this one may have been given up then, and never become visible.
    #[inline]
    pub fn publish(&self, first: SeqNo, last: SeqNo, synced: bool) -> Result<()> {
        self.visibility.publish(first, last, synced, || self.check_log())
    }

    pub fn now_micros(&self) -> u64 {
        self.storage.now_micros()
    }

    pub fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) == CLOSED
    }

    /// Takes no more work; true the first time.
    pub fn close(&self) -> bool {
        self.state.swap(CLOSED, Ordering::AcqRel) == OPEN
    }

    #[inline]
    pub fn check_open(&self) -> Result<()> {
        if self.is_closed() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the database is closed: open it again",
            ));
        }
        Ok(())
    }

    /// Fails if writes are not taken.
    #[inline]
    pub fn check_writable(&self) -> Result<&dyn Wal> {
        self.check_open()?;
        match &self.wal {
            Some(wal) => Ok(&**wal),
            None => Err(Error::new(
                ErrorKind::Unavailable,
                "the database is open for reading only",
            )),
        }
    }

    /// Whether the log keeps what is in memtables.
    pub fn logs_durably(&self) -> bool {
        self.resolved.wal.factory.capabilities.durable
    }

    /// The number of a new run or index.
    ///
    /// # Errors
    /// Those of the manifest, which with a catalogue is told of numbers before they are used.
    pub fn new_run_id(&self) -> Result<RunId> {
        let id = self.next_run.fetch_add(1, Ordering::Relaxed);
        if id >= self.reserved_runs.load(Ordering::Acquire) {
            self.reserve_runs(id, self.manifest.lock().as_mut().ok_or_else(super::stall::closing)?)?;
        }
        Ok(id)
    }

    /// [`new_run_id`](Self::new_run_id), for who holds the manifest.
    ///
    /// # Errors
    /// Those of the manifest.
    pub fn new_run_id_in(&self, manifest: &mut Manifest) -> Result<RunId> {
        let id = self.next_run.fetch_add(1, Ordering::Relaxed);
        self.reserve_runs(id, manifest)?;
        Ok(id)
    }

    #[cold]
    fn reserve_runs(&self, id: RunId, manifest: &mut Manifest) -> Result<()> {
        if id < self.reserved_runs.load(Ordering::Acquire) {
            return Ok(());
        }
        let state = manifest.state();
        let next = Change::NextIds {
            run: (id + RESERVED).max(state.next_run),
            table: state.next_table,
            sorted_run: state.next_sorted_run,
        };
        manifest.append(&VersionEdit::new().with(next))?;
        self.reserved_runs.store(id + RESERVED, Ordering::Release);
        Ok(())
    }

    pub fn new_sorted_run_id(&self) -> SortedRunId {
        self.next_sorted_run.fetch_add(1, Ordering::Relaxed)
    }

    /// Every table, in the order of their numbers.
    pub fn all_tables(&self) -> Vec<Arc<TableInner>> {
        let mut tables: Vec<_> = self.tables.read().by_id.values().cloned().collect();
        tables.sort_by_key(|table| table.id);
        tables
    }

    /// The table of a number.
    pub fn table(&self, id: TableId) -> Option<Arc<TableInner>> {
        self.tables.read().by_id.get(&id).cloned()
    }
}

/// Keeps a database open: when the last handle goes, background work ends and the log is synced.
#[derive(Debug)]
pub(crate) struct Open {
    pub shared: Arc<Shared>,
    pub background: Mutex<Option<Background>>,
    closing: AtomicBool,
}

impl Open {
    pub fn new(shared: Arc<Shared>, background: Option<Background>) -> Self {
        Self {
            shared,
            background: Mutex::new(background),
            closing: AtomicBool::new(false),
        }
    }

    /// Ends background work, makes what was written as durable as the log allows, gives the lock back.
    pub fn close(&self) -> Result<()> {
        if self.closing.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let saved = self.save();
        self.shared.close();
        if let Some(background) = self.background.lock().take() {
            background.stop(&self.shared);
        }
        self.shared.look_at_all();
        let noted = saved.and_then(|()| self.shared.note_log_end());
        // Handles of programs may keep the log alive; whoever opens the database next must have its files to himself.
        let ended = self.shared.wal.as_ref().map_or(Ok(()), |wal| wal.close());
        self.shared.manifest.lock().take();
        self.shared.lock.lock().take();
        noted.and(ended)
    }

    fn save(&self) -> Result<()> {
        let shared = &self.shared;
        let Some(wal) = &shared.wal else { return Ok(()) };
        if shared.logs_durably() {
            return wal.sync();
        }
        // Without a log, what is in memory would be lost.
        shared.flush_all()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "the database could not be closed cleanly");
        }
    }
}
