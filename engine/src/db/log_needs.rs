//! How much of the log is still needed.

use std::sync::Arc;

use kodiak_core::Result;

use super::shared::Shared;
use super::slot::Slot;
use super::stall::closing;
use super::table_state::{TableInner, View};
use super::write::poisoned_gate;
use crate::manifest::{Change, VersionEdit};

impl Shared {
    /// The first log segment that a memtable depends on, of those that `counts`.
    pub(super) fn first_needed(&self, counts: &dyn Fn(&Slot) -> bool) -> Result<u64> {
        let wal = self.check_writable()?;
        let _alone = self.gate.write().map_err(|_| poisoned_gate())?;
        let active = wal.active_segment();
        let first = |table: &Arc<TableInner>| {
            let view = table.view.load();
            view.active.advance_segment(active);
            let slots = view.slots().filter(|slot| counts(slot));
            slots.map(|slot| slot.first_segment()).min()
        };
        Ok(self.all_tables().iter().filter_map(first).min().unwrap_or(active))
    }

    /// Releases the log segments that no memtable depends on.
    pub(crate) fn release_log(&self) -> Result<()> {
        let needed = self.first_needed(&|_| true)?;
        match &mut *self.manifest.lock() {
            Some(manifest) if manifest.state().wal_from < needed => {
                manifest.append(&VersionEdit::new().with(Change::WalFrom(needed)))?;
            }
            Some(_) => {}
            None => return Err(closing()),
        }
        self.check_writable()?.release(needed)
    }
}

/// The first log segment whose entries of the table are not in `flushed`.
pub(super) fn next_segment(view: &View, flushed: &[Arc<Slot>]) -> u64 {
    view.slots()
        .filter(|slot| !flushed.iter().any(|done| Arc::ptr_eq(done, slot)))
        .map(|slot| slot.first_segment())
        .min()
        .unwrap_or(0)
}
