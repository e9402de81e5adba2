//! Fence keys: the first entry of each block, laid out for the search that every point read makes.
//!
//! The prefix that all fence keys share is kept once. Of what follows it, the first eight bytes of each key lie in one array
//! of numbers; a table over the top bits of these numbers gives the few among which a key belongs, a binary search finds the
//! place, and key bytes are compared only where the numbers are equal. For keys spread evenly that is two cache misses at
//! any number of blocks; for others it is at worst the binary search.

use std::cmp::Ordering;
use std::ops::Range;

use arrow::buffer::Buffer;
use kodiak_core::entry::{MAX_SEQ, compare, prefix_of};
use kodiak_core::varint::{Reader, put_bytes, put_u64};
use kodiak_core::{Error, Result, SeqNo};

/// Collects the fence keys of a run while it is written.
#[derive(Debug, Clone, Default)]
pub struct FencesBuilder {
    data: Vec<u8>,
    ends: Vec<usize>,
    seqs: Vec<u64>,
    last_key: Vec<u8>,
}

impl FencesBuilder {
    /// Adds a block: its first entry, and the user key of its last one.
    pub fn push(&mut self, first_key: &[u8], first_seq: SeqNo, last_key: &[u8]) {
        let continues = !self.ends.is_empty() && self.last_key == first_key;
        self.data.extend_from_slice(first_key);
        self.ends.push(self.data.len());
        self.seqs.push(first_seq << 1 | u64::from(continues));
        self.last_key.clear();
        self.last_key.extend_from_slice(last_key);
    }

    /// How many blocks there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn key(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.data[start..self.ends[index]]
    }

    /// Length of the prefix that all keys share: since they ascend, that of the first and the last.
    fn shared(&self) -> usize {
        let Some(last) = self.len().checked_sub(1) else {
            return 0;
        };
        self.key(0)
            .iter()
            .zip(self.key(last))
            .take_while(|(left, right)| left == right)
            .count()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        if u32::try_from(self.data.len()).is_err() {
            return Err(Error::invalid_input(format!(
                "the fence keys of a run come to {} bytes, above the limit of 4 GiB: ask for larger blocks or smaller runs",
                self.data.len()
            )));
        }
        let shared = self.shared();
        put_u64(out, self.len() as u64);
        put_bytes(out, if self.is_empty() { &[] } else { &self.key(0)[..shared] });
        put_bytes(out, &self.last_key);
        for index in 0..self.len() {
            put_u64(out, (self.key(index).len() - shared) as u64);
            put_u64(out, self.seqs[index]);
        }
        for index in 0..self.len() {
            out.extend_from_slice(&self.key(index)[shared..]);
        }
        Ok(())
    }
}

/// The fence keys of a run.
#[derive(Debug, Clone)]
pub struct Fences {
    /// What all keys begin with.
    shared: Buffer,
    last_key: Buffer,
    /// What follows the shared prefix, one key after the other.
    data: Buffer,
    /// Where in `data` each key begins, and the end.
    offsets: Vec<u32>,
    /// Sequence number, and in the lowest bit whether the key continues from the block before.
    seqs: Vec<u64>,
    /// The first eight bytes of what follows the shared prefix.
    prefixes: Vec<u64>,
    table: Table,
}

/// For each value of the top bits of a prefix (above the smallest one) the first fence that has it or a larger one.
#[derive(Debug, Clone, Default)]
struct Table {
    first: u64,
    last: u64,
    shift: u32,
    starts: Vec<u32>,
}

impl Table {
    /// `prefixes` ascend and are not empty.
    fn new(prefixes: &[u64]) -> Self {
        let (first, last) = (prefixes[0], prefixes[prefixes.len() - 1]);
        // At least half as many fences as values of the top bits; one fence has no bits that differ.
        let bits = prefixes.len().ilog2();
        let shift = (u64::BITS - (last - first).leading_zeros()).saturating_sub(bits);
        let buckets = (last - first) >> shift;
        let mut starts = Vec::with_capacity(buckets as usize + 2);
        for (index, prefix) in prefixes.iter().enumerate() {
            let bucket = ((prefix - first) >> shift) as usize;
            while starts.len() <= bucket {
                starts.push(index as u32);
            }
        }
        starts.push(prefixes.len() as u32);
        Self {
            first,
            last,
            shift,
            starts,
        }
    }

    /// The fences among which the first one not below `prefix` is, or the end of which it is. `prefix` is between `first`
    /// and `last`.
    #[inline]
    fn range(&self, prefix: u64) -> (usize, usize) {
        let bucket = ((prefix - self.first) >> self.shift) as usize;
        (self.starts[bucket] as usize, self.starts[bucket + 1] as usize)
    }
}

