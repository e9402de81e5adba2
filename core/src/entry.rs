//! Entries: what memtables, logs and runs hold.

use std::cmp::Ordering;

use crate::{Error, Result};

/// The place of a write in the one order of a database. The first write gets 1; 0 is "before everything".
///
/// It is stored as `_seq: Int64`, so it stays below 2^63.
pub type SeqNo = u64;

/// A sequence number above every write: "read the newest".
pub const MAX_SEQ: SeqNo = i64::MAX as u64;

/// What an entry does to its key. The numbers are stored (`_op: Int8`) and never change meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Op {
    /// The key has this value.
    Put = 0,
    /// The key has no value (a tombstone).
    Delete = 1,
    /// The value is an operand for the table's merge operator, to be applied over the older entries of the key.
    Merge = 2,
    /// All keys from `key` (inclusive) to `value` (exclusive) have no value. Never stored as a row of a run.
    RangeDelete = 3,
}

impl Op {
    /// Every operation, in the order of the stored numbers.
    pub const ALL: [Self; 4] = [Self::Put, Self::Delete, Self::Merge, Self::RangeDelete];

    /// The operation of a stored number.
    ///
    /// # Errors
    /// `Corruption` for a number that no version of Kodiak has written.
    pub fn from_byte(byte: u8) -> Result<Self> {
        Self::ALL
            .get(usize::from(byte))
            .copied()
            .ok_or_else(|| Error::corruption(format!("operation {byte} is unknown")))
    }
}

/// One entry, borrowed: `(user key, sequence number, operation, value)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// The order-preserving bytes of the primary key.
    pub key: &'a [u8],
    /// When it was written.
    pub seq: SeqNo,
    /// What it does.
    pub op: Op,
    /// The value, the merge operand, or the end of the range; empty for a delete.
    pub value: &'a [u8],
}

/// The order of entries: user key ascending, then sequence number descending, so that the newest version comes first.
#[inline]
pub fn compare(left: (&[u8], SeqNo), right: (&[u8], SeqNo)) -> Ordering {
    left.0.cmp(right.0).then_with(|| right.1.cmp(&left.1))
}

/// The first eight bytes of `key`, big-endian and zero-padded.
///
/// If the prefixes of two keys differ, the keys compare as the prefixes do; if they are equal, nothing is known.
#[inline]
pub fn prefix_of(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(head) => u64::from_be_bytes(*head),
        None => {
            let mut head = [0; 8];
            head[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(head)
        }
    }
}

/// The first eight of the bytes `from..to`, as [`prefix_of`]; faster for short keys that lie among others.
#[inline(always)]
pub fn prefix_at(bytes: &[u8], from: usize, to: usize) -> u64 {
    match bytes.get(from..).and_then(<[u8]>::first_chunk::<8>) {
        Some(head) => u64::from_be_bytes(*head) & !behind(to.saturating_sub(from)),
        None => prefix_of(bytes.get(from..to).unwrap_or_default()),
    }
}

/// The bits of a prefix that are behind a key of `len` bytes.
#[inline]
pub(crate) fn behind(len: usize) -> u64 {
    u64::MAX.checked_shr(8 * len as u32).unwrap_or(0)
}

/// The first sixteen bytes of `key`, as [`prefix_of`].
#[inline]
pub fn wide_prefix_of(key: &[u8]) -> u128 {
    match key.first_chunk::<16>() {
        Some(head) => u128::from_be_bytes(*head),
        None => {
            let mut head = [0; 16];
            head[..key.len()].copy_from_slice(key);
            u128::from_be_bytes(head)
        }
    }
}

/// How many leading bytes two keys share.
#[inline]
pub fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    let most = left.len().min(right.len());
    let (left, right) = (&left[..most], &right[..most]);
    let mut at = 0;
    while let (Some(a), Some(b)) = (left[at..].first_chunk::<8>(), right[at..].first_chunk::<8>()) {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return at + (differ.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at + left[at..].iter().zip(&right[at..]).take_while(|(a, b)| a == b).count()
}

/// The smallest key that is greater than every key starting with `prefix`; `None` if there is none (all 0xFF).
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xFF)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// A cursor over entries in the order of [`compare`]. It is positioned on an entry, or not positioned at all.
///
/// A new cursor is not positioned. `entry` borrows from the cursor until it moves. A cursor over a memtable sees entries
/// inserted after it was made, or not: callers filter by sequence number. A cursor is used by one thread at a time.
///
/// # Errors
/// Moves return errors of the storage below (a damaged block, a failed read); after one the cursor is not positioned.
pub trait EntryCursor: Send {
    /// Moves to the first entry at or after `(key, seq)`: the newest version of `key` not newer than `seq`, or whatever
    /// comes next.
    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()>;

    /// Moves to the last entry strictly before `(key, seq)`.
    fn seek_before(&mut self, key: &[u8], seq: SeqNo) -> Result<()>;

    /// Moves to the first entry.
    fn seek_first(&mut self) -> Result<()>;

    /// Moves to the last entry.
    fn seek_last(&mut self) -> Result<()>;

    /// Moves to the entry after this one; past the last one the cursor is not positioned.
    ///
    /// Calling it on a cursor that is not positioned does nothing.
    fn next(&mut self) -> Result<()>;

    /// Moves to the entry before this one; before the first one the cursor is not positioned.
    ///
    /// Calling it on a cursor that is not positioned does nothing.
    fn prev(&mut self) -> Result<()>;

    /// The entry under the cursor.
    fn entry(&self) -> Option<EntryRef<'_>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_versions_of_a_key_come_first() {
        assert_eq!(compare((b"a", 5), (b"a", 3)), Ordering::Less);
        assert_eq!(compare((b"a", 1), (b"b", 9)), Ordering::Less);
        assert_eq!(compare((b"a", 1), (b"aa", 1)), Ordering::Less);
    }

    #[test]
    fn prefixes_order_as_keys_do() {
        let keys: [&[u8]; 6] = [b"", b"\0", b"a", b"a\0", b"abcdefgh", b"abcdefghi"];
        for pair in keys.windows(2) {
            assert!(prefix_of(pair[0]) <= prefix_of(pair[1]));
        }
    }

    #[test]
    fn common_prefixes_end_at_the_first_difference() {
        let key = b"0123456789abcdefghij";
        for len in 0..key.len() {
            let mut other = key.to_vec();
            other[len] ^= 0x40;
            assert_eq!(common_prefix(key, &other), len);
            assert_eq!(common_prefix(key, &key[..len]), len);
        }
    }

    #[test]
    fn the_end_of_a_prefix_skips_trailing_ff() {
        assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(prefix_end(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(prefix_end(b"\xff"), None);
        assert_eq!(prefix_end(b""), None);
    }
}
