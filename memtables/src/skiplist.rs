//! `skiplist`: the lock-free skip list of the crossbeam project over entries in an arena.

#![allow(unsafe_code)]

use std::cmp::Ordering;
use std::mem;
use std::ops::Bound;
use std::ptr;
use std::sync::Arc;

use crossbeam_skiplist::SkipSet;
use crossbeam_skiplist::set::Entry;
use kodiak_core::Result;
use kodiak_core::entry::{EntryCursor, EntryRef, SeqNo, compare, prefix_of};
use kodiak_core::memtable::{Memtable, MemtableCapabilities, MemtableFactory, Version};
use kodiak_core::registry::Component;

use crate::stored::{EntryArena, Probe, Stored};

/// The factory.
pub const FACTORY: MemtableFactory = MemtableFactory {
    component: Component {
        name: "skiplist",
        summary: "A lock-free skip list with entries in an arena: writers never wait for each other.",
        options: &[],
    },
    capabilities: MemtableCapabilities {
        concurrent_insert: true,
        scalable_insert: true,
        fast_get: true,
        fast_cursor: true,
        overhead_per_entry: 14 + NODE_BYTES,
    },
    create: |_, capacity| Ok(Arc::new(SkipListMemtable::new(capacity))),
};

/// The mean size of a node of the list: key, reference count, and a tower of two pointers (heights halve in number).
pub(crate) const NODE_BYTES: usize = size_of::<ListKey>() + 3 * size_of::<usize>();

/// A key of the list: an entry in the arena with the prefix of its key inline, or (tagged in bit 0) a [`Probe`] on the
/// stack of a search, which is never put into the list.
pub(crate) struct ListKey {
    prefix: u64,
    place: *const u8,
}

// SAFETY: entries are immutable; a key made from a probe is only used by the thread that has the probe on its stack.
unsafe impl Send for ListKey {}
// SAFETY: as above.
unsafe impl Sync for ListKey {}

impl ListKey {
    /// The key of an entry. The arena must live as long as the list.
    pub(crate) fn stored(prefix: u64, stored: Stored) -> Self {
        Self {
            prefix,
            place: stored.as_ptr(),
        }
    }

    /// Runs `search` with a key that stands for `probe`.
    pub(crate) fn with_probe<R>(probe: &Probe<'_>, search: impl FnOnce(&Self) -> R) -> R {
        let place = ptr::from_ref(probe).cast::<u8>().map_addr(|address| address | 1);
        search(&Self {
            prefix: probe.prefix,
            place,
        })
    }

    /// The entry. Only keys made by [`stored`](Self::stored) are in a list.
    pub(crate) fn get(&self) -> Stored {
        debug_assert!(self.place.addr() & 1 == 0);
        // SAFETY: the pointer came from a `Stored`, whose arena lives as long as the list.
        unsafe { Stored::from_ptr(self.place.cast_mut()) }
    }

    fn key_seq(&self) -> (&[u8], SeqNo) {
        if self.place.addr() & 1 == 0 {
            // SAFETY: the arena lives as long as the list, and so as `self`.
            return unsafe { self.get().key_seq() };
        }
        let probe = self.place.map_addr(|address| address & !1).cast::<Probe<'_>>();
        // SAFETY: made by `with_probe`, whose caller has the probe for as long as this key exists.
        unsafe { ((*probe).key, (*probe).seq) }
    }
}

impl Ord for ListKey {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.prefix
            .cmp(&other.prefix)
            .then_with(|| compare(self.key_seq(), other.key_seq()))
    }
}

impl PartialOrd for ListKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ListKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ListKey {}

struct SkipListMemtable {
    // Before the arena, so that it goes first.
    list: SkipSet<ListKey>,
    arena: EntryArena,
}

impl SkipListMemtable {
    fn new(capacity: usize) -> Self {
        Self {
            list: SkipSet::new(),
            arena: EntryArena::new(false, capacity),
        }
    }
}

impl Memtable for SkipListMemtable {
    fn insert(&self, entry: EntryRef<'_>) -> Result<()> {
        let stored = Stored::new_in(&self.arena, &entry)?;
        self.list.get_or_insert(ListKey::stored(prefix_of(entry.key), stored));
        self.arena.add_item();
        Ok(())
    }

    fn get(&self, key: &[u8], seq: SeqNo) -> Option<Version<'_>> {
        let found = ListKey::with_probe(&Probe::new(key, seq), |probe| {
            self.list.lower_bound(Bound::Included(probe))
        })?;
        let stored = found.value().get();
        // SAFETY: the arena lives as long as `self`.
        unsafe { (stored.key_seq().0 == key).then(|| stored.version()) }
    }

    fn cursor(self: Arc<Self>) -> Box<dyn EntryCursor> {
        Box::new(SkipListCursor { at: None, table: self })
    }

    fn len(&self) -> usize {
        self.arena.items()
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.arena.memory() + self.arena.items() * NODE_BYTES
    }
}

impl std::fmt::Debug for SkipListMemtable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SkipListMemtable").field("arena", &self.arena).finish()
    }
}

struct SkipListCursor {
    // Before the table that it borrows from, so that it goes first.
    at: Option<Entry<'static, ListKey>>,
    table: Arc<SkipListMemtable>,
}

impl SkipListCursor {
    fn set(&mut self, find: impl FnOnce(&SkipSet<ListKey>) -> Option<Entry<'_, ListKey>>) {
        let found = find(&self.table.list);
        // SAFETY: only the lifetime changes. The entry borrows from the list, which `table` keeps alive and in place, and
        // goes before it.
        self.at = unsafe { mem::transmute::<Option<Entry<'_, ListKey>>, Option<Entry<'static, ListKey>>>(found) };
    }
}

impl EntryCursor for SkipListCursor {
    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        let probe = Probe::new(key, seq);
        ListKey::with_probe(&probe, |probe| {
            self.set(|list| list.lower_bound(Bound::Included(probe)))
        });
        Ok(())
    }

    fn seek_before(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        let probe = Probe::new(key, seq);
        ListKey::with_probe(&probe, |probe| {
            self.set(|list| list.upper_bound(Bound::Excluded(probe)))
        });
        Ok(())
    }

    fn seek_first(&mut self) -> Result<()> {
        self.set(SkipSet::front);
        Ok(())
    }

    fn seek_last(&mut self) -> Result<()> {
        self.set(SkipSet::back);
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        self.at = self.at.take().and_then(|entry| entry.next());
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        self.at = self.at.take().and_then(|entry| entry.prev());
        Ok(())
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        // SAFETY: `table` keeps the arena alive for as long as `self` is borrowed.
        self.at.as_ref().map(|entry| unsafe { entry.value().get().entry() })
    }
}
