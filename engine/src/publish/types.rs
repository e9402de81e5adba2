//! Columns of instants, times and durations of which not every format keeps unit and zone: Parquet files hold what is not in its
//! units as integers, and pyarrow reads every timestamp of an ORC file in nanoseconds. What readers must be told to make of them.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, TimeUnit};
use kodiak_core::schema::TableSchema;

/// The types of such columns, by name, as pyarrow names them.
pub fn of_columns(schema: &TableSchema) -> BTreeMap<String, String> {
    let fields = schema.columns().fields().iter();
    fields
        .filter_map(|field| Some((field.name().clone(), type_of(field.data_type())?)))
        .collect()
}

fn type_of(of: &DataType) -> Option<String> {
    Some(match of {
        DataType::Date64 => "date64".to_owned(),
        DataType::Time32(TimeUnit::Second) => "time32[s]".to_owned(),
        DataType::Timestamp(unit, None) => format!("timestamp[{}]", name(*unit)),
        DataType::Timestamp(unit, Some(zone)) => format!("timestamp[{}, tz={zone}]", name(*unit)),
        DataType::Duration(unit) => format!("duration[{}]", name(*unit)),
        _ => return None,
    })
}

fn name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

/// DuckDB's expression for the values of a column that lies in Parquet files as integers, given its quoted name; `None` for
/// others, and for durations, which stay integers, since DuckDB's intervals are not in one unit.
pub fn in_duckdb(of: &DataType, column: &str) -> Option<String> {
    Some(match of {
        DataType::Date64 => format!("epoch_ms({column})"),
        DataType::Time32(TimeUnit::Second) => format!("TIME '00:00:00' + to_seconds({column})"),
        DataType::Timestamp(TimeUnit::Second, None) => format!("make_timestamp({column} * 1000000)"),
        DataType::Timestamp(TimeUnit::Second, Some(_)) => format!("make_timestamptz({column} * 1000000)"),
        _ => return None,
    })
}

/// The name of a type in Delta tables, if they have it.
pub fn in_delta(of: &DataType) -> Option<String> {
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
            return Some(format!("decimal({precision},{scale})"));
        }
        _ => return None,
    };
    Some(name.to_owned())
}
