//! Bounds hold what they are made of, for every type.

use arrow::array::*;
use arrow::compute::{LexicographicalComparator, SortColumn, SortOptions};

use super::super::tests::{Random, TYPES, column};
use super::*;

#[test]
fn single_values_compare_as_arrow_sorts_them() {
    let mut random = Random(5);
    for data_type in TYPES {
        let values = column(data_type, 40, false, &mut random);
        let encoded: Vec<Vec<u8>> = (0..values.len())
            .map(|row| ordered_value(&values, row).expect("ordered").expect("no null"))
            .collect();
        let options = Some(SortOptions::default());
        let plain = arrow::compute::cast(&values, plain(data_type)).expect("unpacked");
        let sort = SortColumn { values: plain, options };
        let compare = LexicographicalComparator::try_new(&[sort]).expect("comparable");
        for left in 0..values.len() {
            for right in 0..values.len() {
                assert_eq!(
                    encoded[left].cmp(&encoded[right]),
                    compare.compare(left, right),
                    "{data_type}"
                );
            }
        }
    }
}

#[test]
fn bounds_are_the_extremes_and_count_nulls() {
    let mut random = Random(6);
    for data_type in TYPES {
        for nullable in [false, true] {
            for rows in [1, 3, 30] {
                let values = column(data_type, rows, nullable, &mut random);
                let found = bounds(&values).expect("ordered").expect("ordered");
                let mut encoded: Vec<Vec<u8>> = (0..rows)
                    .filter_map(|row| ordered_value(&values, row).expect("ordered"))
                    .collect();
                encoded.sort();
                assert_eq!(found.nulls as usize, rows - encoded.len(), "{data_type}");
                let expected = encoded.first().cloned().zip(encoded.last().cloned());
                assert_eq!(found.range, expected, "{data_type}");
                if let Some((low, _)) = &found.range {
                    let back = from_ordered(data_type, &BinaryArray::from_iter_values([low])).expect("own bytes");
                    assert_eq!(ordered_value(&back, 0).expect("ordered").as_ref(), Some(low));
                }
            }
        }
    }
    let lists: ArrayRef = Arc::new(ListArray::new_null(
        Arc::new(arrow::datatypes::Field::new_list_field(DataType::Int8, true)),
        2,
    ));
    assert_eq!(bounds(&lists).expect("no error"), None);
}

#[test]
fn bounds_of_texts_that_begin_alike_are_the_extremes() {
    let mut random = Random(8);
    let beginnings: [&[u8]; 5] = [b"", b"abcdefg", b"abcdefgh", b"abcdefgh\0", b"abcdefghabcdefgh"];
    for _ in 0..400 {
        let rows = 1 + random.below(12) as usize;
        let (from, nullable) = (random.below(3) as usize, random.below(2) == 0);
        let values: Vec<Option<Vec<u8>>> = (0..from + rows + 1)
            .map(|_| {
                let start = beginnings[random.below(5) as usize];
                let end = (0..random.below(3)).map(|_| [0, b'a', 0xFF][random.below(3) as usize]);
                let value = start.iter().copied().chain(end).collect();
                (!nullable || random.below(3) > 0).then_some(value)
            })
            .collect();
        // Of a part of an array, around which there are other values.
        let some = &values[from..from + rows];
        let expected = some
            .iter()
            .flatten()
            .min()
            .cloned()
            .zip(some.iter().flatten().max().cloned());
        let small: ArrayRef = Arc::new(BinaryArray::from_iter(&values).slice(from, rows));
        let large: ArrayRef = Arc::new(LargeBinaryArray::from_iter(&values).slice(from, rows));
        for column in [small, large] {
            let found = bounds(&column).expect("ordered").expect("ordered");
            assert_eq!(found.range, expected, "{some:?}");
        }
    }
}

#[test]
fn long_bounds_are_cut_outward() {
    let long = |last: &[u8]| [&[b'x'; BOUND_BYTES], last].concat();
    let cases: [(&[u8], Vec<u8>); 3] = [
        (b"", [b'x'; BOUND_BYTES].to_vec()),
        (b"abc", [&[b'x'; BOUND_BYTES - 1][..], b"y"].concat()),
        (b"\xff", [&[b'x'; BOUND_BYTES - 1][..], b"y"].concat()),
    ];
    for (tail, high) in cases {
        let values: ArrayRef = Arc::new(BinaryArray::from_iter_values([long(tail)]));
        let range = bounds(&values)
            .expect("ordered")
            .expect("ordered")
            .range
            .expect("a value");
        assert_eq!(range, ([b'x'; BOUND_BYTES].to_vec(), high.clone()));
        assert!(range.0 <= long(tail) && long(tail) <= range.1);
    }
    let top = vec![0xFF; BOUND_BYTES + 5];
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values([&top]));
    let range = bounds(&values)
        .expect("ordered")
        .expect("ordered")
        .range
        .expect("a value");
    assert_eq!(range, (top[..BOUND_BYTES].to_vec(), top), "nothing shorter is above it");
}
