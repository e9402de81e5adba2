//! `sorted`: a B+-tree that keeps the heads of the keys in its nodes and the entries in an arena.
//!
//! A node holds, beside each pointer to an entry, eight bytes of its key: those after what all keys of the node have in
//! common. So a search touches one entry, at its end. Threads meet by optimistic lock coupling (Leis, Scheibner, Kemper,
//! Neumann, "The ART of practical synchronization", DaMoN 2016; Leis, Haubenschild, Neumann, "Optimistic lock coupling",
//! IEEE Data Eng. Bull. 42, 2019): a writer locks the leaf it changes, and its parent when it splits; a reader locks
//! nothing, and starts again if a node's version shows that it was changed meanwhile. Nothing is ever removed.

#![allow(unsafe_code)]

mod change;
mod cursor;
mod node;
mod search;

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{Acquire, Release};

use crossbeam_utils::CachePadded;
use kodiak_core::Result;
use kodiak_core::entry::{EntryCursor, EntryRef, SeqNo};
use kodiak_core::memtable::{Memtable, MemtableCapabilities, MemtableFactory, Version};
use kodiak_core::registry::Component;

use crate::stored::{EntryArena, Probe, Stored};
use cursor::SortedCursor;
use node::{Node, NodeArena, NodeVersion, SLOTS, pause};

/// The factory.
pub const FACTORY: MemtableFactory = MemtableFactory {
    component: Component {
        name: "sorted",
        summary: "A B+-tree with key prefixes in its nodes and entries in an arena: fast at everything.",
        options: &[],
    },
    capabilities: MemtableCapabilities {
        concurrent_insert: true,
        scalable_insert: true,
        fast_get: true,
        fast_cursor: true,
        overhead_per_entry: 38,
    },
    create: |_, capacity| Ok(Arc::new(SortedMemtable::new(capacity))),
};

struct SortedMemtable {
    root: AtomicPtr<u8>,
    /// The last leaf while keys come in ascending order, else null: they go straight there. Any leaf is safe.
    edge: CachePadded<AtomicPtr<u8>>,
    nodes: NodeArena,
    arena: EntryArena,
}

/// A node on the way down, and the version at which it was read.
type Step = (Node, NodeVersion);

impl SortedMemtable {
    fn new(capacity: usize) -> Self {
        // Nodes take less than a quarter of the memory as long as entries are not tiny.
        let nodes = NodeArena::new(true, capacity / 4);
        let root = AtomicPtr::new(Node::new_in(&nodes, 0).as_ptr());
        Self {
            root,
            edge: CachePadded::new(AtomicPtr::new(ptr::null_mut())),
            nodes,
            arena: EntryArena::new(false, capacity),
        }
    }

    /// The root and its version; `None` if the tree grew in between.
    #[inline]
    fn root(&self) -> Option<Step> {
        let pointer = self.root.load(Acquire);
        // SAFETY: the root is always a node of this tree.
        let root = unsafe { Node::from_ptr(pointer) }?;
        let version = root.read_lock();
        (self.root.load(Acquire) == pointer).then_some((root, version))
    }

    /// Goes down to a leaf, `choose` picking the child of each inner node; `None` if a writer came in between.
    #[inline]
    fn descend(&self, choose: impl Fn(Node) -> usize) -> Option<Step> {
        let (mut node, mut version) = self.root()?;
        while node.level() > 0 {
            let child = node.child(choose(node));
            child.prefetch();
            let child_version = child.read_lock();
            // The child may have been split before its version was noted: then the parent was changed too.
            if !node.validate(version) {
                return None;
            }
            (node, version) = (child, child_version);
        }
        Some((node, version))
    }

    /// The first entry at or after `probe`, unless it is of another key; `None` if a writer came in between.
    #[inline]
    fn try_get(&self, probe: &Probe<'_>) -> Option<Option<Stored>> {
        let (leaf, version) = self.descend(|node| node.bound::<true>(node.count(), probe))?;
        let count = leaf.count();
        let (slot, may_be_there) = leaf.bound_or_absent(count, probe);
        if slot < count {
            let found = may_be_there.then(|| leaf.entry(slot));
            found.inspect(|found| found.prefetch());
            return leaf.validate(version).then_some(found);
        }
        // Versions of one key may be spread over leaves. Only the root can be an empty leaf, and the first entry of a leaf
        // that has a left neighbour never changes: it is the separator.
        let next = leaf.next();
        leaf.validate(version).then(|| next.map(|next| next.entry(0)))
    }

    /// Appends to the last leaf if `probe` is after everything; false if it is not, or if this takes the usual way.
    #[inline]
    fn try_append(&self, probe: &Probe<'_>, stored: Stored) -> bool {
        // SAFETY: the edge is null or a node of this tree.
        let Some(leaf) = (unsafe { Node::from_ptr(self.edge.load(Acquire)) }) else {
            return false;
        };
        let version = leaf.read_lock();
        let count = leaf.count();
        // No right neighbour: the leaf has all keys from its first one on. A version in which that holds is locked below.
        let after_all = count > 0 && leaf.next().is_none() && leaf.bound::<false>(count, probe) == count;
        if !after_all {
            self.edge.store(ptr::null_mut(), Release);
            return false;
        }
        if count == SLOTS || !leaf.try_lock(version) {
            return false;
        }
        leaf.insert(count, probe.key, stored);
        leaf.unlock();
        true
    }

