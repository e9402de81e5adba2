//! The pages of one column that gather until their row group is written.

use std::io::Write;

use arrow::array::ArrayRef;
use crc32fast::Hasher;
use kodiak_core::Result;
use kodiak_core::format::{Compression, Part};
use kodiak_core::memory::Pieces;
use parquet::basic::Encoding;
use parquet::file::metadata::ColumnChunkMetaData;

use super::codec;
use super::index::PageIndex;
use super::page::{PageHeader, encoding};
use super::plan::{Column, Plan};
use super::stats::{self, ChunkBounds};
use super::writer::{bug, refused};

/// A column chunk in the making.
#[derive(Debug, Default)]
pub(super) struct ChunkBuffer {
    bytes: Pieces,
    header: Vec<u8>,
    /// Bytes it would have without compression.
    pub uncompressed: u64,
    /// Values, nulls included.
    entries: u64,
    /// Length and checksum of each page.
    pages: Vec<(u64, u32)>,
    bounds: ChunkBounds,
    index: PageIndex,
}

/// Page indexes of a column chunk, ready to be written near the end of the file.
#[derive(Debug)]
pub(super) struct Indexes {
    pub column: Option<Vec<u8>>,
    pub offset: Vec<u8>,
}

impl ChunkBuffer {
    /// Bytes that have gathered.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Appends a page, of levels and encoded values. The header's checksum is set here; `values` are those that its bounds are of.
    pub fn add(
        &mut self,
        column: &Column,
        mut header: PageHeader,
        (levels, encoded): (&[u8], &[u8]),
        values: &ArrayRef,
    ) {
        let mut body = Hasher::new();
        body.update(levels);
        body.update(encoded);
        header.crc = Some(body.clone().finalize());
        self.header.clear();
        header.write(&mut self.header);
        let mut crc = Hasher::new();
        crc.update(&self.header);
        crc.combine(&body);
        let parts = [&self.header, levels, encoded];
        let len: usize = parts.iter().map(|part| part.len()).sum();
        parts.into_iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.pages.push((len as u64, crc.finalize()));
        self.uncompressed += (self.header.len() + header.uncompressed) as u64;
        self.entries += header.values as u64;
        let bounds = stats::bounds(column, values);
        self.bounds.add(column, bounds.as_ref(), header.nulls, header.values);
        self.index.add(column, bounds, header.nulls, header.values, header.rows);
    }

    /// Where each page is in the file, if the chunk begins at `offset`.
    pub fn parts(&self, mut offset: u64) -> impl Iterator<Item = Part> {
        self.pages.iter().map(move |&(len, crc)| {
            let part = Part { offset, len, crc };
            offset += len;
            part
        })
    }

    /// Appends the chunk to a file.
    pub fn write(&self, file: &mut impl Write) -> Result<()> {
        self.bytes
            .iter()
            .try_for_each(|piece| file.write_all(piece))
            .map_err(refused)
    }

    /// What the metadata says of the chunk, which is of column `index` and begins at `offset`.
    pub fn describe(
        &self,
        plan: &Plan,
        compression: Compression,
        index: usize,
        offset: u64,
    ) -> Result<ColumnChunkMetaData> {
        let column = &plan.columns[index];
        let mut encodings = vec![match column.store.encoding() {
            encoding::DELTA_BINARY_PACKED => Encoding::DELTA_BINARY_PACKED,
            encoding::DELTA_LENGTH_BYTE_ARRAY => Encoding::DELTA_LENGTH_BYTE_ARRAY,
            _ => Encoding::PLAIN,
        }];
        if column.definition > 0 {
            encodings.push(Encoding::RLE);
        }
        let mut builder = ColumnChunkMetaData::builder(plan.descriptor.column(index))
            .set_encodings(encodings)
            .set_compression(codec::parquet_codec(compression))
            .set_num_values(self.entries as i64)
            .set_total_compressed_size(self.bytes.len() as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_data_page_offset(offset as i64);
        if column.bounds {
            builder = builder.set_statistics(self.bounds.statistics(column)?);
        }
        builder.build().map_err(bug)
    }

    /// The indexes of its pages, if it begins at `offset`.
    pub fn indexes(&self, column: &Column, offset: u64) -> Indexes {
        Indexes {
            column: self.index.column_index(column),
            offset: self.index.offset_index(offset, &self.pages),
        }
    }

    /// Begins anew, for the next row group. The memory stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pages.clear();
        self.uncompressed = 0;
        self.entries = 0;
        self.bounds = ChunkBounds::default();
        self.index = PageIndex::default();
    }
}
