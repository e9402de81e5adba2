use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use arrow::array::*;
use arrow::buffer::Buffer;
use arrow::compute::concat_batches;
use arrow::datatypes::*;
use arrow::ipc;
use kodiak_core::conformance::format::{Draw, random_column, random_nested};
use kodiak_core::storage::ReadableFile;
use kodiak_core::{ErrorKind, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::Encoding;
use parquet::file::properties::{WriterProperties, WriterVersion};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{OutsideFile, is_decoding};
use crate::parquet::tests::nested::same;

#[derive(Debug)]
struct Bytes(Buffer);

impl ReadableFile for Bytes {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, len: usize) -> Result<Buffer> {
        let at = offset as usize;
        match self.0.get(at..at.saturating_add(len)) {
            Some(bytes) => Ok(Buffer::from(bytes)),
            None => Err(kodiak_core::Error::corruption("beyond the end")),
        }
    }

    fn map(&self) -> Result<Option<Buffer>> {
        Ok(None)
    }
}

/// Every column that can be read.
fn read(bytes: &[u8]) -> Result<RecordBatch> {
    quiet();
    let file = OutsideFile::open(Arc::new(Bytes(Buffer::from(bytes))))?;
    let flat = |field: &FieldRef| super::pieces::offered(field.data_type()).is_some();
    let fields = file.schema().fields().iter().enumerate();
    let columns: Vec<usize> = fields
        .filter(|(_, field)| flat(field))
        .map(|(index, _)| index)
        .collect();
    if columns.is_empty() {
        return Err(kodiak_core::Error::invalid_input("no column can be read"));
    }
    let batches = file.batches(&columns)?;
    let schema = Arc::clone(batches.schema());
    let batches = batches.collect::<Result<Vec<_>>>()?;
    Ok(concat_batches(&schema, &batches).expect("of one schema"))
}

/// Panics of decoders are caught: they need not be seen.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !is_decoding() {
                before(panic);
            }
        }));
    });
}

/// Rows of many types, a third of them null where they may be.
fn rows(count: usize) -> RecordBatch {
    let some = |row: usize| !row.is_multiple_of(3);
    let texts = || (0..count).map(move |row| some(row).then(|| format!("text {}", row % 40 * 1000)));
    let numbers = || (0..count).map(move |row| some(row).then_some(row as i64 * 7 - 5));
    let words: DictionaryArray<Int16Type> = (0..count)
        .map(|row| some(row).then_some(["red", "green", "a much longer word than the others"][row % 2]))
        .collect();
    let decimals = Decimal128Array::from_iter(numbers().map(|number| number.map(i128::from)))
        .with_precision_and_scale(20, 3)
        .expect("valid");
    let stamps = TimestampMicrosecondArray::from_iter(numbers()).with_timezone("Europe/Rome");
    let fixed = FixedSizeBinaryArray::try_from_sparse_iter_with_size(
        (0..count).map(|row| some(row).then_some([row as u8, 1, 2])),
        3,
    );
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(0..count as i64))),
        (
            "small",
            Arc::new(Int8Array::from_iter(numbers().map(|n| n.map(|n| n as i8)))),
        ),
        (
            "unsigned",
            Arc::new(UInt32Array::from_iter(numbers().map(|n| n.map(|n| n as u32)))),
        ),
        (
            "half",
            Arc::new(Float64Array::from_iter(numbers().map(|n| n.map(|n| n as f64 / 2.0)))),
        ),
        (
            "truth",
            Arc::new(BooleanArray::from_iter(numbers().map(|n| n.map(|n| n % 2 == 0)))),
        ),
        ("text", Arc::new(StringArray::from_iter(texts()))),
        ("large", Arc::new(LargeStringArray::from_iter(texts()))),
        ("view", Arc::new(StringViewArray::from_iter(texts()))),
        (
            "bytes",
            Arc::new(BinaryArray::from_iter(texts().map(|t| t.map(String::into_bytes)))),
        ),
        ("word", Arc::new(words)),
        ("price", Arc::new(decimals)),
        ("at", Arc::new(stamps)),
        (
            "day",
            Arc::new(Date32Array::from_iter(numbers().map(|n| n.map(|n| n as i32)))),
        ),
        ("fixed", Arc::new(fixed.expect("valid"))),
    ];
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

/// What is expected to be read: without dictionaries.
fn plain(batch: &RecordBatch) -> Vec<ArrayRef> {
    let plain = |column: &ArrayRef| match column.data_type() {
        DataType::Dictionary(_, values) => arrow::compute::cast(column, values).expect("a dictionary"),
        _ => Arc::clone(column),
    };
    batch.columns().iter().map(plain).collect()
}

