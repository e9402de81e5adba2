//! Reading a compacted Feather table as record batches, against reading the same files with Arrow alone. Both touch every
//! byte of what they read. `KODIAK_BENCH_N` sets the rows.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::reader::FileReader;
use criterion::{Criterion, criterion_group, criterion_main};
use kodiak::{Db, Settings, Table, TableSchema};

fn rows() -> usize {
    kodiak_core::conformance::bench::size(100_000, 1000)
}

/// Rows like those of a log of trips: seven key columns would be the flights'; here three, of which one is text.
fn trips(rows: usize) -> RecordBatch {
    let columns = Schema::new(vec![
        Field::new("day", DataType::Int32, false),
        Field::new("carrier", DataType::Utf8, false),
        Field::new("trip", DataType::Int64, false),
        Field::new("tail", DataType::Utf8, true),
        Field::new("delay", DataType::Float64, true),
        Field::new("distance", DataType::Int64, false),
        Field::new("note", DataType::Utf8, true),
    ]);
    let text = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
    let numbers = |f: &dyn Fn(usize) -> i64| Arc::new(Int64Array::from_iter_values((0..rows).map(f))) as ArrayRef;
    let arrays = vec![
        Arc::new(Int32Array::from_iter_values((0..rows).map(|row| (row / 900) as i32))) as ArrayRef,
        text(
            (0..rows)
                .map(|row| ["AA", "B6", "UA", "WN"][row * 7 % 4].to_owned())
                .collect(),
        ),
        numbers(&|row| (row * 31 % 100_003) as i64),
        text((0..rows).map(|row| format!("N{:05}", row * 17 % 4000)).collect()),
        Arc::new(Float64Array::from_iter(
            (0..rows).map(|row| (row % 40 != 0).then_some(row as f64 / 7.0)),
        )),
        numbers(&|row| (row * 13 % 5000) as i64),
        text(
            (0..rows)
                .map(|row| format!("gate {} and a few more words", row % 90))
                .collect(),
        ),
    ];
    RecordBatch::try_new(Arc::new(columns), arrays).expect("columns of one length")
}

/// Adds up every byte of every buffer, eight at a time.
fn touch(batch: &RecordBatch) -> u64 {
    let mut sum = 0u64;
    for column in batch.columns() {
        let data = column.to_data();
        if data.buffers().len() == 2 {
            // Text: only the bytes of these rows.
            let strings = column.as_any().downcast_ref::<StringArray>().expect("text");
            let offsets = strings.value_offsets();
            sum = sum.wrapping_add(
                offsets
                    .iter()
                    .fold(0u64, |sum, offset| sum.wrapping_add(*offset as u64)),
            );
            sum = sum.wrapping_add(add(
                &strings.value_data()[offsets[0] as usize..offsets[offsets.len() - 1] as usize]
            ));
        } else {
            let width = data.data_type().primitive_width().expect("a number");
            let bytes = &data.buffers()[0].as_slice()[data.offset() * width..(data.offset() + data.len()) * width];
            sum = sum.wrapping_add(add(bytes));
        }
    }
    sum
}

fn add(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words
        .iter()
        .fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, &byte| sum.wrapping_add(u64::from(byte)))
}

fn scan(table: &Table, names: Option<&[&str]>) -> u64 {
    let read = match names {
        Some(names) => table.read().project(names.iter().copied()),
        None => table.read(),
    };
    read.batches()
        .expect("read")
        .fold(0, |sum, batch| sum.wrapping_add(touch(&batch.expect("batch"))))
}

/// Reads files with Arrow alone: mapped, so that nothing is copied, as the engine does it.
fn arrow_mapped(files: &[PathBuf], projection: Option<&[usize]>) -> u64 {
    let mut sum = 0u64;
    for file in files {
        let storage = kodiak::LocalStorage::new();
        let file = kodiak::core::storage::Storage::open(&storage, file).expect("open");
        let bytes = file.map().expect("map").expect("local files can be mapped");
        let decoder = Decoder::new(bytes, projection);
        decoder.for_each(|batch| sum = sum.wrapping_add(touch(&batch)));
    }
    sum
}

