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
    /// Bytes that the log has got since the database was opened.
    pub(super) fn log_bytes(&self) -> u64 {
        self.wal.as_ref().map_or(0, |wal| wal.stats().bytes)
    }

    /// The first log segment that is needed once memtables of a table have been flushed; perhaps an earlier one. It may be called with
    /// the gate held and without.
    pub(super) fn needed_after(&self, table: &TableInner, flushed: &[Arc<Slot>]) -> u64 {
        // First this: no write was under way when this segment was begun, or the memtable was told of it. So what is written to a memtable
        // that is empty after that is in this segment or later ones.
        let own = next_segment(&table.view.load(), flushed);
        let others = |other: &Arc<TableInner>| {
            let view = other.view.load();
            let filled = view.slots().filter(|slot| !slot.is_empty());
            filled.map(|slot| slot.first_segment()).min()
        };
        let tables = self.all_tables();
        let others = tables.iter().filter(|other| other.id != table.id).filter_map(others);
        others.min().map_or(own, |others| own.min(others))
    }

    /// Releases the log segments that no memtable depends on.
    pub(crate) fn release_log(&self) -> Result<()> {
        let wal = self.check_writable()?;
        let needed = {
            let _alone = self.gate.write().map_err(|_| poisoned_gate())?;
            let (active, bytes) = (wal.active_segment(), self.log_bytes());
            self.all_tables()
                .iter()
                .flat_map(|table| {
                    let view = table.view.load();
                    view.active.advance_segment(active, bytes);
                    view.slots().map(|slot| slot.first_segment()).collect::<Vec<_>>()
                })
                .min()
                .unwrap_or(active)
        };
        match &mut *self.manifest.lock() {
            Some(manifest) if manifest.state().wal_from < needed => {
                manifest.append(&VersionEdit::new().with(Change::WalFrom(needed)))?;
            }
            Some(_) => {}
            None => return Err(closing()),
        }
        wal.release(needed)
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
