//! Parquet files of any writer.
//!
//! The footer is walked before the `parquet` crate sees it, and its pages are found, checked and decompressed here: the
//! crate decodes the values of pages that are known to be what they claim.

mod check;
mod header;
mod pages;

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::{Field, Fields, Schema, SchemaRef};
use kodiak_core::storage::ReadableFile;
use kodiak_core::{Error, Result};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups};
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels, parquet_to_arrow_schema};
use parquet::column::page::PageIterator;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::schema::types::SchemaDescriptor;

use super::guard::guarded;
use super::pieces::kept;
use super::{Blocks, MAX_METADATA};
use crate::file::read_at;
use crate::parquet::footer::{Chunk, Leaf, TAIL};
use crate::parquet::recover::read_footer;
use pages::{ChunkPages, OneChunk, Taken};

/// The deepest nesting of a schema.
const MAX_DEPTH: usize = 64;
/// Rows decoded at once, at most.
const ROWS: usize = 8192;
/// Bytes that rows decoded at once have in one column, at most.
const BYTES: usize = 32 << 20;
/// The widest value of a column of fixed width.
const MAX_WIDTH: i32 = 1 << 20;

pub(super) struct Parquet {
    file: Arc<dyn ReadableFile>,
    metadata: Arc<ParquetMetaData>,
    groups: Vec<Group>,
    schema: SchemaRef,
    /// The schema with strings as views, as it is read.
    read: Fields,
    next_group: usize,
    reader: Option<ParquetRecordBatchReader>,
    /// Of the rows that are being decoded.
    taken: Arc<Taken>,
    consumed: u64,
}

/// A row group, with what this reader knows of its columns.
#[derive(Debug, Clone)]
struct Group {
    rows: u64,
    chunks: Vec<Chunk>,
}

impl Parquet {
    pub fn open(file: Arc<dyn ReadableFile>) -> Result<Self> {
        // The length first: `read_footer` allows Kodiak's own files more.
        let tail = file
            .len()
            .checked_sub(TAIL)
            .map(|at| read_at(&*file, at, 4))
            .transpose()?;
        let len = tail.and_then(|tail| tail.first_chunk().map(|len| u64::from(u32::from_le_bytes(*len))));
        if len.is_some_and(|len| len > MAX_METADATA) {
            return Err(Error::corruption("the file's metadata is longer than is allowed"));
        }
        let (footer, part) = read_footer(&*file)?;
        check_schema(&footer.leaves).map_err(|error| error.with_offset(part.offset))?;
        let bytes = read_at(&*file, part.offset, part.len)?;
        let metadata = guarded(|| ParquetMetaDataReader::decode_metadata(&bytes).map_err(unreadable))?;
        let columns = metadata.file_metadata().schema_descr().num_columns();
        if metadata.num_row_groups() != footer.groups.len() {
            return Err(Error::corruption("the file's metadata contradicts itself").with_offset(part.offset));
        }
        for group in &footer.groups {
            check_group(group, columns, part.offset).map_err(|error| error.with_offset(part.offset))?;
        }
        let groups = footer.groups.into_iter().map(|group| Group {
            rows: group.rows,
            chunks: group.chunks,
        });
        let groups = groups.collect();
        let schema = guarded(|| {
            let file = metadata.file_metadata();
            parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata()).map_err(unreadable)
        })?;
        let schema = Arc::new(Schema::new(schema.fields().clone()));
        let read = schema.fields().iter().map(|field| as_read(field)).collect();
        Ok(Self {
            file,
            metadata: Arc::new(metadata),
            groups,
            schema,
            read,
            next_group: 0,
            reader: None,
            taken: Arc::default(),
            consumed: 0,
        })
    }

    /// Opens the next row group; false if there is none.
    fn open_group(&mut self, columns: &[usize]) -> Result<bool> {
        // Groups without rows may have no place in the file either.
        let rest = self.groups.iter().skip(self.next_group);
        self.next_group += rest.take_while(|group| group.rows == 0).count();
        let Some(group) = self.groups.get(self.next_group).cloned() else {
            return Ok(false);
        };
        let descriptor = self.metadata.file_metadata().schema_descr_ptr();
        let leaves =
            (0..descriptor.num_columns()).filter(|&leaf| columns.contains(&descriptor.get_column_root_idx(leaf)));
        let leaves: Vec<usize> = leaves.collect();
        let rows = rows_at_once(&descriptor, &leaves, &group)?;
        let one = OneGroup {
            file: Arc::clone(&self.file),
            metadata: Arc::clone(&self.metadata),
            index: self.next_group,
            group,
            taken: Arc::clone(&self.taken),
        };
        let levels = guarded(|| self.levels(&descriptor, leaves))?;
        let make = || ParquetRecordBatchReader::try_new_with_row_groups(&levels, &one, rows, None).map_err(unreadable);
        self.reader = Some(guarded(make)?);
        self.consumed += one.group.chunks.iter().map(|chunk| chunk.len).sum::<u64>();
        self.next_group += 1;
        Ok(true)
    }

    fn levels(&self, descriptor: &SchemaDescriptor, leaves: Vec<usize>) -> Result<FieldLevels> {
        let mask = ProjectionMask::leaves(descriptor, leaves);
        parquet_to_arrow_field_levels(descriptor, mask, Some(&self.read)).map_err(unreadable)
    }
}

