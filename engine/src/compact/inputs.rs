//! The runs that a compaction reads, and no other meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kodiak_core::compaction::{CompactionPlan, RunId};

use crate::db::TableInner;
use crate::run::Run;
use crate::version::Version;

/// Runs that a job holds; they are given back when it is dropped.
pub(super) struct Inputs(pub Vec<Arc<Run>>);

impl Drop for Inputs {
    fn drop(&mut self) {
        self.0.iter().for_each(|run| run.give_back());
    }
}

impl Inputs {
    /// Gives the runs back, and removes the files of those that were replaced and have no other user.
    pub fn leave(mut self) {
        for run in std::mem::take(&mut self.0) {
            run.give_back();
            run.leave();
        }
    }

    /// Takes all runs of a plan, or none.
    ///
    /// None also if the table has changed since the plan was made from `version`: a compaction that ended in between has given
    /// back runs that are gone, or hang elsewhere.
    pub(super) fn take(table: &TableInner, version: &Arc<Version>, plan: &CompactionPlan) -> Option<Self> {
        let mut taken = Self(Vec::with_capacity(plan.inputs.len()));
        // Planning has read them all.
        let wanted: HashSet<RunId> = plan.inputs.iter().copied().collect();
        let known = version.known_runs().map(|(_, run)| run);
        let known: HashMap<RunId, _> = known
            .filter(|run| wanted.contains(&run.id()))
            .map(|run| (run.id(), run))
            .collect();
        for id in &plan.inputs {
            let run = *known.get(id)?;
            if !run.try_take() {
                return None;
            }
            taken.0.push(Arc::clone(run));
        }
        Arc::ptr_eq(&table.view.load().version, version).then_some(taken)
    }
}
