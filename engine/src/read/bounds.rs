//! Key ranges with owned ends.

use std::ops::{Bound, RangeBounds};

use kodiak_core::entry::prefix_end;

/// A key range with owned ends: from the start (inclusive) to the end (exclusive, `None` for open).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanBounds {
    /// First key that may be in it.
    pub start: Vec<u8>,
    /// First key after it.
    pub end: Option<Vec<u8>>,
}

impl ScanBounds {
    /// Any range over byte strings; an exclusive start or inclusive end becomes the key's direct successor.
    pub fn new<K: AsRef<[u8]>>(range: impl RangeBounds<K>) -> Self {
        let after = |key: &K| [key.as_ref(), &[0]].concat();
        let start = match range.start_bound() {
            Bound::Included(key) => key.as_ref().to_vec(),
            Bound::Excluded(key) => after(key),
            Bound::Unbounded => Vec::new(),
        };
        let end = match range.end_bound() {
            Bound::Included(key) => Some(after(key)),
            Bound::Excluded(key) => Some(key.as_ref().to_vec()),
            Bound::Unbounded => None,
        };
        Self { start, end }
    }

    /// Keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        Self {
            start: prefix.to_vec(),
            end: prefix_end(prefix),
        }
    }

    /// What is in both.
    pub fn within(self, other: Self) -> Self {
        let end = match (self.end, other.end) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            start: self.start.max(other.start),
            end,
        }
    }

    /// True if no key can be in it.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// True if a key of `[min, max]` may be in it.
    pub fn meets(&self, min: &[u8], max: &[u8]) -> bool {
        max >= self.start.as_slice() && self.end.as_ref().is_none_or(|end| min < end.as_slice())
    }
}
