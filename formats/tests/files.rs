//! What lies in the files: golden bytes, other readers, files from elsewhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int8Array, Int64Array, RecordBatch};
use arrow::ipc::reader::FileReader;
use kodiak_core::conformance::format::{AMPLE, MemoryBytes, Written, random_batches};
use kodiak_core::entry::MAX_SEQ;
use kodiak_core::format::{Compression, Projection, WriteOptions};
use kodiak_core::options::{OptionValue, Options};
use kodiak_core::schema::TableSchema;
use kodiak_formats::{feather, row};

/// Four entries: two versions of a key, a neighbour that shares a prefix, a delete.
fn tiny() -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(BinaryArray::from_iter_values(["apple", "apple", "apply", "b"])),
        Arc::new(BinaryArray::from_iter_values(["new", "old", "+", ""])),
        Arc::new(Int64Array::from(vec![300, 100, 101, 102])),
        Arc::new(Int8Array::from(vec![0, 0, 2, 1])),
    ];
    RecordBatch::try_new(TableSchema::key_value().run_columns(), columns).expect("the run's columns")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_of_a_row_file_are_golden() {
    let options = Options::resolve(
        row::FACTORY.component.options,
        [("restart_interval".into(), OptionValue::Int(3))],
    );
    let options = WriteOptions {
        compression: Compression::None,
        options: options.expect("valid"),
    };
    let schema = TableSchema::key_value();
    let written = Written::with_options(&row::FACTORY, &options, &schema, &[tiny()], AMPLE).expect("written");
    let golden = [
        "4b4f4449414b5257 01000000 00000000",         // Magic, version 1.
        "00000000 37000000",                          // Block: not compressed, 55 bytes.
        "00 05 0c c801 6170706c65 6e6577",            // apple@300 put "new".
        "05 00 0c 00 6f6c64",                         // apple@100 put "old".
        "04 01 06 01 79 2b",                          // appl|y@101 merge "+".
        "00 01 01 02 62",                             // A restart: b@102 delete.
        "00000000 1a000000",                          // Restart points.
        "6400000000000000 04000000 03000000",         // Lowest sequence number, rows, restart interval.
        "1000000000000000 3f00000000000000 04000000", // Footer: the block's range and rows,
    ];
    let golden = golden.concat().replace(' ', "");
    assert_eq!(hex(&written.bytes[..golden.len() / 2]), golden);
    let crc = written.layout.blocks[0].parts[0].crc;
    assert_eq!(
        hex(&written.bytes[golden.len() / 2..golden.len() / 2 + 4]),
        hex(&crc.to_le_bytes())
    );
    assert_eq!(written.bytes.len(), golden.len() / 2 + 4 + 16);
    assert!(written.bytes.ends_with(b"KODIAKRW"));
}

#[test]
fn the_layout_of_a_feather_file_is_golden() {
    let schema = TableSchema::key_value();
    let written = Written::new(&feather::FACTORY, Compression::None, &schema, &[tiny()], AMPLE).expect("written");
    let part = written.layout.blocks[0].parts[0];
    assert!(written.bytes.starts_with(b"ARROW1\0\0\xFF\xFF\xFF\xFF") && written.bytes.ends_with(b"ARROW1"));
    assert_eq!((part.offset % 64, part.len % 64), (0, 0));
    assert_eq!(
        (part.offset, part.len, crc32fast::hash(&written.bytes)),
        (320, 704, FEATHER_CRC)
    );
    // Each buffer begins at a multiple of 64 bytes of the file; the keys are the first that has bytes after offsets.
    let keys = written
        .bytes
        .windows(16)
        .position(|bytes| bytes == b"appleappleapplyb")
        .expect("keys as they are");
    assert_eq!(keys % 64, 0);
}

/// Of the whole file of `tiny`. A change means that files written before look different: is that intended?
const FEATHER_CRC: u32 = 1_746_824_154;

