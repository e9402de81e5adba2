pub(crate) mod nested;

use std::path::Path;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use kodiak_core::block::Codecs;
use kodiak_core::conformance::format::{AMPLE, Draw, MemoryBytes, MemoryFile, Written};
use kodiak_core::options::{OptionValue, Options};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use super::*;

const ROW_GROUP: &str = "row_group_bytes";

fn write(schema: &TableSchema, batches: &[RecordBatch], compression: Compression, group: u64) -> (Vec<u8>, FileLayout) {
    let given = [(ROW_GROUP.to_owned(), OptionValue::Int(group))];
    let options = Options::resolve(FACTORY.component.options, given).expect("within the range");
    let file = MemoryFile::default();
    let mut writer = Parquet
        .create(Box::new(file.clone()), schema, &WriteOptions { compression, options })
        .expect("types that Parquet holds");
    batches.iter().for_each(|batch| writer.write(batch).expect("a block"));
    let layout = writer.finish(true).expect("memory does not fail");
    (file.bytes(), layout)
}

/// Reads a file as an outsider does, through the `parquet` crate.
fn outsider(bytes: &[u8]) -> (Arc<ParquetMetaData>, Vec<RecordBatch>) {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes::Bytes::copy_from_slice(bytes), options)
        .expect("metadata that the parquet crate reads");
    let metadata = builder.metadata().clone();
    let batches = builder.with_batch_size(1 << 20).build().expect("a reader");
    (
        metadata,
        batches
            .map(|batch| batch.expect("pages that the parquet crate reads"))
            .collect(),
    )
}

/// Blocks of 200 rows with keys of 8 bytes and values of up to 99.
pub(crate) fn key_value_batches(count: usize) -> Vec<RecordBatch> {
    let mut draw = Draw(count as u64);
    let rows = |block: usize| (0..200).map(move |row| block * 200 + row);
    let batch = |block| {
        let values = rows(block).map(|_| vec![draw.number() as u8 & 3; draw.below(100)]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(BinaryArray::from_iter_values(
                rows(block).map(|row| (row as u64).to_be_bytes()),
            )),
            Arc::new(BinaryArray::from_iter_values(values.collect::<Vec<_>>())),
            Arc::new(Int64Array::from_iter_values(rows(block).map(|row| row as i64 * 7))),
            Arc::new(Int8Array::from_iter_values(rows(block).map(|row| (row % 3) as i8))),
        ];
        RecordBatch::try_new(TableSchema::key_value().run_columns(), columns).expect("the run's columns")
    };
    (0..count).map(batch).collect()
}

/// Every file in a directory and those below it.
pub(crate) fn files_below(dir: &Path, out: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, out)
        } else {
            out.push(path)
        }
    }
}

