//! From a choice to a plan that keeps newer versions above older ones.
//!
//! All functions return `None` when a run that they need is busy; the caller then tries something else.

use kodiak_core::compaction::{CompactionPlan, LevelShape, PlanKind, PolicyContext, RunId, RunShape, VersionShape};

use crate::movement::{Candidate, Movement};

/// A compaction may take this many target runs from the upper level when that costs nothing more below.
const MAX_WIDENED_RUNS: u64 = 8;

/// A run is small if it has less than this, and less than a 64th of a target run ...
const SMALL_BYTES: u64 = 64 << 10;

/// ... and so many small neighbours are made one. With fewer, tables with indexes would bring these up to date too often.
const MANY_SMALL: usize = 32;

/// The runs of a level that has at most one sorted run.
pub(crate) fn only_run(level: &LevelShape) -> &[RunShape] {
    level.sorted_runs.first().map_or(&[], |sorted| &sorted.runs)
}

/// The part of `runs` (disjoint, in key order) that meets the key range, as indexes.
fn overlapping(runs: &[RunShape], min_key: &[u8], max_key: &[u8]) -> std::ops::Range<usize> {
    let start = runs.partition_point(|run| &*run.max_key < min_key);
    let end = runs.partition_point(|run| &*run.min_key <= max_key);
    start..end.max(start)
}

fn plan(kind: PlanKind, inputs: Vec<RunId>, output_level: usize, score: f64, reason: String) -> CompactionPlan {
    CompactionPlan {
        kind,
        inputs,
        output_level,
        join: true,
        reason,
        score,
    }
}

/// True if more than a quarter of the rows are tombstones.
pub(crate) fn many_tombstones(run: &RunShape) -> bool {
    run.tombstones.saturating_mul(4) > run.entries
}

/// True if a run may go to `level` as it is: one in which many rows are tombstones is better rewritten where nothing lies
/// below, because there they can be forgotten.
fn worth_moving(run: &RunShape, level: usize, levels: usize) -> bool {
    level + 1 < levels || !many_tombstones(run)
}

/// Runs of level 0 that must go down together, and what they meet in the base level.
struct Group<'a> {
    upper: Vec<&'a RunShape>,
    below: std::ops::Range<usize>,
    max_key: &'a [u8],
}

/// Level 0 cut into groups that neither overlap each other nor a common run of the base level. Within a group every
/// overlapping run is taken, older and newer alike, so that whatever stays in level 0 is unrelated to what goes down.
fn groups<'a>(level_zero: &'a LevelShape, base: &[RunShape]) -> Vec<Group<'a>> {
    let mut runs: Vec<&RunShape> = level_zero.runs().collect();
    runs.sort_by(|left, right| left.min_key.cmp(&right.min_key).then(left.id.cmp(&right.id)));
    let mut groups: Vec<Group<'a>> = Vec::new();
    for run in runs {
        let below = overlapping(base, &run.min_key, &run.max_key);
        match groups.last_mut() {
            Some(group) if *run.min_key <= *group.max_key || below.start < group.below.end => {
                // The part of the base that the group meets reaches from its first run to its last, gaps included:
                // the result may span them.
                group.below = if group.below.is_empty() {
                    below
                } else {
                    group.below.start..group.below.end.max(below.end)
                };
                group.max_key = group.max_key.max(&run.max_key);
                group.upper.push(run);
            }
            _ => groups.push(Group {
                below,
                max_key: &run.max_key,
                upper: vec![run],
            }),
        }
    }
    groups
}

