//! The columns of files with a JSON object in each line, and their types.

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use kodiak::{Error, Result};
use serde_json::value::RawValue;

use super::lines::{Lines, Members};
use crate::import::kind::Kinds;

/// Values inside of one another: more would be a mistake, or malice.
const DEEPEST: usize = 32;

/// What is found out about the values of a column, or about those inside of them.
#[derive(Default)]
struct Found {
    /// On which line they were first an object, a list and a single value.
    shapes: [Option<u64>; 3],
    /// What single values are.
    kinds: Kinds,
    /// There are texts among them.
    texts: bool,
    members: Columns,
    items: Option<Box<Found>>,
    /// The line of values that are inside of too many others.
    too_deep: Option<u64>,
}

const OBJECT: usize = 0;
const LIST: usize = 1;
const SINGLE: usize = 2;

impl Found {
    fn note(&mut self, value: &str, line: u64, depth: usize) {
        let shape = match value.as_bytes().first() {
            Some(b'n') | None => return,
            Some(b'{') => OBJECT,
            Some(b'[') => LIST,
            Some(_) => SINGLE,
        };
        self.shapes[shape].get_or_insert(line);
        if shape != SINGLE && depth == DEEPEST {
            self.too_deep.get_or_insert(line);
            return;
        }
        // What is inside was found to be JSON when the line was read.
        match shape {
            OBJECT => {
                let members = Members::of(value.as_bytes()).unwrap_or_default();
                self.members.note(&members, line, depth + 1);
            }
            LIST => {
                let found = self.items.get_or_insert_default();
                for item in serde_json::from_str::<Vec<&RawValue>>(value).unwrap_or_default() {
                    found.note(item.get(), line, depth + 1);
                }
            }
            _ => self.note_single(value),
        }
    }

    fn note_single(&mut self, value: &str) {
        let text = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        self.texts |= text.is_some();
        if self.kinds.has(Kinds::TEXT) {
            return;
        }
        let kinds = match text {
            // A date has no escapes.
            Some(text) => Kinds::of_json_text(text),
            None if matches!(value, "true" | "false") => Kinds::BOOL,
            None => Kinds::of_json_number(value),
        };
        self.kinds = self.kinds.and(kinds);
    }

    /// The type that holds all values of what is called `path`.
    fn data_type(&self, path: &str) -> Result<DataType> {
        if let Some(line) = self.too_deep {
            let message = format!(
                "column \"{path}\" has more than {DEEPEST} values inside of one another on line {line}: leave it out, naming the \
                 others with --columns"
            );
            return Err(Error::invalid_input(message));
        }
        match self.shapes {
            [Some(_), None, None] if self.members.columns.is_empty() => Err(Error::invalid_input(format!(
                "column \"{path}\" has only empty objects, for which there is no type: say one with --schema, or leave it out, \
                 naming the others with --columns"
            ))),
            [Some(_), None, None] => Ok(DataType::Struct(self.members.fields(&format!("{path}."))?)),
            [None, Some(_), None] => {
                let items = self.items.as_ref();
                let of = items.map_or(Ok(DataType::Utf8), |items| items.data_type(&format!("{path}[]")))?;
                Ok(DataType::List(Arc::new(Field::new("item", of, true))))
            }
            [None, None, _] => Ok(self.kinds.data_type()),
            _ => Err(self.conflict(path)),
        }
    }

    fn conflict(&self, path: &str) -> Error {
        let names = ["an object", "a list", "a single value"];
        let lines = self.shapes.iter().zip(names);
        let lines: Vec<String> = lines
            .filter_map(|(line, name)| line.map(|line| format!("{name} on line {line}")))
            .collect();
        Error::invalid_input(format!(
            "column \"{path}\" is {}, for which there is no type: leave it out, naming the others with --columns",
            lines.join(" and ")
        ))
    }

    /// A type that only tells texts from others.
    fn text_or_not(&self) -> DataType {
        match (self.shapes, self.texts) {
            ([None, None, _], true) => DataType::Utf8,
            _ => DataType::Null,
        }
    }
}

/// Columns in the order in which they came.
#[derive(Default)]
struct Columns {
    columns: Vec<(String, Found)>,
    places: HashMap<String, usize>,
}

impl Columns {
    fn note(&mut self, members: &Members<'_>, line: u64, depth: usize) {
        for (place, (name, value)) in members.0.iter().enumerate() {
            // Most objects have the same members in the same order.
            let place = match self.columns.get(place) {
                Some((own, _)) if own == name => place,
                _ => self.place(name),
            };
            self.columns[place].1.note(value, line, depth);
        }
    }

