//! What buffers a column consists of in an IPC message, for the types that have no children.

use arrow::array::{Array, ArrayData, ArrayRef, make_array};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};
use kodiak_core::{Error, Result};

/// How a type's values lie in buffers, after the buffer of validity bits that each has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One buffer, so many bytes a value.
    Fixed(usize),
    /// One buffer, one bit a value.
    Bits,
    /// Offsets of 32 bits, and the bytes.
    Variable32,
    /// Offsets of 64 bits, and the bytes.
    Variable64,
}

impl Shape {
    /// The shape of a type, or `None` if Kodiak does not store the type.
    pub(super) fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Boolean => Some(Self::Bits),
            DataType::Utf8 | DataType::Binary => Some(Self::Variable32),
            DataType::LargeUtf8 | DataType::LargeBinary => Some(Self::Variable64),
            DataType::FixedSizeBinary(width) => {
                usize::try_from(*width).ok().filter(|&width| width > 0).map(Self::Fixed)
            }
            other => other.primitive_width().map(Self::Fixed),
        }
    }

    /// How many buffers a column has.
    pub(super) fn buffers(self) -> usize {
        match self {
            Self::Fixed(_) | Self::Bits => 2,
            Self::Variable32 | Self::Variable64 => 3,
        }
    }

    /// Appends the buffers of a column, cut to its rows and with offsets from zero. Nothing is copied but bits and offsets
    /// of a slice.
    pub(super) fn pieces(self, column: &dyn Array, out: &mut Vec<Buffer>) {
        let data = column.to_data();
        let (offset, rows) = (data.offset(), data.len());
        match data.nulls().filter(|nulls| nulls.null_count() > 0) {
            Some(nulls) => out.push(nulls.inner().sliced()),
            None => out.push(Buffer::default()),
        }
        match self {
            Self::Fixed(width) => out.push(data.buffers()[0].slice_with_length(offset * width, rows * width)),
            Self::Bits => out.push(data.buffers()[0].bit_slice(offset, rows)),
            Self::Variable32 => variable::<i32>(&data, out),
            Self::Variable64 => variable::<i64>(&data, out),
        }
    }

    /// Makes a column of its buffers, checking every length, offset and, for text, the encoding.
    pub(super) fn column(
        self,
        data_type: &DataType,
        rows: usize,
        nulls: usize,
        buffers: &[Buffer],
    ) -> Result<ArrayRef> {
        let valid = match nulls {
            0 => None,
            _ if buffers[0].len() < rows.div_ceil(8) => return Err(mismatch(data_type, "validity bits")),
            _ => Some(buffers[0].clone()),
        };
        let fits = match self {
            Self::Fixed(width) => Some(buffers[1].len()) == rows.checked_mul(width),
            Self::Bits => buffers[1].len() == rows.div_ceil(8),
            Self::Variable32 => buffers[1].len() / 4 == rows + 1 && buffers[1].len().is_multiple_of(4),
            Self::Variable64 => buffers[1].len() / 8 == rows + 1 && buffers[1].len().is_multiple_of(8),
        };
        if !fits {
            return Err(mismatch(data_type, "values"));
        }
        let build = || {
            ArrayData::builder(data_type.clone())
                .len(rows)
                .buffers(buffers[1..].to_vec())
                .null_bit_buffer(valid)
                .align_buffers(true)
                .build()
        };
        // Everything that is known to make it panic has been ruled out above; the rest of arrow is not ours to vouch for.
        let built = std::panic::catch_unwind(std::panic::AssertUnwindSafe(build))
            .map_err(|_| mismatch(data_type, "contents"))?
            .map_err(|error| mismatch(data_type, "contents").with_source(error))?;
        if built.null_count() != nulls {
            return Err(mismatch(data_type, "number of nulls"));
        }
        Ok(make_array(built))
    }
}

/// The offsets and bytes of a slice of a variable-length column.
fn variable<O: ArrowNativeType + std::ops::Sub<Output = O>>(data: &ArrayData, out: &mut Vec<Buffer>) {
    let (offset, rows) = (data.offset(), data.len());
    let offsets = &data.buffers()[0].typed_data::<O>()[offset..=offset + rows];
    let (first, last) = (offsets[0], offsets[rows]);
    if first.as_usize() == 0 {
        let width = size_of::<O>();
        out.push(data.buffers()[0].slice_with_length(offset * width, (rows + 1) * width));
    } else {
        out.push(Buffer::from_vec(
            offsets.iter().map(|&at| at - first).collect::<Vec<O>>(),
        ));
    }
    out.push(data.buffers()[1].slice_with_length(first.as_usize(), last.as_usize() - first.as_usize()));
}

/// `rows` numbers, in place.
pub(super) fn scalars<T: ArrowNativeType>(buffer: &Buffer, rows: usize, what: &str) -> Result<ScalarBuffer<T>> {
    if Some(buffer.len()) != rows.checked_mul(size_of::<T>()) {
        return Err(Error::corruption(format!(
            "{what} take {} bytes for {rows} rows",
            buffer.len()
        )));
    }
    if buffer.as_ptr().align_offset(align_of::<T>()) != 0 {
        return Ok(ScalarBuffer::new(Buffer::from(buffer.as_slice()), 0, rows));
    }
    Ok(ScalarBuffer::new(buffer.clone(), 0, rows))
}

#[cold]
fn mismatch(data_type: &DataType, what: &str) -> Error {
    Error::corruption(format!(
        "the {what} of a column of type {data_type} are not what its rows need"
    ))
}
