//! Which writes readers see: all up to one sequence number.
//!
//! Writers finish in any order but become visible in that of their sequence numbers. One that finishes before its
//! predecessors leaves a mark, is acknowledged, and goes on: whoever closes the gap takes it along. Whoever begins to read
//! waits until all that was acknowledged is visible, which it nearly always is: the gap is what a predecessor needs to
//! put an entry into a memtable. Only if a predecessor may be syncing the log, which takes so much longer, is it the writer
//! that waits, not the readers. Writers that have synced the log themselves know that none is.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use kodiak_core::prefetch::prefetch;
use kodiak_core::{Result, SeqNo};
use parking_lot::Mutex;

/// Writers further ahead than this wait before they leave a mark.
const WINDOW: usize = 1024;
/// A predecessor that runs is done after so many looks; one that does not may take milliseconds.
const SPINS: u32 = 100;
/// How long a writer sleeps before it looks whether the log has failed.
const NAP: Duration = Duration::from_millis(1);

/// The sequence number up to which writes are visible.
#[derive(Debug)]
pub(crate) struct Visibility {
    ends: CachePadded<Ends>,
    /// At a range's first sequence number, modulo the window: its last one, once it is complete.
    marks: Box<[AtomicU64]>,
    /// Writers that may be syncing, or have failed to.
    slow: AtomicUsize,
    /// Threads in `waiters`.
    waiting: AtomicUsize,
    /// Sleeping threads, with the sequence number that each waits for.
    waiters: Mutex<Vec<(SeqNo, Thread)>>,
}

/// Read together and written together.
#[derive(Debug)]
struct Ends {
    /// Everything up to here is visible.
    visible: AtomicU64,
    /// No write after this one has been acknowledged, but for those that closed a gap and are visible.
    acknowledged: AtomicU64,
}

impl Visibility {
    /// Everything up to `seq` is visible.
    pub fn new(seq: SeqNo) -> Self {
        Self {
            ends: CachePadded::new(Ends {
                visible: AtomicU64::new(seq),
                acknowledged: AtomicU64::new(seq),
            }),
            marks: (0..WINDOW).map(|_| AtomicU64::new(0)).collect(),
            slow: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waiters: Mutex::default(),
        }
    }

    /// The newest visible sequence number, once it is at least that of each write acknowledged before. `check` is asked now
    /// and then whether the log has failed: then writes before those may never be completed, and what is visible will do.
    #[inline]
    pub fn newest(&self, check: impl Fn() -> Result<()>) -> SeqNo {
        let acknowledged = self.ends.acknowledged.load(Ordering::Acquire);
        let visible = self.visible();
        if visible >= acknowledged {
            return visible;
        }
        // Not once the log has failed: reads go on, and must not each find out anew that nobody comes.
        if check().is_ok() {
            drop(self.wait_for(acknowledged, &check));
        }
        self.visible()
    }

    /// Asks for the cache line that [`publish`](Self::publish) changes, and another processor has changed last, perhaps. To be
    /// called a moment before.
    #[inline]
    pub fn prepare(&self) {
        prefetch(&raw const *self.ends);
    }

    #[inline]
    fn visible(&self) -> SeqNo {
        self.ends.visible.load(Ordering::Acquire)
    }

    /// During opening, with no writers: everything up to `seq` is visible.
    pub fn reset(&self, seq: SeqNo) {
        self.ends.visible.store(seq, Ordering::Release);
        self.ends.acknowledged.store(seq, Ordering::Release);
    }

    /// To be called by a writer that will sync, before it takes its sequence numbers, and [`fast`](Self::fast) once it has
    /// published them: not if the log has failed it, since no later write will become visible then.
    pub fn slow(&self) {
        self.slow.fetch_add(1, Ordering::SeqCst);
    }

    /// See [`slow`](Self::slow).
    pub fn fast(&self) {
        self.slow.fetch_sub(1, Ordering::SeqCst);
    }

    /// Makes `first..=last` visible as soon as all before are: whoever reads from now on will see them. `synced`: the disk has
    /// the log up to there, so that nobody before is syncing any more. `check` is asked now and then whether to give up:
    /// then writes before these may never be completed.
    ///
    /// # Errors
    /// Those of `check`.
    #[inline]
    pub fn publish(&self, first: SeqNo, last: SeqNo, synced: bool, check: impl Fn() -> Result<()>) -> Result<()> {
        // Nobody else moves on from there before this range is complete. Not a look first: it would have the cache line brought
        // here twice, to read and to write.
        let next = self
            .ends
            .visible
            .compare_exchange(first - 1, last, Ordering::SeqCst, Ordering::SeqCst);
        if next.is_ok() {
            self.advance();
            return Ok(());
        }
        self.publish_later(first, last, synced, check)
    }

    fn publish_later(&self, first: SeqNo, last: SeqNo, synced: bool, check: impl Fn() -> Result<()>) -> Result<()> {
        // Within the window no two ranges have one place.
        self.wait_for(first.saturating_sub(WINDOW as u64), &check)?;
        self.mark(first).store(last, Ordering::SeqCst);
        self.advance();
        if !synced && self.slow.load(Ordering::SeqCst) > 0 {
            return self.wait_for(last, &check);
        }
        if self.visible() < last {
            self.ends.acknowledged.fetch_max(last, Ordering::SeqCst);
        }
        Ok(())
    }

    #[inline]
    fn mark(&self, first: SeqNo) -> &AtomicU64 {
        &self.marks[first as usize % WINDOW]
    }

