//! Counters of an open log: its own snapshot, and the `metrics` facade.

use std::sync::atomic::{AtomicU64, Ordering};

use kodiak_core::storage::Storage;
use kodiak_core::wal::WalStats;
use kodiak_core::{Error, ErrorKind, Result};
use metrics::{Counter, Gauge, Histogram};
use parking_lot::Mutex;

/// Appends between two publications to the facade.
///
/// A log counts under the lock that it takes for an append anyway and publishes the differences from time to time, since a
/// call into a recorder per append would cost more than the tenth part of it.
pub(crate) const PUBLISH_EVERY: u64 = 1024;

/// What a log publishes.
#[derive(Debug)]
pub(crate) struct Metrics {
    handles: Option<Handles>,
    syncs: AtomicU64,
    failures: AtomicU64,
}

struct Handles {
    records: Counter,
    bytes: Counter,
    syncs: Counter,
    failures: Counter,
    sync_seconds: Histogram,
    segment_bytes: Gauge,
    segments: Gauge,
    published: Mutex<WalStats>,
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handles")
            .field("published", &self.published)
            .finish_non_exhaustive()
    }
}

impl Metrics {
    /// Fetches the handles once, if `on`. They are labelled with the kind of log.
    pub fn new(on: bool, kind: &'static str) -> Self {
        let handles = on.then(|| Handles {
            records: metrics::counter!("kodiak_wal_records_total", "kind" => kind),
            bytes: metrics::counter!("kodiak_wal_bytes_total", "kind" => kind),
            syncs: metrics::counter!("kodiak_wal_syncs_total", "kind" => kind),
            failures: metrics::counter!("kodiak_wal_failures_total", "kind" => kind),
            sync_seconds: metrics::histogram!("kodiak_wal_sync_seconds", "kind" => kind),
            segment_bytes: metrics::gauge!("kodiak_wal_active_segment_bytes", "kind" => kind),
            segments: metrics::gauge!("kodiak_wal_segments", "kind" => kind),
            published: Mutex::new(WalStats::default()),
        });
        Self {
            handles,
            syncs: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// Runs one sync, times it and counts it if it succeeds.
    pub fn time_sync<R>(&self, storage: &dyn Storage, sync: impl FnOnce() -> Result<R>) -> Result<R> {
        let start = self.handles.as_ref().map(|_| storage.monotonic_nanos());
        let result = sync()?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        if let (Some(handles), Some(start)) = (&self.handles, start) {
            handles
                .sync_seconds
                .record(storage.monotonic_nanos().saturating_sub(start) as f64 * 1e-9);
        }
        Ok(result)
    }

    /// Completes a snapshot with the counters kept here.
    pub fn complete(&self, stats: WalStats) -> WalStats {
        WalStats {
            syncs: self.syncs.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            ..stats
        }
    }

    /// Tells the recorder what has happened since the last time. `snapshot` is called only if there is one.
    #[inline]
    pub fn publish(&self, snapshot: impl FnOnce() -> WalStats) {
        if let Some(handles) = &self.handles {
            handles.publish(&self.complete(snapshot()));
        }
    }

    fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

impl Handles {
    #[cold]
    fn publish(&self, now: &WalStats) {
        let mut before = self.published.lock();
        self.records.increment(now.records.saturating_sub(before.records));
        self.bytes.increment(now.bytes.saturating_sub(before.bytes));
        self.syncs.increment(now.syncs.saturating_sub(before.syncs));
        self.failures.increment(now.failures.saturating_sub(before.failures));
        self.segment_bytes.set(now.active_bytes as f64);
        self.segments.set(now.segments as f64);
        // Snapshots of two threads may arrive in the other order: what was counted is never counted again.
        before.records = before.records.max(now.records);
        before.bytes = before.bytes.max(now.bytes);
        before.syncs = before.syncs.max(now.syncs);
        before.failures = before.failures.max(now.failures);
    }
}

/// Whether a log still accepts work.
#[derive(Debug, Default)]
pub(crate) struct Health {
    poisoned: std::sync::atomic::AtomicBool,
    cause: Mutex<Option<Error>>,
}

impl Health {
    /// # Errors
    /// `Unavailable` after a failure.
    #[inline]
    pub fn check(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) {
            Err(self.unavailable())
        } else {
            Ok(())
        }
    }

    #[cold]
    fn unavailable(&self) -> Error {
        let error = Error::new(
            ErrorKind::Unavailable,
            "the log accepts no more writes, because an earlier write or sync failed; reopen the database",
        );
        match &*self.cause.lock() {
            Some(cause) => error.with_source(cause.replicate()),
            None => error,
        }
    }

    /// Ends the log: every later check fails.
    #[cold]
    pub fn close(&self) {
        let closed = || Error::new(ErrorKind::Unavailable, "the log was closed");
        self.cause.lock().get_or_insert_with(closed);
        self.poisoned.store(true, Ordering::Release);
    }

    /// Poisons the log because of `error`, which is returned for the one who met it.
    #[cold]
    pub fn poison(&self, metrics: &Metrics, error: Error) -> Error {
        metrics.failed();
        self.cause.lock().get_or_insert_with(|| error.replicate());
        self.poisoned.store(true, Ordering::Release);
        tracing::error!(%error, "the write-ahead log failed and accepts no more writes");
        error
    }
}