    /// A new node, for a split: to be had before anything is locked, since memory for many of them may have to be fetched and cleared,
    /// which takes as long as hundreds of insertions. `spare` is one of an attempt that failed.
    fn node_for(&self, level: u32, spare: &mut Option<Node>) -> Node {
        let fits = spare.take().filter(|node| node.level() == level);
        fits.unwrap_or_else(|| Node::new_in(&self.nodes, level))
    }

    /// One attempt to insert; false if another writer came in between.
    fn try_insert(&self, probe: &Probe<'_>, stored: Stored, spare: &mut Option<Node>) -> bool {
        let Some((mut node, mut version)) = self.root() else {
            return false;
        };
        let mut parent: Option<Step> = None;
        let mut at_right_edge = true;
        while node.level() > 0 {
            let count = node.count();
            if count == SLOTS {
                self.split_inner(parent, (node, version), at_right_edge, spare);
                return false;
            }
            let index = node.bound::<true>(count, probe);
            let child = node.child(index);
            child.prefetch();
            let child_version = child.read_lock();
            if !node.validate(version) {
                return false;
            }
            at_right_edge &= index == count;
            parent = Some((node, version));
            (node, version) = (child, child_version);
        }
        let count = node.count();
        let slot = node.bound::<false>(count, probe);
        if count == SLOTS {
            return self.split_leaf(parent, (node, version), at_right_edge, (slot, probe.key, stored), spare);
        }
        if !node.try_lock(version) {
            return false;
        }
        node.insert(slot, probe.key, stored);
        node.unlock();
        true
    }

    /// Splits a full leaf and inserts a key at a slot into one of the halves; false if another writer came in between.
    #[cold]
    fn split_leaf(
        &self,
        parent: Option<Step>,
        step: Step,
        at_right_edge: bool,
        (slot, key, stored): (usize, &[u8], Stored),
        spare: &mut Option<Node>,
    ) -> bool {
        let right = self.node_for(0, spare);
        if !lock_both(parent, step) {
            *spare = Some(right);
            return false;
        }
        let leaf = step.0;
        // Keys that come in ascending order leave full leaves behind.
        let at = if at_right_edge && slot == SLOTS {
            SLOTS
        } else {
            SLOTS / 2
        };
        leaf.split_leaf(at, right);
        if slot < at || at < SLOTS && slot == at {
            leaf.insert(slot, key, stored);
        } else {
            right.insert(slot - at, key, stored);
        }
        self.add_child(parent, leaf, right.entry(0), right);
        unlock_both(parent, leaf);
        if at == SLOTS {
            // Only now: until here nobody else may know the new leaf.
            self.edge.store(right.as_ptr(), Release);
        }
        true
    }

    /// Splits a full inner node, unless another writer came in between; either way the insertion starts again.
    #[cold]
    fn split_inner(&self, parent: Option<Step>, step: Step, at_right_edge: bool, spare: &mut Option<Node>) {
        let node = step.0;
        let right = self.node_for(node.level(), spare);
        if !lock_both(parent, step) {
            *spare = Some(right);
            return;
        }
        let separator = node.split_inner(if at_right_edge { SLOTS - 2 } else { SLOTS / 2 }, right);
        self.add_child(parent, node, separator, right);
        unlock_both(parent, node);
    }

    /// Puts `right` beside `left`; the parent is locked, and not full because a full one is split on the way down.
    fn add_child(&self, parent: Option<Step>, left: Node, separator: Stored, right: Node) {
        match parent {
            Some((parent, _)) => parent.insert_child(separator, right),
            None => {
                let root = Node::new_in(&self.nodes, left.level() + 1);
                root.init_root(left, separator, right);
                self.root.store(root.as_ptr(), Release);
            }
        }
    }
}

/// Locks a node and its parent if neither has changed. A node without a parent is the root: the root only changes under
/// its lock.
fn lock_both(parent: Option<Step>, (node, version): Step) -> bool {
    if let Some((parent, version)) = parent
        && !parent.try_lock(version)
    {
        return false;
    }
    if node.try_lock(version) {
        return true;
    }
    if let Some((parent, _)) = parent {
        parent.unlock();
    }
    false
}

fn unlock_both(parent: Option<Step>, node: Node) {
    node.unlock();
    if let Some((parent, _)) = parent {
        parent.unlock();
    }
}

impl Memtable for SortedMemtable {
    fn insert(&self, entry: EntryRef<'_>) -> Result<()> {
        let stored = Stored::new_in(&self.arena, &entry)?;
        let probe = Probe::new(entry.key, entry.seq);
        let (mut spins, mut spare) = (0, None);
        let appended = self.try_append(&probe, stored);
        while !appended && !self.try_insert(&probe, stored, &mut spare) {
            pause(&mut spins);
        }
        self.arena.add_item();
        Ok(())
    }

    fn get(&self, key: &[u8], seq: SeqNo) -> Option<Version<'_>> {
        let probe = Probe::new(key, seq);
        let mut spins = 0;
        let stored = loop {
            match self.try_get(&probe) {
                Some(found) => break found?,
                None => pause(&mut spins),
            }
        };
        // SAFETY: the arena lives as long as `self`.
        let entry = unsafe { stored.entry() };
        (entry.key == key).then_some(Version {
            seq: entry.seq,
            op: entry.op,
            value: entry.value,
        })
    }

    fn cursor(self: Arc<Self>) -> Box<dyn EntryCursor> {
        Box::new(SortedCursor::new(self))
    }

    fn len(&self) -> usize {
        self.arena.items()
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.nodes.memory() + self.arena.memory()
    }
}

impl std::fmt::Debug for SortedMemtable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SortedMemtable")
            .field("nodes", &self.nodes)
            .field("arena", &self.arena)
            .finish()
    }
}
