//! The log `segment`: one write for all batches that wait.
//!
//! A batch is encoded into a shared buffer. The first thread that needs it on disk becomes the *leader* and hands the whole
//! buffer to the operating system in one positioned write, and syncs it if it must; the others wait, and find their batches
//! done with it. In mode `none` nobody needs anything, and the buffer is written when it is large.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kodiak_core::batch::Batch;
use kodiak_core::options::Options;
use kodiak_core::registry::Component;
use kodiak_core::wal::{Appended, SegmentId, SyncMode, Wal, WalCapabilities, WalContext, WalFactory, WalStats};
use kodiak_core::{Result, SeqNo};
use parking_lot::{Mutex, MutexGuard};

use crate::blocks::Blocks;
use crate::company::{Arrivals, Company, Rounds};
use crate::files::{Files, Segment};
use crate::format::SEGMENT_HEADER;
use crate::head::Head;
use crate::metrics::{Health, Metrics};
use crate::staging::{Encoding, close_record};

/// In mode `none`, bytes that gather before they are written.
const BUFFER_BYTES: usize = 256 * 1024;
/// Bytes that gather behind a slow leader before appenders wait for it, whatever their mode.
const BUFFER_LIMIT: usize = 8 << 20;
/// How often to look whether a leader is done before going to sleep: some microseconds.
const SPINS: u32 = 200;

/// The factory of `segment`.
pub const FACTORY: WalFactory = WalFactory {
    component: Component {
        name: "segment",
        summary: "Preallocated segments written by one large write per group of batches; works on every storage.",
        options: &[],
    },
    capabilities: WalCapabilities {
        durable: true,
        needs_mapping: false,
        append_without_system_call: false,
    },
    replay: crate::replay::replay,
    open,
};

fn open(context: WalContext, _options: &Options, first: SegmentId) -> Result<Box<dyn Wal>> {
    let (files, previous) = Files::open(&context, first)?;
    let blank = files.blank(first, 0)?;
    let (active, header) = files.segment(blank, true, previous, 0);
    active.file.write_at(0, &header)?;
    let mut blocks = Blocks::default();
    blocks.begin(first, 0, &header);
    Ok(Box::new(SegmentLog {
        files,
        direct_io: context.direct_io,
        encoding: Encoding::new(&context),
        metrics: Metrics::new(context.metrics, FACTORY.component.name),
        health: Health::default(),
        rounds: Rounds::default(),
        arrivals: Arrivals::default(),
        state: Mutex::new(State {
            active: Arc::new(active),
            head: Head::new(),
            buffer: blocks,
            idle_buffer: Blocks::default(),
            written: SEGMENT_HEADER as u64,
            synced: 0,
            leading: false,
            company: Company::default(),
            unsynced: Vec::new(),
            wants_sync: false,
        }),
    }))
}

#[derive(Debug)]
struct SegmentLog {
    files: Files,
    direct_io: bool,
    encoding: Encoding,
    metrics: Metrics,
    health: Health,
    state: Mutex<State>,
    /// Of leaders, well or badly.
    rounds: Rounds,
    arrivals: Arrivals,
}

/// Positions count the bytes of the log since it was opened; offsets those of the active segment.
#[derive(Debug)]
struct State {
    active: Arc<Segment>,
    head: Head,
    /// The records before the end that were not handed to the operating system.
    buffer: Blocks,
    /// The buffer that the last leader has written.
    idle_buffer: Blocks,
    /// The position up to which the operating system has the log.
    written: u64,
    /// The position up to which the disk has it.
    synced: u64,
    /// A leader is at work. The active segment is not changed meanwhile.
    leading: bool,
    company: Company,
    /// Closed segments that were not synced to their end, oldest first.
    unsynced: Vec<Arc<Segment>>,
    /// Something in the active segment was appended in mode `full`.
    wants_sync: bool,
}

type Guard<'a> = MutexGuard<'a, State>;

impl State {
    fn position(&self) -> u64 {
        self.active.base + self.head.end
    }

    /// Bytes that were not handed to the operating system.
    fn gathered(&self) -> usize {
        self.buffer.unwritten().1.len()
    }
}

impl SegmentLog {
    /// Waits until there is no leader.
    fn calm<'a>(&'a self, mut state: Guard<'a>) -> Result<Guard<'a>> {
        while state.leading {
            state = self.round_ended(state);
        }
        self.health.check()?;
        Ok(state)
    }