/// A row of every type, with and without nulls.
pub(crate) fn every_type(rows: usize, start: usize) -> (TableSchema, RecordBatch) {
    let mut draw = Draw(start as u64);
    let numbers: Vec<i64> = (0..rows).map(|_| draw.number() as i64 >> draw.below(64)).collect();
    let small = Int64Array::from_iter(numbers.iter().map(|n| (n % 3 != 0).then_some(n % 100)));
    let wide = Int64Array::from_iter(numbers.iter().map(|n| (n % 5 != 0).then_some(*n)));
    let positive = Int64Array::from_iter_values(numbers.iter().map(|n| n & 0x7F));
    let text: StringArray = numbers
        .iter()
        .map(|n| (n % 7 != 0).then(|| "ä".repeat((n % 90).unsigned_abs() as usize)))
        .collect();
    let fixed = FixedSizeBinaryArray::try_from_sparse_iter_with_size(
        numbers
            .iter()
            .map(|n| (n % 4 != 0).then(|| n.to_be_bytes()[..5].to_vec())),
        5,
    )
    .expect("five bytes each");
    let cast = |array: &dyn Array, to: DataType| arrow::compute::cast(array, &to).expect("a cast that exists");
    let mut columns: Vec<(String, ArrayRef)> = vec![(
        "key".to_owned(),
        Arc::new(StringArray::from_iter_values(
            (0..rows).map(|row| format!("{:08}", row + start)),
        )),
    )];
    let mut add = |array: ArrayRef| {
        let name = format!("c{}", columns.len());
        columns.push((name, array));
    };
    for to in [
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Float32,
        DataType::Float64,
        DataType::Float16,
    ] {
        add(cast(&small, to));
    }
    for to in [
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Boolean,
    ] {
        add(cast(&positive, to));
    }
    use TimeUnit::*;
    for unit in [Second, Millisecond, Microsecond, Nanosecond] {
        add(cast(&wide, DataType::Timestamp(unit, None)));
        add(cast(&wide, DataType::Timestamp(unit, Some("+01:00".into()))));
        add(cast(&wide, DataType::Duration(unit)));
    }
    add(cast(&cast(&small, DataType::Int32), DataType::Date32));
    add(cast(&small, DataType::Date64));
    add(cast(&cast(&positive, DataType::Int32), DataType::Time32(Second)));
    add(cast(&cast(&positive, DataType::Int32), DataType::Time32(Millisecond)));
    add(cast(&positive, DataType::Time64(Microsecond)));
    add(cast(&positive, DataType::Time64(Nanosecond)));
    for to in [
        DataType::Decimal32(9, 2),
        DataType::Decimal64(18, 4),
        DataType::Decimal128(5, 1),
        DataType::Decimal128(16, 3),
        DataType::Decimal128(38, 6),
        DataType::Decimal256(70, 10),
        DataType::Decimal256(8, 2),
    ] {
        add(cast(&small, to));
    }
    for to in [
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Binary,
        DataType::LargeBinary,
        DataType::BinaryView,
    ] {
        add(cast(&text, to));
    }
    add(Arc::new(text));
    add(Arc::new(fixed));
    add(Arc::new(BooleanArray::from_iter(
        numbers.iter().map(|n| (n % 3 != 0).then_some(n % 2 == 0)),
    )));
    let fields: Vec<_> = columns
        .iter()
        .map(|(name, array)| Field::new(name, array.data_type().clone(), name != "key"))
        .collect();
    let schema = TableSchema::new(Arc::new(Schema::new(fields)), &["key"]).expect("a keyed table");
    let mut arrays: Vec<_> = columns.into_iter().map(|(_, array)| array).collect();
    arrays.push(Arc::new(Int64Array::from_iter_values(
        (0..rows).map(|row| (row + start) as i64),
    )));
    arrays.push(Arc::new(Int8Array::from_iter_values(
        (0..rows).map(|row| (row % 5 == 0).into()),
    )));
    let batch = RecordBatch::try_new(schema.run_columns(), arrays).expect("the run's columns");
    (schema, batch)
}

#[test]
fn every_type_reads_back_here_and_elsewhere() {
    let (schema, first) = every_type(300, 0);
    let batches = [first, every_type(1, 300).1, every_type(77, 301).1];
    let all = arrow::compute::concat_batches(&schema.run_columns(), &batches).expect("one schema");
    for compression in Compression::ALL {
        let (bytes, layout) = write(&schema, &batches, compression, 64 << 10);
        if compression == Compression::None {
            let (_, read) = outsider(&bytes);
            let read = arrow::compute::concat_batches(&read[0].schema(), &read).expect("one schema");
            for (index, field) in schema.run_columns().fields().iter().enumerate() {
                assert_eq!(read.column(index), all.column(index), "{field}");
            }
        }
        let codecs = Codecs::new(&schema);
        let shared = [fetch(&bytes, layout.shared[0])];
        let decoder = Parquet.open(&schema, &codecs, &shared, AMPLE).expect("own file");
        for (handle, batch) in layout.blocks.iter().zip(&batches) {
            let parts: Vec<_> = handle.parts.iter().map(|part| fetch(&bytes, *part)).collect();
            let block = decoder
                .decode(handle, &parts, &Projection::All)
                .expect("own block")
                .columns()
                .expect("columns");
            let Values::Columns(values, _) = block.values() else {
                panic!("a typed block")
            };
            for (index, field) in schema.columns().fields().iter().enumerate() {
                assert_eq!(
                    values.column(index),
                    batch.column(index),
                    "{} {field}",
                    compression.name()
                );
            }
            assert_eq!(
                block.seqs(),
                batch.column(values.num_columns()).as_primitive::<Int64Type>().values()
            );
        }
    }
}

fn fetch(bytes: &[u8], part: kodiak_core::format::Part) -> Buffer {
    Buffer::from(&bytes[part.offset as usize..][..part.len as usize])
}

