//! Statistics of columns, for the readers that pass over stripes by them. (The engine prunes by fence keys.)

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute;
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int64Type};
use orc_rust::proto::r#type::Kind;
use orc_rust::proto::{
    BinaryStatistics, BucketStatistics, ColumnStatistics, DateStatistics, DoubleStatistics, IntegerStatistics,
    StringStatistics, TimestampStatistics,
};

use super::times::per_second;
use super::types::{Column, Store};

/// Texts longer than this are no bounds: they would make the file's tail large.
const MAX_BOUND: usize = 1024;

/// The statistics of a column's values in one stripe. Those of decimals are only counted.
pub(super) fn of(column: &Column, array: &ArrayRef) -> ColumnStatistics {
    let nulls = array.logical_null_count();
    let mut stats = ColumnStatistics {
        number_of_values: Some((array.len() - nulls) as u64),
        has_null: Some(nulls > 0),
        ..ColumnStatistics::default()
    };
    let cast = |to: &DataType| compute::cast(array, to).ok();
    match column.kind {
        Kind::Boolean => {
            let count = array.as_boolean_opt().map_or(0, |values| values.true_count());
            stats.bucket_statistics = Some(BucketStatistics {
                count: vec![count as u64],
            });
        }
        Kind::Byte | Kind::Short | Kind::Int | Kind::Long => {
            stats.int_statistics = cast(&DataType::Int64).map(|values| {
                let values = values.as_primitive::<Int64Type>();
                IntegerStatistics {
                    minimum: compute::min(values),
                    maximum: compute::max(values),
                    sum: compute::sum_checked(values).ok().flatten(),
                }
            });
        }
        Kind::Float | Kind::Double => {
            stats.double_statistics = cast(&DataType::Float64).and_then(|values| {
                let values = values.as_primitive::<Float64Type>();
                // Nothing is said of columns with NaN, which is in no order that readers agree on.
                let ordered = values.iter().flatten().all(|value| !value.is_nan());
                ordered.then(|| DoubleStatistics {
                    minimum: compute::min(values),
                    maximum: compute::max(values),
                    sum: None,
                })
            });
        }
        Kind::Date => {
            stats.date_statistics = array.as_primitive_opt::<Date32Type>().map(|values| DateStatistics {
                minimum: compute::min(values),
                maximum: compute::max(values),
            });
        }
        Kind::Timestamp | Kind::TimestampInstant => {
            stats.timestamp_statistics =
                cast(&DataType::Int64).and_then(|values| of_times(column, values.as_primitive()));
        }
        Kind::String => {
            stats.string_statistics = cast(&DataType::Utf8).and_then(|values| {
                let values = values.as_string_opt::<i32>()?;
                let bound = |text: Option<&str>| text.filter(|text| text.len() <= MAX_BOUND).map(str::to_owned);
                let (minimum, maximum) = (bound(compute::min_string(values)), bound(compute::max_string(values)));
                let both = minimum.is_some() && maximum.is_some();
                both.then_some(StringStatistics {
                    minimum,
                    maximum,
                    ..StringStatistics::default()
                })
            });
        }
        Kind::Binary => {
            stats.binary_statistics = cast(&DataType::LargeBinary).map(|values| BinaryStatistics {
                sum: Some(
                    values
                        .as_binary::<i64>()
                        .iter()
                        .flatten()
                        .map(|value| value.len() as i64)
                        .sum(),
                ),
            });
        }
        _ => {}
    }
    stats
}

/// In milliseconds, not after the times themselves: readers know that they are cut off. Nothing is said if there are not as many.
fn of_times(column: &Column, values: &Int64Array) -> Option<TimestampStatistics> {
    let Store::Timestamp(unit) = column.store else {
        return None;
    };
    let millis = |time: i64| {
        let millis = i128::from(time) * 1000;
        i64::try_from(millis.div_euclid(per_second(unit).into())).ok()
    };
    Some(TimestampStatistics {
        minimum_utc: Some(millis(compute::min(values)?)?),
        maximum_utc: Some(millis(compute::max(values)?)?),
        ..TimestampStatistics::default()
    })
}

/// The statistics of all rows, which are so many.
pub(super) fn of_rows(rows: u64) -> ColumnStatistics {
    ColumnStatistics {
        number_of_values: Some(rows),
        has_null: Some(false),
        ..ColumnStatistics::default()
    }
}

