//! How threads of an open database wait for each other.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// How background threads are woken.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    pub flush: Signal,
    pub compaction: Signal,
    /// Shared with the tables that are published in the background.
    pub publication: Arc<Signal>,
    /// Rung after each flush, compaction and background publication, and when no files are left to be removed.
    pub progress: Signal,
}

/// A flag that one side raises and the other waits for.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    raised: Mutex<u64>,
    changed: Condvar,
}

impl Signal {
    /// Wakes whoever waits.
    pub fn raise(&self) {
        *self.raised.lock() += 1;
        self.changed.notify_all();
    }

    /// How often it was raised.
    pub fn count(&self) -> u64 {
        *self.raised.lock()
    }

    /// Waits until it has been raised since `seen`, or the time is over; returns the new count.
    pub fn wait(&self, seen: u64, timeout: std::time::Duration) -> u64 {
        let mut raised = self.raised.lock();
        if *raised == seen {
            self.changed.wait_for(&mut raised, timeout);
        }
        *raised
    }
}
