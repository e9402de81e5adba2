//! From columns to keys, a column at a time into rows of known length.

use arrow::array::{Array, ArrayRef, BinaryArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};

use super::Part;
use super::view::{Bytes, Order, Physical, View};
use crate::{Error, Result};

/// The byte before a null, and before a value that could have been null.
pub(super) const NULL: u8 = 0;
pub(super) const VALUE: u8 = 1;
/// A zero byte in a value of variable width becomes `0 ESCAPED_ZERO`; its end is `0 END`.
pub(super) const ESCAPED_ZERO: u8 = 0xFF;
pub(super) const END: u8 = 0;
/// The end of a value of variable width.
pub(super) const ENDING: [u8; 2] = [0, END];
/// Its bytes.
pub(super) const END_BYTES: usize = ENDING.len();

/// Turns the stored bytes of a fixed-width value into bytes that compare as the value does.
#[inline(always)]
pub(super) fn ordered<const W: usize>(mut value: [u8; W], order: Order, invert: u8) -> [u8; W] {
    put_in_order(&mut value, order, invert);
    value
}

/// As [`ordered`], in place.
#[inline(always)]
fn put_in_order(value: &mut [u8], order: Order, invert: u8) {
    if order != Order::Bytes {
        value.reverse();
    }
    match order {
        Order::Signed => value[0] ^= 0x80,
        Order::Float => {
            let flip = if value[0] & 0x80 == 0 { 0 } else { 0xFF };
            value.iter_mut().for_each(|byte| *byte ^= flip);
            value[0] ^= 0x80 & !flip;
        }
        Order::Unsigned | Order::Bytes => {}
    }
    value.iter_mut().for_each(|byte| *byte ^= invert);
}

fn invert(part: &Part) -> u8 {
    if part.descending { 0xFF } else { 0 }
}

pub(super) fn view<'a>(part: &Part, array: &'a ArrayRef) -> Result<View<'a>> {
    View::new(array).ok_or_else(|| {
        Error::invalid_input(format!(
            "key column \"{}\" has type {}, which has no order",
            part.name,
            array.data_type()
        ))
    })
}

/// Bytes that a value of variable width takes.
#[inline]
fn escaped_len(value: &[u8]) -> usize {
    value.len() + value.iter().filter(|&&byte| byte == 0).count() + END_BYTES
}

/// The keys of all rows. `arrays` are plain, of equal length, and of the parts' types.
pub(super) fn columns(parts: &[Part], arrays: &[ArrayRef]) -> Result<BinaryArray> {
    let rows = arrays.first().map_or(0, |array| array.len());
    if let Some((part, array)) = parts.iter().zip(arrays).find(|(_, array)| array.len() != rows) {
        let message = format!(
            "key column \"{}\" has {} rows, another has {rows}",
            part.name,
            array.len()
        );
        return Err(Error::invalid_input(message));
    }
    let views = parts
        .iter()
        .zip(arrays)
        .map(|(part, array)| view(part, array))
        .collect::<Result<Vec<_>>>()?;
    let mut constant = 0;
    let mut lengths = vec![0usize; rows];
    for (part, view) in parts.iter().zip(&views) {
        constant += usize::from(part.nullable);
        add_lengths(part, view, part.physical()?, &mut constant, &mut lengths);
    }
    let mut offsets = Vec::with_capacity(rows + 1);
    let mut end = 0usize;
    offsets.push(0i32);
    // From here on `lengths` holds where each row goes on.
    for slot in &mut lengths {
        let start = end;
        end += *slot + constant;
        *slot = start;
        // Checked below: no offset is larger than the last.
        offsets.push(end as i32);
    }
    if i32::try_from(end).is_err() {
        let message = format!("the keys of {rows} rows have {end} bytes, more than 2 GiB; use smaller batches");
        return Err(Error::invalid_input(message));
    }
    let mut out = vec![0u8; end];
    for (part, view) in parts.iter().zip(&views) {
        if part.nullable {
            put_markers(view, &mut out, &mut lengths);
        }
        match Plain::of(view) {
            Some(values) if !part.descending => values.put(part.tail, &mut out, &mut lengths, &offsets[1..]),
            _ => put_column(part, view, &mut out, &mut lengths)?,
        }
    }
    Ok(BinaryArray::new(
        OffsetBuffer::new(ScalarBuffer::from(offsets)),
        Buffer::from_vec(out),
        None,
    ))
}

