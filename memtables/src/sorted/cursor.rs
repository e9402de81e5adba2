//! Cursors over the B+-tree.

use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::entry::{EntryCursor, EntryRef, SeqNo};

use super::node::pause;
use super::{SortedMemtable, Step, first_of_next};
use crate::stored::{Probe, Stored, prefetch};

/// How many rows ahead an entry is fetched: about a memory access at the pace of a scan.
const AHEAD: usize = 6;

/// Where a cursor stands: the entry, and the slot where it was at that version of the leaf.
#[derive(Clone, Copy)]
struct Place {
    leaf: Step,
    slot: usize,
    stored: Stored,
}

pub struct SortedCursor {
    table: Arc<SortedMemtable>,
    at: Option<Place>,
}

impl SortedCursor {
    /// A cursor that is not positioned.
    pub fn new(table: Arc<SortedMemtable>) -> Self {
        Self { table, at: None }
    }

    fn find(&self, probe: &Probe<'_>) -> Option<Place> {
        self.table.find(probe).map(|(leaf, slot, stored)| {
            let (node, _) = leaf;
            for ahead in slot + 1..(slot + AHEAD).min(node.count()) {
                prefetch(node.entry(ahead).as_ptr());
            }
            Place { leaf, slot, stored }
        })
    }

    /// The entry before `probe`, or the last one.
    fn find_before(&self, probe: Option<&Probe<'_>>) -> Option<Place> {
        let mut spins = 0;
        loop {
            if let Some(found) = self.try_find_before(probe) {
                return found;
            }
            pause(&mut spins);
        }
    }

    fn try_find_before(&self, probe: Option<&Probe<'_>>) -> Option<Option<Place>> {
        let bound = |node: super::Node| {
            let count = node.count();
            probe.map_or(count, |probe| node.bound::<false>(count, probe))
        };
        // A separator is in the child to its right, so whatever is before `probe` is in or left of this leaf; and if the
        // leaf has a left neighbour its own first entry is before `probe` too.
        let leaf = self.table.descend(bound)?;
        let (node, version) = leaf;
        let place = bound(node).checked_sub(1).map(|slot| Place {
            leaf,
            slot,
            stored: node.entry(slot),
        });
        node.validate(version).then_some(place)
    }

    /// The entry after `place`, as long as its leaf has not changed.
    #[inline]
    fn step(place: &Place) -> Option<Option<Place>> {
        let (leaf, version) = place.leaf;
        let slot = place.slot + 1;
        let count = leaf.count();
        if slot >= count {
            return Some(first_of_next(place.leaf)?.map(|(leaf, slot, stored)| {
                for ahead in 1..AHEAD.min(leaf.0.count()) {
                    prefetch(leaf.0.entry(ahead).as_ptr());
                }
                Place { leaf, slot, stored }
            }));
        }
        if slot + AHEAD < count {
            prefetch(leaf.entry(slot + AHEAD).as_ptr());
        }
        let stored = leaf.entry(slot);
        leaf.validate(version).then_some(Some(Place {
            leaf: place.leaf,
            slot,
            stored,
        }))
    }
}

impl EntryCursor for SortedCursor {
    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.at = self.find(&Probe::new(key, seq));
        Ok(())
    }

    fn seek_before(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.at = self.find_before(Some(&Probe::new(key, seq)));
        Ok(())
    }

    fn seek_first(&mut self) -> Result<()> {
        self.at = self.find(&Probe::new(&[], SeqNo::MAX));
        Ok(())
    }

    fn seek_last(&mut self) -> Result<()> {
        self.at = self.find_before(None);
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        let Some(place) = &self.at else { return Ok(()) };
        if let Some(next) = Self::step(place) {
            self.at = next;
            return Ok(());
        }
        // The leaf has changed: find the entry again, and go on from there.
        // SAFETY: `table` keeps the arena alive.
        let (key, seq) = unsafe { place.stored.key_seq() };
        let mut spins = 0;
        loop {
            let Some(here) = self.find(&Probe::new(key, seq)) else {
                self.at = None;
                return Ok(());
            };
            if let Some(next) = Self::step(&here) {
                self.at = next;
                return Ok(());
            }
            pause(&mut spins);
        }
    }

    fn prev(&mut self) -> Result<()> {
        let Some(Place {
            leaf: (leaf, version),
            slot,
            stored,
        }) = self.at
        else {
            return Ok(());
        };
        if let Some(slot) = slot.checked_sub(1) {
            let before = leaf.entry(slot);
            if slot >= AHEAD {
                prefetch(leaf.entry(slot - AHEAD).as_ptr());
            }
            if leaf.validate(version) {
                self.at = Some(Place {
                    leaf: (leaf, version),
                    slot,
                    stored: before,
                });
                return Ok(());
            }
        }
        // SAFETY: `table` keeps the arena alive.
        let (key, seq) = unsafe { stored.key_seq() };
        self.at = self.find_before(Some(&Probe::new(key, seq)));
        Ok(())
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        // SAFETY: `table` keeps the arena alive for as long as `self` is borrowed.
        self.at.as_ref().map(|place| unsafe { place.stored.entry() })
    }
}
