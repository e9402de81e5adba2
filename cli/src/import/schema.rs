//! The schema of a table that is made for a file: from the file's columns, or as the user writes it.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use clap::Args;
use kodiak::{Error, Result, TableSchema};

use crate::schema;

/// What a table that is made for a file is to be.
#[derive(Debug, Clone, Default, Args)]
pub struct TableArguments {
    /// The columns that make up the key, if the table is made: a COLUMN, or "COLUMN desc" (or -COLUMN) for descending order
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',', allow_hyphen_values = true)]
    pub key: Vec<String>,
    /// Make a key-value table even with --key
    #[arg(long)]
    pub key_value: bool,
    /// The columns and their types: "id:int64 not null, name:text, at:timestamp(us, UTC), prices:list<decimal(10, 2)>"
    #[arg(long, value_name = "COLUMN:TYPE,...", conflicts_with = "schema_file")]
    pub schema: Option<String>,
    /// A file with the columns and their types, written alike, with a comma or a line break after each
    #[arg(long, value_name = "FILE")]
    pub schema_file: Option<PathBuf>,
}

impl TableArguments {
    /// The columns that the user has written down.
    ///
    /// # Errors
    /// `InvalidInput` naming the column that cannot be understood; those of reading the file.
    pub fn columns(&self) -> Result<Option<SchemaRef>> {
        let text = match (&self.schema, &self.schema_file) {
            (Some(text), _) => text.clone(),
            (None, Some(file)) => {
                std::fs::read_to_string(file).map_err(|error| Error::io("read the schema", file, error))?
            }
            (None, None) => return Ok(None),
        };
        let parsed = schema::parse(&text);
        let parsed = match &self.schema_file {
            Some(file) => parsed.map_err(|error| error.with_file(file)),
            None => parsed,
        };
        parsed.map(|columns| Some(Arc::new(columns)))
    }

    /// The names of the key columns.
    pub fn key_names(&self) -> Vec<String> {
        self.key.iter().map(|key| key_column(key).0.to_owned()).collect()
    }

    /// Checks that a table that is there has the key that is asked for, if one is.
    ///
    /// # Errors
    /// `InvalidInput` naming both.
    pub fn check_key(&self, table: &str, schema: &TableSchema) -> Result<()> {
        let show = |(name, descending): (&str, bool)| format!("{name}{}", if descending { " desc" } else { "" });
        let own = schema.key().iter();
        let own = own.map(|key| show((schema.columns().field(key.index).name(), key.descending)));
        let (own, wanted): (Vec<_>, Vec<_>) = (
            own.collect(),
            self.key.iter().map(|key| show(key_column(key))).collect(),
        );
        if wanted.is_empty() || wanted == own {
            return Ok(());
        }
        let message = format!(
            "table \"{table}\" exists, with the key {}, not {}",
            own.join(", "),
            wanted.join(", ")
        );
        Err(Error::invalid_input(message))
    }

    /// The schema of a table with these columns.
    ///
    /// # Errors
    /// `InvalidInput` for a key column that there is none of, listing those that there are.
    pub fn table(&self, columns: &SchemaRef) -> Result<TableSchema> {
        if self.key.is_empty() || self.key_value {
            return Ok(TableSchema::key_value());
        }
        let names = self.key_names();
        for name in &names {
            column_index(columns, name)?;
        }
        let explicit = self.schema.is_some() || self.schema_file.is_some();
        let fields: Vec<Field> = columns
            .fields()
            .iter()
            .map(|field| {
                let field = field.as_ref().clone().with_metadata(Default::default());
                // A column without any value could be anything.
                let field = match field.data_type() {
                    DataType::Null => field.with_data_type(DataType::Utf8),
                    _ => field,
                };
                let required = names.contains(field.name());
                let nullable = !required && (!explicit || field.is_nullable());
                field.with_nullable(nullable)
            })
            .collect();
        let key: Vec<String> = self
            .key
            .iter()
            .map(|key| match key_column(key) {
                (name, true) => format!("-{name}"),
                (name, false) => name.to_owned(),
            })
            .collect();
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        TableSchema::new(Arc::new(Schema::new(fields)), &key)
    }
}

/// A column of the key and whether it is descending.
fn key_column(text: &str) -> (&str, bool) {
    let text = text.trim();
    if let Some(name) = text.strip_prefix('-') {
        return (name, true);
    }
    match text.rsplit_once(char::is_whitespace) {
        Some((name, order)) if order.eq_ignore_ascii_case("desc") => (name.trim_end(), true),
        Some((name, order)) if order.eq_ignore_ascii_case("asc") => (name.trim_end(), false),
        _ => (text, false),
    }
}

/// The index of a column.
///
/// # Errors
/// `InvalidInput` listing the columns that there are.
pub fn column_index(columns: &Schema, name: &str) -> Result<usize> {
    columns.index_of(name).map_err(|_| {
        let known: Vec<&str> = columns.fields().iter().map(|field| field.name().as_str()).collect();
        Error::invalid_input(format!(
            "there is no column \"{name}\"; the columns are: {}",
            known.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_descending_in_two_ways_of_writing() {
        assert_eq!(key_column("-a"), ("a", true));
        assert_eq!(key_column(" a desc"), ("a", true));
        assert_eq!(key_column("a b ASC "), ("a b", false));
        assert_eq!(key_column("desc"), ("desc", false));
    }
}
