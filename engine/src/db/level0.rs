//! Writing memtables into runs of level 0, and into the indexes, or into those of a copy.

use std::path::PathBuf;
use std::sync::Arc;

use kodiak_core::{Error, Result};

use super::index_updates::IndexUpdates;
use super::plans::Moved;
use super::shared::Shared;
use super::slot::Slot;
use super::table_state::TableInner;
use crate::compact::{OutputPlan, Outputs, Retention, Rewriter, remove_runs};
use crate::manifest::RunMeta;
use crate::primary::RunChange;
use crate::range_delete::RangeTombstones;
use crate::read::{MergedCursor, Source, Start};
use crate::run::{Run, RunContext};
use crate::secondary::{SecondaryChange, SecondaryUpdate};
use crate::typed::Target;

impl Shared {
    /// Writes memtables into runs, and brings the indexes up to date with these: secondary ones at the same time, unless they have to
    /// look at the runs. If that fails, nothing stays.
    pub(super) fn write_indexed<'t>(
        &self,
        table: &'t Arc<TableInner>,
        slots: &[Arc<Slot>],
    ) -> Result<(Vec<Arc<Run>>, IndexUpdates<'t>)> {
        let (target, retention) = self.level0(table, slots)?;
        let mut primary = self.hold_index(table)?;
        let write = || self.write_level0((table, &table.runs), slots, target, &retention);
        let open = |metas| runs_of(metas, &table.runs);
        let update = |runs: &[Arc<Run>]| {
            let change = SecondaryChange::Flushed {
                slots,
                runs,
                snapshots: &retention.snapshots,
                expired: retention.hidden_below,
            };
            SecondaryUpdate::prepare(table, change, &|| self.snapshots.list())
        };
        let (runs, secondary) = if table.operator.is_some() || table.secondary.all().is_empty() {
            let runs = open(write()?);
            let secondary = update(&runs);
            (runs, secondary)
        } else {
            std::thread::scope(|scope| {
                let written = scope.spawn(write);
                let secondary = update(&[]);
                let panicked = |_| Err(Error::corruption("a thread that writes a run panicked"));
                let written = written.join().unwrap_or_else(panicked)?;
                Ok::<_, Error>((open(written), secondary))
            })?
        };
        let updated = secondary.and_then(|secondary| {
            primary.prepare(RunChange::Newer(&runs))?;
            Ok(IndexUpdates { primary, secondary })
        });
        match updated {
            Ok(index) => Ok((runs, index)),
            Err(error) => {
                runs.iter().for_each(|run| run.mark_obsolete());
                Err(error)
            }
        }
    }

    /// The schema that memtables are written to runs by, and which of their versions.
    fn level0(&self, table: &Arc<TableInner>, slots: &[Arc<Slot>]) -> Result<(Target, Retention)> {
        let mut tombstones = RangeTombstones::default();
        slots
            .iter()
            .for_each(|slot| tombstones.extend(&slot.tombstones.snapshot()));
        let (target, snapshots) = self.output_target(table)?;
        let retention = Retention {
            snapshots,
            bottom: table.view.load().version.is_empty(),
            hidden_below: table.hidden_below(|| self.now_micros()),
            tombstones,
            operator: table.operator_for(&target),
            key_value: table.key_value,
            passing: None,
        };
        Ok((target, retention))
    }

    /// Writes memtables into runs in the directory `dir`, of a copy in which nobody has a snapshot.
    ///
    /// # Errors
    /// Those of writing; nothing stays then.
    pub(super) fn write_copy(
        &self,
        table: &Arc<TableInner>,
        slots: &[Arc<Slot>],
        dir: PathBuf,
    ) -> Result<Vec<Arc<Run>>> {
        slots.iter().for_each(|slot| slot.entries.freeze());
        let (target, mut retention) = self.level0(table, slots)?;
        retention.snapshots.clear();
        let into = Arc::new(table.runs.in_dir(dir));
        let metas = self.write_level0((table, &into), slots, target, &retention)?;
        Ok(runs_of(metas, &into))
    }

    /// Writes memtables of a table into runs, and makes sure that these stay.
    fn write_level0(
        &self,
        (table, into): (&TableInner, &Arc<RunContext>),
        slots: &[Arc<Slot>],
        target: Target,
        retention: &Retention,
    ) -> Result<Vec<RunMeta>> {
        let mut sources = Vec::new();
        let mut times = (u64::MAX, 0);
        for slot in slots {
            sources.push(Source::Memory(Arc::clone(&slot.entries).cursor()));
            let (oldest, newest) = slot.times();
            times = (times.0.min(oldest), times.1.max(newest));
        }
        let mut cursor = MergedCursor::new(sources, false);
        cursor.start(Start::Edge)?;
        let plan = OutputPlan {
            level: 0,
            moved: Moved {
                taken: Vec::new(),
                brought: slots.iter().map(|slot| slot.entries.len() as u64).sum(),
            },
            target,
            target_bytes: u64::MAX,
            times: (times.0.min(times.1), times.1),
            tombstones: retention.surviving_tombstones(),
            from: None,
            to: None,
        };
        let mut outputs = Outputs::new(self, (table, into), plan);
        Rewriter::new(cursor, retention, None).run(&mut outputs, &|| false)?;
        let metas = outputs.finish()?;
        self.storage
            .sync_dir(&into.dir)
            .inspect_err(|_| remove_runs(into, &metas))?;
        Ok(metas)
    }
}

fn runs_of(metas: Vec<RunMeta>, context: &Arc<RunContext>) -> Vec<Arc<Run>> {
    let run = |meta| Arc::new(Run::new(meta, Arc::clone(context)));
    metas.into_iter().map(run).collect()
}