impl Fences {
    /// How many blocks there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// The user key of the run's last entry; empty if there is none.
    pub fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// The user key of the first entry of block `index`, in `out`.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn key(&self, index: usize, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.shared);
        out.extend_from_slice(self.suffix(index));
    }

    /// The sequence number of the first entry of block `index`.
    ///
    /// # Panics
    /// If there is no such block.
    #[inline]
    pub fn seq(&self, index: usize) -> SeqNo {
        self.seqs[index] >> 1
    }

    /// True if the block before `index` ends with an entry of the key that block `index` begins with.
    ///
    /// # Panics
    /// If there is no such block.
    #[inline]
    pub fn continues(&self, index: usize) -> bool {
        self.seqs[index] & 1 == 1
    }

    /// The last block whose first entry is not after `(key, seq)`: where the entries before `(key, seq)` end. `None` if all
    /// are after it.
    #[inline]
    pub fn locate(&self, key: &[u8], seq: SeqNo) -> Option<usize> {
        self.search(key, seq).0.checked_sub(1)
    }

    /// The blocks that may hold the newest version of `key` that is not newer than `seq`: none, one, or (if versions of the
    /// key reach over the end of a block) two, to be searched in this order.
    #[inline]
    pub fn blocks_of(&self, key: &[u8], seq: SeqNo) -> Range<usize> {
        let (next, prefix) = self.search(key, seq);
        if next < self.len()
            && self.prefixes[next] == prefix
            && key.len() >= self.shared.len()
            && self.suffix(next) == &key[self.shared.len()..]
            && key.starts_with(&self.shared)
        {
            // The block after begins with an older version of the key.
            return if self.continues(next) {
                next.saturating_sub(1)..next + 1
            } else {
                next..next + 1
            };
        }
        next.saturating_sub(1)..next
    }

    /// Bytes of memory that it keeps beside the sidecar's own.
    pub fn memory(&self) -> usize {
        (self.offsets.capacity() + self.table.starts.capacity()) * 4
            + (self.seqs.capacity() + self.prefixes.capacity()) * 8
    }

    /// How many blocks begin at or before `(key, seq)`, and the prefix that was searched for.
    #[inline]
    fn search(&self, key: &[u8], seq: SeqNo) -> (usize, u64) {
        let count = self.len();
        if count == 0 {
            return (0, 0);
        }
        let shared: &[u8] = &self.shared;
        if !key.starts_with(shared) {
            return (if key < shared { 0 } else { count }, 0);
        }
        let suffix = &key[shared.len()..];
        let prefix = prefix_of(suffix);
        if prefix < self.table.first {
            return (0, prefix);
        }
        if prefix > self.table.last {
            return (count, prefix);
        }
        let (low, high) = self.table.range(prefix);
        let lower = low + self.prefixes[low..high].partition_point(|&fence| fence < prefix);
        if lower == high || self.prefixes[lower] != prefix {
            return (lower, prefix);
        }
        (self.search_equal(lower, high, suffix, seq), prefix)
    }

    /// Goes on where prefixes are equal: from `low` on, up to `high` at most.
    fn search_equal(&self, low: usize, high: usize, suffix: &[u8], seq: SeqNo) -> usize {
        let prefix = self.prefixes[low];
        let (mut low, mut high) = (low, high);
        while low < high {
            let middle = low.midpoint(high);
            let before = self.prefixes[middle] == prefix
                && compare((self.suffix(middle), self.seq(middle)), (suffix, seq)) != Ordering::Greater;
            if before {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    #[inline]
    fn suffix(&self, index: usize) -> &[u8] {
        &self.data[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }

    pub(super) fn decode(bytes: Buffer) -> Result<Self> {
        let mut reader = Reader::new(&bytes);
        let count = reader.len(reader.remaining() / 2)?;
        let shared = take(&bytes, &mut reader)?;
        let last_key = take(&bytes, &mut reader)?;
        let mut offsets = Vec::with_capacity(count + 1);
        let mut seqs = Vec::with_capacity(count);
        let mut end = 0usize;
        for _ in 0..count {
            offsets.push(end as u32);
            end += reader.len(u32::MAX as usize - end)?;
            let seq = reader.u64()?;
            if seq >> 1 > MAX_SEQ {
                return Err(Error::corruption("a sequence number of a fence key is too large"));
            }
            seqs.push(seq);
        }
        offsets.push(end as u32);
        if reader.remaining() != end {
            return Err(Error::corruption(format!(
                "the fence keys have {} bytes, not {end}",
                reader.remaining()
            )));
        }
        let data = bytes.slice_with_length(bytes.len() - end, end);
        let prefixes: Vec<u64> = offsets
            .windows(2)
            .map(|pair| prefix_of(&data[pair[0] as usize..pair[1] as usize]))
            .collect();
        if !prefixes.is_sorted() {
            return Err(Error::corruption("the fence keys are not in order"));
        }
        let table = if prefixes.is_empty() {
            Table::default()
        } else {
            Table::new(&prefixes)
        };
        Ok(Self {
            shared,
            last_key,
            data,
            offsets,
            seqs,
            prefixes,
            table,
        })
    }
}

/// Length-prefixed bytes, as a part of the buffer that is read.
fn take(bytes: &Buffer, reader: &mut Reader<'_>) -> Result<Buffer> {
    let len = reader.bytes()?.len();
    Ok(bytes.slice_with_length(reader.position() - len, len))
}
