//! Versions: which runs a table consists of.

mod listed;
mod piece;
mod sorted;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use kodiak_core::compaction::{LevelShape, RunId, RunShape, SortedRunShape, VersionShape};
use kodiak_core::{Result, SeqNo};

pub use sorted::{At, SortedRun, Span, Totals};

use crate::deletion::DeletionVectors;
use crate::manifest::{Place, PlacedRun, TableState};
use crate::run::{Run, RunContext};

/// One level: sorted runs, newest first.
#[derive(Debug, Clone, Default)]
pub struct Level {
    /// Newest first.
    pub sorted_runs: Vec<SortedRun>,
}

impl Level {
    /// What its runs come to.
    pub fn totals(&self) -> Totals {
        self.sorted_runs
            .iter()
            .fold(Totals::default(), |sum, sorted| sum.and(sorted.totals()))
    }
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
    ///
    /// # Errors
    /// Those of reading the catalogue.
    pub fn stored(table: &TableState, context: &Arc<RunContext>) -> Result<Self> {
        let mut version = Self::empty(0);
        version.load(table, context)?;
        Ok(version)
    }

    /// Fills an empty version with what a manifest names. Of runs that a catalogue has, only where pieces begin is read, unless the table
    /// has deletion vectors.
    ///
    /// # Errors
    /// Those of reading the catalogue.
    pub fn load(&mut self, table: &TableState, context: &Arc<RunContext>) -> Result<()> {
        // All runs of a sorted run at once: there may be very many.
        let mut places: BTreeMap<_, Vec<Arc<Run>>> = BTreeMap::new();
        for placed in table.runs.values() {
            let run = Arc::new(Run::new((*placed.run).clone(), Arc::clone(context)));
            let place = (placed.place.level, Reverse(placed.place.sorted_run));
            places.entry(place).or_default().push(run);
        }
        let mut listed = match table.runs.base() {
            Some(base) => listed::sorted_runs(base, context)?,
            None => BTreeMap::new(),
        };
        for place in listed.keys() {
            places.entry(*place).or_default();
        }
        for ((level, Reverse(id)), runs) in places {
            let sorted = match listed.remove(&(level, Reverse(id))) {
                Some(mut sorted) => {
                    runs.into_iter().for_each(|run| sorted.insert(run));
                    sorted
                }
                None => SortedRun::new(id, runs),
            };
            let level = level as usize;
            if self.levels.len() <= level {
                self.levels.resize(level + 1, Level::default());
            }
            if !sorted.is_empty() {
                self.levels[level].sorted_runs.push(sorted);
            }
        }
        if table.dead.is_some() {
            self.read()?;
        }
        self.dead = table.dead.as_ref().map(|dead| {
            let runs = dead.iter().map(|(&run, dead)| (run, Arc::clone(dead))).collect();
            Arc::new(DeletionVectors::new(runs, self.known_runs().map(|(_, run)| run)))
        });
        Ok(())
    }

    /// The sorted runs, newest first.
    #[inline]
    pub fn sorted_runs(&self) -> impl Iterator<Item = &SortedRun> {
        self.levels.iter().flat_map(|level| &level.sorted_runs)
    }

    /// What its runs come to, whether or not they have been read.
    pub fn totals(&self) -> Totals {
        self.levels
            .iter()
            .fold(Totals::default(), |sum, level| sum.and(&level.totals()))
    }

    /// Every run with its level; those that have not been read are read now.
    ///
    /// # Errors
    /// Those of reading the catalogue.
    pub fn runs(&self) -> Result<impl Iterator<Item = (usize, &Arc<Run>)> + Clone> {
        self.read()?;
        Ok(self.known_runs())
    }

    /// Every run that has been read, with its level.
    pub fn known_runs(&self) -> impl Iterator<Item = (usize, &Arc<Run>)> + Clone {
        let levels = self.levels.iter().enumerate();
        levels.flat_map(|(level, runs)| {
            let runs = runs.sorted_runs.iter().flat_map(SortedRun::known_runs);
            runs.map(move |run| (level, run))
        })
    }

