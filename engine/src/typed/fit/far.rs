//! Texts of dates and times whose years have a sign, as ISO 8601 has those before 0 and after 9999: `+10000-01-01T00:00:00Z`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use arrow::error::ArrowError;

const DAY: i128 = 86_400;
const NANOS: i128 = 1_000_000_000;

/// What texts become as a type, given what Arrow makes of them, which reads no signed years of times and few of dates.
pub fn with_far_times(texts: &ArrayRef, converted: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let to = converted.data_type().clone();
    if !matches!(to, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)) {
        return Ok(converted);
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let texts = cast_with_options(texts, &DataType::Utf8View, &options)?;
    let texts: &StringViewArray = texts.as_string_view();
    if !texts.iter().flatten().any(is_signed) {
        return Ok(converted);
    }
    let values = cast_with_options(&converted, &DataType::Int64, &options)?;
    let values = texts
        .iter()
        .zip(values.as_primitive::<Int64Type>())
        .map(|(text, value)| match text {
            Some(text) if is_signed(text) => parse(text.trim(), &to),
            _ => value,
        });
    let values: ArrayRef = Arc::new(values.collect::<Int64Array>());
    match &to {
        // Arrow has no way from integers of 64 bits.
        DataType::Date32 => {
            let days = cast_with_options(&values, &DataType::Int32, &CastOptions::default())?;
            cast_with_options(&days, &to, &options)
        }
        _ => cast_with_options(&values, &to, &options),
    }
}

fn is_signed(text: &str) -> bool {
    text.trim_start().starts_with(['+', '-'])
}

/// The value that a text stands for, if it does so exactly.
fn parse(text: &str, to: &DataType) -> Option<i64> {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let days = i128::from(parse_date(date)?);
    let (nanos, zoned) = time.map_or(Some((0, false)), parse_time)?;
    let nanos = days * DAY * NANOS + nanos;
    let unit = match to {
        DataType::Date32 => DAY * NANOS,
        DataType::Date64 => NANOS / 1000,
        // Without an offset nobody knows what instant it is.
        DataType::Timestamp(_, Some(_)) if !zoned => return None,
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => NANOS,
            TimeUnit::Millisecond => NANOS / 1000,
            TimeUnit::Microsecond => 1000,
            TimeUnit::Nanosecond => 1,
        },
        _ => return None,
    };
    let exact = nanos.rem_euclid(unit) == 0;
    i64::try_from(nanos.div_euclid(unit)).ok().filter(|_| exact)
}

/// The days from 1970 to a date with a signed year of four to twelve digits.
fn parse_date(text: &str) -> Option<i64> {
    let mut parts = text.get(1..)?.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !(4..=12).contains(&year.len()) {
        return None;
    }
    let year: i64 = number(year, year.len())?;
    let year = if text.starts_with('-') { -year } else { year };
    let (month, day) = (number(month, 2)?, number(day, 2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=last).contains(&day) {
        return None;
    }
    // Years that begin in March end with the day that not every year has.
    let year = year - i64::from(month <= 2);
    let days = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    Some(era * 146_097 + year * 365 + year / 4 - year / 100 + days - 719_468)
}

/// The nanoseconds since midnight, less the offset, and whether there is one.
fn parse_time(text: &str) -> Option<(i128, bool)> {
    let (clock, offset) = match text.find(['Z', 'z', '+', '-']) {
        Some(at) => (&text[..at], Some(&text[at..])),
        None => (text, None),
    };
    let (clock, fraction) = match clock.split_once('.') {
        Some((clock, fraction)) => (
            clock,
            number(fraction, fraction.len())? * 10i64.checked_pow(9 - digits(fraction)?)?,
        ),
        None => (clock, 0),
    };
    let mut parts = clock.split(':').map(|part| number(part, 2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = hour * 3600 + minute * 60 + second;
    let offset_seconds = match offset {
        None | Some("Z" | "z") => 0,
        Some(offset) => {
            let (hours, minutes) = offset.get(1..)?.split_once(':')?;
            let minutes = number(hours, 2)? * 60 + number(minutes, 2)?;
            if offset.starts_with('-') {
                -60 * minutes
            } else {
                60 * minutes
            }
        }
    };
    Some((
        i128::from(seconds - offset_seconds) * NANOS + i128::from(fraction),
        offset.is_some(),
    ))
}

/// How many digits of a second there are, if the type with the most of them can have so many.
fn digits(fraction: &str) -> Option<u32> {
    u32::try_from(fraction.len())
        .ok()
        .filter(|count| (1..=9).contains(count))
}

/// A number of so many digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_times_are_read() {
        let local = |unit| DataType::Timestamp(unit, None);
        let utc = DataType::Timestamp(TimeUnit::Second, Some("UTC".into()));
        for (text, to, expected) in [
            ("+292277026596-12-04T15:30:07", local(TimeUnit::Second), Some(i64::MAX)),
            ("-292277022657-01-27T08:29:52", local(TimeUnit::Second), Some(i64::MIN)),
            ("-292277022657-01-27T08:29:51", local(TimeUnit::Second), None),
            ("+5881580-07-11", DataType::Date32, Some(i32::MAX.into())),
            ("-5877641-06-23", DataType::Date32, Some(i32::MIN.into())),
            ("+1970-01-02T00:00:00", DataType::Date32, Some(1)),
            ("+1970-01-02T00:00:01", DataType::Date32, None),
            ("+1970-01-01T00:00:00.0015", local(TimeUnit::Millisecond), None),
            ("+1970-01-01T00:00:00.001500", local(TimeUnit::Microsecond), Some(1500)),
            ("-0001-12-31", DataType::Date64, Some(-719_529 * 86_400_000)),
            ("+1970-01-01T01:00:00+01:00", utc.clone(), Some(0)),
            ("+1970-01-01T00:00:00-00:30", utc.clone(), Some(1800)),
            ("+1970-01-01T00:00:00Z", utc.clone(), Some(0)),
            ("+1970-01-01T00:00:00", utc.clone(), None),
            ("+1970-01-01T00:00:00.Z", utc, None),
            ("+1969-02-29", DataType::Date32, None),
            ("-0004-02-29", DataType::Date32, Some(-720930)),
            ("+1970-13-01", DataType::Date32, None),
            ("+19700101", DataType::Date32, None),
            ("-1", DataType::Date32, None),
            ("+1970-01-01T24:00:00", local(TimeUnit::Second), None),
            ("+1970-01-01T00:00", local(TimeUnit::Second), None),
        ] {
            assert_eq!(parse(text, &to), expected, "{text} as {to}");
        }
    }
}
