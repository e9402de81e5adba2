//! Writing Feather files.

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc;
use arrow::ipc::convert::IpcSchemaEncoder;
use flatbuffers::{FlatBufferBuilder, WIPOffset};
use kodiak_core::format::{BlockHandle, BlockWriter, Compression, FileLayout};
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::WritableFile;
use kodiak_core::{Error, Result};

use super::shape::Shape;
use super::{ALIGNMENT, CONTINUATION, MAGIC};
use crate::compress::Compressor;
use crate::sink::PartSink;

/// Marks a buffer that compression would not have made smaller and that lies in the file as it is.
const STORED: i64 = -1;

pub(super) struct FeatherWriter {
    sink: PartSink,
    /// As the table has them.
    declared: SchemaRef,
    /// As they lie in the file.
    columns: SchemaRef,
    shapes: Vec<Shape>,
    compression: Compression,
    compressor: Compressor,
    builder: FlatBufferBuilder<'static>,
    blocks: Vec<ipc::Block>,
    handles: Vec<BlockHandle>,
    // Kept from block to block for their memory.
    nodes: Vec<ipc::FieldNode>,
    ranges: Vec<ipc::Buffer>,
    pieces: Vec<Buffer>,
    frames: Vec<u8>,
}

impl FeatherWriter {
    pub(super) fn new(file: Box<dyn WritableFile>, schema: &TableSchema, compression: Compression) -> Result<Self> {
        let columns = super::file_columns(schema);
        let mut writer = Self {
            sink: PartSink::new(file)?,
            shapes: super::shapes(&columns),
            declared: schema.run_columns(),
            columns,
            compression,
            compressor: Compressor::new(compression)?,
            builder: FlatBufferBuilder::new(),
            blocks: Vec::new(),
            handles: Vec::new(),
            nodes: Vec::new(),
            ranges: Vec::new(),
            pieces: Vec::new(),
            frames: Vec::new(),
        };
        writer.sink.put(MAGIC)?;
        writer.sink.pad(2)?;
        let header = IpcSchemaEncoder::new().schema_to_fb_offset(&mut writer.builder, &writer.columns);
        writer.message(ipc::MessageHeader::Schema, header.as_union_value(), 0)?;
        Ok(writer)
    }

    /// Writes the message around `header`, padded so that what follows it is aligned. Returns its length.
    fn message(
        &mut self,
        kind: ipc::MessageHeader,
        header: WIPOffset<flatbuffers::UnionWIPOffset>,
        body: usize,
    ) -> Result<usize> {
        let mut message = ipc::MessageBuilder::new(&mut self.builder);
        message.add_version(ipc::MetadataVersion::V5);
        message.add_header_type(kind);
        message.add_header(header);
        message.add_bodyLength(body as i64);
        let root = message.finish();
        self.builder.finish(root, None);
        let bytes = self.builder.finished_data();
        let start = self.sink.position() as usize;
        let padding = padding(start + 8 + bytes.len());
        let mut prefix = [0; 8];
        prefix[..4].copy_from_slice(&CONTINUATION);
        prefix[4..].copy_from_slice(&((bytes.len() + padding) as u32).to_le_bytes());
        self.sink.put(&prefix)?;
        self.sink.put(bytes)?;
        self.sink.pad(padding)?;
        self.builder.reset();
        Ok(self.sink.position() as usize - start)
    }

