//! Columns whose values are texts, in the lists, structs and maps that they are to become.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, new_empty_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use kodiak::{Error, Result};
use serde_json::value::RawValue;

use super::{decode, twice};

/// A type with the same lists, structs and maps, and texts in them.
fn text_type(of: &DataType) -> DataType {
    let text = |field: &Arc<Field>| Field::new(field.name(), text_type(field.data_type()), true);
    match of {
        DataType::List(item) | DataType::FixedSizeList(item, _) => DataType::List(Arc::new(text(item))),
        DataType::LargeList(item) => DataType::LargeList(Arc::new(text(item))),
        DataType::Struct(members) => DataType::Struct(members.iter().map(text).collect()),
        DataType::Map(entries, _) => {
            let DataType::Struct(members) = entries.data_type() else {
                return DataType::Utf8;
            };
            let mut members: Vec<Field> = members.iter().map(text).collect();
            members[0] = Field::new(members[0].name(), DataType::Utf8, false);
            let entries = Field::new(entries.name(), DataType::Struct(members.into()), false);
            DataType::Map(Arc::new(entries), false)
        }
        DataType::Dictionary(_, values) => text_type(values),
        _ => DataType::Utf8,
    }
}

/// Columns of these names as texts, in the shape of those that `target` has.
pub fn as_texts<'n>(names: impl Iterator<Item = &'n String>, target: &Schema) -> SchemaRef {
    let field = |name: &'n String| {
        let own = target.field_with_name(name);
        let of = own.map_or(DataType::Utf8, |own| text_type(own.data_type()));
        Field::new(name, of, true)
    };
    Arc::new(Schema::new(names.map(field).collect::<Vec<_>>()))
}

/// The lists, structs and maps of texts that JSON texts hold, and the rows whose texts hold none.
///
/// # Errors
/// `InvalidInput` if they cannot be held.
pub fn parsed(texts: &ArrayRef, to: &DataType) -> Result<(ArrayRef, Vec<(usize, String)>)> {
    let schema = Arc::new(Schema::new(vec![Field::new("value", to.clone(), true)]));
    let line = |text: &str| format!("{{\"value\":{text}}}\n");
    let checked = |text: &str| -> Result<String, String> {
        let value: &RawValue = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
        twice::check_value(value.get(), to, "")?;
        let line = line(text);
        decode(&schema, line.as_bytes(), 1).map(|_| line)
    };
    let texts = texts.as_string::<i32>();
    let (mut lines, mut wrong) = (String::new(), Vec::new());
    for (row, text) in texts.iter().enumerate() {
        match text.map_or_else(|| Ok(line("null")), checked) {
            Ok(text) => lines.push_str(&text),
            Err(reason) => {
                lines.push_str(&line("null"));
                wrong.push((row, reason));
            }
        }
    }
    let rows = decode(&schema, lines.as_bytes(), texts.len()).map_err(Error::invalid_input)?;
    let column = rows.columns().first().cloned();
    Ok((column.unwrap_or_else(|| new_empty_array(to)), wrong))
}
