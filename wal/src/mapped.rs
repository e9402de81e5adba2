//! The log `mapped`: segments mapped into memory, so that an append makes no system call.
//!
//! A batch is encoded and checksummed outside the lock, all but the 16 bytes that depend on its place. What is left to do
//! under the lock, adding those and copying a few hundred bytes to the mapping, is so little that to do it side by side, as
//! in Johnson et al., "Aether: A Scalable Approach to Logging" (VLDB 2010), was measured slower: then each append must wait
//! until those before it are complete, and one that is not running holds up all. What is in the mapping survives a killed
//! process; mode `full` adds a sync, made by one thread for all that wait.
//!
//! While all appends are in mode `full` the mapping is of no use. Their records are gathered in memory then, and written past
//! the system's cache by the thread that syncs, which saves a call for each (see [`Blocks`]). A first append in another mode
//! goes back to the mapping.
//!
//! A thread of the log's own prepares the next segment and touches its pages, so that neither a new file nor page faults
//! delay an append.

mod prepare;
mod sync;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use kodiak_core::batch::Batch;
use kodiak_core::options::Options;
use kodiak_core::prefetch::prefetch;
use kodiak_core::registry::Component;
use kodiak_core::storage::MappedLog as Mapping;
use kodiak_core::wal::{Appended, SegmentId, SyncMode, Wal, WalCapabilities, WalContext, WalFactory, WalStats};
use kodiak_core::{Error, ErrorKind, Result, SeqNo};
use parking_lot::{Mutex, MutexGuard};

use crate::blocks::Blocks;
use crate::company::{Arrivals, Rounds};
use crate::files::{Blank, Files, Segment};
use crate::format::SEGMENT_HEADER;
use crate::head::Head;
use crate::metrics::{Health, Metrics};
use crate::staging::{Encoding, Staged, close_record};
use prepare::{Preparer, Wanted};
use sync::Syncing;

/// So often an append looks at a lock that is taken, which is longer than another one holds it, before it asks the system to wait.
const SPINS: u32 = 100;

/// The factory of `mapped`.
pub const FACTORY: WalFactory = WalFactory {
    component: Component {
        name: "mapped",
        summary: "Memory-mapped, preallocated segments: in normal mode a commit is a checksum and a copy, without a system call.",
        options: &[],
    },
    capabilities: WalCapabilities {
        durable: true,
        needs_mapping: true,
        append_without_system_call: true,
    },
    replay: crate::replay::replay,
    open,
};

fn open(context: WalContext, _options: &Options, first: SegmentId) -> Result<Box<dyn Wal>> {
    let (files, previous) = Files::open(&context, first)?;
    let files = Arc::new(files);
    let ready = Ready::new(files.blank(first, 0)?)?;
    let (segment, header) = files.segment(ready.blank, true, previous, 0);
    let active = Arc::new(Active::new(segment, ready.mapping, &header));
    let preparer = Preparer::start(files.clone())?;
    Ok(Box::new(MappedLog {
        direct_io: context.direct_io,
        encoding: Encoding::new(&context),
        metrics: Metrics::new(context.metrics, FACTORY.component.name),
        health: Health::default(),
        durable: AtomicBool::new(false),
        arrivals: Arrivals::default(),
        synced: CachePadded::default(),
        place: CachePadded::new(Mutex::new(Place {
            head: Head::new(),
            attention: active.segment.file.len() / 2,
            active,
            gathered: None,
            durable_run: 0,
            requested: 0,
            retired: None,
        })),
        syncing: Mutex::default(),
        rounds: Rounds::default(),
        preparer,
        files,
    }))
}

/// A file ready to become the active segment.
#[derive(Debug)]
struct Ready {
    blank: Blank,
    mapping: Arc<dyn Mapping>,
}

impl Ready {
    fn new(blank: Blank) -> Result<Self> {
        let mapping = blank.file.map()?.ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "this storage cannot map files for writing; use the log \"segment\"",
            )
            .with_setting("wal.kind")
        })?;
        Ok(Self { blank, mapping })
    }
}

/// A segment with its mapping.
#[derive(Debug)]
struct Active {
    segment: Arc<Segment>,
    mapping: Arc<dyn Mapping>,
}

impl Active {
    fn new(segment: Segment, mapping: Arc<dyn Mapping>, header: &[u8]) -> Self {
        mapping.write(0, header);
        Self {
            segment: Arc::new(segment),
            mapping,
        }
    }
}

