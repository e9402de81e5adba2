//! The columns of an ORC file, by its footer.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use kodiak_core::{Error, ErrorKind, Result};
use orc_rust::proto::r#type::Kind;
use orc_rust::proto::{Footer, Type};

use super::Column;

/// The deepest nesting of a column.
const MAX_DEPTH: usize = 64;

/// The columns of the root, which must be a struct.
pub(super) fn columns(footer: &Footer) -> Result<(Vec<Column>, SchemaRef)> {
    let types = footer.types.as_slice();
    let Some(root) = types.first().filter(|root| root.kind() == Kind::Struct) else {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "the file's rows have no columns: they are no structs",
        ));
    };
    if root.subtypes.len() != root.field_names.len() {
        return Err(Error::corruption("the file's columns and their names differ in number"));
    }
    let mut columns = Vec::with_capacity(root.subtypes.len());
    let mut fields = Vec::with_capacity(root.subtypes.len());
    // Types name each other by number: each is looked at once, or a small footer could stand for very many columns.
    let mut left = types.len();
    for (&id, name) in root.subtypes.iter().zip(&root.field_names) {
        let column = column(footer, id, 0, &mut left)
            .map_err(|error| Error::new(error.kind(), format!("column \"{name}\": {}", error.message())))?;
        fields.push(Field::new(name, column.data_type.clone(), true));
        columns.push(column);
    }
    Ok((columns, Arc::new(Schema::new(fields))))
}

/// The column with a number, and all inside of it; at most `left` more are looked at.
fn column(footer: &Footer, id: u32, depth: usize, left: &mut usize) -> Result<Column> {
    let of = footer.types.get(id as usize).filter(|_| id > 0);
    let of = of.ok_or_else(|| Error::corruption("it has no type"))?;
    *left = left
        .checked_sub(1)
        .filter(|_| depth <= MAX_DEPTH)
        .ok_or_else(|| Error::corruption("types are inside of each other too often, or too deeply"))?;
    let children = of.subtypes.iter().map(|&child| column(footer, child, depth + 1, left));
    let children = children.collect::<Result<Vec<_>>>()?;
    let data_type = match (of.kind(), children.as_slice()) {
        (Kind::List, [item]) => DataType::List(Arc::new(Field::new("item", item.data_type.clone(), true))),
        (Kind::Map, [key, value]) => {
            let key = Field::new("key", key.data_type.clone(), false);
            let entries = DataType::Struct(vec![key, Field::new("value", value.data_type.clone(), true)].into());
            DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
        }
        (Kind::Struct, members) if members.len() == of.field_names.len() => {
            let fields = members.iter().zip(&of.field_names);
            let fields = fields.map(|(member, name)| Field::new(name, member.data_type.clone(), true));
            DataType::Struct(fields.collect::<Vec<_>>().into())
        }
        (Kind::List | Kind::Map | Kind::Struct, _) => {
            return Err(Error::corruption("its type lacks a part"));
        }
        _ => plain_type(of, unit(footer, id)).ok_or_else(|| Error::corruption("it has an unknown type"))?,
    };
    Ok(Column {
        id,
        kind: of.kind(),
        data_type,
        children,
    })
}

/// The finest unit that holds the times of a column, by what the file's statistics say of it: ORC's times are in nanoseconds, of which 64
/// bits do not hold all years.
fn unit(footer: &Footer, id: u32) -> TimeUnit {
    let stats = footer.statistics.get(id as usize);
    let Some(bounds) = stats.and_then(|stats| stats.timestamp_statistics.as_ref()) else {
        return TimeUnit::Nanosecond;
    };
    let holds = i64::MIN.div_euclid(1_000_000)..=i64::MAX / 1_000_000;
    let mut bounds = [
        bounds.minimum_utc.or(bounds.minimum),
        bounds.maximum_utc.or(bounds.maximum),
    ]
    .into_iter()
    .flatten();
    match bounds.all(|millis| holds.contains(&millis)) {
        true => TimeUnit::Nanosecond,
        false => TimeUnit::Microsecond,
    }
}

/// The type of what is not nested; of times in this unit.
fn plain_type(of: &Type, unit: TimeUnit) -> Option<DataType> {
    Some(match of.kind.and_then(|kind| Kind::try_from(kind).ok())? {
        Kind::Boolean => DataType::Boolean,
        Kind::Byte => DataType::Int8,
        Kind::Short => DataType::Int16,
        Kind::Int => DataType::Int32,
        Kind::Long => DataType::Int64,
        Kind::Float => DataType::Float32,
        Kind::Double => DataType::Float64,
        Kind::String | Kind::Varchar | Kind::Char => DataType::Utf8,
        Kind::Binary => DataType::Binary,
        Kind::Date => DataType::Date32,
        Kind::Timestamp => DataType::Timestamp(unit, None),
        Kind::TimestampInstant => DataType::Timestamp(unit, Some("UTC".into())),
        Kind::Decimal => {
            // Old files do not say, and give each value a scale of its own, which Hive keeps up to 18.
            let (precision, scale) = match of.precision.filter(|&precision| precision > 0) {
                Some(precision) => (precision, of.scale.unwrap_or(0)),
                None => (38, 18),
            };
            if precision > 38 || scale > precision {
                return None;
            }
            DataType::Decimal128(precision as u8, scale as i8)
        }
        // Unions are not read: a struct without members is not either.
        _ => DataType::Struct(Vec::<Field>::new().into()),
    })
}
