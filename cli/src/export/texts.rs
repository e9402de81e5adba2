//! CSV and JSON lines.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_json::WriterBuilder;
use arrow_json::writer::{LineDelimited, NullableEncoder, make_encoder};
use kodiak::{Error, ErrorKind, Result};

use super::encode::{Exact, OPTIONS};
use super::far::FarTimes;
use super::unwritable;

/// Writes CSV with a header.
pub struct CsvWriter<W> {
    out: W,
    delimiter: u8,
    missing: String,
    line: String,
    field: String,
}

impl<W: Write> CsvWriter<W> {
    /// Writes the header. A missing value is `missing`, which no other value is then written as: it gets quotes.
    ///
    /// # Errors
    /// Those of writing.
    pub fn new(out: W, names: &[String], delimiter: u8, missing: &str) -> Result<Self> {
        // A line without anything in it would be no row.
        let missing = match (names.len(), missing) {
            (1, "") => "NA",
            (_, missing) => missing,
        };
        let mut writer = Self {
            out,
            delimiter,
            missing: missing.to_owned(),
            line: String::new(),
            field: String::new(),
        };
        for (index, name) in names.iter().enumerate() {
            if index > 0 {
                writer.line.push(char::from(delimiter));
            }
            quote(name, delimiter, "", &mut writer.line);
        }
        writer.end_line()?;
        Ok(writer)
    }

    /// Writes rows.
    ///
    /// # Errors
    /// Those of writing; `InvalidInput` for a value that cannot be shown.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let fields = rows.schema_ref().fields();
        let columns = fields.iter().zip(rows.columns());
        let mut values = columns
            .map(|(field, column)| Values::of(field, column))
            .collect::<Result<Vec<_>, _>>()
            .map_err(unwritable)?;
        for row in 0..rows.num_rows() {
            for (index, (column, values)) in rows.columns().iter().zip(&mut values).enumerate() {
                if index > 0 {
                    self.line.push(char::from(self.delimiter));
                }
                if column.is_null(row) {
                    self.line.push_str(&self.missing);
                    continue;
                }
                self.field.clear();
                values.show(row, &mut self.field).map_err(|reason| {
                    let name = rows.schema_ref().field(index).name();
                    Error::invalid_input(format!("column \"{name}\" has a value that cannot be shown: {reason}"))
                })?;
                quote(&self.field, self.delimiter, &self.missing, &mut self.line);
            }
            self.end_line()?;
        }
        Ok(())
    }

    fn end_line(&mut self) -> Result<()> {
        self.line.push('\n');
        self.out.write_all(self.line.as_bytes()).map_err(failed)?;
        self.line.clear();
        Ok(())
    }

    /// Ends the file, and gives it back.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(mut self) -> Result<W> {
        self.out.flush().map_err(failed)?;
        Ok(self.out)
    }
}

/// Shows the values of a column: those of nested ones, and what has no text that could be read again, as JSON.
enum Values<'a> {
    Text(ArrayFormatter<'a>),
    Times(FarTimes, ArrayFormatter<'a>),
    Json(NullableEncoder<'a>, Vec<u8>),
}

impl<'a> Values<'a> {
    fn of(field: &'a FieldRef, column: &'a ArrayRef) -> Result<Self, ArrowError> {
        match column.data_type() {
            of if of.is_nested() || matches!(of, DataType::Duration(_)) => {
                Ok(Self::Json(make_encoder(field, column, &OPTIONS)?, Vec::new()))
            }
            _ => {
                let format = ArrayFormatter::try_new(column, &FORMAT)?;
                Ok(match FarTimes::of(column)? {
                    Some(times) => Self::Times(times, format),
                    None => Self::Text(format),
                })
            }
        }
    }

    fn show(&mut self, row: usize, out: &mut String) -> Result<(), String> {
        match self {
            Self::Text(format) => format.value(row).write(out).map_err(|error| error.to_string()),
            Self::Times(times, format) => match times.show(row) {
                Some(text) => {
                    out.push_str(&text);
                    Ok(())
                }
                None => format.value(row).write(out).map_err(|error| error.to_string()),
            },
            Self::Json(encoder, json) => {
                json.clear();
                encoder.encode(row, json);
                out.push_str(std::str::from_utf8(json).map_err(|error| error.to_string())?);
                Ok(())
            }
        }
    }
}

/// Values that cannot be shown are errors, not texts that say so.
const FORMAT: FormatOptions<'static> = FormatOptions::new().with_display_error(false);

/// Appends a field, in quotes if it would be read as something else without.
fn quote(field: &str, delimiter: u8, missing: &str, line: &mut String) {
    let special = |byte: u8| byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r');
    // What `kodiak import` takes for a missing value unless told otherwise.
    let is_missing = field.is_empty() || field == "NA" || field == missing;
    if !is_missing && !field.bytes().any(special) && !field.starts_with('\u{feff}') {
        line.push_str(field);
        return;
    }
    line.push('"');
    for part in field.split_inclusive('"') {
        line.push_str(part);
        if part.ends_with('"') {
            line.push('"');
        }
    }
    line.push('"');
}

/// Writes a JSON object a line.
pub struct JsonWriter<W> {
    out: W,
    lines: Vec<u8>,
}

impl<W: Write> JsonWriter<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, lines: Vec::new() }
    }

    /// Writes rows. Numbers that JSON does not have (infinities and NaN) are written as texts.
    ///
    /// # Errors
    /// Those of writing; `InvalidInput` for a value that cannot be shown.
    pub fn write(&mut self, rows: &RecordBatch, first: u64) -> Result<()> {
        self.lines.clear();
        let mut writer = WriterBuilder::new()
            .with_explicit_nulls(true)
            .with_encoder_factory(Arc::new(Exact))
            .build::<_, LineDelimited>(&mut self.lines);
        writer.write(rows).and_then(|()| writer.finish()).map_err(|error| {
            Error::invalid_input(format!("the rows from {first} on cannot be written as JSON")).with_source(error)
        })?;
        drop(writer);
        self.out.write_all(&self.lines).map_err(failed)
    }

    /// Ends the file, and gives it back.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(mut self) -> Result<W> {
        self.out.flush().map_err(failed)?;
        Ok(self.out)
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot write the rows").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_would_be_read_otherwise_is_quoted() {
        for (field, expected) in [
            ("plain text", "plain text"),
            ("", "\"\""),
            ("NA", "\"NA\""),
            ("none", "\"none\""),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("two\nlines", "\"two\nlines\""),
        ] {
            let mut line = String::new();
            quote(field, b',', "none", &mut line);
            assert_eq!(line, expected);
        }
    }
}
