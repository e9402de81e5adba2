//! Compression of buffers: LZ4 frames and Zstandard frames, decoded into memory of a size fixed beforehand.

use std::cell::RefCell;

use kodiak_core::format::Compression;
use kodiak_core::{Error, ErrorKind, Result};

/// Zstandard's own default: beyond it, files shrink little and writing slows much.
const ZSTD_LEVEL: i32 = 3;
/// Header of an LZ4 frame of independent blocks of at most 4 MiB, without checksums (the sidecar has them).
const LZ4_HEADER: [u8; 7] = [0x04, 0x22, 0x4D, 0x18, 0x60, 0x70, 0x73];
/// The largest block of such a frame.
const LZ4_BLOCK: usize = 4 << 20;
/// Set in the length of a block that lies in the frame as it is.
const LZ4_STORED: u32 = 1 << 31;

/// Compresses, keeping its tables from one call to the next.
pub(crate) enum Compressor {
    None,
    Lz4(Box<lz4_flex::block::CompressTable>),
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

impl Compressor {
    pub(crate) fn new(compression: Compression) -> Result<Self> {
        Ok(match compression {
            Compression::None => Self::None,
            Compression::Lz4 => Self::Lz4(Box::new(lz4_flex::block::CompressTable::large())),
            Compression::Zstd => Self::Zstd(Box::new(zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(failed)?)),
        })
    }

    /// Appends `input` as one frame to `out`; [`Compression::None`] copies.
    pub(crate) fn frame(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::None => out.extend_from_slice(input),
            Self::Lz4(table) => {
                out.extend_from_slice(&LZ4_HEADER);
                for block in input.chunks(LZ4_BLOCK) {
                    lz4_block(table, block, out)?;
                }
                out.extend_from_slice(&0u32.to_le_bytes());
            }
            Self::Zstd(compressor) => {
                let start = out.len();
                out.resize(start + zstd::zstd_safe::compress_bound(input.len()), 0);
                let written = compressor
                    .compress_to_buffer(input, &mut out[start..])
                    .map_err(failed)?;
                out.truncate(start + written);
            }
        }
        Ok(())
    }
}

fn lz4_block(table: &mut lz4_flex::block::CompressTable, block: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    out.resize(start + 4 + lz4_flex::block::get_maximum_output_size(block.len()), 0);
    let written = lz4_flex::block::compress_into_with_table(block, &mut out[start + 4..], table).map_err(failed)?;
    let header = if written < block.len() {
        out.truncate(start + 4 + written);
        written as u32
    } else {
        out.truncate(start + 4);
        out.extend_from_slice(block);
        block.len() as u32 | LZ4_STORED
    };
    out[start..start + 4].copy_from_slice(&header.to_le_bytes());
    Ok(())
}

/// Decodes one frame that fills `out` exactly.
///
/// # Errors
/// `Corruption` if it does not.
pub(crate) fn unframe(compression: Compression, input: &[u8], out: &mut [u8]) -> Result<()> {
    let written = match compression {
        Compression::None if input.len() == out.len() => {
            out.copy_from_slice(input);
            out.len()
        }
        Compression::None => input.len(),
        Compression::Lz4 => lz4_unframe(input, out)?,
        Compression::Zstd => zstd_unframe(input, out)?,
    };
    if written != out.len() {
        return Err(Error::corruption(format!(
            "compressed data decodes to {written} bytes where {} are declared",
            out.len()
        )));
    }
    Ok(())
}

fn lz4_unframe(input: &[u8], out: &mut [u8]) -> Result<usize> {
    let Some(mut rest) = input.strip_prefix(&LZ4_HEADER) else {
        return Err(Error::corruption("compressed data is no LZ4 frame of Kodiak's"));
    };
    let mut filled = 0;
    loop {
        let Some((header, tail)) = rest.split_first_chunk::<4>() else {
            return Err(Error::corruption("an LZ4 frame is cut short"));
        };
        let header = u32::from_le_bytes(*header);
        if header == 0 {
            return Ok(filled);
        }
        let len = (header & !LZ4_STORED) as usize;
        let Some((block, tail)) = tail.split_at_checked(len) else {
            return Err(Error::corruption("an LZ4 frame is cut short"));
        };
        rest = tail;
        let room = out.len() - filled;
        let target = &mut out[filled..filled + room.min(LZ4_BLOCK)];
        if header & LZ4_STORED == 0 {
            filled += lz4_flex::block::decompress_into(block, target).map_err(damaged)?;
        } else if let Some(target) = target.get_mut(..len) {
            target.copy_from_slice(block);
            filled += len;
        } else {
            return Err(Error::corruption("an LZ4 frame holds more than is declared"));
        }
    }
}

pub(crate) fn zstd_unframe(input: &[u8], out: &mut [u8]) -> Result<usize> {
    thread_local! {
        // A context costs a large allocation; one a thread is kept.
        static CONTEXT: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    }
    CONTEXT.with_borrow_mut(|context| {
        let decompressor = match context {
            Some(decompressor) => decompressor,
            None => context.insert(zstd::bulk::Decompressor::new().map_err(failed)?),
        };
        decompressor.decompress_to_buffer(input, out).map_err(damaged)
    })
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Io, "compression failed").with_source(error)
}

fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::corruption("compressed data cannot be decoded").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Vec<u8>> {
        let mixed = |len: usize| {
            (0..len)
                .map(|i| if i % 3 == 0 { 7 } else { ((i * i) >> 3) as u8 })
                .collect()
        };
        vec![
            vec![1],
            vec![0; 100],
            mixed(1000),
            mixed(70_000),
            mixed(LZ4_BLOCK + 5),
            mixed(2 * LZ4_BLOCK),
        ]
    }

    #[test]
    fn frames_decode_to_what_went_in() {
        for compression in Compression::ALL {
            let mut compressor = Compressor::new(compression).expect("available");
            for sample in samples() {
                let mut frame = Vec::new();
                compressor.frame(&sample, &mut frame).expect("compresses");
                let mut out = vec![0; sample.len()];
                unframe(compression, &frame, &mut out).expect("decodes");
                assert!(out == sample, "{} {}", compression.name(), sample.len());
                assert!(unframe(compression, &frame, &mut vec![0; sample.len() - 1]).is_err());
                assert!(unframe(compression, &frame, &mut vec![0; sample.len() + 1]).is_err());
            }
        }
    }

    #[test]
    fn lz4_frames_are_read_by_a_general_reader() {
        use std::io::Read;
        let mut compressor = Compressor::new(Compression::Lz4).expect("available");
        for sample in samples() {
            let mut frame = Vec::new();
            compressor.frame(&sample, &mut frame).expect("compresses");
            let mut out = Vec::new();
            lz4_flex::frame::FrameDecoder::new(frame.as_slice())
                .read_to_end(&mut out)
                .expect("a frame");
            assert!(out == sample);
        }
    }
}
