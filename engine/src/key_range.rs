//! Ranges of keys, as callers write them.

use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use crate::read::ScanBounds;

/// A range of keys: `..`, `a..b`, `a..`, `..b`, `a..=b`, `..=b`, or a pair of bounds, over anything that is bytes.
pub trait KeyRange {
    /// The first key in it, and the first key after it.
    fn bounds(self) -> ScanBounds;
}

impl KeyRange for RangeFull {
    fn bounds(self) -> ScanBounds {
        ScanBounds::default()
    }
}

impl KeyRange for ScanBounds {
    fn bounds(self) -> ScanBounds {
        self
    }
}

macro_rules! key_range {
    ($($range:ty),*) => {$(
        impl<K: AsRef<[u8]>> KeyRange for $range {
            fn bounds(self) -> ScanBounds {
                ScanBounds::new(self)
            }
        }
    )*};
}

key_range!(
    Range<K>,
    RangeFrom<K>,
    RangeTo<K>,
    RangeInclusive<K>,
    RangeToInclusive<K>,
    (Bound<K>, Bound<K>)
);
