//! Range deletes: which keys are deleted from when on.
//!
//! Overlapping ranges are split into *fragments* that do not overlap, each with the sequence numbers that cover it, so that
//! a read finds all it needs by one search in a sorted map.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};

use kodiak_core::SeqNo;
use parking_lot::RwLock;

pub use crate::sidecar::RangeTombstone;

#[derive(Debug, Clone)]
struct Fragment {
    end: Vec<u8>,
    /// Newest first.
    seqs: Vec<SeqNo>,
}

/// A set of range deletes, as fragments.
#[derive(Debug, Clone, Default)]
pub struct RangeTombstones {
    fragments: BTreeMap<Vec<u8>, Fragment>,
}

impl RangeTombstones {
    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.fragments.is_empty()
    }

    /// Adds a range delete; an empty range adds nothing. Costs time in proportion to the fragments that it meets.
    pub fn insert(&mut self, start: &[u8], end: &[u8], seq: SeqNo) {
        if start >= end {
            return;
        }
        self.split_at(start);
        self.split_at(end);
        let mut gaps = Vec::new();
        let mut reached = start.to_vec();
        for (from, fragment) in self
            .fragments
            .range_mut::<[u8], _>((Bound::Included(start), Bound::Excluded(end)))
        {
            if *from > reached {
                gaps.push((std::mem::take(&mut reached), from.clone()));
            }
            let place = fragment.seqs.partition_point(|&other| other > seq);
            if fragment.seqs.get(place) != Some(&seq) {
                fragment.seqs.insert(place, seq);
            }
            reached.clone_from(&fragment.end);
        }
        if reached.as_slice() < end {
            gaps.push((reached, end.to_vec()));
        }
        for (from, to) in gaps {
            self.fragments.insert(
                from,
                Fragment {
                    end: to,
                    seqs: vec![seq],
                },
            );
        }
    }

    fn split_at(&mut self, key: &[u8]) {
        let before = self
            .fragments
            .range_mut::<[u8], _>((Bound::Unbounded, Bound::Excluded(key)))
            .next_back();
        if let Some((_, fragment)) = before
            && fragment.end.as_slice() > key
        {
            let rest = Fragment {
                end: std::mem::replace(&mut fragment.end, key.to_vec()),
                seqs: fragment.seqs.clone(),
            };
            self.fragments.insert(key.to_vec(), rest);
        }
    }

    /// The sequence number of the newest range delete not newer than `at` that covers `key`; 0 if there is none.
    pub fn covering(&self, key: &[u8], at: SeqNo) -> SeqNo {
        let before = self
            .fragments
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(key)))
            .next_back();
        match before {
            Some((_, fragment)) if fragment.end.as_slice() > key => {
                let newest = fragment.seqs.partition_point(|&seq| seq > at);
                fragment.seqs.get(newest).copied().unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Every fragment and covering sequence number, by key, newest first.
    pub fn iter(&self) -> impl Iterator<Item = RangeTombstone> + '_ {
        self.fragments.iter().flat_map(|(start, fragment)| {
            fragment.seqs.iter().map(|&seq| RangeTombstone {
                start: start.clone(),
                end: fragment.end.clone(),
                seq,
            })
        })
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &Self) {
        for tombstone in other.iter() {
            self.insert(&tombstone.start, &tombstone.end, tombstone.seq);
        }
    }

    /// What of it lies in `[from, to)`; `None` is open.
    pub fn clipped(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> Self {
        let mut clipped = Self::default();
        for tombstone in self.iter() {
            let start = from.map_or(tombstone.start.as_slice(), |from| tombstone.start.as_slice().max(from));
            let end = to.map_or(tombstone.end.as_slice(), |to| tombstone.end.as_slice().min(to));
            clipped.insert(start, end, tombstone.seq);
        }
        clipped
    }

    /// Keeps, of each fragment, the sequence numbers for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(SeqNo, Option<SeqNo>) -> bool) {
        self.fragments.retain(|_, fragment| {
            let mut newer = None;
            fragment.seqs.retain(|&seq| {
                let kept = keep(seq, newer);
                newer = Some(seq);
                kept
            });
            !fragment.seqs.is_empty()
        });
    }
}

impl FromIterator<RangeTombstone> for RangeTombstones {
    fn from_iter<T: IntoIterator<Item = RangeTombstone>>(iter: T) -> Self {
        let mut all = Self::default();
        for tombstone in iter {
            all.insert(&tombstone.start, &tombstone.end, tombstone.seq);
        }
        all
    }
}

/// The range deletes of a memtable: one relaxed load when there are none, as is usual.
#[derive(Debug, Default)]
pub struct LiveRangeTombstones {
    count: AtomicUsize,
    bytes: AtomicUsize,
    set: RwLock<RangeTombstones>,
}

impl LiveRangeTombstones {
    /// Adds a range delete.
    pub fn insert(&self, start: &[u8], end: &[u8], seq: SeqNo) {
        self.set.write().insert(start, end, seq);
        self.bytes
            .fetch_add(2 * (start.len() + end.len()) + 96, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Release);
    }

    /// How many were added.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Bytes of memory, roughly.
    pub fn memory(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// As [`RangeTombstones::covering`].
    #[inline]
    pub fn covering(&self, key: &[u8], at: SeqNo) -> SeqNo {
        if self.len() == 0 {
            0
        } else {
            self.set.read().covering(key, at)
        }
    }

    /// A copy of the set.
    pub fn snapshot(&self) -> RangeTombstones {
        if self.len() == 0 {
            RangeTombstones::default()
        } else {
            self.set.read().clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_agree_with_a_list_of_ranges() {
        let ranges: [(&[u8], &[u8], u64); 7] = [
            (b"b", b"f", 3),
            (b"d", b"h", 7),
            (b"a", b"c", 5),
            (b"x", b"x", 9),
            (b"e", b"e\0", 8),
            (b"h", b"m", 2),
            (b"a", b"z", 1),
        ];
        let mut set = RangeTombstones::default();
        for (start, end, seq) in ranges {
            set.insert(start, end, seq);
        }
        for key in b'`'..=b'{' {
            for suffix in [&b""[..], b"\0", b"q"] {
                let key = [&[key], suffix].concat();
                for at in 0..10 {
                    let expected = ranges
                        .iter()
                        .filter(|(start, end, seq)| *start <= key.as_slice() && key.as_slice() < *end && *seq <= at)
                        .map(|(_, _, seq)| *seq)
                        .max()
                        .unwrap_or(0);
                    assert_eq!(set.covering(&key, at), expected, "{key:?} at {at}");
                }
            }
        }
        let again: RangeTombstones = set.iter().collect();
        assert_eq!(again.iter().collect::<Vec<_>>(), set.iter().collect::<Vec<_>>());
    }

    #[test]
    fn clipping_keeps_what_lies_inside() {
        let mut set = RangeTombstones::default();
        set.insert(b"b", b"y", 4);
        let clipped = set.clipped(Some(b"f"), Some(b"g"));
        assert_eq!(clipped.covering(b"e", 9), 0);
        assert_eq!(clipped.covering(b"f", 9), 4);
        assert_eq!(clipped.covering(b"g", 9), 0);
    }
}
