//! Rows whose values stay as they are written.

use std::io::BufRead;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use kodiak::{Error, Result};

use super::lines::{Lines, Members};
use crate::import::rows::{Chunk, Position, Reject, Rows};

/// The rows of a file: of each column the JSON text of its value. Nulls, and what an object lacks, are missing.
pub struct RawRows<R> {
    lines: Lines<R>,
    schema: SchemaRef,
    batch: usize,
    row: u64,
    keep: bool,
}

impl<R: BufRead> RawRows<R> {
    /// Rows with these columns. `keep` keeps each row's text.
    pub fn new(source: R, columns: &Schema, from: Position, batch: usize, keep: bool) -> Self {
        let field = |name: &String| Field::new(name, DataType::Utf8, true);
        let fields = columns.fields().iter().map(|column| field(column.name()));
        Self {
            lines: Lines::new(source, from.offset, from.line.max(1)),
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            batch,
            row: from.row,
            keep,
        }
    }
}

impl<R: BufRead> Rows for RawRows<R> {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next(&mut self) -> Result<Option<Chunk>> {
        let fields = self.schema.fields();
        let mut columns: Vec<StringBuilder> = fields.iter().map(|_| StringBuilder::new()).collect();
        let mut chunk = Chunk::default();
        while chunk.numbers.len() + chunk.rejects.len() < self.batch && self.lines.next()? {
            self.row += 1;
            match Members::of(self.lines.line.trim_ascii()) {
                Ok(members) => {
                    for (field, column) in fields.iter().zip(&mut columns) {
                        column.append_option(members.get(field.name()).filter(|value| *value != "null"));
                    }
                    chunk.numbers.push(self.row);
                    chunk.lines.push(self.lines.number);
                    if self.keep {
                        chunk.texts.push(self.lines.text());
                    }
                }
                Err(reason) => chunk.rejects.push(Reject {
                    line: self.lines.number,
                    column: None,
                    reason,
                    text: Some(self.lines.text()),
                }),
            }
        }
        if chunk.numbers.is_empty() && chunk.rejects.is_empty() {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = columns
            .iter_mut()
            .map(|column| Arc::new(column.finish()) as ArrayRef)
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(chunk.numbers.len()));
        chunk.rows = Some(
            RecordBatch::try_new_with_options(self.schema(), columns, &options)
                .map_err(|error| Error::invalid_input("the rows cannot be held").with_source(error))?,
        );
        chunk.position = Position {
            offset: self.lines.offset,
            line: self.lines.next,
            row: self.row,
        };
        Ok(Some(chunk))
    }
}
