//! Finding the blocks of a Feather file by its footer alone. Nothing in the file is trusted.

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc;
use arrow::ipc::convert::IpcSchemaEncoder;
use kodiak_core::format::{BlockHandle, FileLayout, Part};
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::ReadableFile;
use kodiak_core::{Error, Result};

use super::read::Message;
use super::{CONTINUATION, MAGIC};
use crate::file::{crc_of, read_at};

/// Length of the footer's length and the magic after it.
const TAIL: u64 = 10;
/// Where the first message begins.
const HEAD: u64 = 8;
/// Length of what begins a message: the continuation, and the length of what follows.
const PREFIX: u64 = 8;
/// A message of no length, which ends the stream.
const END: [u8; PREFIX as usize] = [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];

pub(super) fn recover(file: &dyn ReadableFile, schema: &TableSchema) -> Result<FileLayout> {
    let columns = super::file_columns(schema);
    let shapes = super::shapes(&columns);
    let (footer_start, footer) = read_footer(file)?;
    let footer = ipc::root_as_footer(&footer)
        .map_err(|error| damaged("the footer is malformed", footer_start).with_source(error))?;
    if footer
        .dictionaries()
        .is_some_and(|dictionaries| !dictionaries.is_empty())
    {
        return Err(damaged("Kodiak writes no dictionaries", footer_start));
    }
    check_schema(footer.schema(), &columns)?;
    let mut blocks = Vec::new();
    let mut end = HEAD;
    for block in footer.recordBatches().iter().flatten() {
        let (offset, metadata, body) = (
            u64::try_from(block.offset()),
            u64::try_from(block.metaDataLength()),
            u64::try_from(block.bodyLength()),
        );
        let (Ok(offset), Ok(metadata), Ok(body)) = (offset, metadata, body) else {
            return Err(damaged("the footer names a negative range", footer_start));
        };
        // Blocks follow each other, so all of them together are not read more than once.
        let next = offset.checked_add(metadata).and_then(|next| next.checked_add(body));
        let Some(next) = next.filter(|&next| offset >= end && metadata > 8 && next <= footer_start) else {
            return Err(damaged(
                "the footer names a range outside the file or of another block",
                footer_start,
            ));
        };
        end = next;
        let head = read_at(file, offset, metadata)?;
        let rows = Message::parse(&head, body, &shapes)
            .map_err(|error| error.with_offset(offset))?
            .rows;
        let crc = crc_of(file, offset, metadata + body)?;
        let part = Part {
            offset,
            len: metadata + body,
            crc,
        };
        blocks.push(BlockHandle {
            rows: rows as u32,
            parts: vec![part],
        });
    }
    Ok(FileLayout {
        blocks,
        shared: Vec::new(),
        file_bytes: file.len(),
    })
}

/// Compares what readers of the stream go by, who never see the footer, with what the footer has told: the schema at the beginning of the
/// file, and the end of the stream.
pub(super) fn check_stream(file: &dyn ReadableFile, schema: &TableSchema, layout: &FileLayout) -> Result<()> {
    let (footer_start, _) = read_footer(file)?;
    let first = layout.blocks.first().and_then(|block| block.parts.first());
    // Behind the blocks lies the end of the stream.
    let end = first.map_or(footer_start.saturating_sub(PREFIX), |part| part.offset);
    let prefix = read_at(file, HEAD, PREFIX)?;
    let len = match prefix.split_first_chunk::<4>() {
        Some((&CONTINUATION, len)) => u64::from(u32::from_le_bytes(len.try_into().unwrap_or_default())),
        _ => return Err(damaged("no message begins here, where the schema is to be", HEAD)),
    };
    if HEAD + PREFIX + len != end {
        return Err(damaged(
            "the schema's message does not end where the first block begins",
            HEAD,
        ));
    }
    let message = read_at(file, HEAD + PREFIX, len)?;
    let message = ipc::root_as_message(&message)
        .map_err(|error| damaged("the schema's message is malformed", HEAD).with_source(error))?;
    let found = message.header_as_schema();
    check_schema(found, &super::file_columns(schema)).map_err(|error| error.with_offset(HEAD))?;
    let end = footer_start.saturating_sub(PREFIX);
    if *read_at(file, end, PREFIX)? != END {
        return Err(damaged("the stream of blocks does not end before the footer", end));
    }
    Ok(())
}

/// Where the footer begins, and its bytes.
pub(crate) fn read_footer(file: &dyn ReadableFile) -> Result<(u64, Buffer)> {
    let len = file.len();
    if len < HEAD + TAIL || !read_at(file, 0, HEAD)?.starts_with(MAGIC) {
        return Err(damaged("this is no Feather file: it does not begin with ARROW1", 0));
    }
    let tail = read_at(file, len - TAIL, TAIL)?;
    let footer = tail
        .strip_suffix(MAGIC)
        .and_then(|bytes| bytes.first_chunk())
        .map(|bytes| i32::from_le_bytes(*bytes));
    let footer = footer
        .and_then(|footer| u64::try_from(footer).ok())
        .filter(|&footer| footer <= len - TAIL - HEAD);
    match footer {
        Some(footer) => {
            let start = len - TAIL - footer;
            Ok((start, read_at(file, start, footer)?))
        }
        None => Err(damaged(
            "the file does not end with a footer and ARROW1; it may be cut short",
            len - TAIL,
        )),
    }
}

/// Compares the columns of the footer with those of the run: names, nullability and kinds of type. What else a type has
/// (the unit of a timestamp) is compared as it is written.
fn check_schema(found: Option<ipc::Schema<'_>>, columns: &SchemaRef) -> Result<()> {
    let expected = IpcSchemaEncoder::new().schema_to_fb(columns);
    let expected = ipc::root_as_schema(expected.finished_data())
        .map_err(|error| Error::invalid_input("the schema cannot be encoded").with_source(error))?;
    let (Some(found), Some(expected)) = (found.and_then(|schema| schema.fields()), expected.fields()) else {
        return Err(Error::corruption("there is no schema"));
    };
    if found.len() != expected.len() {
        return Err(Error::corruption(format!(
            "the file has {} columns, not {}",
            found.len(),
            expected.len()
        )));
    }
    for (found, expected) in found.iter().zip(expected.iter()) {
        let same = found.name() == expected.name()
            && found.nullable() == expected.nullable()
            && found.type_type() == expected.type_type()
            && found.dictionary().is_none()
            && format!("{found:?}") == format!("{expected:?}");
        if !same {
            return Err(Error::corruption(format!(
                "the file has a column \"{}\" where the table has \"{}\", or of another type",
                found.name().unwrap_or_default(),
                expected.name().unwrap_or_default()
            )));
        }
    }
    Ok(())
}

fn damaged(message: &str, offset: u64) -> Error {
    Error::corruption(message).with_offset(offset)
}
