//! Keys of fixed width.

use std::sync::OnceLock;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, downcast_primitive};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;

use super::Part;
use super::encode::{VALUE, ordered};
use super::view::{Order, Physical};

/// Key columns of fixed width without nulls.
#[derive(Debug, Clone)]
pub(super) struct FixedKeys {
    parts: Vec<FixedPart>,
    rows: usize,
    /// Of a key.
    width: usize,
}

#[derive(Debug, Clone)]
struct FixedPart {
    /// As many values as there are rows.
    bytes: Buffer,
    width: usize,
    order: Order,
    invert: u8,
    /// A byte says that it is no null.
    marked: bool,
}

impl FixedKeys {
    /// The keys of columns that are plain and of the parts' types; `None` if one of them is of another kind, and for more than
    /// 2 GiB.
    pub(super) fn new(parts: &[Part], arrays: &[ArrayRef]) -> Option<Self> {
        let rows = arrays.first()?.len();
        let mut width = 0;
        let mut fixed = Vec::with_capacity(parts.len());
        for (part, array) in parts.iter().zip(arrays) {
            let Some(Physical::Fixed {
                width: own @ (1 | 2 | 4 | 8 | 16),
                order,
            }) = part.physical
            else {
                return None;
            };
            if array.len() != rows || array.null_count() > 0 {
                return None;
            }
            let bytes = values(array, own)?;
            if bytes.len() != rows * own {
                return None;
            }
            width += own + usize::from(part.nullable);
            fixed.push(FixedPart {
                bytes,
                width: own,
                order,
                invert: if part.descending { 0xFF } else { 0 },
                marked: part.nullable,
            });
        }
        i32::try_from(rows.checked_mul(width)?).ok()?;
        Some(Self {
            parts: fixed,
            rows,
            width,
        })
    }

    /// How many there are.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that they take once they are encoded.
    pub(super) fn memory(&self) -> usize {
        self.rows * (self.width + size_of::<i32>())
    }

    /// Appends the key of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub(super) fn put(&self, row: usize, out: &mut Vec<u8>) {
        for part in &self.parts {
            if part.marked {
                out.push(VALUE);
            }
            match part.width {
                1 => part.put::<1>(row, out),
                2 => part.put::<2>(row, out),
                4 => part.put::<4>(row, out),
                8 => part.put::<8>(row, out),
                _ => part.put::<16>(row, out),
            }
        }
    }

    /// Appends what the keys begin with, as [`prefix_of`](crate::entry::prefix_of) tells; false, and nothing, if that takes
    /// no less than to encode them.
    pub(super) fn prefixes(&self, out: &mut Vec<u64>) -> bool {
        let [only] = self.parts.as_slice() else { return false };
        let (values, _) = only.bytes.as_chunks::<8>();
        match (only.marked, only.width, only.order, only.invert) {
            (false, 8, Order::Signed, 0) => {
                out.extend(values.iter().map(|value| u64::from_le_bytes(*value) ^ 1 << 63));
                true
            }
            (false, 8, Order::Unsigned, 0) => {
                out.extend(values.iter().map(|value| u64::from_le_bytes(*value)));
                true
            }
            _ => false,
        }
    }

    /// All of them.
    pub(super) fn encode(&self) -> BinaryArray {
        let bytes = match self.parts.as_slice() {
            [only] if !only.marked => match only.width {
                1 => only.alone::<1>(),
                2 => only.alone::<2>(),
                4 => only.alone::<4>(),
                8 => only.alone::<8>(),
                _ => only.alone::<16>(),
            },
            parts => {
                let mut out = vec![0u8; self.rows * self.width];
                let mut at = 0;
                for part in parts {
                    if part.marked {
                        out.chunks_exact_mut(self.width).for_each(|key| key[at] = VALUE);
                        at += 1;
                    }
                    match part.width {
                        1 => part.put_at::<1>(&mut out, self.width, at),
                        2 => part.put_at::<2>(&mut out, self.width, at),
                        4 => part.put_at::<4>(&mut out, self.width, at),
                        8 => part.put_at::<8>(&mut out, self.width, at),
                        _ => part.put_at::<16>(&mut out, self.width, at),
                    }
                    at += part.width;
                }
                out
            }
        };
        BinaryArray::new(offsets(self.width, self.rows), Buffer::from_vec(bytes), None)
    }
}

impl FixedPart {
    #[inline]
    fn put<const W: usize>(&self, row: usize, out: &mut Vec<u8>) {
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
fn offsets(width: usize, rows: usize) -> OffsetBuffer<i32> {
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
                let fixed = FixedKeys::new(&codec.parts, &values).expect("the key is of fixed width");
                assert_eq!((fixed.encode(), fixed.rows), (all.clone(), 3));
                let mut prefixes = vec![];
                if fixed.prefixes(&mut prefixes) {
                    let expected: Vec<u64> = all.iter().flatten().map(crate::entry::prefix_of).collect();
                    assert_eq!(prefixes, expected);
                }
                for row in 0..3 {
                    let (mut alone, mut encoded) = (vec![], vec![]);
                    fixed.put(row, &mut alone);
                    codec.encode_row(&arrays, row, &mut encoded).expect("key");
                    assert_eq!((alone.as_slice(), encoded.as_slice()), (all.value(row), all.value(row)));
                }
            }
        }
    }
}
