//! Nodes of the B+-tree, and the version lock that guards each.
//!
//! Every field that changes is an atomic. Writers change them while holding the lock; readers read them, and believe what
//! they read once they find the version as it was before (a sequence lock, with fences as in Boehm, "Can seqlocks get along
//! with programming language memory models?", MSPC 2012).

use std::cmp::Ordering;
use std::hint;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, fence};

use kodiak_core::entry::{compare, prefix_of};

use crate::arena::Arena;
use crate::stored::{Probe, Stored, prefetch};

/// Entries in a leaf, separators in an inner node.
pub const SLOTS: usize = 64;
/// How many bytes a node can take off the front of its keys.
const MAX_SKIP: usize = 32;
/// The arena of nodes: zeroed, and each node on cache lines of its own.
pub type NodeArena = Arena<64>;

/// A leaf, or the part that an inner node shares with it.
#[repr(C, align(64))]
struct Leaf {
    /// Odd while a writer holds the node; grows with every change.
    version: AtomicU64,
    count: AtomicU32,
    /// How many bytes all keys of the node share and the prefixes leave out.
    skip: AtomicU32,
    /// 0 for a leaf; written before the node is known to others.
    level: AtomicU32,
    /// A leaf's right neighbour; an inner node's first child.
    link: AtomicPtr<Leaf>,
    /// The first `skip` bytes of every key, big-endian.
    common: [AtomicU64; MAX_SKIP / 8],
    /// The eight bytes after `skip` of each key.
    prefixes: [AtomicU64; SLOTS],
    /// The entries in order; in an inner node those at which each further child starts.
    entries: [AtomicPtr<u8>; SLOTS],
}

