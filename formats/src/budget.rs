//! What decoders of columns share: bounding what a block allocates, and making room for nulls.

use arrow::buffer::NullBuffer;
use kodiak_core::{Error, Result};

/// Bytes that may yet be allocated for a block.
#[derive(Debug)]
pub(crate) struct Budget(usize);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// Takes `count` times `each` bytes.
    pub(crate) fn take(&mut self, count: usize, each: usize) -> Result<()> {
        match count.checked_mul(each).and_then(|bytes| self.0.checked_sub(bytes)) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => Err(Error::corruption(format!(
                "a block decodes to more than is allowed: {count} times {each} bytes where {} are left",
                self.0
            ))),
        }
    }
}

/// Offsets with a row of no length for each null.
pub(crate) fn spread_offsets(present: &[i32], nulls: &NullBuffer) -> Vec<i32> {
    let mut ends = present[1..].iter();
    let mut end = 0;
    let mut offsets = Vec::with_capacity(nulls.len() + 1);
    offsets.push(0);
    for valid in nulls {
        if valid {
            end = ends.next().copied().unwrap_or(end);
        }
        offsets.push(end);
    }
    offsets
}
