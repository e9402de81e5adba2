//! Whether a record batch is rows of a table.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema};
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, Result};

/// The rows of `batch` with all columns of the table: those that it lacks and that have a default hold that.
///
/// # Errors
/// `InvalidInput` naming the column that does not fit, or is missing and has no default.
pub fn complete<'b>(schema: &TableSchema, batch: &'b RecordBatch) -> Result<Cow<'b, RecordBatch>> {
    let own = schema.columns().fields();
    if batch.num_columns() < own.len() {
        let given = batch.schema_ref();
        let (mut fields, mut columns, mut taken) = (Vec::new(), Vec::new(), 0);
        for (index, field) in own.iter().enumerate() {
            if given
                .fields()
                .get(taken)
                .is_some_and(|given| given.name() == field.name())
            {
                fields.push(Arc::clone(&given.fields()[taken]));
                columns.push(Arc::clone(batch.column(taken)));
                taken += 1;
            } else if given.index_of(field.name()).is_err()
                && let Some(default) = default(schema, index, batch.num_rows())?
            {
                fields.push(Arc::clone(field));
                columns.push(default);
            } else {
                break;
            }
        }
        if columns.len() == own.len() && taken == batch.num_columns() {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let whole = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
                .map_err(|error| Error::corruption("defaults do not fit the table's schema").with_source(error))?;
            check(schema, &whole)?;
            return Ok(Cow::Owned(whole));
        }
    }
    check(schema, batch)?;
    Ok(Cow::Borrowed(batch))
}

/// The default of the column with this index, for so many rows; `None` if it has none.
///
/// # Errors
/// `Corruption` for a stored default that cannot be read.
pub fn default(schema: &TableSchema, index: usize, rows: usize) -> Result<Option<ArrayRef>> {
    let Some(default) = schema.initial(index)? else {
        return Ok(None);
    };
    let wrong = |error| Error::corruption("the default of a column cannot be repeated").with_source(error);
    take(&default, &UInt32Array::from_value(0, rows), None)
        .map(Some)
        .map_err(wrong)
}

/// Checks that `batch` has the table's columns, in order, with nulls only where they may be.
///
/// # Errors
/// `InvalidInput` naming the column.
pub fn check(schema: &TableSchema, batch: &RecordBatch) -> Result<()> {
    let fields = schema.columns().fields();
    let given = batch.schema_ref().fields();
    for (index, field) in fields.iter().enumerate() {
        let Some(other) = given.get(index) else {
            return Err(Error::invalid_input(format!(
                "column \"{}\" is missing: the batch has {} columns, the table {}",
                field.name(),
                given.len(),
                fields.len()
            )));
        };
        if other.name() != field.name() {
            return Err(Error::invalid_input(format!(
                "column {index} of the batch is \"{}\" where the table has \"{}\"",
                other.name(),
                field.name()
            )));
        }
        column(field, batch.column(index))?;
    }
    match given.get(fields.len()) {
        None => Ok(()),
        Some(extra) => Err(Error::invalid_input(format!(
            "column \"{}\" is not in the table, whose columns are {}",
            extra.name(),
            names(fields)
        ))),
    }
}

/// Checks type and nulls of one column.
pub fn column(field: &Field, column: &ArrayRef) -> Result<()> {
    if !column.data_type().equals_datatype(field.data_type()) {
        return Err(Error::invalid_input(format!(
            "column \"{}\" has type {}, the table's has {}",
            field.name(),
            column.data_type(),
            field.data_type()
        )));
    }
    if !field.is_nullable() && column.is_nullable() {
        // Also sees nulls that a dictionary's values hold.
        let nulls = column.logical_null_count();
        if nulls > 0 {
            return Err(Error::invalid_input(format!(
                "column \"{}\" has {nulls} nulls; the table's schema says that it has none",
                field.name()
            )));
        }
    }
    Ok(())
}

/// The names of fields, for messages.
pub fn names(fields: &arrow::datatypes::Fields) -> String {
    fields
        .iter()
        .map(|field| field.name().as_str())
        .collect::<Vec<_>>()
        .join(", ")
}
