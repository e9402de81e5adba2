//! Files with a JSON object in each line.

mod infer;
mod lines;
mod raw;
mod shape;
mod twice;

use std::io::BufRead;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow_json::ReaderBuilder;
use kodiak::{Error, Result};

pub use infer::infer;
pub use raw::RawRows;
pub use shape::{as_texts, parsed};

use lines::{Lines, Members};

use super::rows::{Chunk, Position, Reject, Rows};

/// The rows of a file.
pub struct JsonRows<R> {
    lines: Lines<R>,
    schema: SchemaRef,
    batch: usize,
    row: u64,
    raw: bool,
    /// Objects have other columns, which are not read.
    others: bool,
    /// The columns of which it matters whether an object lacks them.
    defaults: Vec<String>,
}

impl<R: BufRead> JsonRows<R> {
    /// Rows with these columns, whose values are texts, or lists, structs and maps of texts.
    pub fn texts(source: R, schema: SchemaRef, from: Position, batch: usize, raw: bool) -> Self {
        Self {
            lines: Lines::new(source, from.offset, from.line.max(1)),
            schema,
            batch,
            row: from.row,
            raw,
            others: false,
            defaults: Vec::new(),
        }
    }

    /// Tells of these columns which objects lack them.
    pub fn with_defaults(mut self, columns: &[String]) -> Self {
        self.defaults = columns.to_vec();
        self
    }

    /// Which of some lines, that end there, hold objects without the columns of which it matters.
    fn lacking(&self, lines: &[u8], ends: &[usize]) -> Vec<(String, Vec<bool>)> {
        let mut lacking: Vec<_> = self.defaults.iter().map(|name| (name.clone(), Vec::new())).collect();
        let mut start = 0;
        if lacking.is_empty() {
            return lacking;
        }
        for &end in ends {
            let object = Members::of(&lines[start..end]).unwrap_or_default();
            start = end;
            for (name, rows) in &mut lacking {
                rows.push(object.get(name).is_none());
            }
        }
        lacking
    }

    /// Passes over columns that are not read.
    pub fn among_others(mut self) -> Self {
        self.others = true;
        self
    }

    /// Appends the line at hand, but for the columns that are not read; or says why it is no object whose members are clear.
    fn append_line(&self, lines: &mut Vec<u8>) -> Result<(), String> {
        let line = self.lines.line.trim_ascii();
        let members = Members::of(line)?;
        twice::check(&members, self.schema.fields())?;
        if !self.others {
            lines.extend_from_slice(line);
            lines.push(b'\n');
            return Ok(());
        }
        let mut separator = b'{';
        for (name, value) in members.0 {
            if self.schema.field_with_name(&name).is_ok() {
                lines.push(separator);
                lines.extend_from_slice(serde_json::Value::from(name).to_string().as_bytes());
                lines.push(b':');
                lines.extend_from_slice(value.as_bytes());
                separator = b',';
            }
        }
        lines.extend_from_slice(if separator == b'{' { b"{}\n" } else { b"}\n" });
        Ok(())
    }

    fn decode(&self, lines: &[u8], rows: usize) -> Result<RecordBatch, String> {
        decode(&self.schema, lines, rows)
    }

