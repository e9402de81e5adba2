//! The suite for compaction policies: a small simulator that carries out plans on synthetic runs and checks, after every
//! step, that for each key newer versions are above older ones.

use std::collections::{BTreeMap, BTreeSet};

use crate::compaction::{
    CompactionPlan, CompactionPolicy, LevelShape, PlanKind, PolicyContext, PolicyFactory, RunId, RunShape,
    SortedRunShape, VersionShape,
};
use crate::options::{OptionKind, OptionValue, Options};

/// Bytes that the simulator counts for each entry.
const ENTRY_BYTES: u64 = 10;
/// Entries of a flush at most.
const FLUSH_ENTRIES: u64 = 40;
/// Entries of a run at which a merge begins the next one.
const RUN_ENTRIES: usize = 40;
/// Compactions that may run side by side.
const PARALLEL: usize = 3;
/// Plans after which a shape without further flushes must have come to rest.
const PATIENCE: usize = 5_000;

/// Checks every promise of [`CompactionPolicy`] for the policies that `factory` makes, with its defaults and with each value of
/// each named or switchable option.
///
/// # Panics
/// If one is broken; the message names the policy, its options and the seed.
pub fn check(factory: &PolicyFactory) {
    for (variant, options) in variants(factory).into_iter().enumerate() {
        for (case, distribution) in Distribution::ALL.into_iter().enumerate() {
            for levels in [2, 4, 7] {
                let ttl_micros = if factory.capabilities.drops_expired && case % 2 == 1 {
                    3_000
                } else {
                    0
                };
                let context = PolicyContext {
                    levels,
                    memtable_bytes: FLUSH_ENTRIES * ENTRY_BYTES,
                    target_run_bytes: RUN_ENTRIES as u64 * ENTRY_BYTES,
                    ttl_micros,
                    dead_share: if case < 2 { 0.5 } else { 0.0 },
                };
                let seed = (variant * 100 + case * 10 + levels) as u64;
                let name = factory.component.name;
                let label = format!("policy {name}, {options:?}, {distribution:?}, {levels} levels, seed {seed}");
                let policy = (factory.create)(&options, context)
                    .unwrap_or_else(|error| panic!("{label}: cannot be made: {error}"));
                Simulation::new(&*policy, context, distribution, seed, label).run(150);
            }
        }
    }
}

fn variants(factory: &PolicyFactory) -> Vec<Options> {
    let specs = factory.component.options;
    let mut given = vec![Vec::new()];
    for spec in specs {
        let values = match spec.kind {
            OptionKind::Name { names } => names.iter().map(|&name| OptionValue::Name(name.to_owned())).collect(),
            OptionKind::Bool { .. } => vec![OptionValue::Bool(false), OptionValue::Bool(true)],
            OptionKind::Int { range, .. } => vec![OptionValue::Int(range.0.max(2).min(range.1))],
            _ => Vec::new(),
        };
        given.extend(values.into_iter().map(|value| vec![(spec.name.to_owned(), value)]));
    }
    given
        .into_iter()
        .map(|given| Options::resolve(specs, given).unwrap_or_else(|error| panic!("{error}")))
        .collect()
}

/// Which keys a flush holds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Distribution {
    Uniform,
    Sequential,
    Clustered,
    Skewed,
}

impl Distribution {
    const ALL: [Self; 4] = [Self::Uniform, Self::Sequential, Self::Clustered, Self::Skewed];
}

#[derive(Debug, Clone)]
struct Run {
    shape: RunShape,
    /// Key and sequence number, in the order of entries.
    entries: Vec<(u32, u64)>,
}

#[derive(Debug)]
struct Simulation<'p> {
    policy: &'p dyn CompactionPolicy,
    context: PolicyContext,
    distribution: Distribution,
    random: u64,
    label: String,
    /// Levels, sorted runs newest first, runs in key order.
    levels: Vec<Vec<Vec<Run>>>,
    running: Vec<CompactionPlan>,
    next_run: RunId,
    next_seq: u64,
    now: u64,
    next_key: u32,
}

impl<'p> Simulation<'p> {
    fn new(
        policy: &'p dyn CompactionPolicy,
        context: PolicyContext,
        distribution: Distribution,
        seed: u64,
        label: String,
    ) -> Self {
        Self {
            policy,
            context,
            distribution,
            random: seed,
            label,
            levels: vec![Vec::new(); context.levels],
            running: Vec::new(),
            next_run: 1,
            next_seq: 1,
            now: 0,
            next_key: 0,
        }
    }