#[test]
fn pages_of_all_columns_line_up_with_blocks_and_carry_indexes() {
    let batches = key_value_batches(40);
    let (bytes, layout) = write(&TableSchema::key_value(), &batches, Compression::None, 64 << 10);
    let (metadata, read) = outsider(&bytes);
    assert!(metadata.num_row_groups() > 1, "the option ends row groups");
    assert_eq!(
        read.iter().map(RecordBatch::num_rows).sum::<usize>(),
        batches.len() * 200
    );
    let offsets = metadata.offset_index().expect("an offset index");
    let columns = metadata.column_index().expect("a column index");
    let mut blocks = layout.blocks.iter();
    for (group, pages) in offsets.iter().enumerate() {
        let count = pages[0].page_locations().len();
        for (page, block) in (0..count).zip(&mut blocks) {
            for (column, part) in pages.iter().zip(&block.parts) {
                let location = &column.page_locations()[page];
                assert_eq!(
                    pages[0].page_locations()[page].first_row_index,
                    location.first_row_index
                );
                assert_eq!(
                    (location.offset as u64, location.compressed_page_size as u64),
                    (part.offset, part.len)
                );
            }
        }
        assert!(columns[group][0].is_sorted(), "keys ascend");
        assert_eq!(columns[group][3].num_pages(), count as u64);
        assert!(metadata.row_group(group).column(0).statistics().is_some());
        assert!(
            metadata.row_group(group).column(1).statistics().is_none(),
            "opaque values have no bounds"
        );
        assert_eq!(metadata.row_group(group).sorting_columns().map(Vec::len), Some(1));
    }
    assert!(blocks.next().is_none());
}

#[test]
fn bounds_hold_for_every_value() {
    let (schema, batch) = every_type(500, 0);
    let (bytes, _) = write(&schema, std::slice::from_ref(&batch), Compression::None, 8 << 20);
    let (metadata, _) = outsider(&bytes);
    use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
    let mut checked = 0;
    for (index, field) in schema.run_columns().fields().iter().enumerate() {
        let run = schema.run_columns();
        let descriptor = metadata.file_metadata().schema_descr();
        let Ok(converter) = StatisticsConverter::try_new(field.name(), &run, descriptor) else {
            continue;
        };
        let minima = converter.row_group_mins(metadata.row_groups()).expect("statistics");
        let maxima = converter.row_group_maxes(metadata.row_groups()).expect("statistics");
        if minima.null_count() > 0 || minima.data_type() != field.data_type() {
            continue;
        }
        let order = |bound: &ArrayRef, row: usize| {
            let compare = make_comparator(bound.as_ref(), batch.column(index).as_ref(), Default::default());
            compare.expect("an order")(0, row)
        };
        for row in (0..batch.num_rows()).filter(|&row| batch.column(index).is_valid(row)) {
            assert!(
                order(&minima, row).is_le() && order(&maxima, row).is_ge(),
                "{field} row {row}"
            );
        }
        checked += 1;
    }
    assert!(checked > 30, "only {checked} columns have bounds");
}

#[test]
fn recovery_finds_the_layout_and_notices_damage() {
    for compression in Compression::ALL {
        let schema = TableSchema::key_value();
        let (bytes, layout) = write(&schema, &key_value_batches(20), compression, 64 << 10);
        assert_eq!(
            Parquet
                .recover(&MemoryBytes(bytes.clone()), &schema)
                .expect("a whole file"),
            layout
        );
        for block in &layout.blocks {
            for part in &block.parts {
                let mut damaged = bytes.clone();
                damaged[(part.offset + part.len - 1) as usize] ^= 0x10;
                let error = Parquet
                    .recover(&MemoryBytes(damaged), &schema)
                    .expect_err("a flipped bit");
                assert_eq!(error.kind(), kodiak_core::ErrorKind::Corruption);
            }
        }
        for len in (0..bytes.len()).step_by(37) {
            assert!(
                Parquet.recover(&MemoryBytes(bytes[..len].to_vec()), &schema).is_err(),
                "cut to {len}"
            );
        }
        let other = every_type(1, 0).0;
        assert!(
            Parquet.recover(&MemoryBytes(bytes), &other).is_err(),
            "a file of another table"
        );
    }
}

#[test]
fn flipped_bits_in_typed_blocks_never_panic() {
    let (schema, batch) = every_type(60, 0);
    for compression in Compression::ALL {
        let written =
            Written::new(&FACTORY, compression, &schema, std::slice::from_ref(&batch), 1 << 20).expect("a file");
        let handle = &written.layout.blocks[0];
        let parts: Vec<_> = handle.parts.iter().map(|part| fetch(&written.bytes, *part)).collect();
        let mut draw = Draw(7);
        for round in 0..3000 {
            let mut damaged = parts.clone();
            let index = round % parts.len();
            let mut part = parts[index].to_vec();
            for _ in 0..=draw.below(3) {
                // Headers and levels come first: more of the flips go there.
                let span = if round % 2 == 0 { part.len() } else { part.len().min(50) };
                part[draw.below(span)] ^= 1 << draw.below(8);
            }
            damaged[index] = Buffer::from_vec(part);
            if let Err(error) = written.decode(handle, &damaged, &Projection::All) {
                assert_ne!(error.kind(), kodiak_core::ErrorKind::Io, "{error}");
            }
        }
    }
}

