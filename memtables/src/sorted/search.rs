//! Searches within a node.
//!
//! What they return means nothing before [`Node::validate`] has said so, but they are safe at any time.

use std::cmp::Ordering;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use kodiak_core::entry::{compare, prefix_of};

use super::node::{GROUP, MAX_SKIP, Node};
use crate::stored::Probe;

/// Where a prefix belongs among those of a node.
enum Near {
    /// Before this slot, and no slot has it.
    Before(usize),
    /// This slot is the first that has it; what it is after the bytes that the node leaves out.
    Like(usize, u64),
}

impl Node {
    /// The first slot whose entry is at or after `probe` (after it, if `AFTER`).
    #[inline]
    pub fn bound<const AFTER: bool>(&self, count: usize, probe: &Probe<'_>) -> usize {
        match self.first_like(count, probe) {
            Near::Before(slot) => slot,
            Near::Like(low, prefix) => self.bound_of_equals::<AFTER>(low, count, prefix, probe),
        }
    }

    /// The first slot whose entry is at or after `probe`, and whether its key may be that of `probe`.
    #[inline]
    pub fn bound_or_absent(&self, count: usize, probe: &Probe<'_>) -> (usize, bool) {
        match self.first_like(count, probe) {
            Near::Before(slot) => (slot, false),
            Near::Like(low, prefix) => {
                let slot = self.bound_of_equals::<false>(low, count, prefix, probe);
                (slot, true)
            }
        }
    }

    /// The first slot whose prefix is not before that of `probe`.
    #[inline(always)]
    fn first_like(&self, count: usize, probe: &Probe<'_>) -> Near {
        let skip = self.leaf().skip.load(Relaxed) as usize;
        let prefix = if skip == 0 {
            probe.prefix
        } else {
            match self.compare_common(skip, probe.key) {
                Ordering::Less => return Near::Before(0),
                Ordering::Greater => return Near::Before(count),
                Ordering::Equal => prefix_of(probe.key.get(skip..).unwrap_or_default()),
            }
        };
        // Unused slots come after everything, but a slot may have been filled since `count` was read.
        let low = self.count_before(prefix).min(count);
        if low == count || self.prefix(low) != prefix {
            return Near::Before(low);
        }
        Near::Like(low, prefix)
    }

    /// How many prefixes are smaller. No branch and no load waits for the one before: first the last prefix of each group
    /// is compared, then the prefixes of the group where the search ends.
    #[inline(always)]
    fn count_before(&self, prefix: u64) -> usize {
        let (groups, _) = self.leaf().prefixes.as_chunks::<GROUP>();
        let smaller = |slot: &AtomicU64| usize::from(slot.load(Relaxed) < prefix);
        let group: usize = groups[..groups.len() - 1]
            .iter()
            .map(|group| smaller(&group[GROUP - 1]))
            .sum();
        group * GROUP + groups[group].iter().map(smaller).sum::<usize>()
    }

    /// The bound among the slots from `low` on whose prefix is `prefix`.
    #[inline]
    fn bound_of_equals<const AFTER: bool>(&self, low: usize, count: usize, prefix: u64, probe: &Probe<'_>) -> usize {
        let wanted = (probe.key, probe.seq);
        let before = |slot: usize| {
            // SAFETY: entries live as long as the tree.
            let order = compare(unsafe { self.entry(slot).key_seq() }, wanted);
            if AFTER { order.is_le() } else { order.is_lt() }
        };
        let (mut low, mut high) = (low, low + 1);
        while high < count && self.prefix(high) == prefix {
            high += 1;
        }
        while low < high {
            let middle = low.midpoint(high);
            if before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// How `key` compares with what all keys of the node start with; `Less` if it is shorter.
    pub(super) fn compare_common(&self, skip: usize, key: &[u8]) -> Ordering {
        let skip = skip.min(MAX_SKIP);
        for (at, common) in (0..skip).step_by(8).zip(&self.leaf().common) {
            let mask = u64::MAX << (64 - 8 * (skip - at).min(8));
            let ours = prefix_of(key.get(at..).unwrap_or_default()) & mask;
            let order = ours.cmp(&(common.load(Relaxed) & mask));
            if order.is_ne() {
                return order;
            }
        }
        if key.len() < skip {
            Ordering::Less
        } else {
            Ordering::Equal
        }
    }
}
