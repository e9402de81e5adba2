//! Carrying out compaction plans.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kodiak_core::Result;
use kodiak_core::compaction::{CompactionPlan, PlanKind};
use kodiak_core::entry::MAX_SEQ;

use super::inputs::Inputs;
use super::outputs::remove_runs;
use super::plan::{is_bottom, split_points};
use super::{OutputPlan, Outputs, Retention, Rewriter};
use crate::db::{IndexUpdates, Moved, Shared, TableInner, View};
use crate::deletion::Passing;
use crate::manifest::{Change, Place, RunMeta, VersionEdit};
use crate::primary::{LeftOut, RunChange};
use crate::range_delete::RangeTombstones;
use crate::read::{MergedCursor, Source, Start};
use crate::run::{Run, SortedRunCursor};
use crate::secondary::SecondaryChange;
use crate::side_by_side::side_by_side;
use crate::typed::Target;
use crate::version::Version;

/// A compaction, the table that it is of, and the version that it was planned from.
type Planned = (CompactionPlan, Arc<TableInner>, Arc<Version>);

/// The first key of a range and the first key after it; `None` for open ends.
type KeySpan = (Option<Vec<u8>>, Option<Vec<u8>>);

impl Shared {
    /// Carries out the most urgent compaction of all tables, or one that reads have paid for; false if there is none.
    pub(crate) fn compact_next(&self) -> Result<bool> {
        let (now, snapshots) = (self.now_micros(), self.snapshots.list());
        let mut best: Option<Planned> = None;
        // Planning and taking the inputs are one step, so that two threads never plan from the same shape.
        let planning = self.planning.lock();
        for table in self.all_tables() {
            let version = Arc::clone(&table.view.load().version);
            let plan = table.policy.plan(&version.shape(now, &snapshots)?);
            if let Some(plan) = plan
                && best.as_ref().is_none_or(|(best, ..)| plan.score > best.score)
            {
                best = Some((plan, table, version));
            }
        }
        let best = match best {
            None => self.planned_for_reads(now)?,
            best => best,
        };
        let Some((plan, table, version)) = best else {
            return Ok(false);
        };
        let Some(inputs) = Inputs::take(&table, &version, &plan) else {
            return Ok(false);
        };
        drop(planning);
        table.read_debt.clear();
        self.compact(&table, &plan, version, inputs)?;
        Ok(true)
    }

    /// The first merge found that costs no more than what reads have lost for want of it.
    fn planned_for_reads(&self, now: u64) -> Result<Option<Planned>> {
        let tables = self.all_tables().into_iter();
        for table in tables.filter(|table| table.read_debt.bytes() > 0) {
            let version = Arc::clone(&table.view.load().version);
            let Some(plan) = table.policy.plan_for_reads(&version.shape(now, &[])?) else {
                continue;
            };
            let inputs = version.known_runs().filter(|(_, run)| plan.inputs.contains(&run.id()));
            let cost: u64 = inputs.map(|(_, run)| run.bytes()).sum();
            if cost <= table.read_debt.bytes() {
                return Ok(Some((plan, table, version)));
            }
        }
        Ok(None)
    }

    /// Carries out a plan whose inputs are taken.
    pub(super) fn compact(
        &self,
        table: &Arc<TableInner>,
        plan: &CompactionPlan,
        version: Arc<Version>,
        inputs: Inputs,
    ) -> Result<()> {
        tracing::debug!(table = table.name, ?plan.kind, inputs = ?plan.inputs, reason = plan.reason, "compaction begins");
        let writes = plan.kind != PlanKind::Move;
        let _changing = writes.then(|| self.changing(table)).transpose()?;
        let done = match plan.kind {
            PlanKind::Move => self.move_runs(table, plan, &inputs),
            PlanKind::Drop => {
                let left_out = LeftOut {
                    lost: true,
                    ..LeftOut::default()
                };
                self.replace(table, &inputs, Vec::new(), Place::default(), &left_out)
            }
            PlanKind::Merge => self.merge_runs(table, plan, &version, &inputs),
        };
        drop(version);
        inputs.leave();
        match done {
            // Dropped meanwhile: there is nothing left to be done for it, and nobody to be told.
            Err(_) if table.dropped.load(Ordering::Acquire) => Ok(()),
            done => done.inspect(|()| table.files_changed()),
        }
    }

