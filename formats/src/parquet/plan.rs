//! How each column of a run is stored: its Parquet type, and the way from Arrow's bytes to Parquet's and back.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, Result};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::Type as PhysicalType;
use parquet::schema::types::SchemaDescriptor;

use super::page::encoding;

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

/// A column of a run.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub name: String,
    pub data_type: DataType,
    pub nullable: bool,
    pub store: Store,
    pub physical: PhysicalType,
    /// Bytes of a fixed-length type.
    pub type_length: i32,
    /// The number that the file's schema has for it, if it has one.
    pub id: Option<i32>,
    /// False where bounds would be of no use to a reader.
    pub bounds: bool,
}

/// The columns of a table's runs.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub columns: Vec<Column>,
    pub arrow: SchemaRef,
    pub descriptor: Arc<SchemaDescriptor>,
}

/// Why Parquet pages of this format cannot hold a type.
pub(super) fn refuses(data_type: &DataType) -> Option<String> {
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
        D::Null => Some("a column of nothing but nulls has nothing to store".to_owned()),
        D::Dictionary(_, value) => Some(format!("dictionaries are not kept; use {value} itself")),
        _ => Some("pages of nested types do not line up with blocks; use the feather format".to_owned()),
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
        for field in arrow.fields() {
            if let Some(reason) = refuses(field.data_type()) {
                return Err(Error::invalid_input(format!(
                    "format \"parquet\" cannot hold column \"{}\" of type {}: {reason}",
                    field.name(),
                    field.data_type()
                )));
            }
        }
        let descriptor = ArrowSchemaConverter::new()
            .convert(&arrow)
            .map_err(|error| Error::invalid_input("the table has no Parquet schema").with_source(error))?;
        let columns = arrow
            .fields()
            .iter()
            .zip(descriptor.columns())
            .enumerate()
            .map(|(index, (field, leaf))| Column {
                name: field.name().clone(),
                data_type: field.data_type().clone(),
                nullable: field.is_nullable(),
                store: store(field.data_type(), leaf.physical_type(), leaf.type_length()),
                physical: leaf.physical_type(),
                type_length: leaf.type_length(),
                id: {
                    let info = leaf.self_type().get_basic_info();
                    info.has_id().then(|| info.id())
                },
                // Opaque values are in no order, and half floats have an order that few readers know.
                bounds: opaque != Some(index) && *field.data_type() != DataType::Float16,
            })
            .collect();
        Ok(Self {
            columns,
            arrow,
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