/// Values of variable width of which none is null or has a zero byte: they are written as they are.
struct Plain<'a> {
    offsets: &'a [i32],
    bytes: &'a [u8],
}

impl<'a> Plain<'a> {
    fn of(view: &View<'a>) -> Option<Self> {
        let Bytes::Var { offsets, bytes } = view.bytes else {
            return None;
        };
        let (first, last) = (*offsets.first()?, *offsets.last()?);
        let zeros = bytes.get(first as usize..last as usize)?.contains(&0);
        (view.nulls.is_none() && !zeros).then_some(Self { offsets, bytes })
    }

    /// Writes them where `cursors` say, each before the end of its key, with their ends unless they are the keys' `tail`.
    fn put(&self, tail: bool, out: &mut [u8], cursors: &mut [usize], ends: &[i32]) {
        let places = self.offsets.windows(2).zip(cursors).zip(ends);
        for ((pair, cursor), &end) in places {
            let (start, len) = (pair[0] as usize, (pair[1] - pair[0]) as usize);
            let room = end as usize - *cursor;
            match self.bytes.get(start..).and_then(<[u8]>::first_chunk::<8>) {
                // Most are short: eight bytes, those behind the value zero, are copied without a call. What follows in the key is
                // written later.
                Some(some) if len < 8 && room >= 8 => {
                    let value = u64::from_le_bytes(*some) & ((1 << (8 * len)) - 1);
                    out[*cursor..*cursor + 8].copy_from_slice(&value.to_le_bytes());
                }
                _ => out[*cursor..*cursor + len].copy_from_slice(&self.bytes[start..start + len]),
            }
            *cursor += len;
            if !tail {
                out[*cursor..*cursor + 2].fill(END);
                *cursor += 2;
            }
        }
    }
}

fn add_lengths(part: &Part, view: &View<'_>, physical: Physical, constant: &mut usize, lengths: &mut [usize]) {
    let fixed = match physical {
        Physical::Bool => 1,
        Physical::Fixed { width, .. } => width,
        Physical::Var { .. } => {
            if let Some(short) = Plain::of(view) {
                let ends = if part.tail { 0 } else { END_BYTES };
                let lens = short.offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize);
                lengths
                    .iter_mut()
                    .zip(lens)
                    .for_each(|(length, len)| *length += len + ends);
                return;
            }
            for (row, length) in lengths.iter_mut().enumerate() {
                if !view.is_null(row) {
                    let value = view.value(row);
                    *length += if part.tail { value.len() } else { escaped_len(value) };
                }
            }
            return;
        }
    };
    match view.nulls {
        None => *constant += fixed,
        Some(nulls) => {
            for (length, valid) in lengths.iter_mut().zip(nulls) {
                *length += if valid { fixed } else { 0 };
            }
        }
    }
}

fn put_markers(view: &View<'_>, out: &mut [u8], cursors: &mut [usize]) {
    for (row, cursor) in cursors.iter_mut().enumerate() {
        out[*cursor] = if view.is_null(row) { NULL } else { VALUE };
        *cursor += 1;
    }
}

fn put_column(part: &Part, view: &View<'_>, out: &mut [u8], cursors: &mut [usize]) -> Result<()> {
    let invert = invert(part);
    match (part.physical()?, &view.bytes) {
        (Physical::Bool, Bytes::Bool(values)) => {
            for (row, cursor) in cursors.iter_mut().enumerate() {
                if !view.is_null(row) {
                    out[*cursor] = u8::from(values.value(row)) ^ invert;
                    *cursor += 1;
                }
            }
        }
        (Physical::Fixed { order, width }, Bytes::Fixed { bytes, .. }) => match width {
            1 => put_fixed::<1>(bytes, view, order, invert, out, cursors),
            2 => put_fixed::<2>(bytes, view, order, invert, out, cursors),
            4 => put_fixed::<4>(bytes, view, order, invert, out, cursors),
            8 => put_fixed::<8>(bytes, view, order, invert, out, cursors),
            16 => put_fixed::<16>(bytes, view, order, invert, out, cursors),
            32 => put_fixed::<32>(bytes, view, order, invert, out, cursors),
            // Only fixed-size binary has other widths, and its bytes are in order as they are.
            _ => put_bytes(view, out, cursors, |value, out| put_plain(value, invert, out)),
        },
        _ if part.tail => put_bytes(view, out, cursors, |value, out| put_plain(value, 0, out)),
        _ => put_bytes(view, out, cursors, |value, out| put_escaped(value, invert, out)),
    }
    Ok(())
}

