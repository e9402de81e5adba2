//! Columns of instants, times and durations of which not every format keeps unit and zone: Parquet files hold what is not in its
//! units as integers, and pyarrow reads every timestamp of an ORC file in nanoseconds. What readers must be told to make of them.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Fields, TimeUnit};
use kodiak_core::schema::TableSchema;
use serde_json::{Map, Value, json};

use super::scripts;

/// The types of such columns, by name, as pyarrow names them. Of nested columns: `item` tells the type of a list's items, `key` and
/// `value` those of a map, `members` those of a struct's members by name, each only of such.
pub fn of_columns(schema: &TableSchema) -> BTreeMap<String, Value> {
    let fields = schema.columns().fields().iter();
    fields
        .filter_map(|field| Some((field.name().clone(), type_of(field.data_type())?)))
        .collect()
}

/// As [`of_columns`], of one type; null if files tell it.
pub fn told(of: &DataType) -> Value {
    type_of(of).unwrap_or(Value::Null)
}

/// The type of a column that was widened, if it was told: of those that are, seconds of the day alone become wider ones.
pub fn named(told: &Value) -> Option<DataType> {
    let seconds = DataType::Time32(TimeUnit::Second);
    (*told == self::told(&seconds)).then_some(seconds)
}

fn type_of(of: &DataType) -> Option<Value> {
    Some(Value::from(match of {
        DataType::Date64 => "date64".to_owned(),
        DataType::Time32(TimeUnit::Second) => "time32[s]".to_owned(),
        DataType::Timestamp(unit, None) => format!("timestamp[{}]", name(*unit)),
        DataType::Timestamp(unit, Some(zone)) => format!("timestamp[{}, tz={zone}]", name(*unit)),
        DataType::Duration(unit) => format!("duration[{}]", name(*unit)),
        DataType::Dictionary(_, values) => return type_of(values),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            return Some(json!({"item": type_of(item.data_type())?}));
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return None;
            };
            let parts = ["key", "value"].into_iter().zip(fields);
            let told: Map<String, Value> = parts
                .filter_map(|(part, field)| Some((part.to_owned(), type_of(field.data_type())?)))
                .collect();
            return (!told.is_empty()).then(|| Value::from(told));
        }
        DataType::Struct(fields) => {
            let told: Map<String, Value> = fields
                .iter()
                .filter_map(|field| Some((field.name().clone(), type_of(field.data_type())?)))
                .collect();
            return (!told.is_empty()).then(|| json!({"members": told}));
        }
        _ => return None,
    }))
}

fn name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

/// DuckDB's expression for the values of a column that lies in Parquet files as integers, or has such inside, given its quoted name;
/// `None` for others, and for durations, which stay integers, since DuckDB's intervals are not in one unit.
pub fn in_duckdb(of: &DataType, column: &str) -> Option<String> {
    converted(of, column, 0)
}

/// The expression for `value`, which is within so many lambdas.
fn converted(of: &DataType, value: &str, depth: usize) -> Option<String> {
    let unless_null = |made: String| format!("CASE WHEN {value} IS NULL THEN NULL ELSE {made} END");
    let each = format!("x{depth}");
    Some(match of {
        DataType::Date64 => format!("epoch_ms({value})"),
        DataType::Time32(TimeUnit::Second) => format!("TIME '00:00:00' + to_seconds({value})"),
        DataType::Timestamp(TimeUnit::Second, None) => format!("make_timestamp({value} * 1000000)"),
        DataType::Timestamp(TimeUnit::Second, Some(_)) => format!("make_timestamptz({value} * 1000000)"),
        DataType::Dictionary(_, values) => return converted(values, value, depth),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let made = converted(item.data_type(), &each, depth + 1)?;
            format!("list_transform({value}, lambda {each}: {made})")
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return None;
            };
            let [key, item] = &fields[..] else { return None };
            let (of_key, of_item) = (format!("{each}.\"key\""), format!("{each}.\"value\""));
            let key = converted(key.data_type(), &of_key, depth + 1);
            let item = converted(item.data_type(), &of_item, depth + 1);
            if key.is_none() && item.is_none() {
                return None;
            }
            let (key, item) = (key.unwrap_or(of_key), item.unwrap_or(of_item));
            let entry = format!("struct_pack(\"key\" := {key}, \"value\" := {item})");
            unless_null(format!(
                "map_from_entries(list_transform(map_entries({value}), lambda {each}: {entry}))"
            ))
        }
        // Its members have other names there, and stay as they are.
        DataType::Struct(fields) if alike(fields).is_some() => return None,
        DataType::Struct(fields) => {
            let mut any = false;
            let members: Vec<String> = fields
                .iter()
                .map(|field| {
                    let member = format!("struct_extract({value}, {})", scripts::text(field.name()));
                    let made = converted(field.data_type(), &member, depth);
                    any |= made.is_some();
                    format!("{} := {}", scripts::name(field.name()), made.unwrap_or(member))
                })
                .collect();
            if !any {
                return None;
            }
            unless_null(format!("struct_pack({})", members.join(", ")))
        }
        _ => return None,
    })
}