    fn check(&self, batch: &RecordBatch) -> Result<()> {
        let fields = self.declared.fields();
        if batch.num_columns() != fields.len() || batch.num_rows() == 0 || u32::try_from(batch.num_rows()).is_err() {
            return Err(Error::invalid_input(format!(
                "a block of {} columns and {} rows cannot be written to a run of {} columns",
                batch.num_columns(),
                batch.num_rows(),
                fields.len()
            )));
        }
        for (field, column) in fields.iter().zip(batch.columns()) {
            if field.data_type() != column.data_type() {
                return Err(Error::invalid_input(format!(
                    "column \"{}\" is of type {}, not {}",
                    field.name(),
                    column.data_type(),
                    field.data_type()
                )));
            }
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(Error::invalid_input(format!(
                    "column \"{}\" must not have nulls",
                    field.name()
                )));
            }
        }
        Ok(())
    }

    /// Replaces the pieces by their compressed forms: eight bytes of length, then a frame.
    fn compress(&mut self) -> Result<()> {
        for piece in &mut self.pieces {
            if piece.is_empty() {
                continue;
            }
            self.frames.clear();
            self.frames.extend_from_slice(&(piece.len() as i64).to_le_bytes());
            self.compressor.frame(piece, &mut self.frames)?;
            if self.frames.len() - 8 >= piece.len() {
                self.frames.truncate(8);
                self.frames[..8].copy_from_slice(&STORED.to_le_bytes());
                self.frames.extend_from_slice(piece);
            }
            *piece = Buffer::from(self.frames.as_slice());
        }
        Ok(())
    }

    fn batch_header(&mut self, rows: usize) -> WIPOffset<flatbuffers::UnionWIPOffset> {
        let builder = &mut self.builder;
        let nodes = builder.create_vector(&self.nodes);
        let buffers = builder.create_vector(&self.ranges);
        let codec = match self.compression {
            Compression::None => None,
            Compression::Lz4 => Some(ipc::CompressionType::LZ4_FRAME),
            Compression::Zstd => Some(ipc::CompressionType::ZSTD),
        };
        let compression = codec.map(|codec| {
            let mut compression = ipc::BodyCompressionBuilder::new(builder);
            compression.add_method(ipc::BodyCompressionMethod::BUFFER);
            compression.add_codec(codec);
            compression.finish()
        });
        let mut batch = ipc::RecordBatchBuilder::new(builder);
        batch.add_length(rows as i64);
        batch.add_nodes(nodes);
        batch.add_buffers(buffers);
        if let Some(compression) = compression {
            batch.add_compression(compression);
        }
        batch.finish().as_union_value()
    }
}

impl BlockWriter for FeatherWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.check(batch)?;
        let rows = batch.num_rows();
        self.nodes.clear();
        self.ranges.clear();
        self.pieces.clear();
        for (index, (shape, column)) in self.shapes.iter().zip(batch.columns()).enumerate() {
            let field = self.columns.field(index);
            if column.data_type() == field.data_type() {
                shape.pieces(column.as_ref(), &mut self.nodes, &mut self.pieces);
                continue;
            }
            let plain = arrow::compute::cast(column, field.data_type()).map_err(|error| {
                let message = format!("column \"{}\" cannot be stored as {}", field.name(), field.data_type());
                Error::invalid_input(message).with_source(error)
            })?;
            shape.pieces(plain.as_ref(), &mut self.nodes, &mut self.pieces);
        }
        if self.compression != Compression::None {
            self.compress()?;
        }
        let mut body = 0;
        for piece in &self.pieces {
            self.ranges.push(ipc::Buffer::new(body as i64, piece.len() as i64));
            body += piece.len() + padding(piece.len());
        }
        self.sink.begin();
        let header = self.batch_header(rows);
        let metadata = self.message(ipc::MessageHeader::RecordBatch, header, body)?;
        for piece in &self.pieces {
            self.sink.put(piece)?;
            self.sink.pad(padding(piece.len()))?;
        }
        let part = self.sink.end();
        self.blocks
            .push(ipc::Block::new(part.offset as i64, metadata as i32, body as i64));
        self.handles.push(BlockHandle {
            rows: rows as u32,
            parts: vec![part],
        });
        self.pieces.clear();
        Ok(())
    }

    fn estimated_bytes(&self) -> u64 {
        self.sink.position()
    }

    fn finish(mut self: Box<Self>, sync: bool) -> Result<FileLayout> {
        self.sink.put(&CONTINUATION)?;
        self.sink.pad(4)?;
        let builder = &mut self.builder;
        let dictionaries = builder.create_vector::<ipc::Block>(&[]);
        let blocks = builder.create_vector(&self.blocks);
        let schema = IpcSchemaEncoder::new().schema_to_fb_offset(builder, &self.columns);
        let mut footer = ipc::FooterBuilder::new(builder);
        footer.add_version(ipc::MetadataVersion::V5);
        footer.add_schema(schema);
        footer.add_dictionaries(dictionaries);
        footer.add_recordBatches(blocks);
        let root = footer.finish();
        builder.finish(root, None);
        let bytes = self.builder.finished_data();
        let len = i32::try_from(bytes.len())
            .map_err(|_| Error::invalid_input("a Feather file has too many blocks for its footer: use larger ones"))?;
        self.sink.put(bytes)?;
        self.sink.put(&len.to_le_bytes())?;
        self.sink.put(MAGIC)?;
        let file_bytes = self.sink.finish(sync)?;
        Ok(FileLayout {
            blocks: self.handles,
            shared: Vec::new(),
            file_bytes,
        })
    }
}

/// How many bytes lead from `position` to the next aligned one.
fn padding(position: usize) -> usize {
    position.next_multiple_of(ALIGNMENT) - position
}
