//! Which values are others after they were converted.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, TimeUnit};

/// Which rows of nested columns of one type differ.
pub fn changed_nested(column: &ArrayRef, back: &ArrayRef) -> BooleanArray {
    let all = column.as_ref() == back.as_ref();
    let differs = |row: usize| !all && column.slice(row, 1).as_ref() != back.slice(row, 1).as_ref();
    (0..column.len()).map(|row| Some(differs(row))).collect()
}

/// Which texts are not what was made of them: those that could not be read, those with more digits behind the point than the
/// type keeps, whole numbers that a float has not, and times of day and offsets that the type has no place for.
pub fn changed_text(
    to: &DataType,
    column: &ArrayRef,
    converted: &ArrayRef,
) -> Result<BooleanArray, arrow::error::ArrowError> {
    let texts = cast_with_options(column, &DataType::Utf8View, &CastOptions::default())?;
    let texts = texts.as_string_view();
    let digits = digits(to);
    let floats = match to.is_floating() {
        true => Some(cast_with_options(
            converted,
            &DataType::Float64,
            &CastOptions::default(),
        )?),
        false => None,
    };
    let floats = floats.as_ref().map(|floats| floats.as_primitive::<Float64Type>());
    let lost = |row: usize| {
        let text = texts.value(row).trim();
        let (day, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, ""));
        digits.is_some_and(|digits| fraction(text) > digits)
            || floats.is_some_and(|floats| is_rounded(text, floats.value(row)))
            || match to {
                DataType::Date32 => something(time) && something(day),
                DataType::Timestamp(_, None) => time
                    .rsplit_once(['+', '-'])
                    .is_some_and(|(_, offset)| something(offset)),
                _ => false,
            }
    };
    let changed = |row: usize| texts.is_valid(row) && (converted.is_null(row) || lost(row));
    Ok((0..texts.len()).map(|row| Some(changed(row))).collect())
}

/// True if a text has other digits than zeros.
fn something(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'1'..=b'9'))
}

/// True if a whole number, or one that is too large, became another one.
fn is_rounded(text: &str, float: f64) -> bool {
    if float.is_infinite() {
        return something(text);
    }
    text.parse::<i128>().is_ok_and(|whole| float as i128 != whole)
}

/// How many digits behind the point a type keeps, if it drops others unseen.
fn digits(of: &DataType) -> Option<usize> {
    match of {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => Some(usize::try_from(*scale).unwrap_or(0)),
        DataType::Timestamp(unit, _) | DataType::Time32(unit) | DataType::Time64(unit) => Some(match unit {
            TimeUnit::Second => 0,
            TimeUnit::Millisecond => 3,
            TimeUnit::Microsecond => 6,
            TimeUnit::Nanosecond => 9,
        }),
        _ => None,
    }
}

/// Digits behind the point of a text, without zeros at the end.
fn fraction(text: &str) -> usize {
    let Some((_, fraction)) = text.split_once('.') else {
        return 0;
    };
    let len = fraction.bytes().take_while(u8::is_ascii_digit).count();
    fraction[..len].trim_end_matches('0').len()
}
