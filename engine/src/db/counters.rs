//! Counters: what the engine has done since it was opened, for `stats` and for the `metrics` facade.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

use super::facade::Facade;
use super::stall::StallCause;
use super::stats::Stats;

const STRIPES: usize = 8;

/// A counter that threads add to without sharing a cache line.
#[derive(Debug, Default)]
pub(crate) struct Striped([CachePadded<AtomicU64>; STRIPES]);

impl Striped {
    #[inline]
    pub fn add(&self, value: u64) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static STRIPE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
        }
        STRIPE.with(|&stripe| self.0[stripe].fetch_add(value, Ordering::Relaxed));
    }

    pub fn sum(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.load(Ordering::Relaxed)).sum()
    }
}

/// What one kind of background work has done.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub jobs: AtomicU64,
    pub bytes_read: AtomicU64,
    pub bytes_written: AtomicU64,
    pub nanos: AtomicU64,
}

impl Work {
    fn done(&self, read: u64, written: u64, nanos: u64) {
        self.jobs.fetch_add(1, Ordering::Relaxed);
        self.bytes_read.fetch_add(read, Ordering::Relaxed);
        self.bytes_written.fetch_add(written, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// All counters of a database.
pub(crate) struct Counters {
    pub user_bytes: Striped,
    pub user_writes: Striped,
    pub flushes: Work,
    pub compactions: Work,
    pub moves: AtomicU64,
    facade: Option<Facade>,
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counters")
            .field("flushes", &self.flushes)
            .field("compactions", &self.compactions)
            .finish_non_exhaustive()
    }
}

impl Counters {
    /// Counters from zero; with `facade` they are told to the program's metrics recorder as well.
    pub fn new(facade: bool) -> Self {
        Self {
            user_bytes: Striped::default(),
            user_writes: Striped::default(),
            flushes: Work::default(),
            compactions: Work::default(),
            moves: AtomicU64::new(0),
            facade: facade.then(Facade::new),
        }
    }

    #[inline]
    pub fn written(&self, bytes: u64, writes: u64) {
        self.user_bytes.add(bytes);
        self.user_writes.add(writes);
        if let Some(facade) = &self.facade {
            facade.user_bytes.increment(bytes);
            facade.user_writes.increment(writes);
        }
    }

    pub fn flushed(&self, written: u64, nanos: u64) {
        self.flushes.done(0, written, nanos);
        if let Some(facade) = &self.facade {
            facade.flush_seconds.record(nanos as f64 / 1e9);
            facade.flush_bytes.increment(written);
        }
    }

    pub fn compacted(&self, read: u64, written: u64, nanos: u64) {
        self.compactions.done(read, written, nanos);
        if let Some(facade) = &self.facade {
            facade.compaction_seconds.record(nanos as f64 / 1e9);
            facade.compaction_read_bytes.increment(read);
            facade.compaction_written_bytes.increment(written);
        }
    }

    /// How things stand, for a recorder of metrics if there is to be one.
    pub fn tell(&self, stats: impl FnOnce() -> Stats) {
        if let Some(facade) = &self.facade {
            facade.tell(&stats());
        }
    }

    /// An attempt to publish a table in the background has taken so long, and published it or failed.
    pub fn published(&self, nanos: u64, done: bool) {
        if let Some(facade) = &self.facade {
            match done {
                true => facade.publication_seconds.record(nanos as f64 / 1e9),
                false => facade.publication_failures.increment(1),
            }
        }
    }

    pub fn stalled(&self, cause: StallCause, nanos: u64) {
        if let Some(facade) = &self.facade {
            facade.stall_seconds[cause as usize].record(nanos as f64 / 1e9);
        }
    }
}
