//! Which types hold every value of another exactly.

use arrow::datatypes::DataType;

/// True if a column of type `from` may become one of type `to`: every value of `from` is exactly one value of `to`, and other
/// values of `from` are other values of `to`, so that going there and back changes nothing.
///
/// | from | to |
/// |---|---|
/// | int8, int16, int32 | a wider signed integer |
/// | uint8, uint16, uint32 | a wider integer, signed or not |
/// | float16, float32 | a wider float |
/// | decimal(p, s) of any width | decimal(p', s') of that width or more, s' at least s and p' - s' at least p - s |
/// | date32 | date64 |
/// | time32 (seconds, milliseconds) | time64 (microseconds, nanoseconds) |
/// | utf8 | large utf8, utf8 view |
/// | utf8 view | large utf8 |
/// | binary | large binary, binary view |
/// | binary view | large binary |
/// | fixed-size binary | binary, large binary |
///
/// Not among them: other units of timestamps and durations (the far ends of the coarser unit do not fit into the finer one),
/// integers as floats or decimals, dictionaries, and what is inside nested columns.
pub fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    if let (Some(from), Some(to)) = (decimal(from), decimal(to)) {
        let digits = |(_, precision, scale): (u8, u8, i8)| i16::from(precision) - i16::from(scale);
        return from != to && to.0 >= from.0 && to.2 >= from.2 && digits(to) >= digits(from);
    }
    matches!(
        (from, to),
        (D::Int8, D::Int16 | D::Int32 | D::Int64)
            | (D::Int16, D::Int32 | D::Int64)
            | (D::Int32, D::Int64)
            | (
                D::UInt8,
                D::UInt16 | D::UInt32 | D::UInt64 | D::Int16 | D::Int32 | D::Int64
            )
            | (D::UInt16, D::UInt32 | D::UInt64 | D::Int32 | D::Int64)
            | (D::UInt32, D::UInt64 | D::Int64)
            | (D::Float16, D::Float32 | D::Float64)
            | (D::Float32, D::Float64)
            | (D::Date32, D::Date64)
            | (D::Time32(_), D::Time64(_))
            | (D::Utf8, D::LargeUtf8 | D::Utf8View)
            | (D::Utf8View, D::LargeUtf8)
            | (D::Binary, D::LargeBinary | D::BinaryView)
            | (D::BinaryView, D::LargeBinary)
            | (D::FixedSizeBinary(_), D::Binary | D::LargeBinary)
    )
}

