//! Key columns of fixed width.

use std::cmp::Ordering;
use std::sync::OnceLock;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, downcast_primitive};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;

use super::Part;
use super::encode::{VALUE, ordered};
use super::heads::Heads;
use super::view::{Order, Physical};

/// A key column of fixed width without nulls.
#[derive(Debug, Clone)]
pub(super) struct FixedPart {
    /// As many values as there are rows.
    bytes: Buffer,
    width: usize,
    order: Order,
    invert: u8,
    /// A byte says that it is no null.
    marked: bool,
}

/// Calls a method of a part, which has the width of its values as a constant.
macro_rules! of_width {
    ($part:ident.$method:ident($($argument:expr),*)) => {
        match $part.width {
            1 => $part.$method::<1>($($argument),*),
            2 => $part.$method::<2>($($argument),*),
            4 => $part.$method::<4>($($argument),*),
            8 => $part.$method::<8>($($argument),*),
            _ => $part.$method::<16>($($argument),*),
        }
    };
}

/// The keys of `rows` rows whose columns are all of fixed width.
pub(super) fn encode(parts: &[&FixedPart], rows: usize) -> BinaryArray {
    let width = parts.iter().map(|part| part.len()).sum();
    let bytes = match parts {
        [only] if !only.marked => of_width!(only.alone()),
        parts => {
            let mut out = vec![0u8; rows * width];
            let mut at = 0;
            for part in parts {
                if part.marked {
                    out.chunks_exact_mut(width).for_each(|key| key[at] = VALUE);
                    at += 1;
                }
                of_width!(part.put_at(&mut out, width, at));
                at += part.width;
            }
            out
        }
    };
    BinaryArray::new(offsets(width, rows), Buffer::from_vec(bytes), None)
}

impl FixedPart {
    /// A column that is plain and of the part's type; `None` if it is of another kind.
    pub(super) fn new(part: &Part, array: &ArrayRef) -> Option<Self> {
        let Some(Physical::Fixed {
            width: width @ (1 | 2 | 4 | 8 | 16),
            order,
        }) = part.physical
        else {
            return None;
        };
        if array.null_count() > 0 {
            return None;
        }
        let bytes = values(array, width)?;
        (bytes.len() == array.len() * width).then_some(Self {
            bytes,
            width,
            order,
            invert: if part.descending { 0xFF } else { 0 },
            marked: part.nullable,
        })
    }

    /// Bytes that a value takes.
    pub(super) fn len(&self) -> usize {
        self.width + usize::from(self.marked)
    }

