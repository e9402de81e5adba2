//! Times as ORC has them: seconds since 2015, and nanoseconds.

use arrow::datatypes::TimeUnit;
use orc_rust::proto::stream::Kind as StreamKind;

/// Seconds from 1970 to ORC's epoch, 2015-01-01, in UTC.
const EPOCH: i64 = 1_420_070_400;
/// The kind of the stream that marks times in the last second before 1970 in files of earlier versions of Kodiak, which wrote them as those
/// of the first second after it. No other reader looks at this kind.
pub(crate) const MARKS: StreamKind = StreamKind::DictionaryCount;
/// Nanoseconds in a second.
const SECOND: i64 = 1_000_000_000;

/// Units in a second.
pub(crate) fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => SECOND,
    }
}

/// A time's seconds and nanoseconds as they are stored.
pub(crate) fn split(unit: TimeUnit, value: i64) -> (i64, i64) {
    let units = per_second(unit);
    let (second, nano) = (value.div_euclid(units), value.rem_euclid(units) * (SECOND / units));
    let (second, nano) = match (second, nano) {
        // Readers take a second away again where there are nanoseconds before 1970 (ORC-763). This second would then be the first one
        // after it, so its nanoseconds count back from there, as the ORC library of C++ has them in all times before 1970.
        (-1, 1_000_000..) => (0, nano - SECOND),
        (..-1, 1_000_000..) => (second + 1, nano),
        other => other,
    };
    (second.wrapping_sub(EPOCH), trim(nano))
}

/// The seconds since 1970 of a stored time, and its nanoseconds in that second. `marked` are those that earlier versions of Kodiak wrote a
/// second late. `None` if it is malformed.
pub(crate) fn joined(second: i64, stored: i64, marked: bool) -> Option<(i64, i64)> {
    let zeros = (stored & 7) as u32;
    let nano = match zeros {
        0 => stored >> 3,
        _ => (stored >> 3).checked_mul(10i64.pow(zeros + 1))?,
    };
    let second = second.wrapping_add(EPOCH);
    let late = (second < 0 && nano > 999_999) || marked;
    let second = second.wrapping_sub(late.into());
    match nano {
        0..SECOND => Some((second, nano)),
        _ if (-SECOND + 1..0).contains(&nano) => Some((second.wrapping_sub(1), nano + SECOND)),
        _ => None,
    }
}

/// Nanoseconds with two or more trailing zeros cut off; how many, less one, is told in the three low bits.
fn trim(nanos: i64) -> i64 {
    if nanos == 0 || nanos % 100 != 0 {
        return nanos << 3;
    }
    let (mut nanos, mut zeros) = (nanos / 100, 1);
    while nanos % 10 == 0 && zeros < 7 {
        nanos /= 10;
        zeros += 1;
    }
    nanos << 3 | zeros
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_around_1970_are_stored_as_other_libraries_read_them() {
        let micros = |value: i64| split(TimeUnit::Microsecond, value);
        // 500 ms before, whose seven zeros are cut off.
        assert_eq!(micros(-500_000), (-EPOCH, -5 << 3 | 7));
        assert_eq!(micros(-1_500_000), (-1 - EPOCH, 5 << 3 | 7));
        // Up to 999,999 ns nothing is taken away.
        assert_eq!(micros(-999_001), (-1 - EPOCH, 999 << 3 | 2));
        assert_eq!(micros(-1), (-EPOCH, -1 << 3 | 2));
        for value in [
            -2_000_001, -1_999_999, -1_000_001, -1_000_000, -999_999, -999_000, -1, 0, 1, 999_999,
        ] {
            let (second, nano) = micros(value);
            let found = joined(second, nano, false).map(|(second, nano)| second * 1_000_000 + nano / 1000);
            assert_eq!(found, Some(value));
        }
        for value in [i64::MIN, i64::MAX] {
            let (second, nano) = split(TimeUnit::Second, value);
            assert_eq!(joined(second, nano, false), Some((value, 0)));
        }
        // All of a time before 1970 counts back, as pyarrow writes it.
        assert_eq!(joined(-1 - EPOCH, -5 << 3 | 7, false), Some((-2, 500_000_000)));
        // As earlier versions wrote what they marked.
        assert_eq!(joined(-EPOCH, 5 << 3 | 7, true), Some((-1, 500_000_000)));
        assert_eq!(joined(-EPOCH, SECOND << 3, false), None);
        assert_eq!(joined(-EPOCH, -SECOND << 3, false), None);
    }
}
