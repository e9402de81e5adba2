//! Waiting a moment for company before a sync.
//!
//! A sync takes as long for one record as for many. When it ends, the writers that it held up come back one after the other, and the
//! first would begin the next one at once, alone. So whoever leads a sync waits until as many records have arrived as there
//! seem to be writers, if the round before had company, and for a part of the time that a sync takes at most. A writer by
//! itself never waits. (Group commit: DeWitt et al., "Implementation Techniques for Main Memory Database Systems", SIGMOD 1984.)

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use crossbeam_utils::CachePadded;
use kodiak_core::storage::Storage;

/// Longest wait, nanoseconds: threads wake up in less, however slow the disk.
const LONGEST: u64 = 100_000;
/// Should the clock stand still.
const MOST_LOOKS: u32 = 10_000;

/// The records that were appended in mode `full` since the log was opened.
#[derive(Debug, Default)]
pub(crate) struct Arrivals(CachePadded<AtomicU64>);

impl Arrivals {
    pub fn count_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The ends of rounds, and where threads sleep until the next one. The standard library's condition variable wakes all of them at
/// once; `parking_lot`'s wakes each by the one before, and eight writers then came back later than a sync takes.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    ended: CachePadded<AtomicU64>,
    /// How many threads sleep: without any, to wake them would be a system call for nothing.
    sleepers: Mutex<usize>,
    wake: Condvar,
}

impl Rounds {
    /// How many have ended. Whoever wants to wait for the next one asks under the lock by which it has seen that there will be one.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Sleeps until more than `seen` rounds have ended.
    pub fn wait_beyond(&self, seen: u64) {
        let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        *sleepers += 1;
        while self.ended() == seen {
            sleepers = self.wake.wait(sleepers).unwrap_or_else(PoisonError::into_inner);
        }
        *sleepers -= 1;
    }

    /// Another round has ended, or whatever else those who wait should look at.
    pub fn end_one(&self) {
        let sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        self.ended.fetch_add(1, Ordering::Relaxed);
        if *sleepers > 0 {
            drop(sleepers);
            self.wake.notify_all();
        }
    }
}

/// What the last round tells of the next one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Company {
    /// Arrivals when the last round began: all that were in it or before it.
    taken: u64,
    /// Writers that seem to be at it.
    expected: u64,
    /// How long they are worth waiting for, nanoseconds.
    patience: u64,
}

impl Company {
    /// Waits until the next round is as large as is to be expected, if that does not take too long; returns whether it is.
    pub fn wait(&self, arrivals: &Arrivals, storage: &dyn Storage) -> bool {
        if self.expected < 2 {
            return true;
        }
        let deadline = storage.monotonic_nanos() + self.patience;
        for _ in 0..MOST_LOOKS {
            if arrivals.count() - self.taken >= self.expected {
                return true;
            }
            if storage.monotonic_nanos() >= deadline {
                break;
            }
            std::thread::yield_now();
        }
        false
    }

    /// A round with all that has arrived begins. True if there seems to be one writer by itself.
    pub fn begin(&mut self, arrivals: &Arrivals) -> bool {
        let count = arrivals.count();
        let before = std::mem::replace(&mut self.expected, count - self.taken);
        self.taken = count;
        before.max(self.expected) < 2
    }

    /// It has ended, after `nanos`. Whoever has arrived meanwhile is another writer.
    pub fn end(&mut self, arrivals: &Arrivals, nanos: u64) {
        self.expected += arrivals.count() - self.taken;
        self.patience = (nanos / 2).min(LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use kodiak_storage::MemoryStorage;

    use super::*;

    fn arrive(arrivals: &Arrivals, count: u64) {
        (0..count).for_each(|_| arrivals.count_one());
    }

    #[test]
    fn the_writers_are_those_of_a_round_and_those_who_came_while_it_lasted() {
        let (arrivals, mut company) = (Arrivals::default(), Company::default());
        for (gathered, alone, meanwhile, expected) in [
            (1, true, 0, 1),
            (3, false, 2, 5),
            (0, false, 6, 8),
            (0, false, 0, 6),
            (0, false, 0, 0),
            (1, true, 1, 2),
            (0, false, 0, 1),
            (1, true, 0, 1),
        ] {
            arrive(&arrivals, gathered);
            assert_eq!(company.begin(&arrivals), alone);
            arrive(&arrivals, meanwhile);
            company.end(&arrivals, 1000);
            assert_eq!((company.expected, company.patience), (expected, 500));
        }
        // One by itself is not waited for, though the clock allowed it.
        arrive(&arrivals, 1);
        company.begin(&arrivals);
        company.end(&arrivals, u64::MAX);
        assert_eq!((company.expected, company.patience), (1, LONGEST));
    }

    #[test]
    fn a_wait_ends_with_the_last_writer_or_with_patience() {
        let storage = MemoryStorage::new();
        let (arrivals, mut company) = (Arrivals::default(), Company::default());
        arrive(&arrivals, 2);
        company.begin(&arrivals);
        company.end(&arrivals, 1_000_000);
        arrive(&arrivals, 1);
        assert!(!company.wait(&arrivals, &storage), "one of two came");
        arrive(&arrivals, 1);
        assert!(company.wait(&arrivals, &storage), "both came");
    }

    #[test]
    fn the_end_of_a_round_wakes_all_who_wait_for_it() {
        let rounds = Rounds::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| rounds.wait_beyond(0));
            }
            rounds.end_one();
        });
        rounds.wait_beyond(0);
        assert_eq!(rounds.ended(), 1);
    }
}
