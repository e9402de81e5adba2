//! The limit on open files.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::lazy::Run;

/// Which runs are open, oldest first; those not used lately are closed when there are too many.
#[derive(Debug)]
pub struct OpenRuns {
    limit: usize,
    open: Mutex<VecDeque<Weak<Run>>>,
}

impl OpenRuns {
    /// At most `limit` runs stay open (more for a moment, while readers hold them).
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            open: Mutex::new(VecDeque::new()),
        }
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// Notes that a run was opened, and closes others above the limit.
    pub fn opened(&self, run: &Arc<Run>) {
        let mut open = self.open.lock();
        open.push_back(Arc::downgrade(run));
        let mut chances = 2 * open.len();
        while open.len() > self.limit && chances > 0 {
            chances -= 1;
            let Some(oldest) = open.pop_front() else { return };
            if let Some(run) = oldest.upgrade()
                && !run.try_close()
            {
                open.push_back(oldest);
            }
        }
    }
}
