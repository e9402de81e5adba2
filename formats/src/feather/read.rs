//! Reading the record batches of Feather files.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray};
use arrow::buffer::{Buffer, MutableBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::SchemaRef;
use arrow::ipc;
use flatbuffers::Vector;
use kodiak_core::block::{Block, Codecs};
use kodiak_core::format::{BlockDecoder, BlockHandle, Compression, Projection};
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, ErrorKind, Result};

use super::shape::{Shape, scalars};
use super::{ALIGNMENT, CONTINUATION, leaf};
use crate::columns::{Outputs, needed};
use crate::compress::unframe;

/// The metadata of a record batch, checked against its body and the run's columns.
pub(super) struct Message<'a> {
    nodes: Vector<'a, ipc::FieldNode>,
    buffers: Vector<'a, ipc::Buffer>,
    /// How many rows the batch has.
    pub(super) rows: usize,
    compression: Compression,
}

impl<'a> Message<'a> {
    /// Parses the metadata of a message (its eight bytes of prefix included) that has a body of `body` bytes.
    ///
    /// # Errors
    /// `Corruption` if it is no record batch of such columns, or a buffer is not inside the body.
    pub(super) fn parse(metadata: &'a [u8], body: u64, shapes: &[Shape]) -> Result<Self> {
        let message = metadata
            .strip_prefix(&CONTINUATION)
            .and_then(|rest| rest.split_first_chunk::<4>())
            .filter(|(len, rest)| u32::from_le_bytes(**len) as usize == rest.len())
            .map(|(_, rest)| ipc::root_as_message(rest))
            .ok_or_else(|| Error::corruption("a block does not begin with a message of its length"))?
            .map_err(|error| Error::corruption("a block's metadata is no message").with_source(error))?;
        let Some(batch) = message.header_as_record_batch() else {
            return Err(Error::corruption("a block's message is not a record batch"));
        };
        if u64::try_from(message.bodyLength()) != Ok(body) || message.version() != ipc::MetadataVersion::V5 {
            return Err(Error::corruption(
                "a block's message has another version or length than the file says",
            ));
        }
        let compression = match batch.compression() {
            None => Compression::None,
            Some(how) if how.method() != ipc::BodyCompressionMethod::BUFFER => return Err(unknown_compression()),
            Some(how) if how.codec() == ipc::CompressionType::LZ4_FRAME => Compression::Lz4,
            Some(how) if how.codec() == ipc::CompressionType::ZSTD => Compression::Zstd,
            Some(_) => return Err(unknown_compression()),
        };
        let rows = usize::try_from(batch.length())
            .ok()
            .filter(|rows| (1..=u32::MAX as usize).contains(rows));
        let Some(rows) = rows else {
            return Err(Error::corruption(format!("a block claims {} rows", batch.length())));
        };
        let (Some(nodes), Some(buffers)) = (batch.nodes(), batch.buffers()) else {
            return Err(Error::corruption("a block's metadata names no columns"));
        };
        let message = Self {
            nodes,
            buffers,
            rows,
            compression,
        };
        message.check(body, shapes)?;
        Ok(message)
    }

    fn check(&self, body: u64, shapes: &[Shape]) -> Result<()> {
        let (nodes, buffers) = (self.nodes, self.buffers);
        let wanted: usize = shapes.iter().map(|shape| shape.buffers()).sum();
        let wanted_nodes: usize = shapes.iter().map(Shape::nodes).sum();
        if nodes.len() != wanted_nodes || buffers.len() != wanted {
            return Err(Error::corruption(format!(
                "a block has {} columns of {} buffers, not {wanted_nodes} of {wanted}",
                nodes.len(),
                buffers.len()
            )));
        }
        for node in nodes {
            let (len, nulls) = (usize::try_from(node.length()), usize::try_from(node.null_count()));
            if !len.is_ok_and(|len| nulls.is_ok_and(|nulls| nulls <= len)) {
                return Err(Error::corruption("a column of a block has more nulls than rows"));
            }
        }
        let mut first = 0;
        for shape in shapes {
            if nodes.get(first).length() != self.rows as i64 {
                return Err(Error::corruption("a block's columns differ in length"));
            }
            first += shape.nodes();
        }
        for buffer in buffers {
            let (offset, len) = (u64::try_from(buffer.offset()), u64::try_from(buffer.length()));
            let (Ok(offset), Ok(len)) = (offset, len) else {
                return Err(outside());
            };
            if offset % 8 != 0 || offset.checked_add(len).is_none_or(|end| end > body) {
                return Err(outside());
            }
        }
        Ok(())
    }

    /// The length and number of nulls of a column or one of its children.
    fn node(&self, index: usize) -> (usize, usize) {
        let node = self.nodes.get(index);
        (node.length() as usize, node.null_count() as usize)
    }

    /// The bytes of a buffer as they lie in the body.
    fn raw(&self, body: &Buffer, index: usize) -> Buffer {
        let range = self.buffers.get(index);
        body.slice_with_length(range.offset() as usize, range.length() as usize)
    }
}

