//! Keys of tables with columns, as they are written on the command line, and rows as they are shown.

use std::io::Write;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use kodiak::{Error, Fitting, Result, ScanBounds, Table};

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

/// The key that `text` gives: the values of the key columns, separated by commas, in quotes as in a CSV file; a key of one
/// column is the text as it is. Binary values are hexadecimal digits. Without `whole`, the last columns may be left out.
///
/// # Errors
/// `InvalidInput` telling the columns, or the value that does not fit.
pub fn key(table: &Table, text: &str, whole: bool) -> Result<RecordBatch> {
    let schema = table.schema();
    let fields: Vec<&Field> = schema
        .key()
        .iter()
        .map(|key| schema.columns().field(key.index))
        .collect();
    let values = match fields.as_slice() {
        [_] => vec![text.to_owned()],
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
    let values: Vec<Option<&str>> = values.iter().map(|value| Some(value.as_str())).collect();
    parse(&own, &values, "key column")
}

/// The keys from `from` on, up to but without `to`: as [`key`] reads them in a table whose rows are shown
/// [by columns](by_columns), otherwise as bytes.
///
/// # Errors
/// As those.
pub fn bounds(table: &Table, from: Option<&str>, to: Option<&str>, encoding: Encoding) -> Result<ScanBounds> {
    if by_columns(table, encoding.hex) {
        let end = |text: Option<&str>| text.map(|text| key(table, text, false)).transpose();
        return table.key_bounds(ends(end(from)?, end(to)?));
    }
    let end = |text: Option<&str>| text.map(|text| encoding.parse(text)).transpose();
    Ok(ScanBounds::of(ends(end(from)?, end(to)?)))
}

fn ends<K>(from: Option<K>, to: Option<K>) -> (Bound<K>, Bound<K>) {
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

/// The fields of one line of CSV.
fn split(text: &str) -> Result<Vec<String>> {
    let mut records = Records::new(text.as_bytes(), b',', 0, 1);
    if !records.next()? {
        return Ok(Vec::new());
    }
    if let Some(problem) = records.problem() {
        return Err(Error::invalid_input(format!("\"{text}\": {problem}")));
    }
    let field = |index| String::from_utf8_lossy(records.field(index).0).into_owned();
    Ok((0..records.len()).map(field).collect())
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
