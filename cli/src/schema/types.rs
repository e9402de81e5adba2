//! The words for types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};

use super::pieces::{Piece, Problem};

/// Types inside of one another: more would be a mistake, or malice.
const DEEPEST: usize = 32;

/// A column of this name, given what follows the colon.
pub fn field(name: String, piece: Piece<'_>) -> Result<Field, Problem> {
    named(name, piece, 0)
}

fn named(name: String, piece: Piece<'_>, depth: usize) -> Result<Field, Problem> {
    let (piece, required) = piece.not_null();
    Ok(Field::new(name, data_type(piece, depth)?, !required))
}

/// A column inside of a type, with the name `usual` if it has none of its own.
fn item(usual: &str, piece: Piece<'_>, depth: usize) -> Result<Field, Problem> {
    let (name, rest) = piece.named()?;
    named(name.unwrap_or_else(|| usual.to_owned()), rest, depth)
}

/// A column of a struct.
fn member(piece: Piece<'_>, depth: usize) -> Result<Field, Problem> {
    match piece.named()? {
        (Some(name), rest) => named(name, rest, depth),
        (None, _) => {
            let what = format!("\"{}\": write NAME:TYPE for each column of a struct", piece.text());
            Err(Problem::at(piece, what))
        }
    }
}

fn data_type(piece: Piece<'_>, depth: usize) -> Result<DataType, Problem> {
    if depth > DEEPEST {
        return Err(Problem::at(
            piece,
            format!("more than {DEEPEST} types are inside of one another"),
        ));
    }
    let (word, brackets) = piece.bracketed()?;
    let word = word.to_ascii_lowercase();
    let found = match brackets {
        None => plain(&word),
        Some(('(', inside)) => {
            let arguments: Vec<&str> = inside.arguments()?.iter().map(|piece| piece.text()).collect();
            with_arguments(&word, &arguments)
        }
        Some((_, inside)) => nested(&word, &inside.arguments()?, depth + 1)?,
    };
    found.ok_or_else(|| unknown(piece))
}

fn unknown(piece: Piece<'_>) -> Problem {
    let what = format!(
        "the unknown type \"{}\"; known are: bool, int8 to int64, uint8 to uint64, float16 to float64, text, large_text, text_view, \
         binary, large_binary, binary_view, fixed(BYTES), date, date64, time(UNIT), timestamp(UNIT), timestamp(UNIT, ZONE), \
         duration(UNIT), decimal(DIGITS, SCALE), decimal32 and decimal64 alike, interval(month_day_nano), list<TYPE>, \
         large_list<TYPE>, fixed_list<TYPE, LENGTH>, struct<NAME: TYPE, ...>, map<TYPE, TYPE>, dictionary<TYPE, TYPE>; units are \
         s, ms, us, ns",
        piece.text()
    );
    Problem::at(piece, what)
}

fn plain(word: &str) -> Option<DataType> {
    Some(match word {
        "bool" | "boolean" => DataType::Boolean,
        "int8" => DataType::Int8,
        "int16" => DataType::Int16,
        "int32" | "int" => DataType::Int32,
        "int64" | "bigint" => DataType::Int64,
        "uint8" => DataType::UInt8,
        "uint16" => DataType::UInt16,
        "uint32" => DataType::UInt32,
        "uint64" => DataType::UInt64,
        "float16" => DataType::Float16,
        "float32" | "float" => DataType::Float32,
        "float64" | "double" => DataType::Float64,
        "text" | "string" | "utf8" => DataType::Utf8,
        "large_text" | "large_string" | "large_utf8" => DataType::LargeUtf8,
        "text_view" | "string_view" | "utf8_view" => DataType::Utf8View,
        "binary" | "bytes" => DataType::Binary,
        "large_binary" => DataType::LargeBinary,
        "binary_view" => DataType::BinaryView,
        "date" | "date32" => DataType::Date32,
        "date64" => DataType::Date64,
        _ => return None,
    })
}

