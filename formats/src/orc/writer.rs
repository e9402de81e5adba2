//! Writing: each block becomes a stripe at once; the tail follows at the end.

use arrow::array::RecordBatch;
use kodiak_core::format::{BlockHandle, BlockWriter, Compression, FileLayout, Part, WriteOptions};
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::WritableFile;
use kodiak_core::{Error, Result};
use orc_rust::proto::{self, ColumnEncoding, column_encoding};
use prost::Message;

use super::chunks::{self, CHUNK};
use super::encode;
use super::stats;
use super::types::{self, Column, Store};
use crate::raw::Compressor;
use crate::sink::PartSink;

/// What begins an ORC file, and ends its postscript.
pub(super) const MAGIC: &str = "ORC";
/// The code of a writer that is not among the registered ones.
const WRITER: u32 = u32::MAX;

pub(super) struct Writer {
    sink: PartSink,
    columns: Vec<Column>,
    encodings: Vec<ColumnEncoding>,
    timezone: Option<String>,
    compression: Compression,
    compressor: Compressor,
    stripes: Vec<proto::StripeInformation>,
    /// Of each stripe: those of all rows, then those of the columns.
    stripe_stats: Vec<proto::StripeStatistics>,
    /// Of the file.
    stats: Vec<proto::ColumnStatistics>,
    blocks: Vec<BlockHandle>,
    rows: u64,
    data: Vec<u8>,
    footer: Vec<u8>,
    scratch: Vec<u8>,
}

impl Writer {
    pub fn new(file: Box<dyn WritableFile>, schema: &TableSchema, options: &WriteOptions) -> Result<Self> {
        Self::of(file, types::columns(schema)?, options)
    }

    /// A writer of any columns.
    pub fn of(file: Box<dyn WritableFile>, columns: Vec<Column>, options: &WriteOptions) -> Result<Self> {
        let encoding = |store| match store {
            Store::Bits | Store::Byte | Store::Raw(_) | Store::Struct => column_encoding::Kind::Direct,
            Store::Integer | Store::Bytes | Store::Timestamp(_) | Store::Decimal | Store::List => {
                column_encoding::Kind::DirectV2
            }
        };
        let all = types::flat(&columns);
        let kinds = std::iter::once(column_encoding::Kind::Direct).chain(all.iter().map(|c| encoding(c.store)));
        let mut sink = PartSink::new(file)?;
        sink.put(MAGIC.as_bytes())?;
        Ok(Self {
            sink,
            encodings: kinds
                .map(|kind| ColumnEncoding {
                    kind: Some(kind as i32),
                    ..Default::default()
                })
                .collect(),
            timezone: all
                .iter()
                .any(|c| matches!(c.store, Store::Timestamp(_)))
                .then(|| "UTC".to_owned()),
            stripe_stats: Vec::new(),
            stats: vec![proto::ColumnStatistics::default(); all.len() + 1],
            columns,
            compression: options.compression,
            compressor: Compressor::new(options.compression)?,
            stripes: Vec::new(),
            blocks: Vec::new(),
            rows: 0,
            data: Vec::new(),
            footer: Vec::new(),
            scratch: Vec::new(),
        })
    }

    fn stream(&mut self, bytes: &[u8], into_footer: bool) -> Result<()> {
        let out = if into_footer { &mut self.footer } else { &mut self.data };
        chunks::put(self.compression, &mut self.compressor, bytes, &mut self.scratch, out)
    }

    fn part(&mut self, footer: bool) -> Result<Part> {
        self.sink.begin();
        let bytes = if footer { &self.footer } else { &self.data };
        self.sink.put(bytes)?;
        Ok(self.sink.end())
    }

