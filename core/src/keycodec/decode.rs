//! From keys back to columns, a column at a time.

use arrow::array::{ArrayData, ArrayRef, BinaryArray, BooleanBufferBuilder, make_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::DataType;

use super::Part;
use super::encode::{END, ESCAPED_ZERO, NULL, VALUE};
use super::view::{Order, Physical};
use crate::{Error, ErrorKind, Result};

/// Turns ordered bytes back into the stored bytes of a value.
#[inline(always)]
fn restore<const W: usize>(mut value: [u8; W], order: Order, invert: u8) -> [u8; W] {
    value.iter_mut().for_each(|byte| *byte ^= invert);
    match order {
        Order::Signed => value[0] ^= 0x80,
        Order::Float => {
            let flip = if value[0] & 0x80 == 0 { 0xFF } else { 0 };
            value.iter_mut().for_each(|byte| *byte ^= flip);
            value[0] ^= 0x80 & !flip;
        }
        Order::Unsigned | Order::Bytes => {}
    }
    if order != Order::Bytes {
        value.reverse();
    }
    value
}

/// The key columns of `keys`, in the order of `parts`.
pub(super) fn columns(parts: &[Part], keys: &BinaryArray) -> Result<Vec<ArrayRef>> {
    let mut rests: Vec<&[u8]> = keys.iter().map(|key| key.unwrap_or_default()).collect();
    let columns = parts
        .iter()
        .map(|part| column(part, &mut rests))
        .collect::<Result<Vec<_>>>()?;
    match rests.iter().position(|rest| !rest.is_empty()) {
        Some(row) => Err(Error::corruption(format!(
            "key {row} has {} bytes too many",
            rests[row].len()
        ))),
        None => Ok(columns),
    }
}

/// The columns of `parts` that are `wanted`, by their numbers. What is behind the last one is not looked at.
pub(super) fn some_columns(
    parts: &[Part],
    keys: &BinaryArray,
    wanted: impl Fn(usize) -> bool,
) -> Result<Vec<Option<ArrayRef>>> {
    let mut rests: Vec<&[u8]> = keys.iter().map(|key| key.unwrap_or_default()).collect();
    let last = (0..parts.len()).rfind(|&number| wanted(number));
    let column = |(number, part)| match Some(number) > last {
        true => Ok(None),
        false if wanted(number) => column(part, &mut rests).map(Some),
        false => pass(part, &mut rests).map(|()| None),
    };
    parts.iter().enumerate().map(column).collect()
}

#[cold]
fn malformed(part: &Part, row: usize) -> Error {
    Error::corruption(format!(
        "key {row} is cut short or malformed at column \"{}\"",
        part.name
    ))
}

/// Takes the value of one column from the front of each key.
fn column(part: &Part, rests: &mut [&[u8]]) -> Result<ArrayRef> {
    let nulls = if part.nullable {
        Some(markers(part, rests)?)
    } else {
        None
    };
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
    let invert = if part.descending { 0xFF } else { 0 };
    let data = ArrayData::builder(part.plain.clone())
        .len(rests.len())
        .nulls(nulls.clone());
    let nulls = nulls.as_ref();
    let data = match part.physical()? {
        Physical::Bool => data.add_buffer(bools(part, rests, nulls, invert)?),
        Physical::Fixed { width, order } => data.add_buffer(match width {
            1 => fixed::<1>(part, rests, nulls, order, invert)?,
            2 => fixed::<2>(part, rests, nulls, order, invert)?,
            4 => fixed::<4>(part, rests, nulls, order, invert)?,
            8 => fixed::<8>(part, rests, nulls, order, invert)?,
            16 => fixed::<16>(part, rests, nulls, order, invert)?,
            32 => fixed::<32>(part, rests, nulls, order, invert)?,
            _ => wide(part, rests, nulls, width, invert)?,
        }),
        Physical::Var { large } => {
            let (ends, bytes) = var(part, rests, nulls, invert)?;
            let offsets = if large {
                Buffer::from_vec(ends.iter().map(|&end| end as i64).collect::<Vec<_>>())
            } else {
                // Together they are no longer than the keys, whose offsets have 32 bits.
                Buffer::from_vec(ends.iter().map(|&end| end as i32).collect::<Vec<_>>())
            };
            data.add_buffer(offsets).add_buffer(Buffer::from_vec(bytes))
        }
    };
    let wrong =
        |error| Error::corruption(format!("key column \"{}\" holds invalid values", part.name)).with_source(error);
    let plain = make_array(data.build().map_err(wrong)?);
    repack(part, plain)
}

/// Passes over the value of one column at the front of each key.
fn pass(part: &Part, rests: &mut [&[u8]]) -> Result<()> {
    let invert = if part.descending { 0xFF } else { 0 };
    let physical = part.physical()?;
    for (row, rest) in rests.iter_mut().enumerate() {
        let passed = match part.nullable.then(|| rest.split_off_first()) {
            Some(Some(&NULL)) => continue,
            Some(None) => None,
            _ => match physical {
                Physical::Bool => rest.get(1..),
                Physical::Fixed { width, .. } => rest.get(width..),
                Physical::Var { .. } if part.tail => Some(&rest[rest.len()..]),
                Physical::Var { .. } => pass_escaped(rest, invert),
            },
        };
        *rest = passed.ok_or_else(|| malformed(part, row))?;
    }
    Ok(())
}

/// What follows the value at the front of `rest`; `None` if that has no end.
#[inline]
fn pass_escaped(mut rest: &[u8], invert: u8) -> Option<&[u8]> {
    loop {
        let zero = rest.iter().position(|&byte| byte == invert)?;
        let escape = *rest.get(zero + 1)?;
        rest = &rest[zero + 2..];
        if escape ^ invert == END {
            return Some(rest);
        }
    }
}

fn repack(part: &Part, plain: ArrayRef) -> Result<ArrayRef> {
    if part.plain == part.declared {
        return Ok(plain);
    }
    arrow::compute::cast(&plain, &part.declared).map_err(|error| {
        let advice = match part.declared {
            DataType::Dictionary(..) => "; a wider dictionary key type would hold it",
            _ => "",
        };
        let message = format!("key column \"{}\" cannot be made {}{advice}", part.name, part.declared);
        Error::new(ErrorKind::Unsupported, message).with_source(error)
    })
}

fn markers(part: &Part, rests: &mut [&[u8]]) -> Result<NullBuffer> {
    let mut valid = BooleanBufferBuilder::new(rests.len());
    for (row, rest) in rests.iter_mut().enumerate() {
        match rest.split_first() {
            Some((&marker, tail)) if marker == NULL || marker == VALUE => {
                valid.append(marker == VALUE);
                *rest = tail;
            }
            _ => return Err(malformed(part, row)),
        }
    }
    Ok(NullBuffer::new(valid.finish()))
}

#[inline]
fn is_null(nulls: Option<&NullBuffer>, row: usize) -> bool {
    nulls.is_some_and(|nulls| nulls.is_null(row))
}

fn bools(part: &Part, rests: &mut [&[u8]], nulls: Option<&NullBuffer>, invert: u8) -> Result<Buffer> {
    let mut values = BooleanBufferBuilder::new(rests.len());
    for (row, rest) in rests.iter_mut().enumerate() {
        if is_null(nulls, row) {
            values.append(false);
            continue;
        }
        match rest.split_first() {
            Some((&byte, tail)) if byte ^ invert <= 1 => {
                values.append(byte ^ invert == 1);
                *rest = tail;
            }
            _ => return Err(malformed(part, row)),
        }
    }
    Ok(values.finish().into_inner())
}

fn fixed<const W: usize>(
    part: &Part,
    rests: &mut [&[u8]],
    nulls: Option<&NullBuffer>,
    order: Order,
    invert: u8,
) -> Result<Buffer> {
    let mut values = Vec::with_capacity(rests.len() * W);
    for (row, rest) in rests.iter_mut().enumerate() {
        if is_null(nulls, row) {
            values.extend_from_slice(&[0; W]);
            continue;
        }
        let Some((value, tail)) = rest.split_first_chunk::<W>() else {
            return Err(malformed(part, row));
        };
        values.extend_from_slice(&restore(*value, order, invert));
        *rest = tail;
    }
    // Copied, because Arrow wants primitive values aligned and a vector of bytes need not be.
    Ok(Buffer::from(values.as_slice()))
}

/// Fixed-size binary of a width that is not a power of two.
fn wide(part: &Part, rests: &mut [&[u8]], nulls: Option<&NullBuffer>, width: usize, invert: u8) -> Result<Buffer> {
    let mut values = Vec::new();
    for (row, rest) in rests.iter_mut().enumerate() {
        if is_null(nulls, row) {
            values.resize(values.len() + width, 0);
            continue;
        }
        let Some((value, tail)) = rest.split_at_checked(width) else {
            return Err(malformed(part, row));
        };
        values.extend(value.iter().map(|byte| byte ^ invert));
        *rest = tail;
    }
    Ok(Buffer::from_vec(values))
}

/// The ends of all values (with a 0 before the first), and their bytes.
fn var(part: &Part, rests: &mut [&[u8]], nulls: Option<&NullBuffer>, invert: u8) -> Result<(Vec<usize>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut ends = Vec::with_capacity(rests.len() + 1);
    ends.push(0);
    for (row, rest) in rests.iter_mut().enumerate() {
        if !is_null(nulls, row) {
            if part.tail {
                bytes.extend_from_slice(rest);
                *rest = &[];
            } else {
                *rest = unescape(rest, invert, &mut bytes).ok_or_else(|| malformed(part, row))?;
            }
        }
        ends.push(bytes.len());
    }
    Ok((ends, bytes))
}

/// Appends the value at the front of `rest` to `out` and returns what follows; `None` if it has no end.
fn unescape<'a>(mut rest: &'a [u8], invert: u8, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let zero = rest.iter().position(|&byte| byte == invert)?;
        let (value, tail) = rest.split_at(zero);
        if invert == 0 {
            out.extend_from_slice(value);
        } else {
            out.extend(value.iter().map(|byte| byte ^ invert));
        }
        match tail.get(1)? ^ invert {
            ESCAPED_ZERO => out.push(0),
            END => return Some(&tail[2..]),
            _ => return None,
        }
        rest = &tail[2..];
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Random, TYPES, codec_of, column};
    use super::*;

    #[test]
    fn some_columns_are_what_they_are_among_all_and_damage_is_corruption() {
        let mut random = Random(11);
        for _ in 0..200 {
            let count = 1 + random.below(4) as usize;
            let mut chosen = || (0..count).map(|_| random.below(2) == 0).collect::<Vec<bool>>();
            let (nullable, descending, wanted) = (chosen(), chosen(), chosen());
            let columns: Vec<ArrayRef> = nullable
                .iter()
                .map(|&nullable| {
                    column(
                        &TYPES[random.below(TYPES.len() as u64) as usize],
                        20,
                        nullable,
                        &mut random,
                    )
                })
                .collect();
            let codec = codec_of(&columns, &nullable, &descending);
            let keys = codec.encode(&columns).expect("every type has an order");
            let all = codec.decode(&keys).expect("just encoded").into_iter().zip(&wanted);
            let expected: Vec<_> = all.map(|(column, wanted)| wanted.then_some(column)).collect();
            let some = codec.decode_some(&keys, |number| wanted[number]);
            assert_eq!(some.expect("just encoded"), expected, "{columns:?}");
            let key = keys.value(0);
            for cut in 0..key.len() {
                let mut damaged = key.to_vec();
                damaged[cut] ^= 1 << random.below(8);
                for bytes in [&key[..cut], &damaged] {
                    if let Err(error) =
                        codec.decode_some(&BinaryArray::from_iter_values([bytes]), |number| wanted[number])
                    {
                        assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
                    }
                }
                let last = count - 1;
                let short = codec.decode_some(&BinaryArray::from_iter_values([&key[..cut]]), |number| number == last);
                assert!(short.is_err() || codec.parts[last].tail, "{columns:?}, {cut} bytes");
            }
        }
    }
}
