//! A memtable with what the engine keeps beside it.

use std::sync::Arc;

use crossbeam_utils::CachePadded;
use kodiak_core::memtable::{Memtable, MemtableFactory};
use kodiak_core::options::Options;
use kodiak_core::wal::SegmentId;
use kodiak_core::{EntryRef, Op, Result, SeqNo};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::room::LOOK_BYTES;
use crate::range_delete::LiveRangeTombstones;
use crate::secondary::{Secondary, SlotIndex};

/// A memtable, its range deletes, and the log segments it depends on.
#[derive(Debug)]
pub struct Slot {
    /// The entries.
    pub entries: Arc<dyn Memtable>,
    /// The range deletes.
    pub tombstones: LiveRangeTombstones,
    /// The first log segment that may hold entries of this memtable.
    first_segment: AtomicU64,
    /// What the log had got by then, bytes.
    log_at_first: AtomicU64,
    /// Present if the memtable takes one writer at a time.
    writer: Option<Mutex<()>>,
    /// What secondary indexes have of its entries.
    pub indexes: Box<[SlotIndex]>,
    /// Bytes of memory from which all memtables are looked at.
    look_at: AtomicUsize,
    times: CachePadded<Times>,
}

/// Apart from the rest, which does not change with every write.
#[derive(Debug)]
struct Times {
    /// When the oldest entry was written, microseconds since 1970; `u64::MAX` while there is none.
    oldest: AtomicU64,
    /// When the newest entry was written, rounded up to [`GRAIN`].
    newest: AtomicU64,
}

/// Microseconds, a power of two: the time of the newest entry is noted once in so many, not with every write.
const GRAIN: u64 = 1024;

impl Slot {
    /// An empty memtable whose entries will be in `segment` of the log or later ones.
    pub fn new(
        factory: &MemtableFactory,
        options: &Options,
        capacity: usize,
        segment: SegmentId,
        indexes: &[Arc<Secondary>],
    ) -> Result<Self> {
        // The entries of an index are most often smaller than rows.
        let for_index = |index: &Arc<Secondary>| SlotIndex::new(index, factory, options, capacity / 4);
        Ok(Self {
            indexes: indexes.iter().map(for_index).collect::<Result<_>>()?,
            entries: (factory.create)(options, capacity)?,
            tombstones: LiveRangeTombstones::default(),
            first_segment: AtomicU64::new(segment),
            log_at_first: AtomicU64::new(0),
            look_at: AtomicUsize::new(capacity.min(LOOK_BYTES)),
            writer: (!factory.capabilities.concurrent_insert).then(|| Mutex::new(())),
            times: CachePadded::new(Times {
                oldest: AtomicU64::new(u64::MAX),
                newest: AtomicU64::new(0),
            }),
        })
    }

    /// Inserts an entry or a range delete.
    #[inline]
    pub fn insert(&self, entry: EntryRef<'_>) -> Result<()> {
        if entry.op == Op::RangeDelete {
            self.tombstones.insert(entry.key, entry.value, entry.seq);
            return Ok(());
        }
        let _one_at_a_time = self.writer.as_ref().map(Mutex::lock);
        self.entries.insert(entry)
    }

    /// Notes when entries were written.
    #[inline]
    pub fn touch(&self, micros: u64) {
        if micros < self.times.oldest.load(Ordering::Relaxed) {
            self.times.oldest.fetch_min(micros, Ordering::Relaxed);
        }
        let rounded = micros | (GRAIN - 1);
        if rounded > self.times.newest.load(Ordering::Relaxed) {
            self.times.newest.fetch_max(rounded, Ordering::Relaxed);
        }
    }

    /// When its oldest and newest entries were written, microseconds since 1970; the latter rounded up to about a
    /// millisecond.
    pub fn times(&self) -> (u64, u64) {
        let newest = self.times.newest.load(Ordering::Relaxed);
        (self.times.oldest.load(Ordering::Relaxed).min(newest), newest)
    }

    /// True if it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.tombstones.len() == 0
    }

    /// Bytes of memory.
    #[inline]
    pub fn memory(&self) -> usize {
        let memory = self.entries.memory() + self.tombstones.memory();
        match self.indexes.is_empty() {
            true => memory,
            false => memory + self.indexes.iter().map(|index| index.entries.memory()).sum::<usize>(),
        }
    }

    /// True if it has grown so much that all memtables are to be looked at.
    #[inline]
    pub fn has_grown(&self) -> bool {
        self.memory() >= self.look_at.load(Ordering::Relaxed)
    }

    /// It has been looked at; the next look is due when it has grown by [`LOOK_BYTES`], or is full with `size` bytes.
    pub fn look_again(&self, size: usize) {
        self.look_at
            .store(size.min(self.memory() + LOOK_BYTES), Ordering::Relaxed);
    }

    /// How many bytes the log had got when its entries began, as [`WalStats::bytes`](kodiak_core::wal::WalStats::bytes) counts them.
    pub fn log_at_first(&self) -> u64 {
        self.log_at_first.load(Ordering::Relaxed)
    }

    /// The first log segment that it depends on.
    pub fn first_segment(&self) -> SegmentId {
        self.first_segment.load(Ordering::Acquire)
    }

    /// An empty memtable depends on no older segment than the active one, and on nothing of what the log has got, `log_bytes`;
    /// the caller keeps writers out.
    pub fn advance_segment(&self, active: SegmentId, log_bytes: u64) {
        if self.is_empty() {
            self.first_segment.store(active, Ordering::Release);
            self.log_at_first.store(log_bytes, Ordering::Relaxed);
        }
    }

    /// The newest version of `key` not newer than `seq`.
    #[inline]
    pub fn get(&self, key: &[u8], seq: SeqNo) -> Option<kodiak_core::memtable::Version<'_>> {
        self.entries.get(key, seq)
    }
}
