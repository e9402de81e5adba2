//! Plans of compaction: the one for a whole table, and what can be told of any before it is carried out.

use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::compaction::{CompactionPlan, LevelShape, PlanKind, RunId, RunShape, VersionShape};

use crate::manifest::Place;
use crate::run::Run;
use crate::version::{SortedRun, Version};

/// A plan that merges everything; `None` if there is nothing that it would change. `outdated` if a run is to be written anew
/// whatever it holds.
///
/// # Errors
/// Those of reading the catalogue.
pub(super) fn full_plan(version: &Version, outdated: bool) -> Result<Option<CompactionPlan>> {
    version.read()?;
    Ok(full_plan_of(version, outdated))
}

fn full_plan_of(version: &Version, outdated: bool) -> Option<CompactionPlan> {
    let deepest = version.levels.iter().rposition(|level| !level.sorted_runs.is_empty())?;
    let sorted_runs: usize = version.levels.iter().map(|level| level.sorted_runs.len()).sum();
    let settled =
        !outdated && sorted_runs == 1 && deepest > 0 && !version.sorted_runs().any(|sorted| sorted.tombstones());
    let inputs = version.known_runs().map(|(_, run)| run.id());
    (!settled).then(|| asked_for(inputs.collect(), deepest.max(1).min(version.levels.len() - 1)))
}

fn asked_for(inputs: Vec<RunId>, output_level: usize) -> CompactionPlan {
    CompactionPlan {
        kind: PlanKind::Merge,
        inputs,
        output_level,
        join: true,
        reason: "asked for".to_owned(),
        score: f64::INFINITY,
    }
}

/// One step of compacting a range of keys: the plan that merges the runs of `level` that are `wanted` into the next level in
/// use, or, if it is the deepest (at least level 1), with each other. `None` if none is wanted, or if the deepest level is one
/// sorted run already in which nothing is to be `cleaned` away.
///
/// Steps from level 0 down leave the range in one sorted run: what a step leaves on its level has no keys of the range.
pub(super) fn range_step(
    shape: &VersionShape,
    level: usize,
    wanted: impl Fn(&RunShape) -> bool,
    cleaned: impl Fn(&RunShape) -> bool,
) -> Option<CompactionPlan> {
    let deepest = shape.levels.iter().rposition(|level| !level.sorted_runs.is_empty())?;
    let deepest = deepest.max(1).min(shape.levels.len() - 1);
    let in_use = |&below: &usize| below == deepest || !shape.levels[below].sorted_runs.is_empty();
    let (upper, output) = (
        shape.levels.get(level)?,
        (level + 1..=deepest).find(in_use).unwrap_or(deepest),
    );
    let one = upper.sorted_runs.len() == 1;
    let settled = |run: &RunShape| level > 0 && level == output && one && !cleaned(run);
    let mut inputs: Vec<&RunShape> = upper.runs().filter(|run| wanted(run) && !settled(run)).collect();
    if level > output || inputs.is_empty() {
        return None;
    }
    // On the level of the result, it may overlap nothing that stays; and what stays on a level of several sorted runs may not
    // be older than what leaves it.
    let joined = if one { output..=output } else { level..=output };
    let mut others: Vec<&RunShape> = shape.levels[joined].iter().flat_map(LevelShape::runs).collect();
    others.retain(|run| !inputs.iter().any(|input| input.id == run.id));
    loop {
        let min = inputs.iter().map(|run| &*run.min_key).min()?;
        let max = inputs.iter().map(|run| &*run.max_key).max()?;
        let (meeting, apart): (Vec<_>, Vec<_>) = others.into_iter().partition(|run| run.overlaps(min, max));
        if meeting.is_empty() {
            return Some(asked_for(inputs.iter().map(|run| run.id).collect(), output));
        }
        inputs.extend(meeting);
        others = apart;
    }
}

/// True if no run outside the inputs can hold older versions of their keys: none below the output level overlaps them, nor one
/// on it unless it is newer than all of them. The version has been read whole.
pub(super) fn is_bottom(version: &Version, plan: &CompactionPlan, place: Place) -> bool {
    let inputs: Vec<&Arc<Run>> = version
        .known_runs()
        .filter(|(_, run)| plan.inputs.contains(&run.id()))
        .map(|(_, run)| run)
        .collect();
    let newest = inputs.iter().map(|run| run.meta().max_seq).max().unwrap_or(0);
    let min = inputs.iter().map(|run| run.min_key()).min().unwrap_or_default();
    let max = inputs.iter().map(|run| run.max_key()).max().unwrap_or_default();
    !version
        .levels
        .iter()
        .enumerate()
        .skip(place.level as usize)
        .any(|(level, runs)| {
            runs.sorted_runs.iter().flat_map(SortedRun::known_runs).any(|run| {
                let newer = level == place.level as usize && run.meta().min_seq > newest;
                !newer && !plan.inputs.contains(&run.id()) && run.min_key() <= max && run.max_key() >= min
            })
        })
}

/// Keys at which to cut the inputs into about `wanted` parts of equal size.
pub(super) fn split_points(inputs: &[Arc<Run>], wanted: usize) -> Result<Vec<Vec<u8>>> {
    if wanted < 2 {
        return Ok(Vec::new());
    }
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for run in inputs {
        let reader = run.reader()?;
        let fences = reader.fences();
        let step = (fences.len() / 64).max(1);
        for index in (0..fences.len()).step_by(step) {
            let mut key = Vec::new();
            fences.key(index, &mut key);
            keys.push(key);
        }
    }
    keys.sort_unstable();
    let mut cuts: Vec<Vec<u8>> = (1..wanted)
        .filter_map(|part| keys.get(part * keys.len() / wanted).cloned())
        .collect();
    cuts.dedup();
    cuts.retain(|cut| !cut.is_empty());
    Ok(cuts)
}
