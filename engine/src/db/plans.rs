//! From settings to the plans by which tables, runs and policies are made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use arc_swap::ArcSwap;
use crossbeam_utils::sync::ShardedLock;
use kodiak_core::Result;
use kodiak_core::batch::TableId;
use kodiak_core::schema::TableSchema;
use parking_lot::Mutex;

use super::options::TableOptions;
use super::seq_times::SeqTimes;
use super::shared::Shared;
use super::table_state::{TableInner, View};
use crate::exact::Exactness;
use crate::primary::IndexSlot;
use crate::publish::Continuous;
use crate::run::{RunContext, RunPlan};
use crate::secondary::Secondaries;
use crate::settings::Allocation;
use crate::typed::{Schemas, check_operator};
use crate::version::Version;

/// What a job that writes runs does to the number of entries on each level.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moved {
    /// Levels, and how many of their entries go.
    pub taken: Vec<(usize, u64)>,
    /// At most so many come to the level that is written; 0 if nobody knows.
    pub brought: u64,
}

impl Shared {
    /// A table without runs.
    pub(crate) fn new_table(
        &self,
        id: TableId,
        name: &str,
        schemas: Schemas,
        options: TableOptions,
        segment: u64,
    ) -> Result<TableInner> {
        let schemas = Arc::new(schemas);
        let schema = Arc::clone(&schemas.current().schema);
        let operator = match &options.merge_operator {
            Some(name) => Some(self.operators.find(name)?),
            None => None,
        };
        if let Some(operator) = &operator {
            check_operator(&schema, &**operator)?;
        }
        let runs = RunContext {
            storage: Arc::clone(&self.storage),
            dir: self.dir.join("tables").join(format!("{id:06}")),
            schemas: Arc::clone(&schemas),
            formats: self.resolved.components().formats().clone(),
            filters: self.resolved.components().filters().clone(),
            cache: Arc::clone(&self.cache),
            open_runs: Arc::clone(&self.open_runs),
            removals: Arc::clone(&self.removals),
            replaced: AtomicUsize::new(0),
            dropped: AtomicBool::new(false),
        };
        let view = View {
            active: Arc::new(self.new_slot(segment, &[])?),
            frozen: Vec::new(),
            version: Arc::new(Version::empty(self.settings.compaction.levels)),
            index: None,
            secondary: Arc::new([]),
        };
        // Only the process that may write the database publishes; keys and values of programs' own often mean little to others.
        let publish = self.settings.publish;
        let wanted = publish.continuous && (publish.key_value || !schema.is_key_value()) && self.lock.lock().is_some();
        let continuous = wanted.then(|| Arc::clone(&self.signals.publication));
        Ok(TableInner {
            id,
            name: name.to_owned(),
            key_value: schema.is_key_value(),
            schemas,
            altering: ShardedLock::new(()),
            times: SeqTimes::new(options.ttl_micros),
            policy: self.resolved.create_policy(options.ttl_micros)?,
            read_debt: Arc::default(),
            roles: ArcSwap::from_pointee(self.resolved.roles(name, &options.indexes)?),
            options,
            operator,
            view: ArcSwap::from_pointee(view),
            edit: Mutex::new(()),
            publishing: Mutex::default(),
            continuous: Continuous::new(continuous),
            primary: IndexSlot::default(),
            secondary: Secondaries::default(),
            runs: Arc::new(runs),
            exactness: Exactness::default(),
            dropped: AtomicBool::new(false),
        })
    }

    /// Fails if a format that the settings pick for some level cannot hold the schema.
    pub(crate) fn check_formats(&self, schema: &TableSchema) -> Result<()> {
        (0..self.settings.compaction.levels).try_for_each(|level| {
            let factory = self.resolved.format_at(level).factory;
            factory.capabilities.check(factory.component.name, schema)
        })
    }

    /// How runs of a level are written by a job that changes the table's shape by `moved`.
    pub(crate) fn run_plan(&self, table: &TableInner, level: usize, moved: &Moved) -> RunPlan {
        let format = self.resolved.format_at(level);
        let filter = &self.resolved.filter;
        RunPlan {
            format: format.factory,
            write: format.write.clone(),
            lasting: level > 0,
            block_size: format.block_size(table.target().schema()),
            filter: (
                filter.factory,
                filter.options.clone(),
                self.bits_per_key(table, level, moved),
            ),
            filter_prefix: self.settings.filter.prefix,
            database: self.identity,
            table: table.id,
        }
    }

    /// Filter bits per key on a level: the same on all, or by Monkey for the shape that the table has after the job.
    fn bits_per_key(&self, table: &TableInner, level: usize, moved: &Moved) -> f64 {
        let average = self.settings.filter.bits_per_key;
        let adjustable = self.resolved.filter.factory.capabilities.adjustable_bits;
        if self.settings.filter.allocation == Allocation::Uniform || !adjustable {
            return average;
        }
        let version = Arc::clone(&table.view.load().version);
        let deepest = version
            .levels
            .iter()
            .rposition(|level| !level.sorted_runs.is_empty())
            .unwrap_or(0)
            .max(level);
        let runs: Vec<usize> = (0..=deepest).map(|level| table.policy.runs_allowed(level)).collect();
        let mut entries: Vec<u64> = (0..=deepest)
            .map(|level| version.levels.get(level).map_or(0, |level| level.totals().entries))
            .collect();
        for &(from, taken) in &moved.taken {
            if let Some(entries) = entries.get_mut(from) {
                *entries = entries.saturating_sub(taken);
            }
        }
        entries[level] += moved.brought;
        let bits = kodiak_compaction::model::allocate(average, table.policy.size_ratio(), &runs, &entries);
        bits.get(level).copied().unwrap_or(average)
    }

    /// True if nothing waits for a flush, compaction or publication.
    pub(crate) fn is_idle(&self) -> bool {
        let _planning = self.planning.lock();
        let (now, snapshots) = (self.now_micros(), self.snapshots.list());
        self.all_tables().iter().all(|table| {
            let view = table.view.load();
            // What cannot be read makes background work fail.
            let Ok(shape) = view.version.shape(now, &snapshots) else {
                return false;
            };
            let busy = shape.levels.iter().flat_map(|level| level.runs()).any(|run| run.busy);
            view.frozen.is_empty()
                && !busy
                && !table.continuous.is_due(&view.version)
                && table.policy.plan(&shape).is_none()
        }) && self.removals.is_empty()
            && self.trouble.lock().any().is_none()
    }
}