/// Reads files with Arrow's own file reader, which copies.
fn arrow_read(files: &[PathBuf], projection: Option<&[usize]>) -> u64 {
    let mut sum = 0u64;
    for file in files {
        let file = std::fs::File::open(file).expect("open");
        let reader = FileReader::try_new_buffered(file, projection.map(<[usize]>::to_vec)).expect("a Feather file");
        for batch in reader {
            sum = sum.wrapping_add(touch(&batch.expect("batch")));
        }
    }
    sum
}

/// Arrow's decoder over a mapped file.
struct Decoder {
    bytes: arrow::buffer::Buffer,
    decoder: arrow::ipc::reader::FileDecoder,
    blocks: Vec<arrow::ipc::Block>,
}

impl Decoder {
    fn new(bytes: arrow::buffer::Buffer, projection: Option<&[usize]>) -> Self {
        let trailer = bytes.len() - 10;
        let footer_len =
            arrow::ipc::reader::read_footer_length(bytes[trailer..].try_into().expect("ten bytes")).expect("a footer");
        let footer = arrow::ipc::root_as_footer(&bytes[trailer - footer_len..trailer]).expect("a footer");
        let schema = Arc::new(arrow::ipc::convert::fb_to_schema(footer.schema().expect("a schema")));
        let mut decoder = arrow::ipc::reader::FileDecoder::new(schema, footer.version());
        if let Some(projection) = projection {
            decoder = decoder.with_projection(projection.to_vec());
        }
        let blocks = footer.recordBatches().expect("batches").iter().copied().collect();
        Self { bytes, decoder, blocks }
    }

    fn for_each(&self, mut row: impl FnMut(RecordBatch)) {
        for block in &self.blocks {
            let len = block.bodyLength() as usize + block.metaDataLength() as usize;
            let data = self.bytes.slice_with_length(block.offset() as usize, len);
            row(self
                .decoder
                .read_record_batch(block, &data)
                .expect("a batch")
                .expect("rows"));
        }
    }
}

fn data_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("list") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "arrow" || extension == "feather")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "the data files are somewhere else");
    files
}

fn benches(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Db::open(dir.path(), Settings::default()).expect("open");
    let batch = trips(rows());
    let schema = TableSchema::new(batch.schema(), &["day", "carrier", "trip"]).expect("valid");
    let table = db.create_table("trips", schema).expect("create");
    table.insert(&batch).expect("insert");
    db.compact().expect("compact");
    let files = data_files(dir.path());
    // With the hidden columns left out, as the engine leaves them out.
    let own: Vec<usize> = (0..batch.num_columns()).collect();
    assert_eq!(scan(&table, None), arrow_read(&files, Some(&own)), "the same bytes");
    let mut group = criterion.benchmark_group("scan_batches");
    group.bench_function("kodiak/all", |b| b.iter(|| black_box(scan(&table, None))));
    group.bench_function("arrow_mapped/all", |b| {
        b.iter(|| black_box(arrow_mapped(&files, Some(&own))))
    });
    group.bench_function("arrow_read/all", |b| {
        b.iter(|| black_box(arrow_read(&files, Some(&own))))
    });
    group.bench_function("kodiak/two", |b| {
        b.iter(|| black_box(scan(&table, Some(&["delay", "distance"]))))
    });
    group.bench_function("arrow_mapped/two", |b| {
        b.iter(|| black_box(arrow_mapped(&files, Some(&[4, 5]))))
    });
    group.bench_function("arrow_read/two", |b| {
        b.iter(|| black_box(arrow_read(&files, Some(&[4, 5]))))
    });
    group.finish();
}

criterion_group! {
    name = scan_batches;
    config = Criterion::default().sample_size(10).warm_up_time(std::time::Duration::from_millis(300)).measurement_time(std::time::Duration::from_secs(1));
    targets = benches
}
criterion_main!(scan_batches);
