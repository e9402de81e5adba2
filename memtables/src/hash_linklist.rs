//! `hash-linklist`: a hash of the key's prefix picks a bucket, each a sorted linked list.

#![allow(unsafe_code)]

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use kodiak_core::Result;
use kodiak_core::entry::{EntryCursor, EntryRef, SeqNo};
use kodiak_core::memtable::{Memtable, MemtableCapabilities, MemtableFactory, Version};
use kodiak_core::options::Options;
use kodiak_core::registry::Component;

use crate::arena::Arena;
use crate::hash::{Hasher, PREFIX_LENGTH, SnapshotCache, bucket_count};
use crate::sorted_slice::{SliceCursor, Snapshot};
use crate::stored::{Probe, Slot, Stored};

/// The factory.
pub const FACTORY: MemtableFactory = MemtableFactory {
    component: Component {
        name: "hash-linklist",
        summary: "A sorted linked list per hash of the key's prefix: the cheapest point reads, for buckets of a few entries.",
        options: &[PREFIX_LENGTH, bucket_count(1 << 16)],
    },
    capabilities: MemtableCapabilities {
        concurrent_insert: true,
        scalable_insert: false,
        fast_get: false,
        fast_cursor: false,
        overhead_per_entry: 44,
    },
    create: |options, capacity| Ok(Arc::new(HashLinkListMemtable::new(options, capacity))),
};

/// A node of a list. The entry follows it in the same allocation.
struct Node {
    next: AtomicPtr<Node>,
    slot: Slot,
}

struct HashLinkListMemtable {
    hasher: Hasher,
    buckets: Box<[AtomicPtr<Node>]>,
    snapshot: SnapshotCache,
    arena: Arena<8>,
}

impl HashLinkListMemtable {
    fn new(options: &Options, capacity: usize) -> Self {
        let hasher = Hasher::new(options);
        let buckets = (0..hasher.bucket_count())
            .map(|_| AtomicPtr::new(ptr::null_mut()))
            .collect();
        Self {
            hasher,
            buckets,
            snapshot: SnapshotCache::default(),
            arena: Arena::new(false, capacity),
        }
    }

    /// The node that a link leads to.
    #[inline]
    fn follow(&self, link: &AtomicPtr<Node>) -> Option<&Node> {
        // SAFETY: links hold null or nodes that were complete when they were linked; nodes live as long as `self`.
        unsafe { link.load(Ordering::Acquire).as_ref() }
    }

    /// The link before the first node at or after `probe`, starting at `link`, and that node.
    fn find<'a>(&'a self, mut link: &'a AtomicPtr<Node>, probe: &Probe<'_>) -> (&'a AtomicPtr<Node>, Option<&'a Node>) {
        loop {
            let node = self.follow(link);
            match node {
                // SAFETY: the arena lives as long as `self`.
                Some(node) if unsafe { node.slot.compare(probe) }.is_lt() => link = &node.next,
                _ => return (link, node),
            }
        }
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.buckets
            .iter()
            .flat_map(|head| std::iter::successors(self.follow(head), |node| self.follow(&node.next)))
    }
}

impl Snapshot for HashLinkListMemtable {
    fn snapshot(&self) -> Arc<Vec<Slot>> {
        // SAFETY: the arena lives as long as `self`.
        unsafe {
            self.snapshot
                .get(self.len(), || self.nodes().map(|node| node.slot).collect())
        }
    }
}

impl Memtable for HashLinkListMemtable {
    fn insert(&self, entry: EntryRef<'_>) -> Result<()> {
        let place = self.arena.alloc(size_of::<Node>() + Stored::size(&entry)?);
        let node = place.cast::<Node>().as_ptr();
        let probe = Probe::new(entry.key, entry.seq);
        // SAFETY: the allocation has room for the node and the entry behind it, is aligned for both, and is ours alone.
        let node_ref = unsafe {
            let stored = Stored::write(place.add(size_of::<Node>()), &entry);
            let slot = Slot {
                prefix: probe.prefix,
                stored,
            };
            node.write(Node {
                next: AtomicPtr::new(ptr::null_mut()),
                slot,
            });
            &*node
        };
        let mut link = &self.buckets[self.hasher.bucket(entry.key)];
        loop {
            let (place, after) = self.find(link, &probe);
            let after = after.map_or(ptr::null_mut(), |node| ptr::from_ref(node).cast_mut());
            node_ref.next.store(after, Ordering::Relaxed);
            // Release: who follows the link finds the node whole. Nodes never leave, so a lost race resumes at this link.
            if place
                .compare_exchange(after, node, Ordering::Release, Ordering::Relaxed)
                .is_ok()
            {
                break;
            }
            link = place;
        }
        self.arena.add_item();
        Ok(())
    }

    fn get(&self, key: &[u8], seq: SeqNo) -> Option<Version<'_>> {
        let (_, found) = self.find(&self.buckets[self.hasher.bucket(key)], &Probe::new(key, seq));
        let stored = found?.slot.stored;
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
        size_of::<Self>() + size_of_val(&*self.buckets) + self.snapshot.memory() + self.arena.memory()
    }
}

impl std::fmt::Debug for HashLinkListMemtable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashLinkListMemtable")
            .field("hasher", &self.hasher)
            .field("arena", &self.arena)
            .finish()
    }
}
