//! Files with a JSON object in each line.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_json::ReaderBuilder;
use arrow_json::reader::infer_json_schema_from_iterator;
use kodiak::{Error, ErrorKind, Result};
use serde_json::Value;

use super::rows::{Chunk, Position, Reject, Rows};

/// The members of an object, whatever they are.
type Members = BTreeMap<String, serde::de::IgnoredAny>;

/// A longer line is taken for a file that is not made of lines.
const MAX_LINE: u64 = 64 << 20;

/// Reads lines that are not empty.
struct Lines<R> {
    source: R,
    line: Vec<u8>,
    offset: u64,
    /// Of the line at hand.
    number: u64,
    next: u64,
}

impl<R: BufRead> Lines<R> {
    fn new(source: R, offset: u64, line: u64) -> Self {
        Self {
            source,
            line: Vec::new(),
            offset,
            number: line,
            next: line,
        }
    }

    fn next(&mut self) -> Result<bool> {
        loop {
            self.line.clear();
            let read = (&mut self.source)
                .take(MAX_LINE)
                .read_until(b'\n', &mut self.line)
                .map_err(|error| Error::new(ErrorKind::Io, "cannot read the rows").with_source(error))?;
            if read == 0 {
                return Ok(false);
            }
            if read as u64 == MAX_LINE {
                let message = format!("line {} has more than {} MiB", self.next, MAX_LINE >> 20);
                return Err(Error::invalid_input(message));
            }
            self.offset += read as u64;
            self.number = self.next;
            self.next += 1;
            if !self.line.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }
}

/// On which line each column was first an object, a list and a single value.
#[derive(Default)]
struct Shapes(BTreeMap<String, [Option<u64>; 3]>);

impl Shapes {
    fn note(&mut self, members: &serde_json::Map<String, Value>, line: u64) {
        for (name, value) in members {
            let shape = match value {
                Value::Null => continue,
                Value::Object(_) => 0,
                Value::Array(_) => 1,
                Value::Bool(_) | Value::Number(_) | Value::String(_) => 2,
            };
            if !self.0.contains_key(name) {
                self.0.insert(name.clone(), [None; 3]);
            }
            if let Some(lines) = self.0.get_mut(name) {
                lines[shape].get_or_insert(line);
            }
        }
    }

    /// Why there is no type for one of the columns.
    fn conflict(&self) -> String {
        let conflict = self.0.iter().find_map(|(name, lines)| match lines {
            [Some(object), Some(list), _] => Some((name, object, "a list", list)),
            [Some(object), None, Some(value)] => Some((name, object, "a single value", value)),
            _ => None,
        });
        match conflict {
            Some((name, object, other, line)) => format!(
                "column \"{name}\" is an object on line {object} and {other} on line {line}, for which there is no type: leave \
                 it out, naming the others with --columns"
            ),
            None => "the types of the columns cannot be told: leave out those with lists and objects of different kinds, naming \
                     the others with --columns"
                .to_owned(),
        }
    }
}

/// The columns and their types, by all rows. Lines that are no JSON objects are passed over: they are found when they are read.
///
/// # Errors
/// `InvalidInput` if there is no object.
pub fn infer(source: impl BufRead) -> Result<Schema> {
    let mut lines = Lines::new(source, 0, 1);
    let (mut failed, mut shapes) = (None, Shapes::default());
    let objects = std::iter::from_fn(|| {
        loop {
            match lines.next() {
                Ok(true) => {
                    if let Ok(Value::Object(members)) = serde_json::from_slice(&lines.line) {
                        shapes.note(&members, lines.number);
                        return Some(Ok::<_, ArrowError>(Value::Object(members)));
                    }
                }
                Ok(false) => return None,
                Err(error) => {
                    failed = Some(error);
                    return None;
                }
            }
        }
    });
    let schema = infer_json_schema_from_iterator(objects);
    let schema = schema.map_err(|error| Error::invalid_input(shapes.conflict()).with_source(error));
    if let Some(error) = failed {
        return Err(error);
    }
    let schema = schema?;
    match schema.fields().is_empty() {
        true => Err(Error::invalid_input("the file has no JSON objects")),
        false => Ok(schema),
    }
}

/// The rows of a file.
pub struct JsonRows<R> {
    lines: Lines<R>,
    schema: SchemaRef,
    batch: usize,
    row: u64,
    raw: bool,
    /// Objects have no other columns.
    strict: bool,
    /// The columns of which it matters whether an object lacks them.
    defaults: Vec<String>,
}

impl<R: BufRead> JsonRows<R> {
    /// Rows with these columns, which have their types, as lists and objects too.
    pub fn typed(source: R, schema: SchemaRef, from: Position, batch: usize, raw: bool) -> Self {
        Self {
            lines: Lines::new(source, from.offset, from.line.max(1)),
            schema,
            batch,
            row: from.row,
            raw,
            strict: true,
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
            let object: Members = serde_json::from_slice(&lines[start..end]).unwrap_or_default();
            start = end;
            for (name, rows) in &mut lacking {
                rows.push(!object.contains_key(name));
            }
        }
        lacking
    }