impl Blocks for Parquet {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn next(&mut self, columns: &[usize]) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(reader) = &mut self.reader {
                self.taken.begin();
                let batch = guarded(|| {
                    reader
                        .next()
                        .transpose()
                        .map_err(|error| Error::corruption("a row group cannot be decoded").with_source(error))
                })?;
                if let Some(batch) = batch {
                    return in_order(&self.schema, &reader.schema(), &batch, columns).map(Some);
                }
                self.reader = None;
            }
            if !self.open_group(columns)? {
                return Ok(None);
            }
        }
    }

    fn consumed(&self) -> u64 {
        self.consumed
    }
}

/// The columns in the order that was asked for: the crate returns them in the file's.
fn in_order(schema: &Schema, found: &Schema, batch: &RecordBatch, columns: &[usize]) -> Result<RecordBatch> {
    let mut sorted = columns.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let place = |index: &usize| sorted.binary_search(index).ok().filter(|&at| at < batch.num_columns());
    let order = columns
        .iter()
        .map(|index| place(index).filter(|&at| found.field(at).name() == schema.field(*index).name()))
        .collect::<Option<Vec<_>>>();
    order
        .and_then(|order| batch.project(&order).ok())
        .ok_or_else(|| Error::corruption("a row group has other columns than the schema says"))
}

/// How a column is read: see `pieces`.
fn as_read(field: &Field) -> Field {
    field.clone().with_data_type(kept(field.data_type()))
}

/// The number of rows whose values of fixed width surely fit into memory, and whose lists do if they are about equally long.
fn rows_at_once(descriptor: &SchemaDescriptor, leaves: &[usize], group: &Group) -> Result<usize> {
    let mut rows = ROWS;
    for &leaf in leaves {
        let column = descriptor.column(leaf);
        let width = column.type_length();
        if width > MAX_WIDTH {
            return Err(Error::corruption(format!(
                "column \"{}\" claims values of {width} bytes",
                column.name()
            )));
        }
        let mut each = width.max(1) as usize;
        if column.max_rep_level() > 0 {
            let values = group.chunks.get(leaf).map_or(0, |chunk| chunk.values);
            let items = usize::try_from(values / group.rows.max(1)).unwrap_or(usize::MAX);
            each = each.max(8).saturating_mul(items.saturating_add(1));
        }
        rows = rows.min(BYTES / each).max(1);
    }
    Ok(rows)
}

/// Refuses a schema that is deeper than any, or whose counts of children do not add up.
fn check_schema(nodes: &[Leaf]) -> Result<()> {
    // How many children each open group still lacks.
    let mut open: Vec<usize> = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        while open.last() == Some(&0) {
            open.pop();
        }
        match open.last_mut() {
            Some(left) => *left -= 1,
            None if index == 0 => {}
            None => return Err(Error::corruption("the schema has columns that belong to nothing")),
        }
        let children = usize::try_from(node.children)
            .ok()
            .filter(|&children| children < nodes.len())
            .ok_or_else(|| Error::corruption(format!("a column claims {} children", node.children)))?;
        if children > 0 {
            open.push(children);
        }
        if open.len() > MAX_DEPTH {
            return Err(Error::corruption("the schema is nested too deeply"));
        }
    }
    match open.iter().sum::<usize>() {
        0 if !nodes.is_empty() => Ok(()),
        _ => Err(Error::corruption("the schema lacks columns")),
    }
}

/// Checks that the chunks of a row group lie before the footer.
fn check_group(group: &crate::parquet::footer::Group, columns: usize, end: u64) -> Result<()> {
    if group.chunks.len() != columns {
        return Err(Error::corruption(format!(
            "a row group has {} columns where the schema has {columns}",
            group.chunks.len()
        )));
    }
    for chunk in group.chunks.iter().filter(|_| group.rows > 0) {
        if chunk.offset < 4 || chunk.offset.checked_add(chunk.len).is_none_or(|at| at > end) {
            return Err(Error::corruption("a column lies outside the file"));
        }
    }
    Ok(())
}

/// One row group, as the crate wants it.
struct OneGroup {
    file: Arc<dyn ReadableFile>,
    metadata: Arc<ParquetMetaData>,
    index: usize,
    group: Group,
    taken: Arc<Taken>,
}

impl RowGroups for OneGroup {
    fn num_rows(&self) -> usize {
        self.group.rows as usize
    }

    fn column_chunks(&self, column: usize) -> parquet::errors::Result<Box<dyn PageIterator>> {
        let chunk = *self
            .group
            .chunks
            .get(column)
            .ok_or_else(|| ParquetError::General(format!("a row group has no column {column}")))?;
        let descriptor = self.metadata.file_metadata().schema_descr().column(column);
        let (file, taken) = (Arc::clone(&self.file), Arc::clone(&self.taken));
        let pages = ChunkPages::new(file, chunk, self.group.rows, descriptor, taken)
            .map_err(|error| ParquetError::External(Box::new(error)))?;
        Ok(Box::new(OneChunk::new(pages)))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.metadata.row_group(self.index)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

/// What the crate says; an error of this reader's own comes back as it was.
fn unreadable(error: ParquetError) -> Error {
    let error = match error {
        ParquetError::External(source) => match source.downcast::<Error>() {
            Ok(own) => return *own,
            Err(source) => ParquetError::External(source),
        },
        other => other,
    };
    Error::corruption("the file's columns cannot be decoded").with_source(error)
}
