//! A thread that keeps a processor awake while another one waits for the disk.
//!
//! It runs at the system's idle priority (`SCHED_IDLE`), so that any other thread takes the processor from it at once, and follows
//! the thread that waits from processor to processor: that is where it will be woken up, and the system prefers to wake it up where
//! the disk's interrupts arrive once its last processor is not idle. Linux does the same by itself where it is told to
//! (`idle=poll`, or `guest_halt_poll_ns` in virtual machines), for the whole machine; InnoDB's threads that wait for a commit
//! look again and again themselves (`innodb_log_wait_for_flush_spin_hwm`), and so take the processor from others.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use kodiak_core::storage::KeepAwake;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// So many waits pass before a thread is started: a program that commits now and then has no use for it.
const WAITS_BEFORE: u64 = 16;
/// A disk that takes longer is waited for asleep: to wake up is nothing beside that.
const LONGEST_WAIT: Duration = Duration::from_millis(1);
/// The next wait is expected so soon: it takes less than to start the thread again.
const NEXT_WAIT: Duration = Duration::from_micros(50);
/// Looks at the shared state between two at the clock.
const LOOKS: u32 = 16;

/// Keeps processors awake for the threads of one log.
#[derive(Debug, Default)]
pub(super) struct Awake {
    shared: Arc<Shared>,
    /// `None`: the system gives us no thread. One that would do harm ends at once.
    watch: OnceLock<Option<Thread>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Twice the waits so far, and one more while somebody waits.
    turn: CachePadded<AtomicU64>,
    /// Where the last one began.
    processor: AtomicUsize,
    /// The thread sleeps, or is about to.
    asleep: AtomicBool,
    stop: AtomicBool,
}

impl KeepAwake for Awake {
    fn begin(&self) {
        let shared = &*self.shared;
        shared.processor.store(sched_getcpu(), Ordering::Relaxed);
        // In one order with what the thread does before it sleeps: one of the two sees the other.
        let turn = shared.turn.fetch_add(1, Ordering::SeqCst);
        match self.watch.get() {
            Some(Some(thread)) if shared.asleep.load(Ordering::SeqCst) => thread.unpark(),
            None if turn >= 2 * WAITS_BEFORE => self.start(),
            _ => {}
        }
    }

    fn end(&self) {
        self.shared.turn.fetch_add(1, Ordering::SeqCst);
    }
}

impl Awake {
    #[cold]
    fn start(&self) {
        self.watch.get_or_init(|| {
            let shared = self.shared.clone();
            let thread = std::thread::Builder::new().name("kodiak-awake".to_owned());
            let started = thread.spawn(move || shared.watch()).ok()?;
            Some(started.thread().clone())
        });
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // It is not joined: where all processors are busy it may take it long to get one. It holds nothing but what is shared.
        if let Some(Some(thread)) = self.watch.get() {
            thread.unpark();
        }
    }
}

impl Shared {
    fn watch(&self) {
        // Without it the log works as well, and only slower.
        if under_quota() || !lowest_priority() {
            return;
        }
        let (mut processor, mut seen, mut since) = (usize::MAX, 0, Instant::now());
        while !self.stop.load(Ordering::SeqCst) {
            for _ in 0..LOOKS {
                std::hint::spin_loop();
            }
            let (turn, now) = (self.turn.load(Ordering::SeqCst), Instant::now());
            if turn != seen {
                (seen, since) = (turn, now);
            }
            let waits = turn % 2 == 1;
            let wanted = self.processor.load(Ordering::Relaxed);
            if waits && wanted != processor {
                processor = wanted;
                go_to(processor);
            }
            if now - since > (if waits { LONGEST_WAIT } else { NEXT_WAIT }) {
                self.asleep.store(true, Ordering::SeqCst);
                if self.turn.load(Ordering::SeqCst) == seen && !self.stop.load(Ordering::SeqCst) {
                    std::thread::park();
                }
                self.asleep.store(false, Ordering::SeqCst);
                since = Instant::now();
            }
        }
    }
}

/// The process may use less than all of its processors' time: what this thread uses would be missing elsewhere.
fn under_quota() -> bool {
    let processors = sched_getaffinity(None).map_or(usize::MAX, |set| set.count() as usize);
    std::thread::available_parallelism().is_ok_and(|usable| usable.get() < processors)
}

/// Any other thread goes before the calling one from now on; false if the system does not allow that.
fn lowest_priority() -> bool {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads `parameters`, which lives until it returns, and changes nothing but how this thread is scheduled.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) == 0 }
}

/// Moves the calling thread. If the system refuses, it is of less use where it is, and no harm.
fn go_to(processor: usize) {
    if processor < CpuSet::MAX_CPU {
        let mut set = CpuSet::new();
        set.set(processor);
        let _ = sched_setaffinity(None, &set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for `what` to become true.
    fn soon(what: impl Fn() -> bool) -> bool {
        let begun = Instant::now();
        while !what() {
            if begun.elapsed() > Duration::from_secs(20) {
                return false;
            }
            std::thread::yield_now();
        }
        true
    }

    #[test]
    fn a_thread_starts_with_many_waits_and_sleeps_when_there_are_none() {
        if std::thread::spawn(|| under_quota() || !lowest_priority())
            .join()
            .expect("no panic")
        {
            eprintln!("skipped: this process may not use all of its processors' time, or may not lower its priority");
            return;
        }
        let awake = Awake::default();
        let shared = awake.shared.clone();
        for _ in 0..WAITS_BEFORE {
            awake.begin();
            awake.end();
        }
        assert!(awake.watch.get().is_none(), "a few commits need no thread");
        awake.begin();
        assert!(matches!(awake.watch.get(), Some(Some(_))), "it has started");
        assert!(
            soon(|| shared.asleep.load(Ordering::SeqCst)),
            "a wait without end is given up"
        );
        awake.end();
        // It is woken up by the next wait, and may be asleep again before this thread has had time to look.
        let woken = || {
            awake.begin();
            let woken = (0..1000).any(|_| !shared.asleep.load(Ordering::SeqCst));
            awake.end();
            woken
        };
        assert!(soon(woken), "a wait wakes it up");
        assert!(
            soon(|| shared.asleep.load(Ordering::SeqCst)),
            "it sleeps when nobody waits"
        );
        drop(awake);
        assert!(soon(|| Arc::strong_count(&shared) == 1), "the thread ends");
    }
}
