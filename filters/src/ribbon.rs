//! The standard ribbon filter (Dillinger, Walzer, "Ribbon filter: practically smaller than Bloom and Xor", 2021), with 128-bit
//! ribbons and interleaved columns, so that any number of bits per key can be asked for.
//!
//! Each key is a linear equation over bits: 128 random coefficients from a start slot on, and a random result of r bits.
//! The filter is a solution; a key that was not among them fits it with probability 2^-r.

use arrow::buffer::Buffer;
use kodiak_core::Result;
use kodiak_core::filter::{Filter, FilterCapabilities, FilterFactory};
use kodiak_core::registry::Component;

use crate::trailer::{Kind, Trailer, damaged, no_bits, reduce, remix, reseed, total_bits};

/// The ribbon filter.
pub(crate) const FACTORY: FilterFactory = FilterFactory {
    component: Component {
        name: "ribbon",
        summary: "The fewest bits for a false positive rate, a quarter less than Bloom, for slower building and probing.",
        options: &[],
    },
    capabilities: FilterCapabilities {
        adjustable_bits: true,
        typical_bits_per_key: 7.5,
        cache_lines_per_probe: "2 to 5",
    },
    build: |_, hashes, bits_per_key| Ok(build(hashes, bits_per_key)),
    open: |bytes| Ok(Box::new(Ribbon::open(&bytes)?)),
    false_positive_rate,
};

/// Slots of a block, and coefficients of an equation.
const WIDTH: u64 = 128;
/// Bytes of one column of a block.
const COLUMN: usize = 16;
/// Result bits of a key at most.
const MOST_COLUMNS: u8 = 32;
/// Up to this many blocks, at most about a kilobyte, room is not counted.
const FEW_BLOCKS: u64 = 8;
/// Slots for each key that the prediction reckons with.
const USUAL_OVERHEAD: f64 = 1.06;

fn false_positive_rate(bits_per_key: f64) -> f64 {
    if no_bits(bits_per_key) {
        return 1.0;
    }
    let columns = (bits_per_key / USUAL_OVERHEAD).min(f64::from(MOST_COLUMNS));
    let share = columns.fract();
    // Some blocks have a column more than the others.
    0.5f64.powi(columns as i32) * (1.0 - share / 2.0)
}

/// The equation of one key.
struct Equation {
    start: u64,
    coefficients: u128,
    result: u32,
}

impl Equation {
    /// That of a hash made of a key's and of a seed; the larger it is, the later the equation begins.
    #[inline(always)]
    fn of(hash: u64, starts: u64) -> Self {
        let low = remix(hash);
        let high = remix(low);
        Self {
            start: reduce(hash, starts),
            // The first coefficient is always 1, so that equations are ordered by where they begin.
            coefficients: u128::from(high) << 64 | u128::from(low) | 1,
            result: (hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32 ^ high as u32,
        }
    }
}

/// How many columns the blocks have: `low`, and one more from block `split` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    blocks: u64,
    split: u64,
    low: u8,
}

impl Layout {
    /// As many columns as `bits` pay for. Filters of few blocks, which are half empty, get what `bits_per_key` promise.
    fn of(blocks: u64, bits: u64, bits_per_key: f64) -> Self {
        let promised = if blocks <= FEW_BLOCKS {
            (bits_per_key / USUAL_OVERHEAD).round() as u64 * blocks
        } else {
            0
        };
        let columns = (bits / WIDTH)
            .max(promised)
            .clamp(1, blocks.saturating_mul(u64::from(MOST_COLUMNS)));
        let low = columns / blocks;
        Self {
            blocks,
            split: blocks - columns % blocks,
            low: low as u8,
        }
    }

    fn columns(self, block: u64) -> u8 {
        self.low + u8::from(block >= self.split)
    }

    /// Index of a block's first column.
    #[inline(always)]
    fn offset(self, block: u64) -> u64 {
        block * u64::from(self.low) + block.saturating_sub(self.split)
    }

    fn starts(self) -> u64 {
        self.blocks * WIDTH - (WIDTH - 1)
    }
}