fn unit(text: &str) -> Option<TimeUnit> {
    Some(match text.to_ascii_lowercase().as_str() {
        "s" => TimeUnit::Second,
        "ms" => TimeUnit::Millisecond,
        "us" => TimeUnit::Microsecond,
        "ns" => TimeUnit::Nanosecond,
        _ => return None,
    })
}

fn with_arguments(word: &str, arguments: &[&str]) -> Option<DataType> {
    Some(match (word, arguments) {
        ("fixed", [len]) => DataType::FixedSizeBinary(len.parse().ok().filter(|&len| len > 0)?),
        ("time", [of]) => match unit(of)? {
            unit @ (TimeUnit::Second | TimeUnit::Millisecond) => DataType::Time32(unit),
            unit => DataType::Time64(unit),
        },
        ("timestamp", [of]) => DataType::Timestamp(unit(of)?, None),
        ("timestamp", [of, zone]) if !zone.is_empty() => DataType::Timestamp(unit(of)?, Some((*zone).into())),
        ("duration", [of]) => DataType::Duration(unit(of)?),
        ("decimal" | "decimal32" | "decimal64" | "decimal256", [digits, scale]) => {
            let (digits, scale) = (digits.parse::<u8>().ok()?, scale.parse::<i8>().ok()?);
            match (word, digits) {
                ("decimal", 1..=38) => DataType::Decimal128(digits, scale),
                ("decimal", 39..=76) | ("decimal256", 1..=76) => DataType::Decimal256(digits, scale),
                ("decimal32", 1..=9) => DataType::Decimal32(digits, scale),
                ("decimal64", 1..=18) => DataType::Decimal64(digits, scale),
                _ => return None,
            }
        }
        ("interval", ["year_month"]) => DataType::Interval(IntervalUnit::YearMonth),
        ("interval", ["day_time"]) => DataType::Interval(IntervalUnit::DayTime),
        ("interval", ["month_day_nano"]) => DataType::Interval(IntervalUnit::MonthDayNano),
        _ => return None,
    })
}

fn nested(word: &str, arguments: &[Piece<'_>], depth: usize) -> Result<Option<DataType>, Problem> {
    let of_list = |piece: &Piece<'_>| -> Result<FieldRef, Problem> { item("item", *piece, depth).map(Arc::new) };
    Ok(Some(match (word, arguments) {
        ("list", [of]) => DataType::List(of_list(of)?),
        ("large_list", [of]) => DataType::LargeList(of_list(of)?),
        ("fixed_list", [of, length]) => {
            let length_of = length.text().parse().ok().filter(|&length: &i32| length > 0);
            let length = length_of.ok_or_else(|| {
                let what = format!("\"{}\" is no length of a list", length.text());
                Problem::at(*length, what)
            })?;
            DataType::FixedSizeList(of_list(of)?, length)
        }
        ("struct", members) => {
            let mut fields: Vec<Field> = Vec::with_capacity(members.len());
            for piece in members {
                let field = member(*piece, depth)?;
                if fields.iter().any(|other| other.name() == field.name()) {
                    let what = format!("two columns of a struct are called \"{}\"", field.name());
                    return Err(Problem::at(*piece, what));
                }
                fields.push(field);
            }
            DataType::Struct(Fields::from(fields))
        }
        ("map" | "sorted_map", [key, value]) => {
            // A key is never null, whether or not that is said.
            let key = item("key", *key, depth)?.with_nullable(false);
            let entries = Fields::from(vec![key, item("value", *value, depth)?]);
            let entries = Field::new("entries", DataType::Struct(entries), false);
            DataType::Map(Arc::new(entries), word == "sorted_map")
        }
        ("dictionary", [key, value]) => {
            let of_key = data_type(*key, depth)?;
            if !of_key.is_dictionary_key_type() {
                let what = format!(
                    "\"{}\" is no type that numbers the values of a dictionary: int8 to uint64 are",
                    key.text()
                );
                return Err(Problem::at(*key, what));
            }
            DataType::Dictionary(Box::new(of_key), Box::new(data_type(*value, depth)?))
        }
        _ => return Ok(None),
    }))
}
