//! Size-tiered ("universal") compaction: sorted runs of similar size are merged into one larger one.

use kodiak_core::Result;
use kodiak_core::compaction::{
    CompactionPlan, CompactionPolicy, PlanKind, PolicyCapabilities, PolicyContext, PolicyFactory, RunShape,
    SortedRunShape, VersionShape,
};
use kodiak_core::options::{OptionKind, OptionSpec, Options};
use kodiak_core::registry::Component;

use crate::trigger;

/// Size-tiered compaction with the rules of RocksDB's universal style.
pub(crate) const FACTORY: PolicyFactory = PolicyFactory {
    component: Component {
        name: "tiered",
        summary: "Sorted runs of similar size are merged: least rewriting, for more runs to search and more space.",
        options: OPTIONS,
    },
    capabilities: PolicyCapabilities {
        leveled: false,
        drops_expired: true,
    },
    create: |options, context| Ok(Box::new(Tiered::new(options, context)?)),
};

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "run_trigger",
        kind: OptionKind::Int {
            default: 4,
            range: (2, 1000),
        },
        help: "Sorted runs in the table at which some are merged.",
    },
    OptionSpec {
        name: "size_ratio",
        kind: OptionKind::Int {
            default: 1,
            range: (0, 10_000),
        },
        help: "Percent by which an older sorted run may exceed the newer ones together and still be merged with them.",
    },
    OptionSpec {
        name: "min_merge_width",
        kind: OptionKind::Int {
            default: 2,
            range: (2, 1000),
        },
        help: "Sorted runs that a merge takes at least.",
    },
    OptionSpec {
        name: "max_size_amplification",
        kind: OptionKind::Int {
            default: 200,
            range: (1, 100_000),
        },
        help: "Percent of the oldest sorted run that all newer ones may reach before everything is merged.",
    },
];

/// Sizes of sorted runs are sorted into levels by powers of this, so that formats and filters can be chosen by size.
const LEVEL_RATIO: u64 = 4;

#[derive(Debug)]
struct Tiered {
    run_trigger: usize,
    size_ratio: u64,
    min_merge_width: usize,
    max_size_amplification: u64,
    context: PolicyContext,
}

/// A sorted run in the one order of ages, newest first.
struct Aged<'a> {
    level: usize,
    sorted: &'a SortedRunShape,
    bytes: u64,
    busy: bool,
}

impl Tiered {
    fn new(options: &Options, context: PolicyContext) -> Result<Self> {
        Ok(Self {
            run_trigger: options.size("run_trigger"),
            size_ratio: options.int("size_ratio"),
            min_merge_width: options.size("min_merge_width"),
            max_size_amplification: options.int("max_size_amplification"),
            context,
        })
    }

