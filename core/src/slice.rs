//! Bytes handed to a caller without copying.

use std::fmt;
use std::ops::Deref;

use arrow::buffer::Buffer;

/// Immutable bytes that keep what they point into alive: a block in the cache, a mapped file, or a vector of their own.
///
/// Cloning copies no bytes. A slice of a mapped run pins that file's mapping (not its name) until dropped.
#[derive(Clone)]
pub struct Slice(Buffer);

impl Slice {
    /// The bytes of `buffer` from `offset`, `len` long, sharing its memory.
    ///
    /// # Panics
    /// If the range is not inside `buffer`.
    pub fn of(buffer: &Buffer, offset: usize, len: usize) -> Self {
        Self(buffer.slice_with_length(offset, len))
    }

    /// Copies `bytes`.
    pub fn copy_from(bytes: &[u8]) -> Self {
        Self(Buffer::from_vec(bytes.to_vec()))
    }

    /// The bytes, as an Arrow buffer that shares their memory.
    pub fn into_buffer(self) -> Buffer {
        self.0
    }
}

impl From<Vec<u8>> for Slice {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Buffer::from_vec(bytes))
    }
}

impl From<Buffer> for Slice {
    fn from(buffer: Buffer) -> Self {
        Self(buffer)
    }
}

impl Deref for Slice {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Slice {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl Eq for Slice {}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}
