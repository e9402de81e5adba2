//! Cursors over the radix tree.
//!
//! A cursor keeps the path from the root. Nodes on it may have been replaced by larger ones since: they still lead, in order,
//! to everything that was there at the last seek.

use std::cmp::Ordering;
use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::entry::{EntryCursor, EntryRef, SeqNo, compare};

use super::node::{Child, Leaf, Node};
use super::{TrieMemtable, shared_prefix};

/// A node on the path, and which way it went: 0 for the key that ends there, else one more than the child's byte.
type Step = (Node, usize);

/// The newest version of the key, and the version on which the cursor stands. Both live as long as the tree.
type Versions = (&'static Leaf, &'static Leaf);

pub struct TrieCursor {
    table: Arc<TrieMemtable>,
    path: Vec<Step>,
    /// It borrows from `table` under a longer lifetime, and leaves this type only with the lifetime of `self`.
    at: Option<Versions>,
}

impl TrieCursor {
    /// A cursor that is not positioned.
    pub fn new(table: Arc<TrieMemtable>) -> Self {
        Self {
            table,
            path: Vec::new(),
            at: None,
        }
    }

    /// Stands on the first entry at or below `child`.
    fn enter_first(&mut self, mut child: Option<Child<'static>>) {
        self.at = None;
        while let Some(Child::Node(node)) = child {
            child = Child::load(node.value());
            if child.is_some() {
                self.path.push((node, 0));
            } else {
                child = node.first_child(0).and_then(|(byte, link)| self.go(node, byte, link));
            }
        }
        if let Some(Child::Leaf(newest)) = child {
            self.at = Some((newest, newest));
        }
    }

    /// Stands on the last entry at or below `child`.
    fn enter_last(&mut self, mut child: Option<Child<'static>>) {
        self.at = None;
        while let Some(Child::Node(node)) = child {
            child = match node.last_child(256) {
                Some((byte, link)) => self.go(node, byte, link),
                None => {
                    self.path.push((node, 0));
                    Child::load(node.value())
                }
            };
        }
        if let Some(Child::Leaf(newest)) = child {
            let mut oldest = newest;
            while let Some(older) = oldest.older() {
                oldest = older;
            }
            self.at = Some((newest, oldest));
        }
    }

    fn go(&mut self, node: Node, byte: u8, link: &super::Link) -> Option<Child<'static>> {
        self.path.push((node, usize::from(byte) + 1));
        Child::load(link)
    }

    /// Stands on the first entry after the subtree that the path leads to.
    fn leave_forwards(&mut self) {
        self.at = None;
        while let Some((node, way)) = self.path.pop() {
            if let Some((byte, link)) = node.first_child(way) {
                let child = self.go(node, byte, link);
                return self.enter_first(child);
            }
        }
    }

    /// Stands on the last entry before the subtree that the path leads to.
    fn leave_backwards(&mut self) {
        self.at = None;
        while let Some((node, way)) = self.path.pop() {
            let Some(byte) = way.checked_sub(1) else { continue };
            if let Some((byte, link)) = node.last_child(byte) {
                let child = self.go(node, byte, link);
                return self.enter_last(child);
            }
            if let Some(child) = Child::load(node.value()) {
                self.path.push((node, 0));
                return self.enter_last(Some(child));
            }
        }
    }

    /// Stands on the first version of `newest` that is not newer than `seq`, or on the next key.
    fn enter_versions(&mut self, newest: &'static Leaf, seq: SeqNo) {
        let mut versions = std::iter::successors(Some(newest), |leaf| leaf.older());
        match versions.find(|leaf| leaf.seq <= seq) {
            Some(version) => self.at = Some((newest, version)),
            None => self.leave_forwards(),
        }
    }

    fn find(&mut self, key: &[u8], seq: SeqNo) {
        self.path.clear();
        self.at = None;
        let Some(nearest) = self.table.nearest(key) else { return };
        // SAFETY: `table` keeps the arena alive.
        let shared = shared_prefix(key, unsafe { nearest.key_seq().0 });
        let mut child: Option<Child<'static>> = Child::load(&self.table.root);
        while let Some(Child::Node(node)) = child {
            let depth = node.depth();
            if depth > shared {
                break;
            }
            let Some(&byte) = key.get(depth) else {
                // The key ends here: its versions if it is there, else what follows.
                self.path.push((node, 0));
                return match Child::load(node.value()) {
                    Some(Child::Leaf(newest)) => self.enter_versions(newest, seq),
                    _ => self.leave_forwards(),
                };
            };
            if depth == shared {
                // No key goes on like this one (or none did a moment ago).
                self.path.push((node, usize::from(byte) + 1));
                return self.leave_forwards();
            }
            child = node.find(byte).and_then(|link| self.go(node, byte, link));
        }
        let Some(child) = child else {
            return self.leave_forwards();
        };
        // SAFETY: `table` keeps the arena alive.
        let below = unsafe { child.sample().key_seq().0 };
        match (child, below.get(shared..).cmp(&key.get(shared..))) {
            (Child::Leaf(newest), Ordering::Equal) => self.enter_versions(newest, seq),
            (_, Ordering::Less) => self.leave_forwards(),
            _ => self.enter_first(Some(child)),
        }
    }
}

impl EntryCursor for TrieCursor {
    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.find(key, seq);
        Ok(())
    }

    fn seek_before(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.find(key, seq);
        if self.at.is_some() {
            self.prev()?;
        } else {
            self.seek_last()?;
        }
        // An entry may have come in between since the seek.
        while self
            .entry()
            .is_some_and(|entry| compare((entry.key, entry.seq), (key, seq)).is_ge())
        {
            self.prev()?;
        }
        Ok(())
    }

    fn seek_first(&mut self) -> Result<()> {
        self.path.clear();
        let root = Child::load(&self.table.root);
        self.enter_first(root);
        Ok(())
    }

    fn seek_last(&mut self) -> Result<()> {
        self.path.clear();
        let root = Child::load(&self.table.root);
        self.enter_last(root);
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        let Some((newest, version)) = self.at else {
            return Ok(());
        };
        match version.older() {
            Some(older) => self.at = Some((newest, older)),
            None => self.leave_forwards(),
        }
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        let Some((newest, version)) = self.at else {
            return Ok(());
        };
        let mut newer = std::iter::successors(Some(newest), |leaf| leaf.older());
        match newer.find(|leaf| leaf.older().is_some_and(|older| std::ptr::eq(older, version))) {
            Some(newer) => self.at = Some((newest, newer)),
            None => self.leave_backwards(),
        }
        Ok(())
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        // SAFETY: `table` keeps the arena alive for as long as `self` is borrowed.
        self.at.map(|(_, version)| unsafe { version.stored.entry() })
    }
}