    fn run(mut self, steps: usize) {
        for level in 0..self.context.levels {
            assert!(
                self.policy.runs_allowed(level) >= 1,
                "{}: level {level} may hold nothing",
                self.label
            );
        }
        assert!(self.policy.size_ratio() >= 1, "{}", self.label);
        assert_eq!(
            self.policy.plan(&self.shape()),
            None,
            "{}: a plan for nothing",
            self.label
        );
        for _ in 0..steps {
            match self.pick(3) {
                0 => self.flush(),
                1 => drop(self.start()),
                _ => self.finish_one(),
            }
            self.check_order();
        }
        let mut patience = PATIENCE;
        while self.start() || !self.running.is_empty() {
            self.finish_one();
            self.check_order();
            patience -= 1;
            assert!(patience > 0, "{}: does not come to rest", self.label);
        }
        let pending = self.policy.pending_bytes(&self.shape());
        assert_eq!(pending, 0, "{}: at rest, but {pending} bytes behind", self.label);
    }

    /// SplitMix64.
    fn pick(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % below
    }

    fn shape(&self) -> VersionShape {
        let sorted = |runs: &Vec<Run>| SortedRunShape {
            runs: runs.iter().map(|run| run.shape.clone()).collect(),
        };
        let level = |runs: &Vec<Vec<Run>>| LevelShape {
            sorted_runs: runs.iter().map(sorted).collect(),
        };
        VersionShape {
            levels: self.levels.iter().map(level).collect(),
            now_micros: self.now,
        }
    }

