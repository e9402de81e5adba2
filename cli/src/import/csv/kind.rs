//! What texts are: numbers, dates, times or no more than that.

use arrow::datatypes::{DataType, TimeUnit};

/// What the texts of a column can be, from narrow to wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing was seen.
    Nothing,
    /// `true` or `false`.
    Bool,
    /// A whole number of 64 bits.
    Int,
    /// Any other number.
    Float,
    /// A day.
    Date,
    /// A date and time without a zone.
    Local,
    /// A date and time with one.
    Timestamp,
    /// Anything.
    Text,
}

impl Kind {
    /// The narrowest kind of one text.
    pub fn of(text: &str) -> Self {
        if matches!(text, "true" | "false" | "TRUE" | "FALSE" | "True" | "False") {
            return Self::Bool;
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        // A leading zero or plus sign would be lost: such texts are codes, not numbers.
        let number = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
            && !(digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit());
        if number && text.parse::<i64>().is_ok() && text != "-0" {
            return Self::Int;
        }
        // An integer too large for 64 bits would be rounded.
        let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
        if number && !whole && text.parse::<f64>().is_ok_and(f64::is_finite) {
            return Self::Float;
        }
        date_or_time(text).unwrap_or(Self::Text)
    }

    /// What a text among JSON is: a date or a time only if it would be written so again.
    pub fn of_json(text: &str) -> Self {
        let kind = if text.contains([' ', '.']) {
            None
        } else {
            date_or_time(text)
        };
        kind.unwrap_or(Self::Text)
    }

    /// The narrowest kind that holds both.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, kind) | (kind, Self::Nothing) => kind,
            (Self::Int, Self::Float) | (Self::Float, Self::Int) => Self::Float,
            (left, right) if left == right => left,
            _ => Self::Text,
        }
    }

    /// The type of a column of such texts.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Date => DataType::Date32,
            // What Parquet, Delta and DuckDB have a type for, unlike seconds.
            Self::Local => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Nothing | Self::Text => DataType::Utf8,
        }
    }
}

/// What `2013-01-31`, `2013-01-31T10:00:00` and `2013-01-31T10:00:00Z` are, with a space for the T or not, and up to six digits
/// of a second. Other forms stay text, and so do days that there are not, such as the 31st of February.
fn date_or_time(text: &str) -> Option<Kind> {
    let number = |from: usize, form: &[u8]| -> Option<u32> {
        let digits = text.as_bytes().get(from..from + form.len())?;
        let fits = |(byte, form): (&u8, &u8)| match form {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        };
        let digits = digits.iter().zip(form).all(fits).then_some(&digits[form.len() - 2..])?;
        Some(u32::from(digits[0] - b'0') * 10 + u32::from(digits[1] - b'0'))
    };
    let (century, year) = (number(0, b"dd")?, number(2, b"dd")?);
    let (year, month, day) = (century * 100 + year, number(4, b"-dd")?, number(7, b"-dd")?);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if year == 0 || !(1..=days).contains(&day) {
        return None;
    }
    if text.len() == 10 {
        return Some(Kind::Date);
    }
    let hour = number(10, b"Tdd").or_else(|| number(10, b" dd"))?;
    if hour > 23 || number(13, b":dd")? > 59 || number(16, b":dd")? > 59 {
        return None;
    }
    let rest = text.get(19..)?;
    let (rest, kind) = match rest.strip_suffix('Z') {
        Some(rest) => (rest, Kind::Timestamp),
        None => (rest, Kind::Local),
    };
    let digits = match rest {
        "" => return Some(kind),
        rest => rest.strip_prefix('.')?,
    };
    ((1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(kind)
}
