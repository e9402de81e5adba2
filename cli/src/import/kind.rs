//! What texts are: numbers, dates, times or no more than that.

use arrow::datatypes::{DataType, TimeUnit};

/// Numbers of so many digits are told apart by a float of 64 bits, whatever they are.
const FLOAT_DIGITS: usize = 15;
/// No float of 64 bits has more digits than these that are not zero.
const ALL_DIGITS: usize = 767;

/// What the texts of a column are: a bit for everything that was seen of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kinds(u16);

impl Kinds {
    /// `true` or `false`.
    pub const BOOL: Self = Self(1);
    /// A whole number of 64 bits, with a sign or without; the next three say more of it.
    const INTEGER: Self = Self(1 << 1);
    /// It is below zero.
    const NEGATIVE: Self = Self(1 << 2);
    /// It takes all 64 bits, and none for a sign.
    const UNSIGNED: Self = Self(1 << 3);
    /// A float would round it.
    const LONG: Self = Self(1 << 4);
    /// Another number, which is that of a float.
    const FLOAT: Self = Self(1 << 5);
    /// A day.
    const DATE: Self = Self(1 << 6);
    /// A date and time without a zone.
    const LOCAL: Self = Self(1 << 7);
    /// A date and time with one.
    const TIMESTAMP: Self = Self(1 << 8);
    /// Anything.
    pub const TEXT: Self = Self(1 << 9);

    const NUMBERS: Self = Self(Self::INTEGER.0 | Self::NEGATIVE.0 | Self::UNSIGNED.0 | Self::LONG.0 | Self::FLOAT.0);

    /// What a field of a CSV file is.
    pub fn of(text: &str) -> Self {
        if matches!(text, "true" | "false" | "TRUE" | "FALSE" | "True" | "False") {
            return Self::BOOL;
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        // A leading zero or plus sign would be lost: such texts are codes, not numbers. So are those of more than 64 bits.
        let number = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
            && !(digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit());
        if !number {
            return date_or_time(text).unwrap_or(Self::TEXT);
        }
        let float = || match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => None,
            false => float(text),
        };
        let found = if text == "-0" { None } else { integer(text) };
        found
            .or_else(float)
            .or_else(|| date_or_time(text))
            .unwrap_or(Self::TEXT)
    }

    /// What a number among JSON is.
    pub fn of_json_number(text: &str) -> Self {
        // An integer has no zero below zero.
        let found = if text == "-0" { None } else { integer(text) };
        found.or_else(|| float(text)).unwrap_or(Self::TEXT)
    }

    /// What a text among JSON is: a date or a time only if it would be written so again.
    pub fn of_json_text(text: &str) -> Self {
        let kind = if text.contains([' ', '.']) {
            None
        } else {
            date_or_time(text)
        };
        kind.unwrap_or(Self::TEXT)
    }

    /// What the texts of both are.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if there is all of this among the texts.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The narrowest type that holds them all as they are.
    pub fn data_type(self) -> DataType {
        match self {
            Self::BOOL => DataType::Boolean,
            Self::DATE => DataType::Date32,
            // What Parquet, Delta and DuckDB have a type for, unlike seconds.
            Self::LOCAL => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            numbers if numbers.0 != 0 && Self::NUMBERS.has(numbers) => numbers.number_type(),
            _ => DataType::Utf8,
        }
    }

    fn number_type(self) -> DataType {
        match (self.has(Self::FLOAT), self.has(Self::UNSIGNED)) {
            (true, _) if self.has(Self::LONG) => DataType::Utf8,
            (true, _) => DataType::Float64,
            (false, true) if self.has(Self::NEGATIVE) => DataType::Utf8,
            (false, true) => DataType::UInt64,
            (false, false) => DataType::Int64,
        }
    }
}

/// What a whole number of 64 bits is.
fn integer(text: &str) -> Option<Kinds> {
    let (number, kinds) = match text.parse::<i64>() {
        Ok(number) if number < 0 => (i128::from(number), Kinds::INTEGER.and(Kinds::NEGATIVE)),
        Ok(number) => (i128::from(number), Kinds::INTEGER),
        Err(_) => (
            i128::from(text.parse::<u64>().ok()?),
            Kinds::INTEGER.and(Kinds::UNSIGNED),
        ),
    };
    Some(match number as f64 as i128 == number {
        true => kinds,
        false => kinds.and(Kinds::LONG),
    })
}

