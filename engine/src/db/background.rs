//! The threads that flush, compact and publish.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use kodiak_core::{Error, Result};

use super::left_overs;
use super::shared::Shared;
use super::stats::Stats;

/// How long a thread sleeps when nobody wakes it: work that depends on time (TTL) is found then.
const IDLE: Duration = Duration::from_secs(1);
/// How long it waits after a failure before it tries again.
const RETRY: Duration = Duration::from_millis(500);

/// The running threads.
#[derive(Debug)]
pub(crate) struct Background(Vec<JoinHandle<()>>);

impl Background {
    /// One thread that flushes, and the others of `compaction.threads` (at least one) that compact; one that removes files of replaced
    /// runs; with `publish.continuous` one more, that publishes; and one that removes what is left over, if the opening has not.
    ///
    /// # Errors
    /// `Io` if the operating system gives no thread.
    pub fn start(shared: &Arc<Shared>) -> Result<Self> {
        let mut threads = vec![spawn("kodiak-flush", Arc::clone(shared), flush_loop)?];
        for _ in 0..shared.settings.compaction.threads.saturating_sub(1).max(1) {
            threads.push(spawn("kodiak-compact", Arc::clone(shared), compaction_loop)?);
        }
        let remove = |shared: &Shared| shared.removals.serve(|| shared.signals.progress.raise());
        shared.removals.begin();
        threads.push(spawn("kodiak-remove", Arc::clone(shared), remove).inspect_err(|_| shared.removals.end())?);
        if shared.left_overs.lock().is_some() {
            threads.push(spawn("kodiak-clean", Arc::clone(shared), left_overs::remove_later)?);
        }
        if shared.settings.publish.continuous {
            threads.push(spawn("kodiak-publish", Arc::clone(shared), publication_loop)?);
        }
        Ok(Self(threads))
    }

    /// Waits until all have ended; the database must have been closed.
    pub fn stop(self, shared: &Shared) {
        shared.removals.end();
        for thread in self.0 {
            while !thread.is_finished() {
                shared.signals.flush.raise();
                shared.signals.compaction.raise();
                shared.signals.publication.raise();
                std::thread::sleep(Duration::from_micros(200));
            }
            if thread.join().is_err() {
                tracing::error!("a background thread panicked");
            }
        }
        // The last flushes and compactions.
        publish_due(shared);
    }
}

fn spawn(name: &str, shared: Arc<Shared>, work: fn(&Shared)) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || work(&shared))
        .map_err(|source| {
            Error::new(kodiak_core::ErrorKind::Io, "cannot start a background thread").with_source(source)
        })
}

/// What background work has failed with; each kind until it succeeds, or finds nothing left to do.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    pub flush: Option<Error>,
    pub compaction: Option<Error>,
}

impl Trouble {
    /// One of them.
    pub fn any(&self) -> Option<&Error> {
        self.flush.as_ref().or(self.compaction.as_ref())
    }
}

/// Which part of the trouble a thread accounts for.
type Place = fn(&mut Trouble) -> &mut Option<Error>;

fn flush_loop(shared: &Shared) {
    let place: Place = |trouble| &mut trouble.flush;
    let mut seen = 0;
    while !shared.is_closed() {
        let before = shared.signals.flush.count();
        match caught(|| shared.flush_next()) {
            Ok(true) => settle(shared, place, None),
            Ok(false) => {
                forget(shared, place);
                seen = if before == seen {
                    shared.signals.flush.wait(seen, IDLE)
                } else {
                    before
                };
            }
            Err(error) => {
                settle(shared, place, Some(error));
                // Whoever asks for a flush gets a new attempt at once.
                shared.signals.flush.wait(shared.signals.flush.count(), RETRY);
            }
        }
    }
}

fn compaction_loop(shared: &Shared) {
    let place: Place = |trouble| &mut trouble.compaction;
    let mut seen = 0;
    while !shared.is_closed() {
        let before = shared.signals.compaction.count();
        match caught(|| shared.compact_next()) {
            Ok(true) => settle(shared, place, None),
            Ok(false) => {
                forget(shared, place);
                shared.look_at_quiet();
                seen = if before == seen {
                    shared.signals.compaction.wait(seen, IDLE)
                } else {
                    before
                };
            }
            Err(error) => {
                settle(shared, place, Some(error));
                let until = shared.storage.monotonic_nanos() + RETRY.as_nanos() as u64;
                while !shared.is_closed() && shared.storage.monotonic_nanos() < until {
                    shared
                        .signals
                        .compaction
                        .wait(shared.signals.compaction.count(), RETRY / 10);
                }
            }
        }
    }
}

fn publication_loop(shared: &Shared) {
    while !shared.is_closed() {
        let seen = shared.signals.publication.count();
        publish_due(shared);
        shared.signals.publication.wait(seen, IDLE);
    }
}

/// Every table in turn, so that one that changes all the time keeps no other waiting.
fn publish_due(shared: &Shared) {
    for table in shared.all_tables() {
        shared.expire_publication(&table);
        if let Some(attempt) = table.continuous.begin(&table, shared.storage.monotonic_nanos()) {
            let outcome = caught(|| shared.publish_flushed(&table));
            shared.end_publication(&table, attempt, outcome);
        }
    }
}

/// A panic becomes a failure of the job: whoever waits for the job is told, and the thread goes on.
fn caught<T>(job: impl FnOnce() -> Result<T>) -> Result<T> {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Err(Error::new(
            kodiak_core::ErrorKind::Unavailable,
            format!("background work panicked ({text}): reopen the database, and report this"),
        ))
    })
}

/// Nothing is left to do: what has failed before is no longer due, or somebody else has done it.
fn forget(shared: &Shared, place: Place) {
    let failure = place(&mut shared.trouble.lock()).take();
    if failure.is_some() {
        shared.signals.progress.raise();
    }
}

/// After a job: the outcome is noted, writers and other threads look anew.
fn settle(shared: &Shared, place: Place, failure: Option<Error>) {
    if let Some(error) = &failure
        && !shared.is_closed()
    {
        tracing::error!(%error, "background work failed; it will be tried again");
    }
    *place(&mut shared.trouble.lock()) = failure;
    shared.stalls.refresh(shared);
    shared.counters.tell(|| Stats::collect(shared));
    shared.signals.progress.raise();
    shared.signals.compaction.raise();
}