fn build(hashes: &[u64], bits_per_key: f64) -> Option<Vec<u8>> {
    let bits = total_bits(hashes.len(), bits_per_key)?;
    let keys = hashes.len() as f64;
    // A seed succeeds about every other time at this many slots; then a little more room is given.
    let mut slots = keys * (1.01 + 0.0025 * keys.log2());
    let mut seeded = Vec::with_capacity(hashes.len());
    (0..=u8::MAX).find_map(|seed| {
        // In order of their starts elimination stays in the cache.
        seeded.clear();
        seeded.extend(hashes.iter().map(|&hash| reseed(hash, seed)));
        seeded.sort_unstable();
        seeded.dedup();
        let blocks = (slots as u64 + WIDTH / 2).div_ceil(WIDTH).max(1);
        slots *= 1.0 + 0.01 * f64::from(seed % 2);
        let layout = Layout::of(blocks, bits, bits_per_key);
        let solution = solve(&seeded, layout)?;
        let mut out = Vec::with_capacity(solution.len() * COLUMN + 16);
        out.extend(solution.into_iter().flat_map(u128::to_le_bytes));
        let trailer = Trailer {
            units: layout.blocks,
            extra: layout.split as u32,
            width: layout.low,
            seed,
        };
        trailer.append(Kind::Ribbon, &mut out);
        Some(out)
    })
}

/// The columns of all blocks, for hashes made with a seed, ascending; `None` if two equations contradict each other. They are a function of
/// the set: which slots equations begin with in the end does not depend on their order.
fn solve(hashes: &[u64], layout: Layout) -> Option<Vec<u128>> {
    let slots = usize::try_from(layout.blocks * WIDTH).ok()?;
    u32::try_from(layout.blocks).ok()?;
    let most = layout.columns(layout.blocks - 1);
    let mask = (1u64 << most).wrapping_sub(1) as u32;
    // Apart, since together they would take half as much memory again for nothing.
    let (mut rows, mut results) = (vec![0u128; slots], vec![0u32; slots]);
    for &hash in hashes {
        let Equation {
            start,
            mut coefficients,
            mut result,
        } = Equation::of(hash, layout.starts());
        let mut slot = start as usize;
        loop {
            if rows[slot] == 0 {
                (rows[slot], results[slot]) = (coefficients, result);
                break;
            }
            coefficients ^= rows[slot];
            result ^= results[slot];
            if coefficients == 0 {
                if result & mask != 0 {
                    return None;
                }
                // The same key again.
                break;
            }
            let shift = coefficients.trailing_zeros();
            coefficients >>= shift;
            slot += shift as usize;
        }
    }
    let mut solution = vec![0u128; usize::try_from(layout.offset(layout.blocks)).ok()?];
    // For each column the solution of the 128 slots from the current one on, the current one lowest.
    let mut window = [0u128; MOST_COLUMNS as usize];
    for slot in (0..slots).rev() {
        let (coefficients, result) = (rows[slot], results[slot]);
        for (column, window) in window[..usize::from(most)].iter_mut().enumerate() {
            *window <<= 1;
            let bit = parity(coefficients & *window) ^ (result >> column & 1);
            // A slot that no equation begins with is free: 0.
            *window |= u128::from(bit & u32::from(coefficients != 0));
        }
        if (slot as u64).is_multiple_of(WIDTH) {
            let block = slot as u64 / WIDTH;
            let (start, columns) = (layout.offset(block) as usize, usize::from(layout.columns(block)));
            solution[start..start + columns].copy_from_slice(&window[..columns]);
        }
    }
    Some(solution)
}

/// 1 if an odd number of bits is set. By folding, because not every processor counts bits in one instruction.
#[inline(always)]
fn parity(bits: u128) -> u32 {
    let bits = bits as u64 ^ (bits >> 64) as u64;
    let bits = bits as u32 ^ (bits >> 32) as u32;
    let bits = bits ^ bits >> 16;
    let bits = bits ^ bits >> 8;
    let bits = bits ^ bits >> 4;
    // The parities of all four-bit numbers.
    0x6996 >> (bits & 15) & 1
}