    fn flush(&mut self) {
        let count = 1 + self.pick(FLUSH_ENTRIES);
        let cluster = self.pick(8) as u32 * 1000;
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let key = match self.distribution {
                Distribution::Uniform => self.pick(4000) as u32,
                Distribution::Sequential => {
                    self.next_key += 1;
                    self.next_key
                }
                Distribution::Clustered => cluster + self.pick(100) as u32,
                Distribution::Skewed => (self.pick(60) * self.pick(60)) as u32,
            };
            entries.insert(key, self.next_seq);
            self.next_seq += 1;
        }
        self.now += 100;
        let tombstones = if self.pick(4) == 0 { count } else { 0 };
        let mut run = self.new_run(entries.into_iter().collect(), (self.now, self.now), tombstones);
        if self.pick(4) == 0 {
            run.shape.dead = run.shape.entries * 3 / 4;
        }
        self.levels[0].insert(0, vec![run]);
    }

    fn new_run(&mut self, entries: Vec<(u32, u64)>, micros: (u64, u64), tombstones: u64) -> Run {
        let id = self.next_run;
        self.next_run += 1;
        let key = |index: usize| entries[index].0.to_be_bytes().as_slice().into();
        let seqs = || entries.iter().map(|entry| entry.1);
        let shape = RunShape {
            id,
            min_key: key(0),
            max_key: key(entries.len() - 1),
            bytes: entries.len() as u64 * ENTRY_BYTES,
            entries: entries.len() as u64,
            tombstones: tombstones.min(entries.len() as u64),
            dead: 0,
            min_seq: seqs().min().unwrap_or(0),
            max_seq: seqs().max().unwrap_or(0),
            oldest_micros: micros.0,
            newest_micros: micros.1,
            busy: false,
        };
        Run { shape, entries }
    }

    /// Asks for a plan and marks its inputs; false if there is none.
    fn start(&mut self) -> bool {
        if self.running.len() >= PARALLEL {
            return false;
        }
        let shape = self.shape();
        let plan = self.policy.plan(&shape);
        assert_eq!(
            plan,
            self.policy.plan(&shape),
            "{}: two answers for one shape",
            self.label
        );
        let Some(plan) = plan else { return false };
        let label = format!("{}: {plan:?}", self.label);
        assert!(
            !plan.inputs.is_empty() && !plan.reason.is_empty(),
            "{label}: nothing to do, or no reason"
        );
        assert!(plan.output_level < self.context.levels, "{label}: no such level");
        assert!(plan.score >= 1.0, "{label}: not urgent, yet planned");
        let mut inputs: BTreeSet<RunId> = plan.inputs.iter().copied().collect();
        assert_eq!(inputs.len(), plan.inputs.len(), "{label}: a run is named twice");
        for run in self.levels.iter_mut().flatten().flatten() {
            if inputs.remove(&run.shape.id) {
                assert!(!run.shape.busy, "{label}: run {} is busy", run.shape.id);
                run.shape.busy = true;
            }
        }
        assert!(inputs.is_empty(), "{label}: unknown runs {inputs:?}");
        self.running.push(plan);
        true
    }

    /// Carries out one of the running plans, not always the oldest.
    fn finish_one(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let index = self.pick(self.running.len() as u64) as usize;
        let plan = self.running.swap_remove(index);
        let mut taken = Vec::new();
        for level in &mut self.levels {
            for sorted in level.iter_mut() {
                let (inputs, rest): (Vec<Run>, Vec<Run>) = std::mem::take(sorted)
                    .into_iter()
                    .partition(|run| plan.inputs.contains(&run.shape.id));
                *sorted = rest;
                taken.extend(inputs);
            }
            level.retain(|sorted| !sorted.is_empty());
        }
        let results = match plan.kind {
            PlanKind::Merge => self.merge(taken),
            PlanKind::Move => {
                taken.iter_mut().for_each(|run| run.shape.busy = false);
                taken.sort_by(|left, right| left.shape.min_key.cmp(&right.shape.min_key));
                taken
            }
            PlanKind::Drop => {
                let limit = self.now.saturating_sub(self.context.ttl_micros);
                for run in &taken {
                    assert!(
                        self.context.ttl_micros > 0 && run.shape.newest_micros <= limit,
                        "{}: {plan:?}: run {} has not expired",
                        self.label,
                        run.shape.id
                    );
                }
                self.check_nothing_reappears(&taken, &plan);
                return;
            }
        };
        self.place(results, &plan);
    }

    /// What is below a dropped run becomes visible again: it must have expired too.
    fn check_nothing_reappears(&self, dropped: &[Run], plan: &CompactionPlan) {
        let limit = self.now.saturating_sub(self.context.ttl_micros);
        for run in self.levels.iter().flatten().flatten() {
            let uncovered = |gone: &Run| {
                run.entries
                    .iter()
                    .any(|entry| gone.entries.iter().any(|old| old.0 == entry.0 && old.1 > entry.1))
            };
            if run.shape.newest_micros > limit && dropped.iter().any(uncovered) {
                panic!("{}: {plan:?}: entries of run {} reappear", self.label, run.shape.id);
            }
        }
    }

    fn merge(&mut self, taken: Vec<Run>) -> Vec<Run> {
        let mut newest: BTreeMap<u32, u64> = BTreeMap::new();
        let oldest_micros = taken.iter().map(|run| run.shape.oldest_micros).min().unwrap_or(0);
        let newest_micros = taken.iter().map(|run| run.shape.newest_micros).max().unwrap_or(0);
        for &(key, seq) in taken.iter().flat_map(|run| &run.entries) {
            let slot = newest.entry(key).or_insert(seq);
            *slot = seq.max(*slot);
        }
        let entries: Vec<(u32, u64)> = newest.into_iter().collect();
        entries
            .chunks(RUN_ENTRIES)
            .map(|part| self.new_run(part.to_vec(), (oldest_micros, newest_micros), 0))
            .collect()
    }

    fn place(&mut self, mut results: Vec<Run>, plan: &CompactionPlan) {
        let level = &mut self.levels[plan.output_level];
        if plan.join && !level.is_empty() {
            level[0].append(&mut results);
            level[0].sort_by(|left, right| left.shape.min_key.cmp(&right.shape.min_key));
        } else {
            let age = |runs: &[Run]| runs.iter().map(|run| run.shape.max_seq).max();
            let newest = age(&results);
            let position = level
                .iter()
                .position(|sorted| age(sorted) < newest)
                .unwrap_or(level.len());
            level.insert(position, results);
        }
        for sorted in level.iter() {
            for pair in sorted.windows(2) {
                assert!(
                    pair[0].shape.max_key < pair[1].shape.min_key,
                    "{}: {plan:?}: runs {} and {} of one sorted run overlap",
                    self.label,
                    pair[0].shape.id,
                    pair[1].shape.id
                );
            }
        }
    }

    /// For each key, what is above is newer.
    fn check_order(&self) {
        let mut oldest_above: BTreeMap<u32, u64> = BTreeMap::new();
        for (level, sorted_runs) in self.levels.iter().enumerate() {
            for sorted in sorted_runs {
                for &(key, seq) in sorted.iter().flat_map(|run| &run.entries) {
                    let above = oldest_above.insert(key, seq);
                    assert!(
                        above.is_none_or(|above| above > seq),
                        "{}: key {key} at level {level} has sequence number {seq}, above it is {above:?}",
                        self.label
                    );
                }
            }
        }
    }
}
