//! A cursor over a sorted snapshot of a memtable, shared by the memtables that sort when they are read.

#![allow(unsafe_code)]

use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::entry::{EntryCursor, EntryRef, SeqNo};

use crate::stored::{Probe, Slot};

/// A memtable that can give its entries as a sorted slice.
pub trait Snapshot: Send + Sync + 'static {
    /// All entries inserted before the call, in order. Their arena lives as long as `self`.
    fn snapshot(&self) -> Arc<Vec<Slot>>;
}

/// The index of the first entry at or after `probe`.
///
/// # Safety
/// The arena of the entries lives.
pub unsafe fn lower_bound(slots: &[Slot], probe: &Probe<'_>) -> usize {
    // SAFETY: the caller's promise.
    slots.partition_point(|slot| unsafe { slot.compare(probe) }.is_lt())
}

/// A cursor over what a memtable held when the cursor was last moved by a seek.
pub struct SliceCursor<M> {
    table: Arc<M>,
    slots: Arc<Vec<Slot>>,
    /// The index of the current entry; beyond the end if there is none.
    at: usize,
}

impl<M: Snapshot> SliceCursor<M> {
    /// A cursor that is not positioned. The snapshot is taken by the first seek.
    pub fn new(table: Arc<M>) -> Self {
        Self {
            table,
            slots: Arc::default(),
            at: usize::MAX,
        }
    }
}

impl<M: Snapshot> EntryCursor for SliceCursor<M> {
    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.slots = self.table.snapshot();
        // SAFETY: `table` keeps the arena alive.
        self.at = unsafe { lower_bound(&self.slots, &Probe::new(key, seq)) };
        Ok(())
    }

    fn seek_before(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.seek(key, seq)?;
        self.at = self.at.wrapping_sub(1);
        Ok(())
    }

    fn seek_first(&mut self) -> Result<()> {
        self.slots = self.table.snapshot();
        self.at = 0;
        Ok(())
    }

    fn seek_last(&mut self) -> Result<()> {
        self.slots = self.table.snapshot();
        self.at = self.slots.len().wrapping_sub(1);
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        if self.at < self.slots.len() {
            self.at += 1;
            if let Some(ahead) = self.slots.get(self.at + 4) {
                kodiak_core::prefetch::prefetch(ahead.stored.as_ptr());
            }
        }
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        if self.at < self.slots.len() {
            self.at = self.at.wrapping_sub(1);
        }
        Ok(())
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        // SAFETY: `table` keeps the arena alive for as long as `self` is borrowed.
        self.slots.get(self.at).map(|slot| unsafe { slot.stored.entry() })
    }
}
