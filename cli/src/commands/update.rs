use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::Schema;
use clap::Args;
use kodiak::{Error, Table};

use crate::arguments::Existing;
use crate::failure::Result;
use crate::rows::{self, Nulls};

/// `kodiak update`
#[derive(Debug, Args)]
#[command(
    after_help = "Dates and times are written as kodiak get prints them, binary values as hexadecimal digits. Lists and other nested values: \
                        kodiak import, from a file."
)]
pub struct Update {
    #[command(flatten)]
    db: Existing,
    /// The table, which has columns
    table: String,
    /// The row's key: the values of the key columns, separated by commas
    #[arg(allow_hyphen_values = true)]
    key: String,
    /// The columns to change: name=Ada age=36. The others stay
    #[arg(value_name = "COLUMN=VALUE", value_parser = assignment, required_unless_present = "null")]
    columns: Vec<(String, String)>,
    /// Take the values of these columns away
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    null: Vec<String>,
    /// Make the row if there is none; columns that are not given hold their default, or nothing
    #[arg(long)]
    or_insert: bool,
    #[command(flatten)]
    nulls: Nulls,
}

fn assignment(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((column, value)) if !column.is_empty() => Ok((column.to_owned(), value.to_owned())),
        _ => Err("write COLUMN=VALUE, such as age=36".to_owned()),
    }
}

impl Update {
    pub fn run(self) -> Result {
        let db = self.db.open()?;
        let table = db.table(&self.table)?;
        if !rows::by_columns(&table, false) {
            let message = format!(
                "table \"{}\" has keys and values, and no columns: kodiak put",
                self.table
            );
            return Err(Error::invalid_input(message).into());
        }
        let key = self.nulls.key(&table, &self.key, true)?;
        let changes = self.changes(&table)?;
        // Nobody else writes to the database while it is open here.
        let row = match table.get_row(&key)? {
            Some(row) => changed(&row, &changes)?,
            None if self.or_insert => made(&table, &key, &changes)?,
            None => {
                let missing = self.nulls.missing(&table, &self.key);
                return Err(missing.with_advice("--or-insert makes the row").into());
            }
        };
        table.insert(&row)?;
        Ok(db.close()?)
    }

    /// One row with the columns to change.
    fn changes(&self, table: &Table) -> Result<RecordBatch> {
        let schema = table.schema();
        let given = self.columns.iter().map(|(name, value)| (name, Some(value)));
        let mut wanted: Vec<(&String, Option<&String>)> = Vec::new();
        for (name, value) in given.chain(self.null.iter().map(|name| (name, None))) {
            let index = schema.columns().index_of(name).map_err(|_| {
                let names: Vec<&str> = schema
                    .columns()
                    .fields()
                    .iter()
                    .map(|field| field.name().as_str())
                    .collect();
                Error::invalid_input(format!(
                    "table \"{}\" has no column \"{name}\"; its columns are {}",
                    table.name(),
                    names.join(", ")
                ))
            })?;
            if schema.is_key_column(index) {
                let message =
                    format!("column \"{name}\" is part of the key, which stays: delete the row, and insert another");
                return Err(Error::invalid_input(message).into());
            }
            if wanted.iter().any(|(other, _)| *other == name) {
                return Err(Error::invalid_input(format!("column \"{name}\" is given twice")).into());
            }
            wanted.push((name, value));
        }
        let fields = wanted
            .iter()
            .map(|(name, _)| schema.columns().field_with_name(name).cloned());
        let fields = fields.collect::<std::result::Result<Vec<_>, _>>();
        let fields =
            fields.map_err(|error| Error::invalid_input("the columns are not the table's").with_source(error))?;
        let values: Vec<Option<&str>> = wanted.iter().map(|(_, value)| value.map(String::as_str)).collect();
        Ok(rows::parse(&fields, &values, "column")?)
    }
}

/// A row with other values in some columns.
fn changed(row: &RecordBatch, changes: &RecordBatch) -> Result<RecordBatch> {
    let fields = row.schema_ref().fields().iter().zip(row.columns());
    let columns = fields.map(|(field, own)| Arc::clone(changes.column_by_name(field.name()).unwrap_or(own)));
    batch(row.schema_ref().as_ref().clone(), columns.collect())
}

/// A new row; columns with a default that are not given are left to the table.
fn made(table: &Table, key: &RecordBatch, changes: &RecordBatch) -> Result<RecordBatch> {
    let schema = table.schema();
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (index, field) in schema.columns().fields().iter().enumerate() {
        let given = key
            .column_by_name(field.name())
            .or_else(|| changes.column_by_name(field.name()));
        let column = match given {
            Some(column) => Arc::clone(column),
            None if schema.initial(index)?.is_some() => continue,
            None if field.is_nullable() => new_null_array(field.data_type(), 1),
            None => {
                let message = format!("column \"{}\" may not be null: give it a value", field.name());
                return Err(Error::invalid_input(message).into());
            }
        };
        fields.push(Arc::clone(field));
        columns.push(column);
    }
    batch(Schema::new(fields), columns)
}

fn batch(schema: Schema, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let row = RecordBatch::try_new(Arc::new(schema), columns);
    Ok(row.map_err(|error| Error::invalid_input("this is no row of the table").with_source(error))?)
}
