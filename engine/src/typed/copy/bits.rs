//! Bits copied stretch by stretch.

use arrow::buffer::{BooleanBuffer, Buffer};

/// Bits that are put together, a word at a time.
#[derive(Debug)]
pub struct Bits {
    words: Vec<u64>,
    /// Those that fill no word yet, the first lowest.
    rest: u64,
    len: usize,
}

impl Bits {
    /// None yet, and room for some.
    pub fn with_capacity(bits: usize) -> Self {
        Self {
            words: Vec::with_capacity(bits / 64 + 1),
            rest: 0,
            len: 0,
        }
    }

    /// Appends the lowest `count` bits of `bits`, at most 64; the others are zero.
    #[inline]
    fn push(&mut self, bits: u64, count: usize) {
        let at = self.len % 64;
        self.rest |= bits << at;
        self.len += count;
        if at + count >= 64 {
            self.words.push(self.rest);
            self.rest = if at == 0 { 0 } else { bits >> (64 - at) };
        }
    }

    /// Appends bits `from..to` of `source`.
    pub fn extend(&mut self, source: &BooleanBuffer, from: usize, to: usize) {
        let (bytes, mut from, to) = (source.values(), source.offset() + from, source.offset() + to);
        while from < to {
            let count = (to - from).min(57);
            self.push(load(bytes, from) & mask(count), count);
            from += count;
        }
    }

    /// Appends ones.
    pub fn extend_ones(&mut self, mut count: usize) {
        while count > 0 {
            let some = count.min(64);
            self.push(mask(some), some);
            count -= some;
        }
    }

    /// Changes a bit that is there.
    #[inline]
    pub fn set(&mut self, at: usize, bit: bool) {
        let word = match self.words.get_mut(at / 64) {
            Some(word) => word,
            None => &mut self.rest,
        };
        let place = at % 64;
        *word = *word & !(1 << place) | u64::from(bit) << place;
    }

    /// All of them.
    pub fn finish(mut self) -> BooleanBuffer {
        if !self.len.is_multiple_of(64) {
            self.words.push(self.rest);
        }
        let bytes = Buffer::from_vec(self.words).slice_with_length(0, self.len.div_ceil(8));
        BooleanBuffer::new(bytes, 0, self.len)
    }
}

#[inline]
fn mask(count: usize) -> u64 {
    u64::MAX >> (64 - count)
}

/// At least 57 bits from `at` on; those beyond the end are zero.
#[inline]
fn load(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at / 8..).unwrap_or_default();
    let word = match rest.first_chunk::<8>() {
        Some(word) => u64::from_le_bytes(*word),
        None => {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            u64::from_le_bytes(word)
        }
    };
    word >> (at % 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_out_as_they_went_in() {
        let bit = |n: usize| n * n % 7 < 3;
        let all: BooleanBuffer = (0..500).map(bit).collect();
        let cut = all.slice(3, 490);
        for step in [1usize, 2, 7, 8, 56, 57, 58, 63, 64, 65, 130] {
            let (mut bits, mut expected) = (Bits::with_capacity(1000), Vec::new());
            for from in (0..360).step_by(step) {
                bits.extend(&cut, from, from + step);
                expected.extend((from..from + step).map(|n| bit(n + 3)));
                bits.extend_ones(step % 5);
                expected.extend(vec![true; step % 5]);
            }
            for at in (0..expected.len()).step_by(3) {
                expected[at] = bit(at);
                bits.set(at, bit(at));
            }
            assert_eq!(bits.finish(), BooleanBuffer::from(expected), "{step}");
        }
        assert_eq!(Bits::with_capacity(0).finish(), BooleanBuffer::new_set(0));
    }
}
