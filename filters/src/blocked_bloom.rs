//! The blocked Bloom filter (Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", WEA 2007): each key has
//! all its bits in one block of 64 bytes, so that a probe touches one cache line.

use arrow::buffer::Buffer;
use kodiak_core::Result;
use kodiak_core::filter::{Filter, FilterCapabilities, FilterFactory};
use kodiak_core::registry::Component;

use crate::trailer::{Kind, Trailer, check_len, damaged, reduce, remix, total_bits};

/// The blocked Bloom filter.
pub(crate) const FACTORY: FilterFactory = FilterFactory {
    component: Component {
        name: "blocked-bloom",
        summary: "A Bloom filter with all bits of a key in one cache line: the fastest with any number of bits.",
        options: &[],
    },
    capabilities: FilterCapabilities {
        adjustable_bits: true,
        typical_bits_per_key: 10.0,
        cache_lines_per_probe: "1",
    },
    build: |_, hashes, bits_per_key| Ok(build(hashes, bits_per_key)),
    open: |bytes| Ok(Box::new(BlockedBloom::open(&bytes)?)),
    false_positive_rate: |bits_per_key| {
        if bits_per_key > 0.0 { best(bits_per_key).1 } else { 1.0 }
    },
};

/// Bytes of a block: a cache line.
const BLOCK: usize = 64;
/// Bits of a block; a bit's position takes nine bits of the hash.
const BLOCK_BITS: u32 = 512;
/// Two words of 63 usable bits give this many positions.
const MOST_PROBES: u8 = 14;

/// The number of probes with the lowest false positive rate, and that rate.
///
/// Keys fall into blocks by a Poisson distribution; the rate is the mean over blocks.
fn best(bits_per_key: f64) -> (u8, f64) {
    let mean = f64::from(BLOCK_BITS) / bits_per_key.min(64.0);
    // Weights relative to that of the mean, so that nothing underflows; eight deviations hold all that matters.
    let reach = 8.0 * mean.sqrt() + 8.0;
    let (low, middle, high) = ((mean - reach).max(0.0) as u32, mean as u32, (mean + reach) as u32);
    let mut weights = vec![1.0; (high - low + 1) as usize];
    for keys in middle + 1..=high {
        weights[(keys - low) as usize] = weights[(keys - 1 - low) as usize] * mean / f64::from(keys);
    }
    for keys in (low..middle).rev() {
        weights[(keys - low) as usize] = weights[(keys + 1 - low) as usize] * f64::from(keys + 1) / mean;
    }
    let total: f64 = weights.iter().sum();
    let rate = |probes: u8| {
        let unset = 1.0 - 1.0 / f64::from(BLOCK_BITS);
        let of_block = |keys: u32| (1.0 - unset.powi((keys * u32::from(probes)) as i32)).powi(i32::from(probes));
        weights
            .iter()
            .zip(low..)
            .map(|(weight, keys)| weight * of_block(keys))
            .sum::<f64>()
            / total
    };
    (1..=MOST_PROBES)
        .map(|probes| (probes, rate(probes)))
        .min_by(|left, right| left.1.total_cmp(&right.1))
        .unwrap_or((1, 1.0))
}

/// Calls `each` with the position of every bit of a key, until it returns false.
#[inline(always)]
fn positions(hash: u64, probes: u8, mut each: impl FnMut(usize, u8)) {
    let mut bits = remix(hash);
    for _ in 0..probes.min(7) {
        each((bits >> 3 & 63) as usize, 1 << (bits & 7));
        bits >>= 9;
    }
    if probes > 7 {
        bits = remix(hash.rotate_left(32));
        for _ in 7..probes {
            each((bits >> 3 & 63) as usize, 1 << (bits & 7));
            bits >>= 9;
        }
    }
}

fn build(hashes: &[u64], bits_per_key: f64) -> Option<Vec<u8>> {
    let blocks = total_bits(hashes.len(), bits_per_key)?.div_ceil(u64::from(BLOCK_BITS));
    let (probes, _) = best(bits_per_key);
    let mut out = vec![0u8; blocks as usize * BLOCK];
    let (lines, _) = out.as_chunks_mut::<BLOCK>();
    for &hash in hashes {
        let line = &mut lines[reduce(hash, blocks) as usize];
        positions(hash, probes, |byte, mask| line[byte] |= mask);
    }
    Trailer {
        units: blocks,
        extra: 0,
        width: probes,
        seed: 0,
    }
    .append(Kind::BlockedBloom, &mut out);
    Some(out)
}

#[derive(Debug)]
struct BlockedBloom {
    blocks: Buffer,
    probes: u8,
    /// The buffer is ours alone, not part of a larger one.
    copied: bool,
}

impl BlockedBloom {
    fn open(bytes: &Buffer) -> Result<Self> {
        let (
            blocks,
            Trailer {
                units,
                extra,
                width,
                seed,
            },
        ) = Trailer::split(Kind::BlockedBloom, bytes)?;
        check_len(&blocks, units, BLOCK as u64)?;
        if extra != 0 || seed != 0 || !(1..=MOST_PROBES).contains(&width) {
            return Err(damaged(&format!("malformed: {width} probes")));
        }
        // A block across two cache lines would cost twice as much for as long as the run lives; Arrow aligns copies.
        let copied = !(blocks.as_ptr() as usize).is_multiple_of(BLOCK);
        let blocks = if copied {
            Buffer::from(blocks.as_slice())
        } else {
            blocks
        };
        Ok(Self {
            blocks,
            probes: width,
            copied,
        })
    }
}

impl Filter for BlockedBloom {
    #[inline]
    fn may_contain(&self, hash: u64) -> bool {
        let (lines, _) = self.blocks.as_slice().as_chunks::<BLOCK>();
        let line = &lines[reduce(hash, lines.len() as u64) as usize];
        // Without a branch for each bit: the line is there, and a wrong guess costs more than the rest of the bits.
        let mut missing = 0;
        positions(hash, self.probes, |byte, mask| missing |= !line[byte] & mask);
        missing == 0
    }

    fn memory(&self) -> usize {
        size_of::<Self>()
            + if self.copied {
                self.blocks.capacity()
            } else {
                self.blocks.len()
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_bits_cost_little_more_than_in_a_plain_bloom_filter() {
        let (probes, rate) = best(10.0);
        assert!(
            (5..=7).contains(&probes) && (0.008..0.011).contains(&rate),
            "{probes} probes, {rate}"
        );
    }

    #[test]
    fn a_buffer_that_is_not_aligned_is_copied() {
        let bytes = build(&[1, 2, 3], 10.0).expect("there are keys");
        let shifted = Buffer::from([&[0], &bytes[..]].concat().as_slice()).slice(1);
        let filter = BlockedBloom::open(&shifted).expect("valid");
        assert!(filter.copied && filter.may_contain(2));
    }

    #[test]
    fn the_serialised_form_is_as_documented() {
        let hashes = [0, 1, u64::MAX, 0x0123_4567_89AB_CDEF];
        let bytes = build(&hashes, 10.0).expect("there are keys");
        let block = concat!(
            "8050400020002001000020002000000000000000801000000800040000900100",
            "0000000080000000001600000002000000000008001000000008000000004200",
        );
        assert_eq!(
            crate::tests::hex(&bytes),
            format!("{block}01000000000000000000000007000102")
        );
    }
}
