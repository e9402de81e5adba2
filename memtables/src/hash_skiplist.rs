//! `hash-skiplist`: a hash of the key's prefix picks a bucket, each a skip list.

#![allow(unsafe_code)]

use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_skiplist::SkipSet;
use kodiak_core::Result;
use kodiak_core::entry::{EntryCursor, EntryRef, SeqNo, prefix_of};
use kodiak_core::memtable::{Memtable, MemtableCapabilities, MemtableFactory, Version};
use kodiak_core::options::Options;
use kodiak_core::registry::Component;

use crate::hash::{Hasher, PREFIX_LENGTH, SnapshotCache, bucket_count};
use crate::skiplist::{ListKey, NODE_BYTES};
use crate::sorted_slice::{SliceCursor, Snapshot};
use crate::stored::{EntryArena, Probe, Slot, Stored};

/// The factory.
pub const FACTORY: MemtableFactory = MemtableFactory {
    component: Component {
        name: "hash-skiplist",
        summary: "A skip list per hash of the key's prefix: for point reads and writes of few, large groups of keys.",
        options: &[PREFIX_LENGTH, bucket_count(1024)],
    },
    capabilities: MemtableCapabilities {
        concurrent_insert: true,
        scalable_insert: true,
        fast_get: true,
        fast_cursor: false,
        overhead_per_entry: 18 + NODE_BYTES,
    },
    create: |options, capacity| Ok(Arc::new(HashSkipListMemtable::new(options, capacity))),
};

type List = SkipSet<ListKey>;

struct HashSkipListMemtable {
    hasher: Hasher,
    // Before the arena, so that they go first. A list is large when empty, so it is made with its first entry.
    buckets: Box<[OnceLock<Box<List>>]>,
    lists: AtomicUsize,
    snapshot: SnapshotCache,
    arena: EntryArena,
}

impl HashSkipListMemtable {
    fn new(options: &Options, capacity: usize) -> Self {
        let hasher = Hasher::new(options);
        Self {
            buckets: (0..hasher.bucket_count()).map(|_| OnceLock::new()).collect(),
            lists: AtomicUsize::new(0),
            snapshot: SnapshotCache::default(),
            arena: EntryArena::new(false, capacity),
            hasher,
        }
    }
}

impl Snapshot for HashSkipListMemtable {
    fn snapshot(&self) -> Arc<Vec<Slot>> {
        let slot = |stored: Stored| {
            // SAFETY: the arena lives as long as `self`.
            let (key, _) = unsafe { stored.key_seq() };
            Slot {
                prefix: prefix_of(key),
                stored,
            }
        };
        // The count is taken first: whoever was counted is in a list.
        let len = self.len();
        let lists = self.buckets.iter().filter_map(OnceLock::get);
        // SAFETY: the arena lives as long as `self`.
        unsafe {
            self.snapshot.get(len, || {
                lists
                    .flat_map(|list| list.iter().map(|entry| slot(entry.value().get())))
                    .collect()
            })
        }
    }
}

impl Memtable for HashSkipListMemtable {
    fn insert(&self, entry: EntryRef<'_>) -> Result<()> {
        let stored = Stored::new_in(&self.arena, &entry)?;
        let list = self.buckets[self.hasher.bucket(entry.key)].get_or_init(|| {
            self.lists.fetch_add(1, Ordering::Relaxed);
            Box::default()
        });
        list.get_or_insert(ListKey::stored(prefix_of(entry.key), stored));
        self.arena.add_item();
        Ok(())
    }

    fn get(&self, key: &[u8], seq: SeqNo) -> Option<Version<'_>> {
        let list = self.buckets[self.hasher.bucket(key)].get()?;
        let found = ListKey::with_probe(&Probe::new(key, seq), |probe| list.lower_bound(Bound::Included(probe)))?;
        let stored = found.value().get();
        // SAFETY: the arena lives as long as `self`.
        unsafe { (stored.key_seq().0 == key).then(|| stored.version()) }
    }

    fn cursor(self: Arc<Self>) -> Box<dyn EntryCursor> {
        Box::new(SliceCursor::new(self))
    }

    fn len(&self) -> usize {
        self.arena.items()
    }

    fn memory(&self) -> usize {
        let lists = self.lists.load(Ordering::Relaxed) * size_of::<List>();
        let nodes = self.arena.items() * NODE_BYTES;
        size_of::<Self>() + size_of_val(&*self.buckets) + lists + nodes + self.snapshot.memory() + self.arena.memory()
    }
}

impl std::fmt::Debug for HashSkipListMemtable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashSkipListMemtable")
            .field("hasher", &self.hasher)
            .field("arena", &self.arena)
            .finish()
    }
}
