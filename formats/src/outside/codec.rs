//! Decompression into memory of a size that is known beforehand. Nothing is written beyond it, whatever the input says.

use std::io::Read;

use kodiak_core::{Error, Result};

use crate::compress;
use kodiak_core::format::Compression;

/// How a block of someone's file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    None,
    Snappy,
    Gzip,
    /// Deflate without a header.
    Deflate,
    /// A block of LZ4 without a frame.
    Lz4,
    /// A frame of LZ4.
    Lz4Frame,
    /// Blocks of LZ4, each after its decompressed and compressed length: what Hadoop writes.
    Lz4Hadoop,
    Zstd,
}

impl Codec {
    /// Decompresses `input` into `out`; returns how many bytes that made.
    ///
    /// # Errors
    /// `Corruption` if it is no such thing, or makes more than `out` holds.
    pub fn into_slice(self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        match self {
            Self::None => match out.get_mut(..input.len()) {
                Some(target) => {
                    target.copy_from_slice(input);
                    Ok(input.len())
                }
                None => Err(too_much()),
            },
            Self::Snappy => {
                let len = snap::raw::decompress_len(input).map_err(damaged)?;
                if len > out.len() {
                    return Err(too_much());
                }
                snap::raw::Decoder::new().decompress(input, out).map_err(damaged)
            }
            Self::Gzip => read_all(flate2::read::MultiGzDecoder::new(input), out),
            Self::Deflate => read_all(flate2::read::DeflateDecoder::new(input), out),
            Self::Lz4 => lz4_flex::block::decompress_into(input, out).map_err(damaged),
            Self::Lz4Frame => read_all(lz4_flex::frame::FrameDecoder::new(input), out),
            Self::Lz4Hadoop => hadoop(input, out),
            Self::Zstd => compress::zstd_unframe(input, out),
        }
    }

    /// Decompresses `input` to exactly `len` bytes, a number that the caller has bounded.
    ///
    /// # Errors
    /// `Corruption` if that is not what it makes; `Io` if there is no memory.
    pub fn decompress(self, input: &[u8], len: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        out.try_reserve_exact(len)
            .map_err(|error| Error::new(kodiak_core::ErrorKind::Io, "no memory for a block").with_source(error))?;
        out.resize(len, 0);
        let made = self.into_slice(input, &mut out)?;
        if made != len {
            return Err(Error::corruption(format!(
                "a block decompresses to {made} bytes where {len} are declared"
            )));
        }
        Ok(out)
    }
}

impl From<Compression> for Codec {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Lz4 => Self::Lz4Frame,
            Compression::Zstd => Self::Zstd,
        }
    }
}

fn read_all(mut reader: impl Read, out: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match reader.read(&mut out[filled..]).map_err(damaged)? {
            0 => return Ok(filled),
            read => filled += read,
        }
    }
    match reader.read(&mut [0]).map_err(damaged)? {
        0 => Ok(filled),
        _ => Err(too_much()),
    }
}

/// Old writers called bare blocks and frames by the same name, so those are tried next.
fn hadoop(input: &[u8], out: &mut [u8]) -> Result<usize> {
    blocks(input, out)
        .or_else(|| lz4_flex::block::decompress_into(input, out).ok())
        .map_or_else(|| read_all(lz4_flex::frame::FrameDecoder::new(input), out), Ok)
}

fn blocks(mut input: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut filled = 0usize;
    while !input.is_empty() {
        let (made, rest) = input.split_first_chunk::<4>()?;
        let (taken, rest) = rest.split_first_chunk::<4>()?;
        let (made, taken) = (u32::from_be_bytes(*made) as usize, u32::from_be_bytes(*taken) as usize);
        let target = out.get_mut(filled..filled.checked_add(made)?)?;
        if lz4_flex::block::decompress_into(rest.get(..taken)?, target).ok()? != made {
            return None;
        }
        filled += made;
        input = &rest[taken..];
    }
    Some(filled)
}

fn too_much() -> Error {
    Error::corruption("a block decompresses to more bytes than are declared")
}

fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::corruption("a compressed block is damaged").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const TEXT: &[u8] = b"a block, a block, a block of text, a block of text";

    fn compressed(codec: Codec) -> Vec<u8> {
        let gzip = |mut encoder: flate2::write::GzEncoder<Vec<u8>>| {
            encoder.write_all(TEXT).expect("memory");
            encoder.finish().expect("memory")
        };
        match codec {
            Codec::None => TEXT.to_vec(),
            Codec::Snappy => snap::raw::Encoder::new().compress_vec(TEXT).expect("compresses"),
            Codec::Gzip => gzip(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast())),
            Codec::Deflate => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(TEXT).expect("memory");
                encoder.finish().expect("memory")
            }
            Codec::Lz4 => lz4_flex::block::compress(TEXT),
            Codec::Lz4Frame => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(TEXT).expect("memory");
                encoder.finish().expect("memory")
            }
            Codec::Lz4Hadoop => {
                let block = lz4_flex::block::compress(TEXT);
                let lens = [TEXT.len() as u32, block.len() as u32].map(u32::to_be_bytes).concat();
                [lens, block].concat()
            }
            Codec::Zstd => zstd::bulk::compress(TEXT, 1).expect("compresses"),
        }
    }

    #[test]
    fn every_codec_decodes_what_fits_and_nothing_else() {
        for codec in [
            Codec::None,
            Codec::Snappy,
            Codec::Gzip,
            Codec::Deflate,
            Codec::Lz4,
            Codec::Lz4Frame,
            Codec::Lz4Hadoop,
            Codec::Zstd,
        ] {
            let input = compressed(codec);
            assert_eq!(codec.decompress(&input, TEXT.len()).expect("whole"), TEXT, "{codec:?}");
            for len in [0, 1, TEXT.len() - 1, TEXT.len() + 1] {
                assert!(codec.decompress(&input, len).is_err(), "{codec:?} to {len}");
            }
            for cut in 0..input.len() {
                let _ = codec.decompress(&input[..cut], TEXT.len());
            }
        }
    }
}
