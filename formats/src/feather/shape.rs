//! What buffers a column consists of in an IPC message, and its children.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, make_array};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType, Field, FieldRef};
use arrow::ipc;
use kodiak_core::{Error, Result};

/// How a type's values lie in buffers, after the buffer of validity bits that each has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// One buffer, so many bytes a value.
    Fixed(usize),
    /// One buffer, one bit a value.
    Bits,
    /// Offsets of 32 bits, and the bytes.
    Variable32,
    /// Offsets of 64 bits, and the bytes.
    Variable64,
    /// Offsets of 32 bits, and a child: lists and maps.
    List32(Box<Shape>),
    /// Offsets of 64 bits, and a child.
    List64(Box<Shape>),
    /// So many values of a child in each row, and no buffer.
    Repeated(usize, Box<Shape>),
    /// A value of each child in each row, and no buffer.
    Struct(Vec<Shape>),
}

/// Types may be nested so deep: readers of IPC files go no deeper than 64 tables, of which a type takes two or three.
const DEPTH: usize = 16;

/// The type in which columns of a type lie in files: dictionaries as their values, views with offsets.
///
/// # Errors
/// Why the type cannot be stored.
pub(super) fn stored(data_type: &DataType) -> Result<DataType, String> {
    of(data_type, 0)
}

fn of(data_type: &DataType, depth: usize) -> Result<DataType, String> {
    use DataType as D;
    if depth > DEPTH {
        return Err(format!("it is nested more than {DEPTH} levels deep"));
    }
    let nested = depth > 0;
    let child = |field: &FieldRef| -> Result<FieldRef, String> {
        let stored = of(field.data_type(), depth + 1)?;
        Ok(match stored == *field.data_type() {
            true => Arc::clone(field),
            false => {
                Arc::new(Field::new(field.name(), stored, field.is_nullable()).with_metadata(field.metadata().clone()))
            }
        })
    };
    Ok(match data_type {
        D::Utf8View => D::Utf8,
        D::BinaryView => D::Binary,
        D::Dictionary(index, _) if nested && matches!(**index, D::Int8 | D::UInt8 | D::Int16 | D::UInt16) => {
            return Err(format!(
                "the values of a block may be more than a nested dictionary's index of type {index} counts; use Int32"
            ));
        }
        D::Dictionary(_, values) if values.is_nested() => {
            return Err(format!(
                "dictionaries of nested values are not stored; use {values} itself"
            ));
        }
        D::Dictionary(_, values) => of(values, depth + 1)?,
        D::List(item) => D::List(child(item)?),
        D::LargeList(item) => D::LargeList(child(item)?),
        D::FixedSizeList(item, size) if *size > 0 => D::FixedSizeList(child(item)?, *size),
        D::Map(entries, sorted) => D::Map(child(entries)?, *sorted),
        D::Struct(fields) if !fields.is_empty() => {
            D::Struct(fields.iter().map(child).collect::<Result<Vec<_>, String>>()?.into())
        }
        other if Shape::leaf(other).is_some() => other.clone(),
        other if other.is_nested() => return Err(format!("values of type {other} cannot be stored")),
        D::Null => {
            return Err(
                "values of nothing but nulls have nothing to store; use a type that they may have, such as Utf8"
                    .to_owned(),
            );
        }
        _ => return Err("store its plain counterpart".to_owned()),
    })
}

impl Shape {
    /// The shape of a type that [`stored`] names.
    pub(super) fn of(data_type: &DataType) -> Option<Self> {
        let child = |field: &FieldRef| Self::of(field.data_type()).map(Box::new);
        match data_type {
            DataType::List(item) | DataType::Map(item, _) => Some(Self::List32(child(item)?)),
            DataType::LargeList(item) => Some(Self::List64(child(item)?)),
            DataType::FixedSizeList(item, size) => {
                let size = usize::try_from(*size).ok().filter(|&size| size > 0)?;
                Some(Self::Repeated(size, child(item)?))
            }
            DataType::Struct(fields) => {
                let children = fields.iter().map(|field| Self::of(field.data_type()));
                Some(Self::Struct(children.collect::<Option<_>>()?))
            }
            other => Self::leaf(other),
        }
    }