    fn place(&mut self, name: &str) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.columns.len();
        self.columns.push((name.to_owned(), Found::default()));
        self.places.insert(name.to_owned(), place);
        place
    }

    fn fields(&self, path: &str) -> Result<Fields> {
        let field = |(name, found): &(String, Found)| {
            let of = found.data_type(&format!("{path}{name}"))?;
            Ok(Field::new(name, of, true))
        };
        self.columns.iter().map(field).collect()
    }
}

/// The columns and their types, by all rows; only those that are `chosen`, unless none are. Texts are dates and times if all of a
/// column are. Unless they are to be `typed`, it is only told whether columns hold texts. Lines that are no JSON objects are passed
/// over: they are found when they are read.
///
/// # Errors
/// `InvalidInput` if there is no object, or no type for a column.
pub fn infer(source: impl BufRead, chosen: &[String], typed: bool) -> Result<Schema> {
    let mut lines = Lines::new(source, 0, 1);
    let mut found = Columns::default();
    let mut any = false;
    while lines.next()? {
        let Ok(mut members) = Members::of(lines.line.trim_ascii()) else {
            continue;
        };
        if !chosen.is_empty() {
            members.0.retain(|(name, _)| chosen.iter().any(|chosen| chosen == name));
        }
        any |= !members.0.is_empty();
        found.note(&members, lines.number, 0);
    }
    if !any {
        return Err(Error::invalid_input(
            "the file has no JSON objects: each line must hold one, whole, and not be part of a list of them",
        ));
    }
    if typed {
        return Ok(Schema::new(found.fields("")?));
    }
    let columns = found.columns.iter();
    let fields = columns.map(|(name, found)| Field::new(name, found.text_or_not(), true));
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    fn types(text: &str) -> Vec<(String, DataType)> {
        let found = infer(text.as_bytes(), &[], true).expect("columns");
        let fields = found.fields().iter();
        fields
            .map(|field| (field.name().clone(), field.data_type().clone()))
            .collect()
    }

    #[test]
    fn columns_come_in_their_order_and_dates_and_times_as_such() {
        let text = "{\"z\":1,\"day\":\"2013-01-31\",\"at\":\"2013-01-31T10:00:00Z\",\"odd\":\"2013-01-31\"}\n\
                    {\"new\":null,\"day\":null,\"b\":{\"c\":1},\"odd\":\"x\",\"z\":2.5}\n{\"b\":[],\"a\":true}\n";
        let chosen = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let conflict = infer(text.as_bytes(), &[], true).expect_err("a list and an object");
        assert!(
            conflict
                .message()
                .contains("\"b\" is an object on line 2 and a list on line 3"),
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
        let plain = infer(text.as_bytes(), &[], false).expect("columns");
        assert_eq!(plain.field(0).data_type(), &DataType::Null);
        assert_eq!(plain.field(1).data_type(), &DataType::Utf8);
    }

    #[test]
    fn what_is_inside_of_values_has_the_narrowest_type_that_loses_nothing_too() {
        let text = "{\"a\":{\"n\":18446744073709551615,\"t\":[1,0.5]},\"l\":[[],null,[{\"x\":\"2013-01-31\"}]],\"none\":[]}\n\
                    {\"a\":{\"n\":1,\"t\":[9007199254740993],\"new\":null},\"l\":null}\n";
        let list = |of: DataType| DataType::List(Arc::new(Field::new("item", of, true)));
        let fields = |fields: &[(&str, DataType)]| {
            let fields = fields.iter().map(|(name, of)| Field::new(*name, of.clone(), true));
            DataType::Struct(fields.collect())
        };
        let a = fields(&[
            ("n", DataType::UInt64),
            ("t", list(DataType::Utf8)),
            ("new", DataType::Utf8),
        ]);
        let expected = [
            ("a".to_owned(), a),
            ("l".to_owned(), list(list(fields(&[("x", DataType::Date32)])))),
            ("none".to_owned(), list(DataType::Utf8)),
        ];
        assert_eq!(types(text), expected);
        for (text, expected) in [
            (
                "{\"a\":{\"b\":1}}\n{\"a\":{\"b\":[1]}}",
                "\"a.b\" is a list on line 2 and a single value on line 1",
            ),
            (
                "{\"a\":[1,{}]}",
                "\"a[]\" is an object on line 1 and a single value on line 1",
            ),
            ("{\"a\":{}}", "only empty objects"),
        ] {
            let error = infer(text.as_bytes(), &[], true).expect_err(text);
            assert!(error.message().contains(expected), "{error}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let error = infer(deep.as_bytes(), &[], true).expect_err("deep");
        assert!(error.message().contains("more than 32"), "{error}");
    }
}