    /// Waits until the leader has finished.
    fn round_ended<'a>(&'a self, state: Guard<'a>) -> Guard<'a> {
        let seen = self.rounds.ended();
        drop(state);
        self.rounds.wait_beyond(seen);
        self.state.lock()
    }

    /// Waits until the log is written, or synced, up to `target`; does it if nobody else is at it.
    fn settle<'a>(&'a self, mut state: Guard<'a>, target: u64, sync: bool) -> Result<Guard<'a>> {
        loop {
            if (if sync { state.synced } else { state.written }) >= target {
                return Ok(state);
            }
            self.health.check()?;
            if !state.leading {
                state = self.lead(state, sync)?;
            } else if sync || !self.soon_calm(&mut state) && state.leading {
                state = self.round_ended(state);
            }
        }
    }

    /// Waits a moment for the leader, who may only have to write; false if it takes longer. To be woken takes several times as
    /// long as a write to the system's cache.
    fn soon_calm(&self, state: &mut Guard<'_>) -> bool {
        let before = self.rounds.ended();
        MutexGuard::unlocked(state, || {
            (0..SPINS).any(|_| {
                std::hint::spin_loop();
                self.rounds.ended() != before
            })
        })
    }

    /// Writes what has gathered, and syncs it if asked. Nobody else may be leading.
    fn lead<'a>(&'a self, mut state: Guard<'a>, sync: bool) -> Result<Guard<'a>> {
        state.leading = true;
        let storage = self.files.storage.as_ref();
        let mut alone = false;
        if sync {
            let company = state.company;
            MutexGuard::unlocked(&mut state, || company.wait(&self.arrivals, storage));
            alone = state.company.begin(&self.arrivals);
        }
        let mut buffer = std::mem::take(&mut state.idle_buffer);
        std::mem::swap(&mut buffer, &mut state.buffer);
        let active = state.active.clone();
        let (end, position) = (state.head.end, state.position());
        // Everything before the buffer is on disk, the segment's size and name included.
        let direct = sync && self.direct_io && state.synced == state.written;
        let unsynced = if sync {
            state.buffer.follow(&buffer);
            std::mem::take(&mut state.unsynced)
        } else {
            state.buffer.begin(active.number, end, &[]);
            Vec::new()
        };
        let begun = storage.monotonic_nanos();
        let result = MutexGuard::unlocked(&mut state, || {
            if direct {
                return self.metrics.time_sync(storage, || {
                    self.files
                        .wait_awake(alone, || self.files.write_durably(&active, &mut buffer))
                });
            }
            let (offset, unwritten) = buffer.unwritten();
            if !unwritten.is_empty() {
                active.file.write_at(offset, unwritten)?;
            }
            if sync {
                self.files
                    .wait_awake(alone, || self.sync_segments(&unsynced, &active, end))?;
            }
            Ok(())
        });
        state.leading = false;
        if sync {
            let nanos = storage.monotonic_nanos().saturating_sub(begun);
            state.company.end(&self.arrivals, nanos);
        }
        self.rounds.end_one();
        if let Err(error) = result {
            return Err(self.health.poison(&self.metrics, error));
        }
        buffer.shrink(BUFFER_LIMIT);
        state.idle_buffer = buffer;
        state.written = position;
        if sync {
            state.synced = position;
        }
        Ok(state)
    }

    /// Syncs closed segments, then the active one up to `end`: what the latter promises, it promises for the former, too.
    fn sync_segments(&self, unsynced: &[Arc<Segment>], active: &Segment, end: u64) -> Result<()> {
        for segment in unsynced {
            self.files.sync(segment, 0)?;
        }
        self.metrics
            .time_sync(self.files.storage.as_ref(), || self.files.sync(active, end))
    }

