//! Columns and types as text that can be read again.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use kodiak::TableSchema;

/// The columns of a table, a line each, as a file for `--schema-file` has them.
pub fn show_all(schema: &TableSchema) -> String {
    let fields = schema.columns().fields().iter().enumerate();
    let lines = fields.map(|(index, field)| format!("{}{}\n", show(field), key_place(schema, index)));
    lines.collect()
}

/// What part of the key a column is, if any: which one, where there are several, and in what order.
fn key_place(schema: &TableSchema, index: usize) -> String {
    let key = schema.key();
    let Some(place) = key.iter().position(|column| column.index == index) else {
        return String::new();
    };
    let number = if key.len() > 1 {
        format!(" {}", place + 1)
    } else {
        String::new()
    };
    let order = if key[place].descending { " desc" } else { "" };
    format!("  # key{number}{order}")
}

/// A column as a schema has it written down. (Metadata, and the name of a map's entries, have no words.)
pub fn show(field: &Field) -> String {
    let null = if field.is_nullable() { "" } else { " not null" };
    format!("{}: {}{null}", name(field.name()), data_type(field.data_type()))
}

/// A name, in quotes if it could be taken for anything else.
fn name(name: &str) -> String {
    let special = |char: char| matches!(char, '"' | ',' | ':' | '#' | '<' | '>' | '(' | ')') || char.is_control();
    match name.is_empty() || name.trim() != name || name.contains(special) {
        true => format!("\"{}\"", name.replace('"', "\"\"")),
        false => name.to_owned(),
    }
}

/// A column inside of a type, which by itself would have the name `usual`.
fn item(usual: &str, field: &Field) -> String {
    let null = if field.is_nullable() { "" } else { " not null" };
    match field.name() == usual {
        true => format!("{}{null}", data_type(field.data_type())),
        false => show(field),
    }
}

fn unit(of: TimeUnit) -> &'static str {
    match of {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

fn data_type(of: &DataType) -> String {
    use DataType as D;
    match of {
        D::Boolean => "bool".to_owned(),
        D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::UInt8 | D::UInt16 | D::UInt32 | D::UInt64 => {
            of.to_string().to_ascii_lowercase()
        }
        D::Float16 | D::Float32 | D::Float64 | D::Binary | D::Date64 => of.to_string().to_ascii_lowercase(),
        D::Utf8 => "text".to_owned(),
        D::LargeUtf8 => "large_text".to_owned(),
        D::Utf8View => "text_view".to_owned(),
        D::LargeBinary => "large_binary".to_owned(),
        D::BinaryView => "binary_view".to_owned(),
        D::FixedSizeBinary(bytes) => format!("fixed({bytes})"),
        D::Date32 => "date".to_owned(),
        D::Time32(of) | D::Time64(of) => format!("time({})", unit(*of)),
        D::Timestamp(of, None) => format!("timestamp({})", unit(*of)),
        D::Timestamp(of, Some(zone)) => format!("timestamp({}, {zone})", unit(*of)),
        D::Duration(of) => format!("duration({})", unit(*of)),
        D::Decimal32(digits, scale) => format!("decimal32({digits}, {scale})"),
        D::Decimal64(digits, scale) => format!("decimal64({digits}, {scale})"),
        D::Decimal128(digits, scale) => format!("decimal({digits}, {scale})"),
        D::Decimal256(digits, scale) if *digits > 38 => format!("decimal({digits}, {scale})"),
        D::Decimal256(digits, scale) => format!("decimal256({digits}, {scale})"),
        D::Interval(IntervalUnit::YearMonth) => "interval(year_month)".to_owned(),
        D::Interval(IntervalUnit::DayTime) => "interval(day_time)".to_owned(),
        D::Interval(IntervalUnit::MonthDayNano) => "interval(month_day_nano)".to_owned(),
        D::List(of) => format!("list<{}>", item("item", of)),
        D::LargeList(of) => format!("large_list<{}>", item("item", of)),
        D::FixedSizeList(of, length) => format!("fixed_list<{}, {length}>", item("item", of)),
        D::Struct(fields) => {
            let fields: Vec<String> = fields.iter().map(|field| show(field)).collect();
            format!("struct<{}>", fields.join(", "))
        }
        D::Map(entries, sorted) => {
            let word = if *sorted { "sorted_map" } else { "map" };
            let D::Struct(fields) = entries.data_type() else {
                return of.to_string();
            };
            let [key, value] = &fields[..] else {
                return of.to_string();
            };
            let key = item("key", &key.as_ref().clone().with_nullable(true));
            format!("{word}<{key}, {}>", item("value", value))
        }
        D::Dictionary(key, value) => format!("dictionary<{}, {}>", data_type(key), data_type(value)),
        // Tables have no others.
        other => other.to_string(),
    }
}
