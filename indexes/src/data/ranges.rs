//! Sets of key ranges.

use kodiak_core::varint::{Reader, put_bytes, put_u64};
use kodiak_core::{Error, Result};

/// Bounds of the keys of a node: from the first on, before the second; `None` is without bound.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds<'a> {
    pub low: Option<&'a [u8]>,
    pub high: Option<&'a [u8]>,
}

impl Bounds<'_> {
    /// What all keys within start with.
    pub(crate) fn prefix(&self) -> &[u8] {
        match (self.low, self.high) {
            (Some(low), Some(high)) => &low[..super::block::common_prefix(low, high)],
            _ => &[],
        }
    }

    pub(crate) fn contain(&self, key: &[u8]) -> bool {
        self.low.is_none_or(|low| low <= key) && before_end(key, self.high)
    }
}

/// True if `key` is before `end`; nothing is at or after the end without bound.
pub(crate) fn before_end(key: &[u8], end: Option<&[u8]>) -> bool {
    end.is_none_or(|end| key < end)
}

/// Sorted, disjoint, never touching ranges of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Ranges {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.0.iter().map(|(from, to)| (&**from, to.as_deref()))
    }

    /// Bytes that they take in a buffer.
    pub(crate) fn bytes(&self) -> usize {
        self.iter()
            .map(|(from, to)| from.len() + to.map_or(0, <[u8]>::len) + 8)
            .sum()
    }

    pub(crate) fn memory(&self) -> usize {
        self.bytes() + self.0.capacity() * 48
    }

    pub(crate) fn covers(&self, key: &[u8]) -> bool {
        let after = self.0.partition_point(|(from, _)| &**from <= key);
        after > 0 && before_end(key, self.0[after - 1].1.as_deref())
    }

    /// True if all keys within the bounds are in one of the ranges.
    pub(crate) fn cover_all(&self, bounds: Bounds<'_>) -> bool {
        let low = bounds.low.unwrap_or_default();
        let after = self.0.partition_point(|(from, _)| &**from <= low);
        after > 0
            && match (&self.0[after - 1].1, bounds.high) {
                (None, _) => true,
                (Some(to), Some(high)) => &**to >= high,
                (Some(_), None) => false,
            }
    }

    /// Adds the keys from `from` on and before `to`.
    pub(crate) fn add(&mut self, from: &[u8], to: Option<&[u8]>) {
        if to.is_some_and(|to| to <= from) {
            return;
        }
        // Those that touch the new one: they end at or after its start, and start at or before its end.
        let first = self
            .0
            .partition_point(|(_, end)| end.as_deref().is_some_and(|end| end < from));
        let last = self.0.partition_point(|(start, _)| to.is_none_or(|to| &**start <= to));
        let (mut start, mut end) = (from.to_vec(), to.map(<[u8]>::to_vec));
        for (old_start, old_end) in self.0.drain(first..last.max(first)) {
            start = start.min(old_start);
            end = match (end, old_end) {
                (Some(one), Some(two)) => Some(one.max(two)),
                _ => None,
            };
        }
        self.0.insert(first, (start, end));
    }

    pub(crate) fn union(&mut self, other: &Self) {
        for (from, to) in other.iter() {
            self.add(from, to);
        }
    }

    /// The parts within the bounds.
    pub(crate) fn clip(&self, bounds: Bounds<'_>) -> Self {
        let mut clipped = Vec::new();
        for (from, to) in self.iter() {
            let from = bounds.low.map_or(from, |low| low.max(from));
            let to = match (to, bounds.high) {
                (Some(to), Some(high)) => Some(to.min(high)),
                (to, high) => to.or(high),
            };
            if before_end(from, to) {
                clipped.push((from.to_vec(), to.map(<[u8]>::to_vec)));
            }
        }
        Self(clipped)
    }

    /// Their number; for each its start, a byte that says whether it has an end, and the end.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.0.len() as u64);
        for (from, to) in self.iter() {
            put_bytes(out, from);
            out.push(u8::from(to.is_some()));
            put_bytes(out, to.unwrap_or_default());
        }
    }

    /// # Errors
    /// `Corruption` if they are cut short or out of order.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let count = reader.len(reader.remaining())?;
        let mut ranges = Self::default();
        for _ in 0..count {
            let from = reader.bytes()?.to_vec();
            let bounded = reader.u8()? != 0;
            let to = reader.bytes()?;
            let to = bounded.then(|| to.to_vec());
            let after = match ranges.0.last() {
                None => true,
                Some((_, end)) => end.as_ref().is_some_and(|end| *end < from),
            };
            if !after || !before_end(&from, to.as_deref()) {
                return Err(Error::corruption("range deletes are out of order"));
            }
            ranges.0.push((from, to));
        }
        Ok(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_and_clipped_as_sets_of_keys() {
        let mut seed = 7u32;
        let mut random = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % below
        };
        for _ in 0..300 {
            let (mut ranges, mut model) = (Ranges::default(), [false; 40]);
            for _ in 0..random(6) {
                let (from, to) = (random(40) as u8, random(45) as u8);
                let end = (to < 40).then_some(to);
                ranges.add(&[from], end.as_ref().map(std::slice::from_ref));
                for key in from..end.unwrap_or(40).min(40) {
                    model[usize::from(key)] = true;
                }
            }
            let (low, high) = (random(40) as u8, random(40) as u8);
            let bounds = Bounds {
                low: Some(&[low]),
                high: Some(&[high]),
            };
            let clipped = ranges.clip(bounds);
            let mut bytes = Vec::new();
            ranges.encode(&mut bytes);
            assert_eq!(Ranges::decode(&mut Reader::new(&bytes)).ok().as_ref(), Some(&ranges));
            for key in 0..40u8 {
                assert_eq!(ranges.covers(&[key]), model[usize::from(key)], "{ranges:?} at {key}");
                let inside = (low..high).contains(&key);
                assert_eq!(clipped.covers(&[key]), inside && model[usize::from(key)]);
            }
            if low < high {
                let all = (low..high).all(|key| model[usize::from(key)]);
                assert_eq!(ranges.cover_all(bounds), all, "{ranges:?} over {low}..{high}");
            }
        }
    }
}
