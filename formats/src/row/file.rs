//! Row files: header, blocks, footer.

use arrow::array::{Array, BinaryArray, Int8Array, Int64Array, RecordBatch};
use kodiak_core::block::Codecs;
use kodiak_core::format::{BlockHandle, BlockWriter, Compression, FileLayout, Part};
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::{ReadableFile, WritableFile};
use kodiak_core::varint::Reader;
use kodiak_core::{EntryRef, Error, ErrorKind, Op, Result};

use super::block::{HEADER, header, store};
use super::layout::encode;
use crate::compress::Compressor;
use crate::file::{crc_of, read_at};
use crate::sink::PartSink;

/// The file begins and ends with it.
const MAGIC: &[u8; 8] = b"KODIAKRW";
/// The version written, after the magic at the start.
const VERSION: u32 = 1;
/// Magic, version, four zero bytes.
const HEAD: u64 = 16;
/// Of each block in the footer: offset (8 bytes), length (8), rows (4), CRC32 (4).
const ENTRY: u64 = 24;
/// Number of blocks (4 bytes), CRC32 of the footer up to here (4), magic (8).
const TAIL: u64 = 16;

pub(super) struct RowWriter {
    sink: PartSink,
    schema: TableSchema,
    codecs: Codecs,
    compression: Compression,
    compressor: Compressor,
    interval: usize,
    handles: Vec<BlockHandle>,
    // Kept from block to block for their memory.
    block: Vec<u8>,
    stored: Vec<u8>,
    encoded: Vec<u8>,
}

impl RowWriter {
    pub(super) fn new(
        file: Box<dyn WritableFile>,
        schema: &TableSchema,
        compression: Compression,
        interval: usize,
    ) -> Result<Self> {
        let mut sink = PartSink::new(file)?;
        sink.put(MAGIC)?;
        sink.put(&VERSION.to_le_bytes())?;
        sink.pad(4)?;
        Ok(Self {
            sink,
            schema: schema.clone(),
            codecs: Codecs::new(schema),
            compression,
            compressor: Compressor::new(compression)?,
            interval: interval.max(1),
            handles: Vec::new(),
            block: Vec::new(),
            stored: Vec::new(),
            encoded: Vec::new(),
        })
    }

    /// Encodes the rows of a batch as a block.
    fn encode(&mut self, batch: &RecordBatch) -> Result<()> {
        let own = self.schema.columns().fields().len();
        let seqs = column::<Int64Array>(batch, own)?;
        let ops = column::<Int8Array>(batch, own + 1)?;
        let rows = batch.num_rows();
        for row in 0..rows {
            if seqs.value(row) < 0 || !(0..=Op::Merge as i8).contains(&ops.value(row)) {
                return Err(Error::invalid_input(format!(
                    "row {row} has no sequence number or operation of a run"
                )));
            }
        }
        let parts = |row: usize| {
            let op = [Op::Put, Op::Delete, Op::Merge][ops.value(row) as usize];
            (seqs.value(row) as u64, op)
        };
        self.block.clear();
        if self.schema.is_key_value() {
            let (keys, values) = (column::<BinaryArray>(batch, 0)?, column::<BinaryArray>(batch, 1)?);
            let entry = |row| {
                let (seq, op) = parts(row);
                EntryRef {
                    key: keys.value(row),
                    seq,
                    op,
                    value: values.value(row),
                }
            };
            return encode(rows, entry, self.interval, &mut self.block);
        }
        let columns = &batch.columns()[..own];
        let keys = self.codecs.key.encode(columns)?;
        self.encoded.clear();
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        for row in 0..rows {
            if parts(row).1 != Op::Delete {
                self.codecs.row.encode(columns, row, &mut self.encoded)?;
            }
            ends.push(self.encoded.len());
        }
        let entry = |row| {
            let (seq, op) = parts(row);
            EntryRef {
                key: keys.value(row),
                seq,
                op,
                value: &self.encoded[ends[row]..ends[row + 1]],
            }
        };
        encode(rows, entry, self.interval, &mut self.block)
    }
}

