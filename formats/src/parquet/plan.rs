//! How each column of a run is stored: its Parquet type, and the way from Arrow's bytes to Parquet's and back.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, Result};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::Type as PhysicalType;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

use super::page::encoding;
use crate::packed;

/// How the values of a column lie in a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    /// A bit each, as in Arrow.
    Bits,
    /// Arrow's bytes as they are, this many each.
    Copy(usize),
    /// Integers of 8 or 16 bits, as packed differences of 32-bit integers.
    Small,
    /// Decimals as little-endian integers of this many bytes.
    DecimalInt(usize),
    /// Decimals as big-endian bytes, this many each.
    DecimalBytes(usize),
    /// Lengths as packed differences, then the bytes.
    Bytes,
}

impl Store {
    /// Parquet's number of the encoding.
    pub fn encoding(self) -> i32 {
        match self {
            Self::Bits | Self::Copy(_) | Self::DecimalInt(_) | Self::DecimalBytes(_) => encoding::PLAIN,
            Self::Small => encoding::DELTA_BINARY_PACKED,
            Self::Bytes => encoding::DELTA_LENGTH_BYTE_ARRAY,
        }
    }
}

/// A column of a run, or what is innermost in one: what has pages of its own.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub name: String,
    /// The type of the values in pages; of a dictionary that of its values.
    pub data_type: DataType,
    /// The type that the table has.
    pub declared: DataType,
    pub nullable: bool,
    pub store: Store,
    pub physical: PhysicalType,
    /// Bytes of a fixed-length type.
    pub type_length: i32,
    /// False where bounds would be of no use to a reader.
    pub bounds: bool,
    /// The definition level of what is there: how much around it, itself included, can be absent.
    pub definition: u8,
    /// How many lists are around it.
    pub repetition: u8,
    /// The definition levels from which on the lists around it have an item, from the outermost one.
    pub items: Vec<u8>,
}

impl Column {
    fn new(leaf: &ColumnDescriptor, declared: &DataType, nullable: bool, items: Vec<u8>) -> Self {
        let data_type = match declared {
            DataType::Dictionary(_, values) => values.as_ref(),
            plain => plain,
        };
        Self {
            name: leaf.path().string(),
            store: store(data_type, leaf.physical_type(), leaf.type_length()),
            // Half floats have an order that few readers know.
            bounds: items.is_empty() && *data_type != DataType::Float16,
            data_type: data_type.clone(),
            declared: declared.clone(),
            nullable,
            physical: leaf.physical_type(),
            type_length: leaf.type_length(),
            definition: leaf.max_def_level() as u8,
            repetition: leaf.max_rep_level() as u8,
            items,
        }
    }
}

/// A column of a run, or what is inside of one.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub data_type: DataType,
    pub nullable: bool,
    /// The leaves inside, by their places among a plan's columns.
    pub leaves: Range<usize>,
    /// How many lists are around it.
    pub lists: u8,
    /// The definition level from which on the innermost of them has an item.
    pub item: u8,
    /// The definition level from which on it is there itself.
    pub present: u8,
    /// The items of lists and maps, the members of structs.
    pub children: Vec<Node>,
}

impl Node {
    /// The node of `field`, whose leaves come next; it is inside of lists that have items from `items` on.
    fn new(field: &Field, descriptor: &SchemaDescriptor, items: &[u8], around: u8, columns: &mut Vec<Column>) -> Self {
        let start = columns.len();
        let present = around + u8::from(field.is_nullable());
        let children = match field.data_type() {
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                let items = [items, &[present + 1]].concat();
                vec![Self::new(item, descriptor, &items, present + 1, columns)]
            }
            DataType::Map(entries, _) => {
                let items = [items, &[present + 1]].concat();
                // Entries are never null, whatever their field says.
                let entries = entries.as_ref().clone().with_nullable(false);
                vec![Self::new(&entries, descriptor, &items, present + 1, columns)]
            }
            DataType::Struct(fields) => {
                let member = |field: &FieldRef| Self::new(field, descriptor, items, present, columns);
                fields.iter().map(member).collect()
            }
            declared => {
                let leaf = descriptor.column(start);
                columns.push(Column::new(&leaf, declared, field.is_nullable(), items.to_vec()));
                Vec::new()
            }
        };
        Self {
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
            leaves: start..columns.len(),
            lists: items.len() as u8,
            item: items.last().copied().unwrap_or(0),
            present,
            children,
        }
    }

    /// True for a column of plain values, which has a single leaf and no levels but its nulls.
    pub fn is_flat(&self) -> bool {
        self.children.is_empty()
    }
}

