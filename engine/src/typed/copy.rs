//! Rows of several columns of one type, copied stretch by stretch.
//!
//! Arrow's `interleave` looks at each row by itself. Where rows come in short stretches, a copy for each stretch is several
//! times as fast; and as a call to copy a few values takes longer than to copy some more, the first [`AHEAD`] bytes of a stretch
//! are copied whether they belong to it or not: the others are taken back. Where rows take the places of others, values of fixed
//! width need not even be cut into stretches.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::DataType;
use kodiak_core::arrays::{primitive, values_of, variable};
use kodiak_core::{Error, ErrorKind, Result};

mod bits;

use super::layout::{Layout, Stretch};
use bits::Bits;

/// Bytes that are copied of every stretch.
const AHEAD: usize = 128;

/// The rows of `layout`; `None` for types that are not copied so.
///
/// # Errors
/// `Unsupported` if offsets of 32 bits do not suffice.
pub fn copy(sources: &[ArrayRef], layout: &Layout) -> Option<Result<ArrayRef>> {
    let data_type = sources.first()?.data_type();
    match data_type {
        DataType::Utf8 | DataType::Binary => return Some(texts::<i32>(sources, layout)),
        DataType::LargeUtf8 | DataType::LargeBinary => return Some(texts::<i64>(sources, layout)),
        _ => {}
    }
    let values = match data_type.primitive_width() {
        None if *data_type == DataType::Boolean => {
            let bits = sources.iter().map(|source| Some(source.as_boolean().values()));
            Some(bits_of(&bits.collect::<Vec<_>>(), layout).into_inner())
        }
        Some(1) => numbers::<1>(sources, layout),
        Some(2) => numbers::<2>(sources, layout),
        Some(4) => numbers::<4>(sources, layout),
        Some(8) => numbers::<8>(sources, layout),
        Some(16) => numbers::<16>(sources, layout),
        Some(32) => numbers::<32>(sources, layout),
        _ => None,
    }?;
    primitive(data_type, values, layout.rows(), nulls(sources, layout))
}

fn nulls(sources: &[ArrayRef], layout: &Layout) -> Option<NullBuffer> {
    if sources.iter().all(|source| source.null_count() == 0) {
        return None;
    }
    let valid: Vec<_> = sources
        .iter()
        .map(|source| source.nulls().map(NullBuffer::inner))
        .collect();
    Some(NullBuffer::new(bits_of(&valid, layout))).filter(|nulls| nulls.null_count() > 0)
}

/// The bits of the rows; a source without has ones.
fn bits_of(sources: &[Option<&BooleanBuffer>], layout: &Layout) -> BooleanBuffer {
    let mut bits = Bits::with_capacity(layout.rows());
    for (source, from, to) in layout.pieces() {
        match sources[source] {
            Some(source) => bits.extend(source, from, to),
            None => bits.extend_ones(to - from),
        }
    }
    for (at, source, row) in layout.patches() {
        bits.set(at, sources[source].is_none_or(|source| source.value(row)));
    }
    bits.finish()
}

/// Appends some bytes. There is room for [`AHEAD`] more than are appended in all.
#[inline(always)]
fn put(out: &mut Vec<u8>, source: &[u8], from: usize, len: usize) {
    let end = out.len() + len;
    match source.get(from..).and_then(|rest| rest.first_chunk::<AHEAD>()) {
        Some(some) if len <= AHEAD => {
            out.extend_from_slice(some);
            out.truncate(end);
        }
        _ => out.extend_from_slice(&source[from..from + len]),
    }
}

fn numbers<const W: usize>(sources: &[ArrayRef], layout: &Layout) -> Option<Buffer> {
    let values: Vec<&[u8]> = sources.iter().map(values_of).collect::<Option<_>>()?;
    let mut out = Vec::with_capacity(layout.rows() * W + AHEAD);
    for (source, from, to) in layout.pieces() {
        put(&mut out, values[source], from * W, (to - from) * W);
    }
    let (places, _) = out.as_chunks_mut::<W>();
    for (at, source, row) in layout.patches() {
        places[at] = values[source].as_chunks::<W>().0[row];
    }
    Some(Buffer::from_vec(out))
}

