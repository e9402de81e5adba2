//! The schema of a table that is made for a file: from the file's columns, or as the user writes it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit};
use clap::Args;
use kodiak::{Error, Result, TableSchema};
use std::path::PathBuf;

/// What a table that is made for a file is to be.
#[derive(Debug, Clone, Default, Args)]
pub struct TableArguments {
    /// The columns that make up the key, if the table is made: a COLUMN, or "COLUMN desc" (or -COLUMN) for descending order
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',', allow_hyphen_values = true)]
    pub key: Vec<String>,
    /// Make a key-value table even with --key
    #[arg(long)]
    pub key_value: bool,
    /// The columns and their types: "id:int64 not null, name:text, at:timestamp(us, UTC), price:decimal(10, 2)"
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
        let parsed = parse(&text);
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

fn parse(text: &str) -> Result<Schema> {
    let mut fields: Vec<Field> = Vec::new();
    for column in columns_of(text) {
        let field = parse_column(column)?;
        if fields.iter().any(|other| other.name() == field.name()) {
            return Err(Error::invalid_input(format!(
                "two columns are called \"{}\"",
                field.name()
            )));
        }
        fields.push(field);
    }
    match fields.is_empty() {
        true => Err(Error::invalid_input("the schema has no columns")),
        false => Ok(Schema::new(fields)),
    }
}

/// The texts between commas and line breaks that are not inside parentheses; without comments, which begin with #.
fn columns_of(text: &str) -> Vec<&str> {
    let mut columns = Vec::new();
    for line in text.lines() {
        let line = line.split_once('#').map_or(line, |(line, _)| line);
        let (mut depth, mut start) = (0usize, 0);
        for (at, char) in line.char_indices() {
            match char {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => {
                    columns.push(&line[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
        }
        columns.push(&line[start..]);
    }
    columns.retain(|column| !column.trim().is_empty());
    columns
}

/// A column as it is written in a schema.
///
/// # Errors
/// `InvalidInput` naming the column.
pub fn parse_column(text: &str) -> Result<Field> {
    let malformed = || Error::invalid_input(format!("\"{}\": write COLUMN:TYPE, such as year:int16", text.trim()));
    // A name may have colons, a type has none.
    let (name, data_type) = text.rsplit_once(':').ok_or_else(malformed)?;
    let (name, mut data_type) = (name.trim(), data_type.trim());
    let mut nullable = true;
    let lower = data_type.to_ascii_lowercase();
    if lower.ends_with("not null") {
        data_type = data_type[..data_type.len() - "not null".len()].trim_end();
        nullable = false;
    }
    if name.is_empty() {
        return Err(malformed());
    }
    let data_type = parse_type(data_type).ok_or_else(|| {
        Error::invalid_input(format!(
            "column \"{name}\" has the unknown type \"{data_type}\"; known are: bool, int8 to int64, uint8 to uint64, float16 \
             to float64, text, large_text, binary, large_binary, fixed(BYTES), date, date64, time(UNIT), timestamp(UNIT), \
             timestamp(UNIT, ZONE), duration(UNIT), decimal(DIGITS, SCALE), interval(month_day_nano); units are s, ms, us, ns"
        ))
    })?;
    Ok(Field::new(name, data_type, nullable))
}

fn parse_type(text: &str) -> Option<DataType> {
    let (name, arguments) = match text.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')')?.split(',').map(str::trim).collect()),
        None => (text, Vec::new()),
    };
    let unit = |text: &&str| match text.to_ascii_lowercase().as_str() {
        "s" => Some(TimeUnit::Second),
        "ms" => Some(TimeUnit::Millisecond),
        "us" => Some(TimeUnit::Microsecond),
        "ns" => Some(TimeUnit::Nanosecond),
        _ => None,
    };
    Some(
        match (name.trim().to_ascii_lowercase().as_str(), arguments.as_slice()) {
            ("bool" | "boolean", []) => DataType::Boolean,
            ("int8", []) => DataType::Int8,
            ("int16", []) => DataType::Int16,
            ("int32" | "int", []) => DataType::Int32,
            ("int64" | "bigint", []) => DataType::Int64,
            ("uint8", []) => DataType::UInt8,
            ("uint16", []) => DataType::UInt16,
            ("uint32", []) => DataType::UInt32,
            ("uint64", []) => DataType::UInt64,
            ("float16", []) => DataType::Float16,
            ("float32" | "float", []) => DataType::Float32,
            ("float64" | "double", []) => DataType::Float64,
            ("text" | "string" | "utf8", []) => DataType::Utf8,
            ("large_text" | "large_string" | "large_utf8", []) => DataType::LargeUtf8,
            ("binary" | "bytes", []) => DataType::Binary,
            ("large_binary", []) => DataType::LargeBinary,
            ("fixed", [len]) => DataType::FixedSizeBinary(len.parse().ok().filter(|&len| len > 0)?),
            ("date" | "date32", []) => DataType::Date32,
            ("date64", []) => DataType::Date64,
            ("time", [of]) => match unit(of)? {
                unit @ (TimeUnit::Second | TimeUnit::Millisecond) => DataType::Time32(unit),
                unit => DataType::Time64(unit),
            },
            ("timestamp", [of]) => DataType::Timestamp(unit(of)?, None),
            ("timestamp", [of, zone]) if !zone.is_empty() => DataType::Timestamp(unit(of)?, Some((*zone).into())),
            ("duration", [of]) => DataType::Duration(unit(of)?),
            ("decimal", [digits, scale]) => {
                let (digits, scale) = (digits.parse::<u8>().ok()?, scale.parse::<i8>().ok()?);
                match digits {
                    1..=38 => DataType::Decimal128(digits, scale),
                    39..=76 => DataType::Decimal256(digits, scale),
                    _ => return None,
                }
            }
            ("interval", ["month_day_nano"]) => DataType::Interval(IntervalUnit::MonthDayNano),
            _ => return None,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_written_down_with_their_types() {
        let text = "year:int16 NOT NULL, a b : text # a name\n at:timestamp(us, Europe/Rome),price:decimal(10, 2)\n\n x:y:bool";
        let schema = parse(text).expect("valid");
        let found: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| (field.name().as_str(), field.data_type().clone(), field.is_nullable()))
            .collect();
        let rome = DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Rome".into()));
        assert_eq!(
            found,
            [
                ("year", DataType::Int16, false),
                ("a b", DataType::Utf8, true),
                ("at", rome, true),
                ("price", DataType::Decimal128(10, 2), true),
                ("x:y", DataType::Boolean, true),
            ]
        );
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_the_column() {
        for (text, said) in [
            ("", "no columns"),
            ("year", "\"year\""),
            ("year:integer16", "\"integer16\""),
            ("a:int8, a:int8", "\"a\""),
            ("at:timestamp(hours)", "\"at\""),
            ("p:decimal(99, 1)", "\"p\""),
            (":int8", "COLUMN:TYPE"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn keys_are_descending_in_two_ways_of_writing() {
        assert_eq!(key_column("-a"), ("a", true));
        assert_eq!(key_column(" a desc"), ("a", true));
        assert_eq!(key_column("a b ASC "), ("a b", false));
        assert_eq!(key_column("desc"), ("desc", false));
    }
}
