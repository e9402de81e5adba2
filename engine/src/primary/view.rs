//! Gets through the index.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kodiak_core::index::{IndexView, MAX_KEY};
use kodiak_core::{Error, Op, Result, SeqNo, shown_key};

use super::locator::Locator;
use super::numbered::Numbered;
use crate::manifest::Runs;
use crate::merge::MergeOperator;
use crate::read::{Lookup, Progress};
use crate::run::Run;
use crate::version::Version;

/// The state of an index that belongs to a version, and what of the version a get needs beside it.
#[derive(Debug)]
pub(crate) struct IndexedRuns {
    view: Arc<dyn IndexView>,
    runs: Numbered,
    /// No run has a newer sequence number.
    newest: SeqNo,
    /// Reading the index has failed: it was told of once.
    failed: AtomicBool,
}

impl IndexedRuns {
    /// Of a version all of whose runs [have been read](Version::read), unless `listed` says where a catalogue has them.
    pub fn new(version: &Version, listed: Option<&Runs>, view: Arc<dyn IndexView>) -> Self {
        let known = version.known_runs().map(|(_, run)| run.meta().max_seq).max();
        Self {
            runs: Numbered::new(version, listed),
            newest: known.unwrap_or(0).max(listed.map_or(0, Runs::newest)),
            view,
            failed: AtomicBool::new(false),
        }
    }

    /// Where a catalogue has runs that were not read when this was made.
    pub fn listed(&self) -> Option<&Runs> {
        self.runs.listed()
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
        lookup.cover(match self.runs.all() {
            Some(all) => all.covering(key, seq)?,
            None => self.runs.look_up_covering(key, seq)?,
        });
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
        let read = |run: &Arc<Run>| run.version_at(lookup.key, locator);
        let found = match self.runs.all() {
            Some(all) => all.find(locator.run).map_or(Ok(None), read)?,
            None => self.runs.look_up(locator.run)?.as_ref().map_or(Ok(None), read)?,
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
        "the primary index has key {} in run {}, block {}, row {}, where it is not: run `kodiak repair`, which has the \
         index built anew",
        shown_key(key),
        locator.run,
        locator.block,
        locator.row
    ))
}