/// The columns of a table's runs.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// The columns.
    pub nodes: Vec<Node>,
    /// What has pages, in the order of the columns.
    pub columns: Vec<Column>,
    /// The columns with the types and names that they have in files.
    pub stored: SchemaRef,
    pub descriptor: Arc<SchemaDescriptor>,
}

/// Why Parquet pages of this format cannot hold a type.
pub(super) fn refuses(data_type: &DataType) -> Option<String> {
    stored(data_type, 0).err()
}

/// The type of columns in files: dictionaries are their values, and what is inside others has the names that Parquet's
/// specification gives it.
fn stored(data_type: &DataType, depth: usize) -> Result<DataType, String> {
    use DataType as D;
    if depth > packed::DEPTH {
        return Err(format!("it is nested more than {} levels deep", packed::DEPTH));
    }
    let named = |name: &str, field: &Field| -> Result<FieldRef, String> {
        let of = stored(field.data_type(), depth + 1)?;
        Ok(Arc::new(Field::new(name, of, field.is_nullable())))
    };
    Ok(match data_type {
        D::List(item) => D::List(named("element", item)?),
        D::LargeList(item) => D::LargeList(named("element", item)?),
        D::FixedSizeList(_, ..=0) => return Err("lists of no items have nothing to store".to_owned()),
        D::FixedSizeList(item, size) => D::FixedSizeList(named("element", item)?, *size),
        D::Struct(fields) if fields.is_empty() => {
            return Err("a struct without members has nothing to store".to_owned());
        }
        D::Struct(fields) => {
            let fields = fields.iter().map(|field| named(field.name(), field));
            D::Struct(fields.collect::<Result<Vec<_>, _>>()?.into())
        }
        D::Map(entries, sorted) => {
            let D::Struct(fields) = entries.data_type() else {
                return Err("the entries of a map are structs".to_owned());
            };
            let [key, value] = &fields[..] else {
                return Err("the entries of a map have a key and a value".to_owned());
            };
            if key.is_nullable() {
                return Err("the keys of maps in Parquet cannot be null".to_owned());
            }
            let fields = vec![named("key", key)?, named("value", value)?];
            D::Map(
                Arc::new(Field::new("key_value", D::Struct(fields.into()), false)),
                *sorted,
            )
        }
        D::Dictionary(index, values) => stored(packed::stored(index, values, depth > 0)?, depth)?,
        // Within lists and the like few readers make views.
        D::Utf8View if depth > 0 => D::Utf8,
        D::BinaryView if depth > 0 => D::Binary,
        plain => match refuses_plain(plain) {
            Some(reason) => return Err(reason),
            None => plain.clone(),
        },
    })
}

fn refuses_plain(data_type: &DataType) -> Option<String> {
    use DataType as D;
    match data_type {
        D::Boolean | D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::UInt8 | D::UInt16 | D::UInt32 | D::UInt64 => None,
        D::Float16 | D::Float32 | D::Float64 | D::Date32 | D::Date64 | D::Time32(_) | D::Time64(_) => None,
        D::Timestamp(_, _) | D::Duration(_) => None,
        D::Decimal32(1, _) => {
            Some("Parquet keeps one digit in 64 bits, which readers do not take back: use two digits".to_owned())
        }
        D::Decimal32(precision, scale)
        | D::Decimal64(precision, scale)
        | D::Decimal128(precision, scale)
        | D::Decimal256(precision, scale) => (*scale < 0 || *scale as u8 > *precision)
            .then(|| "Parquet's decimals have a scale from 0 to their precision".to_owned()),
        D::Binary | D::LargeBinary | D::BinaryView | D::Utf8 | D::LargeUtf8 | D::Utf8View => None,
        D::FixedSizeBinary(len) if *len > 0 => None,
        D::FixedSizeBinary(_) => Some("Parquet's fixed-length byte arrays have at least one byte".to_owned()),
        D::Interval(_) => {
            Some("Parquet's intervals lose precision; store months, days and nanoseconds apart".to_owned())
        }
        D::Null => Some(
            "values of nothing but nulls have nothing to store; use a type that they may have, such as Utf8".to_owned(),
        ),
        other => Some(format!("Parquet has no counterpart of {other}")),
    }
}

