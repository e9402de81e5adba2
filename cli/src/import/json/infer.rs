//! The columns of files with a JSON object in each line, and their types.

use std::collections::BTreeMap;
use std::io::BufRead;

use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use arrow_json::reader::infer_json_schema_from_iterator;
use kodiak::{Error, Result};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::Lines;
use crate::import::csv::Kind;

/// On which line each column was first an object, a list and a single value.
#[derive(Default)]
struct Shapes(BTreeMap<String, [Option<u64>; 3]>);

impl Shapes {
    fn note(&mut self, members: &serde_json::Map<String, Value>, line: u64) {
        for (name, value) in members {
            let shape = match value {
                Value::Null => continue,
                Value::Object(_) => 0,
                Value::Array(_) => 1,
                Value::Bool(_) | Value::Number(_) | Value::String(_) => 2,
            };
            if !self.0.contains_key(name) {
                self.0.insert(name.clone(), [None; 3]);
            }
            if let Some(lines) = self.0.get_mut(name) {
                lines[shape].get_or_insert(line);
            }
        }
    }

    /// Why there is no type for one of the columns.
    fn conflict(&self) -> String {
        let conflict = self.0.iter().find_map(|(name, lines)| match lines {
            [Some(object), Some(list), _] => Some((name, object, "a list", list)),
            [Some(object), None, Some(value)] => Some((name, object, "a single value", value)),
            _ => None,
        });
        match conflict {
            Some((name, object, other, line)) => format!(
                "column \"{name}\" is an object on line {object} and {other} on line {line}, for which there is no type: leave \
                 it out, naming the others with --columns"
            ),
            None => "the types of the columns cannot be told: leave out those with lists and objects of different kinds, naming \
                     the others with --columns"
                .to_owned(),
        }
    }
}

/// The names of an object's members, in their order.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Names;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = members.next_entry()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// What is found out about columns beside their types.
#[derive(Default)]
struct Found {
    /// The columns in the order in which they came.
    order: Vec<String>,
    shapes: Shapes,
    /// What the texts of columns of texts alone can be.
    texts: BTreeMap<String, Kind>,
}

impl Found {
    fn note(&mut self, members: &serde_json::Map<String, Value>, line: &[u8], number: u64) {
        self.shapes.note(members, number);
        if members.keys().any(|name| !self.order.contains(name)) {
            let names = serde_json::from_slice(line).map_or(Vec::new(), |Names(names)| names);
            for name in names {
                if members.contains_key(&name) && !self.order.contains(&name) {
                    self.order.push(name);
                }
            }
        }
        for (name, value) in members {
            let kind = match value {
                Value::Null => continue,
                Value::String(text) => Kind::of_json(text),
                _ => Kind::Text,
            };
            match self.texts.get_mut(name) {
                Some(known) => *known = known.and(kind),
                None => drop(self.texts.insert(name.clone(), kind)),
            }
        }
    }

    /// The columns in their order, those of dates and times as such if they are `dated`.
    fn schema(&self, types: &Schema, dated: bool) -> Schema {
        let fields = self.order.iter().filter_map(|name| types.field_with_name(name).ok());
        let fields = fields.map(|field| {
            let kind = self.texts.get(field.name());
            match (field.data_type(), kind) {
                (DataType::Utf8, Some(kind)) if dated => field.clone().with_data_type(kind.data_type()),
                _ => field.clone(),
            }
        });
        Schema::new(fields.collect::<Vec<_>>())
    }
}

/// The columns and their types, by all rows; only those that are `chosen`, unless none are. Texts are dates and times if all of a
/// column are and it is to be `dated`. Lines that are no JSON objects are passed over: they are found when they are read.
///
/// # Errors
/// `InvalidInput` if there is no object.
pub fn infer(source: impl BufRead, chosen: &[String], dated: bool) -> Result<Schema> {
    let mut lines = Lines::new(source, 0, 1);
    let (mut failed, mut found) = (None, Found::default());
    let objects = std::iter::from_fn(|| {
        loop {
            match lines.next() {
                Ok(true) => {
                    if let Ok(Value::Object(mut members)) = serde_json::from_slice(&lines.line) {
                        if !chosen.is_empty() {
                            members.retain(|name, _| chosen.contains(name));
                        }
                        found.note(&members, &lines.line, lines.number);
                        return Some(Ok::<_, ArrowError>(Value::Object(members)));
                    }
                }
                Ok(false) => return None,
                Err(error) => {
                    failed = Some(error);
                    return None;
                }
            }
        }
    });
    let types = infer_json_schema_from_iterator(objects);
    let types = types.map_err(|error| Error::invalid_input(found.shapes.conflict()).with_source(error));
    if let Some(error) = failed {
        return Err(error);
    }
    let types = types?;
    match types.fields().is_empty() {
        true => Err(Error::invalid_input(
            "the file has no JSON objects: each line must hold one, whole, and not be part of a list of them",
        )),
        false => Ok(found.schema(&types, dated)),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn columns_come_in_their_order_and_dates_and_times_as_such() {
        let text = "{\"z\":1,\"day\":\"2013-01-31\",\"at\":\"2013-01-31T10:00:00Z\",\"odd\":\"2013-01-31\"}\n\
                    {\"new\":null,\"day\":null,\"b\":{\"c\":1},\"odd\":\"x\",\"z\":2.5}\n{\"b\":[],\"a\":true}\n";
        let chosen = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let conflict = infer(text.as_bytes(), &[], true).expect_err("a list and an object");
        assert!(
            conflict.message().contains("\"b\" is an object on line 2"),
            "{conflict}"
        );
        let names = chosen(&["a", "z", "odd", "day", "at"]);
        let found = infer(text.as_bytes(), &names, true).expect("columns");
        let fields = found
            .fields()
            .iter()
            .map(|field| (field.name().as_str(), field.data_type()));
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let expected = [
            ("z", &DataType::Float64),
            ("day", &DataType::Date32),
            ("at", &instant),
            ("odd", &DataType::Utf8),
            ("a", &DataType::Boolean),
        ];
        assert_eq!(fields.collect::<Vec<_>>(), expected);
        let plain = infer(text.as_bytes(), &names, false).expect("columns");
        assert_eq!(plain.field(1).data_type(), &DataType::Utf8);
    }
}
