//! Deletion vectors from what the runs hold: to make them, and to verify them.

use std::collections::HashMap;
use std::sync::Arc;

use kodiak_core::compaction::RunId;
use kodiak_core::entry::MAX_SEQ;
use kodiak_core::{Error, Op, Result, shown_key};

use super::{DeadRows, DeletionVectors};
use crate::primary::locator::Locator;
use crate::primary::newest::Newest;
use crate::range_delete::RangeTombstones;
use crate::version::Version;

/// Of one version, so many contradictions are told one by one.
const MOST_TOLD: u64 = 20;

/// The rows of runs by number.
struct Numbers<'v> {
    version: &'v Version,
    first_rows: HashMap<RunId, Arc<[u32]>>,
}

impl<'v> Numbers<'v> {
    fn new(version: &'v Version) -> Self {
        Self {
            version,
            first_rows: HashMap::new(),
        }
    }

    fn of(&mut self, locator: &Locator) -> Result<u32> {
        let lost = || Error::corruption("a cursor stands on a run of another version");
        if !self.first_rows.contains_key(&locator.run) {
            let found = self.version.find(locator.run)?;
            let run = found.ok_or_else(lost)?;
            self.first_rows
                .insert(locator.run, Arc::clone(run.reader()?.first_rows()?));
        }
        let first_rows = self.first_rows.get(&locator.run);
        let first = first_rows.and_then(|first_rows| first_rows.get(locator.block as usize));
        first.map(|first| first + locator.row).ok_or_else(lost)
    }
}

/// Looks at all versions of each key, newest first; `look` is told of each whether it is superseded.
fn each_version(version: &Version, mut look: impl FnMut(&[u8], &Locator, u32, bool) -> Result<()>) -> Result<()> {
    let mut numbers = Numbers::new(version);
    let mut newest = Newest::of_version(version)?;
    while let Some((key, locator)) = newest.current() {
        let mut superseded = false;
        for version in std::iter::once(&locator).chain(newest.older()) {
            look(key, version, numbers.of(version)?, superseded)?;
            superseded |= version.op != Op::Merge;
        }
        newest.next()?;
    }
    Ok(())
}

/// Makes the vectors of a version by reading the keys of all its runs.
///
/// # Errors
/// Those of reading; `Unsupported` for runs that are too long.
pub(crate) fn from_runs(version: &Version) -> Result<DeletionVectors> {
    let mut runs: HashMap<RunId, DeadRows> = HashMap::new();
    each_version(version, |_, locator, row, superseded| {
        if superseded || locator.op == Op::Delete {
            runs.entry(locator.run).or_default().rows.insert(row);
        }
        if locator.op == Op::Merge {
            runs.entry(locator.run).or_default().operands += 1;
        }
        Ok(())
    })?;
    let newest = version.runs()?.map(|(_, run)| run.meta().max_seq).max().unwrap_or(0);
    for dead in runs.values_mut().filter(|dead| !dead.rows.is_empty()) {
        dead.newest = newest;
    }
    let runs = runs.into_iter().map(|(run, dead)| (run, Arc::new(dead))).collect();
    Ok(DeletionVectors::new(runs, version.runs()?.map(|(_, run)| run)))
}

/// Compares vectors with the runs that they are of. Where versions can have expired (`expires`), rows that are superseded may be
/// alive, and others dead, since what superseded them may be gone.
///
/// # Errors
/// Those of reading.
pub(crate) fn verify(
    version: &Version,
    vectors: &DeletionVectors,
    expires: bool,
    problems: &mut Vec<Error>,
) -> Result<()> {
    let mut deleted = RangeTombstones::default();
    for (_, run) in version.runs()? {
        deleted.extend(&run.tombstones()?);
    }
    let mut contradictions = 0;
    let mut differ = |what: String| {
        contradictions += 1;
        if contradictions <= MOST_TOLD {
            problems.push(Error::corruption(what));
        }
    };
    let mut operands: HashMap<RunId, u64> = HashMap::new();
    each_version(version, |key, locator, row, superseded| {
        if locator.op == Op::Merge {
            *operands.entry(locator.run).or_default() += 1;
        }
        let dead = superseded || locator.op == Op::Delete;
        let marked = vectors.of(locator.run).is_some_and(|dead| dead.rows.contains(row));
        if dead == marked || expires || deleted.covering(key, MAX_SEQ) > locator.seq {
            return Ok(());
        }
        let key = shown_key(key);
        let (run, op) = (locator.run, locator.op);
        differ(match marked {
            true => {
                format!("row {row} of run {run}, {op:?} of key {key}, is marked as dead, but nothing has superseded it")
            }
            false => format!("row {row} of run {run}, {op:?} of key {key}, is dead, but not marked"),
        });
        Ok(())
    })?;
    for (run, dead) in vectors.runs() {
        let entries = version.find(run)?.map_or(0, |run| run.meta().entries);
        if dead.rows.max().is_some_and(|last| u64::from(last) >= entries) {
            differ(format!("rows of run {run} are marked as dead that it does not have"));
        }
        let counted = operands.get(&run).copied().unwrap_or(0);
        if dead.operands != counted {
            differ(format!(
                "run {run} has {counted} operands, but its deletion vector says {}",
                dead.operands
            ));
        }
    }
    for (run, counted) in operands.iter().filter(|(run, _)| vectors.of(**run).is_none()) {
        differ(format!(
            "run {run} has {counted} operands, but no deletion vector says so"
        ));
    }
    if contradictions > MOST_TOLD {
        let message = format!(
            "{} more rows are not what deletion vectors say",
            contradictions - MOST_TOLD
        );
        problems.push(Error::corruption(message));
    }
    Ok(())
}
