//! Streams of a compressed file: chunks of a three-byte header each, at most [`CHUNK`] bytes once decompressed.

use arrow::buffer::Buffer;
use kodiak_core::format::Compression;
use kodiak_core::{Error, Result};

use crate::budget::Budget;
use crate::raw::{self, Compressor};

/// Bytes in a chunk before compression, at most; the file's postscript says it too.
pub(super) const CHUNK: usize = 256 << 10;
/// Bytes of a chunk's header.
const HEADER: usize = 3;

/// Appends `bytes` as a stream.
pub(super) fn put(
    compression: Compression,
    compressor: &mut Compressor,
    bytes: &[u8],
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<()> {
    if compression == Compression::None {
        out.extend_from_slice(bytes);
        return Ok(());
    }
    for chunk in bytes.chunks(CHUNK) {
        let smaller = compressor.compress(chunk, scratch)?;
        let (stored, original) = if smaller { (scratch.as_slice(), 0) } else { (chunk, 1) };
        let header = (stored.len() as u32) << 1 | original;
        out.extend_from_slice(&header.to_le_bytes()[..HEADER]);
        out.extend_from_slice(stored);
    }
    Ok(())
}

/// The bytes of a stream: the same memory where they are not compressed.
///
/// # Errors
/// `Corruption` if the stream is malformed or holds more than the budget allows.
pub(super) fn read(compression: Compression, stream: Buffer, budget: &mut Budget) -> Result<Buffer> {
    if compression == Compression::None {
        return Ok(stream);
    }
    let mut out: Vec<u8> = Vec::new();
    let mut rest = stream.as_slice();
    while !rest.is_empty() {
        let malformed = || Error::corruption("a compressed ORC stream is malformed");
        let header = rest.split_off(..HEADER).ok_or_else(malformed)?;
        let header = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let chunk = rest.split_off(..(header >> 1) as usize).ok_or_else(malformed)?;
        if header & 1 == 1 {
            if out.is_empty() && rest.is_empty() {
                return Ok(stream.slice_with_length(HEADER, chunk.len()));
            }
            budget.take(chunk.len(), 1)?;
            out.extend_from_slice(chunk);
        } else {
            let start = out.len();
            // Room for what chunks commonly hold; if that is not enough, for the largest that may be.
            let made = match grow(compression, chunk, &mut out, start, (chunk.len() * 8 + 1024).min(CHUNK)) {
                Ok(made) => made,
                Err(_) => grow(compression, chunk, &mut out, start, CHUNK)?,
            };
            out.truncate(start + made);
            budget.take(made, 1)?;
        }
    }
    Ok(Buffer::from_vec(out))
}

fn grow(compression: Compression, chunk: &[u8], out: &mut Vec<u8>, start: usize, room: usize) -> Result<usize> {
    out.resize(start + room, 0);
    raw::decompress_into(compression, chunk, &mut out[start..])
}