    /// The sorted run that results join or become.
    fn output_place(&self, version: &Version, plan: &CompactionPlan, inputs: &Inputs) -> Place {
        let level = plan.output_level;
        let present = version.levels.get(level).map_or(&[][..], |level| &level.sorted_runs);
        let sorted_run = if plan.join && !present.is_empty() {
            present[0].id
        } else {
            // A result on the level of one of its inputs keeps that one's age: newer sorted runs may be there that are not
            // merged with it. Elsewhere it comes from above, and is newer than all.
            let places = inputs.0.iter().filter_map(|run| version.place(run));
            let here = places.filter(|(from, _)| *from == level).map(|(_, id)| id).max();
            here.unwrap_or_else(|| self.new_sorted_run_id())
        };
        Place {
            level: level as u32,
            sorted_run,
        }
    }

    fn move_runs(&self, table: &Arc<TableInner>, plan: &CompactionPlan, inputs: &Inputs) -> Result<()> {
        let place = self.output_place(&table.view.load().version, plan, inputs);
        let mut edit = VersionEdit::new();
        for run in &inputs.0 {
            edit.push(Change::MoveRun {
                table: table.id,
                run: run.id(),
                place,
            });
        }
        self.commit_edit(table, edit, &[])?;
        self.counters
            .moves
            .fetch_add(inputs.0.len() as u64, std::sync::atomic::Ordering::Relaxed);
        change_version(table, None, |version| {
            for run in &inputs.0 {
                if let Some((_, _, run)) = version.remove(run) {
                    version.add(plan.output_level, place.sorted_run, run);
                }
            }
        });
        Ok(())
    }

    /// Puts `outputs`, which lack what was `left_out`, in the place of the inputs, on disk and in memory.
    fn replace(
        &self,
        table: &Arc<TableInner>,
        inputs: &Inputs,
        outputs: Vec<RunMeta>,
        place: Place,
        left_out: &LeftOut,
    ) -> Result<()> {
        let outputs: Vec<Arc<Run>> = outputs
            .into_iter()
            .map(|meta| Arc::new(Run::new(meta, Arc::clone(&table.runs))))
            .collect();
        let mut edit = VersionEdit::new();
        for run in &inputs.0 {
            edit.push(Change::RemoveRun {
                table: table.id,
                run: run.id(),
            });
        }
        for run in &outputs {
            edit.push(Change::AddRun {
                table: table.id,
                place,
                run: Arc::new(run.meta().clone()),
            });
        }
        let change = RunChange::Rewritten {
            inputs: &inputs.0,
            outputs: &outputs,
            left_out,
        };
        let rewritten = SecondaryChange::Rewritten {
            inputs: &inputs.0,
            outputs: &outputs,
        };
        let index = self.update_indexes(table, change, rewritten, &outputs)?;
        index.record(&mut edit);
        self.commit_edit(table, edit, &outputs)?;
        change_version(table, Some(&index), |version| {
            for run in &inputs.0 {
                version.remove(run);
            }
            for run in outputs {
                version.add(place.level as usize, place.sorted_run, run);
            }
        });
        index.installed();
        inputs.0.iter().for_each(|run| run.mark_replaced());
        Ok(())
    }

    fn merge_runs(
        &self,
        table: &Arc<TableInner>,
        plan: &CompactionPlan,
        version: &Version,
        inputs: &Inputs,
    ) -> Result<()> {
        let begun = self.storage.monotonic_nanos();
        self.recover_manifest()?;
        let mut tombstones = RangeTombstones::default();
        for run in &inputs.0 {
            tombstones.extend(&run.tombstones()?);
        }
        let place = self.output_place(version, plan, inputs);
        // Before the snapshots are listed: later ones see everything by which a row is dead.
        let vectors = version
            .dead
            .clone()
            .filter(|vectors| vectors.newest() <= self.visible());
        // Runs as the inputs are of no newer schema than this.
        let (target, snapshots) = self.output_target(table)?;
        let passing = vectors
            .as_ref()
            .map(|vectors| Passing::superseded(Arc::clone(vectors), &snapshots));
        let retention = Retention {
            snapshots,
            bottom: is_bottom(version, plan, place),
            hidden_below: table.hidden_below(|| self.now_micros()),
            tombstones,
            operator: table.operator_for(&target),
            key_value: table.key_value,
            passing,
        };
        let read: u64 = inputs.0.iter().map(|run| run.bytes()).sum();
        let Written { runs: outputs, lost } =
            self.rewrite(table, plan, version, inputs, (&retention, &target), read)?;
        let left_out = LeftOut {
            lost,
            passed: vectors.filter(|_| retention.snapshots.is_empty()),
        };
        self.storage
            .sync_dir(&table.runs.dir)
            .inspect_err(|_| remove_runs(&table.runs, &outputs))?;
        let written: u64 = outputs.iter().map(RunMeta::bytes).sum();
        let count = outputs.len();
        self.replace(table, inputs, outputs, place, &left_out)?;
        let nanos = self.storage.monotonic_nanos().saturating_sub(begun);
        self.counters.compacted(read, written, nanos);
        tracing::info!(
            table = table.name,
            inputs = inputs.0.len(),
            outputs = count,
            level = plan.output_level,
            read,
            written,
            micros = nanos / 1000,
            reason = plan.reason,
            "compacted"
        );
        Ok(())
    }

