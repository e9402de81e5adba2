//! Changes of a node. The caller holds its write lock, or is the only one who knows it.

use std::sync::atomic::Ordering::Relaxed;

use kodiak_core::entry::prefix_of;

use super::node::{MAX_SKIP, Node};
use crate::stored::{Probe, Stored};

impl Node {
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
        self.clear_prefixes(at, at + 1);
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
        self.clear_prefixes(at, count);
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
