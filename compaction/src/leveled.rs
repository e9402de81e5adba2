//! Leveled compaction: one sorted run per level below level 0, each level `size_ratio` times the one above.

use kodiak_core::compaction::{
    CompactionPlan, CompactionPolicy, PolicyCapabilities, PolicyContext, PolicyFactory, RunShape, VersionShape,
};
use kodiak_core::options::{OptionKind, OptionSpec, Options};
use kodiak_core::registry::Component;
use kodiak_core::{Error, Result};

use crate::layout::Layout;
use crate::movement::{self, Movement};
use crate::pick;
use crate::trigger::{self, LevelZero};

/// Leveled compaction, as LevelDB and RocksDB know it (with RocksDB's dynamic level sizes).
pub(crate) const FACTORY: PolicyFactory = PolicyFactory {
    component: Component {
        name: "leveled",
        summary: "One sorted run per level: fewest runs to search and least space, for more rewriting.",
        options: OPTIONS,
    },
    capabilities: PolicyCapabilities {
        leveled: true,
        drops_expired: true,
    },
    create: |options, context| Ok(Box::new(Leveled::new(options, context)?)),
};

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "l0_trigger",
        kind: OptionKind::Int {
            default: 4,
            range: (1, 1000),
        },
        help: "Sorted runs in level 0 at which they are merged into the level below.",
    },
    OptionSpec {
        name: "size_ratio",
        kind: OptionKind::Int {
            default: 10,
            range: (2, 1000),
        },
        help: "Capacity of a level over that of the level above.",
    },
    OptionSpec {
        name: "base_bytes",
        kind: OptionKind::Bytes {
            default: 0,
            range: (0, 1 << 50),
        },
        help: "Capacity of the first level below level 0; 0 means l0_trigger memtables.",
    },
    OptionSpec {
        name: "dynamic_levels",
        kind: OptionKind::Bool { default: true },
        help: "Whether capacities follow the size of the lowest level, so that a small database has few levels.",
    },
    OptionSpec {
        name: "read_triggered",
        kind: OptionKind::Bool { default: true },
        help: "Whether runs that are not due are merged once scans have lost more time to them than the merge takes.",
    },
    OptionSpec {
        name: "delete_triggered",
        kind: OptionKind::Bool { default: true },
        help: "Whether runs that are not due are merged once their tombstones take away half of the bytes that the merge reads.",
    },
    OptionSpec {
        name: "movement",
        kind: OptionKind::Name { names: movement::NAMES },
        help: "Which run of a full level goes down first.",
    },
];

#[derive(Debug)]
struct Leveled {
    layout: Layout,
    zero: LevelZero,
    read_triggered: bool,
    delete_triggered: bool,
    movement: Movement,
    context: PolicyContext,
}

impl Leveled {
    fn new(options: &Options, context: PolicyContext) -> Result<Self> {
        if context.levels < 2 {
            return Err(Error::settings(
                "compaction.levels",
                "leveled compaction needs at least 2 levels",
            ));
        }
        let runs = options.int("l0_trigger");
        let base_bytes = match options.int("base_bytes") {
            0 => context.memtable_bytes.saturating_mul(runs).max(1),
            bytes => bytes,
        };
        Ok(Self {
            layout: Layout {
                size_ratio: options.int("size_ratio"),
                base_bytes,
                dynamic: options.bool("dynamic_levels"),
            },
            zero: LevelZero { runs, base_bytes },
            read_triggered: options.bool("read_triggered"),
            delete_triggered: options.bool("delete_triggered"),
            movement: Movement::from_name(options.name("movement")),
            context,
        })
    }

    /// The plan for tombstones, if they may bring one about.
    fn deletes(&self, plan: impl FnOnce() -> Option<CompactionPlan>) -> Option<CompactionPlan> {
        self.delete_triggered.then(plan).flatten()
    }
}

impl CompactionPolicy for Leveled {
    fn plan(&self, shape: &VersionShape) -> Option<CompactionPlan> {
        if let Some(plan) = trigger::expired(shape, self.context.ttl_micros) {
            return Some(plan);
        }
        let targets = self.layout.targets(shape);
        trigger::saturated(shape, &targets, self.zero)
            .into_iter()
            .find_map(|due| match due.level {
                0 => {
                    let (base, runs) = (targets.base, self.zero.runs as usize);
                    let small = (self.context.memtable_bytes, self.layout.size_ratio);
                    self.deletes(|| pick::deletes_of_level_zero(shape, base, due.score))
                        .or_else(|| pick::small_level_zero(shape, base, small, runs, due.score))
                        .or_else(|| pick::level_zero(shape, base, due.score))
                        .or_else(|| pick::within_level_zero(shape, runs, due.score))
                }
                level if shape.levels[level].sorted_runs.len() > 1 => pick::unify(shape, level, due.score),
                level => pick::level_down(
                    shape,
                    level,
                    targets.bytes[level],
                    self.movement,
                    &self.context,
                    due.score,
                ),
            })
            .or_else(|| {
                // Whatever keeps the tree in shape is more urgent.
                self.deletes(|| {
                    let pay = |run: &RunShape, met: &[RunShape]| pick::deletes_pay(&[run], met);
                    pick::deletes_of_level_zero(shape, targets.base, 1.0)
                        .or_else(|| pick::tombstones_down(shape, pay, 1.0))
                })
            })
            .or_else(|| trigger::dead(shape, self.context.dead_share))
            .or_else(|| pick::join_small(shape, &self.context, 0.5))
    }

