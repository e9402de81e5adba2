//! Plans of compaction: the one for a whole table, and what can be told of any before it is carried out.

use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::compaction::{CompactionPlan, PlanKind};

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
    (!settled).then(|| CompactionPlan {
        kind: PlanKind::Merge,
        inputs: version.known_runs().map(|(_, run)| run.id()).collect(),
        output_level: deepest.max(1).min(version.levels.len() - 1),
        join: true,
        reason: "asked for".to_owned(),
        score: f64::INFINITY,
    })
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
