//! DELTA_BINARY_PACKED: integers as differences, in blocks of 128 values of four miniblocks of 32.
//!
//! Used for lengths of byte arrays and for integers of 8 and 16 bits. Equal neighbours cost five bytes per 128 values, and
//! decode without touching a bit.

use super::thrift::{Reader, put_varint, zigzag};

/// Values to a block.
const BLOCK: usize = 128;
/// Miniblocks to a block, each with a bit width of its own.
const MINIS: usize = 4;
/// Values to a miniblock.
const MINI: usize = BLOCK / MINIS;
/// The widest difference of 32-bit values.
const MAX_WIDTH: usize = 32;

/// Appends `values`, of which there are `count`; each fits in 32 bits.
pub(super) fn encode(count: usize, mut values: impl Iterator<Item = i64>, out: &mut Vec<u8>) {
    put_varint(out, BLOCK as u64);
    put_varint(out, MINIS as u64);
    put_varint(out, count as u64);
    let mut previous = values.next().unwrap_or(0);
    put_varint(out, zigzag(previous));
    let mut deltas = [0i64; BLOCK];
    let mut filled = 0;
    for value in values {
        deltas[filled] = value - previous;
        previous = value;
        filled += 1;
        if filled == BLOCK {
            encode_block(&mut deltas, filled, out);
            filled = 0;
        }
    }
    if filled > 0 {
        encode_block(&mut deltas, filled, out);
    }
}

fn encode_block(deltas: &mut [i64; BLOCK], filled: usize, out: &mut Vec<u8>) {
    let min = deltas[..filled].iter().copied().min().unwrap_or(0);
    // Padding takes no bits of its own.
    deltas[filled..].fill(min);
    put_varint(out, zigzag(min));
    let mut widths = [0usize; MINIS];
    for (width, mini) in widths.iter_mut().zip(deltas.chunks_exact(MINI)) {
        let all = mini.iter().fold(0u64, |all, delta| all | (delta - min) as u64);
        *width = 64 - all.leading_zeros() as usize;
        out.push(*width as u8);
    }
    let used = filled.div_ceil(MINI);
    for (width, mini) in widths.iter().zip(deltas.chunks_exact(MINI)).take(used) {
        if *width > 0 {
            pack(mini, min, *width, out);
        }
    }
}

/// Appends the low `width` bits of each difference, least significant first: 32 of them fill whole 32-bit words.
fn pack(mini: &[i64], min: i64, width: usize, out: &mut Vec<u8>) {
    let (mut word, mut bits) = (0u64, 0);
    for delta in mini {
        word |= ((delta - min) as u64) << bits;
        bits += width;
        if bits >= 32 {
            out.extend_from_slice(&(word as u32).to_le_bytes());
            word >>= 32;
            bits -= 32;
        }
    }
}

/// Some of the values of a page, one after the other.
pub(super) enum Values<'a> {
    /// Each.
    Each(&'a [i32]),
    /// One, so often.
    Same(i32, usize),
}

/// Hands `count` values to `push`, some at a time, and returns how many bytes they took; `None` if the bytes are not what
/// [`encode`] writes for that many values. What was pushed before a `None` means nothing. Sums wrap around, as Parquet has it for
/// values of 32 bits.
#[inline]
pub(super) fn decode(bytes: &[u8], count: usize, mut push: impl FnMut(Values<'_>)) -> Option<usize> {
    let mut reader = Reader::new(bytes);
    let head = (reader.varint()?, reader.varint()?, reader.varint()?);
    if head != (BLOCK as u64, MINIS as u64, count as u64) {
        return None;
    }
    let mut value = i32::try_from(reader.int()?).ok()?;
    if count == 0 {
        return Some(reader.position());
    }
    // The last value, which was not handed on, as often as it came.
    let mut same = 1;
    let mut left = count - 1;
    let mut at = reader.position();
    while left > 0 {
        let mut head = Reader::new(bytes.get(at..)?);
        // The low bits of a difference are all that sums need of it.
        let min = head.int()? as i32;
        at += head.position();
        let widths: [u8; MINIS] = *bytes.get(at..)?.first_chunk()?;
        at += MINIS;
        let now = left.min(BLOCK);
        if widths == [0; MINIS] && min == 0 {
            same += now;
            left -= now;
            continue;
        }
        if same > 0 {
            push(Values::Same(value, std::mem::take(&mut same)));
        }
        if widths == [0; MINIS] {
            // Differences are all alike: no bits follow.
            let first = value;
            let values: [i32; BLOCK] =
                std::array::from_fn(|place| first.wrapping_add(min.wrapping_mul(place as i32 + 1)));
            value = values[BLOCK - 1];
            push(Values::Each(&values[..now]));
            left -= now;
            continue;
        }
        for width in widths {
            if left == 0 {
                break;
            }
            let packed = bytes.get(at..at + usize::from(width) * MINI / 8)?;
            at += packed.len();
            let now = left.min(MINI);
            let mut values = unpack(packed, width)?;
            for next in &mut values {
                value = value.wrapping_add(min).wrapping_add(*next);
                *next = value;
            }
            push(Values::Each(&values[..now]));
            left -= now;
        }
    }
    // What fills up the last miniblock is no value.
    if same > 0 {
        push(Values::Same(value, same));
    }
    Some(at)
}

/// A miniblock's values of `width` bits; `None` if they are wider than any.
#[inline]
fn unpack(packed: &[u8], width: u8) -> Option<[i32; MINI]> {
    // A function for each width, in which all shifts are known beforehand.
    macro_rules! of_widths {
        ($($width:literal)*) => {
            match width {
                0 => Some([0; MINI]),
                $($width => packed.first_chunk().map(unpack_of::<$width, { $width * MINI / 8 }>),)*
                _ => None,
            }
        };
    }
    of_widths!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32)
}

