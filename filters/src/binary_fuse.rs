//! The 3-wise binary fuse filter with 8-bit fingerprints (Graf, Lemire, "Binary Fuse Filters: Fast and Smaller Than Xor
//! Filters", JEA 2022).
//!
//! Each key owns three slots in three neighbouring segments; the exclusive or of their bytes is its fingerprint.

use arrow::buffer::Buffer;
use kodiak_core::Result;
use kodiak_core::filter::{Filter, FilterCapabilities, FilterFactory};
use kodiak_core::registry::Component;

use crate::trailer::{Kind, Trailer, damaged, no_bits, reduce, reseed};

/// The binary fuse filter.
pub(crate) const FACTORY: FilterFactory = FilterFactory {
    component: Component {
        name: "binary-fuse",
        summary: "Three bytes read for each probe, 0.4 % false positives at 9 bits; the size cannot be chosen.",
        options: &[],
    },
    capabilities: FilterCapabilities {
        adjustable_bits: false,
        typical_bits_per_key: 9.0,
        cache_lines_per_probe: "3",
    },
    build: |_, hashes, bits_per_key| Ok(build(hashes, bits_per_key)),
    open: |bytes| Ok(Box::new(BinaryFuse::open(&bytes)?)),
    false_positive_rate: |bits_per_key| if bits_per_key > 0.0 { 1.0 / 256.0 } else { 1.0 },
};

/// Segments that are no starting segment: a key's slots are in three segments in a row.
const ARITY_MINUS_ONE: u64 = 2;
/// Longer segments make no construction more likely, only slower.
const LONGEST_SEGMENT: u32 = 1 << 18;

/// Where things are in the array of fingerprints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    /// Segments in which a key's first slot may be; there are two more.
    segments: u64,
    /// Slots of a segment, a power of two.
    segment_len: u32,
}

impl Shape {
    fn of(keys: usize) -> Self {
        let keys = keys as f64;
        let log = keys.max(2.0).ln();
        let segment_len = (1u32 << (log / 3.33f64.ln() + 2.25).floor() as u32).min(LONGEST_SEGMENT);
        let factor = (0.875 + 0.25 * 1e6f64.ln() / log).max(1.125);
        let capacity = (keys * factor).round() as u64;
        let segments = capacity
            .div_ceil(u64::from(segment_len))
            .saturating_sub(ARITY_MINUS_ONE)
            .max(1);
        Self { segments, segment_len }
    }

    fn slots(self) -> Option<u64> {
        self.segments
            .checked_add(ARITY_MINUS_ONE)?
            .checked_mul(u64::from(self.segment_len))
    }

    #[inline(always)]
    fn positions(self, hash: u64) -> [usize; 3] {
        let len = u64::from(self.segment_len);
        let mask = len - 1;
        let first = reduce(hash, self.segments * len);
        let second = (first + len) ^ (hash >> 18 & mask);
        let third = (first + 2 * len) ^ (hash & mask);
        [first as usize, second as usize, third as usize]
    }
}

#[inline(always)]
fn fingerprint(hash: u64) -> u8 {
    (hash ^ hash >> 32) as u8
}

fn build(hashes: &[u64], bits_per_key: f64) -> Option<Vec<u8>> {
    if hashes.is_empty() || no_bits(bits_per_key) {
        return None;
    }
    let mut keys = Vec::with_capacity(hashes.len());
    // Each seed fails with a probability of a few percent at most.
    (0..=u8::MAX).find_map(|seed| {
        keys.clear();
        keys.extend(hashes.iter().map(|&hash| reseed(hash, seed)));
        // In order, so that neighbours in the array are worked on together; without repetitions, which no peeling removes.
        keys.sort_unstable();
        keys.dedup();
        let shape = Shape::of(keys.len());
        let mut out = assign(&keys, shape)?;
        let trailer = Trailer {
            units: shape.segments,
            extra: shape.segment_len,
            width: 8,
            seed,
        };
        trailer.append(Kind::BinaryFuse, &mut out);
        Some(out)
    })
}

