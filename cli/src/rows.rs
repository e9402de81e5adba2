//! Keys of tables with columns, as they are written on the command line, and rows as they are shown.

use std::io::Write;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use clap::Args;
use kodiak::{Error, ErrorKind, Fitting, Result, ScanBounds, Table};

use crate::bytes::{Encoding, from_hex};
use crate::export::JsonWriter;
use crate::failure::{Failure, written};
use crate::import::Records;

/// True if a command shows a table's rows by their columns: not if it is a key-value table, nor if encoded bytes are asked for.
pub fn by_columns(table: &Table, hex: bool) -> bool {
    !hex && !table.schema().is_key_value()
}

/// The names of a table's key columns.
pub fn key_names(table: &Table) -> Vec<String> {
    let schema = table.schema();
    let fields = schema.columns().fields();
    schema
        .key()
        .iter()
        .map(|key| fields[key.index].name().clone())
        .collect()
}

/// How keys say that a column is null, which no text of theirs does by itself.
#[derive(Debug, Clone, Default, Args)]
pub struct Nulls {
    /// A key column is null where a key has this text for it, unless in quotes: get db t none,7 --na none
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    na: Option<String>,
}

impl Nulls {
    /// True as [`by_columns`] is.
    ///
    /// # Errors
    /// `InvalidInput` if it is not, but a text for nulls is given.
    pub fn by_columns(&self, table: &Table, hex: bool) -> Result<bool> {
        if by_columns(table, hex) {
            return Ok(true);
        }
        if self.na.is_none() {
            return Ok(false);
        }
        let why = match table.schema().is_key_value() {
            true => format!("table \"{}\" has keys without columns", table.name()),
            false => "--hex takes keys as bytes".to_owned(),
        };
        Err(Error::invalid_input(format!("{why}: leave --na out")))
    }

    /// The key that `text` gives: the values of the key columns, separated by commas, in quotes as in a CSV file; a key of one
    /// column is the text as it is. Binary values are hexadecimal digits. Without `whole`, the last columns may be left out.
    ///
    /// # Errors
    /// `InvalidInput` telling the columns, or the value that does not fit.
    pub fn key(&self, table: &Table, text: &str, whole: bool) -> Result<RecordBatch> {
        let schema = table.schema();
        let fields: Vec<&Field> = schema
            .key()
            .iter()
            .map(|key| schema.columns().field(key.index))
            .collect();
        let na = self.na.as_deref();
        let values = match fields.as_slice() {
            [_] => vec![(text.to_owned(), false)],
            // Otherwise it is no line, and has no values.
            _ if text.is_empty() && na == Some("") => vec![(String::new(), false)],
            _ => split(text)?,
        };
        if values.is_empty() || values.len() > fields.len() || (whole && values.len() < fields.len()) {
            let message = format!(
                "a key of table \"{}\" has the columns {}, separated by commas{}; \"{text}\" has {}",
                table.name(),
                key_names(table).join(", "),
                if whole { "" } else { ", or the first of them" },
                values.len()
            );
            return Err(Error::invalid_input(message));
        }
        let own: Vec<Field> = fields[..values.len()].iter().map(|field| (*field).clone()).collect();
        let values: Vec<Option<&str>> = values
            .iter()
            .map(|(value, quoted)| (*quoted || na != Some(value)).then_some(value.as_str()))
            .collect();
        parse(&own, &values, "key column")
    }

    /// What to say of a key that is not in its table.
    pub fn missing(&self, table: &Table, text: &str) -> Error {
        let schema = table.schema();
        let mut fields = schema.key().iter().map(|key| schema.columns().field(key.index));
        let hint = match self.na {
            None if !schema.is_key_value() && fields.any(Field::is_nullable) => {
                " (--na says which text is a null in it)"
            }
            _ => "",
        };
        let message = format!("table \"{}\" has no key \"{text}\"{hint}", table.name());
        Error::new(ErrorKind::NotFound, message)
    }

