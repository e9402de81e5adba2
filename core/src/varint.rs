//! LEB128 variable-length integers and length-prefixed bytes, as used by the log, the manifest and the sidecar.

use crate::{Error, Result};

/// Appends `value`, seven bits a byte, lowest first.
#[inline]
pub fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The bytes that [`put_u64`] appends.
#[inline]
pub fn len_u64(value: u64) -> usize {
    (u64::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// Appends the length of `bytes`, then the bytes.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads values one after the other from bytes whose checksum has been verified.
///
/// # Errors
/// Every read fails with `Corruption` when the bytes end too early or a number is malformed; nothing is allocated.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    start: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            start: bytes.len(),
        }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.start - self.bytes.len()
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// True when nothing is left.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    #[cold]
    fn short(&self, what: &str) -> Error {
        Error::corruption(format!("{what} is cut short or malformed at byte {}", self.position()))
    }

    /// The next `len` bytes.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        match self.bytes.split_at_checked(len) {
            Some((head, tail)) => {
                self.bytes = tail;
                Ok(head)
            }
            None => Err(self.short("a byte string")),
        }
    }

    /// The next byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// The next four bytes, little-endian.
    #[inline]
    pub fn u32_le(&mut self) -> Result<u32> {
        match self.bytes.split_first_chunk() {
            Some((head, tail)) => {
                self.bytes = tail;
                Ok(u32::from_le_bytes(*head))
            }
            None => Err(self.short("a 32-bit number")),
        }
    }

    /// The next eight bytes, little-endian.
    #[inline]
    pub fn u64_le(&mut self) -> Result<u64> {
        match self.bytes.split_first_chunk() {
            Some((head, tail)) => {
                self.bytes = tail;
                Ok(u64::from_le_bytes(*head))
            }
            None => Err(self.short("a 64-bit number")),
        }
    }

    /// The next variable-length integer.
    #[inline]
    pub fn u64(&mut self) -> Result<u64> {
        if let Some((&first, tail)) = self.bytes.split_first()
            && first < 0x80
        {
            self.bytes = tail;
            return Ok(u64::from(first));
        }
        self.long_u64()
    }

    fn long_u64(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for (index, &byte) in self.bytes.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7F);
            if index == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * index);
            if byte < 0x80 {
                self.bytes = &self.bytes[index + 1..];
                return Ok(value);
            }
        }
        Err(self.short("a variable-length number"))
    }

    /// The next variable-length integer as a length or count of at most `limit`.
    #[inline]
    pub fn len(&mut self, limit: usize) -> Result<usize> {
        let value = self.u64()?;
        match usize::try_from(value) {
            Ok(value) if value <= limit => Ok(value),
            _ => Err(Error::corruption(format!(
                "a length of {value} at byte {} is above the limit {limit}",
                self.position()
            ))),
        }
    }

    /// The next length-prefixed bytes.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.u64()?;
        match usize::try_from(len) {
            Ok(len) => self.take(len),
            Err(_) => Err(self.short("a byte string")),
        }
    }

    /// The next length-prefixed bytes as UTF-8.
    pub fn str(&mut self) -> Result<&'a str> {
        let position = self.position();
        std::str::from_utf8(self.bytes()?)
            .map_err(|error| Error::corruption(format!("text at byte {position} is not UTF-8")).with_source(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_at_every_width() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, (1u64 << shift) + 1, u64::MAX] {
                let mut out = Vec::new();
                put_u64(&mut out, value);
                let mut reader = Reader::new(&out);
                assert_eq!(reader.u64().ok(), Some(value));
                assert!(reader.is_empty());
                for cut in 0..out.len() {
                    assert!(Reader::new(&out[..cut]).u64().is_err());
                }
            }
        }
        assert!(Reader::new(&[0xFF; 10]).u64().is_err(), "more than 64 bits");
    }

    #[test]
    fn byte_strings_longer_than_the_input_are_refused() {
        let mut out = Vec::new();
        put_bytes(&mut out, b"hello");
        assert_eq!(Reader::new(&out).bytes().ok(), Some(&b"hello"[..]));
        assert!(Reader::new(&out[..4]).bytes().is_err());
        assert!(Reader::new(&[0xFF, 0xFF, 0xFF, 0xFF, 0x7F]).bytes().is_err());
    }
}
