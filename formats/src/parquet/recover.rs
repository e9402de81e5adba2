//! Finding the blocks of a file by walking its pages, for repair without a sidecar.

use crc32fast::Hasher;
use kodiak_core::format::{BlockHandle, FileLayout, Part};
use kodiak_core::storage::ReadableFile;
use kodiak_core::{Error, Result};

use crate::file::crc_of;

use super::footer::{Chunk, Footer, Group, MAGIC, TAIL};
use super::page::PageHeader;
use super::plan::Plan;

/// More than a page header of ours ever takes.
const MAX_HEADER: u64 = 256;
/// Metadata longer than this is refused (about half a million blocks' worth).
const MAX_FOOTER: u64 = 256 << 20;

/// Rebuilds the layout of `file`, which has to hold the columns of `plan`.
pub(super) fn recover(file: &dyn ReadableFile, plan: &Plan) -> Result<FileLayout> {
    let (footer, part) = read_footer(file)?;
    footer.check(plan)?;
    let mut blocks = Vec::new();
    for group in &footer.groups {
        walk(file, group, plan.columns.len(), part.offset, &mut blocks)?;
    }
    Ok(FileLayout {
        blocks,
        shared: vec![part],
        file_bytes: file.len(),
    })
}

/// Reads the metadata of a file, whose range is returned too.
pub(crate) fn read_footer(file: &dyn ReadableFile) -> Result<(Footer, Part)> {
    let short = || Error::corruption("the file is too short for Parquet, or cut off").with_offset(file.len());
    let end = file.len().checked_sub(TAIL).filter(|&end| end >= 4).ok_or_else(short)?;
    let tail = file.read(end, TAIL as usize)?;
    let (len, magic) = tail.split_at(4);
    if magic != MAGIC || file.read(0, 4)?.as_slice() != MAGIC {
        return Err(Error::corruption("the file does not begin and end as Parquet files do").with_offset(end));
    }
    let len = len.first_chunk().map_or(0, |len| u64::from(u32::from_le_bytes(*len)));
    let offset = end
        .checked_sub(len)
        .filter(|&offset| offset >= 4 && len <= MAX_FOOTER)
        .ok_or_else(|| {
            Error::corruption(format!("the file's metadata claims {len} bytes, more than there are")).with_offset(end)
        })?;
    let bytes = file.read(offset, len as usize)?;
    let footer = Footer::parse(&bytes, false).map_err(|error| error.with_offset(offset))?;
    Ok((
        footer,
        Part {
            offset,
            len,
            crc: crc32fast::hash(&bytes),
        },
    ))
}

/// Appends the blocks of a row group: the pages of its columns, which must line up.
pub(super) fn walk(
    file: &dyn ReadableFile,
    group: &Group,
    columns: usize,
    end: u64,
    blocks: &mut Vec<BlockHandle>,
) -> Result<()> {
    if group.chunks.len() != columns {
        return Err(Error::corruption(format!(
            "a row group has {} columns where the schema has {columns}",
            group.chunks.len()
        )));
    }
    let first = blocks.len();
    let mut total = 0u64;
    for (index, chunk) in group.chunks.iter().enumerate() {
        let mut rows = 0u64;
        let mut count = 0;
        walk_chunk(file, chunk, end, |page_rows, part| {
            if index == 0 {
                let rows = u32::try_from(page_rows).ok().filter(|&rows| rows > 0);
                let rows = rows.ok_or_else(|| Error::corruption("a page has no rows").with_offset(part.offset))?;
                blocks.push(BlockHandle {
                    rows,
                    parts: Vec::with_capacity(columns),
                });
            }
            let block = blocks
                .get_mut(first + count)
                .filter(|block| block.rows as usize == page_rows);
            let block = block.ok_or_else(|| {
                Error::corruption(format!(
                    "a page of column {index} does not cover the rows of column 0's"
                ))
                .with_offset(part.offset)
            })?;
            block.parts.push(part);
            count += 1;
            rows += page_rows as u64;
            Ok(())
        })?;
        total = if index == 0 { rows } else { total };
        if rows != total || total != group.rows {
            return Err(Error::corruption(format!(
                "column {index} of a row group has {rows} rows where the metadata says {}",
                group.rows
            )));
        }
    }
    Ok(())
}

fn walk_chunk(
    file: &dyn ReadableFile,
    chunk: &Chunk,
    end: u64,
    mut found: impl FnMut(usize, Part) -> Result<()>,
) -> Result<()> {
    let chunk_end = chunk
        .offset
        .checked_add(chunk.len)
        .filter(|&at| at <= end && chunk.offset >= 4)
        .ok_or_else(|| {
            Error::corruption(format!(
                "a column chunk claims {} bytes, more than there are",
                chunk.len
            ))
            .with_offset(chunk.offset)
        })?;
    let mut at = chunk.offset;
    while at < chunk_end {
        let head = file.read(at, (chunk_end - at).min(MAX_HEADER) as usize)?;
        let (header, header_len) = PageHeader::read(&head).map_err(|error| error.with_offset(at))?;
        let len = header_len as u64 + header.compressed as u64;
        if len > chunk_end - at {
            return Err(
                Error::corruption(format!("a page claims {len} bytes, more than its column chunk has")).with_offset(at),
            );
        }
        let body = crc_of(file, at + header_len as u64, header.compressed as u64)?;
        if header.crc.is_some_and(|crc| crc != body) {
            return Err(Error::corruption("a page's checksum differs from its bytes").with_offset(at));
        }
        let mut hasher = Hasher::new();
        hasher.update(&head[..header_len]);
        hasher.combine(&Hasher::new_with_initial_len(body, header.compressed as u64));
        found(
            header.rows,
            Part {
                offset: at,
                len,
                crc: hasher.finalize(),
            },
        )?;
        at += len;
    }
    Ok(())
}