/// Numbers of 32 or 64 bits that count bytes.
trait Offset: Copy + Default + arrow::datatypes::ArrowNativeType + arrow::array::OffsetSizeTrait {
    /// `self - first + at`
    fn moved(self, first: Self, at: Self) -> Self;
}

impl Offset for i32 {
    #[inline(always)]
    fn moved(self, first: Self, at: Self) -> Self {
        self.wrapping_sub(first).wrapping_add(at)
    }
}

impl Offset for i64 {
    #[inline(always)]
    fn moved(self, first: Self, at: Self) -> Self {
        self.wrapping_sub(first).wrapping_add(at)
    }
}

/// Offsets that are moved of every stretch.
const MOVED: usize = 16;

fn texts<O: Offset>(sources: &[ArrayRef], layout: &Layout) -> Result<ArrayRef> {
    let data_type = sources[0].data_type();
    let columns: Vec<(&[O], &[u8])> = sources.iter().map(|source| parts(source)).collect();
    let len = |(source, from, to): Stretch| columns[source].0[to].as_usize() - columns[source].0[from].as_usize();
    let patches = layout.patches().map(|(_, source, row)| (source, row, row + 1));
    // More than is needed: what patches replace is counted as well.
    let most: usize = layout.pieces().chain(patches).map(len).sum();
    let mut offsets: Vec<O> = Vec::with_capacity(layout.rows() + 1 + MOVED);
    let mut data = Vec::with_capacity(most + AHEAD);
    offsets.push(O::default());
    // A text that takes the place of one of the same length is put over it: so are most whose row was updated for another column's sake.
    let len_at = |(source, row)| len((source, row, row + 1));
    layout.for_each_cut(
        |new, old| len_at(new) != len_at(old),
        |(source, from, to)| {
            let (own, values) = columns[source];
            let (first, end) = (own[from], own[to].as_usize());
            let (own, place, rows) = (&own[from + 1..], O::usize_as(data.len()), offsets.len() + to - from);
            match own.first_chunk::<MOVED>() {
                Some(some) if to - from <= MOVED => {
                    offsets.extend_from_slice(&some.map(|offset| offset.moved(first, place)));
                    offsets.truncate(rows);
                }
                _ => offsets.extend(own[..to - from].iter().map(|offset| offset.moved(first, place))),
            }
            put(&mut data, values, first.as_usize(), end - first.as_usize());
        },
    );
    if O::from_usize(data.len()).is_none() {
        let message = format!(
            "{} bytes are more than the offsets of type {data_type} count",
            data.len()
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    for (at, source, row) in layout.patches() {
        let (own, values) = columns[source];
        let text = &values[own[row].as_usize()..own[row + 1].as_usize()];
        // Those that were cut out have been put there already.
        let place = &mut data[offsets[at].as_usize()..offsets[at + 1].as_usize()];
        if place.len() == text.len() {
            place.copy_from_slice(text);
        }
    }
    let made = variable(
        data_type,
        Buffer::from_vec(offsets),
        Buffer::from_vec(data),
        nulls(sources, layout),
    );
    made.unwrap_or_else(|| Err(Error::corruption(format!("{data_type} has no offsets"))))
}

/// The offsets and bytes of a column of variable width.
fn parts<O: Offset>(column: &ArrayRef) -> (&[O], &[u8]) {
    match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => {
            let column = column.as_string::<O>();
            (column.value_offsets(), column.value_data())
        }
        _ => {
            let column = column.as_binary::<O>();
            (column.value_offsets(), column.value_data())
        }
    }
}

#[cfg(test)]
mod tests;
