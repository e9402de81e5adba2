//! Members that an object has twice.
//!
//! JSON leaves open what such an object means, and what decodes rows takes the last one unseen. The entries of maps may
//! be there twice, as in any other file, and both are kept.

use arrow::datatypes::{DataType, Fields};
use serde_json::value::RawValue;

use super::lines::Members;

/// Checks the values of an object's members that are structs by these columns, and what is inside of them.
///
/// # Errors
/// Which of them has a member twice.
pub fn check(members: &Members<'_>, columns: &Fields) -> Result<(), String> {
    check_members(members, columns, "")
}

fn check_members(members: &Members<'_>, fields: &Fields, path: &str) -> Result<(), String> {
    for field in fields.iter().filter(|field| has_structs(field.data_type())) {
        if let Some(value) = members.get(field.name()) {
            check_value(value, field.data_type(), &format!("{path}{}", field.name()))?;
        }
    }
    Ok(())
}

/// Checks a value of this type, which is called `path` in messages. Values that are no JSON of their type are passed over: what
/// decodes them says so.
///
/// # Errors
/// Which object has a member twice.
pub fn check_value(value: &str, of: &DataType, path: &str) -> Result<(), String> {
    let begins = |with: char| value.starts_with(with);
    match of {
        DataType::Struct(fields) if begins('{') => {
            let members = Members::of(value.as_bytes()).map_err(|reason| match path {
                "" => reason,
                path => format!("\"{path}\": {reason}"),
            })?;
            check_members(
                &members,
                fields,
                &format!("{path}{}", if path.is_empty() { "" } else { "." }),
            )
        }
        DataType::Map(entries, _) if begins('{') => {
            let DataType::Struct(fields) = entries.data_type() else {
                return Ok(());
            };
            let entries = Members::entries(value.as_bytes()).unwrap_or_default();
            let mut values = entries.0.iter().map(|(_, value)| value);
            values.try_for_each(|value| check_value(value, fields[1].data_type(), &format!("{path}{{}}")))
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) if begins('[') => {
            let items: Vec<&RawValue> = serde_json::from_str(value).unwrap_or_default();
            let mut items = items.into_iter();
            items.try_for_each(|value| check_value(value.get(), item.data_type(), &format!("{path}[]")))
        }
        _ => Ok(()),
    }
}

/// True if there may be objects in values of this type that are no maps.
fn has_structs(of: &DataType) -> bool {
    match of {
        DataType::Struct(_) => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            has_structs(item.data_type())
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => has_structs(fields[1].data_type()),
            _ => false,
        },
        _ => false,
    }
}