/// That a number is a float's: the one that is nearest to it, written with as many digits, gives the same.
fn float(text: &str) -> Option<Kinds> {
    let float: f64 = text.parse().ok().filter(|float: &f64| float.is_finite())?;
    if text.len() <= FLOAT_DIGITS && float.is_normal() {
        return Some(Kinds::FLOAT);
    }
    let digits = |text: &str| -> String {
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        mantissa.chars().filter(char::is_ascii_digit).collect()
    };
    let written = digits(text);
    let written = written.trim_matches('0');
    let same = match written.len() {
        0 => true,
        len if len <= FLOAT_DIGITS && float.is_normal() => true,
        len if len <= ALL_DIGITS => digits(&format!("{float:.*e}", len - 1)) == written,
        _ => false,
    };
    same.then_some(Kinds::FLOAT)
}

/// What `2013-01-31`, `2013-01-31T10:00:00` and `2013-01-31T10:00:00Z` are, with a space for the T or not, and up to six digits
/// of a second. Other forms stay text, and so do days that there are not, such as the 31st of February.
fn date_or_time(text: &str) -> Option<Kinds> {
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
        return Some(Kinds::DATE);
    }
    let hour = number(10, b"Tdd").or_else(|| number(10, b" dd"))?;
    if hour > 23 || number(13, b":dd")? > 59 || number(16, b":dd")? > 59 {
        return None;
    }
    let rest = text.get(19..)?;
    let (rest, kind) = match rest.strip_suffix('Z') {
        Some(rest) => (rest, Kinds::TIMESTAMP),
        None => (rest, Kinds::LOCAL),
    };
    let digits = match rest {
        "" => return Some(kind),
        rest => rest.strip_prefix('.')?,
    };
    ((1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn together(texts: &[&str], of: fn(&str) -> Kinds) -> DataType {
        let kinds = texts.iter().map(|text| of(text));
        kinds.fold(Kinds::default(), Kinds::and).data_type()
    }

    #[test]
    fn whole_numbers_are_never_rounded() {
        let (int, unsigned, float, text) = (DataType::Int64, DataType::UInt64, DataType::Float64, DataType::Utf8);
        for (texts, expected) in [
            (&["9223372036854775807", "-9223372036854775808"][..], &int),
            (&["9223372036854775808", "0"], &unsigned),
            (&["18446744073709551615"], &unsigned),
            (&["18446744073709551615", "-1"], &text),
            (&["18446744073709551617"], &text),
            (&["-9223372036854775809"], &text),
            (&["9007199254740992", "-9007199254740992", "0.5"], &float),
            (&["9007199254740993", "0.5"], &text),
            (&["0.5", "1", "-9007199254740993"], &text),
            (&["18446744073709551615", "0.5"], &text),
            (&["1", "true"], &text),
        ] {
            for of in [Kinds::of, Kinds::of_json_number] {
                // JSON numbers have no words among them.
                if !texts.contains(&"true") {
                    assert_eq!(together(texts, of), *expected, "{texts:?}");
                }
            }
            assert_eq!(together(texts, Kinds::of), *expected, "{texts:?}");
        }
        assert_eq!(together(&["-0"], Kinds::of_json_number), float, "a float has that zero");
        assert_eq!(together(&["100000000000000000000"], Kinds::of_json_number), float);
    }

    #[test]
    fn other_numbers_are_floats_only_if_they_are_those_of_floats() {
        for text in [
            "0.1",
            "-1.50",
            "1e300",
            "0.30000000000000004",
            "0.10000000000000001",
            "1.000000000000000056e-01",
            "0.1000000000000000055511151231257827021181583404541015625",
            "0.10000000000000000000",
            "1.7976931348623157e308",
            "5e-324",
            "2.2250738585072014E-308",
            "0.000",
        ] {
            assert_eq!(Kinds::of(text), Kinds::FLOAT, "{text}");
        }
        for text in [
            "0.12345678901234567890",
            "9007199254740993.0",
            "0.100000000000000005",
            "1e309",
            "1e-400",
            "3.0e-324",
            "123456789.123456789123",
        ] {
            assert_eq!(Kinds::of(text), Kinds::TEXT, "{text}");
            assert_eq!(Kinds::of_json_number(text), Kinds::TEXT, "{text}");
        }
    }
}
