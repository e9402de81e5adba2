//! What the pending rows of an index resolve to, kept between reads.
//!
//! Entries of pending rows are candidates like all others: a read looks at the row of each, so that one which is void costs a look and
//! no more. So they are only added, in a memtable of their own, and what is *complete* stays so: a moment of which all pending rows
//! have had their entries added. From the first read on, writers note the rows that they make pending, and whoever reads next
//! resolves those that have become visible since; in tables with a TTL also rows of which a part has expired. Whatever else
//! happens to a pending row (a put, a delete, a range delete, a flush, a compaction) adds an entry elsewhere, or takes the row away.
//!
//! All of it is resolved anew when more entries have been added, or more pending rows have gone, than there were. What does not
//! fit into its part of the memory is not kept: then every read resolves all pending rows.

mod upkeep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use kodiak_core::memtable::Memtable;
use kodiak_core::{Result, SeqNo};
use parking_lot::Mutex;

use super::scope::Scope;
use super::source::PendingRow;
use crate::db::Shared;
use upkeep::{Job, Upkeep};

/// The pending rows of an index.
#[derive(Debug, Default)]
pub(super) struct Pending {
    kept: ArcSwapOption<Kept>,
    /// Held by the one reader that brings `kept` up to date.
    upkeep: Mutex<Upkeep>,
    noted: Mutex<Noted>,
    /// How many rows are noted, or have been taken from there and are not in `kept` yet.
    waiting: AtomicUsize,
    /// Pending rows that have been taken out of index files.
    forgotten: AtomicUsize,
    /// See [`will_lose`](Self::will_lose).
    loses: AtomicBool,
}

/// What is kept at one time.
#[derive(Debug)]
struct Kept {
    /// Entries, with the lengths of their index keys; all as one version.
    entries: Arc<dyn Memtable>,
    /// Rows were resolved by the schema of this number.
    schema: u32,
    /// This moment is complete, and so is each later one at which nothing else has been noted.
    complete: SeqNo,
    /// Versions below had expired then.
    hidden_below: SeqNo,
    /// Once so many rows have been forgotten, it is time to begin anew.
    most_forgotten: usize,
}

/// What writers have told since.
#[derive(Debug, Default)]
struct Noted {
    on: bool,
    rows: Vec<PendingRow>,
    /// So many are noted at most; with more, it is begun anew.
    most: usize,
    lost: bool,
}

impl Noted {
    /// How many rows wait; others may have been lost.
    fn waiting(&self) -> usize {
        self.rows.len() + usize::from(self.lost)
    }
}

impl Pending {
    /// A row has become pending, or is so anew: to be told after its entry was added and before `seq` is visible.
    pub fn note(&self, user_key: &[u8], seq: SeqNo) {
        let mut noted = self.noted.lock();
        if !noted.on {
            return;
        }
        match noted.rows.len() < noted.most {
            true => noted.rows.push((user_key.to_vec(), seq)),
            false => noted.lost = true,
        }
        self.waiting.store(noted.waiting(), Ordering::Release);
    }

    /// What is about to be added to the index has pending rows, which nobody notes.
    pub fn will_lose(&self) {
        self.loses.store(true, Ordering::Release);
    }

    /// After [`will_lose`](Self::will_lose), all rows are resolved anew. To be told when these are in the view, before they are visible.
    pub fn lose_if_told(&self) {
        if !self.loses.swap(false, Ordering::AcqRel) {
            return;
        }
        let mut noted = self.noted.lock();
        if noted.on {
            noted.lost = true;
            self.waiting.store(noted.waiting(), Ordering::Release);
        }
    }

    /// A pending row is taken out of the index file.
    pub fn forgets(&self) {
        self.forgotten.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives a scope what is kept for its moment, after bringing it up to date. The scope of the newest moment may become a newer one.
    ///
    /// # Errors
    /// Those of resolving rows; `Unavailable` if the index cannot be read any more.
    pub fn look_up(&self, shared: &Shared, mut scope: Scope, snapshot: bool) -> Result<Scope> {
        if let Some(kept) = self.ready(&scope) {
            scope.kept = Some(kept);
            return Ok(scope);
        }
        let mut upkeep = self.upkeep.lock();
        Job::new(self, shared, &mut upkeep)
            .keep(&scope, snapshot)
            .inspect_err(|_| {
                // Rows that were noted may be lost.
                self.drop_kept(&mut upkeep);
            })
    }

    /// What is kept, if it is complete at the moment of a scope.
    fn ready(&self, scope: &Scope) -> Option<Arc<dyn Memtable>> {
        // First: what does not wait any more is in what is loaded then.
        if self.waiting.load(Ordering::Acquire) > 0 {
            return None;
        }
        let kept = self.kept.load();
        let kept = kept.as_ref().filter(|kept| {
            kept.complete <= scope.seq
                && kept.hidden_below == scope.hidden_below
                && self.forgotten.load(Ordering::Relaxed) <= kept.most_forgotten
                && kept.schema == scope.table.schemas.at(scope.seq).number()
        });
        kept.map(|kept| Arc::clone(&kept.entries))
    }

    fn drop_kept(&self, upkeep: &mut Upkeep) {
        self.kept.store(None);
        *upkeep = Upkeep::default();
        let mut noted = self.noted.lock();
        *noted = Noted::default();
        self.waiting.store(0, Ordering::Release);
    }

    /// What has been noted and is visible at `seq`; it waits on.
    fn take_noted(&self, seq: SeqNo) -> Vec<PendingRow> {
        let mut noted = self.noted.lock();
        let all = std::mem::take(&mut noted.rows);
        let (taken, left) = all.into_iter().partition(|(_, noted)| *noted <= seq);
        noted.rows = left;
        taken
    }
}
