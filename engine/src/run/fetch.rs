//! Parts of data files.

use arrow::buffer::Buffer;
use kodiak_core::format::Part;
use kodiak_core::storage::ReadableFile;
use kodiak_core::{Error, Result};

/// The bytes of a part, from the mapping or by a read; their checksum is compared if `verify`.
pub(super) fn fetch(file: &dyn ReadableFile, map: Option<&Buffer>, part: &Part, verify: bool) -> Result<Buffer> {
    let past_end = || {
        Error::corruption(format!(
            "a block of {} bytes reaches past the end of the file",
            part.len
        ))
    };
    let end = part.offset.checked_add(part.len).filter(|&end| end <= file.len());
    if end.is_none() {
        return Err(past_end().with_offset(part.offset));
    }
    let len = usize::try_from(part.len).map_err(|_| past_end().with_offset(part.offset))?;
    let bytes = match map {
        Some(map) => map.slice_with_length(part.offset as usize, len),
        None => file.read(part.offset, len)?,
    };
    if verify && crc32fast::hash(&bytes) != part.crc {
        return Err(
            Error::corruption(format!("the checksum of a block of {len} bytes differs")).with_offset(part.offset),
        );
    }
    Ok(bytes)
}
