//! All indexes of a table, brought up to date together.

use std::sync::Arc;

use kodiak_core::Result;

use super::shared::Shared;
use super::table_state::TableInner;
use crate::manifest::VersionEdit;
use crate::primary::{IndexUpdate, IndexedRuns, RunChange};
use crate::run::Run;
use crate::secondary::{Postponed, SecondaryChange, SecondaryUpdate, SecondaryViews};
use crate::version::Version;

/// Updates of all indexes of a table under way, for one change of its runs; see [`IndexUpdate`].
#[must_use]
pub(crate) struct IndexUpdates<'t> {
    pub(super) primary: IndexUpdate<'t>,
    pub(super) secondary: SecondaryUpdate<'t>,
}

impl IndexUpdates<'_> {
    /// Adds the new roots to the edit, which has the changed runs already.
    pub fn record(&self, edit: &mut VersionEdit) {
        self.primary.record(edit);
        self.secondary.record(edit);
    }

    /// What gets use with the changed version.
    pub fn view(&self, version: &mut Version) -> Option<Arc<IndexedRuns>> {
        self.primary.view(version)
    }

    /// What reads through secondary indexes use with the changed version.
    pub fn secondary_views(&self) -> SecondaryViews {
        self.secondary.views()
    }

    /// To be called once added runs are in the view, and before they are visible.
    pub fn tell_added(&self) {
        self.secondary.tell_added();
    }

    /// Undoes them for now: others are going to be made for the same change.
    pub fn postpone(self) -> Postponed {
        drop(self.primary);
        self.secondary.postpone()
    }

    /// The edit is durable, and the changed version in force.
    pub fn installed(self) {
        self.primary.installed();
        self.secondary.installed();
    }
}

impl Shared {
    /// Brings the indexes up to date with a change of runs that is about to be put into the manifest. If that fails, the
    /// new runs are of no use.
    ///
    /// # Errors
    /// Those of [`IndexUpdate::prepare`] and [`SecondaryUpdate::prepare`].
    pub(crate) fn update_indexes<'t>(
        &self,
        table: &'t TableInner,
        primary: RunChange<'_>,
        secondary: SecondaryChange<'_>,
        new_runs: &[Arc<Run>],
    ) -> Result<IndexUpdates<'t>> {
        let update = || {
            let mut index = self.hold_index(table)?;
            index.prepare(primary)?;
            Ok(IndexUpdates {
                primary: index,
                secondary: SecondaryUpdate::prepare(table, secondary, &|| self.snapshots.list())?,
            })
        };
        update().inspect_err(|_| new_runs.iter().for_each(|run| run.mark_obsolete()))
    }

    /// Holds the primary index for an update; those of secondary indexes come behind.
    pub(super) fn hold_index<'t>(&self, table: &'t TableInner) -> Result<IndexUpdate<'t>> {
        let index = IndexUpdate::hold(table);
        // An edit of which nobody knows whether it is on disk may name a root that an update gives up.
        self.recover_manifest()?;
        Ok(index)
    }
}