#[test]
fn a_page_that_claims_more_than_allowed_is_refused_before_memory_is_taken() {
    let column = &Plan::new(&TableSchema::key_value()).expect("a plan").columns[0];
    let rows = i32::MAX as usize;
    let mut bytes = Vec::new();
    let header = |uncompressed, compressed, is_compressed| page::PageHeader {
        uncompressed,
        compressed,
        crc: None,
        values: rows,
        rows,
        nulls: 0,
        encoding: column.store.encoding(),
        repetitions: 0,
        definitions: 0,
        is_compressed,
    };
    header(rows, 1, true).write(&mut bytes);
    bytes.push(0);
    let mut budget = Budget::new(1 << 20);
    let error = Page::open(column, Compression::Lz4, &Buffer::from_vec(bytes), rows, &mut budget).expect_err("2 GiB");
    assert!(error.to_string().contains("more than is allowed"), "{error}");
    // Few bytes may stand for many rows of no length.
    let mut body = Vec::new();
    delta::encode(2, [0, 0].into_iter(), &mut body);
    let mut bytes = Vec::new();
    header(body.len(), body.len(), false).write(&mut bytes);
    bytes.extend(body);
    let page = Page::open(column, Compression::None, &Buffer::from_vec(bytes), rows, &mut budget).expect("a header");
    let error = page.binary(&mut budget).expect_err("8 GiB of offsets");
    assert!(error.to_string().contains("more than is allowed"), "{error}");
}

#[test]
fn files_of_a_public_corpus_are_read_or_refused() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora/parquet");
    if !corpus.is_dir() {
        eprintln!("skipped: there is no Parquet corpus at {}", corpus.display());
        return;
    }
    let mut files = Vec::new();
    files_below(&corpus, &mut files);
    let mut walked = 0;
    for path in &files {
        let Ok(bytes) = std::fs::read(path) else { continue };
        let file = MemoryBytes(bytes);
        // As another table's file: refused for its schema at the latest.
        assert!(
            Parquet.recover(&file, &TableSchema::key_value()).is_err(),
            "{}",
            path.display()
        );
        // As if the schema fitted: the pages themselves.
        if let Ok((footer, part)) = recover::read_footer(&file) {
            for group in &footer.groups {
                let mut blocks = Vec::new();
                if recover::walk(&file, group, group.chunks.len(), part.offset, &mut blocks).is_ok() {
                    assert_eq!(
                        blocks.iter().map(|block| u64::from(block.rows)).sum::<u64>(),
                        group.rows
                    );
                    walked += 1;
                }
            }
        }
    }
    assert!(
        files.len() > 50 && walked > 0,
        "{} files, {walked} row groups of pages like ours",
        files.len()
    );
}

#[test]
fn the_bytes_of_a_small_file_are_golden() {
    let schema = TableSchema::key_value();
    let batch = RecordBatch::try_new(
        schema.run_columns(),
        vec![
            Arc::new(BinaryArray::from_vec(vec![b"a", b"bc"])),
            Arc::new(BinaryArray::from_vec(vec![b"one", b""])),
            Arc::new(Int64Array::from(vec![7, 5])),
            Arc::new(Int8Array::from(vec![0, 1])),
        ],
    )
    .expect("the run's columns");
    let (bytes, layout) = write(&schema, &[batch], Compression::None, 8 << 20);
    let pages: Vec<Vec<u8>> = layout.blocks[0]
        .parts
        .iter()
        .map(|part| fetch(&bytes, *part).to_vec())
        .collect();
    // After each header: block size 128 (0x80 0x01), 4 miniblocks, 2 values, the first, the smallest difference, widths.
    assert!(
        pages[0].ends_with(&[0x80, 1, 4, 2, 2, 2, 0, 0, 0, 0, b'a', b'b', b'c']),
        "{:02x?}",
        pages[0]
    );
    assert!(
        pages[1].ends_with(&[0x80, 1, 4, 2, 6, 5, 0, 0, 0, 0, b'o', b'n', b'e']),
        "{:02x?}",
        pages[1]
    );
    assert!(
        pages[2].ends_with(&[7, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]),
        "{:02x?}",
        pages[2]
    );
    assert!(
        pages[3].ends_with(&[0x80, 1, 4, 2, 0, 2, 0, 0, 0, 0]),
        "{:02x?}",
        pages[3]
    );
    assert_eq!(layout.blocks[0].parts[0].offset, 4);
    assert_eq!(
        (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()),
        (Some(b"PAR1"), Some(b"PAR1"))
    );
}