    fn leaf(data_type: &DataType) -> Option<Self> {
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

    fn children(&self) -> &[Self] {
        match self {
            Self::List32(child) | Self::List64(child) | Self::Repeated(_, child) => std::slice::from_ref(child),
            Self::Struct(children) => children,
            _ => &[],
        }
    }

    /// How many buffers a column has itself.
    fn own_buffers(&self) -> usize {
        match self {
            Self::Repeated(..) | Self::Struct(_) => 1,
            Self::Fixed(_) | Self::Bits | Self::List32(_) | Self::List64(_) => 2,
            Self::Variable32 | Self::Variable64 => 3,
        }
    }

    /// How many buffers a column has, its children's included.
    pub(super) fn buffers(&self) -> usize {
        self.own_buffers() + self.children().iter().map(Self::buffers).sum::<usize>()
    }

    /// How many nodes a column has: itself, and its children.
    pub(super) fn nodes(&self) -> usize {
        1 + self.children().iter().map(Self::nodes).sum::<usize>()
    }

    /// Appends the node and the buffers of a column, cut to its rows and with offsets from zero, and those of its children.
    /// Nothing is copied but bits and offsets of a slice.
    pub(super) fn pieces(&self, column: &dyn Array, nodes: &mut Vec<ipc::FieldNode>, out: &mut Vec<Buffer>) {
        nodes.push(ipc::FieldNode::new(column.len() as i64, column.null_count() as i64));
        match column.nulls().filter(|nulls| nulls.null_count() > 0) {
            Some(nulls) => out.push(nulls.inner().sliced()),
            None => out.push(Buffer::default()),
        }
        let data = || column.to_data();
        match self {
            Self::Fixed(width) => {
                let data = data();
                let (offset, rows) = (data.offset(), data.len());
                out.push(data.buffers()[0].slice_with_length(offset * width, rows * width));
            }
            Self::Bits => {
                let data = data();
                out.push(data.buffers()[0].bit_slice(data.offset(), data.len()));
            }
            Self::Variable32 => variable::<i32>(&data(), out),
            Self::Variable64 => variable::<i64>(&data(), out),
            Self::List32(child) => {
                let (values, range) = match column.as_list_opt::<i32>() {
                    Some(list) => (Arc::clone(list.values()), offsets(list.value_offsets(), out)),
                    None => {
                        let map = column.as_map();
                        let entries: ArrayRef = Arc::new(map.entries().clone());
                        (entries, offsets(map.value_offsets(), out))
                    }
                };
                child.pieces(&values.slice(range.0, range.1), nodes, out);
            }
            Self::List64(child) => {
                let list = column.as_list::<i64>();
                let (from, len) = offsets(list.value_offsets(), out);
                child.pieces(&list.values().slice(from, len), nodes, out);
            }
            Self::Repeated(size, child) => {
                let list = column.as_fixed_size_list();
                let from = list.value_offset(0) as usize;
                child.pieces(&list.values().slice(from, list.len() * size), nodes, out);
            }
            Self::Struct(children) => {
                for (child, column) in children.iter().zip(column.as_struct().columns()) {
                    child.pieces(column, nodes, out);
                }
            }
        }
    }

    /// Makes a column of its nodes and buffers, checking every length, offset and, for text, the encoding. `nodes` are lengths
    /// and numbers of nulls, its own first.
    pub(super) fn column(
        &self,
        data_type: &DataType,
        nodes: &[(usize, usize)],
        buffers: &[Buffer],
    ) -> Result<ArrayRef> {
        let data = self.data(data_type, &mut nodes.iter().copied(), &mut buffers.iter())?;
        Ok(make_array(data))
    }

    fn data<'b>(
        &self,
        data_type: &DataType,
        nodes: &mut impl Iterator<Item = (usize, usize)>,
        buffers: &mut impl Iterator<Item = &'b Buffer>,
    ) -> Result<ArrayData> {
        let short = || mismatch(data_type, "buffers");
        let (rows, nulls) = nodes.next().ok_or_else(short)?;
        let own: Vec<&Buffer> = buffers.by_ref().take(self.own_buffers()).collect();
        if own.len() != self.own_buffers() {
            return Err(short());
        }
        let valid = match nulls {
            0 => None,
            _ if own[0].len() < rows.div_ceil(8) => return Err(mismatch(data_type, "validity bits")),
            _ => Some(own[0].clone()),
        };
        let counted = |width: usize| own[1].len() / width == rows + 1 && own[1].len().is_multiple_of(width);
        let fits = match self {
            Self::Fixed(width) => Some(own[1].len()) == rows.checked_mul(*width),
            Self::Bits => own[1].len() == rows.div_ceil(8),
            Self::Variable32 | Self::List32(_) => counted(4),
            Self::Variable64 | Self::List64(_) => counted(8),
            Self::Repeated(..) | Self::Struct(_) => true,
        };
        if !fits {
            return Err(mismatch(data_type, "values"));
        }
        let types = child_types(data_type);
        let mut children = Vec::with_capacity(types.len());
        for (shape, data_type) in self.children().iter().zip(types) {
            children.push(shape.data(data_type, nodes, buffers)?);
        }
        // An array that is to have more values than its child is refused by Arrow; one with fewer would hide some.
        let expected = match self {
            Self::Repeated(size, _) => rows.checked_mul(*size),
            _ => Some(rows),
        };
        let sized = matches!(self, Self::Repeated(..) | Self::Struct(_));
        if sized && children.iter().any(|child| Some(child.len()) != expected) {
            return Err(mismatch(data_type, "children"));
        }
        let build = || {
            ArrayData::builder(data_type.clone())
                .len(rows)
                .buffers(own[1..].iter().map(|&buffer| buffer.clone()).collect())
                .child_data(children)
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
        Ok(built)
    }
}

fn child_types(data_type: &DataType) -> Vec<&DataType> {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => {
            vec![item.data_type()]
        }
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        _ => Vec::new(),
    }
}

/// Appends the offsets of a list's rows, from zero; returns where their values begin and how many they are.
fn offsets<O: ArrowNativeType + std::ops::Sub<Output = O>>(offsets: &[O], out: &mut Vec<Buffer>) -> (usize, usize) {
    let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else {
        out.push(Buffer::from_vec(vec![O::usize_as(0)]));
        return (0, 0);
    };
    out.push(Buffer::from_vec(
        offsets.iter().map(|&at| at - first).collect::<Vec<O>>(),
    ));
    (first.as_usize(), last.as_usize() - first.as_usize())
}

/// The offsets and bytes of a slice of a variable-length column.
fn variable<O: ArrowNativeType + std::ops::Sub<Output = O>>(data: &ArrayData, out: &mut Vec<Buffer>) {
    let (offset, rows) = (data.offset(), data.len());
    if data.buffers()[0].is_empty() {
        // Arrow allows an array without values to have no offset.
        out.extend([Buffer::from_vec(vec![O::usize_as(0)]), Buffer::default()]);
        return;
    }
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
pub(super) fn mismatch(data_type: &DataType, what: &str) -> Error {
    Error::corruption(format!(
        "the {what} of a column of type {data_type} are not what its rows need"
    ))
}