    /// Appends the value of a row.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub(super) fn put(&self, row: usize, out: &mut Vec<u8>) {
        if self.marked {
            out.push(VALUE);
        }
        of_width!(self.put_value(row, out))
    }

    /// How the value of a row compares with one of another column of the same part.
    #[inline]
    pub(super) fn compare(&self, row: usize, other: &Self, with: usize) -> Ordering {
        of_width!(self.compare_of(row, other, with))
    }

    #[inline]
    fn compare_of<const W: usize>(&self, row: usize, other: &Self, with: usize) -> Ordering {
        let (one, other) = (self.bytes.as_chunks::<W>().0[row], other.bytes.as_chunks::<W>().0[with]);
        match one == other {
            true => Ordering::Equal,
            false => ordered(one, self.order, self.invert).cmp(&ordered(other, self.order, self.invert)),
        }
    }

    /// How the value of a row compares with the one that `key`, the rest of an encoded key, begins with.
    #[inline]
    pub(super) fn compare_encoded(&self, row: usize, key: &[u8]) -> Ordering {
        let key = match (self.marked, key) {
            (false, key) => key,
            (true, [VALUE, key @ ..]) => key,
            (true, key) => return [VALUE].as_slice().cmp(key),
        };
        of_width!(self.compare_encoded_of(row, key))
    }

    #[inline]
    fn compare_encoded_of<const W: usize>(&self, row: usize, key: &[u8]) -> Ordering {
        let value = ordered(self.bytes.as_chunks::<W>().0[row], self.order, self.invert);
        match key.first_chunk::<W>() {
            Some(other) => value.cmp(other),
            None => value.as_slice().cmp(key),
        }
    }

    /// Adds what values have behind their first `skip` bytes.
    pub(super) fn add_heads(&self, skip: usize, heads: &mut Heads<'_>) {
        of_width!(self.add_heads_of(skip, heads))
    }

    fn add_heads_of<const W: usize>(&self, skip: usize, heads: &mut Heads<'_>) {
        let (values, _) = self.bytes.as_chunks::<W>();
        let len = self.len().saturating_sub(skip);
        // How far a value is moved to the right to make room for the mark, or to the left since its first bytes are skipped.
        let (mark, right) = match (self.marked, skip) {
            (true, 0) => (u64::from(VALUE) << 56, 8),
            _ => (0, 0),
        };
        let left = 8 * skip.saturating_sub(usize::from(self.marked)) as u32;
        let of_wide = |value: &[u8; W]| {
            let mut wide = [0; 16];
            wide[..W].copy_from_slice(&ordered(*value, self.order, self.invert));
            let wide = u128::from_be_bytes(wide).checked_shl(left).unwrap_or(0);
            (wide >> 64) as u64 >> right | mark
        };
        if W > 8 || left >= 64 {
            return heads.add_alike(len, values.iter().map(of_wide));
        }
        let head = |value: &[u8; W], order: Order, invert: u8| first_word(value, order, invert) << left >> right | mark;
        // Each with its own loop, which the compiler can make one of vectors.
        match (self.order, self.invert) {
            (Order::Signed, 0) => heads.add_alike(len, values.iter().map(|value| head(value, Order::Signed, 0))),
            (Order::Unsigned, 0) => heads.add_alike(len, values.iter().map(|value| head(value, Order::Unsigned, 0))),
            (order, invert) => heads.add_alike(len, values.iter().map(|value| head(value, order, invert))),
        }
    }

    #[inline]
    fn put_value<const W: usize>(&self, row: usize, out: &mut Vec<u8>) {
        let (values, _) = self.bytes.as_chunks::<W>();
        out.extend_from_slice(&ordered(values[row], self.order, self.invert));
    }

    /// The keys, of which there is no other part.
    fn alone<const W: usize>(&self) -> Vec<u8> {
        let (values, _) = self.bytes.as_chunks::<W>();
        // Each with its own loop, which the compiler can make one of vectors.
        let all = |order: Order, invert: u8| -> Vec<[u8; W]> {
            values.iter().map(|value| ordered(*value, order, invert)).collect()
        };
        match (self.order, self.invert) {
            (Order::Signed, 0) => all(Order::Signed, 0),
            (Order::Unsigned, 0) => all(Order::Unsigned, 0),
            (order, invert) => all(order, invert),
        }
        .into_flattened()
    }

    /// Puts each value at `at` of a key; keys are `width` long.
    fn put_at<const W: usize>(&self, out: &mut [u8], width: usize, at: usize) {
        let (values, _) = self.bytes.as_chunks::<W>();
        for (value, key) in values.iter().zip(out.chunks_exact_mut(width)) {
            key[at..at + W].copy_from_slice(&ordered(*value, self.order, self.invert));
        }
    }
}

/// What [`ordered`] makes of at most eight bytes, at the front of a word, without a detour over bytes.
#[inline(always)]
fn first_word<const W: usize>(value: &[u8; W], order: Order, invert: u8) -> u64 {
    const TOP: u64 = 1 << 63;
    let behind = 64 - 8 * W.min(8) as u32;
    let mut wide = [0; 8];
    wide[..W].copy_from_slice(value);
    let word = match order {
        Order::Bytes => u64::from_be_bytes(wide),
        _ => u64::from_le_bytes(wide) << behind,
    };
    let flipped = match order {
        Order::Signed => word ^ TOP,
        // All bits of those below zero, the first one of the others.
        Order::Float => word ^ (((word as i64 >> 63) as u64) | TOP),
        Order::Unsigned | Order::Bytes => word,
    };
    (flipped ^ u64::from_ne_bytes([invert; 8])) >> behind << behind
}

