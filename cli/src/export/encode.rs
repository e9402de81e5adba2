//! JSON of values for which Arrow has none that could be read again.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrowPrimitiveType, AsArray, MapArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType, FieldRef,
    Float16Type, Float32Type, Float64Type, TimeUnit,
};
use arrow::error::ArrowError;
use arrow_json::writer::{NullableEncoder, make_encoder};
use arrow_json::{Encoder, EncoderFactory, EncoderOptions};

use super::far::FarTimes;

/// How values are written: NaN and infinities as texts, durations as numbers, years that have not four digits with a sign, keys of maps as texts, and nulls as such.
pub static OPTIONS: LazyLock<EncoderOptions> = LazyLock::new(|| {
    EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Exact))
});

/// How Arrow writes values by itself.
static PLAIN: LazyLock<EncoderOptions> = LazyLock::new(EncoderOptions::default);

/// Makes the encoders of these values.
#[derive(Debug)]
pub struct Exact;

impl EncoderFactory for Exact {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        match array.data_type() {
            DataType::Float16 => floats(field, array, array.as_primitive::<Float16Type>()),
            DataType::Float32 => floats(field, array, array.as_primitive::<Float32Type>()),
            DataType::Float64 => floats(field, array, array.as_primitive::<Float64Type>()),
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => match FarTimes::of(array)? {
                None => Ok(None),
                Some(times) => {
                    let near = make_encoder(field, array, &PLAIN)?;
                    let encoder = Times { times, near };
                    Ok(Some(NullableEncoder::new(Box::new(encoder), array.nulls().cloned())))
                }
            },
            DataType::Duration(unit) => Ok(Some(match unit {
                TimeUnit::Second => numbers(array.as_primitive::<DurationSecondType>()),
                TimeUnit::Millisecond => numbers(array.as_primitive::<DurationMillisecondType>()),
                TimeUnit::Microsecond => numbers(array.as_primitive::<DurationMicrosecondType>()),
                TimeUnit::Nanosecond => numbers(array.as_primitive::<DurationNanosecondType>()),
            })),
            DataType::Map(..) => {
                let map = array.as_map();
                if map.keys().data_type().is_nested() {
                    return Err(ArrowError::JsonError(
                        "JSON has no objects whose keys are lists, structs or maps".to_owned(),
                    ));
                }
                let encoder = Map {
                    map,
                    keys: make_encoder(field, map.keys(), options)?,
                    values: make_encoder(field, map.values(), options)?,
                };
                Ok(Some(NullableEncoder::new(Box::new(encoder), map.nulls().cloned())))
            }
            _ => Ok(None),
        }
    }
}

fn floats<'a, T: ArrowPrimitiveType<Native: Into<f64>>>(
    field: &'a FieldRef,
    array: &'a dyn Array,
    floats: &'a PrimitiveArray<T>,
) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
    let finite = |value: &T::Native| -> bool { Into::<f64>::into(*value).is_finite() };
    if floats.values().iter().all(finite) {
        return Ok(None);
    }
    let encoder = Floats {
        floats,
        finite: make_encoder(field, array, &PLAIN)?,
    };
    Ok(Some(NullableEncoder::new(Box::new(encoder), floats.nulls().cloned())))
}

/// Floats of which some are no numbers, or infinite.
struct Floats<'a, T: ArrowPrimitiveType> {
    floats: &'a PrimitiveArray<T>,
    finite: NullableEncoder<'a>,
}

impl<T: ArrowPrimitiveType<Native: Into<f64>>> Encoder for Floats<'_, T> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        let value: f64 = self.floats.value(index).into();
        match value {
            value if value.is_nan() => out.extend_from_slice(b"\"NaN\""),
            f64::INFINITY => out.extend_from_slice(b"\"inf\""),
            f64::NEG_INFINITY => out.extend_from_slice(b"\"-inf\""),
            _ => self.finite.encode(index, out),
        }
    }
}

/// Times of which some are of years that Arrow does not write.
struct Times<'a> {
    times: FarTimes,
    near: NullableEncoder<'a>,
}

impl Encoder for Times<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        match self.times.show(index) {
            Some(text) => out.extend([b"\"", text.as_bytes(), b"\""].concat()),
            None => self.near.encode(index, out),
        }
    }
}

fn numbers<T: ArrowPrimitiveType<Native = i64>>(array: &PrimitiveArray<T>) -> NullableEncoder<'_> {
    NullableEncoder::new(Box::new(Numbers(array)), array.nulls().cloned())
}

/// Values as the integers that they are.
struct Numbers<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl<T: ArrowPrimitiveType<Native = i64>> Encoder for Numbers<'_, T> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.value(index).to_string().as_bytes());
    }
}

/// Maps as objects, whatever their keys are.
struct Map<'a> {
    map: &'a MapArray,
    keys: NullableEncoder<'a>,
    values: NullableEncoder<'a>,
}

impl Encoder for Map<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        let offsets = self.map.value_offsets();
        let entries = offsets[index] as usize..offsets[index + 1] as usize;
        out.push(b'{');
        for (nth, entry) in entries.enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            let start = out.len();
            self.keys.encode(entry, out);
            // A number, true or false.
            if out.get(start) != Some(&b'"') {
                out.insert(start, b'"');
                out.push(b'"');
            }
            out.push(b':');
            match self.values.is_null(entry) {
                true => out.extend_from_slice(b"null"),
                false => self.values.encode(entry, out),
            }
        }
        out.push(b'}');
    }
}