/// A slot while keys are peeled off: which keys own it.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// The exclusive or of their hashes; of the only one, its hash.
    hashes: u64,
    /// How many they are.
    count: u32,
    /// The exclusive or of which of their three slots it is.
    which: u32,
}

/// The fingerprint array for distinct `keys`; `None` if they cannot be peeled.
fn assign(keys: &[u64], shape: Shape) -> Option<Vec<u8>> {
    let mut slots = vec![Slot::default(); usize::try_from(shape.slots()?).ok()?];
    for &key in keys {
        for (which, position) in (0u32..).zip(shape.positions(key)) {
            let slot = &mut slots[position];
            slot.hashes ^= key;
            slot.count += 1;
            slot.which ^= which;
        }
    }
    let mut lone: Vec<usize> = (0..slots.len())
        .filter(|&position| slots[position].count == 1)
        .collect();
    let mut peeled: Vec<(u64, u32)> = Vec::with_capacity(keys.len());
    while let Some(position) = lone.pop() {
        let Slot {
            hashes: key,
            count: 1,
            which,
        } = slots[position]
        else {
            continue;
        };
        peeled.push((key, which));
        for (index, position) in (0u32..).zip(shape.positions(key)) {
            let slot = &mut slots[position];
            slot.hashes ^= key;
            slot.count -= 1;
            slot.which ^= index;
            if slot.count == 1 {
                lone.push(position);
            }
        }
    }
    if peeled.len() < keys.len() {
        return None;
    }
    let mut fingerprints = vec![0u8; slots.len()];
    // The last key peeled shares none of its free slot with those before it, so it is assigned first.
    for &(key, which) in peeled.iter().rev() {
        let positions = shape.positions(key);
        let others = positions
            .iter()
            .fold(fingerprint(key), |sum, &position| sum ^ fingerprints[position]);
        // The slot itself is still 0.
        fingerprints[positions[which as usize]] = others;
    }
    Some(fingerprints)
}

#[derive(Debug)]
struct BinaryFuse {
    fingerprints: Buffer,
    shape: Shape,
    seed: u8,
}

impl BinaryFuse {
    fn open(bytes: &Buffer) -> Result<Self> {
        let (
            fingerprints,
            Trailer {
                units,
                extra,
                width,
                seed,
            },
        ) = Trailer::split(Kind::BinaryFuse, bytes)?;
        let shape = Shape {
            segments: units,
            segment_len: extra,
        };
        let valid = units > 0 && extra.is_power_of_two() && extra <= LONGEST_SEGMENT && width == 8;
        if !valid || shape.slots() != Some(fingerprints.len() as u64) {
            let message = format!(
                "malformed: {units} segments of {extra} slots in {} bytes",
                fingerprints.len()
            );
            return Err(damaged(&message));
        }
        Ok(Self {
            fingerprints,
            shape,
            seed,
        })
    }
}

impl Filter for BinaryFuse {
    #[inline]
    fn may_contain(&self, hash: u64) -> bool {
        let fingerprints = self.fingerprints.as_slice();
        let hash = reseed(hash, self.seed);
        let [first, second, third] = self.shape.positions(hash);
        fingerprint(hash) == fingerprints[first] ^ fingerprints[second] ^ fingerprints[third]
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.fingerprints.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_keys_take_nine_bits_each() {
        let slots = Shape::of(1_000_000).slots().expect("they fit");
        assert!((1_125_000..1_140_000).contains(&slots), "{slots}");
    }

    #[test]
    fn the_serialised_form_is_as_documented() {
        let bytes = build(&[0, 1, u64::MAX, 0x0123_4567_89AB_CDEF], 9.0).expect("there are keys");
        assert_eq!(
            crate::tests::hex(&bytes),
            "000000002f00000000000054000000000000009f00df000001000000000000000800000008000104"
        );
    }
}
