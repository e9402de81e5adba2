//! Gets through the index.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kodiak_core::compaction::RunId;
use kodiak_core::index::{IndexView, MAX_KEY};
use kodiak_core::{Error, Op, Result, SeqNo};

use super::locator::Locator;
use crate::merge::MergeOperator;
use crate::read::{Lookup, Progress};
use crate::run::Run;
use crate::version::Version;

/// The state of an index that belongs to a version, and what of the version a get needs beside it.
#[derive(Debug)]
pub(crate) struct IndexedRuns {
    view: Arc<dyn IndexView>,
    /// By number.
    runs: Box<[(RunId, Arc<Run>)]>,
    /// Those that hold range deletes.
    deleting: Box<[Arc<Run>]>,
    /// The newest sequence number in the runs.
    newest: SeqNo,
    /// Reading the index has failed: it was told of once.
    failed: AtomicBool,
}

impl IndexedRuns {
    /// Of a version all of whose runs [have been read](Version::read).
    pub fn new(version: &Version, view: Arc<dyn IndexView>) -> Self {
        let mut runs: Box<[_]> = version
            .known_runs()
            .map(|(_, run)| (run.id(), Arc::clone(run)))
            .collect();
        runs.sort_unstable_by_key(|(id, _)| *id);
        let all = || runs.iter().map(|(_, run)| run);
        Self {
            deleting: all().filter(|run| run.meta().range_deletes > 0).cloned().collect(),
            newest: all().map(|run| run.meta().max_seq).max().unwrap_or(0),
            view,
            runs,
            failed: AtomicBool::new(false),
        }
    }

    /// The state of the index.
    pub fn tree(&self) -> &Arc<dyn IndexView> {
        &self.view
    }

    /// What the runs say of a key, after the memtables were asked. With [`Progress::Continue`] the runs must be gone through.
    ///
    /// # Errors
    /// `Corruption` if the index contradicts the runs; those of reading the run. An index that cannot be read is no error:
    /// the runs have everything.
    pub fn get(&self, lookup: &mut Lookup<'_>, seq: SeqNo, operator: Option<&dyn MergeOperator>) -> Result<Progress> {
        let key = lookup.key;
        if key.len() > MAX_KEY {
            return Ok(Progress::Continue);
        }
        for run in &self.deleting {
            if run.min_key() <= key && key <= run.max_key() {
                lookup.cover(run.covering(key, seq)?);
            }
        }
        if lookup.is_hidden() {
            return lookup.end(operator);
        }
        let mut locator = None;
        let read = self.view.find(key, &mut |value| locator = Some(Locator::decode(value)));
        let locator = match read.and_then(|()| locator.transpose()) {
            Ok(locator) => locator,
            Err(error) => {
                self.tell(&error);
                return Ok(Progress::Continue);
            }
        };
        match locator {
            None if lookup.seq >= self.newest => lookup.end(operator),
            None => Ok(Progress::Continue),
            Some(locator) if locator.seq > lookup.seq || locator.op == Op::Merge => Ok(Progress::Continue),
            Some(locator) if locator.op == Op::Delete || locator.seq < lookup.hidden_below => lookup.end(operator),
            Some(locator) => self.read(lookup, &locator, operator),
        }
    }

    fn read(
        &self,
        lookup: &mut Lookup<'_>,
        locator: &Locator,
        operator: Option<&dyn MergeOperator>,
    ) -> Result<Progress> {
        let run = self.runs.binary_search_by_key(&locator.run, |(id, _)| *id);
        let found = match run {
            Ok(at) => self.runs[at].1.version_at(lookup.key, locator)?,
            Err(_) => None,
        };
        match found {
            Some(found) if found.op == locator.op => lookup.found(found.seq, found.op, || found.value, operator),
            _ => Err(contradiction(lookup.key, locator)),
        }
    }

    #[cold]
    fn tell(&self, error: &Error) {
        if !self.failed.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "a primary index cannot be read: gets go through the runs");
        }
    }
}

#[cold]
fn contradiction(key: &[u8], locator: &Locator) -> Error {
    Error::corruption(format!(
        "the primary index has key \"{}\" in run {}, block {}, row {}, where it is not: run `kodiak repair`, which has the \
         index built anew",
        key[..key.len().min(64)].escape_ascii(),
        locator.run,
        locator.block,
        locator.row
    ))
}
