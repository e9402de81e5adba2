//! Small files that are written whole: magic, version, contents, and the CRC32 of all that.

use kodiak_core::varint::Reader;
use kodiak_core::{Error, ErrorKind, Result};

/// Puts magic and version at the front.
pub(super) fn begin(magic: &[u8; 8], version: u32) -> Vec<u8> {
    let mut out = magic.to_vec();
    out.extend_from_slice(&version.to_le_bytes());
    out
}

/// Puts the checksum at the end.
pub(super) fn seal(mut out: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The version, of those up to `newest`, and the contents.
///
/// # Errors
/// `Corruption` where checksum or magic differ; `Unsupported` for a newer version.
pub(super) fn open<'b>(bytes: &'b [u8], magic: &[u8; 8], newest: u32) -> Result<(u32, Reader<'b>)> {
    let (body, crc) = bytes.split_last_chunk().ok_or_else(damaged)?;
    if !body.starts_with(magic) || crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err(damaged());
    }
    let mut reader = Reader::new(&body[magic.len()..]);
    let version = reader.u32_le()?;
    if version > newest {
        let message =
            format!("it has version {version}, this Kodiak reads up to {newest}: use the version that wrote it");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok((version, reader))
}

/// The file does not hold what is written to such files.
pub(super) fn damaged() -> Error {
    Error::corruption("it is not what was written: its checksum or form differs").with_offset(0)
}
