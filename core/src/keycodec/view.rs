//! Arrow columns seen as bytes, for both codecs.

use arrow::array::{
    Array, AsArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, StringViewArray, downcast_primitive,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

#[cfg(target_endian = "big")]
compile_error!("values are stored little-endian and taken from Arrow's buffers as they are");

/// How the stored bytes of a fixed-width value are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// An unsigned little-endian integer.
    Unsigned,
    /// A signed little-endian integer.
    Signed,
    /// A little-endian IEEE float, in total order.
    Float,
    /// Bytes, the first one most significant.
    Bytes,
}

/// The physical form of a type whose values have an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Physical {
    /// One bit.
    Bool,
    /// `width` bytes.
    Fixed {
        /// Bytes of a value.
        width: usize,
        /// Their order.
        order: Order,
    },
    /// Any number of bytes, with 32-bit or (`large`) 64-bit offsets.
    Var {
        /// 64-bit offsets.
        large: bool,
    },
}

/// The physical form of `data_type`; `None` if it is nested, or has no order.
pub(crate) fn physical(data_type: &DataType) -> Option<Physical> {
    use DataType as T;
    let fixed = |width, order| Some(Physical::Fixed { width, order });
    match data_type {
        T::Boolean => Some(Physical::Bool),
        T::UInt8 => fixed(1, Order::Unsigned),
        T::UInt16 => fixed(2, Order::Unsigned),
        T::UInt32 => fixed(4, Order::Unsigned),
        T::UInt64 => fixed(8, Order::Unsigned),
        T::Int8 => fixed(1, Order::Signed),
        T::Int16 => fixed(2, Order::Signed),
        T::Int32 | T::Date32 | T::Time32(_) | T::Decimal32(..) => fixed(4, Order::Signed),
        T::Int64 | T::Date64 | T::Time64(_) | T::Timestamp(..) | T::Duration(_) | T::Decimal64(..) => {
            fixed(8, Order::Signed)
        }
        T::Decimal128(..) => fixed(16, Order::Signed),
        T::Decimal256(..) => fixed(32, Order::Signed),
        T::Float16 => fixed(2, Order::Float),
        T::Float32 => fixed(4, Order::Float),
        T::Float64 => fixed(8, Order::Float),
        T::FixedSizeBinary(width) => {
            let width = usize::try_from(*width).ok().filter(|&width| width > 0)?;
            fixed(width, Order::Bytes)
        }
        T::Utf8 | T::Binary => Some(Physical::Var { large: false }),
        T::LargeUtf8 | T::LargeBinary => Some(Physical::Var { large: true }),
        _ => None,
    }
}

/// The physical form of values of `data_type`, whether or not they have an order; `None` if it is nested, or not kept at all.
pub(crate) fn stored(data_type: &DataType) -> Option<Physical> {
    match data_type {
        // Months, days and nanoseconds do not compare with each other.
        DataType::Interval(_) => data_type.primitive_width().map(|width| Physical::Fixed {
            width,
            order: Order::Bytes,
        }),
        ordered => physical(ordered),
    }
}

/// The plain type that holds the values of `data_type`: of a dictionary its values, of a view type the type with offsets.
pub(crate) fn plain(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain(values),
        DataType::Utf8View => &DataType::Utf8,
        DataType::BinaryView => &DataType::Binary,
        other => other,
    }
}

/// The values of an array of plain, view or dictionary type. Nulls are kept apart, in [`View::nulls`].
#[derive(Debug)]
pub(crate) enum Bytes<'a> {
    Bool(&'a BooleanArray),
    Fixed { bytes: &'a [u8], width: usize },
    Var { offsets: &'a [i32], bytes: &'a [u8] },
    LargeVar { offsets: &'a [i64], bytes: &'a [u8] },
    TextView(&'a StringViewArray),
    ByteView(&'a BinaryViewArray),
}

/// The bytes and the nulls of an array.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub bytes: Bytes<'a>,
    pub nulls: Option<&'a NullBuffer>,
}

macro_rules! primitive_bytes {
    ($type:ty, $array:expr, $width:expr) => {
        Bytes::Fixed {
            bytes: $array.as_primitive::<$type>().values().inner().as_slice(),
            width: $width,
        }
    };
}

impl<'a> View<'a> {
    /// The view of `array`; `None` for a dictionary or a nested type.
    pub fn new(array: &'a dyn Array) -> Option<Self> {
        let width = match physical(array.data_type()) {
            Some(Physical::Fixed { width, .. }) => width,
            _ => array.data_type().primitive_width().unwrap_or(0),
        };
        let bytes = downcast_primitive! {
            array.data_type() => (primitive_bytes, array, width),
            DataType::Boolean => Bytes::Bool(array.as_boolean()),
            DataType::FixedSizeBinary(_) => {
                let array: &FixedSizeBinaryArray = array.as_fixed_size_binary();
                Bytes::Fixed { bytes: array.value_data(), width }
            },
            DataType::Utf8 => {
                let array = array.as_string::<i32>();
                Bytes::Var { offsets: array.value_offsets(), bytes: array.value_data() }
            },
            DataType::Binary => {
                let array = array.as_binary::<i32>();
                Bytes::Var { offsets: array.value_offsets(), bytes: array.value_data() }
            },
            DataType::LargeUtf8 => {
                let array = array.as_string::<i64>();
                Bytes::LargeVar { offsets: array.value_offsets(), bytes: array.value_data() }
            },
            DataType::LargeBinary => {
                let array = array.as_binary::<i64>();
                Bytes::LargeVar { offsets: array.value_offsets(), bytes: array.value_data() }
            },
            DataType::Utf8View => Bytes::TextView(array.as_string_view()),
            DataType::BinaryView => Bytes::ByteView(array.as_binary_view()),
            _ => return None
        };
        Some(Self {
            bytes,
            nulls: array.nulls().filter(|nulls| nulls.null_count() > 0),
        })
    }

    /// True if the row is null.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    /// The bytes of a row that has a variable or fixed width; empty for a boolean.
    #[inline]
    pub fn value(&self, row: usize) -> &'a [u8] {
        match &self.bytes {
            Bytes::Bool(_) => &[],
            Bytes::Fixed { bytes, width } => &bytes[row * width..(row + 1) * width],
            Bytes::Var { offsets, bytes } => &bytes[offsets[row] as usize..offsets[row + 1] as usize],
            Bytes::LargeVar { offsets, bytes } => &bytes[offsets[row] as usize..offsets[row + 1] as usize],
            Bytes::TextView(array) => array.value(row).as_bytes(),
            Bytes::ByteView(array) => array.value(row),
        }
    }
}
