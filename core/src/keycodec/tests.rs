//! Keys compare as Arrow sorts, and come back as they were.

use std::sync::Arc;

use arrow::array::*;
use arrow::compute::{LexicographicalComparator, SortColumn, SortOptions};
use arrow::datatypes::*;

use super::*;
use crate::ErrorKind;

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Few distinct values, so that later columns decide, and the extremes among them.
    fn int(&mut self) -> i64 {
        match self.below(6) {
            0 => i64::MIN,
            1 => i64::MAX,
            2 => self.next() as i64,
            _ => self.below(5) as i64 - 2,
        }
    }

    fn float(&mut self) -> f64 {
        let special = [
            f64::NAN,
            -f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            0.0,
            -0.0,
            f64::MIN_POSITIVE,
            -1.5,
            1.5,
            1e300,
        ];
        special[self.below(special.len() as u64) as usize]
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.below(5);
        (0..length)
            .map(|_| [0, 1, b'a', b'b', 0xFE, 0xFF][self.below(6) as usize])
            .collect()
    }

    fn text(&mut self) -> String {
        let length = self.below(5);
        (0..length)
            .map(|_| ['\0', '\u{1}', 'a', 'b', 'ä', '\u{10FFFF}'][self.below(6) as usize])
            .collect()
    }
}

pub(super) const TYPES: &[DataType] = &[
    DataType::Boolean,
    DataType::Int8,
    DataType::Int16,
    DataType::Int32,
    DataType::Int64,
    DataType::UInt8,
    DataType::UInt16,
    DataType::UInt32,
    DataType::UInt64,
    DataType::Float16,
    DataType::Float32,
    DataType::Float64,
    DataType::Decimal32(9, 2),
    DataType::Decimal64(18, 2),
    DataType::Decimal128(38, 4),
    DataType::Decimal256(76, 4),
    DataType::Date32,
    DataType::Date64,
    DataType::Time32(TimeUnit::Second),
    DataType::Time64(TimeUnit::Nanosecond),
    DataType::Timestamp(TimeUnit::Second, None),
    DataType::Timestamp(TimeUnit::Nanosecond, None),
    DataType::Duration(TimeUnit::Millisecond),
    DataType::Utf8,
    DataType::LargeUtf8,
    DataType::Binary,
    DataType::LargeBinary,
    DataType::Utf8View,
    DataType::BinaryView,
    DataType::FixedSizeBinary(3),
    DataType::FixedSizeBinary(16),
];