/// The values of a plain array of fixed width.
fn values(array: &ArrayRef, width: usize) -> Option<Buffer> {
    macro_rules! of_primitive {
        ($type:ty) => {
            Some(array.as_primitive::<$type>().values().inner().clone())
        };
    }
    downcast_primitive! {
        array.data_type() => (of_primitive),
        DataType::FixedSizeBinary(_) => {
            let data = array.to_data();
            let (offset, rows) = (data.offset(), data.len());
            Some(data.buffers().first()?.slice_with_length(offset * width, rows * width))
        },
        _ => None
    }
}

/// Rows for which multiples are kept: those of most blocks.
const KEPT: usize = 8192;

/// The offsets of `rows` keys that are all `width` long, which all keys of that width share.
pub(super) fn offsets(width: usize, rows: usize) -> OffsetBuffer<i32> {
    static MULTIPLES: [OnceLock<OffsetBuffer<i32>>; 33] = [const { OnceLock::new() }; 33];
    let multiples = |rows: usize| -> OffsetBuffer<i32> {
        OffsetBuffer::new(ScalarBuffer::from(
            (0..=rows).map(|row| (row * width) as i32).collect::<Vec<_>>(),
        ))
    };
    match MULTIPLES.get(width) {
        Some(kept) if rows <= KEPT => kept.get_or_init(|| multiples(KEPT)).slice(0, rows),
        _ => multiples(rows),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{FixedSizeBinaryArray, Float32Array, Int64Array, UInt16Array};
    use arrow::datatypes::{Field, Schema};

    use super::super::KeyCodec;
    use super::*;
    use crate::schema::TableSchema;

    #[test]
    fn a_key_by_itself_is_what_it_is_among_all() {
        let columns: Vec<(&str, ArrayRef, bool)> = vec![
            ("a", Arc::new(Int64Array::from(vec![-5, 0, 7, i64::MIN])), false),
            ("b", Arc::new(UInt16Array::from(vec![1, 500, 3, 4])), true),
            ("c", Arc::new(Float32Array::from(vec![-0.5, 0.0, f32::NAN, 9.0])), false),
            (
                "d",
                Arc::new(
                    FixedSizeBinaryArray::try_from_iter(
                        [b"abcd", b"efgh", b"\0\0\0\0", b"\xff\xff\xff\xff"].into_iter(),
                    )
                    .expect("bytes"),
                ),
                false,
            ),
        ];
        let schema = Schema::new(
            columns
                .iter()
                .map(|(name, column, nullable)| Field::new(*name, column.data_type().clone(), *nullable))
                .collect::<Vec<_>>(),
        );
        let schema = Arc::new(schema);
        let arrays: Vec<ArrayRef> = columns.into_iter().map(|(_, column, _)| column.slice(1, 3)).collect();
        for key in [&["a"][..], &["b"], &["c", "a"], &["d"], &["d", "b", "a", "c"]] {
            for descending in ["", "-"] {
                let key: Vec<String> = key.iter().map(|name| format!("{descending}{name}")).collect();
                let key: Vec<&str> = key.iter().map(String::as_str).collect();
                let codec = KeyCodec::new(&TableSchema::new(Arc::clone(&schema), &key).expect("schema"));
                let all = codec.encode(&arrays).expect("keys");
                let values: Vec<ArrayRef> = codec.parts.iter().map(|part| arrays[part.index].clone()).collect();
                let fixed = codec.parts.iter().zip(&values);
                let fixed: Option<Vec<FixedPart>> = fixed.map(|(part, array)| FixedPart::new(part, array)).collect();
                let fixed = fixed.expect("the key is of fixed width");
                assert_eq!(encode(&fixed.iter().collect::<Vec<_>>(), 3), all);
                for row in 0..3 {
                    let (mut alone, mut encoded) = (vec![], vec![]);
                    fixed.iter().for_each(|part| part.put(row, &mut alone));
                    codec.encode_row(&arrays, row, &mut encoded).expect("key");
                    assert_eq!((alone.as_slice(), encoded.as_slice()), (all.value(row), all.value(row)));
                }
            }
        }
    }
}
