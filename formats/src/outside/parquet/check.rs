//! What a page's values claim, checked before the decoder believes it.

use parquet::basic::{Encoding, Type};

use crate::parquet::thrift::{Reader, unzigzag};

/// Bytes that the values of a page may have once prefixes are put before them.
const MAX_EXPANDED: u64 = 256 << 20;

/// True if decoding `values` values of a page takes memory in proportion to its bytes and `values`.
pub(super) fn is_bounded(encoding: Encoding, physical: Type, values: usize, bytes: &[u8]) -> bool {
    // Without any value, the crate looks no further.
    if bytes.is_empty() {
        return true;
    }
    match encoding {
        Encoding::DELTA_BINARY_PACKED | Encoding::DELTA_LENGTH_BYTE_ARRAY => {
            Delta::open(bytes).is_some_and(|delta| delta.count <= values)
        }
        Encoding::DELTA_BYTE_ARRAY => expanded(bytes, values).is_some_and(|total| total <= MAX_EXPANDED),
        Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY => bytes[0] <= 32 && physical != Type::BOOLEAN,
        _ => true,
    }
}

/// Bytes of all values of a page that shares beginnings; `None` if it is not what it should be.
fn expanded(bytes: &[u8], values: usize) -> Option<u64> {
    let mut prefixes = Delta::open(bytes)?;
    if prefixes.count > values {
        return None;
    }
    let mut total = 0u64;
    prefixes.each(|prefix| total = total.saturating_add(u64::from(prefix as u32)))?;
    let suffixes = Delta::open(bytes.get(prefixes.end..)?)?;
    // The suffixes lie in the page, one after the other.
    (suffixes.count == prefixes.count).then(|| total.saturating_add(bytes.len() as u64))
}

/// Integers as differences, in blocks of any size.
struct Delta<'a> {
    bytes: &'a [u8],
    minis: usize,
    /// Values to a miniblock.
    mini: usize,
    count: usize,
    first: i64,
    /// Where the next block begins, and in the end what follows the last one.
    end: usize,
}

impl<'a> Delta<'a> {
    fn open(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let mut number = || reader.varint().and_then(|number| usize::try_from(number).ok());
        let (block, minis, count) = (number()?, number()?, number()?);
        let first = unzigzag(reader.varint()?);
        if minis == 0 || block == 0 || block > 1 << 24 || !block.is_multiple_of(128) || !block.is_multiple_of(minis) {
            return None;
        }
        let mini = block / minis;
        mini.is_multiple_of(32).then(|| Self {
            bytes,
            minis,
            mini,
            count,
            first,
            end: reader.position(),
        })
    }

    /// Hands over each value as the crate decodes it, in 32 bits.
    fn each(&mut self, mut push: impl FnMut(i32)) -> Option<()> {
        if self.count == 0 {
            return Some(());
        }
        let mut value = self.first as i32;
        push(value);
        let mut left = self.count - 1;
        while left > 0 {
            let mut reader = Reader::new(self.bytes.get(self.end..)?);
            let min = unzigzag(reader.varint()?) as i32;
            let widths = reader.bytes(self.minis)?;
            let mut at = self.end + reader.position();
            for &width in widths {
                if left == 0 {
                    break;
                }
                let width = usize::from(width);
                if width > 32 {
                    return None;
                }
                let packed = self.bytes.get(at..(at + width * self.mini / 8).min(self.bytes.len()))?;
                for index in 0..self.mini.min(left) {
                    let delta = bits(packed, index * width, width)?;
                    value = value.wrapping_add(min).wrapping_add(delta as i32);
                    push(value);
                }
                left -= self.mini.min(left);
                at += width * self.mini / 8;
            }
            self.end = at;
        }
        Some(())
    }
}

/// `width` bits from bit `at`, the lowest first.
fn bits(bytes: &[u8], at: usize, width: usize) -> Option<u32> {
    if width == 0 {
        return Some(0);
    }
    let rest = bytes.get(at / 8..(at + width).div_ceil(8))?;
    let mut word = [0; 8];
    word[..rest.len()].copy_from_slice(rest);
    let word = u64::from_le_bytes(word) >> (at % 8);
    Some((word & ((1u64 << width) - 1)) as u32)
}
