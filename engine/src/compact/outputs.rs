//! The runs that a flush or compaction writes.

use std::sync::Arc;

use kodiak_core::block::ColumnBlock;
use kodiak_core::{EntryRef, Result};

use super::sink::Sink;
use crate::db::{Moved, Shared, TableInner};
use crate::manifest::RunMeta;
use crate::range_delete::RangeTombstones;
use crate::run::{RunContext, RunPlan, RunWriter};
use crate::typed::Target;

/// What is to be written.
pub struct OutputPlan {
    /// The level it is for.
    pub level: usize,
    /// The entries that come to that level, and where from.
    pub moved: Moved,
    /// The schema of the runs.
    pub target: Target,
    /// Bytes of entries at which a run ends and the next one begins.
    pub target_bytes: u64,
    /// When the oldest and newest entry of the inputs were written.
    pub times: (u64, u64),
    /// Range deletes to keep.
    pub tombstones: RangeTombstones,
    /// First key that may come; `None` for any.
    pub from: Option<Vec<u8>>,
    /// First key that belongs to another worker; `None` for none.
    pub to: Option<Vec<u8>>,
}

/// Splits entries over runs. One key's versions are never split. Dropped without [`finish`](Self::finish), it removes what
/// it wrote.
pub struct Outputs<'a> {
    shared: &'a Shared,
    table: &'a TableInner,
    /// Where the runs go: to those of the table, or to those of a copy of it.
    into: Arc<RunContext>,
    plan: OutputPlan,
    run_plan: Arc<RunPlan>,
    writer: Option<RunWriter>,
    /// First key of the present run's range.
    from: Option<Vec<u8>>,
    finished: Vec<RunMeta>,
    committed: bool,
}

impl<'a> Outputs<'a> {
    /// Nothing written yet.
    pub fn new(shared: &'a Shared, (table, into): (&'a TableInner, &Arc<RunContext>), plan: OutputPlan) -> Self {
        let run_plan = Arc::new(shared.run_plan(table, plan.level, &plan.moved));
        let from = plan.from.clone();
        Self {
            shared,
            table,
            into: Arc::clone(into),
            plan,
            run_plan,
            writer: None,
            from,
            finished: Vec::new(),
            committed: false,
        }
    }

    fn writer(&mut self, next_key: &[u8]) -> Result<&mut RunWriter> {
        let full = self
            .writer
            .as_ref()
            .is_some_and(|writer| writer.bytes() >= self.plan.target_bytes && writer.last_key() != Some(next_key));
        if full {
            self.close(Some(next_key.to_vec()))?;
        }
        if self.writer.is_none() {
            let id = self.shared.new_run_id()?;
            self.writer = Some(RunWriter::new(
                Arc::clone(&self.into),
                &self.plan.target,
                Arc::clone(&self.run_plan),
                id,
            )?);
        }
        self.writer
            .as_mut()
            .ok_or_else(|| kodiak_core::Error::corruption("an output lost its writer"))
    }

    /// Finishes the present run, whose range ends before `to`.
    fn close(&mut self, to: Option<Vec<u8>>) -> Result<()> {
        let tombstones = self.plan.tombstones.clipped(self.from.as_deref(), to.as_deref());
        if self.writer.is_none() && !tombstones.is_empty() {
            let id = self.shared.new_run_id()?;
            self.writer = Some(RunWriter::new(
                Arc::clone(&self.into),
                &self.plan.target,
                Arc::clone(&self.run_plan),
                id,
            )?);
        }
        if let Some(writer) = self.writer.take() {
            let times = &self.table.times;
            self.finished
                .push(writer.finish(&tombstones, self.plan.times, |min, max| times.between(min, max))?);
        }
        self.from = to;
        Ok(())
    }

    /// Finishes the last run; tells what was written, in key order.
    ///
    /// # Errors
    /// Those of writing; everything written is removed then.
    pub fn finish(mut self) -> Result<Vec<RunMeta>> {
        self.close(self.plan.to.clone())?;
        self.committed = true;
        Ok(std::mem::take(&mut self.finished))
    }
}

impl Sink for Outputs<'_> {
    #[inline]
    fn entry(&mut self, entry: EntryRef<'_>) -> Result<()> {
        self.writer(entry.key)?.push(entry)
    }

    fn rows(&mut self, block: &Arc<ColumnBlock>, from: usize, to: usize) -> Result<()> {
        self.writer(block.key(from))?.push_rows(block, from, to)
    }
}

impl Drop for Outputs<'_> {
    fn drop(&mut self) {
        if !self.committed {
            remove_runs(&self.into, &self.finished);
        }
    }
}

/// Removes the files of runs that never came into a version.
pub fn remove_runs(context: &Arc<RunContext>, runs: &[RunMeta]) {
    for meta in runs {
        let run = crate::run::Run::new(meta.clone(), Arc::clone(context));
        run.mark_obsolete();
        drop(run);
    }
    if !runs.is_empty() {
        tracing::debug!(runs = runs.len(), dir = %context.dir.display(), "outputs of a failed job were removed");
    }
}