    /// Takes along all complete ranges that follow what is visible.
    ///
    /// The mark, or the store to `visible`, and the loads here are in one order for all threads: of two writers of which
    /// each completes what the other waits for, one sees it.
    #[inline]
    fn advance(&self) {
        loop {
            let visible = self.ends.visible.load(Ordering::SeqCst);
            // Marks of ranges before this one are smaller.
            let last = self.mark(visible + 1).load(Ordering::SeqCst);
            if last <= visible {
                break;
            }
            // If it fails another thread has taken the range along.
            let _ = self
                .ends
                .visible
                .compare_exchange(visible, last, Ordering::SeqCst, Ordering::SeqCst);
        }
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        let visible = self.visible();
        for (seq, thread) in &*self.waiters.lock() {
            if *seq <= visible {
                thread.unpark();
            }
        }
    }

    fn wait_for(&self, seq: SeqNo, check: &impl Fn() -> Result<()>) -> Result<()> {
        for _ in 0..SPINS {
            if self.visible() >= seq {
                return Ok(());
            }
            std::hint::spin_loop();
        }
        self.sleep_until(seq, check)
    }

    #[cold]
    fn sleep_until(&self, seq: SeqNo, check: &impl Fn() -> Result<()>) -> Result<()> {
        let thread = std::thread::current();
        let id = thread.id();
        self.waiters.lock().push((seq, thread));
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut result = Ok(());
        while result.is_ok() && self.ends.visible.load(Ordering::SeqCst) < seq {
            std::thread::park_timeout(NAP);
            result = check();
        }
        self.waiters
            .lock()
            .retain(|(other, thread)| thread.id() != id || *other != seq);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        // What became visible is, whatever else has failed.
        if self.visible() >= seq { Ok(()) } else { result }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use kodiak_core::{Error, ErrorKind};

    use super::*;

    #[test]
    fn ranges_become_visible_in_order_and_readers_see_what_was_acknowledged_before() {
        const EACH: u64 = 4000;
        let visibility = Visibility::new(10);
        let next = AtomicU64::new(11);
        let complete: Vec<AtomicBool> = (0..3 * 8 * EACH + 11).map(|_| AtomicBool::new(false)).collect();
        std::thread::scope(|scope| {
            for thread in 0..8u64 {
                let (visibility, next, complete) = (&visibility, &next, &complete);
                scope.spawn(move || {
                    for round in 0..EACH {
                        let count = 1 + (thread + round) % 3;
                        let first = next.fetch_add(count, Ordering::SeqCst);
                        if (thread + round) % 97 == 0 {
                            std::thread::yield_now();
                        }
                        (first..first + count).for_each(|seq| complete[seq as usize].store(true, Ordering::Release));
                        visibility
                            .publish(first, first + count - 1, false, || Ok(()))
                            .expect("publish");
                        let newest = visibility.newest(|| Ok(()));
                        assert!(newest >= first + count - 1, "{newest} after {first}");
                        assert!(
                            complete[newest as usize].load(Ordering::Acquire),
                            "{newest} is not complete"
                        );
                    }
                });
            }
        });
        assert_eq!(visibility.visible() + 1, next.into_inner());
        assert!(visibility.waiters.lock().is_empty());
    }

    #[test]
    fn whoever_waits_for_a_write_that_never_comes_is_told_so() {
        let visibility = Visibility::new(0);
        visibility.slow();
        let failed = || Err(Error::new(ErrorKind::Unavailable, "the log failed"));
        for (first, last) in [(2, 2), (3, 5000), (5001, 5001)] {
            let error = visibility
                .publish(first, last, false, failed)
                .expect_err("number 1 is missing");
            assert_eq!(error.kind(), ErrorKind::Unavailable);
        }
        assert_eq!(visibility.newest(failed), 0);
    }

    #[test]
    fn a_write_that_nobody_slow_precedes_returns_before_it_is_visible_and_readers_wait() {
        let visibility = Visibility::new(0);
        visibility.publish(2, 4, false, || Ok(())).expect("nobody is slow");
        assert_eq!(visibility.visible(), 0);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| visibility.newest(|| Ok(())));
            while visibility.waiting.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            visibility.publish(1, 1, false, || Ok(())).expect("nothing is missing");
            assert_eq!(reader.join().expect("no panic"), 4);
        });
        // It has stood aside for a writer that syncs, and no longer does.
        visibility.slow();
        visibility.fast();
        visibility.publish(6, 6, false, || Ok(())).expect("nobody is slow");
        // It has synced the log itself, and so that of all before it.
        visibility.slow();
        visibility
            .publish(7, 8, true, || Ok(()))
            .expect("nobody before is slow");
        let failed = || Err(Error::new(ErrorKind::Unavailable, "the log failed"));
        assert_eq!(visibility.newest(failed), 4);
    }

    #[test]
    fn whoever_closes_a_gap_takes_along_what_waits_behind_it() {
        let visibility = Visibility::new(0);
        visibility.slow();
        std::thread::scope(|scope| {
            let later = scope.spawn(|| visibility.publish(3, 2000, false, || Ok(())));
            let latest = scope.spawn(|| visibility.publish(2001, 2001, false, || Ok(())));
            while visibility.waiting.load(Ordering::SeqCst) < 2 {
                std::thread::yield_now();
            }
            assert_eq!(visibility.visible(), 0);
            visibility.publish(1, 2, false, || Ok(())).expect("nothing is missing");
            later.join().expect("no panic").expect("published");
            latest.join().expect("no panic").expect("published");
        });
        assert_eq!(visibility.newest(|| Ok(())), 2001);
    }
}