/// The buffers of a message, by their numbers.
enum Buffers<'m> {
    /// In the body, as they are.
    Lying(&'m Message<'m>, &'m Buffer),
    /// Those of the needed columns decompressed, the others empty.
    Decoded(Vec<Buffer>),
}

impl Buffers<'_> {
    fn get(&self, index: usize) -> Buffer {
        match self {
            Self::Lying(message, body) => message.raw(body, index),
            Self::Decoded(buffers) => buffers[index].clone(),
        }
    }

    fn range(&self, range: Range<usize>) -> Vec<Buffer> {
        range.map(|index| self.get(index)).collect()
    }
}

#[derive(Debug)]
pub(super) struct FeatherDecoder {
    outputs: Outputs,
    /// As they lie in the file.
    columns: SchemaRef,
    shapes: Vec<Shape>,
    max_decoded: usize,
}

impl FeatherDecoder {
    pub(super) fn new(schema: &TableSchema, codecs: &Codecs, max_decoded: usize) -> Self {
        let columns = super::file_columns(schema);
        Self {
            outputs: Outputs::new(schema, codecs),
            shapes: super::shapes(&columns),
            columns,
            max_decoded,
        }
    }

    /// The buffers of the needed columns, and how many bytes the block keeps beside the part.
    fn buffers<'m>(&self, message: &'m Message<'m>, body: &'m Buffer, needed: &[bool]) -> Result<(Buffers<'m>, usize)> {
        if message.compression == Compression::None && body.len() <= self.max_decoded {
            return Ok((Buffers::Lying(message, body), 0));
        }
        let (buffers, memory) = self.decompressed(message, body, needed)?;
        Ok((Buffers::Decoded(buffers), memory))
    }

    /// The buffers of the needed columns, decompressed if they are not stored as they are; those of the others are empty. Also
    /// says how many bytes were made.
    fn decompressed(&self, message: &Message<'_>, body: &Buffer, needed: &[bool]) -> Result<(Vec<Buffer>, usize)> {
        let count: usize = self.shapes.iter().map(|shape| shape.buffers()).sum();
        let mut buffers = Vec::with_capacity(count);
        // Length of each compressed buffer once decoded, or 0 for one that is used as it is.
        let mut decoded = Vec::with_capacity(count);
        let mut total = 0usize;
        let mut used = 0usize;
        for (shape, &needed) in self.shapes.iter().zip(needed) {
            for _ in 0..shape.buffers() {
                let index = buffers.len();
                let raw = if needed {
                    message.raw(body, index)
                } else {
                    Buffer::default()
                };
                let (raw, len) = declared(message.compression, raw)?;
                used = used.saturating_add(len.max(raw.len()));
                total = total.saturating_add(len).saturating_add(ALIGNMENT);
                buffers.push(raw);
                decoded.push(len);
            }
        }
        if used > self.max_decoded {
            return Err(Error::corruption(format!(
                "a block would decode to {used} bytes, above the limit of {}",
                self.max_decoded
            )));
        }
        if decoded.iter().all(|&len| len == 0) {
            return Ok((buffers, 0));
        }
        let mut memory = MutableBuffer::from_len_zeroed(total);
        let mut ranges = Vec::with_capacity(count);
        let mut start = 0;
        for (raw, &len) in buffers.iter().zip(&decoded) {
            if len > 0 {
                unframe(message.compression, raw, &mut memory.as_slice_mut()[start..start + len])?;
            }
            ranges.push(start);
            start = (start + len).next_multiple_of(ALIGNMENT);
        }
        let memory = Buffer::from(memory);
        for ((buffer, start), len) in buffers.iter_mut().zip(ranges).zip(decoded) {
            if len > 0 {
                *buffer = memory.slice_with_length(start, len);
            }
        }
        Ok((buffers, total))
    }

    /// The table's own columns, those that are needed, and how much memory it took to make other types of what lies in the file.
    fn columns(
        &self,
        message: &Message<'_>,
        buffers: &Buffers<'_>,
        needed: &[bool],
    ) -> Result<(Vec<Option<ArrayRef>>, usize)> {
        let schema = self.outputs.schema();
        let own = schema.columns().fields().len();
        let (mut first, mut first_node) = (0, 0);
        let mut columns = Vec::with_capacity(own);
        let mut memory = 0;
        for (index, &needed) in needed.iter().enumerate().take(own) {
            let shape = &self.shapes[index];
            let range = first..first + shape.buffers();
            let nodes = first_node..first_node + shape.nodes();
            (first, first_node) = (range.end, nodes.end);
            if !needed {
                columns.push(None);
                continue;
            }
            let node = message.node(nodes.start);
            let stored = self.columns.field(index).data_type();
            let column: ArrayRef = if schema.is_key_value() {
                Arc::new(binary(message.rows, node.1, &buffers.range(range))?)
            } else if let Some(plain) = leaf::column(shape, stored, node, |at| buffers.get(range.start + at)) {
                plain?
            } else {
                let nodes: Vec<_> = nodes.map(|index| message.node(index)).collect();
                shape.column(stored, &nodes, &buffers.range(range))?
            };
            let declared = self.outputs.columns().field(index);
            if column.data_type() == declared.data_type() {
                columns.push(Some(column));
                continue;
            }
            let column = arrow::compute::cast(&column, declared.data_type()).map_err(|error| {
                let message = format!("column \"{}\" cannot become {}", declared.name(), declared.data_type());
                Error::new(ErrorKind::Unsupported, message).with_source(error)
            })?;
            memory += column.get_array_memory_size();
            columns.push(Some(column));
        }
        Ok((columns, memory))
    }
}