    /// Everything at once, if the newer runs together are too large for the oldest: most of what they hold is then dead
    /// weight there.
    fn too_much_space(&self, runs: &[Aged<'_>]) -> Option<(std::ops::Range<usize>, String)> {
        let (oldest, newer) = runs.split_last()?;
        let newer_bytes: u64 = newer.iter().map(|run| run.bytes).sum();
        let percent = u128::from(newer_bytes) * 100 / u128::from(oldest.bytes.max(1));
        if percent < u128::from(self.max_size_amplification) || newer.is_empty() || runs.iter().any(|run| run.busy) {
            return None;
        }
        Some((
            0..runs.len(),
            format!("newer runs have {percent} % of the oldest run's bytes"),
        ))
    }

    /// The newest neighbours of similar size.
    fn similar(&self, runs: &[Aged<'_>]) -> Option<(std::ops::Range<usize>, String)> {
        for start in 0..runs.len() {
            let mut bytes = 0u128;
            let mut end = start;
            while end < runs.len() && !runs[end].busy {
                if end > start && bytes * u128::from(100 + self.size_ratio) / 100 < u128::from(runs[end].bytes) {
                    break;
                }
                bytes += u128::from(runs[end].bytes);
                end += 1;
            }
            if end - start >= self.min_merge_width {
                return Some((start..end, format!("{} runs are of similar size", end - start)));
            }
        }
        None
    }

    /// The newest neighbours whatever their sizes, as many as it takes to get below the trigger.
    fn too_many(&self, runs: &[Aged<'_>]) -> Option<(std::ops::Range<usize>, String)> {
        let start = runs.iter().position(|run| !run.busy)?;
        let idle = runs[start..].iter().take_while(|run| !run.busy).count();
        let width = (runs.len() + 2 - self.run_trigger).max(self.min_merge_width).min(idle);
        (width >= 2).then(|| (start..start + width, format!("there are {} sorted runs", runs.len())))
    }

    /// The level of a result: by its size, but never above something newer nor below something older.
    fn output_level(&self, runs: &[Aged<'_>], chosen: &std::ops::Range<usize>) -> usize {
        let bytes: u64 = runs[chosen.clone()].iter().map(|run| run.bytes).sum();
        let last = self.context.levels - 1;
        let classes = (bytes / self.context.memtable_bytes.max(1)).max(1).ilog(LEVEL_RATIO) as usize;
        let deepest = runs.get(chosen.end).map_or(last, |older| older.level);
        classes.clamp(runs[chosen.start].level.min(deepest), deepest)
    }
}

/// True if no two runs overlap: then they are one sorted run already.
fn disjoint(runs: &[&RunShape]) -> bool {
    let mut runs = runs.to_vec();
    runs.sort_by(|left, right| left.min_key.cmp(&right.min_key));
    runs.windows(2).all(|pair| pair[0].max_key < pair[1].min_key)
}

impl CompactionPolicy for Tiered {
    fn plan(&self, shape: &VersionShape) -> Option<CompactionPlan> {
        if let Some(plan) = trigger::expired(shape, self.context.ttl_micros) {
            return Some(plan);
        }
        let runs = by_age(shape);
        if runs.iter().filter(|run| !run.busy).count() < self.run_trigger {
            return trigger::dead(shape, self.context.dead_share);
        }
        let chosen = self
            .too_much_space(&runs)
            .or_else(|| self.similar(&runs))
            .or_else(|| self.too_many(&runs));
        let Some((chosen, reason)) = chosen else {
            return trigger::dead(shape, self.context.dead_share);
        };
        let inputs: Vec<&RunShape> = runs[chosen.clone()].iter().flat_map(|run| &run.sorted.runs).collect();
        let tombstones = inputs.iter().any(|run| run.tombstones > 0);
        let kind = if disjoint(&inputs) && !tombstones {
            PlanKind::Move
        } else {
            PlanKind::Merge
        };
        Some(CompactionPlan {
            kind,
            inputs: inputs.iter().map(|run| run.id).collect(),
            output_level: self.output_level(&runs, &chosen),
            join: false,
            reason,
            score: runs.len() as f64 / self.run_trigger as f64,
        })
    }

    fn pending_bytes(&self, shape: &VersionShape) -> u64 {
        let runs = by_age(shape);
        if runs.len() < self.run_trigger {
            return 0;
        }
        // The newest runs that must go to get below the trigger.
        runs[..runs.len() + 2 - self.run_trigger]
            .iter()
            .map(|run| run.bytes)
            .sum()
    }

    fn runs_allowed(&self, level: usize) -> usize {
        // All sorted runs of the table together stay below the trigger; the lowest level ends with one.
        if level + 1 == self.context.levels {
            1
        } else {
            (self.run_trigger - 1).max(1)
        }
    }

    fn size_ratio(&self) -> u64 {
        LEVEL_RATIO
    }
}

fn by_age(shape: &VersionShape) -> Vec<Aged<'_>> {
    let levels = shape.levels.iter().enumerate();
    levels
        .flat_map(|(level, shape)| shape.sorted_runs.iter().map(move |sorted| (level, sorted)))
        .map(|(level, sorted)| Aged {
            level,
            sorted,
            bytes: sorted.bytes(),
            busy: sorted.busy(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::tests::{run, shape, sorted};

    const CONTEXT: PolicyContext = PolicyContext {
        levels: 4,
        memtable_bytes: 10,
        target_run_bytes: 10,
        ttl_micros: 0,
        dead_share: 0.0,
    };

    fn plan(sizes: &[u64], busy: Option<usize>) -> Option<CompactionPlan> {
        let policy = Tiered::new(&Options::defaults(OPTIONS), CONTEXT).expect("valid");
        let runs = sizes.iter().enumerate().map(|(index, &bytes)| {
            let mut run = run(100 - index as u64, "a", "z", bytes);
            run.busy = busy == Some(index);
            sorted(vec![run])
        });
        policy.plan(&shape(vec![runs.collect(), vec![], vec![], vec![]]))
    }

    #[test]
    fn runs_of_similar_size_are_merged() {
        let plan = plan(&[10, 10, 20, 1000], None).expect("due");
        assert_eq!(
            (plan.inputs, plan.output_level, plan.join),
            (vec![100, 99, 98], 0, false)
        );
    }

    #[test]
    fn too_much_space_merges_everything() {
        let plan = plan(&[100, 400, 900, 600], None).expect("due");
        assert_eq!((plan.inputs.len(), plan.output_level), (4, 3));
    }

    #[test]
    fn runs_of_different_size_are_merged_when_there_are_too_many() {
        let plan = plan(&[10, 100, 1000, 10_000], None).expect("due");
        assert_eq!(plan.inputs, [100, 99]);
    }

    #[test]
    fn busy_runs_are_passed_over_and_never_straddled() {
        let plan = plan(&[10, 10, 10, 10, 10], Some(1)).expect("due");
        assert_eq!(plan.inputs, [98, 97, 96]);
    }

    #[test]
    fn a_result_stays_above_what_is_older() {
        let policy = Tiered::new(&Options::defaults(OPTIONS), CONTEXT).expect("valid");
        let zero = (0..4)
            .map(|index| sorted(vec![run(9 - index, "a", "z", 100)]))
            .collect();
        let shape = shape(vec![zero, vec![sorted(vec![run(1, "a", "z", 10_000)])], vec![], vec![]]);
        let plan = policy.plan(&shape).expect("due");
        assert_eq!((plan.inputs.len(), plan.output_level), (4, 1));
    }

    #[test]
    fn disjoint_runs_become_one_without_rewriting() {
        let policy = Tiered::new(&Options::defaults(OPTIONS), CONTEXT).expect("valid");
        let zero = (0..4).map(|index| {
            let key = char::from(b'm' - index as u8).to_string();
            sorted(vec![run(9 - index, &key, &key, 100)])
        });
        let plan = policy
            .plan(&shape(vec![zero.collect(), vec![], vec![], vec![]]))
            .expect("due");
        assert_eq!((plan.kind, plan.inputs.len(), plan.join), (PlanKind::Move, 4, false));
    }
}