/// Adds those of another stripe. What one of the two does not say is not known of both.
pub(super) fn add(all: &mut ColumnStatistics, more: &ColumnStatistics) {
    if all.number_of_values() == 0 {
        let nulls = all.has_null() || more.has_null();
        *all = more.clone();
        all.has_null = Some(nulls);
        return;
    }
    all.has_null = Some(all.has_null() || more.has_null());
    if more.number_of_values() == 0 {
        return;
    }
    all.number_of_values = Some(all.number_of_values() + more.number_of_values());
    all.int_statistics = both(all.int_statistics.take(), more.int_statistics.as_ref(), |a, b| {
        IntegerStatistics {
            minimum: both(a.minimum, b.minimum, i64::min),
            maximum: both(a.maximum, b.maximum, i64::max),
            sum: both(a.sum, b.sum, i64::checked_add).flatten(),
        }
    });
    all.double_statistics = both(all.double_statistics.take(), more.double_statistics.as_ref(), |a, b| {
        DoubleStatistics {
            minimum: both(a.minimum, b.minimum, f64::min),
            maximum: both(a.maximum, b.maximum, f64::max),
            sum: None,
        }
    });
    all.date_statistics = both(all.date_statistics.take(), more.date_statistics.as_ref(), |a, b| {
        DateStatistics {
            minimum: both(a.minimum, b.minimum, i32::min),
            maximum: both(a.maximum, b.maximum, i32::max),
        }
    });
    let times = all.timestamp_statistics.take();
    all.timestamp_statistics = both(times, more.timestamp_statistics.as_ref(), |a, b| TimestampStatistics {
        minimum_utc: both(a.minimum_utc, b.minimum_utc, i64::min),
        maximum_utc: both(a.maximum_utc, b.maximum_utc, i64::max),
        ..TimestampStatistics::default()
    });
    all.string_statistics = both(all.string_statistics.take(), more.string_statistics.as_ref(), |a, b| {
        StringStatistics {
            minimum: both(a.minimum, b.minimum.clone(), String::min),
            maximum: both(a.maximum, b.maximum.clone(), String::max),
            ..StringStatistics::default()
        }
    });
    all.bucket_statistics = both(all.bucket_statistics.take(), more.bucket_statistics.as_ref(), |a, b| {
        BucketStatistics {
            count: a.count.iter().zip(&b.count).map(|(a, b)| a + b).collect(),
        }
    });
    all.binary_statistics = both(all.binary_statistics.take(), more.binary_statistics.as_ref(), |a, b| {
        BinaryStatistics {
            sum: both(a.sum, b.sum, i64::checked_add).flatten(),
        }
    });
}

fn both<A, B, C>(left: Option<A>, right: Option<B>, join: impl FnOnce(A, B) -> C) -> Option<C> {
    left.zip(right).map(|(left, right)| join(left, right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int16Array, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::TimeUnit;
    use std::sync::Arc;

    fn column(kind: Kind, array: &ArrayRef) -> Column {
        Column {
            number: 1,
            name: "c".to_owned(),
            data_type: array.data_type().clone(),
            stored: array.data_type().clone(),
            nullable: true,
            id: None,
            kind,
            store: Store::Integer,
            children: Vec::new(),
        }
    }

    fn joined(kind: Kind, arrays: [ArrayRef; 3]) -> ColumnStatistics {
        let mut all = ColumnStatistics::default();
        for array in &arrays {
            add(&mut all, &of(&column(kind, array), array));
        }
        all
    }

    #[test]
    fn bounds_and_counts_of_stripes_add_up() {
        let ints = |values: Vec<Option<i16>>| Arc::new(Int16Array::from(values)) as ArrayRef;
        let found = joined(
            Kind::Short,
            [
                ints(vec![None]),
                ints(vec![Some(5), Some(-7)]),
                ints(vec![Some(9), None]),
            ],
        );
        assert_eq!((found.number_of_values, found.has_null), (Some(3), Some(true)));
        let bounds = found.int_statistics.expect("integers");
        assert_eq!(
            (bounds.minimum, bounds.maximum, bounds.sum),
            (Some(-7), Some(9), Some(7))
        );
        let texts = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
        let found = joined(
            Kind::String,
            [texts(vec!["m"]), texts(vec!["z", "b"]), texts(vec!["c"])],
        );
        let bounds = found.string_statistics.expect("texts");
        assert_eq!((bounds.minimum(), bounds.maximum()), ("b", "z"));
        let mut times = ColumnStatistics::default();
        for values in [vec![-1, 5_000], vec![1_999]] {
            let array = Arc::new(TimestampMicrosecondArray::from(values)) as ArrayRef;
            let store = Store::Timestamp(TimeUnit::Microsecond);
            let column = Column {
                store,
                ..column(Kind::Timestamp, &array)
            };
            add(&mut times, &of(&column, &array));
        }
        let bounds = times.timestamp_statistics.expect("times");
        assert_eq!((bounds.minimum_utc, bounds.maximum_utc), (Some(-1), Some(5)));
        let long = "x".repeat(2000);
        let found = joined(Kind::String, [texts(vec!["m"]), texts(vec![&long]), texts(vec!["c"])]);
        assert_eq!(found.string_statistics, None, "one stripe says nothing");
        let doubles = |values: Vec<f64>| Arc::new(Float64Array::from(values)) as ArrayRef;
        let found = joined(
            Kind::Double,
            [doubles(vec![1.0]), doubles(vec![f64::NAN]), doubles(vec![2.0])],
        );
        assert_eq!((found.double_statistics, found.number_of_values), (None, Some(3)));
    }
}
