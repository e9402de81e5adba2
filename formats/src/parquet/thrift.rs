//! The little of Thrift's compact protocol that Parquet's structures need, reading within bounds and without allocating.
//!
//! The `parquet` crate has a decoder of its own, but it allocates what a hostile length asks for, and its page header
//! reader is private.

/// Nesting beyond this is refused when a value is skipped.
const MAX_DEPTH: usize = 16;

/// Type numbers of the compact protocol.
pub(crate) mod kind {
    pub const TRUE: u8 = 1;
    pub const FALSE: u8 = 2;
    pub const BYTE: u8 = 3;
    pub const I16: u8 = 4;
    pub const I32: u8 = 5;
    pub const I64: u8 = 6;
    pub const DOUBLE: u8 = 7;
    pub const BINARY: u8 = 8;
    pub const LIST: u8 = 9;
    pub const SET: u8 = 10;
    pub const MAP: u8 = 11;
    pub const STRUCT: u8 = 12;
}

/// Reads values one after the other; every method returns `None` where the bytes end early or make no sense.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.at
    }

    #[inline]
    pub fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    pub fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// An integer of 16, 32 or 64 bits.
    #[inline]
    pub fn int(&mut self) -> Option<i64> {
        self.varint().map(unzigzag)
    }

    /// A 32-bit integer that must not be negative.
    #[inline]
    pub fn size(&mut self) -> Option<usize> {
        i32::try_from(self.int()?)
            .ok()
            .and_then(|value| usize::try_from(value).ok())
    }

    pub fn binary(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        self.bytes(len)
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let bytes = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    /// The next field of a struct as `(id, type)`, or `Some(None)` at its end. `last` is the id of the field before, 0 at
    /// first.
    #[inline]
    pub fn field(&mut self, last: &mut i16) -> Option<Option<(i16, u8)>> {
        let head = self.byte()?;
        if head == 0 {
            return Some(None);
        }
        let delta = i16::from(head >> 4);
        let id = match delta {
            0 => i16::try_from(self.int()?).ok()?,
            _ => last.checked_add(delta)?,
        };
        *last = id;
        Some(Some((id, head & 0x0F)))
    }

    /// The head of a list as `(length, type of elements)`. No list is longer than the bytes that follow.
    pub fn list(&mut self) -> Option<(usize, u8)> {
        let head = self.byte()?;
        let len = match head >> 4 {
            15 => usize::try_from(self.varint()?).ok()?,
            len => usize::from(len),
        };
        (len <= self.bytes.len() - self.at).then_some((len, head & 0x0F))
    }

    /// Passes over a value of a field.
    pub fn skip(&mut self, kind: u8) -> Option<()> {
        self.skip_nested(kind, 0, false)
    }

    fn skip_nested(&mut self, kind: u8, depth: usize, element: bool) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match kind {
            // A boolean field is in its header; as an element it takes a byte.
            kind::TRUE | kind::FALSE if !element => Some(()),
            kind::TRUE | kind::FALSE | kind::BYTE => self.byte().map(|_| ()),
            kind::I16 | kind::I32 | kind::I64 => self.varint().map(|_| ()),
            kind::DOUBLE => {
                self.at = self.at.checked_add(8).filter(|&at| at <= self.bytes.len())?;
                Some(())
            }
            kind::BINARY => self.binary().map(|_| ()),
            kind::LIST | kind::SET => {
                let (len, of) = self.list()?;
                (0..len).try_for_each(|_| self.skip_nested(of, depth + 1, true))
            }
            kind::MAP => {
                let len = usize::try_from(self.varint()?).ok()?;
                if len == 0 {
                    return Some(());
                }
                let kinds = self.byte()?;
                if len > self.bytes.len() - self.at {
                    return None;
                }
                (0..len).try_for_each(|_| {
                    self.skip_nested(kinds >> 4, depth + 1, true)?;
                    self.skip_nested(kinds & 0x0F, depth + 1, true)
                })
            }
            kind::STRUCT => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip_nested(kind, depth + 1, false)?;
                }
                Some(())
            }
            _ => None,
        }
    }
}

/// Appends values; structs are written by their fields in ascending order of id.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    last: i16,
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, last: 0 }
    }

    fn head(&mut self, id: i16, kind: u8) {
        debug_assert!(id > self.last && id - self.last < 16, "fields ascend by less than 16");
        self.out.push(((id - self.last) as u8) << 4 | kind);
        self.last = id;
    }

    pub fn i32(&mut self, id: i16, value: i32) {
        self.head(id, kind::I32);
        put_varint(self.out, zigzag(i64::from(value)));
    }

    pub fn bool(&mut self, id: i16, value: bool) {
        self.head(id, if value { kind::TRUE } else { kind::FALSE });
    }

    /// A struct within this one, written by `fields`.
    pub fn nested(&mut self, id: i16, fields: impl FnOnce(&mut Writer<'_>)) {
        self.head(id, kind::STRUCT);
        self.element(fields);
    }

    /// A struct as an element of a list.
    pub fn element(&mut self, fields: impl FnOnce(&mut Writer<'_>)) {
        let mut inner = Writer::new(self.out);
        fields(&mut inner);
        inner.end();
    }

    /// The head of a list whose elements the caller writes next.
    pub fn list(&mut self, id: i16, len: usize, of: u8) {
        self.head(id, kind::LIST);
        if len < 15 {
            self.out.push((len as u8) << 4 | of);
        } else {
            self.out.push(0xF0 | of);
            put_varint(self.out, len as u64);
        }
    }

    /// A boolean as an element of a list.
    pub fn bool_element(&mut self, value: bool) {
        self.out.push(if value { kind::TRUE } else { kind::FALSE });
    }

    /// A 64-bit integer as an element of a list.
    pub fn i64_element(&mut self, value: i64) {
        put_varint(self.out, zigzag(value));
    }

    /// Bytes as an element of a list.
    pub fn binary_element(&mut self, bytes: &[u8]) {
        put_varint(self.out, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    pub fn i64(&mut self, id: i16, value: i64) {
        self.head(id, kind::I64);
        put_varint(self.out, zigzag(value));
    }

    /// Ends the struct.
    pub fn end(self) {
        self.out.push(0);
    }
}

/// Appends an unsigned LEB128 number.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struct_reads_back_and_unknown_fields_are_skipped() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.i32(1, -7);
        writer.nested(3, |inner| {
            inner.bool(1, true);
            inner.list(2, 20, kind::I64);
            (0..20).for_each(|value| inner.i64_element(value));
        });
        writer.i64(9, i64::MIN);
        writer.end();

        let mut reader = Reader::new(&out);
        let mut last = 0;
        assert_eq!(reader.field(&mut last), Some(Some((1, kind::I32))));
        assert_eq!(reader.int(), Some(-7));
        assert_eq!(reader.field(&mut last), Some(Some((3, kind::STRUCT))));
        assert_eq!(reader.skip(kind::STRUCT), Some(()));
        assert_eq!(reader.field(&mut last), Some(Some((9, kind::I64))));
        assert_eq!(reader.int(), Some(i64::MIN));
        assert_eq!(reader.field(&mut last), Some(None));
        assert_eq!(reader.position(), out.len());
    }

    #[test]
    fn lists_longer_than_their_bytes_and_deep_nesting_are_refused() {
        assert_eq!(Reader::new(&[0xF5, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]).list(), None);
        assert_eq!(Reader::new(&[0x1C; 1000]).skip(kind::STRUCT), None);
        assert_eq!(Reader::new(&[0x19; 1000]).skip(kind::LIST), None);
        assert_eq!(Reader::new(&[0xFF; 20]).varint(), None);
    }
}
