//! The buffer pool: what indexes keep in memory of their files, within a budget that several of them can share.
//!
//! **Clean pieces** are kept as long as there is room, by a policy that a scan cannot ruin (see `shard`). A piece that somebody
//! holds is pinned: it is not given up, since that would free no memory. **Changed nodes** belong to the working state of
//! their index, which writes them back when they exceed their share; here they are only counted, and clean pieces make room
//! for them, and for **copies** of what is read most (see [`shelf`]). A piece that finds no room goes to whoever asked for it and is kept no
//! further.

mod shard;
pub(crate) mod shelf;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use kodiak_core::index::IndexPool;
use parking_lot::RwLock;

use self::shard::Shard;
use crate::tree::piece::Piece;

/// A pool of memory for indexes.
#[derive(Debug)]
pub struct BufferPool {
    budget: usize,
    shards: Vec<RwLock<Shard>>,
    clean: AtomicUsize,
    dirty: AtomicUsize,
    copies: AtomicUsize,
    peak: AtomicUsize,
    /// What views hold of clean pieces, as far as they say so, and of copies.
    held: AtomicUsize,
    files: AtomicU32,
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
            peak: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            files: AtomicU32::new(0),
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
        if bytes > share || !shard.make_room(share - bytes) {
            self.freed(before - shard.bytes());
            return;
        }
        let freed = before - shard.bytes();
        let added = shard.insert(key, piece.clone(), bytes);
        drop(shard);
        self.clean.fetch_add(added, Ordering::AcqRel);
        self.freed(freed);
        self.trim();
    }

    /// Forgets a piece whose place is free for another one.
    pub(crate) fn remove(&self, key: Key) {
        let freed = self.shard(key).write().remove(key);
        self.freed(freed);
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
            counter.fetch_add(after - before, Ordering::AcqRel);
            self.trim();
        } else {
            counter.fetch_sub(before - after, Ordering::AcqRel);
        }
    }

    /// Gives up clean pieces until everything is within the budget, or pinned.
    fn trim(&self) {
        if self.used() > self.budget {
            let share = self.share();
            for shard in &self.shards {
                let mut shard = shard.write();
                let before = shard.bytes();
                shard.make_room(share);
                self.freed(before - shard.bytes());
            }
        }
        self.peak.fetch_max(self.used(), Ordering::AcqRel);
    }
}

impl IndexPool for BufferPool {
    fn budget(&self) -> usize {
        self.budget
    }

    fn used(&self) -> usize {
        let load = |counter: &AtomicUsize| counter.load(Ordering::Acquire);
        load(&self.clean) + load(&self.dirty) + load(&self.copies)
    }

    fn peak(&self) -> usize {
        self.peak.load(Ordering::Acquire)
    }
}

/// The memory of something changed, counted for as long as it is there.
#[derive(Debug)]
pub(crate) struct Charge {
    pool: Arc<BufferPool>,
    bytes: usize,
}

impl Charge {
    pub(crate) fn new(pool: &Arc<BufferPool>, bytes: usize) -> Self {
        let mut charge = Self {
            pool: pool.clone(),
            bytes: 0,
        };
        charge.set(bytes);
        charge
    }

    pub(crate) fn set(&mut self, bytes: usize) {
        self.pool.charge(std::mem::replace(&mut self.bytes, bytes), bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests;
