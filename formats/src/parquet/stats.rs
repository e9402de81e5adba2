//! Bounds of pages and column chunks, by which other tools skip what a query does not want.

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, GenericByteArray, PrimitiveArray, downcast_primitive_array,
};
use arrow::datatypes::{ByteArrayType, DataType, Float32Type, Float64Type, ToByteSlice};
use arrow::{compute, datatypes::ArrowNativeTypeOp};
use kodiak_core::{Error, Result};
use parquet::basic::Type as PhysicalType;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::plan::{Column, Store, resize_le};

/// Longer bounds of byte arrays are cut to this many bytes.
const MAX_BOUND: usize = 64;

/// Smallest and largest value, as the bytes that Parquet stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bounds {
    pub min: Vec<u8>,
    pub max: Vec<u8>,
    /// False if cut: then a lower and an upper bound.
    pub exact: bool,
}

/// The bounds of the values that are present; `None` if there are none, or none that have an order.
pub(super) fn bounds(column: &Column, array: &ArrayRef) -> Option<Bounds> {
    if !column.bounds || array.null_count() == array.len() {
        return None;
    }
    match &column.data_type {
        DataType::Float32 => {
            let values = array
                .as_primitive::<Float32Type>()
                .iter()
                .flatten()
                .filter(|value| !value.is_nan());
            float(values, |value| value.to_le_bytes().to_vec(), 0.0)
        }
        DataType::Float64 => {
            let values = array
                .as_primitive::<Float64Type>()
                .iter()
                .flatten()
                .filter(|value| !value.is_nan());
            float(values, |value| value.to_le_bytes().to_vec(), 0.0)
        }
        DataType::Boolean => {
            let values = array.as_boolean();
            let (min, max) = (compute::min_boolean(values)?, compute::max_boolean(values)?);
            Some(Bounds {
                min: vec![min.into()],
                max: vec![max.into()],
                exact: true,
            })
        }
        DataType::Binary => span(array.as_binary::<i32>(), false),
        DataType::LargeBinary => span(array.as_binary::<i64>(), false),
        DataType::Utf8 => span(array.as_string::<i32>(), true),
        DataType::LargeUtf8 => span(array.as_string::<i64>(), true),
        DataType::FixedSizeBinary(_) => {
            let values = array.as_fixed_size_binary();
            short(values.iter().flatten().min()?, values.iter().flatten().max()?, false)
        }
        _ => downcast_primitive_array! {
            array => primitive(column, array),
            _ => None,
        },
    }
}

fn primitive<T: ArrowPrimitiveType>(column: &Column, array: &PrimitiveArray<T>) -> Option<Bounds>
where
    T::Native: ArrowNativeTypeOp,
{
    let signed = !matches!(
        column.data_type,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64
    );
    let stored = |value: T::Native| {
        let bytes = value.to_byte_slice();
        let len = match column.physical {
            PhysicalType::INT32 => 4,
            PhysicalType::INT64 => 8,
            _ => column.type_length.max(0) as usize,
        };
        let mut out = vec![0; len];
        if signed || bytes.len() >= len {
            resize_le(bytes, &mut out);
        } else {
            out[..bytes.len()].copy_from_slice(bytes);
        }
        if matches!(column.store, Store::DecimalBytes(_)) {
            out.reverse();
        }
        out
    };
    Some(Bounds {
        min: stored(compute::min(array)?),
        max: stored(compute::max(array)?),
        exact: true,
    })
}

/// Zeros are given the sign that makes the bound hold for both.
fn float<F: Copy + PartialOrd + std::ops::Neg<Output = F>>(
    values: impl Iterator<Item = F>,
    bytes: impl Fn(F) -> Vec<u8>,
    zero: F,
) -> Option<Bounds> {
    let (min, max) = values.fold(None, |bounds, value| match bounds {
        None => Some((value, value)),
        Some((min, max)) => Some((
            if value < min { value } else { min },
            if value > max { value } else { max },
        )),
    })?;
    let min = if min == zero { -zero } else { min };
    let max = if max == zero { zero } else { max };
    Some(Bounds {
        min: bytes(min),
        max: bytes(max),
        exact: true,
    })
}

