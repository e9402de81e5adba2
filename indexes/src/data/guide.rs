//! What makes a search in a block quick: one entry in so many, by the first bytes of its key, with its place.

use std::hint::select_unpredictable;

use kodiak_core::prefetch::prefetch;

use super::block::{Block, Entry, FIXED, before, decode_with_len};
use crate::store::piece::HEADER;

/// One entry of so many has a mark.
pub(super) const STRIDE: usize = 8;

/// The most lines of memory between two marks that are fetched before they are looked at.
const MOST_LINES: usize = 8;

/// The marks of a block.
#[derive(Debug)]
pub(super) struct Guide {
    marks: Box<[Mark]>,
    /// The heads of the first and the last mark.
    first: u32,
    last: u32,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    head: u32,
    /// Where in the heap the entry starts.
    start: u32,
}

/// The first four bytes of a key after the block's prefix: what of it differs within a block mostly differs there.
#[inline]
pub(super) fn head(suffix: &[u8]) -> u32 {
    match suffix.first_chunk::<4>() {
        Some(bytes) => u32::from_be_bytes(*bytes),
        None => (super::block::head(suffix) >> 32) as u32,
    }
}

impl Guide {
    /// The memory of the marks of so many entries.
    pub(super) fn memory(entries: usize) -> usize {
        entries.div_ceil(STRIDE) * size_of::<Mark>()
    }

    pub(super) fn new(block: &Block) -> Self {
        let mark = |index| Mark {
            head: head(block.entry(index).suffix),
            start: block.slot(index) as u32,
        };
        let marks: Box<[Mark]> = (0..block.len()).step_by(STRIDE).map(mark).collect();
        let end = |mark: Option<&Mark>| mark.map_or(0, |mark| mark.head);
        Self {
            first: end(marks.first()),
            last: end(marks.last()),
            marks,
        }
    }

    /// The number of marks before `head`.
    #[inline]
    pub(super) fn before(&self, head: u32) -> usize {
        let ends = (u64::from(self.first), u64::from(self.last));
        lower_bound(self.marks.len(), ends, u64::from(head), |index| {
            u64::from(self.marks[index].head)
        })
    }

    /// The entry of `key`, if it is there, in a block of so many bytes of prefix, whose heap ends where it says. It touches as little
    /// memory as it can, entries from a mark on one after the other, and all of it comes at once: nothing waits for the prefix,
    /// which is compared last.
    #[inline]
    pub(super) fn find<'b>(&self, bytes: &'b [u8], prefix: usize, heap_end: usize, key: &[u8]) -> Option<Entry<'b>> {
        let suffix = key.get(prefix..)?;
        let wanted = head(suffix);
        let heap = &bytes[HEADER + FIXED + prefix..heap_end];
        // The entry is near where it is guessed to be: by chance it strays by half the root of the number of entries, which in a leaf
        // of 8 KiB is three lines. In a large block it would take too many.
        let near = heap.as_ptr().wrapping_add(self.guess(wanted, heap.len()));
        let reach = if heap.len() <= 16 << 10 { 5 } else { 2 };
        for line in -reach..=reach {
            prefetch(near.wrapping_offset(64 * line));
        }
        prefetch(bytes.as_ptr().wrapping_add(HEADER + FIXED));
        let mut from = self.before(wanted);
        let mut to = self.up_to(from, wanted);
        // Of marks that begin alike, the rest of their keys says which is the one before.
        while from < to {
            let middle = from.midpoint(to);
            let (entry, _) = decode_with_len(&heap[self.start(middle)..]);
            if before(suffix, entry.suffix) {
                to = middle;
            } else {
                from = middle + 1;
            }
        }
        let mut at = self.start(from.checked_sub(1)?);
        let end = self.marks.get(from).map_or(heap.len(), |mark| mark.start as usize);
        // Mostly it was guessed right. If not, what is looked at one entry after the other must not be waited for like that.
        for line in (at..end.min(at + 64 * MOST_LINES)).step_by(64) {
            prefetch(heap.as_ptr().wrapping_add(line));
        }
        while at < end {
            let (entry, len) = decode_with_len(&heap[at..]);
            if !before(entry.suffix, suffix) {
                let shared = &bytes[HEADER + FIXED..HEADER + FIXED + prefix];
                return (entry.suffix == suffix && key.starts_with(shared)).then_some(entry);
            }
            at += len;
        }
        None
    }

    /// About where in a heap of so many bytes `head` is, if keys are spread evenly.
    #[inline]
    fn guess(&self, head: u32, heap: usize) -> usize {
        let ends = (u64::from(self.first), u64::from(self.last));
        guess(heap, ends, u64::from(head))
    }

    /// The number of marks up to `head`, of which `low` are before it.
    #[inline]
    pub(super) fn up_to(&self, low: usize, head: u32) -> usize {
        match self.marks.get(low) {
            Some(mark) if mark.head == head => low + self.marks[low..].partition_point(|mark| mark.head == head),
            _ => low,
        }
    }

    /// Where in the heap the entry of a mark starts.
    #[inline]
    pub(super) fn start(&self, mark: usize) -> usize {
        self.marks[mark].start as usize
    }
}

/// Where among `count` numbers from the first to the last of `ends` a number is, if they are spread evenly.
#[inline]
fn guess(count: usize, (first, last): (u64, u64), wanted: u64) -> usize {
    let share = wanted.saturating_sub(first) as f64 / last.saturating_sub(first).max(1) as f64;
    ((share * count.saturating_sub(1) as f64) as usize).min(count.saturating_sub(1))
}

/// How many of `count` ascending numbers are below `wanted`; the first and the last are `ends`. First bytes of keys are often
/// spread evenly within a block or node: it looks around where the number would then be, without branches, which nobody could
/// foresee; and if it is not there, from there on in widening steps.
#[inline]
pub(super) fn lower_bound(count: usize, ends: (u64, u64), wanted: u64, number: impl Fn(usize) -> u64) -> usize {
    if count == 0 || wanted <= ends.0 {
        return 0;
    }
    if wanted > ends.1 {
        return count;
    }
    let below = |index: usize| number(index) < wanted;
    // Of numbers that chance has spread evenly, the place of one in the middle strays by half the root of their count.
    let near = 1 << (count.ilog2() / 2 + 1);
    let at = guess(count, ends, wanted);
    let (low, high) = (at.saturating_sub(near), (at + near).min(count));
    if (low == 0 || below(low - 1)) && (high == count || !below(high)) {
        return partition(low, high, below);
    }
    gallop(count, at, below)
}

/// The first index from `low` on and before `high`, or `high`, that is not `below`; the same comparisons whichever it is.
#[inline]
fn partition(mut low: usize, high: usize, below: impl Fn(usize) -> bool) -> usize {
    let mut len = high - low;
    while len > 0 {
        let half = len.div_ceil(2);
        let after = select_unpredictable(below(low + half - 1), low + half, low);
        (low, len) = (after, len - half);
    }
    low
}

/// As [`partition`], among `count`, beginning at `at`.
#[cold]
fn gallop(count: usize, at: usize, below: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high, mut step) = (at, at, 1);
    if below(at) {
        low += 1;
        while low + step <= count && below(low + step - 1) {
            low += step;
            step *= 2;
        }
        high = (low + step - 1).min(count);
    } else {
        while high >= step && !below(high - step) {
            high -= step;
            step *= 2;
        }
        low = high.saturating_sub(step);
    }
    partition(low, high, below)
}
