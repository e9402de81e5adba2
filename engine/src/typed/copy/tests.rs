use std::sync::Arc;

use arrow::array::{
    BooleanArray, Decimal128Array, Int8Array, Int64Array, NullArray, StringArray, TimestampSecondArray,
};
use arrow::compute::interleave;

use super::*;

/// Stretches of all lengths, up to some that are copied at once, and rows that take the place of others.
fn layout(sources: &[ArrayRef]) -> Layout {
    let mut layout = Layout::default();
    for step in 0..200 {
        let source = usize::from(sources[0].is_empty()).max(step % 2);
        let len = [0, 1, 2, 5, 9, 16, 17, 40][step * 3 % 8];
        let from = step * 7 % (sources[source].len() - len + 1);
        layout.push(source as u32, from, from + len);
        let row = step * 5 % (sources[1].len() - 20);
        for after in (0..step % 20).filter(|_| step % 3 == 0) {
            layout.push(1, row + after, row + after + 1);
            if after % 4 < 2 {
                layout.replace_last(source as u32, (step + after) % sources[source].len());
            }
        }
    }
    layout
}

#[test]
fn what_is_copied_is_what_interleaving_makes() {
    let numbers = |from: i64, nulls: bool| -> ArrayRef {
        Arc::new(
            (from..from + 90)
                .map(|n| (!nulls || n % 3 > 0).then_some(n))
                .collect::<Int64Array>(),
        )
    };
    let texts = |from: i64| -> ArrayRef {
        let text = |n: i64| (n % 5 > 0).then(|| "ä".repeat((n % 7) as usize));
        Arc::new((from..from + 90).map(text).collect::<StringArray>())
    };
    let cast = |column: &ArrayRef, to: &DataType| arrow::compute::cast(column, to).expect("another type");
    let small = |from: i8| -> ArrayRef { Arc::new(Int8Array::from_iter_values(from..from + 90)) };
    let flags = |by: usize| -> ArrayRef {
        Arc::new(
            (0..95)
                .map(|n| (n % by > 0).then_some(n % 2 == 0))
                .collect::<BooleanArray>(),
        )
    };
    let wide = |from: i128| -> ArrayRef {
        let values = Decimal128Array::from_iter_values(from..from + 90);
        Arc::new(values.with_precision_and_scale(30, 3).expect("a decimal"))
    };
    let times = |from: i64| -> ArrayRef {
        Arc::new(TimestampSecondArray::from_iter_values(from..from + 90).with_timezone("UTC"))
    };
    let large = |from: i64| cast(&cast(&texts(from), &DataType::Binary), &DataType::LargeBinary);
    let cases: Vec<Vec<ArrayRef>> = vec![
        vec![numbers(0, false), numbers(100, false).slice(3, 80)],
        vec![numbers(0, true).slice(1, 80), numbers(100, false)],
        vec![texts(0), texts(9).slice(5, 80)],
        vec![large(0).slice(2, 80), large(9)],
        vec![Arc::new(StringArray::new_null(0)), texts(3)],
        vec![small(0).slice(7, 70), small(30)],
        vec![flags(3).slice(7, 70), flags(100)],
        vec![wide(0), wide(-20).slice(1, 60)],
        vec![times(0), times(77)],
    ];
    for sources in cases {
        let layout = layout(&sources);
        let mut rows: Vec<(usize, usize)> = vec![];
        layout.for_each(|(source, from, to)| rows.extend((from..to).map(|row| (source, row))));
        let copied = copy(&sources, &layout);
        let copied = copied.expect("copied").expect("small");
        let refs: Vec<&dyn Array> = sources.iter().map(|source| source.as_ref()).collect();
        assert_eq!(&copied, &interleave(&refs, &rows).expect("rows"));
        copied.to_data().validate_full().expect("valid");
    }
    let nothing: ArrayRef = Arc::new(NullArray::new(1));
    assert!(copy(&[nothing], &Layout::default()).is_none());
}
