//! Rows come back as they were, and damaged rows are refused.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, FixedSizeListBuilder, Int32Array, Int32Builder,
    Int64Array, IntervalDayTimeArray, IntervalMonthDayNanoArray, LargeBinaryArray, ListBuilder, MapBuilder, NullArray,
    RecordBatch, StringArray, StringBuilder, StringViewArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int8Type, IntervalDayTime, IntervalMonthDayNano, Schema};

use super::*;
use crate::ErrorKind;

fn batch(columns: Vec<(&str, ArrayRef)>) -> (TableSchema, RecordBatch) {
    let rows = columns[0].1.len();
    let mut all: Vec<(&str, ArrayRef)> = vec![("id", Arc::new(Int64Array::from_iter_values(0..rows as i64)))];
    all.extend(columns);
    let fields: Vec<Field> = all
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), *name != "id"))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = all.into_iter().map(|(_, array)| array).collect();
    let table = TableSchema::new(Arc::clone(&schema), &["id"]).expect("a valid schema");
    (table, RecordBatch::try_new(schema, arrays).expect("columns fit"))
}

fn encode_all(codec: &RowCodec, batch: &RecordBatch) -> Vec<Vec<u8>> {
    let encoder = codec.encoder(batch.columns()).expect("the types fit");
    (0..batch.num_rows())
        .map(|row| {
            let mut out = Vec::new();
            encoder.encode(row, &mut out);
            out
        })
        .collect()
}

/// Decodes some columns of rows column by column, and expects that row by row gives the same.
fn decode_both_ways(
    codec: &RowCodec,
    rows: &BinaryArray,
    wanted: &dyn Fn(usize) -> bool,
) -> Result<Vec<Option<ArrayRef>>> {
    let by_column = codec.decode_some(rows, wanted);
    let by_row = codec.decoder(rows.len(), wanted).and_then(|mut decoder| {
        rows.iter().try_for_each(|row| decoder.push(row))?;
        decoder.finish()
    });
    match (&by_column, &by_row) {
        (Ok(columns), Ok(rows)) => assert_eq!(columns, rows),
        (Err(columns), Err(rows)) => assert_eq!(columns.kind(), rows.kind()),
        _ => panic!("{by_column:?} by columns, {by_row:?} by rows"),
    }
    by_column
}

/// Columns of every kind, nested ones included, of five rows.
fn every_kind() -> Vec<(&'static str, ArrayRef)> {
    let mut list = ListBuilder::new(StringBuilder::new());
    list.append_value([Some("a"), None, Some("")]);
    list.append_null();
    list.append_value(Vec::<Option<&str>>::new());
    list.append_value((0..20).map(|_| Some("long")));
    list.append_value([None::<&str>]);
    let mut pairs = FixedSizeListBuilder::new(Int32Builder::new(), 2);
    for row in 0..5 {
        pairs.values().append_value(row);
        pairs.values().append_option((row % 2 == 0).then_some(-row));
        pairs.append(row != 3);
    }
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for row in 0..5 {
        for entry in 0..row {
            map.keys().append_value(format!("k{entry}"));
            map.values().append_option((entry != 1).then_some(entry));
        }
        map.append(row != 2).expect("keys and values match");
    }
    let inner: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, Some("y"), Some("z"), None]));
    let other: ArrayRef = Arc::new(BooleanArray::from(vec![None, Some(true), Some(false), None, None]));
    let fields = vec![
        (Arc::new(Field::new("text", DataType::Utf8, true)), inner),
        (Arc::new(Field::new("flag", DataType::Boolean, true)), other),
    ];
    let dictionary: DictionaryArray<Int8Type> = vec![Some("red"), None, Some("blue"), Some("red"), None]
        .into_iter()
        .collect();
    vec![
        (
            "bool",
            Arc::new(BooleanArray::from(vec![
                Some(true),
                None,
                Some(false),
                None,
                Some(true),
            ])),
        ),
        (
            "int",
            Arc::new(Int32Array::from(vec![Some(-1), Some(i32::MAX), None, None, Some(0)])),
        ),
        (
            "time",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1), None, None, Some(-9), Some(7)]).with_timezone("UTC"),
            ),
        ),
        (
            "text",
            Arc::new(StringArray::from(vec![Some("ä"), Some(""), None, Some("b\0c"), None])),
        ),
        (
            "bytes",
            Arc::new(LargeBinaryArray::from_opt_vec(vec![
                None,
                Some(b""),
                Some(b"\xff"),
                None,
                Some(b"z"),
            ])),
        ),
        (
            "view",
            Arc::new(StringViewArray::from(vec![
                Some("short"),
                None,
                Some("a view longer than twelve"),
                None,
                None,
            ])),
        ),
        ("dictionary", Arc::new(dictionary)),
        ("list", Arc::new(list.finish())),
        ("pairs", Arc::new(pairs.finish())),
        ("map", Arc::new(map.finish())),
        ("struct", Arc::new(StructArray::from(fields))),
        (
            "span",
            Arc::new(IntervalMonthDayNanoArray::from(vec![
                Some(IntervalMonthDayNano::new(1, -2, i64::MAX)),
                None,
                Some(IntervalMonthDayNano::ZERO),
                None,
                None,
            ])),
        ),
        (
            "days",
            Arc::new(IntervalDayTimeArray::from(vec![Some(IntervalDayTime::new(-1, 5)); 5])),
        ),
        ("null", Arc::new(NullArray::new(5))),
    ]
}