    fn plan_for_reads(&self, shape: &VersionShape) -> Option<CompactionPlan> {
        if !self.read_triggered {
            return None;
        }
        if shape.levels[0].sorted_runs.is_empty() {
            return pick::tombstones_down(shape, |run, _| pick::many_tombstones(run), 0.0);
        }
        let plan = pick::level_zero(shape, self.layout.targets(shape).base, 0.0)?;
        Some(CompactionPlan {
            reason: format!("{}, which scans have paid for", plan.reason),
            ..plan
        })
    }

    fn pending_bytes(&self, shape: &VersionShape) -> u64 {
        let targets = self.layout.targets(shape);
        let mut pending = 0u64;
        // What a level hands down comes on top of what the next one has.
        let mut handed_down = 0u64;
        let zero_bytes = shape.levels[0].bytes();
        if self.zero.score(shape.levels[0].sorted_runs.len(), zero_bytes) >= 1.0 {
            pending += zero_bytes
                + shape.levels[targets.base]
                    .bytes()
                    .min(zero_bytes.saturating_mul(self.layout.size_ratio));
            handed_down = zero_bytes;
        }
        for level in 1..shape.levels.len() {
            let own = shape.levels[level].bytes();
            if shape.levels[level].sorted_runs.len() > 1 {
                pending = pending.saturating_add(own);
            }
            if level + 1 == shape.levels.len() || level < targets.base {
                continue;
            }
            let bytes = own + handed_down;
            handed_down = bytes.saturating_sub(targets.bytes[level]);
            let below = shape.levels[level + 1].bytes() as f64;
            let rewritten = 1.0 + (below / bytes.max(1) as f64).min(self.layout.size_ratio as f64);
            pending = pending.saturating_add((handed_down as f64 * rewritten) as u64);
        }
        pending
    }

    fn runs_allowed(&self, level: usize) -> usize {
        if level == 0 { self.zero.runs as usize } else { 1 }
    }