fn feather(batch: &RecordBatch, compression: Option<ipc::CompressionType>) -> Vec<u8> {
    let options = ipc::writer::IpcWriteOptions::default()
        .try_with_compression(compression)
        .expect("compiled in");
    let mut writer =
        ipc::writer::FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options).expect("writer");
    let half = batch.num_rows() / 2;
    for piece in [batch.slice(0, half), batch.slice(half, batch.num_rows() - half)] {
        writer.write(&piece).expect("memory");
    }
    writer.into_inner().expect("finished")
}

fn parquet(batch: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut out, batch.schema(), Some(properties)).expect("a writer");
    writer.write(batch).expect("memory");
    writer.close().expect("finished");
    out
}

fn parquets(batch: &RecordBatch) -> Vec<Vec<u8>> {
    let small = || {
        WriterProperties::builder()
            .set_data_page_row_count_limit(500)
            .set_write_batch_size(100)
            .set_max_row_group_row_count(Some(1200))
    };
    let delta = || {
        small()
            .set_dictionary_enabled(false)
            .set_writer_version(WriterVersion::PARQUET_2_0)
    };
    vec![
        parquet(batch, small().build()),
        parquet(batch, delta().build()),
        parquet(batch, small().set_dictionary_enabled(false).build()),
        parquet(
            batch,
            delta()
                .set_column_encoding("text".into(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
                .set_column_encoding("half".into(), Encoding::BYTE_STREAM_SPLIT)
                .build(),
        ),
    ]
}

#[test]
fn files_of_other_writers_are_read_as_they_were_written() {
    let batch = rows(3000);
    let mut files = parquets(&batch);
    for compression in [
        None,
        Some(ipc::CompressionType::LZ4_FRAME),
        Some(ipc::CompressionType::ZSTD),
    ] {
        files.push(feather(&batch, compression));
    }
    for (nth, file) in files.iter().enumerate() {
        let found = read(file).unwrap_or_else(|error| panic!("file {nth}: {error}"));
        for (index, expected) in plain(&batch).iter().enumerate() {
            let name = batch.schema_ref().field(index).name();
            assert_eq!(found.column(index), expected, "file {nth}, column {name}");
        }
    }
}

/// The columns that ORC has types for.
fn orc(batch: &RecordBatch) -> (RecordBatch, Vec<u8>) {
    let names = ["id", "small", "half", "truth", "text", "bytes", "day"];
    let columns: Vec<usize> = names
        .iter()
        .map(|name| batch.schema_ref().index_of(name).expect(name))
        .collect();
    let batch = batch.project(&columns).expect("columns");
    let mut out = Vec::new();
    let writer = orc_rust::ArrowWriterBuilder::new(&mut out, batch.schema());
    let mut writer = writer.with_stripe_byte_size(20_000).try_build().expect("a writer");
    for at in (0..batch.num_rows()).step_by(500) {
        writer
            .write(&batch.slice(at, 500.min(batch.num_rows() - at)))
            .expect("memory");
    }
    writer.close().expect("finished");
    (batch, out)
}

#[test]
fn orc_files_of_another_writer_are_read_as_they_were_written() {
    let (batch, file) = orc(&rows(3000));
    let found = read(&file).expect("a file");
    for (index, expected) in batch.columns().iter().enumerate() {
        assert_eq!(
            found.column(index),
            expected,
            "column {}",
            batch.schema_ref().field(index).name()
        );
    }
}

#[test]
fn columns_are_read_in_the_order_asked_for() {
    let batch = rows(10);
    for file in [feather(&batch, None), parquets(&batch).remove(0)] {
        let file = OutsideFile::open(Arc::new(Bytes(Buffer::from_vec(file)))).expect("a file");
        let batches = file.batches(&[5, 0]).expect("columns");
        let batches: Vec<_> = batches.collect::<Result<_>>().expect("rows");
        assert_eq!(
            batches[0].column(1),
            &batch.slice(0, batches[0].num_rows()).column(0).clone()
        );
        assert_eq!(batches[0].schema_ref().field(0).name(), "text");
    }
}

/// Random nested columns.
fn nested(seed: u64, rows: usize) -> RecordBatch {
    let mut draw = Draw(seed);
    let columns = (0..4).map(|at| {
        let of = random_nested(&mut draw);
        (format!("c{at}"), random_column(&mut draw, &of, true, rows))
    });
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).expect("of one length")
}

#[test]
fn nested_columns_of_other_writers_are_read_as_they_were_written() {
    for seed in 1..20 {
        let batch = nested(seed, 3000);
        let mut files = parquets(&batch);
        files.push(feather(&batch, None));
        files.push(feather(&batch, Some(ipc::CompressionType::ZSTD)));
        for (nth, file) in files.iter().enumerate() {
            let found = read(file).unwrap_or_else(|error| panic!("seed {seed}, file {nth}: {error}"));
            for (field, (found, expected)) in batch
                .schema()
                .fields()
                .iter()
                .zip(found.columns().iter().zip(batch.columns()))
            {
                assert!(same(found, expected), "seed {seed}, file {nth}, {field}");
            }
        }
    }
}

#[test]
fn columns_of_types_that_tables_lack_are_refused_by_name() {
    let none = StructArray::new_empty_fields(2, None);
    let id = Int32Array::from(vec![1, 2]);
    let batch = RecordBatch::try_from_iter([("id", Arc::new(id) as ArrayRef), ("none", Arc::new(none))]);
    let file = feather(&batch.expect("valid"), None);
    assert_eq!(read(&file).expect("the others").num_columns(), 1);
    let file = OutsideFile::open(Arc::new(Bytes(Buffer::from_vec(file)))).expect("a file");
    let error = file.batches(&[1]).expect_err("a struct without members");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("\"none\""), "{error}");
}

