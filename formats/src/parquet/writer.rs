//! Writing: pages gather by column until a row group is full, then its columns go out one after the other.

use std::io::Write;

use arrow::array::{Array, ArrayRef, RecordBatch};
use kodiak_core::format::{BlockHandle, BlockWriter, FileLayout, Part, WriteOptions};
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::WritableFile;
use kodiak_core::{Error, ErrorKind, Result};
use parquet::arrow::{ARROW_SCHEMA_META_KEY, encode_arrow_schema};
use parquet::file::metadata::{
    FileMetaData, KeyValue, ParquetMetaDataBuilder, ParquetMetaDataWriter, RowGroupMetaData, SortingColumn,
};

use crate::raw::Compressor;

use super::chunk::{ChunkBuffer, Indexes};
use super::encode::{self, Levels};
use super::footer::{MAGIC, TAIL};
use super::page::PageHeader;
use super::plan::Plan;
use super::shred::shred;

/// A page shorter than this is not worth compressing.
const MIN_COMPRESSED: usize = 64;

pub(super) struct Writer {
    file: Box<dyn WritableFile>,
    plan: Plan,
    sorting: Option<Vec<SortingColumn>>,
    options: WriteOptions,
    row_group_bytes: u64,
    compressor: Compressor,
    chunks: Vec<ChunkBuffer>,
    group_rows: Vec<u32>,
    groups: Vec<(RowGroupMetaData, Vec<Indexes>)>,
    blocks: Vec<BlockHandle>,
    written: u64,
    page: Vec<u8>,
    compressed: Vec<u8>,
}

impl Writer {
    pub fn new(file: Box<dyn WritableFile>, schema: &TableSchema, options: &WriteOptions) -> Result<Self> {
        let plan = Plan::new(schema)?;
        let sorting = sorting(schema, &plan);
        Self::of(file, plan, sorting, options)
    }

    /// A writer of any columns.
    pub fn of(
        mut file: Box<dyn WritableFile>,
        plan: Plan,
        sorting: Option<Vec<SortingColumn>>,
        options: &WriteOptions,
    ) -> Result<Self> {
        if file.position() != 0 {
            return Err(Error::invalid_input("a data file must be begun in an empty file"));
        }
        file.write_all(MAGIC).map_err(refused)?;
        Ok(Self {
            sorting,
            chunks: plan.columns.iter().map(|_| ChunkBuffer::default()).collect(),
            plan,
            row_group_bytes: options.options.int("row_group_bytes"),
            compressor: Compressor::new(options.compression)?,
            options: options.clone(),
            group_rows: Vec::new(),
            groups: Vec::new(),
            blocks: Vec::new(),
            written: MAGIC.len() as u64,
            page: Vec::new(),
            compressed: Vec::new(),
            file,
        })
    }

    fn buffered(&self) -> u64 {
        self.chunks.iter().map(ChunkBuffer::len).sum()
    }

    /// Appends the pages of one column to its chunks.
    fn column(&mut self, index: usize, array: &ArrayRef) -> Result<()> {
        let node = &self.plan.nodes[index];
        let (leaves, rows) = (node.leaves.clone(), array.len());
        if node.is_flat() {
            let column = &self.plan.columns[leaves.start];
            let array = encode::plain(column, array)?;
            let levels = encode::page(column, &array, &mut self.page)?;
            return self.page(leaves.start, levels, &array, rows);
        }
        for (leaf, shredded) in leaves.zip(shred(node, array, &self.plan.columns)?) {
            let levels = encode::nested_page(&self.plan.columns[leaf], &shredded, &mut self.page)?;
            self.page(leaf, levels, &shredded.values, rows)?;
        }
        Ok(())
    }

    /// Appends the page at hand, of so many rows with these values, to its chunk.
    fn page(&mut self, leaf: usize, levels: Levels, values: &ArrayRef, rows: usize) -> Result<()> {
        let (column, chunk) = (&self.plan.columns[leaf], &mut self.chunks[leaf]);
        let level_len = levels.repetitions + levels.definitions;
        let (level_bytes, encoded) = self.page.split_at(level_len);
        let is_compressed =
            encoded.len() >= MIN_COMPRESSED && self.compressor.compress(encoded, &mut self.compressed)?;
        let encoded = if is_compressed {
            self.compressed.as_slice()
        } else {
            encoded
        };
        let compressed = level_len + encoded.len();
        if i32::try_from(self.page.len().max(levels.entries)).is_err() {
            return Err(Error::invalid_input(format!(
                "column \"{}\" of one block has {} bytes, more than a Parquet page holds: use a smaller format.block_size",
                column.name,
                self.page.len()
            )));
        }
        let header = PageHeader {
            uncompressed: self.page.len(),
            compressed,
            crc: None,
            values: levels.entries,
            rows,
            nulls: levels.nulls,
            encoding: column.store.encoding(),
            repetitions: levels.repetitions,
            definitions: levels.definitions,
            is_compressed,
        };
        chunk.add(column, header, (level_bytes, encoded), values);
        Ok(())
    }

