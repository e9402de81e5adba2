//! Reading parts of data files, and what can be made of damaged ones.

use arrow::buffer::Buffer;
use kodiak_core::format::Part;
use kodiak_core::storage::ReadableFile;
use kodiak_core::{Error, Result};

/// The bytes of a part, verified.
pub(super) fn fetch(file: &dyn ReadableFile, part: &Part) -> Result<Buffer> {
    let bytes = fetch_any(file, part)?;
    if crc32fast::hash(&bytes) != part.crc {
        return Err(Error::corruption(format!("the checksum of {} bytes differs", part.len)).with_offset(part.offset));
    }
    Ok(bytes)
}

/// The longest part of which a damaged byte is found: in longer ones more than one value could have the checksum.
const MENDED: usize = 64;

/// As [`fetch`]; if a short part has one damaged byte, that is found by trying which other value gives the checksum.
pub(super) fn fetch_mended(file: &dyn ReadableFile, part: &Part) -> Result<Buffer> {
    let fetched = fetch(file, part);
    if fetched.is_ok() || part.len > MENDED as u64 {
        return fetched;
    }
    let mut bytes = fetch_any(file, part)?.to_vec();
    for at in 0..bytes.len() {
        let found = bytes[at];
        for value in 0..=u8::MAX {
            bytes[at] = value;
            if crc32fast::hash(&bytes) == part.crc {
                return Ok(Buffer::from_vec(bytes));
            }
        }
        bytes[at] = found;
    }
    fetched
}

/// The bytes of a part, whatever they are.
fn fetch_any(file: &dyn ReadableFile, part: &Part) -> Result<Buffer> {
    let past_end =
        || Error::corruption(format!("{} bytes reach past the end of the file", part.len)).with_offset(part.offset);
    let inside = part.offset.checked_add(part.len).is_some_and(|end| end <= file.len());
    let len = usize::try_from(part.len).ok().filter(|_| inside).ok_or_else(past_end)?;
    file.read(part.offset, len)
}
