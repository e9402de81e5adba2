use super::*;
use arrow::array::*;
use arrow::datatypes::{Int64Type, TimeUnit};

fn schema(data_type: DataType) -> TableSchema {
    let columns = Schema::new(vec![
        Field::new("id", DataType::Int32, false),
        Field::new("value", data_type, true),
    ]);
    TableSchema::new(Arc::new(columns), &["id"]).expect("valid")
}

fn batch(values: ArrayRef) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..values.len() as i64));
    RecordBatch::try_from_iter_with_nullable([("value", values, true), ("id", ids, true)]).expect("valid")
}

fn misfits(fitting: Fitting, values: ArrayRef) -> Vec<usize> {
    let rows = values.len();
    let (fitted, misfits) = fitting.fit(&batch(values)).expect("fits");
    assert_eq!(fitted.num_rows() + misfits.len(), rows);
    misfits.iter().map(|misfit| misfit.row).collect()
}

#[test]
fn nested_columns_become_others_of_the_same_values() {
    let item = |of: DataType| Arc::new(Field::new("element", of, true));
    let lists = |rows: Vec<Option<Vec<Option<i64>>>>| -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(rows))
    };
    let rows = || {
        lists(vec![
            Some(vec![Some(1), None]),
            None,
            Some(vec![Some(300), Some(2)]),
            Some(vec![]),
        ])
    };
    let of = |data_type: DataType| misfits(Fitting::new(&schema(data_type)), rows());
    assert_eq!(of(DataType::List(item(DataType::Int16))), [] as [usize; 0]);
    assert_eq!(of(DataType::LargeList(item(DataType::UInt64))), [] as [usize; 0]);
    assert_eq!(of(DataType::List(item(DataType::Int8))), [2]);
    assert_eq!(of(DataType::FixedSizeList(item(DataType::Int64), 2)), [3]);
    let refused = Fitting::new(&schema(DataType::List(item(DataType::Boolean)))).fit(&batch(rows()));
    assert!(refused.expect_err("no numbers").message().contains("value"));
}

#[test]
fn values_are_converted_only_where_nothing_is_lost() {
    let exact = |to: DataType| Fitting::new(&schema(to));
    let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(300), Some(-1)]));
    assert_eq!(misfits(exact(DataType::Int8), Arc::clone(&ints)), [2]);
    assert_eq!(misfits(exact(DataType::UInt16), Arc::clone(&ints)), [3]);
    assert_eq!(misfits(exact(DataType::Float32), ints), [0usize; 0]);
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 0.1, f64::NAN, 1e300]));
    assert_eq!(misfits(exact(DataType::Float32), floats), [1, 3]);
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_000_000_000, 1]));
    let seconds = DataType::Timestamp(TimeUnit::Second, None);
    assert_eq!(misfits(exact(seconds), nanos), [1]);
    let words: DictionaryArray<arrow::datatypes::Int8Type> = ["a", "b", "a"].into_iter().collect();
    let texts: ArrayRef = arrow::compute::cast(&words, &DataType::LargeUtf8).expect("texts");
    assert_eq!(misfits(exact(DataType::Utf8), texts), [0usize; 0]);
}

#[test]
fn columns_of_nothing_but_nulls_become_any_type() {
    let words = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int8, true)));
    for to in [DataType::Utf8, DataType::Float64, words, list] {
        let (fitted, misfits) = Fitting::new(&schema(to.clone()))
            .fit(&batch(Arc::new(NullArray::new(3))))
            .expect("fits");
        assert_eq!((fitted.column(1).logical_null_count(), misfits.len()), (3, 0), "{to}");
    }
    let ids = RecordBatch::try_from_iter([("id", Arc::new(NullArray::new(2)) as ArrayRef)]).expect("valid");
    let (fitted, misfits) = Fitting::new(&schema(DataType::Int8)).fit(&ids).expect("fits");
    assert_eq!((fitted.num_rows(), misfits.len()), (0, 2));
}

#[test]
fn texts_are_read_only_when_asked_for_and_only_exactly() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("1.50"), Some("1.234"), Some("x"), None]));
    let to = DataType::Decimal128(10, 2);
    let error = Fitting::new(&schema(to.clone())).fit(&batch(Arc::clone(&texts)));
    assert!(error.expect_err("text").to_string().contains("\"value\" has type Utf8"));
    assert_eq!(misfits(Fitting::new(&schema(to)).parsing(), texts), [1, 2]);
    let stamps: ArrayRef = Arc::new(StringArray::from(vec![
        "2013-01-01T10:00:00Z",
        "2013-01-01T10:00:00.5Z",
        "2013-13-01T10:00:00Z",
    ]));
    let to = DataType::Timestamp(TimeUnit::Second, Some("UTC".into()));
    assert_eq!(misfits(Fitting::new(&schema(to)).parsing(), stamps), [1, 2]);
}

#[test]
fn texts_that_a_type_would_round_or_cut_are_misfits() {
    let of = |to: DataType, texts: &[&str]| {
        let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        misfits(Fitting::new(&schema(to)).parsing(), texts)
    };
    let floats = ["16777216", "16777217", "0.1", "1e39", "inf", "-16777217", "1e10"];
    assert_eq!(of(DataType::Float32, &floats), [1, 3, 5]);
    let doubles = ["9007199254740993", "9007199254740992", "0.1", "1e400", "-inf", "NaN"];
    assert_eq!(of(DataType::Float64, &doubles), [0, 3]);
    assert_eq!(of(DataType::Float16, &["65504", "65520", "2049"]), [1, 2]);
    let days = ["2013-01-01", "2013-01-01T10:00:00", "2013-01-01 00:00:00"];
    assert_eq!(of(DataType::Date32, &days), [1]);
    let times = [
        "2013-01-01T10:00:00",
        "2013-01-01T10:00:00+02:00",
        "2013-01-01 10:00:00Z",
        "2013-01-01T10:00:00+00:00",
        "2013-01-01",
    ];
    assert_eq!(of(DataType::Timestamp(TimeUnit::Microsecond, None), &times), [1]);
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    assert_eq!(of(zoned, &times[..4]), [0usize; 0]);
}

#[test]
fn rows_without_a_key_are_left_out_and_unknown_columns_are_refused() {
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]));
    let fitting = Fitting::new(&schema(DataType::Int8));
    let rows = RecordBatch::try_from_iter([("id", Arc::clone(&ids))]).expect("valid");
    let (fitted, misfits) = fitting.fit(&rows).expect("fits");
    assert_eq!((fitted.num_rows(), fitted.column(1).null_count()), (2, 2));
    assert_eq!(
        (misfits.len(), misfits[0].row, misfits[0].column.as_str()),
        (1, 1, "id")
    );
    let other = RecordBatch::try_from_iter([("id", Arc::clone(&ids)), ("more", ids)]).expect("valid");
    let error = fitting.fit(&other).expect_err("unknown").to_string();
    assert!(error.contains("\"more\"") && error.contains("id, value"), "{error}");
}