/// Values of `W` bits, which take `B` bytes together.
fn unpack_of<const W: usize, const B: usize>(packed: &[u8; B]) -> [i32; MINI] {
    // Padded, so that each value can be cut from a word of eight bytes.
    let mut bytes = [0; MAX_WIDTH * MINI / 8 + 8];
    bytes[..B].copy_from_slice(packed);
    std::array::from_fn(|place| {
        let bit = place * W;
        let word = bytes[bit >> 3..]
            .first_chunk()
            .map_or(0, |chunk| u64::from_le_bytes(*chunk));
        (word >> (bit & 7) & ((1 << W) - 1)) as i32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(values: &[i64]) -> usize {
        let mut out = Vec::new();
        encode(values.len(), values.iter().copied(), &mut out);
        let len = out.len();
        // Bytes that follow are no business of the decoder's.
        out.extend_from_slice(&[0xAB; 3]);
        let mut decoded = Vec::new();
        assert_eq!(
            decode(&out, values.len(), |values| match values {
                Values::Each(values) => decoded.extend(values.iter().copied().map(i64::from)),
                Values::Same(value, times) => {
                    assert_ne!(times, 0);
                    decoded.extend(std::iter::repeat_n(i64::from(value), times));
                }
            }),
            Some(len)
        );
        assert_eq!(decoded, values);
        for cut in 0..len {
            decode(&out[..cut], values.len(), |_| ());
        }
        len
    }

    #[test]
    fn values_of_every_width_and_count_read_back() {
        for count in [0, 1, 2, 31, 32, 33, 128, 129, 130, 161, 400] {
            for width in 0..32u32 {
                let mut state = u64::from(width) + 1;
                let values: Vec<i64> = (0..count)
                    .map(|_| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        ((state >> 33) & ((1 << width) - 1)) as i64
                    })
                    .collect();
                round(&values);
            }
        }
        round(&[i64::from(i32::MIN), 0, -1, 1, i64::from(i32::MIN) + 5]);
        // Runs that begin and end anywhere, at a page's ends too.
        let runs = |lens: &[usize]| -> Vec<i64> {
            let runs = lens.iter().enumerate();
            runs.flat_map(|(value, &len)| std::iter::repeat_n(value as i64 * 7, len))
                .collect()
        };
        for lens in [
            &[400][..],
            &[1, 300],
            &[129, 300],
            &[300, 1],
            &[257, 128, 128, 3],
            &[1, 1, 1, 390, 2],
        ] {
            round(&runs(lens));
        }
    }

    #[test]
    fn equal_values_cost_five_bytes_a_block() {
        assert_eq!(round(&[16; 1 + 128 * 3]), 2 + 1 + 2 + 1 + 5 * 3);
    }

    #[test]
    fn another_count_or_block_size_is_refused() {
        let mut out = Vec::new();
        encode(3, [1, 2, 3].into_iter(), &mut out);
        assert_eq!(decode(&out, 4, |_| ()), None);
        out[0] ^= 1;
        assert_eq!(decode(&out, 3, |_| ()), None);
    }
}
