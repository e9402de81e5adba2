//! Versions: which runs a table consists of.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use kodiak_core::SeqNo;
use kodiak_core::compaction::{LevelShape, RunId, RunShape, SortedRunShape, VersionShape};
use kodiak_core::entry::prefix_of;

use crate::deletion::DeletionVectors;
use crate::manifest::TableState;
use crate::read::ScanBounds;
use crate::run::{Run, RunContext};

/// Runs that do not overlap, in key order; searched as one.
#[derive(Debug, Clone, Default)]
pub struct SortedRun {
    /// Its number: larger is newer within its level.
    pub id: u64,
    runs: Arc<Vec<Arc<Run>>>,
    /// Of each run the first eight bytes of the largest key, so that a search seldom touches the runs themselves.
    ends: Vec<u64>,
    range_deletes: bool,
    tombstones: bool,
}

impl SortedRun {
    /// In key order.
    pub fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    /// [`runs`](Self::runs), for a cursor to share.
    pub fn shared_runs(&self) -> &Arc<Vec<Arc<Run>>> {
        &self.runs
    }

    /// True if one of its runs holds range deletes.
    pub fn range_deletes(&self) -> bool {
        self.range_deletes
    }

    /// True if one of its runs holds tombstones, of keys or ranges.
    pub fn tombstones(&self) -> bool {
        self.tombstones
    }

    /// Of runs in any order.
    fn new(id: u64, mut runs: Vec<Arc<Run>>) -> Self {
        runs.sort_by(|one, other| one.min_key().cmp(other.min_key()));
        let mut sorted = Self {
            id,
            ends: runs.iter().map(|run| prefix_of(run.max_key())).collect(),
            runs: Arc::new(runs),
            ..Self::default()
        };
        sorted.note_deletes();
        sorted
    }

    fn note_deletes(&mut self) {
        self.range_deletes = self.runs.iter().any(|run| run.meta().range_deletes > 0);
        self.tombstones = self.range_deletes || self.runs.iter().any(|run| run.meta().tombstones > 0);
    }

    fn insert(&mut self, run: Arc<Run>) {
        let at = self.runs.partition_point(|other| other.min_key() < run.min_key());
        self.ends.insert(at, prefix_of(run.max_key()));
        self.range_deletes |= run.meta().range_deletes > 0;
        self.tombstones |= self.range_deletes || run.meta().tombstones > 0;
        Arc::make_mut(&mut self.runs).insert(at, run);
    }

    fn remove(&mut self, at: usize) -> Arc<Run> {
        let run = Arc::make_mut(&mut self.runs).remove(at);
        self.ends.remove(at);
        if run.meta().range_deletes > 0 || run.meta().tombstones > 0 {
            self.note_deletes();
        }
        run
    }

    /// Index of the first run whose largest key is not below `key`.
    #[inline]
    fn first_candidate(&self, key: &[u8]) -> usize {
        let prefix = prefix_of(key);
        let low = self.ends.partition_point(|&end| end < prefix);
        let tied = self.ends[low..].partition_point(|&end| end == prefix);
        low + self.runs[low..low + tied].partition_point(|run| run.max_key() < key)
    }

    /// The runs whose range includes `key`: one, or two where a range delete ends at the next run's first key.
    #[inline]
    pub fn candidates(&self, key: &[u8]) -> impl Iterator<Item = &Arc<Run>> {
        self.runs[self.first_candidate(key)..]
            .iter()
            .take_while(move |run| run.min_key() <= key)
    }

    /// The runs that may hold keys of `bounds`.
    pub fn meeting(&self, bounds: &ScanBounds) -> Range<usize> {
        let first = self.first_candidate(&bounds.start);
        let end = match &bounds.end {
            Some(end) => self.runs.partition_point(|run| run.min_key() < end.as_slice()),
            None => self.runs.len(),
        };
        first..end.max(first)
    }
}

/// One level: sorted runs, newest first.
#[derive(Debug, Clone, Default)]
pub struct Level {
    /// Newest first.
    pub sorted_runs: Vec<SortedRun>,
}

/// The runs of a table at one moment. Immutable; a change makes a new one.
#[derive(Debug, Clone, Default)]
pub struct Version {
    /// From level 0 down.
    pub levels: Vec<Level>,
    /// The deletion vectors of these runs, if the table has any.
    pub dead: Option<Arc<DeletionVectors>>,
}

impl Version {
    /// A version with no runs.
    pub fn empty(levels: usize) -> Self {
        Self {
            levels: vec![Level::default(); levels],
            dead: None,
        }
    }

    /// The runs that a manifest names, and their deletion vectors.
    pub fn stored(table: &TableState, context: &Arc<RunContext>) -> Self {
        let mut version = Self::empty(0);
        version.load(table, context);
        version
    }

