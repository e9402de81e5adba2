//! Backpressure: writers slow down and stop when flushes or compactions are behind, and every stall has a cause.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use kodiak_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use serde::Serialize;

use super::room::Memtables;
use super::shared::Shared;
use crate::settings::Settings;

/// Why writers wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StallCause {
    /// Frozen memtables wait for their flush, and the active one is full.
    MemtableFull,
    /// Level 0 holds too many sorted runs.
    Level0,
    /// Compaction is behind by too many bytes.
    PendingBytes,
}

impl StallCause {
    /// Every cause.
    pub const ALL: [Self; 3] = [Self::MemtableFull, Self::Level0, Self::PendingBytes];

    /// A short name for metrics and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::MemtableFull => "memtable_full",
            Self::Level0 => "l0_runs",
            Self::PendingBytes => "pending_bytes",
        }
    }
}

const FREE: u8 = 0;
const SLOW: u8 = 1;
const STOP: u8 = 2;

/// While writers are slowed down: a pause of this length ...
const PAUSE: Duration = Duration::from_millis(1);
/// ... after so many bytes, which makes 16 MiB/s.
const BYTES_PER_PAUSE: u64 = 16 << 10;

/// The present pressure, and what it has cost.
#[derive(Debug)]
pub(crate) struct Stalls {
    level: AtomicU8,
    cause: AtomicU8,
    refreshing: Mutex<()>,
    bytes: AtomicU64,
    counts: [AtomicU64; 3],
    nanos: [AtomicU64; 3],
    l0_slowdown: usize,
    l0_stop: usize,
    pending_slowdown: u64,
    pending_stop: u64,
}

impl Stalls {
    pub fn new(settings: &Settings) -> Self {
        Self {
            level: AtomicU8::new(FREE),
            cause: AtomicU8::new(0),
            refreshing: Mutex::new(()),
            bytes: AtomicU64::new(0),
            counts: Default::default(),
            nanos: Default::default(),
            l0_slowdown: settings.backpressure.l0_slowdown,
            l0_stop: settings.backpressure.l0_stop,
            pending_slowdown: settings.backpressure.pending_slowdown,
            pending_stop: settings.backpressure.pending_stop,
        }
    }

    /// Lets a write of `bytes` in, now or after a pause.
    ///
    /// # Errors
    /// The failure of the flush or compaction that writers would wait for; `Unavailable` when the database is closed.
    #[inline]
    pub fn admit(&self, shared: &Shared, bytes: usize) -> Result<()> {
        match self.level.load(Ordering::Relaxed) {
            FREE => Ok(()),
            _ => self.wait(shared, bytes as u64),
        }
    }

    #[cold]
    fn wait(&self, shared: &Shared, bytes: u64) -> Result<()> {
        let mut stall = Stall::begin(self, shared);
        if self.level.load(Ordering::Relaxed) == SLOW {
            let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
            if before / BYTES_PER_PAUSE != (before + bytes) / BYTES_PER_PAUSE {
                std::thread::sleep(PAUSE);
                stall.end();
            }
            return Ok(());
        }
        let ended = self.wait_while_stopped(shared, &mut stall);
        // Also one that has ended in a failure.
        stall.end();
        ended
    }

    fn wait_while_stopped(&self, shared: &Shared, stall: &mut Stall<'_>) -> Result<()> {
        tracing::debug!(cause = stall.cause.name(), "writers stop");
        let mut seen = shared.signals.progress.count();
        while self.level.load(Ordering::Acquire) == STOP {
            shared.check_open()?;
            if let Some(trouble) = shared.trouble.lock().any() {
                return Err(trouble.replicate());
            }
            seen = shared.signals.progress.wait(seen, Duration::from_millis(100));
            self.refresh(shared);
            stall.goes_on();
        }
        Ok(())
    }

    fn cause(&self) -> StallCause {
        StallCause::ALL[usize::from(self.cause.load(Ordering::Relaxed))]
    }

    /// Stops writers at once: the active memtable is full and nothing more may be frozen.
    pub fn stop_for_memtable(&self) {
        self.set(STOP, StallCause::MemtableFull);
    }

    fn set(&self, level: u8, cause: StallCause) {
        self.cause.store(cause as u8, Ordering::Relaxed);
        self.level.store(level, Ordering::Release);
    }

    /// Looks at all tables anew. One thread at a time: what an earlier look has found never replaces what a later one has.
    pub fn refresh(&self, shared: &Shared) {
        let _one_at_a_time = self.refreshing.lock();
        let tables = shared.all_tables();
        let memtables = Memtables::of(&tables, shared.settings.memtable.size as usize);
        let (mut level0, mut pending) = (0, 0);
        for table in tables {
            let view = table.view.load();
            level0 = level0.max(view.version.levels.first().map_or(0, |level| level.sorted_runs.len()));
            // What cannot be read makes compactions fail, which tell of it.
            let shape = view.version.shape(0, &[]);
            pending += shape.map_or(0, |shape| table.policy.pending_bytes(&shape));
        }
        if memtables.stop(shared) {
            self.set(STOP, StallCause::MemtableFull);
        } else if level0 >= self.l0_stop {
            self.set(STOP, StallCause::Level0);
        } else if pending >= self.pending_stop {
            self.set(STOP, StallCause::PendingBytes);
        } else if level0 >= self.l0_slowdown {
            self.set(SLOW, StallCause::Level0);
        } else if pending >= self.pending_slowdown {
            self.set(SLOW, StallCause::PendingBytes);
        } else {
            self.level.store(FREE, Ordering::Release);
        }
    }

    /// How often and how long (nanoseconds) writers have waited for each cause.
    pub fn totals(&self) -> Vec<(StallCause, u64, u64)> {
        let totals = self.counts.iter().zip(&self.nanos);
        StallCause::ALL
            .into_iter()
            .zip(totals)
            .map(|(cause, (count, nanos))| (cause, count.load(Ordering::Relaxed), nanos.load(Ordering::Relaxed)))
            .collect()
    }
}

/// The wait of one writer. Its time goes to the cause that holds at the time: a writer that has waited for a flush may go on
/// waiting for compactions.
struct Stall<'s> {
    stalls: &'s Stalls,
    shared: &'s Shared,
    cause: StallCause,
    since: u64,
}

impl<'s> Stall<'s> {
    fn begin(stalls: &'s Stalls, shared: &'s Shared) -> Self {
        Self {
            stalls,
            shared,
            cause: stalls.cause(),
            since: shared.storage.monotonic_nanos(),
        }
    }

    /// What has passed goes to the cause so far, if there is another one now.
    fn goes_on(&mut self) {
        let cause = self.stalls.cause();
        if cause != self.cause && self.stalls.level.load(Ordering::Acquire) == STOP {
            self.end();
            self.cause = cause;
        }
    }

    fn end(&mut self) {
        let now = self.shared.storage.monotonic_nanos();
        let nanos = now.saturating_sub(self.since);
        self.since = now;
        let index = self.cause as usize;
        self.stalls.counts[index].fetch_add(1, Ordering::Relaxed);
        self.stalls.nanos[index].fetch_add(nanos, Ordering::Relaxed);
        self.shared.counters.stalled(self.cause, nanos);
    }
}

/// The error for work that a closing database gives up.
pub(crate) fn closing() -> Error {
    Error::new(ErrorKind::Unavailable, "the database is closing")
}
