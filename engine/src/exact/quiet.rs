//! Looking at tables that have not changed for a while, so that markers of open databases do not stay behind, and nothing is paid for
//! that under load.

use std::sync::{Arc, Weak};

use crate::db::Shared;
use crate::version::Version;

/// How long nothing must have changed, in nanoseconds.
const QUIET: u64 = 1_000_000_000;
/// How long it is waited at most until somebody looks again at files that nobody has changed: others may have gone.
const LONGEST: u64 = 64 * QUIET;

/// Since when nothing has changed. The version is not kept from ending, but no other one can pass for it.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    version: Weak<Version>,
    /// When somebody is to look, on the storage's monotonic clock.
    due: u64,
    pause: u64,
}

impl Quiet {
    /// True if the version has been there for long enough to be looked at, or to be looked at once more.
    fn is_due(&mut self, version: &Arc<Version>, now: u64) -> bool {
        if !std::ptr::eq(self.version.as_ptr(), Arc::as_ptr(version)) {
            (self.version, self.pause) = (Arc::downgrade(version), QUIET);
        } else if now >= self.due {
            self.pause = (2 * self.pause).min(LONGEST);
            self.due = now + self.pause;
            return true;
        } else {
            return false;
        }
        self.due = now + self.pause;
        false
    }
}

impl Shared {
    /// For a thread that has nothing to do: looks at tables whose marker may say more than it does, all rows of which are in files
    /// that have not changed for a while.
    pub(crate) fn look_at_quiet(&self) {
        let now = self.storage.monotonic_nanos();
        for table in self.all_tables() {
            let exactness = &table.exactness;
            // Where another thread looks, or a job is under way, it is not quiet.
            let settled = || exactness.said.try_lock().is_some_and(|said| said.jobs == 0);
            if !exactness.is_taken_back() || !settled() {
                continue;
            }
            let version = {
                let view = table.view.load();
                let filled = view.slots().any(|slot| !slot.is_empty());
                if filled {
                    continue;
                }
                Arc::clone(&view.version)
            };
            let due = exactness
                .quiet
                .try_lock()
                .is_some_and(|mut quiet| quiet.is_due(&version, now));
            drop(version);
            if due {
                self.look_whether_exact(&table);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_looked_at_after_a_second_and_then_less_and_less_often() {
        let (one, other) = (Arc::new(Version::default()), Arc::new(Version::default()));
        let mut quiet = Quiet::default();
        let mut looks = Vec::new();
        for tenth in 0..200 {
            if quiet.is_due(&one, tenth * QUIET / 10) {
                looks.push(tenth);
            }
        }
        assert_eq!(looks, [10, 30, 70, 150]);
        assert!(!quiet.is_due(&other, 20 * QUIET) && !quiet.is_due(&other, 21 * QUIET - 1));
        assert!(quiet.is_due(&other, 21 * QUIET));
    }
}
