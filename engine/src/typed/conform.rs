//! Whether a record batch is rows of a table.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::Field;
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, Result};

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
