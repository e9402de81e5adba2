//! How each column of a run is stored: its ORC type.

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, Result};
use orc_rust::proto::{self, r#type::Kind};

/// How values lie in streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    /// Bits in runs of bytes.
    Bits,
    /// Bytes in runs.
    Byte,
    /// Signed integers in runs.
    Integer,
    /// Arrow's bytes as they are, this many each.
    Raw(usize),
    /// Lengths in runs, and the bytes.
    Bytes,
    /// Seconds since 2015, and nanoseconds, each in runs.
    Timestamp(TimeUnit),
    /// Numbers of any length, and their scales.
    Decimal,
}

/// A column of a run.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub name: String,
    /// The type that the table has.
    pub data_type: DataType,
    /// The type with the same values that is encoded.
    pub stored: DataType,
    pub nullable: bool,
    /// Its number, in a table that has been altered.
    pub id: Option<String>,
    pub kind: Kind,
    pub store: Store,
}

/// Why this format cannot hold a type.
pub(super) fn refuses(data_type: &DataType) -> Option<String> {
    stored(data_type).err()
}

/// The type that is encoded in place of `data_type`, its ORC kind and the manner.
fn stored(data_type: &DataType) -> Result<(DataType, Kind, Store), String> {
    use DataType as D;
    let plain = |kind, store| Ok((data_type.clone(), kind, store));
    match data_type {
        D::Boolean => plain(Kind::Boolean, Store::Bits),
        D::Int8 => plain(Kind::Byte, Store::Byte),
        D::Int16 => plain(Kind::Short, Store::Integer),
        D::Int32 => plain(Kind::Int, Store::Integer),
        D::Int64 => plain(Kind::Long, Store::Integer),
        // ORC's integers are signed: the next larger one holds every value.
        D::UInt8 => Ok((D::Int16, Kind::Short, Store::Integer)),
        D::UInt16 => Ok((D::Int32, Kind::Int, Store::Integer)),
        D::UInt32 => Ok((D::Int64, Kind::Long, Store::Integer)),
        D::UInt64 => Err("ORC has no unsigned integers, and no signed one as large".to_owned()),
        D::Float32 => plain(Kind::Float, Store::Raw(4)),
        D::Float64 => plain(Kind::Double, Store::Raw(8)),
        D::Date32 => plain(Kind::Date, Store::Integer),
        D::Utf8 => plain(Kind::String, Store::Bytes),
        D::LargeUtf8 | D::Utf8View => Ok((D::Utf8, Kind::String, Store::Bytes)),
        D::Binary => plain(Kind::Binary, Store::Bytes),
        D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => Ok((D::Binary, Kind::Binary, Store::Bytes)),
        D::Timestamp(unit, None) => plain(Kind::Timestamp, Store::Timestamp(*unit)),
        D::Timestamp(unit, Some(_)) => plain(Kind::TimestampInstant, Store::Timestamp(*unit)),
        D::Decimal32(precision, scale) | D::Decimal64(precision, scale) | D::Decimal128(precision, scale) => {
            if *scale < 0 || *scale as u8 > *precision {
                return Err("ORC's decimals have a scale from 0 to their precision".to_owned());
            }
            Ok((D::Decimal128(*precision, *scale), Kind::Decimal, Store::Decimal))
        }
        D::Decimal256(_, _) => Err("ORC's decimals have at most 38 digits".to_owned()),
        D::Float16 => Err("ORC has no half floats; use Float32".to_owned()),
        D::Date64 => Err("ORC's dates are days; use Date32 or a timestamp".to_owned()),
        D::Time32(_) | D::Time64(_) => Err("ORC has no times of day; use an integer".to_owned()),
        D::Duration(_) | D::Interval(_) => Err("ORC has no durations; use an integer".to_owned()),
        D::Dictionary(_, value) => Err(format!("dictionaries are not kept; use {value} itself")),
        D::Null => Err("a column of nothing but nulls has nothing to store".to_owned()),
        _ => Err("nested types are not written to ORC; use the feather format".to_owned()),
    }
}

/// The columns of a table's runs.
///
/// # Errors
/// `InvalidInput` naming a column that cannot be held.
pub(super) fn columns(schema: &TableSchema) -> Result<Vec<Column>> {
    let mut columns = columns_of(&schema.run_columns())?;
    if schema.number() > 0 {
        let own = schema.columns().fields().len();
        for (index, column) in columns[..own].iter_mut().enumerate() {
            column.id = Some(schema.column_number(index).to_string());
        }
    }
    Ok(columns)
}

/// These columns.
///
/// # Errors
/// As [`columns`].
pub(super) fn columns_of(columns: &SchemaRef) -> Result<Vec<Column>> {
    let column = |field: &arrow::datatypes::FieldRef| {
        let (stored, kind, store) = stored(field.data_type()).map_err(|reason| {
            Error::invalid_input(format!(
                "format \"orc\" cannot hold column \"{}\" of type {}: {reason}",
                field.name(),
                field.data_type()
            ))
        })?;
        let (name, data_type) = (field.name().clone(), field.data_type().clone());
        Ok(Column {
            name,
            data_type,
            stored,
            nullable: field.is_nullable(),
            id: None,
            kind,
            store,
        })
    };
    columns.fields().iter().map(column).collect()
}

/// The number of a column, by the name under which Iceberg's readers look for it.
fn attribute(id: &str) -> proto::StringPair {
    proto::StringPair {
        key: Some("iceberg.id".to_owned()),
        value: Some(id.to_owned()),
    }
}

/// The types of a file's footer: a struct of the columns.
pub(super) fn types(columns: &[Column]) -> Vec<proto::Type> {
    let root = proto::Type {
        kind: Some(Kind::Struct as i32),
        subtypes: (1..=columns.len() as u32).collect(),
        field_names: columns.iter().map(|column| column.name.clone()).collect(),
        ..Default::default()
    };
    let leaf = |column: &Column| {
        let (precision, scale) = match column.stored {
            DataType::Decimal128(precision, scale) => (Some(precision.into()), Some(scale as u32)),
            _ => (None, None),
        };
        proto::Type {
            kind: Some(column.kind as i32),
            precision,
            scale,
            attributes: column.id.as_deref().map(attribute).into_iter().collect(),
            ..Default::default()
        }
    };
    std::iter::once(root).chain(columns.iter().map(leaf)).collect()
}