    /// Fills an empty version with what a manifest names.
    pub fn load(&mut self, table: &TableState, context: &Arc<RunContext>) {
        // All runs of a sorted run at once: there may be very many.
        let mut places: BTreeMap<_, Vec<Arc<Run>>> = BTreeMap::new();
        for placed in table.runs.values() {
            let run = Arc::new(Run::new((*placed.run).clone(), Arc::clone(context)));
            let place = (placed.place.level as usize, Reverse(placed.place.sorted_run));
            places.entry(place).or_default().push(run);
        }
        for ((level, Reverse(id)), runs) in places {
            if self.levels.len() <= level {
                self.levels.resize(level + 1, Level::default());
            }
            self.levels[level].sorted_runs.push(SortedRun::new(id, runs));
        }
        self.dead = table.dead.as_ref().map(|dead| {
            let runs = dead.iter().map(|(&run, dead)| (run, Arc::clone(dead))).collect();
            Arc::new(DeletionVectors::new(runs, self.runs().map(|(_, run)| run)))
        });
    }

    /// The sorted runs, newest first.
    #[inline]
    pub fn sorted_runs(&self) -> impl Iterator<Item = &SortedRun> {
        self.levels.iter().flat_map(|level| &level.sorted_runs)
    }

    /// Every run with its level.
    pub fn runs(&self) -> impl Iterator<Item = (usize, &Arc<Run>)> {
        let levels = self.levels.iter().enumerate();
        levels.flat_map(|(level, runs)| {
            runs.sorted_runs
                .iter()
                .flat_map(move |run| run.runs.iter().map(move |run| (level, run)))
        })
    }

    /// Adds a run to sorted run `sorted_run` of `level`, which is made if it does not exist.
    pub fn add(&mut self, level: usize, sorted_run: u64, run: Arc<Run>) {
        if self.levels.len() <= level {
            self.levels.resize(level + 1, Level::default());
        }
        let sorted_runs = &mut self.levels[level].sorted_runs;
        let place = sorted_runs.partition_point(|other| other.id > sorted_run);
        if sorted_runs.get(place).is_none_or(|other| other.id != sorted_run) {
            sorted_runs.insert(
                place,
                SortedRun {
                    id: sorted_run,
                    ..SortedRun::default()
                },
            );
        }
        sorted_runs[place].insert(run);
    }

    /// Removes a run; returns where it was.
    pub fn remove(&mut self, id: RunId) -> Option<(usize, u64, Arc<Run>)> {
        for (level, runs) in self.levels.iter_mut().enumerate() {
            for index in 0..runs.sorted_runs.len() {
                let sorted_run = &mut runs.sorted_runs[index];
                if let Some(at) = sorted_run.runs.iter().position(|run| run.id() == id) {
                    let run = sorted_run.remove(at);
                    let number = sorted_run.id;
                    if sorted_run.runs.is_empty() {
                        runs.sorted_runs.remove(index);
                    }
                    return Some((level, number, run));
                }
            }
        }
        None
    }

    /// Where a run is: its level and sorted run.
    pub fn place(&self, id: RunId) -> Option<(usize, u64)> {
        self.levels.iter().enumerate().find_map(|(level, runs)| {
            let holder = runs
                .sorted_runs
                .iter()
                .find(|sorted| sorted.runs.iter().any(|run| run.id() == id))?;
            Some((level, holder.id))
        })
    }

    /// Rows of a run that rewriting it would drop while `snapshots` (ascending) are held, as far as deletion vectors tell.
    pub fn dead_rows(&self, run: &Run, snapshots: &[SeqNo]) -> u64 {
        let dead = self.dead.as_ref().and_then(|vectors| vectors.of(run.id()));
        let meta = run.meta();
        dead.map_or(0, |dead| dead.reclaimable(meta.tombstones, meta.min_seq, snapshots))
    }

    /// What compaction policies see while `snapshots` (ascending) are held.
    pub fn shape(&self, now_micros: u64, snapshots: &[SeqNo]) -> VersionShape {
        let run_shape = |run: &Arc<Run>| -> RunShape {
            RunShape {
                dead: self.dead_rows(run, snapshots),
                ..run.shape()
            }
        };
        let levels = self
            .levels
            .iter()
            .map(|level| LevelShape {
                sorted_runs: level
                    .sorted_runs
                    .iter()
                    .map(|sorted| SortedRunShape {
                        runs: sorted.runs.iter().map(run_shape).collect(),
                    })
                    .collect(),
            })
            .collect();
        VersionShape { levels, now_micros }
    }
}

#[cfg(test)]
mod tests;
