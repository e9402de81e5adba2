//! How each column of a run is stored: its ORC type.

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef, TimeUnit};
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, Result};
use orc_rust::proto::{self, r#type::Kind};

use crate::packed;

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
    /// The streams of each member.
    Struct,
    /// Lengths in runs, and the streams of what the lists or maps hold.
    List,
}

/// A column of a run, or what is inside of one.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// ORC's number of it: parents come before their children.
    pub number: u32,
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
    /// The items of lists, the keys and values of maps, the members of structs.
    pub children: Vec<Column>,
}

/// Why this format cannot hold a type.
pub(super) fn refuses(data_type: &DataType) -> Option<String> {
    stored(data_type, 0).err()
}

/// What is inside a type, with the names that it has in files.
fn inside(data_type: &DataType) -> &[FieldRef] {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            std::slice::from_ref(item)
        }
        DataType::Struct(fields) => fields,
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => fields,
            _ => &[],
        },
        _ => &[],
    }
}

/// The type that is encoded in place of `data_type`, its ORC kind and the manner.
fn stored(data_type: &DataType, depth: usize) -> Result<(DataType, Kind, Store), String> {
    use DataType as D;
    if depth > packed::DEPTH {
        return Err(format!("it is nested more than {} levels deep", packed::DEPTH));
    }
    inside(data_type)
        .iter()
        .try_for_each(|field| stored(field.data_type(), depth + 1).map(drop))?;
    let plain = |kind, store| Ok((data_type.clone(), kind, store));
    match data_type {
        D::FixedSizeList(_, ..=0) => Err("lists of no items have nothing to store".to_owned()),
        D::List(_) | D::LargeList(_) | D::FixedSizeList(..) => plain(Kind::List, Store::List),
        D::Struct(fields) if fields.is_empty() => Err("a struct without members has nothing to store".to_owned()),
        D::Struct(_) => plain(Kind::Struct, Store::Struct),
        D::Map(..) if inside(data_type).len() != 2 => Err("the entries of a map have a key and a value".to_owned()),
        D::Map(..) => plain(Kind::Map, Store::List),
        D::Dictionary(index, values) => stored(packed::stored(index, values, depth > 0)?, depth),
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
        D::Null => Err(
            "values of nothing but nulls have nothing to store; use a type that they may have, such as Utf8".to_owned(),
        ),
        other => Err(format!("ORC has no counterpart of {other}")),
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
    // The root has the first number.
    let mut next = 1;
    let column = |field: &FieldRef| {
        made(field, &mut next).map_err(|reason| {
            Error::invalid_input(format!(
                "format \"orc\" cannot hold column \"{}\" of type {}: {reason}",
                field.name(),
                field.data_type()
            ))
        })
    };
    columns.fields().iter().map(column).collect()
}

/// The column of a field, whose number is the next one.
fn made(field: &Field, next: &mut u32) -> Result<Column, String> {
    let (stored, kind, store) = stored(field.data_type(), 0)?;
    let number = *next;
    *next += 1;
    let children = inside(field.data_type()).iter().map(|field| made(field, next));
    Ok(Column {
        number,
        name: field.name().clone(),
        data_type: field.data_type().clone(),
        stored,
        nullable: field.is_nullable(),
        id: None,
        kind,
        store,
        children: children.collect::<Result<_, _>>()?,
    })
}

/// Columns and everything inside of them, in the order of their numbers.
pub(super) fn flat(columns: &[Column]) -> Vec<&Column> {
    let mut out = Vec::new();
    for column in columns {
        out.push(column);
        out.extend(flat(&column.children));
    }
    out
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
        subtypes: columns.iter().map(|column| column.number).collect(),
        field_names: columns.iter().map(|column| column.name.clone()).collect(),
        ..Default::default()
    };
    let of = |column: &Column| {
        let (precision, scale) = match column.stored {
            DataType::Decimal128(precision, scale) => (Some(precision.into()), Some(scale as u32)),
            _ => (None, None),
        };
        proto::Type {
            kind: Some(column.kind as i32),
            subtypes: column.children.iter().map(|child| child.number).collect(),
            // Only members have names.
            field_names: match column.kind {
                Kind::Struct => column.children.iter().map(|child| child.name.clone()).collect(),
                _ => Vec::new(),
            },
            precision,
            scale,
            attributes: column.id.as_deref().map(attribute).into_iter().collect(),
            ..Default::default()
        }
    };
    std::iter::once(root).chain(flat(columns).into_iter().map(of)).collect()
}