    /// Passes over columns that are not read.
    pub fn among_others(mut self) -> Self {
        self.strict = false;
        self
    }

    /// Rows with these columns as texts.
    pub fn texts(source: R, names: impl Iterator<Item = String>, from: Position, batch: usize, raw: bool) -> Self {
        let fields: Vec<Field> = names.map(|name| Field::new(name, DataType::Utf8, true)).collect();
        Self::typed(source, Arc::new(Schema::new(fields)), from, batch, raw)
    }

    fn decode(&self, lines: &[u8], rows: usize) -> Result<RecordBatch, String> {
        let decode = || {
            let mut decoder = ReaderBuilder::new(self.schema())
                .with_batch_size(rows + 1)
                .with_coerce_primitive(true)
                .with_strict_mode(self.strict)
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
            Ok(batch.unwrap_or_else(|| RecordBatch::new_empty(self.schema())))
        };
        match decode() {
            Ok(batch) if batch.num_rows() == rows => Ok(batch),
            Ok(batch) => Err(format!("a line holds {} objects instead of one", batch.num_rows())),
            Err::<_, ArrowError>(error) => Err(error.to_string()),
        }
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
        while ends.len() < self.batch && self.lines.next()? {
            self.row += 1;
            chunk.numbers.push(self.row);
            chunk.lines.push(self.lines.number);
            lines.extend_from_slice(&self.lines.line);
            // The last line of a file may have no line break.
            if !lines.ends_with(b"\n") {
                lines.push(b'\n');
            }
            ends.push(lines.len());
            if self.raw {
                chunk
                    .texts
                    .push(String::from_utf8_lossy(self.lines.line.trim_ascii()).into_owned());
            }
        }
        if ends.is_empty() {
            return Ok(None);
        }
        chunk.rows = Some(match self.decode(&lines, ends.len()) {
            Ok(rows) => {
                chunk.lacking = self.lacking(&lines, &ends);
                rows
            }
            Err(_) => self.sort_out(&mut chunk, &lines, &ends)?,
        });
        chunk.position = Position {
            offset: self.lines.offset,
            line: self.lines.next,
            row: self.row,
        };
        Ok(Some(chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;

    #[test]
    fn lines_that_are_no_objects_of_these_columns_are_told_by_number() {
        let text = "{\"a\":1}\n\n{\"a\":\n[1]\n{\"b\":2}\n{\"a\":\"x\"} {\"a\":2}\n{\"a\":1.50}";
        let names = || ["a".to_owned()].into_iter();
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
            infer("[]\nx\n".as_bytes())
                .expect_err("nothing")
                .to_string()
                .contains("no JSON objects")
        );
    }
}