    fn size_ratio(&self) -> u64 {
        self.layout.size_ratio
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::tests::{run, shape, sorted};
    use kodiak_core::compaction::PlanKind;
    use kodiak_core::options::OptionValue;

    const CONTEXT: PolicyContext = PolicyContext {
        levels: 4,
        memtable_bytes: 10,
        target_run_bytes: 10,
        ttl_micros: 0,
        dead_share: 0.0,
    };

    fn policy(given: &[(&str, OptionValue)], context: PolicyContext) -> Leveled {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Leveled::new(&Options::resolve(OPTIONS, given).expect("valid options"), context).expect("valid")
    }

    #[test]
    fn nothing_is_due_below_the_trigger() {
        let policy = policy(&[], CONTEXT);
        let zero: Vec<_> = (1..4).map(|id| sorted(vec![run(id, "a", "z", 10)])).collect();
        let shape = shape(vec![zero, vec![], vec![], vec![]]);
        assert_eq!((policy.plan(&shape), policy.pending_bytes(&shape)), (None, 0));
    }

    #[test]
    fn a_small_database_goes_from_level_0_to_the_last_level() {
        let policy = policy(&[], CONTEXT);
        let zero: Vec<_> = (1..5).rev().map(|id| sorted(vec![run(id, "a", "z", 10)])).collect();
        let plan = policy.plan(&shape(vec![zero, vec![], vec![], vec![]])).expect("due");
        assert_eq!(
            (plan.kind, plan.inputs.len(), plan.output_level, plan.join),
            (PlanKind::Merge, 4, 3, true)
        );
    }

    #[test]
    fn levels_left_by_another_policy_become_one_sorted_run() {
        let policy = policy(&[], CONTEXT);
        let two = vec![sorted(vec![run(2, "a", "z", 10)]), sorted(vec![run(1, "a", "z", 10)])];
        let plan = policy.plan(&shape(vec![vec![], vec![], two, vec![]])).expect("due");
        assert_eq!((plan.inputs, plan.output_level), (vec![2, 1], 2));
    }

    #[test]
    fn expired_runs_are_dropped_unless_something_older_would_reappear() {
        let policy = policy(
            &[],
            PolicyContext {
                ttl_micros: 5,
                ..CONTEXT
            },
        );
        let mut young = run(1, "a", "c", 10);
        young.newest_micros = 99;
        let mut shape = shape(vec![
            vec![sorted(vec![run(3, "b", "d", 10)]), sorted(vec![run(2, "x", "z", 10)])],
            vec![],
            vec![],
            vec![sorted(vec![young])],
        ]);
        shape.now_micros = 100;
        let plan = policy.plan(&shape).expect("run 2 has expired");
        assert_eq!((plan.kind, plan.inputs), (PlanKind::Drop, vec![2]));
    }

    #[test]
    fn reads_that_have_paid_for_it_empty_level_0() {
        let shape = shape(vec![
            vec![sorted(vec![run(2, "b", "k", 10)])],
            vec![],
            vec![],
            vec![sorted(vec![run(1, "a", "f", 10), run(3, "m", "z", 10)])],
        ]);
        let policy_of = |on| policy(&[("read_triggered", OptionValue::Bool(on))], CONTEXT);
        assert_eq!(policy_of(true).plan(&shape), None);
        let plan = policy_of(true).plan_for_reads(&shape).expect("level 0 has a run");
        assert_eq!(
            (plan.kind, plan.inputs, plan.output_level),
            (PlanKind::Merge, vec![2, 1], 3)
        );
        assert_eq!(policy_of(false).plan_for_reads(&shape), None);
    }

    #[test]
    fn with_level_0_empty_reads_send_the_most_tombstones_down() {
        let with = |id, min, max, tombstones| {
            let mut run = run(id, min, max, 10);
            run.tombstones = tombstones;
            run
        };
        let above = vec![with(1, "a", "c", 2), with(2, "d", "f", 9), with(3, "g", "k", 4)];
        let below = vec![run(4, "a", "e", 10), run(5, "f", "z", 10)];
        let levels = |above, below| shape(vec![vec![], vec![], vec![sorted(above)], vec![sorted(below)]]);
        let policy = policy(&[], CONTEXT);
        let plan = policy.plan_for_reads(&levels(above, below.clone())).expect("9 of 10");
        assert_eq!((plan.inputs, plan.output_level), (vec![2, 4, 5], 3));
        assert_eq!(policy.plan_for_reads(&levels(vec![with(1, "a", "c", 2)], below)), None);
        let plan = policy
            .plan_for_reads(&levels(vec![], vec![with(6, "a", "c", 3)]))
            .expect("on the last level");
        assert_eq!((plan.inputs, plan.output_level), (vec![6], 3));
    }

    #[test]
    fn tombstones_go_down_once_they_take_away_half_of_what_is_read() {
        let with = |id, min, max, bytes, tombstones| {
            let mut run = run(id, min, max, bytes);
            run.tombstones = tombstones;
            run
        };
        let rows = |bytes| {
            vec![
                run(1, "a", "e", bytes),
                run(2, "f", "k", bytes),
                run(3, "p", "z", bytes),
            ]
        };
        let zero = |tombstones| {
            let runs = [5, 4].map(|id| sorted(vec![with(id, "b", "i", 2, tombstones)]));
            shape(vec![runs.into(), vec![], vec![], vec![sorted(rows(10))]])
        };
        let policy_of = |on| policy(&[("delete_triggered", OptionValue::Bool(on))], CONTEXT);
        let plan = policy_of(true)
            .plan(&zero(6))
            .expect("12 of 20 rows, and 24 bytes are read");
        assert_eq!((plan.kind, plan.inputs), (PlanKind::Merge, vec![4, 5, 1, 2]));
        assert_eq!(plan.output_level, 3);
        assert_eq!(policy_of(true).plan(&zero(5)), None);
        assert_eq!(policy_of(false).plan(&zero(200)), None);

        let above = |tombstones| {
            let runs = vec![with(4, "a", "b", 9, 10), with(5, "f", "p", 20, tombstones)];
            shape(vec![vec![], vec![], vec![sorted(runs)], vec![sorted(rows(100))]])
        };
        let plan = policy_of(true)
            .plan(&above(110))
            .expect("110 of 200 rows, and 220 bytes are read");
        assert_eq!((plan.inputs, plan.output_level), (vec![5, 2, 3], 3));
        assert_eq!(policy_of(true).plan(&above(109)), None);
    }

    #[test]
    fn the_run_with_the_largest_dead_share_is_rewritten_where_it_is() {
        let context = PolicyContext {
            dead_share: 0.5,
            ..CONTEXT
        };
        let below = |dead: [u64; 3]| {
            let runs = (1..).zip(dead).map(|(id, dead)| {
                let mut run = run(id, &format!("{id}"), &format!("{id}z"), 10);
                run.dead = dead;
                run
            });
            shape(vec![vec![], vec![], vec![], vec![sorted(runs.collect())]])
        };
        let plan = policy(&[], context).plan(&below([5, 7, 0])).expect("due");
        assert_eq!((plan.inputs, plan.output_level, plan.join), (vec![2], 3, true));
        assert_eq!(policy(&[], context).plan(&below([4, 4, 4])), None);
        assert_eq!(
            policy(&[], CONTEXT).plan(&below([9, 9, 9])),
            None,
            "never, if the share is 0"
        );
        let mut busy = below([0, 9, 5]);
        busy.levels[3].sorted_runs[0].runs[1].busy = true;
        assert_eq!(policy(&[], context).plan(&busy).map(|plan| plan.inputs), Some(vec![3]));
    }

    #[test]
    fn a_single_level_is_refused() {
        let error = Leveled::new(&Options::defaults(OPTIONS), PolicyContext { levels: 1, ..CONTEXT }).expect_err("one");
        assert_eq!(error.setting(), Some("compaction.levels"));
    }
}