/// Two names, of columns next to each other or of members of one struct, that differ in nothing but capital letters, if there are such.
pub fn alike(fields: &Fields) -> Option<[&str; 2]> {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let twins = fields.iter().find_map(|field| {
        let before = seen.insert(field.name().to_lowercase(), field.name())?;
        Some([before, field.name().as_str()])
    });
    twins.or_else(|| fields.iter().find_map(|field| alike_inside(field.data_type())))
}

fn alike_inside(of: &DataType) -> Option<[&str; 2]> {
    match of {
        DataType::Struct(fields) => alike(fields),
        DataType::Dictionary(_, values) => alike_inside(values),
        DataType::List(inner)
        | DataType::LargeList(inner)
        | DataType::FixedSizeList(inner, _)
        | DataType::Map(inner, _) => alike_inside(inner.data_type()),
        _ => None,
    }
}

/// A type as the schemas of Delta tables have it, if they do.
pub fn in_delta(of: &DataType) -> Option<Value> {
    let name = match of {
        DataType::Boolean => "boolean",
        DataType::Int8 => "byte",
        DataType::Int16 => "short",
        DataType::Int32 => "integer",
        DataType::Int64 => "long",
        DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary",
        DataType::Date32 => "date",
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp_ntz",
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if &**zone == "UTC" => "timestamp",
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
            if *scale >= 0 =>
        {
            return Some(Value::from(format!("decimal({precision},{scale})")));
        }
        // Data files have their values.
        DataType::Dictionary(_, values) => return in_delta(values),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let of = in_delta(item.data_type())?;
            return Some(json!({"type": "array", "elementType": of, "containsNull": item.is_nullable()}));
        }
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| {
                let of = in_delta(field.data_type())?;
                Some(json!({"name": field.name(), "type": of, "nullable": field.is_nullable(), "metadata": {}}))
            });
            return Some(json!({"type": "struct", "fields": fields.collect::<Option<Vec<_>>>()?}));
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return None;
            };
            let [key, value] = &fields[..] else { return None };
            let (of_key, of_value) = (in_delta(key.data_type())?, in_delta(value.data_type())?);
            return Some(json!({
                "type": "map",
                "keyType": of_key,
                "valueType": of_value,
                "valueContainsNull": value.is_nullable(),
            }));
        }
        _ => return None,
    };
    Some(Value::from(name))
}

/// True if Delta tables call a type, or one inside of it, `timestamp_ntz`.
pub fn has_local_times(of: &DataType) -> bool {
    has(of, &|of| matches!(of, DataType::Timestamp(TimeUnit::Microsecond, None)))
}

/// True if this holds of a type, or of one inside of it.
pub fn has(of: &DataType, which: &dyn Fn(&DataType) -> bool) -> bool {
    which(of)
        || match of {
            DataType::Dictionary(_, values) => has(values, which),
            DataType::List(inner)
            | DataType::LargeList(inner)
            | DataType::FixedSizeList(inner, _)
            | DataType::Map(inner, _) => has(inner.data_type(), which),
            DataType::Struct(fields) => fields.iter().any(|field| has(field.data_type(), which)),
            _ => false,
        }
}
