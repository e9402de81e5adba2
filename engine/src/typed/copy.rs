//! Rows of several columns of one type, copied stretch by stretch.
//!
//! Arrow's `interleave` looks at each row by itself. Where rows come in short stretches, a copy for each stretch is several
//! times as fast; and as a call to copy a few values takes longer than to copy some more, the first [`AHEAD`] bytes of a stretch
//! are copied whether they belong to it or not: what follows overwrites the others.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::DataType;
use kodiak_core::arrays::{primitive, values_of, variable};
use kodiak_core::{Error, ErrorKind, Result};

mod bits;

use bits::Bits;

/// Rows `from..to` of a source, by its number.
pub type Stretch = (usize, usize, usize);

/// Bytes that are copied of every stretch.
const AHEAD: usize = 64;

/// The rows of `stretches`, one after the other, which are `rows`; `None` for types that are not copied so.
///
/// # Errors
/// `Unsupported` if offsets of 32 bits do not suffice.
pub fn copy(
    sources: &[ArrayRef],
    stretches: impl Iterator<Item = Stretch> + Clone,
    rows: usize,
) -> Option<Result<ArrayRef>> {
    let data_type = sources.first()?.data_type();
    match data_type {
        DataType::Utf8 | DataType::Binary => return Some(texts::<i32>(sources, stretches, rows)),
        DataType::LargeUtf8 | DataType::LargeBinary => return Some(texts::<i64>(sources, stretches, rows)),
        _ => {}
    }
    let values = match data_type.primitive_width() {
        None if *data_type == DataType::Boolean => {
            let bits = sources.iter().map(|source| Some(source.as_boolean().values()));
            Some(bits_of(&bits.collect::<Vec<_>>(), stretches.clone(), rows).into_inner())
        }
        Some(1) => numbers::<1>(sources, stretches.clone(), rows),
        Some(2) => numbers::<2>(sources, stretches.clone(), rows),
        Some(4) => numbers::<4>(sources, stretches.clone(), rows),
        Some(8) => numbers::<8>(sources, stretches.clone(), rows),
        Some(16) => numbers::<16>(sources, stretches.clone(), rows),
        Some(32) => numbers::<32>(sources, stretches.clone(), rows),
        _ => None,
    }?;
    primitive(data_type, values, rows, nulls(sources, stretches, rows))
}

fn nulls(sources: &[ArrayRef], stretches: impl Iterator<Item = Stretch>, rows: usize) -> Option<NullBuffer> {
    if sources.iter().all(|source| source.null_count() == 0) {
        return None;
    }
    let valid: Vec<_> = sources
        .iter()
        .map(|source| source.nulls().map(NullBuffer::inner))
        .collect();
    Some(NullBuffer::new(bits_of(&valid, stretches, rows))).filter(|nulls| nulls.null_count() > 0)
}

/// The bits of the stretches; a source without has ones.
fn bits_of(sources: &[Option<&BooleanBuffer>], stretches: impl Iterator<Item = Stretch>, rows: usize) -> BooleanBuffer {
    let mut bits = Bits::with_capacity(rows);
    for (source, from, to) in stretches {
        match sources[source] {
            Some(source) => bits.extend(source, from, to),
            None => bits.extend_ones(to - from),
        }
    }
    bits.finish()
}

/// Puts `from` to the beginning of `to`, which is at least as long. What it puts behind that may be anything.
#[inline(always)]
fn put<T: Copy, const N: usize>(source: &[T], from: usize, len: usize, to: &mut [T]) {
    if len <= N
        && let (Some(some), Some(room)) = (
            source.get(from..).and_then(|rest| rest.first_chunk::<N>()),
            to.first_chunk_mut::<N>(),
        )
    {
        *room = *some;
        return;
    }
    to[..len].copy_from_slice(&source[from..from + len]);
}

fn numbers<const W: usize>(
    sources: &[ArrayRef],
    stretches: impl Iterator<Item = Stretch>,
    rows: usize,
) -> Option<Buffer> {
    let values: Vec<&[u8]> = sources.iter().map(values_of).collect::<Option<_>>()?;
    let mut out = vec![0u8; rows * W];
    let mut at = 0;
    for (source, from, to) in stretches {
        let len = (to - from) * W;
        put::<u8, AHEAD>(values[source], from * W, len, &mut out[at..]);
        at += len;
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

fn texts<O: Offset>(
    sources: &[ArrayRef],
    stretches: impl Iterator<Item = Stretch> + Clone,
    rows: usize,
) -> Result<ArrayRef> {
    let data_type = sources[0].data_type();
    let columns: Vec<(&[O], &[u8])> = sources.iter().map(|source| parts(source)).collect();
    let filled = || stretches.clone().filter(|(_, from, to)| from < to);
    let bytes: usize = filled()
        .map(|(source, from, to)| columns[source].0[to].as_usize() - columns[source].0[from].as_usize())
        .sum();
    if O::from_usize(bytes).is_none() {
        let message = format!("{bytes} bytes are more than the offsets of type {data_type} count");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let mut offsets: Vec<O> = vec![O::default(); rows + 1];
    let mut data = vec![0u8; bytes];
    let (mut row, mut at) = (1, 0);
    for (source, from, to) in filled() {
        let (own, values) = columns[source];
        let (first, place, len) = (own[from], O::usize_as(at), to - from);
        let own = &own[from + 1..];
        match (own.first_chunk::<MOVED>(), offsets[row..].first_chunk_mut::<MOVED>()) {
            (Some(some), Some(room)) if len <= MOVED => {
                *room = some.map(|offset| offset.moved(first, place));
            }
            _ => {
                let room = offsets[row..row + len].iter_mut().zip(&own[..len]);
                room.for_each(|(room, offset)| *room = offset.moved(first, place));
            }
        }
        let (start, end) = (first.as_usize(), own[len - 1].as_usize());
        put::<u8, AHEAD>(values, start, end - start, &mut data[at..]);
        row += len;
        at += end - start;
    }
    let made = variable(
        data_type,
        Buffer::from_vec(offsets),
        Buffer::from_vec(data),
        nulls(sources, stretches, rows),
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
