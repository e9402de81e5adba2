//! How indexes that change side by side share the memory for it.
//!
//! A batch is applied in slices. Before each, its index takes a *turn*, for which so many bytes are set aside, and waits if the pool has
//! not as many left; after it, it writes changed nodes to its file until all indexes of the pool together keep no more than
//! [`BufferPool::most_idle`], or it keeps none. So whoever waits has to wait only for turns that are under way, which wait for nobody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kodiak_core::index::IndexPool;
use parking_lot::{Condvar, Mutex};

use super::BufferPool;

/// The changed bytes of one index.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(super) pool: Arc<BufferPool>,
    bytes: AtomicUsize,
}

impl Tally {
    pub(crate) fn new(pool: &Arc<BufferPool>) -> Arc<Self> {
        pool.turns.indexes.fetch_add(1, Ordering::AcqRel);
        Arc::new(Self {
            pool: pool.clone(),
            bytes: AtomicUsize::new(0),
        })
    }

    /// Bytes that this index has changed and not written.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.pool.turns.indexes.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The memory of something changed, counted for as long as it is there.
#[derive(Debug)]
pub(crate) struct Charge {
    tally: Arc<Tally>,
    bytes: usize,
}

impl Charge {
    pub(crate) fn new(tally: &Arc<Tally>, bytes: usize) -> Self {
        let mut charge = Self {
            tally: tally.clone(),
            bytes: 0,
        };
        charge.set(bytes);
        charge
    }

    pub(crate) fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        let Tally { pool, bytes: own } = &*self.tally;
        // In this order, so that nobody who looks in between takes for free what was set aside.
        if bytes >= before {
            pool.charge(before, bytes);
            own.fetch_add(bytes - before, Ordering::AcqRel);
        } else {
            own.fetch_sub(before - bytes, Ordering::AcqRel);
            pool.charge(before, bytes);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Turns that are under way or waited for.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    ended: Condvar,
    /// Indexes that have the pool open.
    indexes: AtomicUsize,
    /// Batches that are being applied.
    writers: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    /// Whose turn it is, and how far its changed bytes may rise.
    active: Vec<(Arc<Tally>, usize)>,
    /// Those who wait, by number, so that each comes to its turn.
    waiting: VecDeque<u64>,
    next: u64,
}

/// Memory that is set aside for an index to change something.
pub(crate) struct Turn<'t> {
    tally: &'t Arc<Tally>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let turns = &self.tally.pool.turns;
        let mut state = turns.state.lock();
        if let Some(mine) = state
            .active
            .iter()
            .position(|(tally, _)| Arc::ptr_eq(tally, self.tally))
        {
            state.active.swap_remove(mine);
        }
        turns.ended.notify_all();
    }
}

/// A batch that is being applied.
pub(crate) struct Writing<'p>(&'p BufferPool);

impl<'p> Writing<'p> {
    pub(crate) fn new(pool: &'p BufferPool) -> Self {
        pool.turns.writers.fetch_add(1, Ordering::AcqRel);
        Self(pool)
    }

    /// What each of those that are applied now may take for a turn.
    pub(crate) fn share(&self) -> usize {
        self.0.budget / 2 / self.0.turns.writers.load(Ordering::Acquire).max(1)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.turns.writers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Tally {
    /// Waits until `bytes` can be set aside for this index, or nobody else has a turn.
    pub(crate) fn turn<'t>(self: &'t Arc<Self>, bytes: usize) -> Turn<'t> {
        let turns = &self.pool.turns;
        let mut state = turns.state.lock();
        let number = state.next;
        state.next += 1;
        state.waiting.push_back(number);
        while state.waiting.front() != Some(&number) || !self.fits(&state, bytes) {
            turns.ended.wait(&mut state);
        }
        state.waiting.pop_front();
        state.active.push((self.clone(), self.bytes() + bytes));
        if !state.waiting.is_empty() {
            turns.ended.notify_all();
        }
        Turn { tally: self }
    }

    fn fits(&self, state: &State, bytes: usize) -> bool {
        let aside = |(tally, most): &(Arc<Self>, usize)| most.saturating_sub(tally.bytes());
        let aside: usize = state.active.iter().map(aside).sum();
        state.active.is_empty() || self.pool.dirty() + aside + bytes <= self.pool.budget()
    }
}

impl BufferPool {
    /// Several indexes have the pool open.
    pub(crate) fn is_shared(&self) -> bool {
        self.turns.indexes.load(Ordering::Acquire) > 1
    }

    /// The most changed bytes that indexes keep while none of them is changing: half of the pool; and where several share it less, if
    /// one of them needs more than the other half for a turn.
    pub(crate) fn most_idle(&self) -> usize {
        if !self.is_shared() {
            return self.budget / 2;
        }
        self.budget
            .saturating_sub(self.needed.load(Ordering::Acquire))
            .min(self.budget / 2)
    }

    /// An index needs so many bytes for a turn at least.
    pub(crate) fn need(&self, bytes: usize) {
        self.needed.fetch_max(bytes.min(self.budget), Ordering::AcqRel);
    }
}
