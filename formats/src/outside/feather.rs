//! Arrow IPC files of any writer.
//!
//! Messages are verified and their buffers decompressed here; Arrow's decoder then makes arrays of what is known to lie
//! inside the message, and validates them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{read_dictionary, read_record_batch};
use flatbuffers::FlatBufferBuilder;
use kodiak_core::storage::ReadableFile;
use kodiak_core::{Error, ErrorKind, Result};

use super::codec::Codec;
use super::guard::guarded;
use super::{Blocks, MAX_DECODED, MAX_METADATA, check_decoded};
use crate::feather::recover::read_footer;
use crate::file::read_at;

/// Buffers of a decompressed message begin at multiples of it.
const ALIGNMENT: usize = 64;
/// Rows that a batch may have whose columns take no bytes.
const FREE_ROWS: usize = 1 << 20;
/// A message, body and all, is read at once: more is refused.
const MAX_MESSAGE: u64 = 4 << 30;

/// Where a message lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    metadata: u64,
    body: u64,
}

pub(super) struct Feather {
    file: Arc<dyn ReadableFile>,
    schema: SchemaRef,
    batches: std::vec::IntoIter<Place>,
    dictionaries: HashMap<i64, ArrayRef>,
    consumed: u64,
}

impl Feather {
    pub fn open(file: Arc<dyn ReadableFile>) -> Result<Self> {
        let (start, footer) = read_footer(&*file)?;
        if footer.len() as u64 > MAX_METADATA {
            return Err(Error::corruption(format!("the footer claims {} bytes", footer.len())).with_offset(start));
        }
        let footer = ipc::root_as_footer(&footer).map_err(|error| {
            Error::corruption("the footer is malformed")
                .with_offset(start)
                .with_source(error)
        })?;
        let schema = footer
            .schema()
            .ok_or_else(|| Error::corruption("the footer has no schema").with_offset(start))?;
        if !schema.endianness().equals_to_target_endianness() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the file is of the other endianness",
            ));
        }
        let schema = Arc::new(guarded(|| Ok(fb_to_schema(schema)))?);
        let places = |blocks: Option<flatbuffers::Vector<'_, ipc::Block>>| {
            let blocks = blocks.iter().flatten().map(|block| place(block, start));
            blocks.collect::<Result<Vec<_>>>()
        };
        let (dictionaries, batches) = (places(footer.dictionaries())?, places(footer.recordBatches())?);
        // No byte is read twice, or a small file could keep the reader busy for long.
        let mut all = [dictionaries.as_slice(), batches.as_slice()].concat();
        all.sort_unstable_by_key(|place| place.offset);
        let overlap = |pair: &[Place]| pair[0].offset + pair[0].metadata + pair[0].body > pair[1].offset;
        if all.windows(2).any(overlap) {
            return Err(Error::corruption("the footer names blocks that overlap").with_offset(start));
        }
        let mut opened = Self {
            file,
            schema,
            batches: batches.into_iter(),
            dictionaries: HashMap::new(),
            consumed: 0,
        };
        let mut budget = MAX_DECODED;
        for place in dictionaries {
            opened
                .dictionary(place, &mut budget)
                .map_err(|error| error.with_offset(place.offset))?;
        }
        Ok(opened)
    }

    fn dictionary(&mut self, place: Place, budget: &mut usize) -> Result<()> {
        let (metadata, body) = self.read(place)?;
        let message = message(&metadata)?;
        let dictionary = message
            .header_as_dictionary_batch()
            .ok_or_else(|| Error::corruption("a dictionary is no dictionary"))?;
        let data = dictionary
            .data()
            .ok_or_else(|| Error::corruption("a dictionary has no values"))?;
        let (header, body) = unpacked(data, &body, budget)?;
        // Arrow takes a dictionary with its batch, so one is made around the new batch.
        let mut builder = FlatBufferBuilder::new();
        let old = flatbuffers::root::<ipc::RecordBatch<'_>>(&header).map_err(malformed)?;
        let batch = rebuilt(&mut builder, old, None);
        let around = ipc::DictionaryBatch::create(
            &mut builder,
            &ipc::DictionaryBatchArgs {
                id: dictionary.id(),
                data: Some(batch),
                isDelta: dictionary.isDelta(),
            },
        );
        builder.finish(around, None);
        let around = flatbuffers::root::<ipc::DictionaryBatch<'_>>(builder.finished_data()).map_err(malformed)?;
        let (schema, dictionaries) = (&self.schema, &mut self.dictionaries);
        guarded(|| read_dictionary(&body, around, schema, dictionaries, &message.version()).map_err(unreadable))
    }

    fn batch(&self, place: Place, columns: &[usize]) -> Result<RecordBatch> {
        let (metadata, body) = self.read(place)?;
        let message = message(&metadata)?;
        let batch = message
            .header_as_record_batch()
            .ok_or_else(|| Error::corruption("a record batch is no record batch"))?;
        let (header, body) = unpacked(batch, &body, &mut { MAX_DECODED })?;
        let batch = flatbuffers::root::<ipc::RecordBatch<'_>>(&header).map_err(malformed)?;
        let decode = || {
            // Arrow hands projected columns out in the order of the file.
            let version = message.version();
            let schema = Arc::clone(&self.schema);
            read_record_batch(&body, batch, schema, &self.dictionaries, Some(columns), &version).map_err(unreadable)
        };
        guarded(decode)
    }

    fn read(&self, place: Place) -> Result<(Buffer, Buffer)> {
        let metadata = read_at(&*self.file, place.offset, place.metadata)?;
        Ok((
            metadata,
            read_at(&*self.file, place.offset + place.metadata, place.body)?,
        ))
    }
}

