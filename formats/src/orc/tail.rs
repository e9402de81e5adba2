//! Reading the end of a file without trusting it, and finding its blocks there for repair.

use arrow::buffer::Buffer;
use kodiak_core::format::{BlockHandle, Compression, FileLayout, Part};
use kodiak_core::storage::ReadableFile;
use kodiak_core::{Error, ErrorKind, Result};
use orc_rust::proto::{CompressionKind, Footer, PostScript};
use prost::Message;

use super::chunks::{self, CHUNK};
use super::types::{self, Column};
use super::writer::MAGIC;
use crate::budget::Budget;
use crate::file::{crc_of, read_at};

/// A file's footer may take this much memory: room for about a million stripes.
const MAX_FOOTER: usize = 256 << 20;

/// What the postscript says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Postscript {
    pub compression: Compression,
    footer: u64,
    metadata: u64,
}

impl Postscript {
    /// Reads the postscript and the byte of its length after it.
    ///
    /// # Errors
    /// `Corruption`; `Unsupported` for a compression that this format does not write.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let malformed = || Error::corruption("the postscript of an ORC file is malformed");
        let (len, message) = bytes.split_last().ok_or_else(malformed)?;
        if usize::from(*len) != message.len() {
            return Err(malformed());
        }
        let postscript = PostScript::decode(message).map_err(|error| malformed().with_source(error))?;
        if postscript.magic() != MAGIC {
            return Err(malformed());
        }
        let compression = match CompressionKind::try_from(postscript.compression.unwrap_or_default()) {
            Ok(CompressionKind::None) => Compression::None,
            Ok(CompressionKind::Lz4) => Compression::Lz4,
            Ok(CompressionKind::Zstd) => Compression::Zstd,
            other => {
                let what = format!("ORC compression {other:?} is not one that Kodiak writes (none, LZ4, ZSTD)");
                return Err(Error::new(ErrorKind::Unsupported, what));
            }
        };
        if compression != Compression::None && postscript.compression_block_size() > CHUNK as u64 {
            return Err(Error::corruption(
                "the compressed chunks of an ORC file are larger than Kodiak writes them",
            ));
        }
        Ok(Self {
            compression,
            footer: postscript.footer_length(),
            metadata: postscript.metadata_length(),
        })
    }
}

/// Finds the blocks of `file`, which has to hold `columns`.
pub(super) fn recover(file: &dyn ReadableFile, columns: &[Column]) -> Result<FileLayout> {
    let (shared, footer, end) = read_footer(file)?;
    let expected = types::types(columns);
    if footer.types != expected {
        let wrong = footer
            .types
            .iter()
            .zip(&expected)
            .skip(1)
            .position(|(found, wanted)| found != wanted);
        let name = wrong
            .and_then(|index| columns.get(index))
            .map(|column| format!(" (column \"{}\" first)", column.name));
        return Err(Error::corruption(format!(
            "an ORC file has other columns than the table's runs{}",
            name.unwrap_or_default()
        )));
    }
    let mut blocks = Vec::new();
    for stripe in &footer.stripes {
        let wrong =
            |what: &str| Error::corruption(format!("a stripe of an ORC file {what}")).with_offset(stripe.offset());
        let rows = u32::try_from(stripe.number_of_rows()).ok().filter(|&rows| rows > 0);
        let rows = rows.ok_or_else(|| wrong("has no rows, or too many"))?;
        let data = stripe
            .offset()
            .checked_add(stripe.index_length())
            .ok_or_else(|| wrong("goes beyond the file"))?;
        let footer = data
            .checked_add(stripe.data_length())
            .ok_or_else(|| wrong("goes beyond the file"))?;
        if footer.checked_add(stripe.footer_length()).is_none_or(|last| last > end) {
            return Err(wrong("goes beyond the file's contents"));
        }
        let part = |offset, len| {
            Ok(Part {
                offset,
                len,
                crc: crc_of(file, offset, len)?,
            })
        };
        blocks.push(BlockHandle {
            rows,
            parts: vec![part(data, stripe.data_length())?, part(footer, stripe.footer_length())?],
        });
    }
    Ok(FileLayout {
        blocks,
        shared: vec![shared],
        file_bytes: file.len(),
    })
}

/// Reads the footer of a file; returns the range of the postscript, the footer, and where the contents end.
pub(super) fn read_footer(file: &dyn ReadableFile) -> Result<(Part, Footer, u64)> {
    let cut = || Error::corruption("the file is too short for ORC, or cut off").with_offset(file.len());
    let last = file.len().checked_sub(1).ok_or_else(cut)?;
    let len = u64::from(read_at(file, last, 1)?.first().copied().ok_or_else(cut)?);
    let offset = last
        .checked_sub(len)
        .filter(|&offset| offset >= MAGIC.len() as u64)
        .ok_or_else(cut)?;
    if read_at(file, 0, MAGIC.len() as u64)?.as_slice() != MAGIC.as_bytes() {
        return Err(Error::corruption("the file does not begin as ORC files do").with_offset(0));
    }
    let bytes = read_at(file, offset, len + 1)?;
    let postscript = Postscript::read(&bytes).map_err(|error| error.with_offset(offset))?;
    let footer_at = offset.checked_sub(postscript.footer).ok_or_else(cut)?;
    let end = footer_at.checked_sub(postscript.metadata).ok_or_else(cut)?;
    if postscript.footer > MAX_FOOTER as u64 {
        return Err(Error::corruption("the footer of an ORC file is larger than is allowed").with_offset(footer_at));
    }
    let footer = decode_footer(postscript.compression, read_at(file, footer_at, postscript.footer)?)
        .map_err(|error| error.with_offset(footer_at))?;
    Ok((
        Part {
            offset,
            len: len + 1,
            crc: crc32fast::hash(&bytes),
        },
        footer,
        end,
    ))
}

fn decode_footer(compression: Compression, bytes: Buffer) -> Result<Footer> {
    let mut budget = Budget::new(MAX_FOOTER);
    let bytes = chunks::read(compression, bytes, &mut budget)?;
    // Decoded messages are larger than their bytes, but not by more than this.
    budget.take(bytes.len(), 64)?;
    Footer::decode(bytes.as_slice())
        .map_err(|error| Error::corruption("the footer of an ORC file is malformed").with_source(error))
}