impl BlockDecoder for FeatherDecoder {
    fn decode(&self, handle: &BlockHandle, parts: &[Buffer], projection: &Projection) -> Result<Arc<dyn Block>> {
        self.block(handle, parts, projection, false)
    }

    fn decode_again(&self, handle: &BlockHandle, parts: &[Buffer], projection: &Projection) -> Result<Arc<dyn Block>> {
        self.block(handle, parts, projection, true)
    }
}

impl FeatherDecoder {
    fn block(
        &self,
        handle: &BlockHandle,
        parts: &[Buffer],
        projection: &Projection,
        before: bool,
    ) -> Result<Arc<dyn Block>> {
        let [part] = parts else {
            return Err(Error::corruption(format!(
                "a Feather block has one part, not {}",
                parts.len()
            )));
        };
        // Kodiak's storages align; memory from elsewhere may not.
        let aligned = part.as_ptr().align_offset(8) == 0;
        let part = if aligned {
            part.clone()
        } else {
            Buffer::from(part.as_slice())
        };
        let metadata = metadata_len(&part)?;
        let body = part.slice(metadata);
        let message = Message::parse(&part[..metadata], body.len() as u64, &self.shapes)?;
        if message.rows != handle.rows as usize {
            return Err(Error::corruption(format!(
                "a block has {} rows, not {}",
                message.rows, handle.rows
            )));
        }
        let mut wanted = needed(self.outputs.schema(), projection)?;
        wanted.extend([true, true]);
        let (buffers, memory) = self.buffers(&message, &body, &wanted)?;
        let (columns, made) = self.columns(&message, &buffers, &wanted)?;
        let hidden = message.buffers.len() - 4;
        let seqs = scalars(&buffers.get(hidden + 1), message.rows, "sequence numbers")?;
        let ops = scalars(&buffers.get(hidden + 3), message.rows, "operations")?;
        let block = self.outputs.assemble_again(before, projection, &columns, seqs, ops)?;
        let keys = if self.outputs.schema().has_raw_key() {
            0
        } else {
            block.key_memory()
        };
        Ok(Arc::new(block.with_memory(memory + made + keys)))
    }
}

/// How much of a message is metadata, prefix included.
fn metadata_len(part: &[u8]) -> Result<usize> {
    let len = part
        .get(4..8)
        .and_then(|bytes| bytes.first_chunk())
        .map(|bytes| u32::from_le_bytes(*bytes) as usize);
    match len.and_then(|len| len.checked_add(8)) {
        Some(len) if len <= part.len() && len % 8 == 0 => Ok(len),
        _ => Err(Error::corruption("a block's metadata is longer than the block")),
    }
}

/// Takes the length off a compressed buffer: its frame and its decoded length, or its bytes and 0 if they are stored.
fn declared(compression: Compression, raw: Buffer) -> Result<(Buffer, usize)> {
    if compression == Compression::None || raw.is_empty() {
        return Ok((raw, 0));
    }
    let Some((len, _)) = raw.split_first_chunk::<8>() else {
        return Err(Error::corruption("a compressed buffer is too short for its length"));
    };
    match i64::from_le_bytes(*len) {
        -1 => Ok((raw.slice(8), 0)),
        len => match usize::try_from(len) {
            Ok(len) if len > 0 => Ok((raw.slice(8), len)),
            _ => Err(Error::corruption(format!("a compressed buffer claims {len} bytes"))),
        },
    }
}

/// A column of a key-value table, in place.
fn binary(rows: usize, nulls: usize, buffers: &[Buffer]) -> Result<BinaryArray> {
    if nulls != 0 {
        return Err(Error::corruption("a key-value block holds nulls"));
    }
    let offsets: ScalarBuffer<i32> = scalars(&buffers[1], rows + 1, "offsets")?;
    let data = &buffers[2];
    let rising = offsets
        .windows(2)
        .fold(true, |rising, pair| rising & (pair[0] <= pair[1]));
    if !rising || offsets[0] != 0 || usize::try_from(offsets[rows]) != Ok(data.len()) {
        return Err(Error::corruption(
            "the offsets of a block do not rise from zero to the end of its data",
        ));
    }
    BinaryArray::try_new(OffsetBuffer::new(offsets), data.clone(), None)
        .map_err(|error| Error::corruption("a block's column is malformed").with_source(error))
}

#[cold]
fn outside() -> Error {
    Error::corruption("a block's metadata names bytes outside the block")
}

#[cold]
fn unknown_compression() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "a block's compression is neither LZ4 nor Zstandard",
    )
}
