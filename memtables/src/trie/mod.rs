//! `trie`: an adaptive radix tree (Leis, Kemper, Neumann, "The adaptive radix tree", ICDE 2013).
//!
//! Paths are compressed as in a Patricia tree: a node knows at which byte its children part, and one entry below it, from
//! which the bytes before can be read. So a node never changes but for new children, a path is split by putting a node
//! between two others, and readers need no lock. A key that is a prefix of others hangs in the value slot of the node where it
//! ends. A leaf is the list of its key's versions, the newest first.

#![allow(unsafe_code)]

mod cursor;
mod node;

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicPtr;

use kodiak_core::Result;
use kodiak_core::entry::{EntryCursor, EntryRef, SeqNo};
use kodiak_core::memtable::{Memtable, MemtableCapabilities, MemtableFactory, Version};
use kodiak_core::registry::Component;
use parking_lot::Mutex;

use crate::arena::Arena;
use crate::stored::Stored;
use cursor::TrieCursor;
use node::{Child, Leaf, Link, Node};

/// The factory.
pub const FACTORY: MemtableFactory = MemtableFactory {
    component: Component {
        name: "trie",
        summary: "An adaptive radix tree: its reads do not slow down with the number of keys; one writer at a time.",
        options: &[],
    },
    capabilities: MemtableCapabilities {
        concurrent_insert: false,
        scalable_insert: true,
        fast_get: true,
        fast_cursor: true,
        overhead_per_entry: 85,
    },
    create: |_, capacity| Ok(Arc::new(TrieMemtable::new(capacity))),
};

struct TrieMemtable {
    root: Link,
    /// The engine lets one writer in at a time; this makes it true whoever calls.
    writer: Mutex<()>,
    nodes: Arena<8>,
    leaves: Arena<8>,
}

impl TrieMemtable {
    fn new(capacity: usize) -> Self {
        let root = AtomicPtr::new(ptr::null_mut());
        Self {
            root,
            writer: Mutex::new(()),
            nodes: Arena::new(true, capacity / 2),
            leaves: Arena::new(false, capacity),
        }
    }

    /// An entry that shares at least as many first bytes with `key` as any other does.
    fn nearest(&self, key: &[u8]) -> Option<Stored> {
        let mut child = Child::load(&self.root)?;
        while let Child::Node(node) = child {
            let depth = node.depth();
            let link = if depth == key.len() {
                Some(node.value())
            } else {
                key.get(depth).and_then(|&byte| node.find(byte))
            };
            match link.and_then(Child::load) {
                Some(next) => child = next,
                None => return Some(node.sample()),
            }
        }
        Some(child.sample())
    }

    /// Hangs `leaf` into the tree. The caller is the only writer.
    fn link(&self, key: &[u8], leaf: &Leaf) {
        let Some(nearest) = self.nearest(key) else {
            return Child::Leaf(leaf).store(&self.root);
        };
        // SAFETY: the arena lives as long as `self`.
        let nearest = unsafe { nearest.key_seq().0 };
        let shared = shared_prefix(key, nearest);
        let mut link = &self.root;
        // Down to where the key parts from what is there. The nearest entry's path goes on wherever `shared` goes beyond
        // a node's depth.
        while let Some(child) = Child::load(link) {
            match child {
                Child::Node(node) if node.depth() < shared => match node.find(key[node.depth()]) {
                    Some(next) => link = next,
                    None => unreachable!("the nearest entry is below this node"),
                },
                Child::Node(node) if node.depth() == shared => {
                    if key.len() > shared {
                        return self.add_child(link, node, key[shared], leaf);
                    }
                    match Child::load(node.value()) {
                        Some(Child::Leaf(newest)) => return Leaf::add_version(node.value(), newest, leaf),
                        _ => return Child::Leaf(leaf).store(node.value()),
                    }
                }
                Child::Leaf(newest) if shared == key.len() && shared == nearest.len() => {
                    return Leaf::add_version(link, newest, leaf);
                }
                _ => return self.split(link, child, shared, key, leaf),
            }
        }
    }

    fn add_child(&self, link: &Link, node: Node, byte: u8, leaf: &Leaf) {
        if !node.add(byte, Child::Leaf(leaf)) {
            let larger = node.grown(&self.nodes);
            larger.add(byte, Child::Leaf(leaf));
            Child::Node(larger).store(link);
        }
    }

    /// Puts a node between `link` and `child`, where their keys part after `shared` bytes.
    fn split(&self, link: &Link, child: Child<'_>, shared: usize, key: &[u8], leaf: &Leaf) {
        let node = Node::new_in(&self.nodes, shared, leaf.stored);
        // SAFETY: the arena lives as long as `self`.
        let below = unsafe { child.sample().key_seq().0 };
        for (key, child) in [(below, child), (key, Child::Leaf(leaf))] {
            match key.get(shared) {
                Some(&byte) => {
                    node.add(byte, child);
                }
                None => child.store(node.value()),
            }
        }
        Child::Node(node).store(link);
    }
}

fn shared_prefix(left: &[u8], right: &[u8]) -> usize {
    let words = left
        .chunks_exact(8)
        .zip(right.chunks_exact(8))
        .take_while(|(left, right)| left == right)
        .count()
        * 8;
    words
        + left[words..]
            .iter()
            .zip(&right[words..])
            .take_while(|(left, right)| left == right)
            .count()
}

impl Memtable for TrieMemtable {
    fn insert(&self, entry: EntryRef<'_>) -> Result<()> {
        let leaf = Leaf::new_in(&self.leaves, &entry)?;
        let writer = self.writer.lock();
        self.link(entry.key, leaf);
        drop(writer);
        self.leaves.add_item();
        Ok(())
    }

    fn get(&self, key: &[u8], seq: SeqNo) -> Option<Version<'_>> {
        let mut child = Child::load(&self.root)?;
        while let Child::Node(node) = child {
            let depth = node.depth();
            let link = if depth == key.len() {
                node.value()
            } else {
                node.find(*key.get(depth)?)?
            };
            child = Child::load(link)?;
        }
        let Child::Leaf(newest) = child else { return None };
        // SAFETY: the arena lives as long as `self`.
        if unsafe { newest.stored.key_seq().0 } != key {
            return None;
        }
        let mut versions = std::iter::successors(Some(newest), |leaf| leaf.older());
        // SAFETY: as above.
        versions
            .find(|leaf| leaf.seq <= seq)
            .map(|leaf| unsafe { leaf.stored.version() })
    }

    fn cursor(self: Arc<Self>) -> Box<dyn EntryCursor> {
        Box::new(TrieCursor::new(self))
    }

    fn len(&self) -> usize {
        self.leaves.items()
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.nodes.memory() + self.leaves.memory()
    }
}

impl std::fmt::Debug for TrieMemtable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrieMemtable")
            .field("nodes", &self.nodes)
            .field("leaves", &self.leaves)
            .finish()
    }
}
