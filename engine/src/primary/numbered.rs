//! The runs of a version by number, as locators name them.

use std::sync::{Arc, OnceLock};

use kodiak_core::compaction::RunId;
use kodiak_core::{Result, SeqNo};

use crate::manifest::Runs;
use crate::run::Run;
use crate::version::Version;

/// The runs of a version. Those that a catalogue lists need not have been read: then they are, piece by piece, as locators name them.
#[derive(Debug)]
pub(crate) struct Numbered {
    all: OnceLock<All>,
    unread: Option<Unread>,
}

/// Once all have been read.
#[derive(Debug)]
pub(crate) struct All {
    /// By number.
    runs: Box<[(RunId, Arc<Run>)]>,
    /// Those that hold range deletes.
    deleting: Box<[Arc<Run>]>,
}

#[derive(Debug)]
struct Unread {
    version: Version,
    /// Says where the catalogue has them; it may be of an earlier version.
    listed: Runs,
}

impl Numbered {
    /// Of a version; all of its runs have been read, unless `listed` says where a catalogue has them.
    pub fn new(version: &Version, listed: Option<&Runs>) -> Self {
        match listed.filter(|_| !version.is_read()) {
            None => Self {
                all: OnceLock::from(All::of(version)),
                unread: None,
            },
            Some(listed) => Self {
                all: OnceLock::new(),
                unread: Some(Unread {
                    version: version.clone(),
                    listed: listed.clone(),
                }),
            },
        }
    }

    /// All of them, if all have been read.
    #[inline]
    pub fn all(&self) -> Option<&All> {
        self.all.get()
    }

    /// Where a catalogue has those that have not been read.
    pub fn listed(&self) -> Option<&Runs> {
        self.unread.as_ref().map(|unread| &unread.listed)
    }

    /// The run of a number, where not all have been read.
    ///
    /// # Errors
    /// Those of reading the catalogue.
    #[cold]
    pub fn look_up(&self, id: RunId) -> Result<Option<Arc<Run>>> {
        let Some(Unread { version, listed }) = &self.unread else {
            return Ok(None);
        };
        if !version.is_read() {
            let placed = listed.find(id)?;
            if let Some(run) = placed.map_or(Ok(None), |placed| version.placed(&placed))? {
                return Ok(Some(run));
            }
            // Flushed since, or moved.
            if let Some((_, run)) = version.known_runs().find(|(_, run)| run.id() == id) {
                return Ok(Some(Arc::clone(run)));
            }
            version.read()?;
        }
        Ok(self.all.get_or_init(|| All::of(version)).find(id).cloned())
    }

    /// The newest range delete up to `seq` that covers `key`, where not all runs have been read; 0 for none.
    ///
    /// # Errors
    /// Those of reading the catalogue, and runs.
    #[cold]
    pub fn look_up_covering(&self, key: &[u8], seq: SeqNo) -> Result<SeqNo> {
        let mut newest = 0;
        let sorted_runs = self.unread.iter().flat_map(|unread| unread.version.sorted_runs());
        for sorted_run in sorted_runs.filter(|sorted_run| sorted_run.range_deletes()) {
            for run in sorted_run.candidates(key)? {
                newest = newest.max(run.covering(key, seq)?);
            }
        }
        Ok(newest)
    }
}

impl All {
    fn of(version: &Version) -> Self {
        let known = || version.known_runs().map(|(_, run)| run);
        let mut runs: Box<[_]> = known().map(|run| (run.id(), Arc::clone(run))).collect();
        runs.sort_unstable_by_key(|(id, _)| *id);
        Self {
            runs,
            deleting: known().filter(|run| run.meta().range_deletes > 0).cloned().collect(),
        }
    }

    /// The run of a number.
    #[inline]
    pub fn find(&self, id: RunId) -> Option<&Arc<Run>> {
        let at = self.runs.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(&self.runs[at].1)
    }

    /// The newest range delete up to `seq` that covers `key`; 0 for none.
    ///
    /// # Errors
    /// Those of reading runs.
    #[inline]
    pub fn covering(&self, key: &[u8], seq: SeqNo) -> Result<SeqNo> {
        let mut newest = 0;
        for run in &self.deleting {
            if run.min_key() <= key && key <= run.max_key() {
                newest = newest.max(run.covering(key, seq)?);
            }
        }
        Ok(newest)
    }
}
