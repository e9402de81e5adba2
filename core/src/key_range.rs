//! Ranges of keys, as callers write them.

use std::ops::{Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// A range of keys: `..`, `a..b`, `a..`, `..b`, `a..=b`, `..=b`, or a pair of bounds, over anything that is bytes. (With
/// [`RangeBounds`] alone, the type of the keys would have to be said of `..`, and of ranges of arrays.)
pub trait KeyRange {
    /// Where it begins, and where it ends.
    fn ends(self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>);
}

impl KeyRange for RangeFull {
    fn ends(self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        (Bound::Unbounded, Bound::Unbounded)
    }
}

macro_rules! key_range {
    ($($range:ty),*) => {$(
        impl<K: AsRef<[u8]>> KeyRange for $range {
            fn ends(self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
                let owned = |end: Bound<&K>| end.map(|key| key.as_ref().to_vec());
                (owned(self.start_bound()), owned(self.end_bound()))
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
