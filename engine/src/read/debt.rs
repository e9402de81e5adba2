//! What scans have lost to runs that a merge would take out of their way.
//!
//! Runs that are too few for a compaction cost every scan a search each, and tombstones and old versions are passed one by one.
//! A merge costs as well; so the loss is added up, in bytes that could have been merged in that time, and once it reaches what
//! the merge would take, the merge is made: whatever is read later, no more than twice the least possible is lost. LevelDB counts
//! seeks to the same end (`allowed_seeks`, in its `db/version_set.cc`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A search in one more run takes about as long as merging so many bytes (0.3 microseconds, at 1 GB/s).
const SEARCH: u64 = 256;
/// As does a row that is not passed within a plain stretch of rows (some 40 nanoseconds).
const ROW: u64 = 40;

/// What the scans of a table have lost since its last compaction. Shared by threads; nothing is exact.
#[derive(Debug, Default)]
pub struct ReadDebt(AtomicU64);

impl ReadDebt {
    /// In bytes that could have been merged in that time.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A compaction has been begun.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The account of one scan, added to the debt when the scan ends.
#[derive(Debug, Default)]
pub struct Account {
    debt: Option<Arc<ReadDebt>>,
    /// Sources that a merge would spare.
    extra: u64,
    searches: u64,
    /// Rows that were looked at one by one.
    pub rows: u64,
}

impl Account {
    /// An account of a scan over `extra` sources that a merge would spare.
    pub fn new(debt: Arc<ReadDebt>, extra: usize) -> Self {
        Self {
            debt: Some(debt),
            extra: extra as u64,
            ..Self::default()
        }
    }

    /// All sources are searched.
    #[inline]
    pub fn search(&mut self) {
        self.searches += 1;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(debt) = &self.debt {
            let lost = self.searches * self.extra * SEARCH + self.rows * ROW;
            debt.0.fetch_add(lost, Ordering::Relaxed);
        }
    }
}