impl Plan {
    /// The plan for a table.
    ///
    /// # Errors
    /// `InvalidInput` naming a column that cannot be held.
    pub fn new(schema: &TableSchema) -> Result<Self> {
        Self::of(schema.run_columns(), schema.is_key_value().then_some(1))
    }

    /// The plan for these columns, of which one may be opaque.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of(arrow: SchemaRef, opaque: Option<usize>) -> Result<Self> {
        let file_field = |field: &FieldRef| {
            let data_type = stored(field.data_type(), 0).map_err(|reason| {
                Error::invalid_input(format!(
                    "format \"parquet\" cannot hold column \"{}\" of type {}: {reason}",
                    field.name(),
                    field.data_type()
                ))
            })?;
            Ok(match data_type == *field.data_type() {
                true => Arc::clone(field),
                false => Arc::new(field.as_ref().clone().with_data_type(data_type)),
            })
        };
        let fields = arrow
            .fields()
            .iter()
            .map(file_field)
            .collect::<Result<Vec<FieldRef>>>()?;
        let file = Arc::new(Schema::new_with_metadata(fields, arrow.metadata().clone()));
        let descriptor = ArrowSchemaConverter::new()
            .convert(&file)
            .map_err(|error| Error::invalid_input("the table has no Parquet schema").with_source(error))?;
        let mut columns = Vec::with_capacity(descriptor.num_columns());
        let mut nodes = Vec::with_capacity(arrow.fields().len());
        for field in arrow.fields() {
            nodes.push(Node::new(field, &descriptor, &[], 0, &mut columns));
        }
        if let Some(opaque) = opaque {
            // They are in no order.
            nodes[opaque]
                .leaves
                .clone()
                .for_each(|leaf| columns[leaf].bounds = false);
        }
        Ok(Self {
            nodes,
            columns,
            stored: file,
            descriptor: Arc::new(descriptor),
        })
    }
}

fn store(data_type: &DataType, physical: PhysicalType, type_length: i32) -> Store {
    use DataType as D;
    match data_type {
        D::Boolean => Store::Bits,
        D::Int8 | D::Int16 | D::UInt8 | D::UInt16 => Store::Small,
        D::Binary | D::LargeBinary | D::BinaryView | D::Utf8 | D::LargeUtf8 | D::Utf8View => Store::Bytes,
        D::Decimal32(_, _) | D::Decimal64(_, _) | D::Decimal128(_, _) | D::Decimal256(_, _) => match physical {
            PhysicalType::INT32 => Store::DecimalInt(4),
            PhysicalType::INT64 => Store::DecimalInt(8),
            _ => Store::DecimalBytes(type_length.max(0) as usize),
        },
        _ => match physical {
            PhysicalType::INT32 | PhysicalType::FLOAT => Store::Copy(4),
            PhysicalType::INT64 | PhysicalType::DOUBLE => Store::Copy(8),
            _ => Store::Copy(type_length.max(0) as usize),
        },
    }
}

/// Bytes of one value of a decimal in Arrow; 0 for other types.
pub(super) fn decimal_width(data_type: &DataType) -> usize {
    match data_type {
        DataType::Decimal32(_, _) => 4,
        DataType::Decimal64(_, _) => 8,
        DataType::Decimal128(_, _) => 16,
        DataType::Decimal256(_, _) => 32,
        _ => 0,
    }
}

/// Writes a little-endian integer into `out`, which is shorter or longer, keeping its sign.
pub(super) fn resize_le(value: &[u8], out: &mut [u8]) {
    let negative = value.last().is_some_and(|&byte| byte >= 0x80);
    let shared = value.len().min(out.len());
    out[..shared].copy_from_slice(&value[..shared]);
    out[shared..].fill(if negative { 0xFF } else { 0 });
}
