//! Publishing after every change: with `publish.continuous`, a background thread replaces the publication of each typed table
//! whose runs have changed.
//!
//! It publishes what is in runs and makes no flush of its own, so the moment of a publication is the newest one of which runs
//! hold everything. Changes that come while a table is being published are taken together by the next publication.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use kodiak_core::{Error, ErrorKind, Result, SeqNo};
use parking_lot::Mutex;
use serde::Serialize;

use super::publisher::Publisher;
use super::record::Record;
use super::remembered::Trust;
use super::{Published, check_there, directory, durable, outdated, scripts};
use crate::db::{Shared, Signal, Snapshot, TableInner, View};
use crate::run::Run;
use crate::typed::Target;
use crate::version::Version;

/// How often a moment is looked for, when files or rows in memory are of an older schema.
const ATTEMPTS: usize = 4;

/// Where rows expire, a publication is made anew when rows of it have, but after no less than this part of the time they live.
const EXPIRY_SHARE: u64 = 8;

/// What has been published of a table in the background since the database was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PublicationStats {
    /// Publications made.
    pub publications: u64,
    /// The sequence number of the last write in the newest of them; 0 for none.
    pub seq: SeqNo,
    /// Runs have changed since the last attempt.
    pub due: bool,
    /// What the last attempt failed with; the next one is made after the next flush or compaction of the table.
    pub failure: Option<String>,
}

/// Whether the publication of a table is behind its runs.
#[derive(Debug, Default)]
pub(crate) struct Continuous {
    /// Raised when it is; `None` if the table is published on request only.
    signal: Option<Arc<Signal>>,
    /// Counts changes, for those that leave the version as it is.
    changes: AtomicU64,
    /// What the last attempt began with.
    attempted: Mutex<Attempt>,
    publications: AtomicU64,
    seq: AtomicU64,
    failure: Mutex<Option<Error>>,
    expiry: Mutex<Expiry>,
}

/// How far the last publication knows of rows that have expired.
#[derive(Debug, Default)]
struct Expiry {
    /// When it was made or tried, microseconds since 1970.
    micros: u64,
    /// Versions of rows with smaller sequence numbers had expired.
    below: SeqNo,
}

/// What is known when an attempt to publish begins. The version is not kept from ending, but no other one can pass for it.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    changes: u64,
    /// When it began, on the storage's monotonic clock.
    begun: u64,
    version: Weak<Version>,
}

impl Continuous {
    /// Of a table that is published whenever `signal` has been raised, or on request only.
    pub fn new(signal: Option<Arc<Signal>>) -> Self {
        Self {
            signal,
            ..Self::default()
        }
    }

    /// True if the table is published in the background.
    pub fn is_on(&self) -> bool {
        self.signal.is_some()
    }

    /// To be called after runs or schema have changed, and what is in them is visible.
    pub fn changed(&self) {
        if let Some(signal) = &self.signal {
            self.changes.fetch_add(1, Ordering::AcqRel);
            signal.raise();
        }
    }

    /// True if the table, which has this version, has changed since the last attempt began, or one is under way for it.
    pub fn is_due(&self, version: &Arc<Version>) -> bool {
        let attempted = self.attempted.lock();
        self.is_on()
            && (attempted.changes != self.changes.load(Ordering::Acquire)
                || !std::ptr::eq(attempted.version.as_ptr(), Arc::as_ptr(version)))
    }

    /// Begins an attempt, before the runs are looked at: what changes from now on makes another one due. `None` if none is due.
    pub fn begin(&self, table: &TableInner, begun: u64) -> Option<Attempt> {
        let changes = self.changes.load(Ordering::Acquire);
        let version = Arc::clone(&table.view.load().version);
        self.is_due(&version).then(|| Attempt {
            changes,
            begun,
            version: Arc::downgrade(&version),
        })
    }

    /// A publication was made at this time, and versions of rows below this had expired.
    pub fn note_expiry(&self, micros: u64, below: SeqNo) {
        *self.expiry.lock() = Expiry { micros, below };
    }

    fn end(&self, attempt: Attempt, failure: Option<Error>) {
        *self.failure.lock() = failure;
        *self.attempted.lock() = attempt;
    }

    /// What the last attempt failed with.
    pub fn failure(&self) -> Option<Error> {
        self.failure.lock().as_ref().map(Error::replicate)
    }

    /// Figures of a table with this version; `None` if it is published on request only.
    pub fn stats(&self, version: &Arc<Version>) -> Option<PublicationStats> {
        self.signal.as_ref()?;
        Some(PublicationStats {
            publications: self.publications.load(Ordering::Relaxed),
            seq: self.seq.load(Ordering::Relaxed),
            due: self.is_due(version),
            failure: self.failure.lock().as_ref().map(ToString::to_string),
        })
    }
}

/// What is published, and as of when.
struct Flushed {
    snapshot: Snapshot,
    seq: SeqNo,
    view: Arc<View>,
    target: Target,
}

