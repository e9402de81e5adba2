//! When something is due.

use kodiak_core::compaction::{CompactionPlan, PlanKind, RunShape, VersionShape};

use crate::layout::Targets;

/// A level that wants a compaction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Due {
    /// The level to take from.
    pub level: usize,
    /// At least 1; the largest goes first.
    pub score: f64,
}

/// Level 0 of a leveled tree is due from this many sorted runs, or when it outgrows twice the base.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LevelZero {
    /// Sorted runs at which it is due.
    pub runs: u64,
    /// Bytes of the base.
    pub base_bytes: u64,
}

impl LevelZero {
    /// The score of `runs` sorted runs with `bytes` in all.
    pub fn score(&self, runs: usize, bytes: u64) -> f64 {
        let by_runs = runs as f64 / self.runs as f64;
        if runs == 0 {
            by_runs
        } else {
            by_runs.max(bytes as f64 / (2.0 * self.base_bytes as f64))
        }
    }
}

/// The score of a level that is above the first one the tree should have and is to be emptied.
const DRAIN_SCORE: f64 = 1.5;

/// The levels of a leveled tree that are due, most urgent first. Busy runs do not count: they are on their way.
pub(crate) fn saturated(shape: &VersionShape, targets: &Targets, zero: LevelZero) -> Vec<Due> {
    let mut due = Vec::new();
    let idle: Vec<u64> = shape.levels[0]
        .sorted_runs
        .iter()
        .filter(|run| !run.busy())
        .map(|run| run.bytes())
        .collect();
    let score = zero.score(idle.len(), idle.iter().sum());
    if score >= 1.0 {
        due.push(Due { level: 0, score });
    }
    for level in 1..shape.levels.len() {
        let sorted_runs = shape.levels[level].sorted_runs.len();
        if sorted_runs > 1 {
            // Left behind by another policy: it must become one before anything else can be done with the level.
            due.push(Due {
                level,
                score: sorted_runs as f64,
            });
        } else if level + 1 < shape.levels.len() {
            let bytes: u64 = shape.levels[level]
                .runs()
                .filter(|run| !run.busy)
                .map(|run| run.bytes)
                .sum();
            if bytes > targets.bytes[level] {
                let score = match targets.bytes[level] {
                    0 => DRAIN_SCORE,
                    target => bytes as f64 / target as f64,
                };
                due.push(Due { level, score });
            }
        }
    }
    due.sort_by(|left, right| right.score.total_cmp(&left.score).then(left.level.cmp(&right.level)));
    due
}

/// A plan that rewrites, where it is, the sorted run of which the largest share is dead, if that is at least `least` (0 for
/// never). Where a level below 0 has one sorted run, as in a leveled tree, single runs of it are rewritten.
pub(crate) fn dead(shape: &VersionShape, least: f64) -> Option<CompactionPlan> {
    if least <= 0.0 {
        return None;
    }
    let mut best: Option<(f64, usize, &[RunShape], bool)> = None;
    for (level, sorted_runs) in shape.levels.iter().enumerate() {
        let single = level > 0 && sorted_runs.sorted_runs.len() == 1;
        for sorted in &sorted_runs.sorted_runs {
            let pieces: Vec<&[RunShape]> = match single {
                true => sorted.runs.chunks(1).collect(),
                false => vec![&sorted.runs],
            };
            for piece in pieces.into_iter().filter(|piece| !piece.iter().any(|run| run.busy)) {
                let sum = |of: fn(&RunShape) -> u64| piece.iter().map(of).sum::<u64>();
                let (dead, rows) = (sum(|run| run.dead), sum(|run| run.entries));
                let share = dead as f64 / rows.max(1) as f64;
                if dead > 0 && share >= least && best.is_none_or(|(best, ..)| share > best) {
                    best = Some((share, level, piece, single));
                }
            }
        }
    }
    let (share, level, runs, join) = best?;
    Some(CompactionPlan {
        kind: PlanKind::Merge,
        inputs: runs.iter().map(|run| run.id).collect(),
        output_level: level,
        join,
        reason: format!("{:.0} % of the rows are dead", 100.0 * share),
        // Whatever keeps the tree in shape is more urgent.
        score: 1.0,
    })
}

/// A plan that drops the runs whose entries have all expired, unless something older below would reappear.
pub(crate) fn expired(shape: &VersionShape, ttl_micros: u64) -> Option<CompactionPlan> {
    let dead = |run: &RunShape| run.newest_micros.saturating_add(ttl_micros) <= shape.now_micros;
    if ttl_micros == 0
        || !shape
            .levels
            .iter()
            .flat_map(|level| level.runs())
            .any(|run| dead(run) && !run.busy)
    {
        return None;
    }
    let mut kept: Vec<&RunShape> = Vec::new();
    let mut inputs = Vec::new();
    for level in shape.levels.iter().rev() {
        for sorted in level.sorted_runs.iter().rev() {
            for run in &sorted.runs {
                let covers = |older: &&RunShape| older.overlaps(&run.min_key, &run.max_key);
                if dead(run) && !run.busy && !kept.iter().any(covers) {
                    inputs.push(run.id);
                } else {
                    kept.push(run);
                }
            }
        }
    }
    (!inputs.is_empty()).then(|| CompactionPlan {
        kind: PlanKind::Drop,
        reason: format!("{} runs have expired", inputs.len()),
        inputs,
        output_level: 0,
        join: false,
        // It costs next to nothing and frees space: before everything else.
        score: 100.0,
    })
}
