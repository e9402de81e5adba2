//! ORC files of any writer, decoded here: the `orc-rust` crate lends the messages of ORC's metadata only, because its reader
//! allocates what lengths claim.

mod columns;
mod ints;
mod types;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use kodiak_core::storage::ReadableFile;
use kodiak_core::{Error, ErrorKind, Result};
use orc_rust::proto::column_encoding::Kind as Encoding;
use orc_rust::proto::stream::Kind as StreamKind;
use orc_rust::proto::r#type::Kind;
use orc_rust::proto::{CompressionKind, Footer, PostScript, StripeFooter, StripeInformation};
use prost::Message;

use super::codec::Codec;
use super::guard::guarded;
use super::{Blocks, MAX_DECODED};
use crate::budget::Budget;
use crate::file::read_at;
use columns::Reader;

/// What begins a file and stands in its postscript.
const MAGIC: &str = "ORC";
/// Metadata may have so many bytes once decompressed: messages take many times their bytes in memory.
const MAX_METADATA: usize = 16 << 20;
/// The largest chunk that can be compressed as one.
const MAX_CHUNK: u64 = 1 << 23;
/// Rows of a stripe, at most: those of columns without bytes cost nothing in the file.
const MAX_ROWS: u64 = 1 << 28;

/// How streams are compressed: the codec, and the most that a chunk decompresses to.
#[derive(Debug, Clone, Copy)]
struct Packing {
    codec: Codec,
    chunk: usize,
}

/// A column of the root, or what is inside of one.
#[derive(Debug, Clone)]
struct Column {
    id: u32,
    kind: Kind,
    data_type: DataType,
    /// The items of lists, the keys and values of maps, the members of structs.
    children: Vec<Column>,
}

pub(super) struct Orc {
    file: Arc<dyn ReadableFile>,
    packing: Packing,
    schema: SchemaRef,
    columns: Vec<Column>,
    stripes: std::vec::IntoIter<StripeInformation>,
    /// Where the stripes end.
    end: u64,
    consumed: u64,
}

impl Orc {
    pub fn open(file: Arc<dyn ReadableFile>) -> Result<Self> {
        let cut = || Error::corruption("the file is too short for ORC, or cut off").with_offset(file.len());
        let last = file.len().checked_sub(1).ok_or_else(cut)?;
        let len = u64::from(read_at(&*file, last, 1)?[0]);
        let at = last.checked_sub(len).ok_or_else(cut)?;
        let postscript = PostScript::decode(read_at(&*file, at, len)?.as_slice()).map_err(|error| {
            Error::corruption("the postscript is malformed")
                .with_offset(at)
                .with_source(error)
        })?;
        let packing = packing(&postscript).map_err(|error| error.with_offset(at))?;
        let footer_at = at.checked_sub(postscript.footer_length()).ok_or_else(cut)?;
        let end = footer_at.checked_sub(postscript.metadata_length()).ok_or_else(cut)?;
        let bytes = read_at(&*file, footer_at, postscript.footer_length())?;
        let bytes =
            unpacked(packing, bytes, &mut Budget::new(MAX_METADATA)).map_err(|error| error.with_offset(footer_at))?;
        if bytes.len() > MAX_METADATA {
            return Err(Error::corruption("the footer is longer than is allowed").with_offset(footer_at));
        }
        let footer = Footer::decode(bytes.as_slice()).map_err(|error| {
            Error::corruption("the footer is malformed")
                .with_offset(footer_at)
                .with_source(error)
        })?;
        if footer.encryption.is_some() {
            return Err(Error::new(ErrorKind::Unsupported, "the file is encrypted"));
        }
        let (columns, schema) = types::columns(&footer).map_err(|error| error.with_offset(footer_at))?;
        Ok(Self {
            file,
            packing,
            schema,
            columns,
            stripes: footer.stripes.into_iter(),
            end,
            consumed: 0,
        })
    }

    fn stripe(&self, place: &StripeInformation, columns: &[usize]) -> Result<RecordBatch> {
        let mut budget = Budget::new(MAX_DECODED);
        let stripe = Stripe::open(&*self.file, self.packing, place, self.end, &mut budget)?;
        let column = |&index: &usize| {
            let column = self
                .columns
                .get(index)
                .ok_or_else(|| Error::corruption("the file has no such column"))?;
            guarded(|| Reader::read(&stripe, column, stripe.rows, &mut budget)).map_err(|error| {
                let message = format!("column \"{}\": {}", self.schema.field(index).name(), error.message());
                Error::new(error.kind(), message).with_source(error)
            })
        };
        let arrays = columns.iter().map(column).collect::<Result<Vec<ArrayRef>>>()?;
        let fields: Vec<Field> = columns
            .iter()
            .zip(&arrays)
            .map(|(&index, array)| Field::new(self.schema.field(index).name(), array.data_type().clone(), true))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(stripe.rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .map_err(|error| Error::corruption("the columns of a stripe make no sense").with_source(error))
    }
}

impl Blocks for Orc {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn next(&mut self, columns: &[usize]) -> Result<Option<RecordBatch>> {
        let Some(place) = self.stripes.next() else {
            return Ok(None);
        };
        let batch = self
            .stripe(&place, columns)
            .map_err(|error| error.with_offset(place.offset()))?;
        self.consumed += place.index_length() + place.data_length() + place.footer_length();
        Ok(Some(batch))
    }

