//! The schema of a table that is made for a file: from the file's columns, or as the user writes it.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use clap::Args;
use kodiak::{Error, Fitting, Result, Table, TableSchema};

use crate::schema;

/// What a table that is made for a file is to be.
#[derive(Debug, Clone, Default, Args)]
pub struct TableArguments {
    /// The columns that make up the key, if the table is made: a COLUMN, or "COLUMN desc" (or -COLUMN) for descending order. Without
    /// --schema they may not be null, unless it is "COLUMN null" or "COLUMN desc null"; with it, that counts
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
        self.key
            .iter()
            .map(|key| KeyArgument::of(key).name.to_owned())
            .collect()
    }

    /// Checks that a table that is there has the key that is asked for, if one is.
    ///
    /// # Errors
    /// `InvalidInput` naming both.
    pub fn check_key(&self, table: &str, schema: &TableSchema) -> Result<()> {
        let show = |(name, descending): (&str, bool)| format!("{name}{}", if descending { " desc" } else { "" });
        let own = schema.key().iter();
        let own = own.map(|key| show((schema.columns().field(key.index).name(), key.descending)));
        let wanted: Vec<KeyArgument<'_>> = self.key.iter().map(|key| KeyArgument::of(key)).collect();
        let (own, said): (Vec<_>, Vec<_>) = (
            own.collect(),
            wanted.iter().map(|key| show((key.name, key.descending))).collect(),
        );
        if !said.is_empty() && said != own {
            let message = format!(
                "table \"{table}\" exists, with the key {}, not {}",
                own.join(", "),
                said.join(", ")
            );
            return Err(Error::invalid_input(message));
        }
        let null = |key: &&KeyArgument<'_>| key.nullable && !is_nullable(schema.columns(), key.name);
        match wanted.iter().find(null) {
            Some(key) => Err(Error::invalid_input(format!(
                "table \"{table}\" exists, and its key column \"{}\" may not be null",
                key.name
            ))),
            None => Ok(()),
        }
    }

    /// The schema of a table with these columns.
    ///
    /// # Errors
    /// `InvalidInput` for a key column that there is none of, listing those that there are.
    pub fn table(&self, columns: &SchemaRef) -> Result<TableSchema> {
        if self.key.is_empty() || self.key_value {
            return Ok(TableSchema::key_value());
        }
        let explicit = self.schema.is_some() || self.schema_file.is_some();
        let wanted: Vec<KeyArgument<'_>> = self.key.iter().map(|key| KeyArgument::of(key)).collect();
        for key in &wanted {
            column_index(columns, key.name)?;
            if explicit && key.nullable && !is_nullable(columns, key.name) {
                let message = format!(
                    "key column \"{}\" is not null by its schema, and null by --key",
                    key.name
                );
                return Err(Error::invalid_input(message));
            }
        }
        let fields: Vec<Field> = columns
            .fields()
            .iter()
            .map(|field| {
                let field = field.as_ref().clone().with_metadata(Default::default());
                // A column without any value could be anything.
                let of = Fitting::storable(field.data_type());
                let field = field.with_data_type(of);
                // Rows without a key would replace each other, which nobody wants who has not said so.
                let nullable = match wanted.iter().find(|key| key.name == field.name()) {
                    _ if explicit => field.is_nullable(),
                    Some(key) => key.nullable,
                    None => true,
                };
                field.with_nullable(nullable)
            })
            .collect();
        let key: Vec<String> = wanted
            .iter()
            .map(|key| format!("{}{}", if key.descending { "-" } else { "" }, key.name))
            .collect();
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        TableSchema::new(Arc::new(Schema::new(fields)), &key)
    }
}

/// A column of the key, as `--key` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeyArgument<'a> {
    name: &'a str,
    descending: bool,
    /// It may be null, in a table whose schema is not written down.
    nullable: bool,
}

impl<'a> KeyArgument<'a> {
    fn of(text: &'a str) -> Self {
        let text = text.trim();
        let mut key = Self {
            name: text.strip_prefix('-').unwrap_or(text),
            descending: text.starts_with('-'),
            nullable: false,
        };
        while let Some((name, word)) = key.name.rsplit_once(char::is_whitespace) {
            match word.to_ascii_lowercase().as_str() {
                "null" => key.nullable = true,
                "desc" => key.descending = true,
                "asc" => {}
                _ => break,
            }
            key.name = name.trim_end();
        }
        key
    }
}

fn is_nullable(columns: &Schema, name: &str) -> bool {
    columns.field_with_name(name).is_ok_and(Field::is_nullable)
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

/// The names of a table's columns that have a default.
///
/// # Errors
/// Those of the table's schema.
pub fn defaults(table: &Table) -> Result<Vec<String>> {
    let schema = table.schema();
    let mut names = Vec::new();
    for (index, field) in schema.columns().fields().iter().enumerate() {
        if schema.initial(index)?.is_some() {
            names.push(field.name().clone());
        }
    }
    Ok(names)
}

/// True if these columns are a key and a value, by name and type.
pub fn is_entries(columns: &Schema) -> bool {
    use DataType as D;
    let bytes = |of: &D| {
        matches!(
            of,
            D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_)
        )
    };
    let mut names: Vec<&str> = columns.fields().iter().map(|field| field.name().as_str()).collect();
    names.sort_unstable();
    names == ["key", "value"] && columns.fields().iter().all(|field| bytes(field.data_type()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_an_order_and_may_be_null() {
        let key = |name, descending, nullable| KeyArgument {
            name,
            descending,
            nullable,
        };
        for (text, expected) in [
            ("-a", key("a", true, false)),
            (" a desc", key("a", true, false)),
            ("a b ASC ", key("a b", false, false)),
            ("desc", key("desc", false, false)),
            ("a null", key("a", false, true)),
            ("a  desc Null", key("a", true, true)),
            ("-a null", key("a", true, true)),
            ("null", key("null", false, false)),
        ] {
            assert_eq!(KeyArgument::of(text), expected, "{text}");
        }
    }
}
