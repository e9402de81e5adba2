use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int8Type, Schema};
use kodiak_core::conformance::format::{Draw, MemoryBytes, MemoryFile, random_column};

use super::*;
use crate::outside::OutsideFile;
use crate::parquet::tests::nested::same;

fn words(from: usize, count: usize) -> (ArrayRef, Vec<Option<String>>) {
    let words: Vec<Option<String>> = (from..from + count)
        .map(|word| (word % 5 != 3).then(|| format!("word {}", word % 90)))
        .collect();
    let dictionary: DictionaryArray<Int8Type> = words.iter().map(|word| word.as_deref()).collect();
    (Arc::new(dictionary), words)
}

#[test]
fn blocks_with_dictionaries_of_their_own_become_a_feather_file_with_one() {
    let file = MemoryFile::default();
    let of = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let columns = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int32, false),
        Field::new("word", of.clone(), true),
    ]));
    let export = Export::create(FileKind::Feather, Box::new(file.clone()), &columns, Compression::Lz4);
    let mut export = export.expect("create");
    let mut expected = Vec::new();
    for from in (0..200_000).step_by(20_000) {
        for (at, count) in [(from, 60), (from + 37, 19_940)] {
            let mut all = Vec::new();
            for start in (at..at + count).step_by(50) {
                let (rows, texts) = words(start, 50.min(at + count - start));
                let ids = Int32Array::from_iter_values(0..rows.len() as i32);
                let batch = RecordBatch::try_new(Arc::clone(&columns), vec![Arc::new(ids), rows]).expect("columns");
                export.write(&batch).expect("written");
                all.extend(texts);
            }
            expected.extend(all);
        }
    }
    export.finish().expect("finished");
    let arrow = ipc::reader::FileReader::try_new(std::io::Cursor::new(file.bytes()), None).expect("a file");
    assert!(arrow.num_batches() > 2);
    let arrow: Vec<RecordBatch> = arrow.map(|batch| batch.expect("rows")).collect();
    let own = OutsideFile::open(Arc::new(MemoryBytes(file.bytes()))).expect("a file");
    let own: Vec<RecordBatch> = own
        .batches(&[0, 1])
        .expect("read")
        .map(|batch| batch.expect("rows"))
        .collect();
    for batches in [arrow, own] {
        let texts = batches
            .iter()
            .map(|batch| cast(batch.column(1), &DataType::Utf8).expect("texts"));
        let texts: Vec<Option<String>> = texts
            .flat_map(|texts| {
                texts
                    .as_string::<i32>()
                    .iter()
                    .map(|text| text.map(str::to_owned))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(texts, expected);
    }
}

#[test]
fn a_dictionary_that_its_index_cannot_count_is_refused_with_the_column() {
    let of = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Int64));
    let columns = Arc::new(Schema::new(vec![Field::new("code", of.clone(), true)]));
    let export = Export::create(
        FileKind::Feather,
        Box::new(MemoryFile::default()),
        &columns,
        Compression::None,
    );
    let mut export = export.expect("create");
    let mut wrong = None;
    // Blocks of 65,536 rows with 100 values each.
    for from in 0..1400i64 {
        let codes: ArrayRef = Arc::new(
            (0..100)
                .map(|code| Some(code + from / 700 * 100))
                .collect::<arrow::array::Int64Array>(),
        );
        let codes = cast(&codes, &of).expect("a dictionary");
        let batch = RecordBatch::try_new(Arc::clone(&columns), vec![codes]).expect("columns");
        if let Err(error) = export.write(&batch) {
            wrong = Some(error);
            break;
        }
    }
    let error = wrong.or_else(|| export.finish().err()).expect("200 values");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn blocks_with_dictionaries_inside_of_nested_columns_become_a_feather_file_with_one_each() {
    let word = Arc::new(Field::new(
        "item",
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        true,
    ));
    let types = [
        DataType::List(Arc::clone(&word)),
        DataType::Struct(
            vec![
                Arc::new(word.as_ref().clone().with_name("a")),
                Arc::new(Field::new("b", DataType::List(word), true)),
            ]
            .into(),
        ),
    ];
    let fields = types
        .iter()
        .enumerate()
        .map(|(at, of)| Field::new(format!("c{at}"), of.clone(), true));
    let columns = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let file = MemoryFile::default();
    let export = Export::create(FileKind::Feather, Box::new(file.clone()), &columns, Compression::None);
    let mut export = export.expect("create");
    let mut draw = Draw(3);
    let mut written = Vec::new();
    // Blocks of 65,536 rows.
    for _ in 0..3 {
        let arrays = types
            .iter()
            .map(|of| random_column(&mut draw, of, true, 30_000))
            .collect();
        let batch = RecordBatch::try_new(Arc::clone(&columns), arrays).expect("columns");
        export.write(&batch).expect("written");
        written.push(batch);
    }
    export.finish().expect("finished");
    let read = ipc::reader::FileReader::try_new(std::io::Cursor::new(file.bytes()), None).expect("a file");
    assert!(read.num_batches() > 1);
    let read: Vec<RecordBatch> = read.map(|batch| batch.expect("rows")).collect();
    let (read, written) = (concat_batches(&columns, &read), concat_batches(&columns, &written));
    let (read, written) = (read.expect("rows"), written.expect("rows"));
    for (found, wanted) in read.columns().iter().zip(written.columns()) {
        assert!(same(found, wanted), "{}", wanted.data_type());
    }
}