#[derive(Debug)]
struct MappedLog {
    files: Arc<Files>,
    direct_io: bool,
    encoding: Encoding,
    metrics: Metrics,
    health: Health,
    /// Something was appended in mode `full`, or synced: segments prepared from now on are made durable ahead of need.
    durable: AtomicBool,
    arrivals: Arrivals,
    /// The position up to which the disk has the log.
    synced: CachePadded<AtomicU64>,
    place: CachePadded<Mutex<Place>>,
    syncing: Mutex<Syncing>,
    /// Of threads that sync, well or badly.
    rounds: Rounds,
    preparer: Preparer,
}

/// What gives a batch its place. Locked for tens of nanoseconds, or for a rotation. In the order in which it lies in memory: what
/// each append changes is in the cache line of the lock, what it only looks at in the next.
#[derive(Debug)]
#[repr(C)]
struct Place {
    head: Head,
    /// The offset at which the preparer is to be asked for the next segment.
    attention: u64,
    active: Arc<Active>,
    /// Records in mode `full` that wait to be written. While it is there the mapping must be left alone: direct writes of the
    /// block that the log ends in would race with it.
    gathered: Option<Box<Blocks>>,
    /// Appends in mode `full` since the last one in another mode.
    durable_run: u32,
    /// The segment last asked of the preparer.
    requested: SegmentId,
    /// The mapping of the segment before the active one: the preparer drops it, which takes a while.
    retired: Option<Arc<dyn Mapping>>,
}

impl MappedLog {
    /// Makes the next segment the active one, with room for a batch of `record` bytes.
    #[cold]
    fn switch(&self, place: &mut Place, record: u64, sync: bool) -> Result<()> {
        self.stop_gathering(place)?;
        let old = place.active.clone();
        let position = old.segment.base + place.head.end;
        if sync {
            // The next header then promises all of this segment.
            self.sync_all(place)?;
        }
        // No record is lost if this fails, so the log goes on working.
        let ready = self.next_segment(old.segment.number + 1, record, place.requested)?;
        let link = old.segment.link(place.head.end);
        let (segment, header) = self.files.segment(ready.blank, false, Some(link), position);
        let active = Arc::new(Active::new(segment, ready.mapping, &header));
        let mut syncing = self.syncing.lock();
        if link.synced < place.head.end {
            syncing.unsynced.push((old.segment.clone(), place.head.end));
        }
        drop(syncing);
        self.files.closed(old.segment.number);
        place.attention = active.segment.file.len() / 2;
        place.active = active;
        place.retired = Some(old.mapping.clone());
        place.head.end = SEGMENT_HEADER as u64;
        Ok(())
    }

    fn next_segment(&self, number: SegmentId, record: u64, requested: SegmentId) -> Result<Ready> {
        if requested == number
            && let Some(ready) = self.preparer.take(number)
        {
            if ready.blank.file.len() >= SEGMENT_HEADER as u64 + record {
                return Ok(ready);
            }
            self.files.give_back(ready.blank);
        }
        Ready::new(self.files.blank(number, record)?)
    }

    /// Asks the preparer for the next segment.
    #[cold]
    fn look_ahead(&self, place: &mut Place) {
        place.attention = u64::MAX;
        place.requested = place.active.segment.number + 1;
        let retired = place.retired.take();
        self.preparer.request(Wanted {
            number: place.requested,
            durable: self.durable.load(Ordering::Relaxed),
            touch: place.gathered.is_none(),
            retired,
        });
    }

