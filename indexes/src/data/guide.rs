//! What makes a search in a block quick: one entry in so many, by the first bytes of its key, with its place.

use std::hint::select_unpredictable;

use kodiak_core::prefetch::prefetch;

use super::block::{Block, Entry, before, decode_with_len};

/// One entry of so many has a mark.
pub(super) const STRIDE: usize = 8;

/// The most lines of memory between two marks that are fetched before they are looked at.
const MOST_LINES: usize = 8;

/// A mark: the head of its entry, and where in the heap that starts; both 32 bits, little-endian, so that marks can be copied as bytes.
pub(super) type Mark = [u8; 8];

/// The marks of a block.
#[derive(Debug)]
pub(super) struct Guide {
    marks: Box<[Mark]>,
    ends: (u32, u32),
}

/// The marks of a block, wherever they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks<'m> {
    pub marks: &'m [Mark],
    /// The heads of the first and the last mark.
    pub ends: (u32, u32),
}

#[inline]
fn low_half(mark: &Mark) -> u32 {
    u64::from_le_bytes(*mark) as u32
}

#[inline]
fn high_half(mark: &Mark) -> usize {
    (u64::from_le_bytes(*mark) >> 32) as usize
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
        let mark = |index| {
            let (head, start) = (head(block.entry(index).suffix), block.slot(index));
            (u64::from(head) | (start as u64) << 32).to_le_bytes()
        };
        let marks: Box<[Mark]> = (0..block.len()).step_by(STRIDE).map(mark).collect();
        let end = |mark: Option<&Mark>| mark.map_or(0, low_half);
        Self {
            ends: (end(marks.first()), end(marks.last())),
            marks,
        }
    }

    #[inline]
    pub(super) fn marks(&self) -> Marks<'_> {
        Marks {
            marks: &self.marks,
            ends: self.ends,
        }
    }
}

impl Marks<'_> {
    /// The number of marks before `head`.
    #[inline]
    pub(super) fn before(&self, head: u32) -> usize {
        let ends = (u64::from(self.ends.0), u64::from(self.ends.1));
        lower_bound(self.marks.len(), ends, u64::from(head), |index| {
            u64::from(low_half(&self.marks[index]))
        })
    }

    /// The entry of `key`, if it is there, in a block with this prefix and heap. It touches as little memory as it can, entries from a
    /// mark on one after the other, and all of it comes at once: nothing waits for the prefix, which is compared last.
    #[inline]
    pub(super) fn find<'b>(self, prefix: &[u8], heap: &'b [u8], key: &[u8]) -> Option<Entry<'b>> {
        let suffix = key.get(prefix.len()..)?;
        let wanted = head(suffix);
        // The entry is near where it is guessed to be: by chance it strays by half the root of the number of entries, which in a leaf
        // of 8 KiB is three lines. In a large block it would take too many.
        let near = heap.as_ptr().wrapping_add(self.guess(wanted, heap.len()));
        let reach = if heap.len() <= 16 << 10 { 5 } else { 2 };
        for line in -reach..=reach {
            prefetch(near.wrapping_offset(64 * line));
        }
        prefetch(prefix.as_ptr());
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
        let end = self.marks.get(from).map_or(heap.len(), high_half);
        // Mostly it was guessed right. If not, what is looked at one entry after the other must not be waited for like that.
        for line in (at..end.min(at + 64 * MOST_LINES)).step_by(64) {
            prefetch(heap.as_ptr().wrapping_add(line));
        }
        while at < end {
            let (entry, len) = decode_with_len(&heap[at..]);
            if !before(entry.suffix, suffix) {
                return (entry.suffix == suffix && key.starts_with(prefix)).then_some(entry);
            }
            at += len;
        }
        None
    }

    /// About where in a heap of so many bytes `head` is, if keys are spread evenly.
    #[inline]
    fn guess(&self, head: u32, heap: usize) -> usize {
        let ends = (u64::from(self.ends.0), u64::from(self.ends.1));
        guess(heap, ends, u64::from(head))
    }

    /// The number of marks up to `head`, of which `low` are before it.
    #[inline]
    pub(super) fn up_to(&self, low: usize, head: u32) -> usize {
        match self.marks.get(low) {
            Some(mark) if low_half(mark) == head => {
                low + self.marks[low..].partition_point(|mark| low_half(mark) == head)
            }
            _ => low,
        }
    }

    /// Where in the heap the entry of a mark starts.
    #[inline]
    pub(super) fn start(&self, mark: usize) -> usize {
        high_half(&self.marks[mark])
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