#[test]
fn a_dictionary_is_never_unpacked_beyond_what_is_allowed() {
    // Two thousand rows that share a value of 1 MiB.
    let long = "x".repeat(1 << 20);
    let words: DictionaryArray<Int16Type> = (0..2000).map(|_| Some(long.as_str())).collect();
    let batch = RecordBatch::try_from_iter([("word", Arc::new(words) as ArrayRef)]).expect("valid");
    let properties = WriterProperties::builder()
        .set_dictionary_page_size_limit(8 << 20)
        .build();
    for file in [feather(&batch, None), parquet(&batch, properties)] {
        assert!(file.len() < 4 << 20);
        let file = OutsideFile::open(Arc::new(Bytes(Buffer::from_vec(file)))).expect("a file");
        let mut rows = 0;
        for piece in file.batches(&[0]).expect("columns") {
            let piece = piece.expect("rows");
            assert!(
                piece.get_array_memory_size() < 80 << 20,
                "{}",
                piece.get_array_memory_size()
            );
            rows += piece.num_rows();
        }
        assert_eq!(rows, 2000);
    }
}

#[test]
fn damage_is_an_error_or_goes_unseen_but_is_never_a_panic() {
    let batch = rows(300);
    let mut files = parquets(&batch);
    files.push(feather(&batch, None));
    files.push(feather(&batch, Some(ipc::CompressionType::ZSTD)));
    files.push(orc(&batch).1);
    for seed in 1..4 {
        let batch = nested(seed, 300);
        files.extend(parquets(&batch).into_iter().take(2));
        files.push(feather(&batch, None));
    }
    let mut random = StdRng::seed_from_u64(7);
    let mut refused = 0;
    for file in &files {
        for _ in 0..150 {
            let mut damaged = file.clone();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..damaged.len());
                damaged[at] ^= 1 << random.random_range(0..8);
            }
            refused += usize::from(read(&damaged).is_err());
        }
        for _ in 0..50 {
            let cut = random.random_range(0..file.len());
            read(&file[..cut]).expect_err("cut short");
        }
    }
    assert!(refused > 100, "only {refused} were refused");
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn the_published_corpora_are_read_or_refused() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora");
    let mut files = Vec::new();
    walk(&corpora, &mut files);
    if files.is_empty() {
        eprintln!("skipped: there are no corpora beside the repository");
        return;
    }
    // By folder, how many were read and how many refused.
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for path in files {
        let folder = path.parent().expect("a folder").strip_prefix(&corpora).expect("below");
        let counts = counts.entry(folder.to_string_lossy().into_owned()).or_default();
        match read(&std::fs::read(&path).expect("readable")) {
            Ok(found) => {
                counts.0 += 1;
                if folder.starts_with("orc") {
                    agrees(&path, &found);
                }
            }
            Err(error) => {
                if std::env::var_os("KODIAK_SHOW").is_some() {
                    eprintln!("{}: {error}", path.display());
                }
                counts.1 += 1;
            }
        }
    }
    eprintln!("read, refused: {counts:?}");
    assert!(counts["parquet/data"].0 >= 20, "{counts:?}");
    assert!(counts["orc/examples"].0 >= 13, "{counts:?}");
}

/// Compares what was read of an ORC file with what another reader reads.
fn agrees(path: &Path, found: &RecordBatch) {
    let other = std::panic::catch_unwind(|| {
        let file = std::fs::File::open(path).expect("readable");
        let reader = orc_rust::ArrowReaderBuilder::try_new(file).ok()?.build();
        let schema = reader.schema();
        let batches = reader.collect::<Result<Vec<_>, _>>().ok()?;
        concat_batches(&schema, &batches).ok()
    });
    let Ok(Some(other)) = other else { return };
    assert_eq!(found.num_rows(), other.num_rows(), "{}", path.display());
    for (field, column) in found.schema_ref().fields().iter().zip(found.columns()) {
        let expected = other.column_by_name(field.name()).expect("a column");
        if field.data_type().is_nested() {
            assert!(same(column, expected), "{}: column {}", path.display(), field.name());
            continue;
        }
        let expected = arrow::compute::cast(expected, field.data_type()).expect("a type alike");
        assert_eq!(column, &expected, "{}: column {}", path.display(), field.name());
    }
}
