//! When memtables are frozen: one is full, all together take too much memory, or one holds on to too much of the log.

use std::sync::Arc;

use kodiak_core::Result;

use super::shared::Shared;
use super::table_state::TableInner;
use super::write::poisoned_gate;

/// Bytes by which a memtable grows between two looks at all of them; by as much for each table they may exceed what they share.
pub(super) const LOOK_BYTES: usize = 64 << 10;

/// Segments of the log that memtables may hold on to, however short: a recovery has all of them open.
const MOST_SEGMENTS: u64 = 512;

/// What the memtables of all tables come to.
#[derive(Debug, Default)]
pub(super) struct Memtables {
    /// Frozen ones that wait for their flush.
    waiting: usize,
    /// True if an active one is full.
    full: bool,
    /// Bytes of the active ones.
    active: usize,
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
        self.room(shared) == 0 && (self.full || self.active >= active_share(shared))
    }
}

/// What the active memtables of all tables may come to: those that wait for their flush have as much again.
fn active_share(shared: &Shared) -> usize {
    let settings = &shared.settings;
    settings.memtable.size.max(settings.memtable_budget() / 2) as usize
}

/// What is to be frozen.
#[derive(Debug)]
struct Due {
    memtables: Memtables,
    /// Tables that hold on to too much of the log.
    holding: Vec<Arc<TableInner>>,
    /// Tables whose memtables are full, or else the one that has the largest.
    full: Vec<Arc<TableInner>>,
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
        let due = self.due(&tables)?;
        let nothing = due.holding.is_empty() && due.full.is_empty();
        if nothing || !(due.memtables.stop(self) || due.memtables.room(self) > 0) {
            return Ok(());
        }
        let _alone = self.gate.write().map_err(|_| poisoned_gate())?;
        // Another writer may have been here.
        let Due {
            memtables,
            mut holding,
            full,
        } = self.due(&tables)?;
        let room = memtables.room(self);
        if room > 0 {
            // All of those, with one segment of the log for their next memtables: to begin one for each would make others hold
            // on to too many. They go first, or a table that is always full would keep them waiting.
            holding.extend(full.into_iter().take(room.saturating_sub(holding.len())));
            return self.freeze_tables(&holding);
        }
        if memtables.stop(self) {
            self.stalls.stop_for_memtable();
            // The flush may have ended just before.
            self.stalls.refresh(self);
        }
        Ok(())
    }

    fn due(&self, tables: &[Arc<TableInner>]) -> Result<Due> {
        let size = self.settings.memtable.size as usize;
        let memtables = Memtables::of(tables, size);
        let held = self.held_log(tables)?;
        let holds = |part: f64| {
            held.iter()
                .filter(move |(_, share)| *share >= part)
                .map(|(table, _)| Arc::clone(table))
        };
        // Those that will be due soon go with them.
        let holding: Vec<_> = holds(if holds(1.0).next().is_some() { 0.5 } else { 1.0 }).collect();
        let active = |table: &Arc<TableInner>| table.view.load().active.memory();
        let others = tables
            .iter()
            .filter(|table| !holding.iter().any(|other| other.id == table.id));
        let mut full: Vec<_> = others.clone().filter(|table| active(table) >= size).cloned().collect();
        if full.is_empty() && memtables.active >= active_share(self) {
            let largest = others.max_by_key(|table| active(table));
            full.extend(largest.filter(|table| active(table) >= LOOK_BYTES.min(size)).cloned());
        }
        Ok(Due {
            memtables,
            holding,
            full,
        })
    }

    /// Of each table that has anything in its active memtable, how much of the log it may hold on to it does: by bytes or by
    /// segments, whichever is more.
    fn held_log<'t>(&self, tables: &'t [Arc<TableInner>]) -> Result<Vec<(&'t Arc<TableInner>, f64)>> {
        let (segment, bytes) = (self.check_writable()?.active_segment(), self.log_bytes());
        let most = self.settings.log_bytes() as f64;
        let filled = tables.iter().filter(|table| !table.view.load().active.is_empty());
        let share = |table: &'t Arc<TableInner>| {
            let view = table.view.load();
            let held = bytes.saturating_sub(view.active.log_at_first());
            let segments = segment.saturating_sub(view.active.first_segment());
            (table, (held as f64 / most).max(segments as f64 / MOST_SEGMENTS as f64))
        };
        Ok(filled.map(share).collect())
    }
}
