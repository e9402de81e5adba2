//! Compression of pages: LZ4 blocks (Parquet's LZ4_RAW) and Zstandard frames.

use std::cell::RefCell;

use kodiak_core::format::Compression;
use kodiak_core::{Error, ErrorKind, Result};
use parquet::basic::{Compression as ParquetCompression, ZstdLevel};

/// Zstandard's level: its own default, and a fair trade for data that is written once.
const ZSTD_LEVEL: i32 = 3;

thread_local! {
    // Contexts of Zstandard take longer to make than a page takes to decode.
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Parquet's name and number of a compression.
pub(super) fn parquet_codec(compression: Compression) -> ParquetCompression {
    match compression {
        Compression::None => ParquetCompression::UNCOMPRESSED,
        Compression::Lz4 => ParquetCompression::LZ4_RAW,
        Compression::Zstd => ParquetCompression::ZSTD(ZstdLevel::default()),
    }
}

/// The compression of a number in a file's metadata.
///
/// # Errors
/// `Unsupported` for a codec that this format does not write.
pub(super) fn from_number(number: i64) -> Result<Compression> {
    match number {
        0 => Ok(Compression::None),
        6 => Ok(Compression::Zstd),
        7 => Ok(Compression::Lz4),
        other => Err(Error::new(
            ErrorKind::Unsupported,
            format!("Parquet codec {other} is not one that Kodiak writes (0 none, 6 zstd, 7 LZ4_RAW)"),
        )),
    }
}

/// Compresses pages, keeping what can be kept from one to the next.
pub(super) struct Compressor {
    compression: Compression,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Compressor {
    pub fn new(compression: Compression) -> Result<Self> {
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
    pub fn compress(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        let len = match (&self.compression, &mut self.zstd) {
            (Compression::None, _) => return Ok(false),
            (Compression::Lz4, _) => {
                out.resize(lz4_flex::block::get_maximum_output_size(bytes.len()), 0);
                lz4_flex::block::compress_into(bytes, out)
                    .map_err(|error| Error::new(ErrorKind::Io, "cannot compress a page with lz4").with_source(error))?
            }
            (Compression::Zstd, Some(zstd)) => {
                out.resize(zstd::zstd_safe::compress_bound(bytes.len()), 0);
                zstd.compress_to_buffer(bytes, out.as_mut_slice())
                    .map_err(|error| Error::new(ErrorKind::Io, "cannot compress a page with zstd").with_source(error))?
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
pub(super) fn decompress(compression: Compression, bytes: &[u8], len: usize) -> Result<Vec<u8>> {
    let mut out = vec![0; len];
    let made = match compression {
        Compression::None => {
            return Err(Error::corruption(
                "a page of an uncompressed file claims to be compressed",
            ));
        }
        Compression::Lz4 => lz4_flex::block::decompress_into(bytes, &mut out)
            .map_err(|error| Error::corruption("a page is not valid lz4").with_source(error))?,
        Compression::Zstd => DECOMPRESSOR
            .with_borrow_mut(|slot| {
                let decompressor = match slot {
                    Some(decompressor) => decompressor,
                    None => slot.insert(zstd::bulk::Decompressor::new()?),
                };
                decompressor.decompress_to_buffer(bytes, out.as_mut_slice())
            })
            .map_err(|error| Error::corruption("a page is not valid zstd").with_source(error))?,
    };
    if made != len {
        return Err(Error::corruption(format!(
            "a page decompresses to {made} bytes, not {len}"
        )));
    }
    Ok(out)
}