    /// Every run as a manifest names it.
    ///
    /// # Errors
    /// Those of reading the catalogue.
    pub fn all_placed(&self) -> Result<impl Iterator<Item = PlacedRun>> {
        self.read()?;
        let levels = (0..).zip(&self.levels);
        let sorted = levels.flat_map(|(level, runs)| runs.sorted_runs.iter().map(move |sorted| (level, sorted)));
        Ok(sorted.flat_map(|(level, sorted)| {
            let sorted_run = sorted.id;
            sorted.known_runs().map(move |run| PlacedRun {
                place: Place { level, sorted_run },
                run: Arc::new(run.meta().clone()),
            })
        }))
    }

    /// Reads all runs that have not been read.
    ///
    /// # Errors
    /// Those of reading the catalogue.
    pub fn read(&self) -> Result<()> {
        self.sorted_runs().try_for_each(SortedRun::load)
    }

    /// True if all runs have been read.
    pub fn is_read(&self) -> bool {
        self.sorted_runs().all(SortedRun::is_read)
    }

    /// The run that hangs where a manifest has placed it, if one does; the piece of the sorted run that has it is read.
    ///
    /// # Errors
    /// Those of reading the catalogue.
    pub fn placed(&self, placed: &PlacedRun) -> Result<Option<Arc<Run>>> {
        let place = placed.place;
        let level = self.levels.get(place.level as usize);
        let sorted_run = level.and_then(|level| level.sorted_runs.iter().find(|other| other.id == place.sorted_run));
        let Some(sorted_run) = sorted_run else { return Ok(None) };
        let mut candidates = sorted_run.candidates(&placed.run.min_key)?;
        Ok(candidates.find(|run| run.id() == placed.run.id).cloned())
    }

    /// The run of a number.
    ///
    /// # Errors
    /// Those of reading the catalogue.
    pub fn find(&self, id: RunId) -> Result<Option<&Arc<Run>>> {
        Ok(self.runs()?.map(|(_, run)| run).find(|run| run.id() == id))
    }

    /// True if it has no runs.
    pub fn is_empty(&self) -> bool {
        self.sorted_runs().all(SortedRun::is_empty)
    }

    /// Adds a run to sorted run `sorted_run` of `level`, which is made if it does not exist.
    pub fn add(&mut self, level: usize, sorted_run: u64, run: Arc<Run>) {
        if self.levels.len() <= level {
            self.levels.resize(level + 1, Level::default());
        }
        let sorted_runs = &mut self.levels[level].sorted_runs;
        let place = sorted_runs.partition_point(|other| other.id > sorted_run);
        if sorted_runs.get(place).is_none_or(|other| other.id != sorted_run) {
            sorted_runs.insert(place, SortedRun::new(sorted_run, Vec::new()));
        }
        sorted_runs[place].insert(run);
    }

    /// Removes a run of this version; returns where it was.
    pub fn remove(&mut self, run: &Run) -> Option<(usize, u64, Arc<Run>)> {
        for (level, runs) in self.levels.iter_mut().enumerate() {
            for index in 0..runs.sorted_runs.len() {
                let sorted_run = &mut runs.sorted_runs[index];
                if let Some(run) = sorted_run.remove(run) {
                    let number = sorted_run.id;
                    if sorted_run.is_empty() {
                        runs.sorted_runs.remove(index);
                    }
                    return Some((level, number, run));
                }
            }
        }
        None
    }

    /// Where a run is: its level and sorted run.
    pub fn place(&self, run: &Run) -> Option<(usize, u64)> {
        self.levels.iter().enumerate().find_map(|(level, runs)| {
            let holder = runs.sorted_runs.iter().find(|sorted| sorted.has(run))?;
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
    ///
    /// # Errors
    /// Those of reading the catalogue.
    pub fn shape(&self, now_micros: u64, snapshots: &[SeqNo]) -> Result<VersionShape> {
        let run_shape = |run: &Arc<Run>| -> RunShape {
            RunShape {
                dead: self.dead_rows(run, snapshots),
                ..run.shape()
            }
        };
        let sorted_run = |sorted: &SortedRun| -> Result<SortedRunShape> {
            let runs = sorted.runs()?.map(run_shape).collect();
            Ok(SortedRunShape { runs })
        };
        let level = |level: &Level| -> Result<LevelShape> {
            let sorted_runs = level.sorted_runs.iter().map(sorted_run).collect::<Result<_>>()?;
            Ok(LevelShape { sorted_runs })
        };
        let levels = self.levels.iter().map(level).collect::<Result<_>>()?;
        Ok(VersionShape { levels, now_micros })
    }
}

#[cfg(test)]
mod tests;