pub(super) fn column(data_type: &DataType, rows: usize, nullable: bool, random: &mut Random) -> ArrayRef {
    let nulls: Vec<bool> = (0..rows).map(|_| nullable && random.below(5) == 0).collect();
    macro_rules! array {
        ($builder:expr, $value:expr) => {{
            let mut builder = $builder;
            for &null in &nulls {
                let value = $value;
                if null {
                    builder.append_null()
                } else {
                    builder.append_value(value)
                }
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    let ints = |random: &mut Random| array!(Int64Builder::new(), random.int());
    match data_type {
        DataType::Boolean => array!(BooleanBuilder::new(), random.below(2) == 1),
        DataType::Float64 | DataType::Float32 | DataType::Float16 => {
            arrow::compute::cast(&array!(Float64Builder::new(), random.float()), data_type).expect("floats")
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            arrow::compute::cast(&array!(StringBuilder::new(), random.text()), data_type).expect("text")
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            arrow::compute::cast(&array!(BinaryBuilder::new(), random.bytes()), data_type).expect("bytes")
        }
        DataType::FixedSizeBinary(width) => {
            let values = nulls.iter().map(|&null| {
                let value: Vec<u8> = (0..*width).map(|_| [0, 1, 0xFF][random.below(3) as usize]).collect();
                (!null).then_some(value)
            });
            let values: Vec<Option<Vec<u8>>> = values.collect();
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.into_iter(), *width).expect("width"))
        }
        DataType::Decimal256(precision, scale) => {
            let values = array!(
                Decimal256Builder::new(),
                i256::from_i128(i128::from(random.int()) << 60)
            );
            let values = values.as_primitive::<Decimal256Type>().clone();
            Arc::new(values.with_precision_and_scale(*precision, *scale).expect("valid"))
        }
        DataType::Decimal128(precision, scale) => {
            let values = array!(Decimal128Builder::new(), i128::from(random.int()) << 50);
            let values = values.as_primitive::<Decimal128Type>().clone();
            Arc::new(values.with_precision_and_scale(*precision, *scale).expect("valid"))
        }
        other => {
            // Any bits of the right width are a value.
            let ints = ints(random).into_data();
            let width = other.primitive_width().expect("a primitive");
            let bytes: Vec<u8> = ints.buffers()[0]
                .as_slice()
                .chunks(8)
                .flat_map(|value| value[8 - width..].to_vec())
                .collect();
            let small = matches!(other, DataType::Decimal32(..) | DataType::Decimal64(..));
            let bytes = if small { vec![0; bytes.len()] } else { bytes };
            let data = ArrayData::builder(other.clone()).len(rows).nulls(ints.nulls().cloned());
            make_array(
                data.add_buffer(arrow::buffer::Buffer::from(bytes.as_slice()))
                    .build()
                    .expect("valid"),
            )
        }
    }
}

pub(super) fn codec_of(columns: &[ArrayRef], nullable: &[bool], descending: &[bool]) -> KeyCodec {
    let fields: Vec<Field> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| Field::new(format!("c{index}"), column.data_type().clone(), nullable[index]))
        .collect();
    let key: Vec<String> = descending
        .iter()
        .enumerate()
        .map(|(index, down)| format!("{}c{index}", if *down { "-" } else { "" }))
        .collect();
    let key: Vec<&str> = key.iter().map(String::as_str).collect();
    KeyCodec::new(&TableSchema::new(Arc::new(Schema::new(fields)), &key).expect("a valid schema"))
}

fn check_columns(columns: &[ArrayRef], nullable: &[bool], descending: &[bool]) {
    let label = format!(
        "{:?} {descending:?}",
        columns.iter().map(|column| column.data_type()).collect::<Vec<_>>()
    );
    let codec = codec_of(columns, nullable, descending);
    let keys = codec.encode(columns).expect("every type has an order");
    let sort: Vec<SortColumn> = columns
        .iter()
        .zip(descending)
        .map(|(values, &descending)| SortColumn {
            values: Arc::clone(values),
            options: Some(SortOptions {
                descending,
                nulls_first: true,
            }),
        })
        .collect();
    let comparator = LexicographicalComparator::try_new(&sort).expect("Arrow sorts these");
    let mut row_key = Vec::new();
    for left in 0..keys.len() {
        for right in 0..keys.len() {
            let expected = comparator.compare(left, right);
            assert_eq!(
                keys.value(left).cmp(keys.value(right)),
                expected,
                "{label}: rows {left} and {right}"
            );
        }
        row_key.clear();
        codec.encode_row(columns, left, &mut row_key).expect("as above");
        assert_eq!(row_key, keys.value(left), "{label}: row {left}");
        row_key.clear();
        codec
            .encode_prefix(&columns[..1], left, &mut row_key)
            .expect("as above");
        assert!(keys.value(left).starts_with(&row_key), "{label}: prefix of row {left}");
    }
    let decoded = codec.decode(&keys).expect("just encoded");
    for (index, column) in columns.iter().enumerate() {
        assert_eq!(
            decoded[index].as_ref().to_data(),
            column.as_ref().to_data(),
            "{label}: column {index}"
        );
    }
}

#[test]
fn keys_of_one_column_compare_as_arrow_sorts() {
    let mut random = Random(1);
    for data_type in TYPES {
        for (nullable, descending) in [(false, false), (false, true), (true, false), (true, true)] {
            check_columns(
                &[column(data_type, 40, nullable, &mut random)],
                &[nullable],
                &[descending],
            );
        }
    }
}

#[test]
fn keys_of_random_schemas_compare_as_arrow_sorts() {
    let mut random = Random(2);
    for _ in 0..300 {
        let count = 2 + random.below(3) as usize;
        let nullable: Vec<bool> = (0..count).map(|_| random.below(2) == 0).collect();
        let descending: Vec<bool> = (0..count).map(|_| random.below(2) == 0).collect();
        let columns: Vec<ArrayRef> = (0..count)
            .map(|index| {
                let data_type = &TYPES[random.below(TYPES.len() as u64) as usize];
                column(data_type, 30, nullable[index], &mut random)
            })
            .collect();
        // Slices too, because offsets into buffers are easily forgotten.
        let sliced: Vec<ArrayRef> = columns.iter().map(|column| column.slice(7, 19)).collect();
        check_columns(&columns, &nullable, &descending);
        check_columns(&sliced, &nullable, &descending);
    }
}

#[test]
fn dictionaries_compare_as_their_values() {
    let values = ["b", "a", "", "c\0", "a"];
    let dictionary: DictionaryArray<Int8Type> = values.into_iter().map(Some).collect();
    let codec = codec_of(&[Arc::new(dictionary.clone())], &[true], &[true]);
    let keys = codec.encode(&[Arc::new(dictionary)]).expect("text has an order");
    let plain: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
    assert_eq!(
        keys,
        codec_of(&[Arc::clone(&plain)], &[true], &[true])
            .encode(&[plain])
            .expect("text")
    );
    let decoded = codec.decode(&keys).expect("just encoded");
    let decoded = arrow::compute::cast(&decoded[0], &DataType::Utf8).expect("a dictionary of text");
    assert_eq!(decoded.as_ref(), &StringArray::from(values.to_vec()));
}

#[test]
fn a_time_zone_is_kept_and_does_not_change_the_key() {
    let plain = TimestampMicrosecondArray::from(vec![5, -5]);
    let zoned = plain.clone().with_timezone("+02:00");
    let keys = |array: ArrayRef| {
        codec_of(&[Arc::clone(&array)], &[false], &[false])
            .encode(&[array])
            .expect("a time")
    };
    assert_eq!(keys(Arc::new(plain)), keys(Arc::new(zoned.clone())));
    let zoned: ArrayRef = Arc::new(zoned);
    let codec = codec_of(&[Arc::clone(&zoned)], &[false], &[false]);
    assert_eq!(
        &codec
            .decode(&codec.encode(&[Arc::clone(&zoned)]).expect("a time"))
            .expect("valid")[0],
        &zoned
    );
}

#[test]
fn the_bytes_are_as_documented() {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some("a\0b"), None])),
        Arc::new(Int32Array::from(vec![-2, 258])),
        Arc::new(Float64Array::from(vec![1.0, -1.0])),
        Arc::new(BinaryArray::from(vec![&b"z\0"[..], b""])),
    ];
    let keys = codec_of(&columns, &[true, false, false, true], &[false, true, false, false]).encode(&columns);
    let keys = keys.expect("every type has an order");
    assert_eq!(
        keys.value(0),
        b"\x01a\0\xffb\0\0\x80\0\0\x01\xbf\xf0\0\0\0\0\0\0\x01z\0"
    );
    assert_eq!(keys.value(1), b"\0\x7f\xff\xfe\xfd\x40\x0f\xff\xff\xff\xff\xff\xff\x01");
    let raw: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec!["a\0b"]))];
    assert_eq!(
        codec_of(&raw, &[false], &[false]).encode(&raw).expect("raw").value(0),
        b"a\0b"
    );
}