fn span<T: ByteArrayType>(array: &GenericByteArray<T>, text: bool) -> Option<Bounds> {
    let mut values = array.iter().flatten().map(AsRef::<[u8]>::as_ref);
    let first = values.next()?;
    let (min, max) = values.fold((first, first), |(min, max), value| {
        if value < min {
            (value, max)
        } else if value > max {
            (min, value)
        } else {
            (min, max)
        }
    });
    short(min, max, text)
}

/// Cuts long bounds: the lower one to a prefix, the upper one to a prefix that is made larger. Text stays text.
fn short(min: &[u8], max: &[u8], text: bool) -> Option<Bounds> {
    let exact = min.len() <= MAX_BOUND && max.len() <= MAX_BOUND;
    let min = match min.get(..MAX_BOUND) {
        Some(prefix) if text => whole_chars(prefix).as_bytes(),
        Some(prefix) => prefix,
        None => min,
    };
    let max = match max.len() {
        0..=MAX_BOUND => max.to_vec(),
        _ if text => cut_text(max)?,
        _ => cut_bytes(max)?,
    };
    Some(Bounds {
        min: min.to_vec(),
        max,
        exact,
    })
}

/// A short value above every value with the same prefix.
fn cut_bytes(value: &[u8]) -> Option<Vec<u8>> {
    let prefix = &value[..MAX_BOUND];
    let last = prefix.iter().rposition(|&byte| byte != 0xFF)?;
    let mut out = prefix[..=last].to_vec();
    out[last] += 1;
    Some(out)
}

/// The same for text, which stays text.
fn cut_text(value: &[u8]) -> Option<Vec<u8>> {
    let mut out = whole_chars(&value[..MAX_BOUND]).to_owned();
    while let Some(last) = out.pop() {
        // The next scalar value: past the surrogates, which are none.
        let next = if last == '\u{D7FF}' {
            Some('\u{E000}')
        } else {
            char::from_u32(last as u32 + 1)
        };
        if let Some(next) = next {
            out.push(next);
            return Some(out.into_bytes());
        }
    }
    None
}

