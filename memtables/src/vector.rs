//! `vector`: appends, and sorts when it is first read or frozen. For bulk loads.

#![allow(unsafe_code)]

use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::entry::{EntryCursor, EntryRef, SeqNo, prefix_of};
use kodiak_core::memtable::{Memtable, MemtableCapabilities, MemtableFactory, Version};
use kodiak_core::registry::Component;
use parking_lot::RwLock;

use crate::sorted_slice::{SliceCursor, Snapshot, lower_bound};
use crate::stored::{EntryArena, Probe, Slot, Stored};

/// The factory.
pub const FACTORY: MemtableFactory = MemtableFactory {
    component: Component {
        name: "vector",
        summary: "Appends, and sorts when it is first read or flushed: for loads that nobody reads meanwhile.",
        options: &[],
    },
    capabilities: MemtableCapabilities {
        concurrent_insert: true,
        scalable_insert: true,
        fast_get: false,
        fast_cursor: false,
        overhead_per_entry: 33,
    },
    create: |_, capacity| Ok(Arc::new(VectorMemtable::new(capacity))),
};

#[derive(Default)]
struct Slots {
    /// In order. Shared with cursors, which keep what they saw.
    sorted: Arc<Vec<Slot>>,
    /// Appended since the last sort.
    fresh: Vec<Slot>,
}

struct VectorMemtable {
    slots: RwLock<Slots>,
    arena: EntryArena,
}

impl VectorMemtable {
    fn new(capacity: usize) -> Self {
        Self {
            slots: RwLock::default(),
            arena: EntryArena::new(false, capacity),
        }
    }

    /// Calls `read` on the sorted entries, sorting them first if need be.
    fn with_sorted<R>(&self, read: impl FnOnce(&Arc<Vec<Slot>>) -> R) -> R {
        let slots = self.slots.read();
        if slots.fresh.is_empty() {
            return read(&slots.sorted);
        }
        drop(slots);
        let mut slots = self.slots.write();
        let Slots { sorted, fresh } = &mut *slots;
        if sorted.is_empty() {
            *sorted = Arc::new(std::mem::take(fresh));
        } else {
            Arc::make_mut(sorted).append(fresh);
            *fresh = Vec::new();
        }
        // The stable sort finds the runs that are sorted already, so this merges rather than sorts anew.
        // SAFETY: the arena lives as long as `self`.
        Arc::make_mut(sorted).sort_by(|left, right| unsafe { left.compare_slot(right) });
        read(sorted)
    }
}

impl Snapshot for VectorMemtable {
    fn snapshot(&self) -> Arc<Vec<Slot>> {
        self.with_sorted(Arc::clone)
    }
}

impl Memtable for VectorMemtable {
    fn insert(&self, entry: EntryRef<'_>) -> Result<()> {
        let slot = Slot {
            prefix: prefix_of(entry.key),
            stored: Stored::new_in(&self.arena, &entry)?,
        };
        self.slots.write().fresh.push(slot);
        Ok(())
    }

    fn get(&self, key: &[u8], seq: SeqNo) -> Option<Version<'_>> {
        self.with_sorted(|sorted| {
            // SAFETY: the arena lives as long as `self`.
            unsafe {
                let slot = sorted.get(lower_bound(sorted, &Probe::new(key, seq)))?;
                (slot.stored.key_seq().0 == key).then(|| slot.stored.version())
            }
        })
    }

    fn cursor(self: Arc<Self>) -> Box<dyn EntryCursor> {
        Box::new(SliceCursor::new(self))
    }

    fn len(&self) -> usize {
        let slots = self.slots.read();
        slots.sorted.len() + slots.fresh.len()
    }

    fn memory(&self) -> usize {
        let slots = self.slots.read();
        let slots = slots.sorted.capacity() + slots.fresh.capacity();
        size_of::<Self>() + self.arena.memory() + slots * size_of::<Slot>()
    }

    fn freeze(&self) {
        self.with_sorted(|_| ());
    }
}

impl std::fmt::Debug for VectorMemtable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VectorMemtable")
            .field("len", &self.len())
            .field("arena", &self.arena)
            .finish()
    }
}
