//! Other files for secondary indexes, while the table is in use.

use std::sync::Arc;

use kodiak_core::Result;

use super::create::check_there;
use super::open::{fill, record};
use super::walk::sources;
use super::{OpenSecondary, Secondary};
use crate::components::Roles;
use crate::db::{Shared, TableInner, View, closing};
use crate::manifest::VersionEdit;

impl Shared {
    /// Builds each index of a table anew that is not of the kind of `roles`, or not exact though it could be. Whoever changes the runs
    /// waits meanwhile.
    ///
    /// # Errors
    /// Those of reading runs; `Io`; `NotFound` if the table was dropped; `Unavailable`.
    pub(crate) fn renew_secondaries(&self, table: &TableInner, roles: &Roles) -> Result<()> {
        let wants_exact = roles.eager && table.operator.is_none();
        let kind = roles.secondary.factory.component.name;
        for index in table.secondary.all().iter() {
            let mut open = table.secondary.open.lock();
            let this = |open: &OpenSecondary| Arc::ptr_eq(&open.index, index);
            let Some(place) = open.iter().position(this) else {
                continue;
            };
            let meta = &open[place].meta;
            let as_chosen = meta.file.kind == kind && meta.exact >= wants_exact;
            // One that was given up is built by the next opening, as it is chosen then.
            if as_chosen || index.check_whole().is_err() {
                continue;
            }
            let made = self.build_anew(table, index, roles, wants_exact)?;
            let state = made.view(made.root())?;
            let edit = VersionEdit::new().with(record(table, &made));
            {
                let mut manifest = self.manifest.lock();
                let manifest = manifest.as_mut().ok_or_else(closing)?;
                check_there(table)?;
                manifest.recover()?;
                manifest.append(&edit)?;
            }
            {
                let _edit = table.edit.lock();
                let view = View::clone(&table.view.load());
                let others = view.secondary.iter().filter(|state| !Arc::ptr_eq(&state.index, index));
                let secondary = others.cloned().chain([state]).collect();
                table.view.store(Arc::new(View { secondary, ..view }));
            }
            let gone = std::mem::replace(&mut open[place], made);
            gone.file.mark_obsolete();
            table.secondary.note(&open);
        }
        Ok(())
    }

    fn build_anew(
        &self,
        table: &TableInner,
        index: &Arc<Secondary>,
        roles: &Roles,
        exact: bool,
    ) -> Result<OpenSecondary> {
        // The view first: snapshots that are taken later see the newest of all that it holds.
        let view = table.view.load_full();
        let held = self.snapshots.list();
        let runs: Vec<_> = view.version.runs()?.map(|(_, run)| Arc::clone(run)).collect();
        let mut made = self.make_secondary(table, index, &roles.secondary)?;
        let stop = || self.check_open().and_then(|()| check_there(table));
        let filled = fill(table, &made, sources(&runs), &held, &stop).and_then(|()| made.file.index()?.commit());
        match filled {
            Ok(root) => made.moved_to(root),
            Err(error) => {
                made.file.mark_obsolete();
                return Err(error);
            }
        }
        made.meta.exact = exact;
        (made.building, made.recorded) = (false, true);
        Ok(made)
    }
}