#[test]
fn arrow_reads_feather_files_of_every_compression() {
    let batches = random_batches();
    for compression in Compression::ALL {
        let schema = TableSchema::key_value();
        let written = Written::new(&feather::FACTORY, compression, &schema, &batches, AMPLE).expect("written");
        let reader = FileReader::try_new(std::io::Cursor::new(&written.bytes), None).expect("a Feather file");
        assert_eq!(reader.schema(), schema.run_columns());
        let read: Vec<_> = reader.map(|batch| batch.expect("a batch")).collect();
        assert_eq!(read, batches, "{}", compression.name());
        // The stream inside the file, from the eighth byte on, is well-formed too.
        let stream = arrow::ipc::reader::StreamReader::try_new(&written.bytes[8..], None).expect("a stream");
        assert_eq!(stream.map(|batch| batch.expect("a batch")).collect::<Vec<_>>(), batches);
    }
}

#[test]
fn uncompressed_feather_blocks_refer_to_the_bytes_given() {
    let schema = TableSchema::key_value();
    let written = Written::new(&feather::FACTORY, Compression::None, &schema, &[tiny()], AMPLE).expect("written");
    let handle = &written.layout.blocks[0];
    let part = kodiak_core::conformance::format::fetch(&written.bytes, &handle.parts[0]);
    let range = part.as_ptr_range();
    let block = written
        .decode(handle, std::slice::from_ref(&part), &Projection::All)
        .expect("decoded");
    let value = block.find(b"apple", MAX_SEQ).expect("searched").expect("found").value;
    assert_eq!(value, b"new");
    assert!(range.contains(&value.as_ptr()));
    let columns = block.columns().expect("columns");
    assert!(range.contains(&columns.key(0).as_ptr()) && range.contains(&columns.seqs().inner().as_ptr()));
}

#[test]
fn row_blocks_are_searched_with_any_restart_interval() {
    let schema = TableSchema::key_value();
    let batches = random_batches();
    for interval in [1, 2, 5, 1024] {
        let given = [("restart_interval".to_owned(), OptionValue::Int(interval))];
        let options = Options::resolve(row::FACTORY.component.options, given).expect("valid");
        let options = WriteOptions {
            compression: Compression::None,
            options,
        };
        let written = Written::with_options(&row::FACTORY, &options, &schema, &batches, AMPLE).expect("written");
        for index in 0..batches.len() {
            let block = written.block(index, &Projection::All).expect("decoded");
            let columns = Arc::clone(&block).columns().expect("columns");
            for row in 0..columns.rows() {
                for seq in [columns.seq(row), MAX_SEQ, columns.seq(row) - 1] {
                    let found = block.find(columns.key(row), seq).expect("searched");
                    let at = columns.lower_bound(columns.key(row), seq);
                    let expected = (at < columns.rows() && columns.key(at) == columns.key(row)).then_some(at);
                    assert_eq!(found.map(|found| found.row), expected, "interval {interval} row {row}");
                }
            }
        }
    }
}

/// The files below a directory.
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

/// Every reader of runs gets every file of the corpora, its own kind and others; readers that take them apart further are in
/// the formats' own tests.
#[test]
fn files_from_elsewhere_are_refused_without_panic_by_every_format() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora");
    let mut files = Vec::new();
    walk(&corpora, &mut files);
    if files.is_empty() {
        eprintln!("skipped: there are no corpora at {}", corpora.display());
        return;
    }
    assert!(files.len() > 300, "{} files: are these all?", files.len());
    let schemas = [TableSchema::key_value(), typed()];
    for path in &files {
        let file = MemoryBytes(std::fs::read(path).expect("readable"));
        for factory in kodiak_formats::ALL {
            for schema in &schemas {
                assert!(
                    (factory.create)().recover(&file, schema).is_err(),
                    "{} takes {} for a run of Kodiak's",
                    factory.component.name,
                    path.display()
                );
            }
        }
    }
}

fn typed() -> TableSchema {
    use arrow::datatypes::{DataType, Field, Schema};
    let fields = vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("f0", DataType::Int32, true),
    ];
    TableSchema::new(Arc::new(Schema::new(fields)), &["name"]).expect("a schema")
}
