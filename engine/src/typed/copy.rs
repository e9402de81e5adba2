//! Rows of several columns of one type, copied stretch by stretch.
//!
//! Arrow's `interleave` looks at each row by itself. Where rows come in short stretches, a copy for each stretch is several
//! times as fast.

use arrow::array::{Array, ArrayData, ArrayRef, make_array};
use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};
use arrow::error::ArrowError;

/// Rows `from..to` of a source, by its number.
pub type Stretch = (usize, usize, usize);

/// The rows of `stretches`, one after the other, which are `rows`; `None` for types that are not copied so.
///
/// # Errors
/// If offsets of 32 bits do not suffice.
pub fn copy(
    sources: &[ArrayRef],
    stretches: impl Iterator<Item = Stretch> + Clone,
    rows: usize,
) -> Option<Result<ArrayRef, ArrowError>> {
    let data_type = sources.first()?.data_type().clone();
    let built = match &data_type {
        DataType::Utf8 | DataType::Binary => variable::<i32>(&data_type, sources, stretches, rows),
        DataType::LargeUtf8 | DataType::LargeBinary => variable::<i64>(&data_type, sources, stretches, rows),
        other => {
            let width = other.primitive_width()?;
            fixed(&data_type, width, sources, stretches, rows)
        }
    };
    Some(built.map(make_array))
}

fn nulls(sources: &[ArrayRef], stretches: impl Iterator<Item = Stretch>, rows: usize) -> Option<NullBuffer> {
    if sources.iter().all(|source| source.null_count() == 0) {
        return None;
    }
    let mut valid = arrow::array::BooleanBufferBuilder::new(rows);
    for (source, from, to) in stretches {
        match sources[source].nulls() {
            Some(nulls) => {
                let bits: BooleanBuffer = nulls.inner().slice(from, to - from);
                valid.append_buffer(&bits);
            }
            None => valid.append_n(to - from, true),
        }
    }
    Some(NullBuffer::new(valid.finish())).filter(|nulls| nulls.null_count() > 0)
}

fn fixed(
    data_type: &DataType,
    width: usize,
    sources: &[ArrayRef],
    stretches: impl Iterator<Item = Stretch> + Clone,
    rows: usize,
) -> Result<ArrayData, ArrowError> {
    let data: Vec<ArrayData> = sources.iter().map(|source| source.to_data()).collect();
    let values: Vec<&[u8]> = data
        .iter()
        .map(|data| &data.buffers()[0].as_slice()[data.offset() * width..])
        .collect();
    let mut out = MutableBuffer::with_capacity(rows * width);
    for (source, from, to) in stretches.clone() {
        out.extend_from_slice(&values[source][from * width..to * width]);
    }
    ArrayData::builder(data_type.clone())
        .len(rows)
        .add_buffer(out.into())
        .nulls(nulls(sources, stretches, rows))
        .build()
}

fn variable<O: ArrowNativeType + std::ops::Sub<Output = O> + std::ops::Add<Output = O>>(
    data_type: &DataType,
    sources: &[ArrayRef],
    stretches: impl Iterator<Item = Stretch> + Clone,
    rows: usize,
) -> Result<ArrayData, ArrowError> {
    let data: Vec<ArrayData> = sources.iter().map(|source| source.to_data()).collect();
    let columns: Vec<(&[O], &[u8])> = data
        .iter()
        .map(|data| {
            let offsets: &[O] = match data.buffers()[0].is_empty() {
                true => &[],
                false => &data.buffers()[0].typed_data::<O>()[data.offset()..],
            };
            (offsets, data.buffers()[1].as_slice())
        })
        .collect();
    let range = |(source, from, to): Stretch| {
        let offsets = columns[source].0;
        (offsets[from].as_usize(), offsets[to].as_usize())
    };
    let filled = || stretches.clone().filter(|(_, from, to)| from < to);
    let bytes: usize = filled().map(range).map(|(start, end)| end - start).sum();
    if O::from_usize(bytes).is_none() {
        let message = format!("{bytes} bytes are more than the offsets of type {data_type} count");
        return Err(ArrowError::InvalidArgumentError(message));
    }
    let mut offsets: Vec<O> = Vec::with_capacity(rows + 1);
    offsets.push(O::usize_as(0));
    let mut out = MutableBuffer::with_capacity(bytes);
    for stretch in filled() {
        let (source, from, to) = stretch;
        let (start, end) = range(stretch);
        let (own, values) = columns[source];
        let (first, at) = (own[from], O::usize_as(out.len()));
        offsets.extend(own[from + 1..=to].iter().map(|&offset| offset - first + at));
        out.extend_from_slice(&values[start..end]);
    }
    ArrayData::builder(data_type.clone())
        .len(rows)
        .add_buffer(Buffer::from_vec(offsets))
        .add_buffer(out.into())
        .nulls(nulls(sources, stretches, rows))
        .build()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Int64Array, StringArray};
    use arrow::compute::interleave;

    use super::*;

    #[test]
    fn what_is_copied_is_what_interleaving_makes() {
        let numbers = |from: i64, nulls: bool| -> ArrayRef {
            Arc::new(
                (from..from + 50)
                    .map(|n| (!nulls || n % 3 > 0).then_some(n))
                    .collect::<Int64Array>(),
            )
        };
        let texts = |from: i64| -> ArrayRef {
            let text = |n: i64| (n % 5 > 0).then(|| "ä".repeat((n % 7) as usize));
            Arc::new((from..from + 50).map(text).collect::<StringArray>())
        };
        let bytes = |from: i64| arrow::compute::cast(&texts(from), &DataType::LargeBinary).expect("bytes");
        let cases: [Vec<ArrayRef>; 5] = [
            vec![numbers(0, false), numbers(100, false).slice(3, 40)],
            vec![numbers(0, true).slice(1, 40), numbers(100, false)],
            vec![texts(0), texts(9).slice(5, 40)],
            vec![bytes(0).slice(2, 40), bytes(9)],
            vec![Arc::new(StringArray::new_null(0)), texts(3)],
        ];
        for sources in cases {
            let mut stretches = vec![];
            for step in 0..20 {
                let source = usize::from(sources[0].is_empty()).max(step % 2);
                let from = step * 7 % 33;
                stretches.push((source, from, from + step % 6));
            }
            let rows: Vec<(usize, usize)> = stretches
                .iter()
                .flat_map(|&(source, from, to)| (from..to).map(move |row| (source, row)))
                .collect();
            let copied = copy(&sources, stretches.iter().copied(), rows.len())
                .expect("copied")
                .expect("small");
            let refs: Vec<&dyn Array> = sources.iter().map(|source| source.as_ref()).collect();
            assert_eq!(&copied, &interleave(&refs, &rows).expect("rows"));
        }
        let bits: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
        assert!(copy(&[bits], std::iter::empty(), 0).is_none());
    }
}
