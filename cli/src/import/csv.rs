//! CSV files: the types of their columns, and their rows as texts.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use kodiak::{Error, Result};

use super::kind::Kinds;
use super::records::Records;
use super::rows::{Chunk, Position, Reject, Rows};

/// How a CSV file is written.
#[derive(Debug, Clone)]
pub struct CsvOptions {
    /// The character between fields.
    pub delimiter: u8,
    /// Texts that stand for a missing value, unless they are quoted.
    pub missing: Vec<String>,
}

impl CsvOptions {
    fn is_missing(&self, (field, quoted): (&[u8], bool)) -> bool {
        !quoted && self.missing.iter().any(|missing| missing.as_bytes() == field)
    }
}

/// What is between the fields of a file, if nobody says: by the ending of its name.
pub fn default_delimiter(path: &Path) -> char {
    let tsv = path
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("tsv"));
    if tsv { '\t' } else { ',' }
}

/// The columns of a file, by its header.
///
/// # Errors
/// `InvalidInput` if two have the same name, or there is no header.
pub fn header<R: Read>(records: &mut Records<R>) -> Result<Vec<String>> {
    if !records.next()? {
        return Err(Error::invalid_input("the file is empty: it has no header"));
    }
    let mut names: Vec<String> = Vec::with_capacity(records.len());
    for index in 0..records.len() {
        let (name, quoted) = records.field(index);
        if !quoted && name.contains(&b'\r') {
            let message = "its lines end with carriage returns alone: make line breaks of them (tr '\\r' '\\n')";
            return Err(Error::invalid_input(message));
        }
        let name = std::str::from_utf8(name)
            .map_err(|error| Error::invalid_input("the header is not UTF-8").with_source(error))?;
        if names.iter().any(|other| other == name) {
            return Err(Error::invalid_input(format!("two columns are called \"{name}\"")));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// The types of the columns, by all rows. Rows that are not what they should be are passed over: they are found when they
/// are read.
pub fn infer(bytes: impl Read, options: &CsvOptions) -> Result<Schema> {
    let mut records = Records::new(bytes, options.delimiter, 0, 1);
    let names = header(&mut records)?;
    let mut kinds = vec![Kinds::default(); names.len()];
    while records.next()? {
        if records.len() != names.len() || records.problem().is_some() {
            continue;
        }
        for (index, kind) in kinds.iter_mut().enumerate() {
            let field = records.field(index);
            if !kind.has(Kinds::TEXT) && !options.is_missing(field) {
                *kind = kind.and(std::str::from_utf8(field.0).map_or(Kinds::TEXT, Kinds::of));
            }
        }
    }
    let field = |(name, kind): (String, Kinds)| Field::new(name, kind.data_type(), true);
    Ok(Schema::new(names.into_iter().zip(kinds).map(field).collect::<Vec<_>>()))
}

/// The rows of a file, every column as text.
pub struct CsvRows<R> {
    records: Records<R>,
    options: CsvOptions,
    /// How many columns the file has, and which of them are read.
    fields: usize,
    chosen: Vec<usize>,
    schema: SchemaRef,
    batch: usize,
    row: u64,
    raw: bool,
}

impl<R: Read> CsvRows<R> {
    /// Rows from where `records` are, which is behind the header and before row `row`. `raw` keeps each row's text.
    pub fn new(
        records: Records<R>,
        options: &CsvOptions,
        names: &[String],
        chosen: Vec<usize>,
        row: u64,
        batch: usize,
        raw: bool,
    ) -> Self {
        let field = |&index: &usize| Field::new(&names[index], DataType::Utf8, true);
        Self {
            records,
            options: options.clone(),
            fields: names.len(),
            schema: Arc::new(Schema::new(chosen.iter().map(field).collect::<Vec<_>>())),
            chosen,
            batch,
            row,
            raw,
        }
    }

    /// Appends the fields of the record at hand, or says what is wrong with them.
    fn push(&self, builders: &mut [StringBuilder]) -> Result<(), (Option<String>, String)> {
        if let Some(problem) = self.records.problem() {
            return Err((None, problem.to_owned()));
        }
        if self.records.len() != self.fields {
            let reason = format!("{} fields where the header has {}", self.records.len(), self.fields);
            return Err((None, reason));
        }
        let mut texts = Vec::with_capacity(self.chosen.len());
        for (place, &index) in self.chosen.iter().enumerate() {
            let field = self.records.field(index);
            if self.options.is_missing(field) {
                texts.push(None);
                continue;
            }
            match std::str::from_utf8(field.0) {
                Ok(text) => texts.push(Some(text)),
                Err(_) => {
                    let name = self.schema.field(place).name().clone();
                    return Err((Some(name), "it is not UTF-8".to_owned()));
                }
            }
        }
        for (builder, text) in builders.iter_mut().zip(texts) {
            builder.append_option(text);
        }
        Ok(())
    }
}

impl<R: Read> Rows for CsvRows<R> {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next(&mut self) -> Result<Option<Chunk>> {
        let mut builders: Vec<StringBuilder> = self.chosen.iter().map(|_| StringBuilder::new()).collect();
        let mut chunk = Chunk::default();
        while chunk.numbers.len() + chunk.rejects.len() < self.batch && self.records.next()? {
            self.row += 1;
            let text = || String::from_utf8_lossy(self.records.raw()).into_owned();
            match self.push(&mut builders) {
                Ok(()) => {
                    chunk.numbers.push(self.row);
                    chunk.lines.push(self.records.line());
                    if self.raw {
                        chunk.texts.push(text());
                    }
                }
                Err((column, reason)) => chunk.rejects.push(Reject {
                    line: self.records.line(),
                    column,
                    reason,
                    text: Some(text()),
                }),
            }
        }
        if chunk.numbers.is_empty() && chunk.rejects.is_empty() {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = builders
            .iter_mut()
            .map(|builder| Arc::new(builder.finish()) as ArrayRef)
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(chunk.numbers.len()));
        chunk.rows = Some(
            RecordBatch::try_new_with_options(self.schema(), columns, &options)
                .map_err(|error| Error::invalid_input("the rows cannot be held").with_source(error))?,
        );
        let (offset, line) = self.records.end();
        chunk.position = Position {
            offset,
            line,
            row: self.row,
        };
        Ok(Some(chunk))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    fn inferred(text: &str) -> Vec<DataType> {
        let options = CsvOptions {
            delimiter: b',',
            missing: vec!["".into(), "NA".into()],
        };
        let schema = infer(text.as_bytes(), &options).expect("valid");
        schema.fields().iter().map(|field| field.data_type().clone()).collect()
    }

    #[test]
    fn the_narrowest_type_that_loses_nothing_is_taken() {
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let (int, float, text) = (DataType::Int64, DataType::Float64, DataType::Utf8);
        assert_eq!(
            inferred("a,b,c\n1,1,1\nNA,2.5,x\n"),
            [int.clone(), float.clone(), text.clone()]
        );
        assert_eq!(
            inferred("a,b,c\n-3,1e3,true\n,,\n7,-.5,FALSE\n"),
            [int, float, DataType::Boolean]
        );
        assert_eq!(
            inferred("a,b\n2013-01-01T10:00:00Z,2013-13-01T10:00:00Z\n"),
            [utc.clone(), text.clone()]
        );
        let local = DataType::Timestamp(TimeUnit::Microsecond, None);
        assert_eq!(
            inferred(
                "a,b,c,d\n2012-02-29,2013-01-01 10:00:00.5,2013-01-01T10:00:00.123456Z,2013-01-01\nNA,2013-12-31T23:59:59,NA,x\n"
            ),
            [DataType::Date32, local, utc, text.clone()]
        );
        for code in [
            "007",
            "+5",
            "-0",
            "123456789012345678901",
            "1 ",
            "inf",
            "NaN",
            "2013-1-1",
            "2013-02-29",
            "0000-01-01",
            "2013-01-01T10:00",
            "2013-01-01T24:00:00",
            "2013-01-01T10:00:00.1234567",
            "2013-01-01T10:00:00+01:00",
            "0x10",
            "\"NA\"",
        ] {
            assert_eq!(inferred(&format!("a\n{code}\n")), std::slice::from_ref(&text), "{code}");
        }
        assert_eq!(inferred("a\nNA\n"), [text], "a column without values");
    }
}