#[test]
fn rows_of_every_type_come_back() {
    let (table, batch) = batch(every_kind());
    for batch in [batch.clone(), batch.slice(1, 3)] {
        let codec = RowCodec::new(&table);
        let rows = encode_all(&codec, &batch);
        let decoded = codec
            .decode(&BinaryArray::from_iter_values(&rows))
            .expect("just encoded");
        for (index, column) in decoded.iter().enumerate() {
            assert_eq!(column.as_ref(), batch.column(index + 1).as_ref(), "column {index}");
        }
        let null = [None, Some(rows[0].as_slice()), None];
        let rows = BinaryArray::from_iter(rows.iter().map(|row| Some(row.as_slice())).chain(null));
        for wanted in 0..=decoded.len() {
            let some = decode_both_ways(&codec, &rows, &|index| index == wanted + 1).expect("just encoded");
            assert_eq!(some.iter().flatten().count(), usize::from(wanted < decoded.len()));
            decode_both_ways(&codec, &rows, &|index| index % 3 == wanted % 3).expect("just encoded");
        }
    }
}

#[test]
fn a_null_row_is_null_in_every_column_and_missing_columns_are_null() {
    let (table, batch) = batch(vec![
        ("a", Arc::new(Int32Array::from(vec![7]))),
        ("b", Arc::new(StringArray::from(vec!["x"]))),
    ]);
    let codec = RowCodec::new(&table);
    let rows = encode_all(&codec, &batch);
    let rows = BinaryArray::from(vec![Some(&rows[0][..]), None, Some(b"\x01\x00\x07\0\0\0")]);
    let decoded = codec.decode(&rows).expect("valid");
    assert_eq!(decoded[0].as_ref(), &Int32Array::from(vec![Some(7), None, Some(7)]));
    assert_eq!(decoded[1].as_ref(), &StringArray::from(vec![Some("x"), None, None]));
}

#[test]
fn the_bytes_are_as_documented() {
    let mut list = ListBuilder::new(Int32Builder::new());
    list.append_value([Some(1), None, Some(-1)]);
    let (table, batch) = batch(vec![
        ("flag", Arc::new(BooleanArray::from(vec![true]))),
        ("small", Arc::new(Int32Array::from(vec![None]))),
        ("text", Arc::new(StringArray::from(vec!["hi"]))),
        ("list", Arc::new(list.finish())),
    ]);
    let rows = encode_all(&RowCodec::new(&table), &batch);
    assert_eq!(rows, [b"\x04\x02\x01\x02hi\x03\x02\x01\0\0\0\xff\xff\xff\xff"]);
}

#[test]
fn types_that_cannot_be_stored_are_named() {
    let view = DataType::ListView(Arc::new(Field::new("item", DataType::Int32, true)));
    let list = DataType::List(Arc::new(Field::new("item", view, true)));
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("span", list, true),
    ]);
    let error = TableSchema::new(Arc::new(schema), &["id"]).expect_err("list views have no encoding");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.message().contains("\"span\"") && error.message().contains("ListView"),
        "{error}"
    );
}

#[test]
fn a_column_of_another_type_is_refused() {
    let (table, _) = batch(vec![("a", Arc::new(Int32Array::from(vec![7])))]);
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![1])), Arc::new(Int64Array::from(vec![1]))];
    let error = RowCodec::new(&table)
        .encode(&columns, 0, &mut Vec::new())
        .expect_err("another type");
    assert!(error.message().contains("\"a\""), "{error}");
    assert!(
        RowCodec::new(&table).encode(&columns[..1], 0, &mut Vec::new()).is_err(),
        "a missing column"
    );
}

#[test]
fn damaged_rows_are_corruption_and_never_panic() {
    let (table, batch) = batch(every_kind());
    let codec = RowCodec::new(&table);
    let decode = |row: &[u8]| match decode_both_ways(&codec, &BinaryArray::from_iter_values([row]), &|_| true) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
            false
        }
    };
    for row in encode_all(&codec, &batch) {
        for cut in 0..row.len() {
            assert!(!decode(&row[..cut]), "a row cut to {cut} of {} bytes", row.len());
        }
        for index in 0..row.len() {
            for flip in [0x01, 0x02, 0x10, 0x80, 0xFF] {
                let mut damaged = row.clone();
                damaged[index] ^= flip;
                decode(&damaged);
            }
        }
        let longer = [&row[..], b"\0"].concat();
        assert!(!decode(&longer), "a byte too many");
    }
    let mut random = 1u64;
    for len in 0..400 {
        let bytes: Vec<u8> = (0..len)
            .map(|_| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (random >> 60) as u8 & if random >> 40 & 7 == 0 { 0xFF } else { 0x0F }
            })
            .collect();
        decode(&bytes);
        decode(&[b"\x0c\0\0", &bytes[..]].concat());
    }
}

#[test]
fn rows_of_an_altered_table_name_their_schema() {
    let (table, batch) = batch(vec![("a", Arc::new(Int32Array::from(vec![7])))]);
    let add = crate::schema::SchemaChange::AllowNull("a".to_owned());
    let later = RowCodec::new(&table.altered(300, &[add]).expect("valid"));
    let rows = encode_all(&later, &batch);
    assert_eq!(rows, [b"\0\xac\x02\x01\0\x07\0\0\0"]);
    assert_eq!(row_schema(&rows[0]).expect("a row"), 300);
    let rows = BinaryArray::from_iter_values(&rows);
    assert_eq!(
        later.decode(&rows).expect("its own")[0].as_ref(),
        batch.column(1).as_ref()
    );
    let error = RowCodec::new(&table).decode(&rows).expect_err("another schema");
    assert_eq!(error.kind(), ErrorKind::Corruption);
    for cut in 0..9 {
        assert!(
            later
                .decode(&BinaryArray::from_iter_values([&rows.value(0)[..cut]]))
                .is_err()
        );
    }
    assert_eq!(row_schema(b"\0").expect("a row without columns"), 0);
    assert!(row_schema(b"\0\0").is_err());
}