#[test]
fn columns_without_an_order_are_named() {
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
    let schema = Schema::new(vec![Field::new("tags", list, false)]);
    let error = TableSchema::new(Arc::new(schema), &["tags"]).expect_err("lists have no order");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.message().contains("\"tags\"") && error.message().contains("List"),
        "{error}"
    );
}

#[test]
fn wrong_columns_are_refused() {
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
    let codec = codec_of(&[Arc::clone(&ints)], &[false], &[false]);
    let null = codec.encode(&[Arc::clone(&ints)]).expect_err("a null");
    assert!(null.message().contains("\"c0\""), "{null}");
    let longs: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    assert_eq!(
        codec.encode(&[longs]).expect_err("another type").kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        codec.encode(&[]).expect_err("no column").kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn damaged_keys_are_corruption_and_never_panic() {
    let mut random = Random(3);
    for round in 0..60 {
        let columns: Vec<ArrayRef> = (0..3)
            .map(|index| column(&TYPES[(round + index * 7) % TYPES.len()], 4, true, &mut random))
            .collect();
        let codec = codec_of(&columns, &[true; 3], &[round % 2 == 0, false, true]);
        let keys = codec.encode(&columns).expect("every type has an order");
        for key in keys.iter().flatten() {
            let mut damaged: Vec<Vec<u8>> = (0..key.len()).map(|cut| key[..cut].to_vec()).collect();
            assert!(
                damaged
                    .iter()
                    .all(|cut| codec.decode(&BinaryArray::from_iter_values([cut])).is_err())
            );
            damaged.extend((0..key.len()).map(|index| {
                let mut flipped = key.to_vec();
                flipped[index] ^= 1 << random.below(8);
                flipped
            }));
            damaged.push([key, b"\0"].concat());
            for bytes in damaged {
                if let Err(error) = codec.decode(&BinaryArray::from_iter_values([bytes])) {
                    assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
                }
            }
        }
    }
}