    /// Writes the outputs, split by key range over threads.
    fn rewrite(
        &self,
        table: &Arc<TableInner>,
        plan: &CompactionPlan,
        version: &Version,
        inputs: &Inputs,
        output: (&Retention, &Target),
        bytes: u64,
    ) -> Result<Written> {
        let target = self.settings.compaction.target_run_size;
        let wanted =
            (bytes / target.max(1)).clamp(1, self.settings.compaction.max_subcompactions.max(1) as u64) as usize;
        let cuts = split_points(&inputs.0, wanted)?;
        let starts = std::iter::once(None).chain(cuts.iter().cloned().map(Some));
        let ends = cuts.iter().cloned().map(Some).chain(std::iter::once(None));
        let ranges: Vec<KeySpan> = starts.zip(ends).collect();
        let work = |(from, to)| self.rewrite_range(table, plan, version, inputs, output, from, to);
        let results = side_by_side("a compaction", ranges, work);
        let (mut written, mut failure) = (Written::default(), None);
        for result in results {
            match result {
                Ok(part) => {
                    written.runs.extend(part.runs);
                    written.lost |= part.lost;
                }
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = failure {
            remove_runs(&table.runs, &written.runs);
            return Err(error);
        }
        Ok(written)
    }

    #[allow(clippy::too_many_arguments)]
    fn rewrite_range(
        &self,
        table: &Arc<TableInner>,
        plan: &CompactionPlan,
        version: &Version,
        inputs: &Inputs,
        (retention, target): (&Retention, &Target),
        from: Option<Vec<u8>>,
        to: Option<Vec<u8>>,
    ) -> Result<Written> {
        let mut sources = Vec::new();
        for sorted_run in version.sorted_runs() {
            let runs: Vec<_> = sorted_run
                .runs()?
                .filter(|run| plan.inputs.contains(&run.id()))
                .cloned()
                .collect();
            if !runs.is_empty() {
                let cursor = SortedRunCursor::new(runs, false).once();
                sources.push(Source::Run(cursor.passing(retention.passing.as_ref())));
            }
        }
        let mut cursor = MergedCursor::new(sources, false);
        match &from {
            Some(from) => cursor.start(Start::At(from, MAX_SEQ))?,
            None => cursor.start(Start::Edge)?,
        }
        let oldest = inputs.0.iter().map(|run| run.meta().oldest_micros).min().unwrap_or(0);
        let newest = inputs.0.iter().map(|run| run.meta().newest_micros).max().unwrap_or(0);
        let output = OutputPlan {
            level: plan.output_level,
            moved: moved(version, inputs),
            target: target.clone(),
            target_bytes: self.settings.compaction.target_run_size,
            times: (oldest, newest),
            tombstones: retention.surviving_tombstones(),
            from,
            to: to.clone(),
        };
        let mut outputs = Outputs::new(self, (table, &table.runs), output);
        let lost = Rewriter::new(cursor, retention, to.as_deref()).run(&mut outputs, &|| self.is_closed())? > 0;
        Ok(Written {
            runs: outputs.finish()?,
            lost,
        })
    }
}

/// The entries that a merge of `inputs` takes from their levels, and at most brings to another one.
fn moved(version: &Version, inputs: &Inputs) -> Moved {
    let from = |run: &Arc<Run>| Some((version.place(run)?.0, run.meta().entries));
    Moved {
        taken: inputs.0.iter().filter_map(from).collect(),
        brought: inputs.0.iter().map(|run| run.meta().entries).sum(),
    }
}

/// What a merge has written.
#[derive(Default)]
struct Written {
    runs: Vec<RunMeta>,
    /// The newest version of some key is not in it.
    lost: bool,
}

/// Changes the runs of a table in memory. Without an `index` they only hang elsewhere, and that of before still belongs to them.
pub(crate) fn change_version(table: &TableInner, index: Option<&IndexUpdates<'_>>, change: impl FnOnce(&mut Version)) {
    let _edit = table.edit.lock();
    let view = table.view.load_full();
    let mut version = (*view.version).clone();
    change(&mut version);
    table.view.store(Arc::new(View {
        active: Arc::clone(&view.active),
        frozen: view.frozen.clone(),
        index: index.map_or_else(|| view.index.clone(), |index| index.view(&mut version)),
        secondary: index.map_or_else(|| Arc::clone(&view.secondary), IndexUpdates::secondary_views),
        version: Arc::new(version),
    }));
}
