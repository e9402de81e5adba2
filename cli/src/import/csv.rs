//! CSV files: the types of their columns, and their rows.

use std::io::Read;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::record_batch::RecordBatchReader;
use arrow_csv::ReaderBuilder;
use kodiak::{Error, Result};
use regex::Regex;

use super::source::{Bytes, malformed};

/// How a CSV file is written.
#[derive(Debug, Clone)]
pub struct CsvOptions {
    /// The character between fields.
    pub delimiter: u8,
    /// Texts that stand for a missing value.
    pub missing: Vec<String>,
}

/// Opens a CSV file twice: to infer its schema, and to read it.
pub(super) fn reader(
    open: &dyn Fn(&'static str) -> Result<Bytes>,
    options: &CsvOptions,
    batch_rows: usize,
) -> Result<impl RecordBatchReader + use<>> {
    let schema = infer(open("looking for types")?, options)?;
    let missing: Vec<_> = options.missing.iter().map(|text| regex::escape(text)).collect();
    let missing = Regex::new(&format!("^(?:{})$", missing.join("|")))
        .map_err(|error| Error::invalid_input("--na texts").with_source(error))?;
    let reader = ReaderBuilder::new(Arc::new(schema))
        .with_header(true)
        .with_delimiter(options.delimiter)
        .with_null_regex(missing)
        .with_batch_size(batch_rows)
        .build_buffered(open("reading")?);
    reader.map_err(malformed)
}

/// What the texts of a column can be, from narrow to wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing was seen.
    Nothing,
    Bool,
    Int,
    Float,
    /// A date and time with a zone.
    Timestamp,
    Text,
}

impl Kind {
    /// The narrowest kind of one text.
    fn of(text: &str) -> Self {
        if matches!(text, "true" | "false" | "TRUE" | "FALSE" | "True" | "False") {
            return Self::Bool;
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        // A leading zero or plus sign would be lost: such texts are codes, not numbers.
        let number = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
            && !(digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit());
        if number && text.parse::<i64>().is_ok() && text != "-0" {
            return Self::Int;
        }
        // An integer too large for 64 bits would be rounded.
        let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
        if number && !whole && text.parse::<f64>().is_ok_and(f64::is_finite) {
            return Self::Float;
        }
        if is_timestamp(text.as_bytes()) {
            Self::Timestamp
        } else {
            Self::Text
        }
    }

    /// The narrowest kind that holds both.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, kind) | (kind, Self::Nothing) => kind,
            (Self::Int, Self::Float) | (Self::Float, Self::Int) => Self::Float,
            (left, right) if left == right => left,
            _ => Self::Text,
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Second, Some("UTC".into())),
            Self::Nothing | Self::Text => DataType::Utf8,
        }
    }
}

/// True for `2013-01-01T10:00:00Z`: what is read back exactly as it was. Other forms stay text.
fn is_timestamp(text: &[u8]) -> bool {
    const FORM: &[u8] = b"dddd-dd-ddTdd:dd:ddZ";
    let fits = |(byte, form): (&u8, &u8)| {
        if *form == b'd' {
            byte.is_ascii_digit()
        } else {
            byte == form
        }
    };
    if text.len() != FORM.len() || !text.iter().zip(FORM).all(fits) {
        return false;
    }
    let number = |at: usize| (text[at] - b'0') * 10 + (text[at + 1] - b'0');
    // Days that a month does not have are found when they are read.
    (1..=12).contains(&number(5))
        && (1..=31).contains(&number(8))
        && number(11) < 24
        && number(14) < 60
        && number(17) < 60
}

fn infer(bytes: impl Read, options: &CsvOptions) -> Result<Schema> {
    let malformed = |error: csv::Error| Error::invalid_input("the file is not CSV").with_source(error);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(options.delimiter)
        .from_reader(bytes);
    let header = reader.headers().map_err(malformed)?.clone();
    let mut kinds = vec![Kind::Nothing; header.len()];
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(malformed)? {
        for (kind, text) in kinds.iter_mut().zip(&record) {
            if *kind == Kind::Text || options.missing.iter().any(|missing| missing.as_bytes() == text) {
                continue;
            }
            *kind = kind.and(std::str::from_utf8(text).map_or(Kind::Text, Kind::of));
        }
    }
    let mut fields: Vec<Field> = Vec::with_capacity(kinds.len());
    for (name, kind) in header.iter().zip(kinds) {
        if fields.iter().any(|field| field.name() == name) {
            return Err(Error::invalid_input(format!("two columns are called \"{name}\"")));
        }
        fields.push(Field::new(name, kind.data_type(), true));
    }
    Ok(Schema::new(fields))
}

#[cfg(test)]
mod tests {
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
        let utc = DataType::Timestamp(TimeUnit::Second, Some("UTC".into()));
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
            [utc, text.clone()]
        );
        for code in [
            "007",
            "+5",
            "-0",
            "12345678901234567890",
            "1 ",
            "inf",
            "NaN",
            "2013-01-01",
            "0x10",
        ] {
            assert_eq!(inferred(&format!("a\n{code}\n")), std::slice::from_ref(&text), "{code}");
        }
        assert_eq!(inferred("a\nNA\n"), [text], "a column without values");
    }

    #[test]
    fn malformed_files_are_refused() {
        let options = CsvOptions {
            delimiter: b',',
            missing: vec![],
        };
        assert!(
            infer("a,a\n1,2\n".as_bytes(), &options)
                .expect_err("twice")
                .to_string()
                .contains("\"a\"")
        );
        assert!(
            infer("a,b\n1\n".as_bytes(), &options)
                .expect_err("ragged")
                .to_string()
                .contains("line: 2")
        );
    }
}