    /// The keys from `from` on, up to but without `to`: as [`key`](Self::key) reads them in a table whose rows are shown
    /// [by columns](by_columns), otherwise as bytes.
    ///
    /// # Errors
    /// As those.
    pub fn bounds(
        &self,
        table: &Table,
        from: Option<&str>,
        to: Option<&str>,
        encoding: Encoding,
    ) -> Result<ScanBounds> {
        if self.by_columns(table, encoding.hex)? {
            let end = |text: Option<&str>| text.map(|text| self.key(table, text, false)).transpose();
            return table.key_bounds(ends(end(from)?, end(to)?));
        }
        let end = |text: Option<&str>| text.map(|text| encoding.parse(text)).transpose();
        Ok(ScanBounds::of(ends(end(from)?, end(to)?)))
    }
}

/// The bounds from `from` on, up to but without `to`.
pub fn ends<K>(from: Option<K>, to: Option<K>) -> (Bound<K>, Bound<K>) {
    (
        from.map_or(Bound::Unbounded, Bound::Included),
        to.map_or(Bound::Unbounded, Bound::Excluded),
    )
}

/// One row of values that are written as text, or missing. Binary values are hexadecimal digits. `what` the fields are called in
/// messages.
///
/// # Errors
/// `InvalidInput` naming the first field that cannot have its value.
pub fn parse(fields: &[Field], values: &[Option<&str>], what: &str) -> Result<RecordBatch> {
    let mut given = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, value) in fields.iter().zip(values) {
        if value.is_none() && !field.is_nullable() {
            return Err(Error::invalid_input(format!(
                "{what} \"{}\" may not be null",
                field.name()
            )));
        }
        let column: ArrayRef = match field.data_type() {
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                let bytes = value.map(from_hex).transpose()?;
                Arc::new(BinaryArray::from(vec![bytes.as_deref()]))
            }
            _ => Arc::new(StringArray::from(vec![*value])),
        };
        given.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    let given = RecordBatch::try_new(Arc::new(Schema::new(given)), columns)
        .map_err(|error| Error::invalid_input(format!("these are no values of a {what}")).with_source(error))?;
    let (row, misfits) = Fitting::columns(Arc::new(Schema::new(fields.to_vec())))
        .parsing()
        .fit(&given)?;
    match misfits.first() {
        Some(misfit) => Err(Error::invalid_input(format!(
            "{what} \"{}\": {}",
            misfit.column, misfit.reason
        ))),
        None => Ok(row),
    }
}

/// The fields of one line of CSV, and whether they were in quotes.
///
/// # Errors
/// `InvalidInput` for quotes that are not closed, and for more than a line.
pub fn split(text: &str) -> Result<Vec<(String, bool)>> {
    let mut records = Records::new(text.as_bytes(), b',', 0, 1);
    if !records.next()? {
        return Ok(Vec::new());
    }
    if let Some(problem) = records.problem() {
        return Err(Error::invalid_input(format!("\"{text}\": {problem}")));
    }
    let field = |index| {
        let (value, quoted) = records.field(index);
        (String::from_utf8_lossy(value).into_owned(), quoted)
    };
    let fields = (0..records.len()).map(field).collect();
    if records.next()? {
        let message = format!("\"{text}\" has more than one line: a value with a line break stands in quotes");
        return Err(Error::invalid_input(message));
    }
    Ok(fields)
}

/// Prints rows as JSON objects, one a line. The first is row `first` of what is printed, from 1.
///
/// # Errors
/// Those of writing; `InvalidInput` for a value that cannot be shown.
pub fn show(rows: &RecordBatch, first: u64, out: &mut impl Write) -> Result<(), Failure> {
    let mut writer = JsonWriter::new(out);
    writer
        .write(rows, first)
        .and_then(|()| writer.finish().map(drop))
        .map_err(written)
}