    /// Writes the row group that has gathered.
    fn end_group(&mut self) -> Result<()> {
        let first = self.blocks.len();
        let columns = self.chunks.len();
        self.blocks.extend(self.group_rows.drain(..).map(|rows| BlockHandle {
            rows,
            parts: Vec::with_capacity(columns),
        }));
        let rows = self.blocks[first..].iter().map(|block| i64::from(block.rows)).sum();
        let mut metadata = Vec::with_capacity(columns);
        let mut indexes = Vec::with_capacity(columns);
        let group_offset = self.written;
        let mut total = 0;
        for (index, chunk) in self.chunks.iter_mut().enumerate() {
            let offset = self.written;
            chunk.write(&mut self.file)?;
            self.written += chunk.len();
            for (block, part) in self.blocks[first..].iter_mut().zip(chunk.parts(offset)) {
                block.parts.push(part);
            }
            total += chunk.uncompressed;
            metadata.push(chunk.describe(&self.plan, self.options.compression, index, offset)?);
            indexes.push(chunk.indexes(&self.plan.columns[index], offset));
            chunk.clear();
        }
        let group = RowGroupMetaData::builder(self.plan.descriptor.clone())
            .set_num_rows(rows)
            .set_total_byte_size(total as i64)
            .set_column_metadata(metadata)
            .set_sorting_columns(self.sorting.clone())
            .set_ordinal(i16::try_from(self.groups.len()).unwrap_or(i16::MAX))
            .set_file_offset(group_offset as i64)
            .build()
            .map_err(bug)?;
        self.groups.push((group, indexes));
        Ok(())
    }

    /// Writes the page indexes, then the metadata, and returns where the latter is.
    fn end_file(&mut self) -> Result<Part> {
        let mut groups = Vec::with_capacity(self.groups.len());
        let mut out = Vec::new();
        for (group, indexes) in self.groups.drain(..) {
            let mut columns = Vec::with_capacity(indexes.len());
            for (chunk, index) in group.columns().iter().zip(indexes) {
                let mut builder = chunk.clone().into_builder();
                if let Some(bytes) = index.column {
                    builder = builder
                        .set_column_index_offset(Some((self.written + out.len() as u64) as i64))
                        .set_column_index_length(Some(bytes.len() as i32));
                    out.extend_from_slice(&bytes);
                }
                builder = builder
                    .set_offset_index_offset(Some((self.written + out.len() as u64) as i64))
                    .set_offset_index_length(Some(index.offset.len() as i32));
                out.extend_from_slice(&index.offset);
                columns.push(builder.build().map_err(bug)?);
            }
            groups.push(group.into_builder().set_column_metadata(columns).build().map_err(bug)?);
        }
        self.file.write_all(&out).map_err(refused)?;
        self.written += out.len() as u64;

        let rows = groups.iter().map(RowGroupMetaData::num_rows).sum();
        let arrow = KeyValue::new(ARROW_SCHEMA_META_KEY.to_owned(), encode_arrow_schema(&self.plan.stored));
        let file = FileMetaData::new(
            // Version 2: the encodings in use are newer than version 1.
            2,
            rows,
            Some(concat!("kodiak version ", env!("CARGO_PKG_VERSION")).to_owned()),
            Some(vec![arrow]),
            self.plan.descriptor.clone(),
            None,
        );
        let metadata = ParquetMetaDataBuilder::new(file).set_row_groups(groups).build();
        out.clear();
        ParquetMetaDataWriter::new(&mut out, &metadata).finish().map_err(bug)?;
        self.file.write_all(&out).map_err(refused)?;
        let footer = &out[..out.len() - TAIL as usize];
        let part = Part {
            offset: self.written,
            len: footer.len() as u64,
            crc: crc32fast::hash(footer),
        };
        self.written += out.len() as u64;
        Ok(part)
    }
}

impl BlockWriter for Writer {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_columns() != self.plan.nodes.len() {
            return Err(Error::invalid_input(format!(
                "a block has {} columns where the table's runs have {}",
                batch.num_columns(),
                self.plan.nodes.len()
            )));
        }
        let rows = i32::try_from(batch.num_rows())
            .ok()
            .filter(|&rows| rows > 0)
            .ok_or_else(|| {
                Error::invalid_input(format!("a block of {} rows cannot be a Parquet page", batch.num_rows()))
            })?;
        for (index, array) in batch.columns().iter().enumerate() {
            self.column(index, array)?;
        }
        self.group_rows.push(rows as u32);
        if self.buffered() >= self.row_group_bytes {
            self.end_group()?;
        }
        Ok(())
    }

    fn estimated_bytes(&self) -> u64 {
        self.written + self.buffered()
    }

    fn finish(mut self: Box<Self>, sync: bool) -> Result<FileLayout> {
        if !self.group_rows.is_empty() {
            self.end_group()?;
        }
        let footer = self.end_file()?;
        let layout = FileLayout {
            blocks: self.blocks,
            shared: vec![footer],
            file_bytes: self.written,
        };
        self.file.finish(sync)?;
        Ok(layout)
    }
}

/// What a row group is sorted by, where Parquet's order of the key's types is Kodiak's.
fn sorting(schema: &TableSchema, plan: &Plan) -> Option<Vec<SortingColumn>> {
    schema
        .key()
        .iter()
        .map(|key| {
            let field = schema.columns().field(key.index);
            let same = !field.is_nullable() && !field.data_type().is_floating();
            same.then_some(SortingColumn {
                column_idx: plan.nodes[key.index].leaves.start as i32,
                descending: key.descending,
                nulls_first: false,
            })
        })
        .collect()
}

pub(super) fn refused(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot write a Parquet file").with_source(error)
}

pub(super) fn bug(error: parquet::errors::ParquetError) -> Error {
    Error::new(ErrorKind::InvalidInput, "the metadata of a Parquet file cannot be made").with_source(error)
}
