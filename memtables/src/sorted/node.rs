//! Nodes of the B+-tree, and the version lock that guards each.
//!
//! Every field that changes is an atomic. Writers change them while holding the lock; readers read them, and believe what
//! they read once they find the version as it was before (a sequence lock, with fences as in Boehm, "Can seqlocks get along
//! with programming language memory models?", MSPC 2012).

use std::hint;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, fence};

use crate::arena::Arena;
use kodiak_core::prefetch::prefetch;

use crate::stored::Stored;

/// Slots that are searched together: the prefixes of a group are one cache line, and so are its entries.
pub const GROUP: usize = 8;
/// Entries in a leaf, separators in an inner node. Of 16, 32, 48 and 64 the last is the fastest, though a leaf is then 17 cache
/// lines: they are fetched at once.
pub const SLOTS: usize = 64;
/// How many bytes a node can take off the front of its keys.
pub(super) const MAX_SKIP: usize = 32;
/// What the prefix of an unused slot is, so that a search need not know how many are used.
const UNUSED: u64 = u64::MAX;
const LINE: usize = 64;
/// The arena of nodes: zeroed, and each node on cache lines of its own.
pub type NodeArena = Arena<LINE>;

/// A leaf, or the part that an inner node shares with it.
#[repr(C, align(64))]
pub(super) struct Leaf {
    /// Odd while a writer holds the node; grows with every change.
    version: AtomicU64,
    count: AtomicU32,
    /// How many bytes all keys of the node share and the prefixes leave out.
    pub(super) skip: AtomicU32,
    /// 0 for a leaf; written before the node is known to others.
    level: AtomicU32,
    /// A leaf's right neighbour.
    link: AtomicPtr<Leaf>,
    /// The first `skip` bytes of every key, big-endian.
    pub(super) common: [AtomicU64; MAX_SKIP / 8],
    /// The eight bytes after `skip` of each key.
    pub(super) prefixes: [AtomicU64; SLOTS],
    /// The entries in order; in an inner node those at which each further child starts.
    entries: [AtomicPtr<u8>; SLOTS],
}

const _: () = assert!(size_of::<Leaf>() == LINE + 16 * SLOTS && SLOTS.is_multiple_of(GROUP));

#[repr(C)]
struct Inner {
    leaf: Leaf,
    children: [AtomicPtr<Leaf>; SLOTS + 1],
}

/// A node of a living tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node(NonNull<u8>);

// SAFETY: nodes are made of atomics, and the tree keeps their arena.
unsafe impl Send for Node {}

/// What a reader remembers of a node to find out whether it has changed.
pub type NodeVersion = u64;

impl Node {
    /// A new, empty node at `level` (0 is a leaf). It must not be used after `arena` is gone.
    pub fn new_in(arena: &NodeArena, level: u32) -> Self {
        let size = if level == 0 {
            size_of::<Leaf>()
        } else {
            size_of::<Inner>()
        };
        let node = Self(arena.alloc(size));
        node.leaf().level.store(level, Relaxed);
        node.clear_prefixes(0, SLOTS);
        node
    }

    /// The pointer, to be kept in an atomic.
    pub fn as_ptr(self) -> *mut u8 {
        self.0.as_ptr()
    }

    /// The node at a pointer, if it is not null.
    ///
    /// # Safety
    /// `pointer` is null or came from [`as_ptr`](Self::as_ptr), and the arena lives.
    #[inline]
    pub unsafe fn from_ptr(pointer: *mut u8) -> Option<Self> {
        NonNull::new(pointer).map(Self)
    }

    #[inline]
    pub(super) fn leaf(&self) -> &Leaf {
        // SAFETY: points to a node in a zeroed arena that lives while the tree does, and whose every byte is part of an
        // atomic: zeroes are an empty node.
        unsafe { self.0.cast().as_ref() }
    }

    #[inline]
    fn inner(&self) -> &Inner {
        debug_assert!(self.level() > 0);
        // SAFETY: as for `leaf`; nodes above level 0 are allocated with the size of `Inner`.
        unsafe { self.0.cast().as_ref() }
    }

    #[inline]
    pub fn level(&self) -> u32 {
        self.leaf().level.load(Relaxed)
    }