    fn consumed(&self) -> u64 {
        self.consumed
    }
}

fn packing(postscript: &PostScript) -> Result<Packing> {
    if postscript.magic() != MAGIC {
        return Err(Error::corruption("the postscript is not that of an ORC file"));
    }
    // Hive 0.11 and 0.12 are the versions that there are; old files say nothing.
    if !matches!(postscript.version.as_slice(), [] | [0, 11] | [0, 12]) {
        let message = format!(
            "the file is of version {:?} of ORC; 0.11 and 0.12 are read",
            postscript.version
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let codec = match CompressionKind::try_from(postscript.compression.unwrap_or_default()) {
        Ok(CompressionKind::None) => Codec::None,
        Ok(CompressionKind::Zlib) => Codec::Deflate,
        Ok(CompressionKind::Snappy) => Codec::Snappy,
        Ok(CompressionKind::Lz4) => Codec::Lz4,
        Ok(CompressionKind::Zstd) => Codec::Zstd,
        other => {
            let message = format!("the file is compressed with {other:?}; none, zlib, snappy, lz4 and zstd are read");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    };
    let chunk = postscript.compression_block_size.unwrap_or(256 << 10);
    if chunk > MAX_CHUNK && codec != Codec::None {
        return Err(Error::corruption(format!(
            "chunks of {chunk} bytes are larger than is allowed"
        )));
    }
    Ok(Packing {
        codec,
        chunk: chunk.min(MAX_CHUNK) as usize,
    })
}

/// The bytes of a stream: chunks, each after three bytes that tell its length and whether it is compressed.
fn unpacked(packing: Packing, stream: Buffer, budget: &mut Budget) -> Result<Buffer> {
    if packing.codec == Codec::None {
        return Ok(stream);
    }
    let mut out: Vec<u8> = Vec::new();
    let mut rest = stream.as_slice();
    while !rest.is_empty() {
        let malformed = || Error::corruption("a compressed stream is malformed or cut short");
        let header = rest.split_off(..3).ok_or_else(malformed)?;
        let header = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let chunk = rest.split_off(..(header >> 1) as usize).ok_or_else(malformed)?;
        let at = out.len();
        if header & 1 == 1 {
            budget.take(chunk.len(), 1)?;
            out.extend_from_slice(chunk);
        } else {
            out.resize(at + packing.chunk, 0);
            let made = packing.codec.into_slice(chunk, &mut out[at..])?;
            out.truncate(at + made);
            budget.take(made, 1)?;
        }
    }
    Ok(Buffer::from_vec(out))
}

/// The streams of one stripe.
struct Stripe {
    rows: usize,
    packing: Packing,
    data: Buffer,
    /// `(column, kind, offset, length)`
    streams: Vec<(u32, i32, usize, usize)>,
    footer: StripeFooter,
    zone: String,
}

impl Stripe {
    fn open(
        file: &dyn ReadableFile,
        packing: Packing,
        place: &StripeInformation,
        end: u64,
        budget: &mut Budget,
    ) -> Result<Self> {
        let beyond = || Error::corruption("a stripe goes beyond the file's contents");
        let len = place
            .index_length()
            .checked_add(place.data_length())
            .ok_or_else(beyond)?;
        let footer_at = place.offset().checked_add(len).ok_or_else(beyond)?;
        if footer_at
            .checked_add(place.footer_length())
            .is_none_or(|last| last > end)
        {
            return Err(beyond());
        }
        let rows = place.number_of_rows();
        if rows > MAX_ROWS {
            return Err(Error::corruption(format!("a stripe claims {rows} rows")));
        }
        let footer = read_at(file, footer_at, place.footer_length())?;
        let footer = unpacked(packing, footer, &mut Budget::new(MAX_METADATA))?;
        if footer.len() > MAX_METADATA {
            return Err(Error::corruption("the footer of a stripe is longer than is allowed"));
        }
        let footer = StripeFooter::decode(footer.as_slice())
            .map_err(|error| Error::corruption("the footer of a stripe is malformed").with_source(error))?;
        let len = usize::try_from(len).map_err(|_| beyond())?;
        budget.take(len, 1)?;
        let mut streams = Vec::with_capacity(footer.streams.len());
        let mut at = 0usize;
        for stream in &footer.streams {
            let bytes = usize::try_from(stream.length()).map_err(|_| beyond())?;
            streams.push((stream.column(), stream.kind.unwrap_or_default(), at, bytes));
            at = at
                .checked_add(bytes)
                .filter(|&at| at <= len)
                .ok_or_else(|| Error::corruption("the streams of a stripe are longer than the stripe"))?;
        }
        Ok(Self {
            rows: rows as usize,
            packing,
            data: read_at(file, place.offset(), len as u64)?,
            streams,
            zone: footer.writer_timezone().to_owned(),
            footer,
        })
    }

    fn stream(&self, column: u32, kind: StreamKind, budget: &mut Budget) -> Result<Option<Buffer>> {
        let wanted = (column, kind as i32);
        match self.streams.iter().find(|stream| (stream.0, stream.1) == wanted) {
            Some(&(_, _, at, len)) => unpacked(self.packing, self.data.slice_with_length(at, len), budget).map(Some),
            None => Ok(None),
        }
    }

    fn encoding(&self, column: u32) -> Encoding {
        self.footer
            .columns
            .get(column as usize)
            .map_or(Encoding::Direct, |column| column.kind())
    }

    fn dictionary_len(&self, column: u32) -> usize {
        self.footer
            .columns
            .get(column as usize)
            .map_or(0, |column| column.dictionary_size() as usize)
    }
}