/// Level 0 into the base level: whatever lies alone is moved; otherwise the group with the most runs is merged.
pub(crate) fn level_zero(shape: &VersionShape, base: usize, score: f64) -> Option<CompactionPlan> {
    if shape.levels[base].sorted_runs.len() > 1 {
        return None;
    }
    let below = only_run(&shape.levels[base]);
    let mut groups = groups(&shape.levels[0], below);
    groups.retain(|group| {
        !group.upper.iter().any(|run| run.busy) && !below[group.below.clone()].iter().any(|run| run.busy)
    });
    let alone: Vec<RunId> = groups
        .iter()
        .filter(|group| group.upper.len() == 1 && group.below.is_empty())
        .filter(|group| worth_moving(group.upper[0], base, shape.levels.len()))
        .map(|group| group.upper[0].id)
        .collect();
    let runs = shape.levels[0].sorted_runs.len();
    if !alone.is_empty() {
        let reason = format!("level 0 has {runs} sorted runs; {} meet nothing", alone.len());
        return Some(plan(PlanKind::Move, alone, base, score, reason));
    }
    // On a tie the first, in key order.
    let group = groups.iter().rev().max_by_key(|group| group.upper.len())?;
    let mut inputs: Vec<RunId> = group.upper.iter().map(|run| run.id).collect();
    inputs.extend(below[group.below.clone()].iter().map(|run| run.id));
    Some(plan(
        PlanKind::Merge,
        inputs,
        base,
        score,
        format!("level 0 has {runs} sorted runs"),
    ))
}

/// While the way down is blocked: the newest sorted runs of level 0 become one there, if there are at least `least`.
pub(crate) fn within_level_zero(shape: &VersionShape, least: usize, score: f64) -> Option<CompactionPlan> {
    let taken = of_like_size(&shape.levels[0]);
    (taken >= least.max(2)).then(|| newest_become_one(shape, taken, score, "the way down is blocked"))
}

/// How many of the newest sorted runs of level 0 are free and of sizes at which merging them pays.
fn of_like_size(level_zero: &LevelShape) -> usize {
    let mut bytes = 0u64;
    let like = level_zero.sorted_runs.iter().take_while(|sorted| {
        // A much larger one is the result of an earlier merge: rewriting it again would not pay.
        let like = !sorted.busy() && (bytes == 0 || sorted.bytes() <= bytes.saturating_mul(2));
        bytes += sorted.bytes();
        like
    });
    like.count()
}

fn newest_become_one(shape: &VersionShape, taken: usize, score: f64, why: &str) -> CompactionPlan {
    let sorted_runs = &shape.levels[0].sorted_runs;
    let inputs = sorted_runs[..taken]
        .iter()
        .flat_map(|sorted| &sorted.runs)
        .map(|run| run.id)
        .collect();
    let reason = format!("level 0 has {} sorted runs and {why}", sorted_runs.len());
    CompactionPlan {
        join: false,
        ..plan(PlanKind::Merge, inputs, 0, score, reason)
    }
}

/// Small flushes: while all of level 0 is below `enough` bytes and below 1/`ratio` of what it would meet in the base level,
/// its runs are merged among themselves, which costs so much less than to rewrite the base.
pub(crate) fn small_level_zero(
    shape: &VersionShape,
    base: usize,
    (enough, ratio): (u64, u64),
    least: usize,
    score: f64,
) -> Option<CompactionPlan> {
    let zero = &shape.levels[0];
    let bytes = zero.bytes();
    let (min_key, max_key) = (
        zero.runs().map(|run| &run.min_key).min()?,
        zero.runs().map(|run| &run.max_key).max()?,
    );
    let below = only_run(&shape.levels[base]);
    let met: u64 = below[overlapping(below, min_key, max_key)]
        .iter()
        .map(|run| run.bytes)
        .sum();
    if bytes >= enough || bytes.saturating_mul(ratio) >= met || zero.runs().any(|run| run.busy) {
        return None;
    }
    let taken = match of_like_size(zero) {
        some if some >= least.max(2) => some,
        _ => zero.sorted_runs.len(),
    };
    (taken >= 2).then(|| newest_become_one(shape, taken, score, "its runs are small"))
}

/// All sorted runs of a level become one.
pub(crate) fn unify(shape: &VersionShape, level: usize, score: f64) -> Option<CompactionPlan> {
    if shape.levels[level].runs().any(|run| run.busy) {
        return None;
    }
    let inputs = shape.levels[level].runs().map(|run| run.id).collect();
    let reason = format!(
        "level {level} has {} sorted runs",
        shape.levels[level].sorted_runs.len()
    );
    Some(plan(PlanKind::Merge, inputs, level, score, reason))
}

