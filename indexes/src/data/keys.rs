//! The keys that separate the children of a node, packed.

use kodiak_core::varint::{Reader, put_bytes, put_u64};
use kodiak_core::{Error, Result};

use super::block::{common_prefix, head};

/// Sorted keys. Child `i` of a node has the keys from key `i - 1` on and before key `i`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Keys {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.bytes[start..self.ends[index] as usize]
    }

    pub(crate) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len() as u32);
    }

    pub(crate) fn insert(&mut self, index: usize, key: &[u8]) {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        self.bytes.splice(start..start, key.iter().copied());
        self.ends.insert(index, start as u32);
        for end in &mut self.ends[index..] {
            *end += key.len() as u32;
        }
    }

    pub(crate) fn remove(&mut self, index: usize) {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        let end = self.ends.remove(index) as usize;
        self.bytes.drain(start..end);
        for later in &mut self.ends[index..] {
            *later -= (end - start) as u32;
        }
    }

    pub(crate) fn extend(&mut self, keys: &Self, range: std::ops::Range<usize>) {
        for index in range {
            self.push(keys.get(index));
        }
    }

    fn partition(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if before(self.get(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The child that has `key`.
    pub(crate) fn route(&self, key: &[u8]) -> usize {
        self.partition(|separator| separator <= key)
    }

    /// The child that has the keys just before `key`.
    pub(crate) fn route_before(&self, key: &[u8]) -> usize {
        self.partition(|separator| separator < key)
    }

    /// Bytes that the keys take in a node.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len() + 2 * self.ends.len()
    }

    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 4
    }

    fn prefix(&self) -> usize {
        match self.len() {
            0 => 0,
            len => common_prefix(self.get(0), self.get(len - 1)),
        }
    }

    /// The number of keys, their common prefix, and the rest of each, all with their lengths.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let prefix = self.prefix();
        put_u64(out, self.len() as u64);
        put_bytes(out, if self.len() == 0 { &[] } else { &self.get(0)[..prefix] });
        for index in 0..self.len() {
            put_bytes(out, &self.get(index)[prefix..]);
        }
    }

    /// # Errors
    /// `Corruption` if they are cut short or out of order.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let count = reader.len(reader.remaining())?;
        let prefix = reader.bytes()?;
        let mut keys = Self::default();
        for index in 0..count {
            keys.bytes.extend_from_slice(prefix);
            keys.bytes.extend_from_slice(reader.bytes()?);
            keys.ends.push(keys.bytes.len() as u32);
            if index > 0 && keys.get(index - 1) >= keys.get(index) {
                return Err(Error::corruption("the keys of a node are out of order"));
            }
        }
        keys.bytes.shrink_to_fit();
        Ok(keys)
    }
}

/// What makes a search in keys that do not change quick: the first bytes of each after what all have in common.
#[derive(Debug, Clone)]
pub(crate) struct Heads {
    prefix: Box<[u8]>,
    heads: Box<[u64]>,
    /// The first and the last of them.
    ends: (u64, u64),
}

impl Heads {
    pub(crate) fn new(keys: &Keys) -> Self {
        let prefix = keys.prefix();
        let heads: Box<[u64]> = (0..keys.len()).map(|index| head(&keys.get(index)[prefix..])).collect();
        Self {
            prefix: if keys.len() == 0 { &[] } else { &keys.get(0)[..prefix] }.into(),
            ends: (heads.first().copied().unwrap_or(0), heads.last().copied().unwrap_or(0)),
            heads,
        }
    }

    pub(crate) fn memory(&self) -> usize {
        self.heads.len() * 8 + self.prefix.len()
    }

    /// [`Keys::route`]; `keys`, which these are of, is only asked for where the first bytes do not tell.
    #[inline]
    pub(crate) fn route<'k>(&self, keys: impl FnOnce() -> &'k Keys, key: &[u8]) -> usize {
        let Some(rest) = key.strip_prefix(&*self.prefix) else {
            return if key < &*self.prefix { 0 } else { self.heads.len() };
        };
        let wanted = head(rest);
        let low = super::guide::lower_bound(self.heads.len(), self.ends, wanted, |index| self.heads[index]);
        if self.heads.get(low) != Some(&wanted) {
            return low;
        }
        let (keys, mut from) = (keys(), low);
        let mut to = low + self.heads[low..].partition_point(|&head| head == wanted);
        while from < to {
            let middle = from.midpoint(to);
            if keys.get(middle) <= key {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }
}