    /// Writes the file's footer and postscript; the latter is what readers of ours need.
    fn tail(&mut self) -> Result<Part> {
        let content = self.sink.position();
        self.footer.clear();
        let metadata = proto::Metadata {
            stripe_stats: std::mem::take(&mut self.stripe_stats),
        };
        self.stream(&metadata.encode_to_vec(), true)?;
        self.part(true)?;
        let metadata_length = self.footer.len() as u64;
        let footer = proto::Footer {
            header_length: Some(MAGIC.len() as u64),
            content_length: Some(content),
            stripes: std::mem::take(&mut self.stripes),
            types: types::types(&self.columns),
            number_of_rows: Some(self.rows),
            statistics: std::mem::take(&mut self.stats),
            row_index_stride: Some(0),
            writer: Some(WRITER),
            software_version: Some(concat!("kodiak ", env!("CARGO_PKG_VERSION")).to_owned()),
            ..Default::default()
        };
        self.footer.clear();
        self.stream(&footer.encode_to_vec(), true)?;
        self.part(true)?;
        let kind = match self.compression {
            Compression::None => proto::CompressionKind::None,
            Compression::Lz4 => proto::CompressionKind::Lz4,
            Compression::Zstd => proto::CompressionKind::Zstd,
        };
        let postscript = proto::PostScript {
            footer_length: Some(self.footer.len() as u64),
            compression: Some(kind as i32),
            compression_block_size: (self.compression != Compression::None).then_some(CHUNK as u64),
            version: vec![0, 12],
            metadata_length: Some(metadata_length),
            // Timestamps and statistics follow the rules of version 6 and later.
            writer_version: Some(6),
            stripe_statistics_length: None,
            magic: Some(MAGIC.to_owned()),
        };
        self.footer = postscript.encode_to_vec();
        let len = u8::try_from(self.footer.len())
            .map_err(|_| Error::invalid_input("the postscript of an ORC file has more than 255 bytes"))?;
        self.footer.push(len);
        self.part(true)
    }
}

impl BlockWriter for Writer {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_columns() != self.columns.len() {
            return Err(Error::invalid_input(format!(
                "a block has {} columns where the table's runs have {}",
                batch.num_columns(),
                self.columns.len()
            )));
        }
        let rows = u32::try_from(batch.num_rows())
            .ok()
            .filter(|&rows| rows > 0)
            .ok_or_else(|| {
                Error::invalid_input(format!("a block of {} rows cannot be an ORC stripe", batch.num_rows()))
            })?;
        self.data.clear();
        self.footer.clear();
        let mut encoded = Vec::with_capacity(self.encodings.len());
        for (column, array) in self.columns.iter().zip(batch.columns()) {
            encode::column(column, array, &mut encoded)?;
        }
        let mut streams = Vec::new();
        for column in &encoded {
            for (kind, bytes) in &column.streams {
                let start = self.data.len();
                self.stream(bytes, false)?;
                streams.push(proto::Stream {
                    kind: Some(*kind as i32),
                    column: Some(column.number),
                    length: Some((self.data.len() - start) as u64),
                });
            }
        }
        let footer = proto::StripeFooter {
            streams,
            columns: self.encodings.clone(),
            writer_timezone: self.timezone.clone(),
            encryption: Vec::new(),
        };
        self.stream(&footer.encode_to_vec(), true)?;
        let (data, footer) = (self.part(false)?, self.part(true)?);
        self.stripes.push(proto::StripeInformation {
            offset: Some(data.offset),
            index_length: Some(0),
            data_length: Some(data.len),
            footer_length: Some(footer.len),
            number_of_rows: Some(rows.into()),
            ..Default::default()
        });
        self.blocks.push(BlockHandle {
            rows,
            parts: vec![data, footer],
        });
        self.rows += u64::from(rows);
        let columns = encoded.into_iter().map(|column| column.stats);
        let col_stats: Vec<_> = std::iter::once(stats::of_rows(rows.into())).chain(columns).collect();
        self.stats
            .iter_mut()
            .zip(&col_stats)
            .for_each(|(all, more)| stats::add(all, more));
        self.stripe_stats.push(proto::StripeStatistics { col_stats });
        Ok(())
    }

    fn estimated_bytes(&self) -> u64 {
        self.sink.position()
    }

    fn finish(mut self: Box<Self>, sync: bool) -> Result<FileLayout> {
        let postscript = self.tail()?;
        let file_bytes = self.sink.finish(sync)?;
        Ok(FileLayout {
            blocks: self.blocks,
            shared: vec![postscript],
            file_bytes,
        })
    }
}