/// One run (and neighbours that cost nothing more) of a level into the level below; runs that overlap nothing there are
/// moved, as many as are above the level's target.
pub(crate) fn level_down(
    shape: &VersionShape,
    level: usize,
    target: u64,
    movement: Movement,
    context: &PolicyContext,
    score: f64,
) -> Option<CompactionPlan> {
    let output = level + 1;
    if shape.levels[output].sorted_runs.len() > 1 {
        return None;
    }
    let (upper, below) = (only_run(&shape.levels[level]), only_run(&shape.levels[output]));
    let ranges: Vec<_> = upper
        .iter()
        .map(|run| overlapping(below, &run.min_key, &run.max_key))
        .collect();
    let free = |index: usize| !upper[index].busy && !below[ranges[index].clone()].iter().any(|run| run.busy);
    let mut candidates: Vec<Candidate<'_>> = (0..upper.len())
        .filter(|&index| free(index))
        .map(|index| Candidate {
            index,
            run: &upper[index],
            overlap_bytes: below[ranges[index].clone()].iter().map(|run| run.bytes).sum(),
        })
        .collect();
    movement.rank(&mut candidates, below);
    let first = candidates.first()?;
    let bytes: u64 = upper.iter().filter(|run| !run.busy).map(|run| run.bytes).sum();
    let reason = format!("level {level} has {bytes} bytes, its target is {target}");
    let movable = |candidate: &Candidate<'_>| {
        candidate.overlap_bytes == 0
            && ranges[candidate.index].is_empty()
            && worth_moving(candidate.run, output, shape.levels.len())
    };
    if movable(first) {
        let mut surplus = bytes.saturating_sub(target);
        let mut inputs = Vec::new();
        for candidate in candidates.iter().filter(|candidate| movable(candidate)) {
            inputs.push(candidate.run.id);
            surplus = surplus.saturating_sub(candidate.run.bytes);
            if surplus == 0 {
                break;
            }
        }
        return Some(plan(PlanKind::Move, inputs, output, score, reason));
    }
    let chosen = widen(
        upper,
        &ranges,
        first.index,
        context.target_run_bytes.saturating_mul(MAX_WIDENED_RUNS),
    );
    let mut inputs: Vec<RunId> = upper[chosen].iter().map(|run| run.id).collect();
    inputs.extend(below[ranges[first.index].clone()].iter().map(|run| run.id));
    Some(plan(PlanKind::Merge, inputs, output, score, reason))
}

/// The run below level 0 with the largest share of tombstones, of those that are due with what they meet, into the level below
/// it; on the last level it is rewritten where it is.
pub(crate) fn tombstones_down(
    shape: &VersionShape,
    is_due: impl Fn(&RunShape, &[RunShape]) -> bool,
    score: f64,
) -> Option<CompactionPlan> {
    let last = shape.levels.len() - 1;
    let share = |run: &RunShape| run.tombstones as f64 / run.entries.max(1) as f64;
    let mut best: Option<(f64, CompactionPlan)> = None;
    for level in 1..=last {
        let output = (level + 1).min(last);
        if shape.levels[level].sorted_runs.len() > 1 || shape.levels[output].sorted_runs.len() > 1 {
            continue;
        }
        let below = only_run(&shape.levels[output]);
        for run in only_run(&shape.levels[level]) {
            let met = match level == output {
                true => &[],
                false => &below[overlapping(below, &run.min_key, &run.max_key)],
            };
            let better = best.as_ref().is_none_or(|(most, _)| share(run) > *most);
            if better && !run.busy && !met.iter().any(|run| run.busy) && is_due(run, met) {
                let inputs = std::iter::once(run).chain(met).map(|run| run.id).collect();
                let reason = format!(
                    "{} of {} rows of run {} are tombstones",
                    run.tombstones, run.entries, run.id
                );
                best = Some((share(run), plan(PlanKind::Merge, inputs, output, score, reason)));
            }
        }
    }
    best.map(|(_, plan)| plan)
}