impl BlockWriter for RowWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = self.schema.columns().fields().len() + 2;
        if batch.num_columns() != columns || batch.num_rows() == 0 {
            return Err(Error::invalid_input(format!(
                "a block of {} columns and {} rows cannot be written to a run of {columns} columns",
                batch.num_columns(),
                batch.num_rows()
            )));
        }
        self.encode(batch)?;
        self.stored.clear();
        store(self.compression, &mut self.compressor, &self.block, &mut self.stored)?;
        self.sink.begin();
        self.sink.put(&self.stored)?;
        self.handles.push(BlockHandle {
            rows: batch.num_rows() as u32,
            parts: vec![self.sink.end()],
        });
        Ok(())
    }

    fn estimated_bytes(&self) -> u64 {
        self.sink.position()
    }

    fn finish(mut self: Box<Self>, sync: bool) -> Result<FileLayout> {
        let mut footer = Vec::with_capacity(self.handles.len() * ENTRY as usize + TAIL as usize);
        for handle in &self.handles {
            let part = &handle.parts[0];
            footer.extend_from_slice(&part.offset.to_le_bytes());
            footer.extend_from_slice(&part.len.to_le_bytes());
            footer.extend_from_slice(&handle.rows.to_le_bytes());
            footer.extend_from_slice(&part.crc.to_le_bytes());
        }
        let count = u32::try_from(self.handles.len())
            .map_err(|_| Error::invalid_input("a row file has too many blocks for its footer: use larger ones"))?;
        footer.extend_from_slice(&count.to_le_bytes());
        let crc = crc32fast::hash(&footer);
        footer.extend_from_slice(&crc.to_le_bytes());
        footer.extend_from_slice(MAGIC);
        self.sink.put(&footer)?;
        let file_bytes = self.sink.finish(sync)?;
        Ok(FileLayout {
            blocks: self.handles,
            shared: Vec::new(),
            file_bytes,
        })
    }
}

/// Finds the blocks of a file by its footer, trusting nothing in it.
pub(super) fn recover(file: &dyn ReadableFile) -> Result<FileLayout> {
    let len = file.len();
    if len < HEAD + TAIL {
        return Err(damaged("this is no row file: it is shorter than header and footer", 0));
    }
    let head = read_at(file, 0, HEAD)?;
    if !head.starts_with(MAGIC) {
        return Err(damaged("this is no row file: it does not begin with KODIAKRW", 0));
    }
    let version = Reader::new(&head[MAGIC.len()..]).u32_le()?;
    if version != VERSION {
        let message = format!("the row file has version {version}; this version of Kodiak reads {VERSION}");
        return Err(Error::new(ErrorKind::Unsupported, message).with_offset(8));
    }
    let tail = read_at(file, len - TAIL, TAIL)?;
    let mut reader = Reader::new(&tail);
    let (count, crc) = (u64::from(reader.u32_le()?), reader.u32_le()?);
    let Some(start) = (len - TAIL)
        .checked_sub(count * ENTRY)
        .filter(|&start| start >= HEAD && tail.ends_with(MAGIC))
    else {
        return Err(damaged(
            "the file does not end with a footer; it may be cut short",
            len - TAIL,
        ));
    };
    let footer = read_at(file, start, count * ENTRY + 4)?;
    if crc32fast::hash(&footer) != crc {
        return Err(damaged("the footer's checksum differs", start));
    }
    let mut reader = Reader::new(&footer);
    let mut blocks = Vec::new();
    let mut end = HEAD;
    for _ in 0..count {
        let (offset, len) = (reader.u64_le()?, reader.u64_le()?);
        let (rows, expected) = (reader.u32_le()?, reader.u32_le()?);
        // Blocks follow each other, so all of them together are not read more than once.
        end = offset
            .checked_add(len)
            .filter(|&next| offset >= end && next <= start && len > HEADER as u64)
            .ok_or_else(|| damaged("the footer names a range outside the file or of another block", start))?;
        header(&read_at(file, offset, HEADER as u64)?).map_err(|error| error.with_offset(offset))?;
        let crc = crc_of(file, offset, len)?;
        if crc != expected {
            return Err(damaged("a block's checksum differs", offset));
        }
        blocks.push(BlockHandle {
            rows,
            parts: vec![Part { offset, len, crc }],
        });
    }
    Ok(FileLayout {
        blocks,
        shared: Vec::new(),
        file_bytes: len,
    })
}

fn damaged(message: &str, offset: u64) -> Error {
    Error::corruption(message).with_offset(offset)
}

fn column<A: Array + 'static>(batch: &RecordBatch, index: usize) -> Result<&A> {
    let column = batch.column(index);
    column
        .as_any()
        .downcast_ref::<A>()
        .filter(|_| column.null_count() == 0)
        .ok_or_else(|| {
            Error::invalid_input(format!(
                "column {index} is of type {} or has nulls, unlike the run's",
                column.data_type()
            ))
        })
}