#[repr(C)]
struct Inner {
    leaf: Leaf,
    /// The children from the second on.
    children: [AtomicPtr<Leaf>; SLOTS],
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
    fn leaf(&self) -> &Leaf {
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
    fn prefix(&self, slot: usize) -> u64 {
        self.leaf().prefixes[slot % SLOTS].load(Relaxed)
    }

    #[inline]
    fn set(&self, slot: usize, prefix: u64, stored: Stored) {
        self.leaf().prefixes[slot % SLOTS].store(prefix, Relaxed);
        self.leaf().entries[slot % SLOTS].store(stored.as_ptr(), Release);
    }

    #[inline]
    fn set_count(&self, count: usize) {
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
        let link = if index == 0 {
            &self.leaf().link
        } else {
            &self.inner().children[(index - 1) % SLOTS]
        };
        let child = link.load(Acquire);
        debug_assert!(!child.is_null());
        // SAFETY: as for `entry`: children up to the count were written before it and are never cleared.
        Self(unsafe { NonNull::new_unchecked(child.cast()) })
    }

    fn set_child(&self, index: usize, child: Self) {
        let link = if index == 0 {
            &self.leaf().link
        } else {
            &self.inner().children[(index - 1) % SLOTS]
        };
        link.store(child.as_ptr().cast(), Release);
    }

    /// Starts loading what a search of this node reads.
    #[inline]
    pub fn prefetch(self) {
        let start = self.0.as_ptr().cast::<[u8; 64]>();
        for line in 0..7 {
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

    // Searches. What they return means nothing before `validate` has said so, but they are safe at any time.

    /// The first slot whose entry is at or after `probe` (after it, if `AFTER`).
    #[inline]
    pub fn bound<const AFTER: bool>(&self, count: usize, probe: &Probe<'_>) -> usize {
        let skip = self.leaf().skip.load(Relaxed) as usize;
        let prefix = if skip == 0 {
            probe.prefix
        } else {
            match self.compare_common(skip, probe.key) {
                Ordering::Less => return 0,
                Ordering::Greater => return count,
                Ordering::Equal => prefix_of(probe.key.get(skip..).unwrap_or_default()),
            }
        };
        let low = self.partition(0, count, |slot| self.prefix(slot) < prefix);
        if low == count || self.prefix(low) != prefix {
            return low;
        }
        let mut high = low + 1;
        while high < count && self.prefix(high) == prefix {
            high += 1;
        }
        let wanted = (probe.key, probe.seq);
        self.partition(low, high, |slot| {
            // SAFETY: entries live as long as the tree.
            let order = compare(unsafe { self.entry(slot).key_seq() }, wanted);
            if AFTER { order.is_le() } else { order.is_lt() }
        })
    }

    /// The first slot of `low..high` for which `before` is false.
    #[inline(always)]
    fn partition(&self, low: usize, high: usize, before: impl Fn(usize) -> bool) -> usize {
        let (mut base, mut size) = (low, high - low);
        while size > 0 {
            let half = size / 2;
            let middle = base + half;
            // Written for a conditional move: a misprediction costs more than the comparison.
            base = hint::select_unpredictable(before(middle), middle + 1, base);
            size = hint::select_unpredictable(base > middle, size - half - 1, half);
        }
        base
    }

    /// How `key` compares with what all keys of the node start with; `Less` if it is shorter.
    fn compare_common(&self, skip: usize, key: &[u8]) -> Ordering {
        let skip = skip.min(MAX_SKIP);
        for (at, common) in (0..skip).step_by(8).zip(&self.leaf().common) {
            let mask = u64::MAX << (64 - 8 * (skip - at).min(8));
            let ours = prefix_of(key.get(at..).unwrap_or_default()) & mask;
            let order = ours.cmp(&(common.load(Relaxed) & mask));
            if order.is_ne() {
                return order;
            }
        }
        if key.len() < skip {
            Ordering::Less
        } else {
            Ordering::Equal
        }
    }

    // Changes. The caller holds the write lock, or is the only one who knows the node.

    /// Puts `slot` at `at`, moving the later ones; the node is not full.
    pub fn insert(&self, at: usize, key: &[u8], stored: Stored) {
        let count = self.count();
        let mut skip = self.leaf().skip.load(Relaxed) as usize;
        if skip > 0 && self.compare_common(skip, key).is_ne() {
            skip = self.shared_with_common(skip, key);
            self.rebase(skip);
        }
        for slot in (at..count).rev() {
            self.set(slot + 1, self.prefix(slot), self.entry(slot));
        }
        self.set(at, prefix_of(&key[skip..]), stored);
        self.set_count(count + 1);
        if matches!(count, 3 | 15) {
            self.tighten();
        }
    }

    /// Puts a child that starts at `separator` into an inner node that is not full.
    pub fn insert_child(&self, separator: Stored, child: Self) {
        // SAFETY: entries live as long as the tree.
        let (key, seq) = unsafe { separator.key_seq() };
        let count = self.count();
        let at = self.bound::<true>(count, &Probe::new(key, seq));
        for index in (at + 1..=count).rev() {
            self.set_child(index + 1, self.child(index));
        }
        self.set_child(at + 1, child);
        self.insert(at, key, separator);
    }

    /// Makes an inner node of two children.
    pub fn init_root(&self, left: Self, separator: Stored, right: Self) {
        self.set_child(0, left);
        self.insert_child(separator, right);
    }

    /// Moves the entries from `at` on to `right`, a new leaf.
    pub fn split_leaf(&self, at: usize, right: Self) {
        self.move_slots(at, right);
        right.set_next(self.next());
        self.set_next(Some(right));
        self.tighten();
        right.tighten();
    }

    /// Moves what is after separator `at` to `right`, a new inner node; returns that separator.
    pub fn split_inner(&self, at: usize, right: Self) -> Stored {
        let separator = self.entry(at);
        for index in at + 1..=self.count() {
            right.set_child(index - at - 1, self.child(index));
        }
        self.move_slots(at + 1, right);
        self.set_count(at);
        self.tighten();
        right.tighten();
        separator
    }

    fn move_slots(&self, at: usize, right: Self) {
        let count = self.count();
        for slot in at..count {
            right.set(slot - at, self.prefix(slot), self.entry(slot));
        }
        right.leaf().skip.store(self.leaf().skip.load(Relaxed), Relaxed);
        for (to, from) in right.leaf().common.iter().zip(&self.leaf().common) {
            to.store(from.load(Relaxed), Relaxed);
        }
        right.set_count(count - at);
        self.set_count(at);
    }

    /// Leaves more bytes out of the prefixes, if they have become all too equal.
    fn tighten(&self) {
        let count = self.count();
        let skip = self.leaf().skip.load(Relaxed) as usize;
        if count < 2 || skip == MAX_SKIP || (self.prefix(0) ^ self.prefix(count - 1)) >> 32 != 0 {
            return;
        }
        // SAFETY: entries live as long as the tree.
        let (first, last) = unsafe { (self.entry(0).key_seq().0, self.entry(count - 1).key_seq().0) };
        let shared = first
            .iter()
            .zip(last)
            .take(MAX_SKIP)
            .take_while(|(left, right)| left == right)
            .count();
        if shared > skip {
            for (at, common) in (0..shared).step_by(8).zip(&self.leaf().common) {
                common.store(prefix_of(&first[at..]), Relaxed);
            }
            self.rebase(shared);
        }
    }

    /// How many of the first `skip` bytes of the node's keys `key` has.
    fn shared_with_common(&self, skip: usize, key: &[u8]) -> usize {
        let common = |at: usize| self.leaf().common[at / 8].load(Relaxed).to_be_bytes()[at % 8];
        key.iter()
            .take(skip)
            .enumerate()
            .take_while(|(at, byte)| **byte == common(*at))
            .count()
    }

    /// Takes the prefixes anew, after the first `skip` bytes, which all keys share.
    fn rebase(&self, skip: usize) {
        for slot in 0..self.count() {
            // SAFETY: entries live as long as the tree.
            let key = unsafe { self.entry(slot).key_seq().0 };
            self.leaf().prefixes[slot].store(prefix_of(&key[skip..]), Relaxed);
        }
        self.leaf().skip.store(skip as u32, Relaxed);
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