/// Runs of level 0 that [`deletes_pay`] for, and what they meet in the base level.
pub(crate) fn deletes_of_level_zero(shape: &VersionShape, base: usize, score: f64) -> Option<CompactionPlan> {
    if shape.levels[base].sorted_runs.len() > 1 {
        return None;
    }
    let below = only_run(&shape.levels[base]);
    let group = groups(&shape.levels[0], below).into_iter().find(|group| {
        let met = &below[group.below.clone()];
        let busy = group.upper.iter().any(|run| run.busy) || met.iter().any(|run| run.busy);
        !busy && deletes_pay(&group.upper, met)
    })?;
    let tombstones: u64 = group.upper.iter().map(|run| run.tombstones).sum();
    let inputs = group.upper.iter().copied().chain(&below[group.below]);
    Some(plan(
        PlanKind::Merge,
        inputs.map(|run| run.id).collect(),
        base,
        score,
        format!("level 0 has {tombstones} tombstones"),
    ))
}

/// True if the tombstones of `upper` take away at least half of the bytes that a merge with `met` reads, as far as their number
/// tells. Then each delete costs a bounded share of a merge, and dead rows do not take more space than live ones for long.
pub(crate) fn deletes_pay(upper: &[&RunShape], met: &[RunShape]) -> bool {
    let above = |of: fn(&RunShape) -> u64| upper.iter().copied().map(of).sum::<u64>();
    let below = |of: fn(&RunShape) -> u64| met.iter().map(of).sum::<u64>();
    let (bytes, entries) = (below(|run| run.bytes), below(|run| run.entries));
    let hit = above(|run| run.tombstones).min(entries);
    let taken = bytes as f64 * hit as f64 / entries.max(1) as f64;
    taken > 0.0 && 2.0 * taken >= (above(|run| run.bytes) + bytes) as f64
}

/// `first` and its neighbours that meet nothing below but what `first` meets, up to `limit` bytes.
fn widen(upper: &[RunShape], ranges: &[std::ops::Range<usize>], first: usize, limit: u64) -> std::ops::Range<usize> {
    let own = &ranges[first];
    let fits = |index: usize| {
        let range = &ranges[index];
        !upper[index].busy && !range.is_empty() && range.start >= own.start && range.end <= own.end
    };
    let (mut start, mut end) = (first, first + 1);
    let mut bytes = upper[first].bytes;
    while end < upper.len() && fits(end) && bytes + upper[end].bytes <= limit {
        bytes += upper[end].bytes;
        end += 1;
    }
    while start > 0 && fits(start - 1) && bytes + upper[start - 1].bytes <= limit {
        start -= 1;
        bytes += upper[start].bytes;
    }
    start..end
}

/// Makes one run of many small neighbours on a level: short flushes of ascending keys go down as they are, and would leave a
/// file each.
pub(crate) fn join_small(shape: &VersionShape, context: &PolicyContext, score: f64) -> Option<CompactionPlan> {
    let most = SMALL_BYTES.min(context.target_run_bytes / 64);
    let small = |run: &RunShape| !run.busy && run.bytes < most;
    let levels = shape.levels.iter().enumerate().skip(1);
    let single = levels.filter(|(_, level)| level.sorted_runs.len() == 1);
    let stretches = single.flat_map(|(number, level)| {
        let stretches = only_run(level).chunk_by(|left, right| small(left) == small(right));
        stretches.map(move |stretch| (number, stretch))
    });
    let (level, stretch) = stretches
        .filter(|(_, stretch)| stretch.len() >= MANY_SMALL && small(&stretch[0]))
        .max_by_key(|(_, stretch)| stretch.len())?;
    let mut room = context.target_run_bytes;
    let taken = stretch.iter().take_while(|run| {
        let fits = run.bytes <= room;
        room = room.saturating_sub(run.bytes);
        fits
    });
    let inputs: Vec<RunId> = taken.map(|run| run.id).collect();
    let reason = format!("{} small runs lie side by side on level {level}", inputs.len());
    Some(plan(PlanKind::Merge, inputs, level, score, reason))
}

#[cfg(test)]
pub(crate) mod tests;
