//! Where the blocks of a data file are.

use kodiak_core::format::{BlockHandle, FileLayout, Part};
use kodiak_core::varint::{Reader, put_u64};
use kodiak_core::{Error, Result};

use super::times::{unzigzag, zigzag};

/// Fewest bytes that a part takes: gap, length, CRC.
pub(super) const MIN_PART: usize = 6;

/// The blocks of a data file, in flat arrays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blocks {
    rows: Vec<u32>,
    /// Where in `parts` each block begins, and the end.
    starts: Vec<u32>,
    parts: Vec<Part>,
}

impl Blocks {
    /// How many blocks there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many rows block `index` has.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn rows(&self, index: usize) -> u32 {
        self.rows[index]
    }

    /// The byte ranges of block `index`.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn parts(&self, index: usize) -> &[Part] {
        &self.parts[self.starts[index] as usize..self.starts[index + 1] as usize]
    }

    /// Block `index` in the form that decoders take.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn handle(&self, index: usize) -> BlockHandle {
        BlockHandle {
            rows: self.rows(index),
            parts: self.parts(index).to_vec(),
        }
    }

    /// Bytes of memory that it keeps.
    pub fn memory(&self) -> usize {
        self.rows.capacity() * 4 + self.starts.capacity() * 4 + self.parts.capacity() * size_of::<Part>()
    }

    pub(super) fn decode(bytes: &[u8], data_bytes: u64) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let count = reader.len(reader.remaining() / 2)?;
        let part_count = reader.len(reader.remaining() / MIN_PART)?;
        let mut blocks = Self {
            rows: Vec::with_capacity(count),
            starts: Vec::with_capacity(count + 1),
            parts: Vec::with_capacity(part_count),
        };
        let mut end = 0;
        for _ in 0..count {
            blocks.starts.push(blocks.parts.len() as u32);
            let rows = reader.len(u32::MAX as usize)? as u32;
            if rows == 0 {
                return Err(Error::corruption("a block has no rows"));
            }
            blocks.rows.push(rows);
            for _ in 0..reader.len(part_count - blocks.parts.len())? {
                blocks.parts.push(read_part(&mut reader, &mut end, data_bytes)?);
            }
        }
        blocks.starts.push(blocks.parts.len() as u32);
        if blocks.parts.len() != part_count || !reader.is_empty() {
            return Err(Error::corruption("the list of blocks is longer than its parts"));
        }
        Ok(blocks)
    }
}

pub(super) fn encode(layout: &FileLayout, out: &mut Vec<u8>) {
    put_u64(out, layout.blocks.len() as u64);
    put_u64(out, layout.blocks.iter().map(|block| block.parts.len() as u64).sum());
    let mut end = 0;
    for block in &layout.blocks {
        put_u64(out, u64::from(block.rows));
        put_u64(out, block.parts.len() as u64);
        for part in &block.parts {
            put_part(out, part, &mut end);
        }
    }
}

/// Appends a part; `end` is where the part before it ended, since most follow each other closely.
pub(super) fn put_part(out: &mut Vec<u8>, part: &Part, end: &mut u64) {
    put_u64(out, zigzag(part.offset.wrapping_sub(*end) as i64));
    put_u64(out, part.len);
    out.extend_from_slice(&part.crc.to_le_bytes());
    *end = part.offset.wrapping_add(part.len);
}

pub(super) fn read_part(reader: &mut Reader<'_>, end: &mut u64, data_bytes: u64) -> Result<Part> {
    let offset = end.wrapping_add(unzigzag(reader.u64()?) as u64);
    let part = Part {
        offset,
        len: reader.u64()?,
        crc: reader.u32_le()?,
    };
    match part.offset.checked_add(part.len).filter(|after| *after <= data_bytes) {
        Some(after) => *end = after,
        None => {
            return Err(Error::corruption(format!(
                "a block part of {} bytes at {} reaches beyond the data file's {data_bytes} bytes",
                part.len, part.offset
            )));
        }
    }
    Ok(part)
}
