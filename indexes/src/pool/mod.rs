//! The buffer pool: what indexes keep in memory of their files, within a budget that several of them can share.
//!
//! **Clean pieces** are kept as long as there is room, by a policy that a scan cannot ruin (see `shard`). A piece that somebody
//! holds is pinned: it is not given up, since that would free no memory. **Changed nodes** belong to the working state of
//! their index, which writes them back when they exceed their share and takes turns with others if need be (see [`turns`]); here they
//! are only counted, and clean pieces make room for them, and for **copies** of what is read most (see [`shelf`]). A piece that finds
//! no room goes to whoever asked for it and is kept no further.
//!
//! Not counted is what belongs to a single call or cursor: the batch that a caller gives and its sorted copy, the leaf that is being put
//! together, pieces that are read once, the open nodes of a bulk load, and of each cursor the stretch of a leaf that it stands in.

mod shard;
pub(crate) mod shelf;
pub(crate) mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use kodiak_core::index::IndexPool;
use parking_lot::RwLock;

use self::shard::Shard;
use self::turns::Turns;
pub(crate) use self::turns::{Charge, Tally};
use crate::tree::piece::Piece;

/// A pool of memory for indexes.
#[derive(Debug)]
pub struct BufferPool {
    budget: usize,
    shards: Vec<RwLock<Shard>>,
    clean: AtomicUsize,
    dirty: AtomicUsize,
    copies: AtomicUsize,
    /// The three together. What is added to it has room, unless clean pieces that are pinned leave none.
    total: AtomicUsize,
    peak: AtomicUsize,
    /// What views hold of clean pieces, as far as they say so, and of copies.
    held: AtomicUsize,
    files: AtomicU32,
    turns: Turns,
    /// The most that an index needs for a turn.
    needed: AtomicUsize,
}

/// What a piece is known by: its file and its first page.
pub(crate) type Key = (u32, u64);

impl BufferPool {
    /// A pool of `budget` bytes.
    pub fn new(budget: usize) -> Arc<Self> {
        // Each must hold many pieces, or it could not choose among them.
        let shards = (budget >> 24).clamp(1, 16);
        Arc::new(Self {
            budget,
            shards: (0..shards).map(|_| RwLock::default()).collect(),
            clean: AtomicUsize::new(0),
            dirty: AtomicUsize::new(0),
            copies: AtomicUsize::new(0),
            total: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            files: AtomicU32::new(0),
            turns: Turns::default(),
            needed: AtomicUsize::new(0),
        })
    }

    /// The most bytes that it keeps.
    pub(crate) fn budget_bytes(&self) -> usize {
        self.budget
    }

    /// A number for a file, which no other file in this pool has.
    pub(crate) fn new_file(&self) -> u32 {
        self.files.fetch_add(1, Ordering::Relaxed)
    }

    fn shard(&self, key: Key) -> &RwLock<Shard> {
        &self.shards[(shard::hash(key) >> 32) as usize % self.shards.len()]
    }

    /// Notes that a view keeps so many bytes pinned for as long as it is there, unless views hold more than `limit` by then.
    pub(crate) fn hold(&self, bytes: usize, limit: usize) -> bool {
        let fits = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes <= limit;
        if !fits {
            self.let_go(bytes);
        }
        fits
    }

    /// What views keep pinned, as far as they say so.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// A view no longer keeps so many bytes.
    pub(crate) fn let_go(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A piece, and whether it is asked for often.
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<(Arc<Piece>, bool)> {
        self.shard(key).read().get(key)
    }

    /// Keeps a piece, if room can be made for it.
    pub(crate) fn insert(&self, key: Key, piece: &Arc<Piece>) {
        let bytes = piece.memory();
        let share = self.share();
        let mut shard = self.shard(key).write();
        let before = shard.bytes();
        let fits = bytes <= share && shard.make_room(share - bytes);
        self.freed(before - shard.bytes());
        if fits && self.try_add(bytes) {
            self.clean.fetch_add(bytes, Ordering::AcqRel);
            let added = shard.insert(key, piece.clone(), bytes);
            self.freed(bytes - added);
        }
    }

    /// Forgets a piece whose place is free for another one.
    pub(crate) fn remove(&self, key: Key) {
        let mut shard = self.shard(key).write();
        // While nobody else can look for something to give up.
        self.freed(shard.remove(key));
    }

    /// Forgets everything about a file.
    pub(crate) fn remove_file(&self, file: u32) {
        for shard in &self.shards {
            let freed = shard.write().remove_file(file);
            self.freed(freed);
        }
    }

    fn freed(&self, bytes: usize) {
        self.clean.fetch_sub(bytes, Ordering::AcqRel);
        self.total.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Changed bytes in this pool.
    pub(crate) fn dirty(&self) -> usize {
        self.dirty.load(Ordering::Acquire)
    }

    /// What the clean pieces of one shard may take.
    fn share(&self) -> usize {
        let others = self.dirty() + self.copies.load(Ordering::Acquire);
        self.budget.saturating_sub(others) / self.shards.len()
    }

    /// Some changed bytes have become others.
    fn charge(&self, before: usize, after: usize) {
        self.recount(&self.dirty, before, after);
    }

    /// Some bytes of copies have become others.
    fn copied(&self, before: usize, after: usize) {
        self.recount(&self.copies, before, after);
    }

    fn recount(&self, counter: &AtomicUsize, before: usize, after: usize) {
        if after >= before {
            self.add(after - before);
            counter.fetch_add(after - before, Ordering::AcqRel);
        } else {
            counter.fetch_sub(before - after, Ordering::AcqRel);
            self.total.fetch_sub(before - after, Ordering::AcqRel);
        }
    }

    /// Counts bytes if they are within the budget.
    fn try_add(&self, bytes: usize) -> bool {
        let within = |total: usize| Some(total + bytes).filter(|total| *total <= self.budget);
        let added = self.total.fetch_update(Ordering::AcqRel, Ordering::Acquire, within);
        let total = added.map(|before| before + bytes);
        self.peak.fetch_max(total.unwrap_or(0), Ordering::AcqRel);
        total.is_ok()
    }

    /// Counts bytes, for which clean pieces are given up unless they are pinned.
    fn add(&self, bytes: usize) {
        let mut all = false;
        while !self.try_add(bytes) {
            let missing = (self.used() + bytes).saturating_sub(self.budget);
            let rest = self.clean.load(Ordering::Acquire).saturating_sub(missing);
            let share = if all { 0 } else { rest / self.shards.len() };
            let mut any = false;
            for shard in &self.shards {
                let mut shard = shard.write();
                let before = shard.bytes();
                shard.make_room(share);
                any |= shard.bytes() < before;
                self.freed(before - shard.bytes());
            }
            // Others may have changed something between the numbers that the share was made from.
            if !any && !std::mem::replace(&mut all, true) {
                continue;
            }
            if !any {
                let total = self.total.fetch_add(bytes, Ordering::AcqRel) + bytes;
                self.peak.fetch_max(total, Ordering::AcqRel);
                return;
            }
        }
    }
}

impl IndexPool for BufferPool {
    fn budget(&self) -> usize {
        self.budget
    }

    fn used(&self) -> usize {
        self.total.load(Ordering::Acquire)
    }

    fn peak(&self) -> usize {
        self.peak.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests;
