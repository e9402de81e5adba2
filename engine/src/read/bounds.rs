//! Key ranges with owned ends.

use std::ops::{Bound, RangeBounds};

use kodiak_core::KeyRange;
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
        let owned = |end: Bound<&K>| end.map(|key| key.as_ref().to_vec());
        Self::of((owned(range.start_bound()), owned(range.end_bound())))
    }

    /// As [`new`](Self::new), of whatever says a range of keys.
    pub fn of(range: impl KeyRange) -> Self {
        let after = |mut key: Vec<u8>| {
            key.push(0);
            key
        };
        let (start, end) = range.ends();
        let start = match start {
            Bound::Included(key) => key,
            Bound::Excluded(key) => after(key),
            Bound::Unbounded => Vec::new(),
        };
        let end = match end {
            Bound::Included(key) => Some(after(key)),
            Bound::Excluded(key) => Some(key),
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

impl KeyRange for ScanBounds {
    fn ends(self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        (
            Bound::Included(self.start),
            self.end.map_or(Bound::Unbounded, Bound::Excluded),
        )
    }
}
