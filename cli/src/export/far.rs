//! Dates and times that the calendar library does not show, or not in a way that is read again.
//!
//! For years other than 0 to 9999 ISO 8601 has signed ones: `+10000-01-01`, `-0001-12-31T23:59:59.5Z`. With a zone they are
//! shown as what they are in UTC, since nobody knows what its clocks will say; and so are times of which the zone was not whole
//! minutes from UTC, as those of most places were once: offsets are written without seconds.

use arrow::array::timezone::Tz;
use arrow::array::{Array, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampSecondType};
use arrow::error::ArrowError;
use arrow::temporal_conversions::as_datetime_with_timezone;

const DAY: i64 = 86_400;
/// The seconds at which the years 0 to 9999 begin and end.
const NEAR: std::ops::Range<i64> = -62_167_219_200..253_402_300_800;

/// A column of dates or times of which some are not shown by Arrow as they are read again.
pub struct FarTimes {
    values: Int64Array,
    /// Of these, so many are a second.
    per_second: i64,
    form: Form,
    /// Of instants, unless it is nothing but an offset.
    zone: Option<Tz>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Days, which are no seconds.
    Day,
    Local,
    Instant,
}

/// Since then every zone is whole minutes from UTC (1973; Liberia was the last).
const WHOLE_MINUTES: i128 = 94_694_400;

impl FarTimes {
    /// `None` if a column is of another type, or Arrow shows all of its values.
    ///
    /// # Errors
    /// Those of Arrow.
    pub fn of(column: &dyn Array) -> Result<Option<Self>, ArrowError> {
        let (per_second, form, zone) = match column.data_type() {
            DataType::Date32 => (1, Form::Day, None),
            DataType::Date64 => (1000, Form::Local, None),
            DataType::Timestamp(unit, None) => (per_second(*unit), Form::Local, None),
            DataType::Timestamp(unit, Some(zone)) => {
                let named = !zone.starts_with(['+', '-']) && zone.as_ref() != "UTC";
                let zone = named.then(|| zone.parse()).transpose()?;
                (per_second(*unit), Form::Instant, zone)
            }
            _ => return Ok(None),
        };
        let values = cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone();
        let times = Self {
            values,
            per_second,
            form,
            zone,
        };
        let any = (0..times.values.len()).any(|row| times.values.is_valid(row) && times.is_far(row));
        Ok(any.then_some(times))
    }

    /// A value as it is shown; `None` if Arrow shows it.
    pub fn show(&self, row: usize) -> Option<String> {
        self.is_far(row).then(|| {
            let (seconds, rest) = self.seconds(row);
            let (year, month, day) = civil(seconds.div_euclid(DAY.into()) as i64);
            let sign = match year {
                0..=9999 => "",
                10_000.. => "+",
                _ => "-",
            };
            let mut text = format!("{sign}{:04}-{month:02}-{day:02}", year.unsigned_abs());
            if self.form == Form::Day {
                return text;
            }
            let second = seconds.rem_euclid(DAY.into()) as i64;
            text.push_str(&format!(
                "T{:02}:{:02}:{:02}",
                second / 3600,
                second / 60 % 60,
                second % 60
            ));
            if rest > 0 {
                let digits = self.per_second.ilog10() as usize;
                text.push_str(&format!(".{rest:0digits$}"));
            }
            if self.form == Form::Instant {
                text.push('Z');
            }
            text
        })
    }

    /// The seconds since 1970, and what is left of the last one.
    fn seconds(&self, row: usize) -> (i128, i64) {
        let value = self.values.value(row);
        match self.form {
            Form::Day => (i128::from(value) * i128::from(DAY), 0),
            _ => (
                i128::from(value.div_euclid(self.per_second)),
                value.rem_euclid(self.per_second),
            ),
        }
    }

    fn is_far(&self, row: usize) -> bool {
        let (seconds, _) = self.seconds(row);
        // In another zone it may be another year.
        let margin = if self.form == Form::Instant { DAY } else { 0 };
        seconds < (NEAR.start + margin).into() || seconds >= (NEAR.end - margin).into() || self.has_odd_offset(seconds)
    }

    fn has_odd_offset(&self, seconds: i128) -> bool {
        let Some(zone) = self.zone.filter(|_| seconds < WHOLE_MINUTES) else {
            return false;
        };
        let time = as_datetime_with_timezone::<TimestampSecondType>(seconds as i64, zone);
        time.is_some_and(|time| (time.naive_local() - time.naive_utc()).num_seconds() % 60 != 0)
    }
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// The year, month and day of a number of days since 1970, in the calendar of today, which is taken to be that of all times.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years begin in March here: so the day that not every year has is the last one. Four hundred years have 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (
        day - (153 * month + 2) / 5 + 1,
        if month < 10 { month + 3 } else { month - 9 },
    );
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Date32Array, TimestampMillisecondArray, TimestampSecondArray};

    use super::*;

    #[test]
    fn years_of_any_size_are_shown_with_a_sign() {
        let shown = |column: ArrayRef| {
            let times = FarTimes::of(&column).expect("a column").expect("far ones");
            (0..column.len()).map(|row| times.show(row)).collect::<Vec<_>>()
        };
        let some = |texts: &[&str]| texts.iter().map(|text| Some((*text).to_owned())).collect::<Vec<_>>();
        let days = [2_932_897, -719_529, i32::MAX, i32::MIN];
        let expected = ["+10000-01-01", "-0001-12-31", "+5881580-07-11", "-5877641-06-23"];
        assert_eq!(shown(Arc::new(Date32Array::from_iter_values(days))), some(&expected));
        let seconds = [i64::MAX, i64::MIN];
        let expected = ["+292277026596-12-04T15:30:07", "-292277022657-01-27T08:29:52"];
        assert_eq!(
            shown(Arc::new(TimestampSecondArray::from_iter_values(seconds))),
            some(&expected)
        );
        let rome = TimestampSecondArray::from_iter_values([-6_000_000_000]).with_timezone("Europe/Rome");
        assert_eq!(
            shown(Arc::new(rome)),
            some(&["1779-11-13T13:20:00Z"]),
            "0:49:56 from UTC then"
        );
        let zoned = TimestampMillisecondArray::from_iter_values([253_402_300_800_007, 0]).with_timezone("Europe/Rome");
        assert_eq!(
            shown(Arc::new(zoned)),
            [Some("+10000-01-01T00:00:00.007Z".to_owned()), None]
        );
        assert!(
            FarTimes::of(&Date32Array::from(vec![0, 2_932_896, -719_528]))
                .expect("a column")
                .is_none()
        );
    }
}