/// Rank of the width, precision and scale of a decimal type.
fn decimal(of: &DataType) -> Option<(u8, u8, i8)> {
    match of {
        DataType::Decimal32(precision, scale) => Some((0, *precision, *scale)),
        DataType::Decimal64(precision, scale) => Some((1, *precision, *scale)),
        DataType::Decimal128(precision, scale) => Some((2, *precision, *scale)),
        DataType::Decimal256(precision, scale) => Some((3, *precision, *scale)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::*;
    use arrow::compute::{CastOptions, cast_with_options};
    use arrow::datatypes::TimeUnit;

    use super::*;

    type F16 = <arrow::datatypes::Float16Type as ArrowPrimitiveType>::Native;

    /// Arrays with the ends of every type's range, and what lies between.
    fn samples() -> Vec<ArrayRef> {
        let all: Vec<ArrayRef> = vec![
            Arc::new(Int8Array::from(vec![i8::MIN, -1, 0, i8::MAX])),
            Arc::new(Int16Array::from(vec![i16::MIN, -1, 0, i16::MAX])),
            Arc::new(Int32Array::from(vec![i32::MIN, -1, 0, i32::MAX])),
            Arc::new(Int64Array::from(vec![i64::MIN, -1, 0, i64::MAX])),
            Arc::new(UInt8Array::from(vec![0, 1, u8::MAX])),
            Arc::new(UInt16Array::from(vec![0, 1, u16::MAX])),
            Arc::new(UInt32Array::from(vec![0, 1, u32::MAX])),
            Arc::new(UInt64Array::from(vec![0, 1, u64::MAX])),
            Arc::new(Float16Array::from(vec![
                F16::MIN,
                F16::MIN_POSITIVE,
                F16::NEG_ZERO,
                F16::INFINITY,
            ])),
            Arc::new(Float32Array::from(vec![
                f32::MIN,
                f32::MIN_POSITIVE,
                -0.0,
                0.1,
                f32::INFINITY,
                f32::NAN,
            ])),
            Arc::new(Float64Array::from(vec![f64::MIN, 0.1, f64::NAN])),
            Arc::new(Date32Array::from(vec![i32::MIN, -1, 0, i32::MAX])),
            Arc::new(Date64Array::from(vec![0, 86_400_000])),
            Arc::new(Time32SecondArray::from(vec![0, 86_399, i32::MAX, i32::MIN])),
            Arc::new(Time32MillisecondArray::from(vec![0, 86_399_999, i32::MAX, i32::MIN])),
            Arc::new(Time64MicrosecondArray::from(vec![0, 1])),
            Arc::new(Time64NanosecondArray::from(vec![0, 1])),
            Arc::new(TimestampSecondArray::from(vec![i64::MIN, 0, i64::MAX])),
            Arc::new(TimestampNanosecondArray::from(vec![i64::MIN, 0, i64::MAX])),
            Arc::new(StringArray::from(vec!["", "\u{fc}", "longer than twelve bytes"])),
            Arc::new(LargeStringArray::from(vec!["", "x"])),
            Arc::new(StringViewArray::from(vec!["", "x", "longer than twelve bytes"])),
            Arc::new(BinaryArray::from_vec(vec![b"", b"\xff\0", b"longer than twelve bytes"])),
            Arc::new(LargeBinaryArray::from_vec(vec![b"", b"x"])),
            Arc::new(BinaryViewArray::from_iter_values([
                &b""[..],
                b"\xff",
                b"longer than twelve bytes",
            ])),
            Arc::new(FixedSizeBinaryArray::try_from_iter([b"ab", b"\0\xff"].into_iter()).expect("of one length")),
            Arc::new(Decimal32Array::from(vec![-99_999, 0, 99_999]).with_data_type(DataType::Decimal32(5, 2))),
            Arc::new(Decimal64Array::from(vec![-99_999, 0, 99_999]).with_data_type(DataType::Decimal64(5, 0))),
            Arc::new(Decimal128Array::from(vec![-99_999, 0, 99_999]).with_data_type(DataType::Decimal128(5, -2))),
            Arc::new(
                Decimal256Array::from_iter_values([arrow::datatypes::i256::from_i128(99_999)])
                    .with_data_type(DataType::Decimal256(5, 2)),
            ),
        ];
        all
    }

    #[test]
    fn every_widening_goes_there_and_back_without_a_change() {
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let samples = samples();
        let mut targets: Vec<DataType> = samples.iter().map(|array| array.data_type().clone()).collect();
        targets.extend([
            DataType::Decimal32(7, 2),
            DataType::Decimal64(8, 4),
            DataType::Decimal128(20, 6),
            DataType::Decimal256(50, 10),
        ]);
        let mut pairs = 0;
        for from in &samples {
            for to in targets.iter().filter(|to| widens(from.data_type(), to)) {
                let name = format!("{} as {to}", from.data_type());
                let there = cast_with_options(from, to, &strict).expect(&name);
                assert_eq!(there.null_count(), 0, "{name}");
                let back = cast_with_options(&there, from.data_type(), &strict).expect(&name);
                // Arrow compares floats by their bits.
                assert_eq!(&back, from, "{name}");
                pairs += 1;
            }
        }
        assert!(pairs > 40, "{pairs} pairs");
    }

    #[test]
    fn what_would_lose_something_is_no_widening() {
        use DataType as D;
        for (from, to) in [
            (D::Int64, D::Int32),
            (D::Int8, D::UInt16),
            (D::Int32, D::Int32),
            (D::UInt32, D::Int32),
            (D::UInt64, D::Int64),
            (D::Int32, D::Float64),
            (D::Float64, D::Float32),
            (D::Decimal128(10, 2), D::Decimal128(10, 3)),
            (D::Decimal128(10, 2), D::Decimal128(12, 1)),
            (D::Decimal128(5, 2), D::Decimal32(7, 2)),
            (D::Decimal128(10, 2), D::Decimal128(10, 2)),
            (D::LargeUtf8, D::Utf8),
            (D::LargeUtf8, D::Utf8View),
            (D::Utf8, D::Binary),
            (
                D::Timestamp(TimeUnit::Second, None),
                D::Timestamp(TimeUnit::Nanosecond, None),
            ),
            (D::Time64(TimeUnit::Microsecond), D::Time64(TimeUnit::Nanosecond)),
            (D::Time32(TimeUnit::Second), D::Time32(TimeUnit::Millisecond)),
        ] {
            assert!(!widens(&from, &to), "{from} as {to}");
        }
    }
}