    /// Looks at the lock for as long as another append may hold it, before the system is asked to wait.
    #[inline]
    fn lock_place(&self) -> MutexGuard<'_, Place> {
        for _ in 0..SPINS {
            if let Some(place) = self.place.try_lock() {
                return place;
            }
            std::hint::spin_loop();
        }
        self.place.lock()
    }

    /// Gives a batch its place and puts it there; returns what it is told, and the position of its end.
    ///
    /// The copy is made under the lock as well: it takes less time than telling another processor that it is done would.
    #[inline]
    fn put(&self, mut staged: Staged<'_>, mode: SyncMode) -> Result<(Appended, u64)> {
        let len = staged.len();
        let mut guard = self.lock_place();
        let place = &mut *guard;
        self.health.check()?;
        if place.head.end + len > place.active.segment.file.len() {
            self.switch(place, len, mode == SyncMode::Full)?;
        }
        self.choose_way(place, mode)?;
        let first_seq = place.head.number(staged.count);
        let active = &*place.active;
        let segment = &active.segment;
        let records = staged.seal(&segment.identity, first_seq, segment.synced.load(Ordering::Relaxed));
        if let Some(gathered) = &mut place.gathered {
            gathered.push(records);
        } else if mode == SyncMode::Full {
            // A sync write-protects the page again, and the fault that a store would take costs more than a system call.
            let written = segment.file.write_at(place.head.end, records);
            written.map_err(|error| self.health.poison(&self.metrics, error))?;
        } else {
            active.mapping.write(place.head.end as usize, records);
        }
        if mode == SyncMode::Full {
            self.arrivals.count_one();
        }
        let due = place.head.extend(len);
        let result = (
            Appended {
                first_seq,
                segment: segment.number,
            },
            segment.base + place.head.end,
        );
        if place.head.end > place.attention {
            self.look_ahead(place);
        }
        if due {
            self.metrics.publish(|| self.snapshot(place));
        }
        Ok(result)
    }

    fn snapshot(&self, place: &Place) -> WalStats {
        place.head.stats(self.files.count())
    }

    fn publish(&self) {
        self.metrics.publish(|| self.snapshot(&self.place.lock()));
    }
}

impl Wal for MappedLog {
    fn append(&self, batch: &Batch, now_micros: u64, mode: SyncMode) -> Result<Appended> {
        // What gives records their places was last changed by another processor, perhaps: it comes while this one is encoded.
        prefetch(&raw const *self.place);
        self.encoding.staged(batch, now_micros, |staged| {
            let (appended, position) = self.put(staged, mode)?;
            if mode == SyncMode::Full {
                self.durable.store(true, Ordering::Relaxed);
                self.sync_to(position)?;
            }
            Ok(appended)
        })
    }

    fn next_seq(&self) -> SeqNo {
        self.place.lock().head.next_seq
    }

    fn skip_to(&self, next_seq: SeqNo) {
        self.place.lock().head.next_seq = next_seq;
    }

    fn sync(&self) -> Result<()> {
        self.durable.store(true, Ordering::Relaxed);
        let place = self.place.lock();
        self.health.check()?;
        let position = place.active.segment.base + place.head.end;
        drop(place);
        self.sync_to(position)?;
        self.publish();
        Ok(())
    }

    fn rotate(&self) -> Result<SegmentId> {
        let mut place = self.place.lock();
        self.health.check()?;
        // A log that has been synced to its last records is one whose user wants them promised.
        let synced = place.active.segment.synced.load(Ordering::Acquire);
        self.switch(&mut place, 0, synced > 0)?;
        let number = place.active.segment.number;
        drop(place);
        self.publish();
        Ok(number)
    }

    fn active_segment(&self) -> SegmentId {
        self.place.lock().active.segment.number
    }

    fn release(&self, before: SegmentId) -> Result<()> {
        // What is not needed any more need not be synced.
        self.syncing
            .lock()
            .unsynced
            .retain(|(segment, _)| segment.number >= before);
        self.files.release(before)
    }

    fn check(&self) -> Result<()> {
        self.health.check()
    }

    /// Marks the end of the log, and gives back the segment that was prepared in vain.
    fn close(&self) -> Result<()> {
        if let Some(ready) = self.preparer.stop() {
            self.files.give_back(ready.blank);
        }
        let mut place = self.place.lock();
        if self.health.check().is_err() {
            return Ok(());
        }
        self.metrics.publish(|| self.snapshot(&place));
        if self.stop_gathering(&mut place).is_err() {
            return Ok(());
        }
        let segment = &place.active.segment;
        let now = self.files.storage.now_micros();
        let synced = segment.synced.load(Ordering::Acquire);
        let close = close_record(&segment.identity, place.head.end_seq, now, synced);
        if place.head.end + close.len() as u64 <= segment.file.len() {
            place.active.mapping.write(place.head.end as usize, &close);
            place.head.end += close.len() as u64;
        }
        // From here on nobody writes to the mapping.
        self.health.close();
        self.files.give_up_space(&place.active.segment, place.head.end);
        Ok(())
    }

    fn stats(&self) -> WalStats {
        let place = self.place.lock();
        self.metrics.complete(self.snapshot(&place))
    }
}

impl Drop for MappedLog {
    fn drop(&mut self) {
        // It cannot fail.
        drop(self.close());
    }
}