impl Blocks for Feather {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn next(&mut self, columns: &[usize]) -> Result<Option<RecordBatch>> {
        let Some(place) = self.batches.next() else {
            return Ok(None);
        };
        let batch = self
            .batch(place, columns)
            .map_err(|error| error.with_offset(place.offset))?;
        self.consumed = place.offset + place.metadata + place.body;
        Ok(Some(batch))
    }

    fn consumed(&self) -> u64 {
        self.consumed
    }
}

/// Checks that a block lies before the footer.
fn place(block: &ipc::Block, end: u64) -> Result<Place> {
    let wrong = || Error::corruption("the footer names a block outside the file").with_offset(end);
    let unsigned = |value: i64| u64::try_from(value).map_err(|_| wrong());
    let place = Place {
        offset: unsigned(block.offset())?,
        metadata: unsigned(block.metaDataLength().into())?,
        body: unsigned(block.bodyLength())?,
    };
    let ends = place
        .offset
        .checked_add(place.metadata)
        .and_then(|at| at.checked_add(place.body));
    if ends.is_none_or(|at| at > end) || place.metadata > MAX_METADATA {
        return Err(wrong());
    }
    if place.body > MAX_MESSAGE {
        let message = format!("a record batch of {} bytes: write smaller ones", place.body);
        return Err(Error::new(ErrorKind::Unsupported, message).with_offset(place.offset));
    }
    Ok(place)
}

/// The message in a block's metadata, which begins with its length, in new files after four bytes of ones.
fn message(metadata: &[u8]) -> Result<ipc::Message<'_>> {
    let short = || Error::corruption("a message is cut short");
    let (first, rest) = metadata.split_first_chunk::<4>().ok_or_else(short)?;
    let (len, rest) = match *first {
        [0xFF, 0xFF, 0xFF, 0xFF] => rest.split_first_chunk::<4>().ok_or_else(short)?,
        _ => (first, rest),
    };
    let bytes = rest.get(..u32::from_le_bytes(*len) as usize).ok_or_else(short)?;
    let message =
        ipc::root_as_message(bytes).map_err(|error| Error::corruption("a message is malformed").with_source(error))?;
    match message.version() {
        ipc::MetadataVersion::V4 | ipc::MetadataVersion::V5 => Ok(message),
        version => Err(Error::new(
            ErrorKind::Unsupported,
            format!("a message of version {version:?}: only versions 4 and 5 are read"),
        )),
    }
}

/// The same batch over a body that is not compressed, every buffer of which lies inside it. `budget` is what the body may
/// take in memory.
fn unpacked(batch: ipc::RecordBatch<'_>, body: &Buffer, budget: &mut usize) -> Result<(Vec<u8>, Buffer)> {
    let codec = match batch.compression() {
        None => Codec::None,
        Some(how) if how.method() != ipc::BodyCompressionMethod::BUFFER => return Err(unknown_compression()),
        Some(how) if how.codec() == ipc::CompressionType::LZ4_FRAME => Codec::Lz4Frame,
        Some(how) if how.codec() == ipc::CompressionType::ZSTD => Codec::Zstd,
        Some(_) => return Err(unknown_compression()),
    };
    let mut raw = Vec::new();
    for range in batch.buffers().iter().flatten() {
        let inside = usize::try_from(range.offset())
            .ok()
            .zip(usize::try_from(range.length()).ok())
            .and_then(|(offset, len)| body.get(offset..offset.checked_add(len)?).map(|_| (offset, len)));
        let (offset, len) = inside.ok_or_else(|| Error::corruption("a buffer lies outside its record batch"))?;
        raw.push(body.slice_with_length(offset, len));
    }
    let (body, ranges) = match codec {
        Codec::None => (body.clone(), None),
        _ => {
            let (body, ranges) = decompressed(codec, &raw, budget)?;
            (body, Some(ranges))
        }
    };
    check_rows(batch, body.len())?;
    let mut builder = FlatBufferBuilder::new();
    let batch = rebuilt(&mut builder, batch, ranges.as_deref());
    builder.finish(batch, None);
    Ok((builder.finished_data().to_vec(), body))
}

