//! Numbers as values of every type.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::*;

/// The values that numbers stand for in a column: the same for the same number, and of small numbers mostly different ones.
///
/// # Panics
/// If there is no number, and the column may not be null; for types of which tables have none.
pub fn array(field: &Field, numbers: &[Option<u64>]) -> ArrayRef {
    assert!(
        field.is_nullable() || numbers.iter().all(Option::is_some),
        "{field} may not be null"
    );
    values(field.data_type(), numbers)
}

/// Numbers from one, as random as that (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
fn mix(number: u64, salt: u64) -> u64 {
    let mut z = number.wrapping_add(salt.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn primitive<T: ArrowPrimitiveType>(
    of: &DataType,
    numbers: &[Option<u64>],
    make: impl Fn(u64) -> T::Native,
) -> ArrayRef {
    let made: PrimitiveArray<T> = numbers.iter().map(|number| number.map(&make)).collect();
    Arc::new(made.with_data_type(of.clone()))
}

/// Some numbers stand for values at the edge.
fn float(number: u64) -> f64 {
    match number % 64 {
        3 => f64::NAN,
        5 => -0.0,
        6 => 0.0,
        7 => f64::INFINITY,
        8 => f64::NEG_INFINITY,
        _ => (number as i64 % 1_000_003) as f64 / 7.0,
    }
}

fn text(number: u64) -> String {
    match number % 64 {
        3 => String::new(),
        5 => "it's \"quoted\", \\ \n and\tspaced ".to_owned(),
        _ => format!("{}{}", ["", "\u{1F43B} ", "ä", "0"][number as usize % 4], number),
    }
}

fn bytes(number: u64) -> Vec<u8> {
    // With zero bytes, which keys must keep in order.
    number.to_le_bytes()[..(mix(number, 1) % 9) as usize].to_vec()
}

/// Microseconds since 1970, from 1923 to 2017, most with a fraction of a second; some in the second before 1970. Of very large numbers, which
/// no items of lists have, some are in the years 1 and 3000.
fn micros(number: u64) -> i64 {
    let fraction = (number % 1000) as i64;
    match number % 64 {
        3 => -1_000_000 + fraction * 1000,
        5 => -1 - fraction,
        6 if number >> 61 > 0 => -62_135_596_800_000_000 + fraction,
        7 if number >> 61 > 0 => 32_503_680_000_000_000 + fraction,
        _ => (mix(number, 2) % 3_000_000_000_000_000) as i64 - 1_500_000_000_000_000 + fraction,
    }
}

fn in_unit(unit: TimeUnit, micros: i64) -> i64 {
    match unit {
        TimeUnit::Second => micros.div_euclid(1_000_000),
        TimeUnit::Millisecond => micros.div_euclid(1000),
        TimeUnit::Microsecond => micros,
        // Of those that it does not hold, some others.
        TimeUnit::Nanosecond => micros.checked_mul(1000).unwrap_or(micros) + micros.rem_euclid(7),
    }
}

/// A number of at most so many digits.
fn digits(number: u64, precision: u8) -> i256 {
    let (high, low) = (i128::from(mix(number, 3)) << 60, i128::from(number));
    let limit = i256::from_i128(10).wrapping_pow(u32::from(precision));
    let wide = i256::from_i128(high | low).wrapping_mul(i256::from_i128(high | 1));
    let sign = if number & 1 == 1 { i256::MINUS_ONE } else { i256::ONE };
    wide.wrapping_abs().wrapping_rem(limit).wrapping_mul(sign)
}

fn narrow(number: u64, precision: u8) -> i128 {
    digits(number, precision).to_i128().expect("38 digits at most")
}

fn values(of: &DataType, numbers: &[Option<u64>]) -> ArrayRef {
    use DataType as D;
    let each = || numbers.iter().copied();
    match of {
        D::Boolean => Arc::new(each().map(|n| n.map(|n| n & 1 == 1)).collect::<BooleanArray>()),
        D::Int8 => primitive::<Int8Type>(of, numbers, |n| n as i8),
        D::Int16 => primitive::<Int16Type>(of, numbers, |n| n as i16),
        D::Int32 => primitive::<Int32Type>(of, numbers, |n| n as i32),
        D::Int64 => primitive::<Int64Type>(of, numbers, |n| n as i64),
        D::UInt8 => primitive::<UInt8Type>(of, numbers, |n| n as u8),
        D::UInt16 => primitive::<UInt16Type>(of, numbers, |n| n as u16),
        D::UInt32 => primitive::<UInt32Type>(of, numbers, |n| n as u32),
        D::UInt64 => primitive::<UInt64Type>(of, numbers, |n| n),
        D::Float16 => {
            let wide: Float32Array = each().map(|n| n.map(|n| float(n % 1024) as f32)).collect();
            cast(&wide, of).expect("floats")
        }
        D::Float32 => primitive::<Float32Type>(of, numbers, |n| float(n) as f32),
        D::Float64 => primitive::<Float64Type>(of, numbers, float),
        D::Date32 => primitive::<Date32Type>(of, numbers, |n| (n % 60_000) as i32 - 20_000),
        D::Date64 => primitive::<Date64Type>(of, numbers, |n| ((n % 60_000) as i64 - 20_000) * 86_400_000),
        D::Time32(_) | D::Time64(_) | D::Timestamp(..) | D::Duration(_) | D::Interval(_) => temporal(of, numbers),
        D::Decimal32(p, _) => primitive::<Decimal32Type>(of, numbers, |n| narrow(n, *p) as i32),
        D::Decimal64(p, _) => primitive::<Decimal64Type>(of, numbers, |n| narrow(n, *p) as i64),
        D::Decimal128(p, _) => primitive::<Decimal128Type>(of, numbers, |n| narrow(n, *p)),
        D::Decimal256(p, _) => primitive::<Decimal256Type>(of, numbers, |n| digits(n, *p)),
        D::Utf8 | D::LargeUtf8 | D::Utf8View => {
            let texts: StringArray = each().map(|n| n.map(text)).collect();
            cast(&texts, of).expect("texts")
        }
        D::Binary | D::LargeBinary | D::BinaryView => {
            let all: BinaryArray = each().map(|n| n.map(bytes)).collect();
            cast(&all, of).expect("bytes")
        }
        D::FixedSizeBinary(width) => {
            let all = each().map(|n| {
                let bytes = |n: u64| {
                    (0..*width as u64)
                        .map(move |at| (mix(n, at) >> 8) as u8)
                        .collect::<Vec<u8>>()
                };
                n.map(bytes)
            });
            let made = FixedSizeBinaryArray::try_from_sparse_iter_with_size(all, *width);
            Arc::new(made.expect("bytes of one width"))
        }
        D::Dictionary(_, value) => {
            // As many values as the smallest index counts.
            let few: Vec<Option<u64>> = each().map(|n| n.map(|n| n % 100)).collect();
            cast(&values(value, &few), of).expect("a dictionary")
        }
        nested => children(nested, numbers),
    }
}

fn temporal(of: &DataType, numbers: &[Option<u64>]) -> ArrayRef {
    use DataType as D;
    const DAY: i64 = 86_400_000_000;
    match of {
        D::Time32(TimeUnit::Second) => primitive::<Time32SecondType>(of, numbers, |n| (n % 86_400) as i32),
        D::Time32(_) => primitive::<Time32MillisecondType>(of, numbers, |n| (n % 86_400_000) as i32),
        D::Time64(TimeUnit::Microsecond) => {
            primitive::<Time64MicrosecondType>(of, numbers, |n| micros(n).rem_euclid(DAY))
        }
        D::Time64(_) => primitive::<Time64NanosecondType>(of, numbers, |n| {
            in_unit(TimeUnit::Nanosecond, micros(n).rem_euclid(DAY))
        }),
        D::Timestamp(unit, _) | D::Duration(unit) => {
            let plain: Int64Array = numbers.iter().map(|n| n.map(|n| in_unit(*unit, micros(n)))).collect();
            cast(&plain, of).expect("an instant or a length of time")
        }
        D::Interval(IntervalUnit::YearMonth) => primitive::<IntervalYearMonthType>(of, numbers, |n| n as i32),
        D::Interval(IntervalUnit::DayTime) => {
            primitive::<IntervalDayTimeType>(of, numbers, |n| IntervalDayTime::new(n as i32, (n >> 32) as i32))
        }
        _ => primitive::<IntervalMonthDayNanoType>(of, numbers, |n| {
            IntervalMonthDayNano::new(n as i32, (n >> 32) as i32, mix(n, 4) as i64)
        }),
    }
}

/// How many items each list has.
fn lengths(numbers: &[Option<u64>]) -> Vec<usize> {
    let of = |number: &Option<u64>| number.map_or(0, |number| mix(number, 5) as usize % 4);
    numbers.iter().map(of).collect()
}

/// The items of all lists, some null if they may be.
fn items(field: &Field, numbers: &[Option<u64>], lengths: &[usize]) -> ArrayRef {
    let of_list = |(number, length): (&Option<u64>, &usize)| {
        let number = number.unwrap_or(0);
        (0..*length as u64)
            .map(move |at| mix(number, 6 + at))
            .map(|item| (!field.is_nullable() || item % 5 > 0).then_some(item >> 3))
            .collect::<Vec<_>>()
    };
    let all: Vec<Option<u64>> = numbers.iter().zip(lengths).flat_map(of_list).collect();
    array(field, &all)
}

fn children(of: &DataType, numbers: &[Option<u64>]) -> ArrayRef {
    use DataType as D;
    let nulls =
        || Some(NullBuffer::from_iter(numbers.iter().map(Option::is_some))).filter(|nulls| nulls.null_count() > 0);
    let lengths = lengths(numbers);
    match of {
        D::List(item) => {
            let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
            Arc::new(ListArray::new(
                Arc::clone(item),
                offsets,
                items(item, numbers, &lengths),
                nulls(),
            ))
        }
        D::LargeList(item) => {
            let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
            Arc::new(LargeListArray::new(
                Arc::clone(item),
                offsets,
                items(item, numbers, &lengths),
                nulls(),
            ))
        }
        D::FixedSizeList(item, size) => {
            let values = items(item, numbers, &vec![*size as usize; numbers.len()]);
            Arc::new(FixedSizeListArray::new(Arc::clone(item), *size, values, nulls()))
        }
        D::Struct(fields) => {
            let ones = vec![1; numbers.len()];
            let column = |(place, field): (usize, &FieldRef)| {
                let salted: Vec<Option<u64>> = numbers.iter().map(|n| n.map(|n| mix(n, place as u64))).collect();
                items(field, &salted, &ones)
            };
            let columns = fields.iter().enumerate().map(column).collect();
            Arc::new(StructArray::new(fields.clone(), columns, nulls()))
        }
        D::Map(entries, sorted) => {
            let D::Struct(fields) = entries.data_type() else {
                panic!("the entries of a map are structs, not {entries}");
            };
            // No key twice in a map.
            let keys: Vec<Option<u64>> = lengths.iter().flat_map(|length| 0..*length as u64).map(Some).collect();
            let keys = match fields[0].data_type() {
                D::Utf8 => Arc::new(
                    keys.iter()
                        .map(|key| key.map(|key| format!("key {key}")))
                        .collect::<StringArray>(),
                ) as ArrayRef,
                _ => array(&fields[0], &keys),
            };
            let columns = vec![keys, items(&fields[1], numbers, &lengths)];
            let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
            let entries_of = StructArray::new(fields.clone(), columns, None);
            Arc::new(MapArray::new(
                Arc::clone(entries),
                offsets,
                entries_of,
                nulls(),
                *sorted,
            ))
        }
        other => panic!("tables have no columns of type {other}"),
    }
}