impl Shared {
    /// Makes a publication of a table due if rows that it holds have expired since the last one.
    pub(crate) fn expire_publication(&self, table: &TableInner) {
        let ttl = table.options.ttl_micros;
        if !table.continuous.is_on() || ttl == 0 {
            return;
        }
        let now = self.now_micros();
        let mut expiry = table.continuous.expiry.lock();
        if now < expiry.micros.saturating_add(ttl / EXPIRY_SHARE) {
            return;
        }
        let below = table.hidden_below(|| now);
        let version = Arc::clone(&table.view.load().version);
        // The opening has read all runs of a table whose rows expire.
        let mut runs = version.known_runs().map(|(_, run)| run.meta());
        if below > expiry.below && runs.any(|run| run.min_seq < below && run.max_seq >= expiry.below) {
            expiry.micros = now;
            drop(expiry);
            table.continuous.changed();
        }
    }

    /// Notes and tells how an attempt has ended. A failure harms nothing else.
    pub(crate) fn end_publication(&self, table: &TableInner, attempt: Attempt, outcome: Result<Option<Published>>) {
        let state = &table.continuous;
        let failure = match outcome {
            Ok(None) => None,
            Ok(Some(published)) => {
                let nanos = self.storage.monotonic_nanos().saturating_sub(attempt.begun);
                self.counters.published(nanos, true);
                state.publications.fetch_add(1, Ordering::Relaxed);
                state.seq.store(published.seq, Ordering::Relaxed);
                tracing::info!(
                    table = table.name,
                    seq = published.seq,
                    rows = published.rows,
                    looked_at = published.looked_at,
                    "published"
                );
                None
            }
            Err(_) if table.dropped.load(Ordering::Acquire) => None,
            Err(error) => {
                self.counters.published(0, false);
                tracing::error!(
                    %error,
                    table = table.name,
                    "a table could not be published; it will be tried again after its next flush or compaction"
                );
                Some(error)
            }
        };
        state.end(attempt, failure);
        self.signals.progress.raise();
    }

    /// Publishes what is in the runs of a table; `None` if that is what is published already.
    ///
    /// # Errors
    /// Those of [`publish`](crate::Table::publish).
    pub(crate) fn publish_flushed(&self, table: &Arc<TableInner>) -> Result<Option<Published>> {
        let mut remembered = table.publishing.lock();
        check_there(table)?;
        let dir = directory(self, table);
        let known = remembered.take(&*self.storage, &dir, (self.identity, table.id), Trust::Memory);
        let flushed = self.flushed(table, known.as_ref().map(|known| &known.record))?;
        let publisher = Publisher {
            shared: self,
            inner: table,
            target: flushed.target,
            seq: flushed.seq,
            _snapshot: flushed.snapshot,
            view: flushed.view,
            dir,
        };
        if let Some(found) = &known
            && publisher.is_published(&found.record)?
        {
            known.into_iter().for_each(|known| remembered.keep(known));
            return Ok(None);
        }
        let (published, known) = publisher.replace(known)?;
        remembered.keep(known);
        Ok(Some(published))
    }

    /// The newest moment of which the runs of a table hold everything, by the schema in force.
    fn flushed(&self, table: &Arc<TableInner>, known: Option<&Record>) -> Result<Flushed> {
        for _ in 0..ATTEMPTS {
            let snapshot = self.snapshots.take(|| self.visible());
            let view = table.view.load_full();
            // Whatever is in memory is newer than all runs. If nothing is, the runs hold all that the snapshot sees.
            let moment = if view.slots().all(|slot| slot.is_empty()) {
                snapshot.seq()
            } else {
                let newest = view.version.runs()?.map(|(_, run)| run.meta().max_seq).max();
                newest.unwrap_or(0).min(snapshot.seq())
            };
            let target = table.target_at(moment);
            if target.version().number() != table.schemas.current().number() {
                // The table was altered while it had rows in memory: without them, the moment is one after that.
                drop(snapshot);
                self.flush_all()?;
            } else if outdated(self, table, &view, &target, known)? {
                drop(snapshot);
                self.compact_fully(table)?;
            } else {
                return Ok(Flushed {
                    seq: durable(self, moment)?,
                    snapshot,
                    view,
                    target,
                });
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "files or rows of an older schema cannot be rewritten",
        ))
    }
}

impl Publisher<'_> {
    /// True if `known` is this publication, and complete: then there is nothing to do.
    ///
    /// # Errors
    /// Those of reading the catalogue.
    fn is_published(&self, known: &Record) -> Result<bool> {
        let mut runs = self.view.version.runs()?;
        let filled = runs.clone().filter(|(_, run)| run.meta().entries > 0);
        let published = |(_, run): (usize, &Arc<Run>)| known.files.contains_key(&run.id());
        let same = filled.clone().count() == known.files.len() && filled.clone().all(published);
        let schema = self.target.schema();
        // A power loss may have taken the writes of those numbers, when that was not yet cared for.
        let lost = known.sequence > self.seq;
        Ok(!lost
            && same
            && known.data_files().all(|file| file.settled)
            // Also those that have range deletes and no rows.
            && runs.all(|(_, run)| run.meta().max_seq <= known.sequence)
            && known.schema == Some(schema.number())
            // Rows expire without a change of the runs.
            && self.inner.options.get_ttl().is_none()
            // The last thing that a publication writes.
            && scripts::are_written(&*self.shared.storage, &self.dir, known, self.inner, schema))
    }
}
