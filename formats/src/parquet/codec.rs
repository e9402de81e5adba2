//! Parquet's names and numbers of compressions.

use kodiak_core::format::Compression;
use kodiak_core::{Error, ErrorKind, Result};
use parquet::basic::{Compression as ParquetCompression, ZstdLevel};

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