    /// At most [`SLOTS`]. Slots below it have been written, whatever the version says.
    #[inline]
    pub fn count(&self) -> usize {
        (self.leaf().count.load(Acquire) as usize).min(SLOTS)
    }

    /// The entry in a slot below [`count`](Self::count).
    #[inline]
    pub fn entry(&self, slot: usize) -> Stored {
        // SAFETY: a slot below the count holds an entry's pointer: it was written before the count was (Release, Acquire)
        // and is never cleared. Acquire makes the entry's bytes visible, even if it is newer than the version.
        unsafe { Stored::from_ptr(self.leaf().entries[slot % SLOTS].load(Acquire)) }
    }

    #[inline]
    pub(super) fn prefix(&self, slot: usize) -> u64 {
        self.leaf().prefixes[slot % SLOTS].load(Relaxed)
    }

    #[inline]
    pub(super) fn set(&self, slot: usize, prefix: u64, stored: Stored) {
        self.leaf().prefixes[slot % SLOTS].store(prefix, Relaxed);
        self.leaf().entries[slot % SLOTS].store(stored.as_ptr(), Release);
    }

    /// Makes the slots `from..to` sort after every key.
    pub(super) fn clear_prefixes(&self, from: usize, to: usize) {
        for prefix in &self.leaf().prefixes[from..to] {
            prefix.store(UNUSED, Relaxed);
        }
    }

    #[inline]
    pub(super) fn set_count(&self, count: usize) {
        self.leaf().count.store(count as u32, Release);
    }

    /// The right neighbour of a leaf.
    #[inline]
    pub fn next(&self) -> Option<Self> {
        // SAFETY: links hold nodes of the same tree, or null.
        unsafe { Self::from_ptr(self.leaf().link.load(Acquire).cast()) }
    }

    pub fn set_next(&self, next: Option<Self>) {
        self.leaf()
            .link
            .store(next.map_or(ptr::null_mut(), |node| node.as_ptr().cast()), Release);
    }

    /// Child `index` of an inner node, at most [`count`](Self::count).
    #[inline]
    pub fn child(&self, index: usize) -> Self {
        let child = self.inner().children[index % (SLOTS + 1)].load(Acquire);
        debug_assert!(!child.is_null());
        // SAFETY: as for `entry`: children up to the count were written before it and are never cleared.
        Self(unsafe { NonNull::new_unchecked(child.cast()) })
    }

    pub(super) fn set_child(&self, index: usize, child: Self) {
        self.inner().children[index].store(child.as_ptr().cast(), Release);
    }

    /// Starts loading what a search of this node reads: all of a leaf.
    #[inline]
    pub fn prefetch(self) {
        let start = self.0.as_ptr().cast::<[u8; LINE]>();
        for line in 0..size_of::<Leaf>() / LINE {
            prefetch(start.wrapping_add(line));
        }
    }

    // The version lock.

    /// Waits until no writer holds the node, and notes its version.
    #[inline]
    pub fn read_lock(&self) -> NodeVersion {
        let mut spins = 0_u32;
        loop {
            let version = self.leaf().version.load(Acquire);
            if version & 1 == 0 {
                return version;
            }
            pause(&mut spins);
        }
    }

    /// Whether everything read since `version` was noted belongs together.
    #[inline]
    pub fn validate(&self, version: NodeVersion) -> bool {
        fence(Acquire);
        self.leaf().version.load(Relaxed) == version
    }

    /// Takes the write lock if nothing has changed since `version` was noted.
    #[inline]
    pub fn try_lock(&self, version: NodeVersion) -> bool {
        let locked = self
            .leaf()
            .version
            .compare_exchange(version, version + 1, Acquire, Relaxed)
            .is_ok();
        // No change below may become visible before the version is odd.
        fence(Release);
        locked
    }

    /// Gives the write lock back.
    #[inline]
    pub fn unlock(&self) {
        let version = self.leaf().version.load(Relaxed);
        debug_assert!(version & 1 == 1);
        self.leaf().version.store(version + 1, Release);
    }
}

/// Waits a moment; longer each time, and lets another thread run when the holder of the lock seems to be off its core.
pub fn pause(spins: &mut u32) {
    *spins += 1;
    if *spins < 64 {
        hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}
