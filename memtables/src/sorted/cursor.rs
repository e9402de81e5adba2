//! Cursors over the B+-tree.
//!
//! A cursor copies the entries of a leaf, once, and walks over the copy: a row costs no check. A leaf only ever gives entries
//! away to a new right neighbour, so the neighbour that it had when it was copied starts where the copy ends.

use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::entry::{EntryCursor, EntryRef, SeqNo};

use super::node::{Node, SLOTS, pause};
use super::{SortedMemtable, Step};
use crate::stored::{Probe, Stored};

/// How many rows ahead an entry is fetched: about a memory access at the pace of a scan.
const AHEAD: usize = 8;

/// The entries of a leaf at one moment, and its right neighbour then.
struct Copied {
    entries: [Option<Stored>; SLOTS],
    count: usize,
    next: Option<Node>,
}

impl Copied {
    /// Copies `leaf`; false if a writer came in between, and then the copy is not to be used.
    #[inline]
    fn take(&mut self, (leaf, version): Step) -> bool {
        let count = leaf.count();
        for (slot, entry) in self.entries[..count].iter_mut().enumerate() {
            *entry = Some(leaf.entry(slot));
        }
        self.count = count;
        self.next = leaf.next();
        leaf.validate(version)
    }
}

pub struct SortedCursor {
    table: Arc<SortedMemtable>,
    leaf: Copied,
    /// The slot of the current entry; beyond the copied ones if there is none.
    at: usize,
}

impl SortedCursor {
    /// A cursor that is not positioned.
    pub fn new(table: Arc<SortedMemtable>) -> Self {
        let leaf = Copied {
            entries: [None; SLOTS],
            count: 0,
            next: None,
        };
        Self { table, leaf, at: 0 }
    }

    /// Stands on the first entry at or after `probe`.
    fn find(&mut self, probe: &Probe<'_>) {
        let mut spins = 0;
        loop {
            if let Some(leaf) = self.table.descend(|node| node.bound::<true>(node.count(), probe)) {
                let slot = leaf.0.bound::<false>(leaf.0.count(), probe);
                if self.leaf.take(leaf) {
                    return self.start_at(slot);
                }
            }
            pause(&mut spins);
        }
    }

    /// Stands on the entry before `probe`, or on the last one.
    ///
    /// A separator is in the child to its right, so whatever is before `probe` is in or left of the leaf where the search
    /// ends; and if that leaf has a left neighbour its own first entry is before `probe` too.
    fn find_before(&mut self, probe: Option<&Probe<'_>>) {
        let bound = |node: Node| {
            let count = node.count();
            probe.map_or(count, |probe| node.bound::<false>(count, probe))
        };
        let mut spins = 0;
        loop {
            if let Some(leaf) = self.table.descend(bound) {
                let slot = bound(leaf.0);
                if self.leaf.take(leaf) {
                    self.at = slot.wrapping_sub(1);
                    return;
                }
            }
            pause(&mut spins);
        }
    }

    /// Stands on `slot`, or on what comes after the copied entries if it is beyond them.
    #[inline]
    fn start_at(&mut self, slot: usize) {
        self.at = slot;
        if let Some(next) = self.leaf.next {
            next.prefetch();
        }
        for ahead in slot..slot + AHEAD {
            self.prefetch(ahead);
        }
        if slot >= self.leaf.count {
            self.enter_next();
        }
    }

    /// Goes on with the first entry of the leaf after the copied one. Only the root can be an empty leaf.
    fn enter_next(&mut self) {
        let Some(next) = self.leaf.next else {
            self.at = usize::MAX;
            return;
        };
        let mut spins = 0;
        while !self.leaf.take((next, next.read_lock())) {
            pause(&mut spins);
        }
        self.at = 0;
        if let Some(next) = self.leaf.next {
            next.prefetch();
        }
    }

    /// Starts loading the entry in `slot`, counted on into the next leaf. What that holds right now will do.
    #[inline(always)]
    fn prefetch(&self, slot: usize) {
        if slot < self.leaf.count {
            if let Some(entry) = self.leaf.entries[slot % SLOTS] {
                entry.prefetch();
            }
        } else if let Some(next) = self.leaf.next
            && slot - self.leaf.count < next.count()
        {
            next.entry(slot - self.leaf.count).prefetch();
        }
    }

    #[inline]
    fn current(&self) -> Option<Stored> {
        self.leaf.entries[..self.leaf.count].get(self.at).copied().flatten()
    }
}

impl EntryCursor for SortedCursor {
    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.find(&Probe::new(key, seq));
        Ok(())
    }

    fn seek_before(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.find_before(Some(&Probe::new(key, seq)));
        Ok(())
    }

    fn seek_first(&mut self) -> Result<()> {
        self.find(&Probe::new(&[], SeqNo::MAX));
        Ok(())
    }

    fn seek_last(&mut self) -> Result<()> {
        self.find_before(None);
        Ok(())
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        if self.at < self.leaf.count {
            self.at += 1;
            self.prefetch(self.at + AHEAD);
            if self.at == self.leaf.count {
                self.enter_next();
            }
        }
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        let Some(current) = self.current() else { return Ok(()) };
        if self.at > 0 {
            self.at -= 1;
            if let Some(ahead) = self.at.checked_sub(AHEAD) {
                self.prefetch(ahead);
            }
            return Ok(());
        }
        // SAFETY: `table` keeps the arena alive.
        let (key, seq) = unsafe { current.key_seq() };
        self.find_before(Some(&Probe::new(key, seq)));
        for ahead in (0..self.at.min(SLOTS)).rev().take(AHEAD) {
            self.prefetch(ahead);
        }
        Ok(())
    }

    #[inline]
    fn entry(&self) -> Option<EntryRef<'_>> {
        // SAFETY: `table` keeps the arena alive for as long as `self` is borrowed.
        self.current().map(|entry| unsafe { entry.entry() })
    }
}