#[inline]
fn put_fixed<const W: usize>(
    bytes: &[u8],
    view: &View<'_>,
    order: Order,
    invert: u8,
    out: &mut [u8],
    cursors: &mut [usize],
) {
    let (values, _) = bytes.as_chunks::<W>();
    match view.nulls {
        None => {
            for (value, cursor) in values.iter().zip(cursors) {
                out[*cursor..*cursor + W].copy_from_slice(&ordered(*value, order, invert));
                *cursor += W;
            }
        }
        Some(nulls) => {
            for ((value, cursor), valid) in values.iter().zip(cursors).zip(nulls) {
                if valid {
                    out[*cursor..*cursor + W].copy_from_slice(&ordered(*value, order, invert));
                    *cursor += W;
                }
            }
        }
    }
}

#[inline]
fn put_bytes(view: &View<'_>, out: &mut [u8], cursors: &mut [usize], put: impl Fn(&[u8], &mut [u8]) -> usize) {
    for (row, cursor) in cursors.iter_mut().enumerate() {
        if !view.is_null(row) {
            *cursor += put(view.value(row), &mut out[*cursor..]);
        }
    }
}

/// Copies `value` to the start of `out`; returns its length.
#[inline]
fn put_plain(value: &[u8], invert: u8, out: &mut [u8]) -> usize {
    out[..value.len()].copy_from_slice(value);
    if invert != 0 {
        out[..value.len()].iter_mut().for_each(|byte| *byte ^= invert);
    }
    value.len()
}

/// Writes `value` with its zeros escaped, and its end; returns how many bytes that took.
#[inline]
fn put_escaped(value: &[u8], invert: u8, out: &mut [u8]) -> usize {
    let mut position = 0;
    let mut rest = value;
    while let Some(zero) = rest.iter().position(|&byte| byte == 0) {
        out[position..position + zero].copy_from_slice(&rest[..zero]);
        out[position + zero..position + zero + 2].copy_from_slice(&[0, ESCAPED_ZERO]);
        position += zero + 2;
        rest = &rest[zero + 1..];
    }
    out[position..position + rest.len()].copy_from_slice(rest);
    position += rest.len();
    out[position..position + 2].copy_from_slice(&ENDING);
    position += 2;
    if invert != 0 {
        out[..position].iter_mut().for_each(|byte| *byte ^= invert);
    }
    position
}

/// Appends the one value of `array`, which is plain and of the part's type.
pub(super) fn value(part: &Part, array: &ArrayRef, out: &mut Vec<u8>) -> Result<()> {
    put_row(part, part.physical()?, &view(part, array)?, 0, out);
    Ok(())
}

/// Appends the value in a row of a view of the part's type.
pub(super) fn put_row(part: &Part, physical: Physical, view: &View<'_>, row: usize, out: &mut Vec<u8>) {
    let null = view.is_null(row);
    if part.nullable {
        out.push(if null { NULL } else { VALUE });
    }
    if null {
        return;
    }
    let (start, invert) = (out.len(), invert(part));
    match (physical, &view.bytes) {
        (_, Bytes::Bool(values)) => out.push(u8::from(values.value(row)) ^ invert),
        (Physical::Fixed { order, .. }, _) => {
            out.extend_from_slice(view.value(row));
            put_in_order(&mut out[start..], order, invert);
        }
        // Which is not inverted.
        _ if part.tail => out.extend_from_slice(view.value(row)),
        _ => {
            put_text(view.value(row), out);
            if invert != 0 {
                out[start..].iter_mut().for_each(|byte| *byte ^= invert);
            }
        }
    }
}

/// Appends a value of variable width, not inverted, its zeros escaped, and its end.
#[inline]
pub(super) fn put_text(value: &[u8], out: &mut Vec<u8>) {
    let mut rest = value;
    while let Some(zero) = rest.iter().position(|&byte| byte == 0) {
        out.extend_from_slice(&rest[..zero]);
        out.extend_from_slice(&[0, ESCAPED_ZERO]);
        rest = &rest[zero + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&ENDING);
}