/// One body of all buffers, decompressed, and where they are in it. Each begins with the length it decompresses to.
fn decompressed(codec: Codec, raw: &[Buffer], budget: &mut usize) -> Result<(Buffer, Vec<ipc::Buffer>)> {
    let mut lens = Vec::with_capacity(raw.len());
    let mut total = 0usize;
    for buffer in raw {
        let len = match buffer.split_first_chunk::<8>() {
            None if buffer.is_empty() => None,
            None => return Err(Error::corruption("a compressed buffer is too short for its length")),
            Some((len, packed)) => match i64::from_le_bytes(*len) {
                // As it is.
                -1 => Some((packed.len(), false)),
                len => {
                    let len = usize::try_from(len)
                        .map_err(|_| Error::corruption(format!("a compressed buffer claims {len} bytes")))?;
                    check_decoded(packed.len(), len, MAX_DECODED)?;
                    Some((len, true))
                }
            },
        };
        total = total.saturating_add(len.map_or(0, |(len, _)| len).next_multiple_of(ALIGNMENT));
        lens.push(len);
    }
    *budget = budget.checked_sub(total).ok_or_else(|| {
        let message = format!("a record batch decompresses to {total} bytes, more than is allowed: write smaller ones");
        Error::new(ErrorKind::Unsupported, message)
    })?;
    let mut out = MutableBuffer::from_len_zeroed(total);
    let mut ranges = Vec::with_capacity(raw.len());
    let mut at = 0;
    for (buffer, len) in raw.iter().zip(lens) {
        let Some((len, packed)) = len else {
            ranges.push(ipc::Buffer::new(at as i64, 0));
            continue;
        };
        let target = &mut out.as_slice_mut()[at..at + len];
        let codec = if packed { codec } else { Codec::None };
        if codec.into_slice(&buffer[8..], target)? != len {
            return Err(Error::corruption("a compressed buffer has another length than it says"));
        }
        ranges.push(ipc::Buffer::new(at as i64, len as i64));
        at += len.next_multiple_of(ALIGNMENT);
    }
    Ok((Buffer::from(out), ranges))
}

/// A batch as it was, but with these buffers, and not compressed.
fn rebuilt<'b>(
    builder: &mut FlatBufferBuilder<'b>,
    batch: ipc::RecordBatch<'_>,
    buffers: Option<&[ipc::Buffer]>,
) -> flatbuffers::WIPOffset<ipc::RecordBatch<'b>> {
    let nodes: Vec<_> = batch.nodes().iter().flatten().copied().collect();
    let nodes = builder.create_vector(&nodes);
    let old: Vec<_> = batch.buffers().iter().flatten().copied().collect();
    let buffers = builder.create_vector(buffers.unwrap_or(&old));
    let counts: Option<Vec<i64>> = batch.variadicBufferCounts().map(|counts| counts.iter().collect());
    let counts = counts.map(|counts| builder.create_vector(&counts));
    let arguments = ipc::RecordBatchArgs {
        length: batch.length(),
        nodes: Some(nodes),
        buffers: Some(buffers),
        compression: None,
        variadicBufferCounts: counts,
    };
    ipc::RecordBatch::create(builder, &arguments)
}

/// Refuses a number of rows that no column's bytes bear out.
fn check_rows(batch: ipc::RecordBatch<'_>, body: usize) -> Result<()> {
    let most = body.saturating_mul(8).max(FREE_ROWS);
    let fits = |count: i64| usize::try_from(count).is_ok_and(|count| count <= most);
    let nodes = batch.nodes();
    if !fits(batch.length()) || nodes.iter().flatten().any(|node| !fits(node.length())) {
        return Err(Error::corruption(format!(
            "a record batch of {body} bytes claims {} rows",
            batch.length()
        )));
    }
    Ok(())
}

fn malformed(error: flatbuffers::InvalidFlatbuffer) -> Error {
    Error::corruption("a message is malformed").with_source(error)
}

fn unreadable(error: ArrowError) -> Error {
    Error::corruption("a record batch cannot be decoded").with_source(error)
}

#[cold]
fn unknown_compression() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "a record batch is compressed neither with LZ4 nor with Zstandard",
    )
}
