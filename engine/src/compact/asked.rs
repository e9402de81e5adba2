//! Compactions that a program asks for: of a whole table, or of a range of its keys.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use kodiak_core::Result;
use kodiak_core::compaction::{CompactionPlan, RunId, RunShape};

use super::inputs::Inputs;
use super::plan::{full_plan, range_step};
use crate::db::{Shared, TableInner};
use crate::read::ScanBounds;
use crate::version::Version;

impl Shared {
    /// Merges all runs of a table into one sorted run on the deepest level that it uses (at least level 1).
    pub(crate) fn compact_fully(&self, table: &Arc<TableInner>) -> Result<()> {
        self.compact_as(table, |version| {
            let snapshots = self.snapshots.list();
            let dead = version.runs()?.any(|(_, run)| version.dead_rows(run, &snapshots) > 0);
            full_plan(version, dead || !self.of_other_schemas(table, version)?.is_empty())
        })
    }

    /// Merges the runs of a table that may hold keys of `bounds` into one sorted run, a level at a time.
    pub(crate) fn compact_range(&self, table: &Arc<TableInner>, bounds: &ScanBounds) -> Result<()> {
        let wanted = |run: &RunShape| bounds.meets(&run.min_key, &run.max_key);
        for level in 0..self.settings.compaction.levels {
            self.compact_as(table, |version| {
                let shape = version.shape(self.now_micros(), &self.snapshots.list())?;
                let outdated = self.of_other_schemas(table, version)?;
                let cleaned = |run: &RunShape| run.tombstones + run.dead > 0 || outdated.contains(&run.id);
                Ok(range_step(&shape, level, wanted, cleaned))
            })?;
        }
        Ok(())
    }

    /// Carries out what `plan` says of a version, once no other compaction has any of its runs.
    fn compact_as(
        &self,
        table: &Arc<TableInner>,
        plan: impl Fn(&Arc<Version>) -> Result<Option<CompactionPlan>>,
    ) -> Result<()> {
        loop {
            let planning = self.planning.lock();
            let version = Arc::clone(&table.view.load().version);
            let Some(plan) = plan(&version)? else {
                return Ok(());
            };
            let inputs = Inputs::take(table, &version, &plan);
            drop(planning);
            if let Some(inputs) = inputs {
                return self.compact(table, &plan, version, inputs);
            }
            self.check_open()?;
            let seen = self.signals.progress.count();
            self.signals.progress.wait(seen, Duration::from_millis(20));
        }
    }

    /// The runs that have another schema than those that are written now.
    fn of_other_schemas(&self, table: &TableInner, version: &Version) -> Result<HashSet<RunId>> {
        let mut others = HashSet::new();
        if table.key_value || table.schemas.all().len() == 1 {
            return Ok(others);
        }
        let number = self.output_target(table)?.0.version().number();
        for (_, run) in version.runs()? {
            if run.reader()?.schema().number() != number {
                others.insert(run.id());
            }
        }
        Ok(others)
    }
}