/// The longest prefix that ends with a whole character.
fn whole_chars(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// Bounds of a column chunk, gathered from those of its pages.
#[derive(Debug, Clone, Default)]
pub(super) struct ChunkBounds {
    bounds: Option<Bounds>,
    nulls: u64,
    /// True once a page had values but no bounds: then nothing is known of the chunk.
    unknown: bool,
}

impl ChunkBounds {
    /// Adds a page of so many `entries`, of which `nulls` are absent.
    pub fn add(&mut self, column: &Column, page: Option<&Bounds>, nulls: usize, entries: usize) {
        self.nulls += nulls as u64;
        match (page, &mut self.bounds) {
            (None, _) => self.unknown |= nulls < entries,
            (Some(page), None) => self.bounds = Some(page.clone()),
            (Some(page), Some(all)) => {
                if less(column, &page.min, &all.min) {
                    all.min.clone_from(&page.min);
                }
                if less(column, &all.max, &page.max) {
                    all.max.clone_from(&page.max);
                }
                all.exact &= page.exact;
            }
        }
    }

    /// Parquet's statistics of the chunk.
    ///
    /// # Errors
    /// `InvalidInput` if bounds are not of the column's type, which its own pages cannot cause.
    pub fn statistics(&self, column: &Column) -> Result<Statistics> {
        let bounds = self.bounds.as_ref().filter(|_| !self.unknown);
        let nulls = Some(self.nulls);
        macro_rules! number {
            ($type:ty, $variant:ident) => {{
                let value = |bytes: &[u8]| <[u8; size_of::<$type>()]>::try_from(bytes).map(<$type>::from_le_bytes);
                let (min, max) = match bounds {
                    Some(bounds) => (
                        Some(value(&bounds.min).map_err(|_| wrong(column))?),
                        Some(value(&bounds.max).map_err(|_| wrong(column))?),
                    ),
                    None => (None, None),
                };
                Statistics::$variant(ValueStatistics::new(min, max, None, nulls, false))
            }};
        }
        let exact = bounds.is_some_and(|bounds| bounds.exact);
        Ok(match column.physical {
            PhysicalType::BOOLEAN => {
                let value = |bytes: &[u8]| bytes == [1];
                let (min, max) = (bounds.map(|b| value(&b.min)), bounds.map(|b| value(&b.max)));
                Statistics::Boolean(ValueStatistics::new(min, max, None, nulls, false))
            }
            PhysicalType::INT32 => number!(i32, Int32),
            PhysicalType::INT64 => number!(i64, Int64),
            PhysicalType::FLOAT => number!(f32, Float),
            PhysicalType::DOUBLE => number!(f64, Double),
            PhysicalType::FIXED_LEN_BYTE_ARRAY => {
                let value = |bytes: &Vec<u8>| FixedLenByteArray::from(bytes.clone());
                let (min, max) = (bounds.map(|b| value(&b.min)), bounds.map(|b| value(&b.max)));
                Statistics::FixedLenByteArray(
                    ValueStatistics::new(min, max, None, nulls, false)
                        .with_min_is_exact(exact)
                        .with_max_is_exact(exact),
                )
            }
            _ => {
                let value = |bytes: &Vec<u8>| ByteArray::from(bytes.clone());
                let (min, max) = (bounds.map(|b| value(&b.min)), bounds.map(|b| value(&b.max)));
                Statistics::ByteArray(
                    ValueStatistics::new(min, max, None, nulls, false)
                        .with_min_is_exact(exact)
                        .with_max_is_exact(exact),
                )
            }
        })
    }
}

fn wrong(column: &Column) -> Error {
    Error::invalid_input(format!("bounds of column \"{}\" do not fit its type", column.name))
}

/// The order of two stored values of a column.
pub(super) fn less(column: &Column, left: &[u8], right: &[u8]) -> bool {
    let unsigned = matches!(
        column.data_type,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64
    );
    match column.store {
        Store::DecimalBytes(_) => signed_first(left.iter(), right.iter()),
        _ => match column.physical {
            PhysicalType::INT32 | PhysicalType::INT64 if unsigned => left.iter().rev().lt(right.iter().rev()),
            PhysicalType::INT32 | PhysicalType::INT64 => signed_first(left.iter().rev(), right.iter().rev()),
            PhysicalType::FLOAT => float_of(left, f32::from_le_bytes) < float_of(right, f32::from_le_bytes),
            PhysicalType::DOUBLE => float_of(left, f64::from_le_bytes) < float_of(right, f64::from_le_bytes),
            _ => left < right,
        },
    }
}

fn float_of<F, const N: usize>(bytes: &[u8], of: fn([u8; N]) -> F) -> Option<F> {
    bytes.first_chunk().map(|chunk| of(*chunk))
}

/// Compares two's complement numbers of equal length given from the most significant byte on.
fn signed_first<'a>(left: impl Iterator<Item = &'a u8>, right: impl Iterator<Item = &'a u8>) -> bool {
    let flip = |(index, byte): (usize, &u8)| if index == 0 { byte ^ 0x80 } else { *byte };
    left.enumerate().map(flip).lt(right.enumerate().map(flip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_bounds_stay_bounds() {
        let long = vec![b'a'; 100];
        let Bounds { min, max, exact } = short(&long, &long, false).expect("bounds");
        assert!(!exact && min.len() == MAX_BOUND && max.len() == MAX_BOUND);
        assert!(min < long && long < max);
        assert_eq!(short(b"a", &[0xFF; 100], false), None);

        let text = "ä".repeat(60);
        let Bounds { min, max, .. } = short(text.as_bytes(), text.as_bytes(), true).expect("bounds");
        let (min, max) = (
            String::from_utf8(min).expect("text"),
            String::from_utf8(max).expect("text"),
        );
        assert!(min < text && text < max);
        let last = format!("b{}", char::MAX.to_string().repeat(30));
        assert_eq!(cut_text(last.as_bytes()), Some(b"c".to_vec()));
    }

    #[test]
    fn signed_numbers_compare_by_value() {
        let bytes = |value: i32| value.to_be_bytes();
        for (left, right) in [(-1, 0), (-5, -4), (3, 300), (i32::MIN, i32::MAX)] {
            assert!(
                signed_first(bytes(left).iter(), bytes(right).iter()),
                "{left} < {right}"
            );
            assert!(
                !signed_first(bytes(right).iter(), bytes(left).iter()),
                "{right} < {left}"
            );
        }
    }
}
