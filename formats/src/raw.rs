//! Compression of single blocks without a frame of their own: LZ4 blocks and Zstandard frames.

use std::cell::RefCell;

use kodiak_core::format::Compression;
use kodiak_core::{Error, ErrorKind, Result};

/// Zstandard's level: its own default, and a fair trade for data that is written once.
const ZSTD_LEVEL: i32 = 3;

thread_local! {
    // Contexts of Zstandard take longer to make than a block takes to decode.
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses blocks, keeping what can be kept from one to the next.
pub(crate) struct Compressor {
    compression: Compression,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Compressor {
    pub(crate) fn new(compression: Compression) -> Result<Self> {
        let zstd = match compression {
            Compression::Zstd => Some(
                zstd::bulk::Compressor::new(ZSTD_LEVEL)
                    .map_err(|error| Error::new(ErrorKind::Io, "cannot start zstd").with_source(error))?,
            ),
            _ => None,
        };
        Ok(Self { compression, zstd })
    }

    /// Compresses `bytes` into `out`, replacing its contents. False if that would not make them smaller; `out` then holds
    /// nothing of use.
    pub(crate) fn compress(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        let len = match (&self.compression, &mut self.zstd) {
            (Compression::None, _) => return Ok(false),
            (Compression::Lz4, _) => {
                out.resize(lz4_flex::block::get_maximum_output_size(bytes.len()), 0);
                lz4_flex::block::compress_into(bytes, out)
                    .map_err(|error| Error::new(ErrorKind::Io, "cannot compress a block with lz4").with_source(error))?
            }
            (Compression::Zstd, Some(zstd)) => {
                out.resize(zstd::zstd_safe::compress_bound(bytes.len()), 0);
                zstd.compress_to_buffer(bytes, out.as_mut_slice()).map_err(|error| {
                    Error::new(ErrorKind::Io, "cannot compress a block with zstd").with_source(error)
                })?
            }
            (Compression::Zstd, None) => return Ok(false),
        };
        out.truncate(len);
        Ok(len < bytes.len())
    }
}

/// Decompresses `bytes` to exactly `len` bytes. The caller has bounded `len`.
///
/// # Errors
/// `Corruption` if they are no such thing.
pub(crate) fn decompress(compression: Compression, bytes: &[u8], len: usize) -> Result<Vec<u8>> {
    let mut out = vec![0; len];
    let made = decompress_into(compression, bytes, &mut out)?;
    if made != len {
        return Err(Error::corruption(format!(
            "a block decompresses to {made} bytes, not {len}"
        )));
    }
    Ok(out)
}

/// Decompresses `bytes` to the start of `out` and returns how many bytes that made.
///
/// # Errors
/// `Corruption` if they are no such thing, or make more than `out` holds.
pub(crate) fn decompress_into(compression: Compression, bytes: &[u8], out: &mut [u8]) -> Result<usize> {
    match compression {
        Compression::None => Err(Error::corruption(
            "a block of an uncompressed file claims to be compressed",
        )),
        Compression::Lz4 => lz4_flex::block::decompress_into(bytes, out)
            .map_err(|error| Error::corruption("a block is not valid lz4").with_source(error)),
        Compression::Zstd => DECOMPRESSOR
            .with_borrow_mut(|slot| {
                let decompressor = match slot {
                    Some(decompressor) => decompressor,
                    None => slot.insert(zstd::bulk::Decompressor::new()?),
                };
                decompressor.decompress_to_buffer(bytes, out)
            })
            .map_err(|error| Error::corruption("a block is not valid zstd").with_source(error)),
    }
}
