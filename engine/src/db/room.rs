//! When memtables are frozen: one is full, all together take too much memory, or one holds on to too much of the log.

use std::sync::Arc;

use kodiak_core::Result;

use super::shared::Shared;
use super::table_state::TableInner;
use super::write::poisoned_gate;

/// Bytes by which a memtable grows between two looks at all of them; by as much for each table they may exceed what they share.
pub(super) const LOOK_BYTES: usize = 64 << 10;

/// What the memtables of all tables come to.
#[derive(Debug, Default)]
pub(super) struct Memtables {
    /// Frozen ones that wait for their flush.
    waiting: usize,
    /// True if an active one is full.
    full: bool,
    /// Bytes of the active ones.
    active: usize,
    /// Bytes of all.
    all: usize,
}

impl Memtables {
    pub fn of(tables: &[Arc<TableInner>], size: usize) -> Self {
        let mut memtables = Self::default();
        for table in tables {
            let view = table.view.load();
            let active = view.active.memory();
            memtables.waiting += view.frozen.len();
            memtables.full |= active >= size;
            memtables.active += active;
            memtables.all += active + view.frozen.iter().map(|slot| slot.memory()).sum::<usize>();
        }
        memtables
    }

    /// How many more may be frozen.
    fn room(&self, shared: &Shared) -> usize {
        let most = shared.settings.limits.max_immutable_memtables;
        most.saturating_sub(self.waiting)
    }

    /// True if writers have to wait for a flush.
    pub fn stop(&self, shared: &Shared) -> bool {
        self.room(shared) == 0 && (self.full || self.all >= shared.settings.memtable_budget() as usize)
    }
}

impl Shared {
    /// Called when a table's active memtable has grown: freezes what is to be flushed, or stops writers if too many wait
    /// already. The write that made it grow is done, so a failure is left to the next one, which tries again: the log bounds
    /// what gathers.
    #[cold]
    pub(crate) fn make_room(&self, table: &Arc<TableInner>) {
        if let Err(error) = self.try_make_room(table) {
            tracing::warn!(%error, table = table.name, "memtables that are due could not be frozen");
        }
    }

    fn try_make_room(&self, table: &Arc<TableInner>) -> Result<()> {
        table
            .view
            .load()
            .active
            .look_again(self.settings.memtable.size as usize);
        let tables = self.all_tables();
        let (memtables, due) = self.due(&tables)?;
        if due.is_empty() || !(memtables.stop(self) || memtables.room(self) > 0) {
            return Ok(());
        }
        let _alone = self.gate.write().map_err(|_| poisoned_gate())?;
        // Another writer may have been here.
        let (memtables, due) = self.due(&tables)?;
        let room = memtables.room(self);
        if room > 0 {
            return self.freeze_tables(&due[..due.len().min(room)]);
        }
        if memtables.stop(self) {
            self.stalls.stop_for_memtable();
            // The flush may have ended just before.
            self.stalls.refresh(self);
        }
        Ok(())
    }

    /// What memtables come to, and the tables whose active ones are to be frozen, the most urgent first.
    fn due(&self, tables: &[Arc<TableInner>]) -> Result<(Memtables, Vec<Arc<TableInner>>)> {
        let size = self.settings.memtable.size as usize;
        let memtables = Memtables::of(tables, size);
        let active = |table: &Arc<TableInner>| table.view.load().active.memory();
        let mut due: Vec<_> = tables.iter().filter(|table| active(table) >= size).cloned().collect();
        // So many that those which wait for their flush have as much again.
        let share = size.max(self.settings.memtable_budget() as usize / 2);
        if due.is_empty() && memtables.active >= share {
            let largest = tables.iter().max_by_key(|table| active(table));
            due.extend(largest.filter(|table| active(table) >= LOOK_BYTES.min(size)).cloned());
        }
        let oldest = self
            .check_writable()?
            .active_segment()
            .saturating_sub(self.settings.log_segments());
        let mut holding: Vec<_> = tables
            .iter()
            .filter(|table| table.view.load().active.holds(oldest))
            .collect();
        holding.retain(|table| !due.iter().any(|other| other.id == table.id));
        holding.sort_by_key(|table| table.view.load().active.first_segment());
        due.extend(holding.into_iter().cloned());
        Ok((memtables, due))
    }
}