    /// Makes the next segment the active one, with room for a batch of `record` bytes. Nobody may be leading.
    fn switch<'a>(&'a self, state: Guard<'a>, record: u64) -> Result<Guard<'a>> {
        let sync = state.wants_sync;
        let mut state = if state.gathered() == 0 && !sync {
            state
        } else {
            self.lead(state, sync)?
        };
        if state.leading || state.gathered() > 0 {
            // Another thread was quicker while this one was writing.
            return Ok(state);
        }
        let old = state.active.clone();
        // No file is lost if this fails, so the log goes on working.
        let blank = self.files.blank(old.number + 1, record)?;
        let base = state.position();
        let (segment, header) = self.files.segment(blank, false, Some(old.link(state.head.end)), base);
        segment
            .file
            .write_at(0, &header)
            .map_err(|error| self.health.poison(&self.metrics, error))?;
        if old.synced.load(Ordering::Acquire) < state.head.end {
            state.unsynced.push(old.clone());
        }
        self.files.closed(old.number);
        state.active = Arc::new(segment);
        state.buffer.begin(old.number + 1, 0, &header);
        state.head.end = SEGMENT_HEADER as u64;
        state.written = state.position();
        state.wants_sync = false;
        Ok(state)
    }

    fn snapshot(&self, state: &State) -> WalStats {
        state.head.stats(self.files.count())
    }
}

impl Wal for SegmentLog {
    fn append(&self, batch: &Batch, now_micros: u64, mode: SyncMode) -> Result<Appended> {
        self.encoding.staged(batch, now_micros, |mut staged| {
            let len = staged.len();
            let mut state = self.state.lock();
            self.health.check()?;
            while state.head.end + len > state.active.file.len() || (state.leading && state.gathered() > BUFFER_LIMIT) {
                state = self.calm(state)?;
                if state.head.end + len > state.active.file.len() {
                    state = self.switch(state, len)?;
                }
            }
            let first_seq = state.head.number(staged.count);
            let active = state.active.clone();
            let records = staged.seal(&active.identity, first_seq, active.synced.load(Ordering::Acquire));
            state.buffer.push(records);
            let due = state.head.extend(len);
            let target = state.position();
            if due {
                self.metrics.publish(|| self.snapshot(&state));
            }
            match mode {
                SyncMode::None if state.gathered() < BUFFER_BYTES || state.leading => {}
                SyncMode::None | SyncMode::Normal => drop(self.settle(state, target, false)?),
                SyncMode::Full => {
                    state.wants_sync = true;
                    self.arrivals.count_one();
                    drop(self.settle(state, target, true)?);
                }
            }
            Ok(Appended {
                first_seq,
                segment: active.number,
            })
        })
    }

    fn next_seq(&self) -> SeqNo {
        self.state.lock().head.next_seq
    }

    fn skip_to(&self, next_seq: SeqNo) {
        self.state.lock().head.next_seq = next_seq;
    }

    fn sync(&self) -> Result<()> {
        let state = self.state.lock();
        self.health.check()?;
        let target = state.position();
        let state = self.settle(state, target, true)?;
        self.metrics.publish(|| self.snapshot(&state));
        Ok(())
    }

    fn rotate(&self) -> Result<SegmentId> {
        let mut state = self.state.lock();
        self.health.check()?;
        let before = state.active.number;
        while state.active.number == before {
            state = self.calm(state)?;
            if state.active.number == before {
                state = self.switch(state, 0)?;
            }
        }
        self.metrics.publish(|| self.snapshot(&state));
        Ok(state.active.number)
    }

    fn active_segment(&self) -> SegmentId {
        self.state.lock().active.number
    }

    fn release(&self, before: SegmentId) -> Result<()> {
        // What is not needed any more need not be synced, nor its file kept open.
        self.state.lock().unsynced.retain(|segment| segment.number >= before);
        self.files.release(before)
    }

    fn check(&self) -> Result<()> {
        self.health.check()
    }

    /// Writes what has gathered and marks the end of the log.
    fn close(&self) -> Result<()> {
        let Ok(mut state) = self.calm(self.state.lock()) else {
            return Ok(());
        };
        let now = self.files.storage.now_micros();
        let active = state.active.clone();
        let synced = active.synced.load(Ordering::Acquire);
        let close = close_record(&active.identity, state.head.end_seq, now, synced);
        if state.head.end + close.len() as u64 <= active.file.len() {
            state.buffer.push(&close);
            state.head.end += close.len() as u64;
        }
        // Under the lock, as this is the last write.
        let (offset, unwritten) = state.buffer.unwritten();
        let written = active.file.write_at(offset, unwritten);
        self.metrics.publish(|| self.snapshot(&state));
        self.health.close();
        self.rounds.end_one();
        self.files.give_up_space(&active, state.head.end);
        written
    }

    fn stats(&self) -> WalStats {
        let state = self.state.lock();
        self.metrics.complete(self.snapshot(&state))
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the end of the log was not written");
        }
    }
}