#[derive(Debug)]
struct Ribbon {
    columns: Buffer,
    layout: Layout,
    seed: u8,
}

impl Ribbon {
    fn open(bytes: &Buffer) -> Result<Self> {
        let (
            columns,
            Trailer {
                units: blocks,
                extra: split,
                width: low,
                seed,
            },
        ) = Trailer::split(Kind::Ribbon, bytes)?;
        let layout = Layout {
            blocks,
            split: u64::from(split),
            low,
        };
        // Blocks of a number that fits 32 bits: no product below can overflow.
        let valid = (1..=u64::from(u32::MAX)).contains(&blocks)
            && layout.split <= blocks
            && low <= MOST_COLUMNS
            && (low < MOST_COLUMNS || layout.split == blocks);
        if !valid || layout.offset(blocks) * COLUMN as u64 != columns.len() as u64 {
            let message = format!("malformed: {blocks} blocks of {low} columns in {} bytes", columns.len());
            return Err(damaged(&message));
        }
        Ok(Self { columns, layout, seed })
    }
}

impl Filter for Ribbon {
    #[inline]
    fn may_contain(&self, hash: u64) -> bool {
        let Equation {
            start,
            coefficients,
            result,
        } = Equation::of(reseed(hash, self.seed), self.layout.starts());
        let (block, shift) = (start / WIDTH, (start % WIDTH) as u32);
        let columns = usize::from(self.layout.columns(block));
        // The coefficients that fall into this block, and those that fall into the next; in the last block there are none.
        let (here, beyond) = (coefficients << shift, coefficients >> 1 >> (WIDTH as u32 - 1 - shift));
        let next = (block + 1).min(self.layout.blocks - 1);
        let (words, _) = self.columns.as_slice().as_chunks::<COLUMN>();
        let first = &words[self.layout.offset(block) as usize..][..columns];
        let second = &words[self.layout.offset(next) as usize..][..columns];
        let wrong = |column: usize| {
            let sum = (u128::from_le_bytes(first[column]) & here) ^ (u128::from_le_bytes(second[column]) & beyond);
            parity(sum) ^ (result >> column & 1)
        };
        // Four columns for each branch: an absent key is found out by them 15 times of 16, so the branch is foreseen.
        let mut column = 0;
        while column + 4 <= columns {
            if wrong(column) | wrong(column + 1) | wrong(column + 2) | wrong(column + 3) != 0 {
                return false;
            }
            column += 4;
        }
        (column..columns).fold(0, |sum, column| sum | wrong(column)) == 0
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.columns.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_between_two_whole_numbers_of_columns_are_used() {
        let layout = Layout::of(100, 100 * WIDTH * 7 + 50 * WIDTH, 7.0);
        assert_eq!((layout.low, layout.split, layout.offset(100)), (7, 50, 750));
    }

    #[test]
    fn slots_are_few_percent_more_than_keys() {
        for keys in [1_000, 50_000] {
            let hashes: Vec<u64> = (0..keys).map(|key| remix(key ^ 0x5555)).collect();
            let bytes = build(&hashes, 8.0).expect("there are keys");
            let (_, trailer) = Trailer::split(Kind::Ribbon, &Buffer::from_vec(bytes)).expect("valid");
            let overhead = (trailer.units * WIDTH) as f64 / keys as f64;
            assert!(overhead < 1.16, "{overhead} slots for each of {keys} keys");
        }
    }

    #[test]
    fn the_serialised_form_is_as_documented() {
        let bytes = build(&[0, 1, u64::MAX, 0x0123_4567_89AB_CDEF], 7.5).expect("there are keys");
        let expected = concat!(
            "020000000000000000000000000000000b010000000000000000000000000000",
            "0100000000000000000000000000000003010000000000000000000000000000",
            "0b00000000000000000000000000000000010000000000000000000000000000",
            "0b01000000000000000000000000000001000000000000000100000007000103",
        );
        assert_eq!(crate::tests::hex(&bytes), expected);
    }
}