    /// Decodes line by line what could not be decoded together.
    fn sort_out(&self, chunk: &mut Chunk, lines: &[u8], ends: &[usize]) -> Result<RecordBatch> {
        let (mut good, mut start) = (Vec::new(), 0);
        let (mut numbers, mut places, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        let mut good_ends = Vec::new();
        for (index, &end) in ends.iter().enumerate() {
            let line = &lines[start..end];
            start = end;
            let text = || String::from_utf8_lossy(line.trim_ascii()).into_owned();
            match self.decode(line, 1) {
                Ok(_) => {
                    good.extend_from_slice(line);
                    good_ends.push(good.len());
                    numbers.push(chunk.numbers[index]);
                    places.push(chunk.lines[index]);
                    if self.raw {
                        texts.push(text());
                    }
                }
                Err(reason) => chunk.rejects.push(Reject {
                    line: chunk.lines[index],
                    column: None,
                    reason,
                    text: Some(text()),
                }),
            }
        }
        let rows = numbers.len();
        (chunk.numbers, chunk.lines, chunk.texts) = (numbers, places, texts);
        chunk.lacking = self.lacking(&good, &good_ends);
        self.decode(&good, rows).map_err(Error::invalid_input)
    }
}

impl<R: BufRead> Rows for JsonRows<R> {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next(&mut self) -> Result<Option<Chunk>> {
        let mut chunk = Chunk::default();
        let (mut lines, mut ends) = (Vec::new(), Vec::new());
        while ends.len() + chunk.rejects.len() < self.batch && self.lines.next()? {
            self.row += 1;
            if let Err(reason) = self.append_line(&mut lines) {
                chunk.rejects.push(Reject {
                    line: self.lines.number,
                    column: None,
                    reason,
                    text: Some(self.lines.text()),
                });
                continue;
            }
            chunk.numbers.push(self.row);
            chunk.lines.push(self.lines.number);
            ends.push(lines.len());
            if self.raw {
                chunk.texts.push(self.lines.text());
            }
        }
        if ends.is_empty() && chunk.rejects.is_empty() {
            return Ok(None);
        }
        chunk.rows = Some(match self.decode(&lines, ends.len()) {
            Ok(rows) => {
                chunk.lacking = self.lacking(&lines, &ends);
                rows
            }
            Err(_) => self.sort_out(&mut chunk, &lines, &ends)?,
        });
        chunk.rejects.sort_by_key(|reject| reject.line);
        chunk.position = Position {
            offset: self.lines.offset,
            line: self.lines.next,
            row: self.row,
        };
        Ok(Some(chunk))
    }
}

/// So many objects, each on a line, as rows.
fn decode(schema: &SchemaRef, lines: &[u8], rows: usize) -> Result<RecordBatch, String> {
    let decode = || {
        let mut decoder = ReaderBuilder::new(Arc::clone(schema))
            .with_batch_size(rows + 1)
            .with_coerce_primitive(true)
            .with_strict_mode(true)
            .build_decoder()?;
        let mut rest = lines;
        while !rest.is_empty() {
            let taken = decoder.decode(rest)?;
            if taken == 0 {
                break;
            }
            rest = &rest[taken..];
        }
        let batch = decoder.flush()?;
        Ok(batch.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(schema))))
    };
    match decode() {
        Ok(batch) if batch.num_rows() == rows => Ok(batch),
        Ok(batch) => Err(format!("a line holds {} objects instead of one", batch.num_rows())),
        Err::<_, ArrowError>(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Field, Schema};

    #[test]
    fn lines_that_are_no_objects_of_these_columns_are_told_by_number() {
        let text = "{\"a\":1}\n\n{\"a\":\n[1]\n{\"b\":2}\n{\"a\":\"x\"} {\"a\":2}\n{\"a\":1.50}";
        let names = || Arc::new(Schema::new(vec![Field::new("a", DataType::Utf8, true)]));
        let mut rows = JsonRows::texts(text.as_bytes(), names(), Position::default(), 100, true);
        let chunk = rows.next().expect("memory").expect("rows");
        assert_eq!(chunk.numbers, [1, 6]);
        assert_eq!(chunk.lines, [1, 7]);
        assert_eq!(chunk.texts, ["{\"a\":1}", "{\"a\":1.50}"]);
        let lines: Vec<u64> = chunk.rejects.iter().map(|reject| reject.line).collect();
        assert_eq!(lines, [3, 4, 5, 6]);
        let column = chunk.rows.expect("rows");
        let texts: Vec<_> = column.column(0).as_string::<i32>().iter().flatten().collect();
        assert_eq!(texts, ["1", "1.50"], "numbers keep their digits");
        // Going on where the first line ended.
        let from = Position {
            offset: 8,
            line: 2,
            row: 1,
        };
        let mut rest = JsonRows::texts(&text.as_bytes()[8..], names(), from, 100, false);
        assert_eq!(rest.next().expect("memory").expect("rows").numbers, [6]);
        assert!(
            infer("[]\nx\n".as_bytes(), &[], true)
                .expect_err("nothing")
                .to_string()
                .contains("no JSON objects")
        );
    }
}
