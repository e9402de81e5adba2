//! What reads have touched since the database was opened.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use serde::Serialize;

/// Threads beyond so many share their counters, and may then lose counts to each other.
const STRIPES: usize = 64;

/// Counters that cost a read a nanosecond: each thread has its own, so that adding takes no atomic operation.
#[derive(Debug)]
pub struct ReadCounters(Box<[CachePadded<Stripe>]>);

#[derive(Debug, Default)]
struct Stripe {
    gets: AtomicU64,
    runs: AtomicU64,
    excluded: AtomicU64,
    mapped: AtomicU64,
    left_out: AtomicU64,
}

/// What point reads and scans have touched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ReadStats {
    /// Point reads that memtables did not answer.
    pub gets: u64,
    /// Runs that were searched for a key.
    pub runs: u64,
    /// Runs that were not, because their filter knew better.
    pub excluded: u64,
    /// Blocks that were searched or read in mapped files. Those of the cache are counted by [`CacheStats`](super::CacheStats).
    pub mapped_blocks: u64,
    /// Blocks of which reads with a filter knew, by their statistics, that no row in them passes.
    pub left_out_blocks: u64,
}

impl Default for ReadCounters {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| CachePadded::default()).collect())
    }
}

impl ReadCounters {
    /// A point read went on to the runs.
    #[inline]
    pub fn get(&self) {
        add(&self.stripe().gets);
    }

    /// A run was searched for a key.
    #[inline]
    pub fn run(&self) {
        add(&self.stripe().runs);
    }

    /// A filter kept a run from being searched.
    #[inline]
    pub fn excluded(&self) {
        add(&self.stripe().excluded);
    }

    /// A block was searched or read in its mapped file.
    #[inline]
    pub fn mapped(&self) {
        add(&self.stripe().mapped);
    }

    /// Statistics kept so many blocks from being read.
    #[inline]
    pub fn left_out(&self, blocks: u64) {
        if blocks == 0 {
            return;
        }
        let counter = &self.stripe().left_out;
        counter.store(counter.load(Ordering::Relaxed) + blocks, Ordering::Relaxed);
    }

    /// The sums.
    pub fn stats(&self) -> ReadStats {
        let sum = |of: fn(&Stripe) -> &AtomicU64| self.0.iter().map(|stripe| of(stripe).load(Ordering::Relaxed)).sum();
        ReadStats {
            gets: sum(|stripe| &stripe.gets),
            runs: sum(|stripe| &stripe.runs),
            excluded: sum(|stripe| &stripe.excluded),
            mapped_blocks: sum(|stripe| &stripe.mapped),
            left_out_blocks: sum(|stripe| &stripe.left_out),
        }
    }

    #[inline]
    fn stripe(&self) -> &Stripe {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
        }
        let mut stripe = STRIPE.get();
        if stripe == usize::MAX {
            stripe = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
            STRIPE.set(stripe);
        }
        &self.0[stripe % STRIPES]
    }
}

/// Adds one without an atomic operation: nobody else writes to it.
#[inline]
fn add(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_threads() {
        let counters = ReadCounters::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        counters.run();
                        counters.mapped();
                    }
                    counters.excluded();
                    counters.left_out(3);
                });
            }
        });
        let expected = ReadStats {
            gets: 0,
            runs: 40_000,
            excluded: 4,
            mapped_blocks: 40_000,
            left_out_blocks: 12,
        };
        assert_eq!(counters.stats(), expected);
    }
}
