//! Which values are others after they were converted.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};

/// Which rows of nested columns of one type differ.
pub fn changed_nested(column: &ArrayRef, back: &ArrayRef) -> BooleanArray {
    let all = column.as_ref() == back.as_ref();
    let differs = |row: usize| !all && column.slice(row, 1).as_ref() != back.slice(row, 1).as_ref();
    (0..column.len()).map(|row| Some(differs(row))).collect()
}

/// Which texts are not what was made of them: those that could not be read, and those with more digits behind the point
/// than the type keeps.
pub fn changed_text(
    to: &DataType,
    column: &ArrayRef,
    converted: &ArrayRef,
) -> Result<BooleanArray, arrow::error::ArrowError> {
    let texts = cast_with_options(column, &DataType::Utf8View, &CastOptions::default())?;
    let texts = texts.as_string_view();
    let digits = digits(to);
    Ok((0..texts.len())
        .map(|row| {
            let lost = |digits: usize| fraction(texts.value(row)) > digits;
            Some(texts.is_valid(row) && (converted.is_null(row) || digits.is_some_and(lost)))
        })
        .collect())
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
