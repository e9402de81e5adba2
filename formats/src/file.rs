//! Reading files of which nothing is known yet.

use arrow::buffer::Buffer;
use kodiak_core::storage::ReadableFile;
use kodiak_core::{Error, Result};

/// How much is read at once to sum it up.
const STEP: u64 = 1 << 20;

/// The bytes of a range, checked against the file before memory is taken for them.
///
/// # Errors
/// `Corruption` if the range is not inside the file.
pub(crate) fn read_at(file: &dyn ReadableFile, offset: u64, len: u64) -> Result<Buffer> {
    let inside = offset.checked_add(len).is_some_and(|end| end <= file.len());
    match usize::try_from(len) {
        Ok(len) if inside => file.read(offset, len),
        _ => Err(
            Error::corruption(format!("a range of {len} bytes goes beyond the file's {}", file.len()))
                .with_offset(offset),
        ),
    }
}

/// The CRC32 of a range, read in steps.
///
/// # Errors
/// `Corruption` if the range is not inside the file.
pub(crate) fn crc_of(file: &dyn ReadableFile, mut offset: u64, mut len: u64) -> Result<u32> {
    let mut crc = crc32fast::Hasher::new();
    while len > 0 {
        let step = len.min(STEP);
        crc.update(&read_at(file, offset, step)?);
        offset += step;
        len -= step;
    }
    Ok(crc.finalize())
}
