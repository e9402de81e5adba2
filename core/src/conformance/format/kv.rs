//! Key-value blocks.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int8Array, Int64Array, RecordBatch};

use super::{AMPLE, Draw, MemoryBytes, Written, fetch};
use crate::block::{Block, Values};
use crate::entry::{MAX_SEQ, Op, SeqNo};
use crate::format::{Compression, FormatFactory, Part, Projection};
use crate::schema::TableSchema;

/// One row of the model.
type Row = (Vec<u8>, SeqNo, Op, Vec<u8>);

fn batch_of(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(BinaryArray::from_iter_values(rows.iter().map(|row| &row.0))),
        Arc::new(BinaryArray::from_iter_values(rows.iter().map(|row| &row.3))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1 as i64))),
        Arc::new(Int8Array::from_iter_values(rows.iter().map(|row| row.2 as i8))),
    ];
    RecordBatch::try_new(TableSchema::key_value().run_columns(), columns).expect("the run's columns")
}

/// Sorted rows: keys with shared prefixes, many versions of some, every operation, empty keys and values.
fn random_rows(draw: &mut Draw, keys: usize) -> Vec<Row> {
    let mut names = BTreeSet::new();
    names.insert(Vec::new());
    while names.len() < keys {
        let len = draw.below(24);
        let mut name: Vec<u8> = b"common/prefix/"[..draw.below(15)].to_vec();
        name.extend((0..len).map(|_| [0, b'a', b'b', b'z', 0xFF][draw.below(5)]));
        names.insert(name);
    }
    let mut rows = Vec::new();
    for name in names {
        let mut seq = 1 + draw.below(1 << 40) as SeqNo;
        let versions = if draw.below(5) == 0 { 1 + draw.below(20) } else { 1 };
        for _ in 0..versions {
            let op = [Op::Put, Op::Put, Op::Put, Op::Delete, Op::Merge][draw.below(5)];
            let len = [0, 1, 8, 100, 300][draw.below(5)];
            let value = if op == Op::Delete {
                Vec::new()
            } else {
                (0..len).map(|_| draw.number() as u8 & 0x1F).collect()
            };
            rows.push((name.clone(), seq, op, value));
            if seq == 1 {
                break;
            }
            seq -= 1 + draw.below((seq - 1).min(1000) as usize) as SeqNo;
        }
    }
    rows
}

fn models() -> Vec<Vec<Row>> {
    let mut draw = Draw(7);
    let mut models: Vec<_> = [1, 2, 16, 17, 300]
        .iter()
        .map(|&keys| random_rows(&mut draw, keys))
        .collect();
    models.push(vec![
        (b"k".to_vec(), MAX_SEQ, Op::Put, vec![0xA5; 1 << 20]),
        (b"l".to_vec(), 1, Op::Delete, vec![]),
    ]);
    models.push(
        (1..100)
            .rev()
            .map(|seq| (vec![b'v'; 1000], seq, Op::Merge, vec![seq as u8]))
            .collect(),
    );
    models
}

/// Batches of a key-value run, as the suite draws them; each is sorted, they do not follow each other.
pub fn random_batches() -> Vec<RecordBatch> {
    models().iter().map(|rows| batch_of(rows)).collect()
}

fn write(factory: &FormatFactory, compression: Compression, models: &[Vec<Row>]) -> Written {
    let batches: Vec<_> = models.iter().map(|rows| batch_of(rows)).collect();
    Written::new(factory, compression, &TableSchema::key_value(), &batches, AMPLE).expect("written and opened")
}

/// What is written is read, whole and by keys only.
pub fn blocks_round_trip(factory: &FormatFactory, compression: Compression) {
    let models = models();
    let written = write(factory, compression, &models);
    for (index, rows) in models.iter().enumerate() {
        let block = written.block(index, &Projection::All).expect("decoded");
        assert_eq!(block.rows(), rows.len());
        assert!(block.memory() > 0);
        let columns = block.columns().expect("columns");
        assert!(matches!(columns.values(), Values::Binary(_)));
        for (row, (key, seq, op, value)) in rows.iter().enumerate() {
            let entry = columns.entry(row);
            assert!(entry.key == key && entry.value == value, "block {index} row {row}");
            assert_eq!((entry.seq, entry.op), (*seq, *op));
            assert_eq!(columns.value(row).expect("a value"), *value);
        }
        let keys = written
            .block(index, &Projection::Keys)
            .expect("decoded")
            .columns()
            .expect("columns");
        assert_eq!(keys.rows(), rows.len());
        for (row, (key, seq, op, _)) in rows.iter().enumerate() {
            assert!(
                (keys.key(row), keys.seq(row), keys.op(row)) == (key.as_slice(), *seq, *op),
                "keys only, row {row}"
            );
        }
    }
    let columns = Projection::Columns(vec![0].into());
    assert!(
        written.block(0, &columns).is_err(),
        "a key-value table knows only All and Keys"
    );
    // A slice of a larger batch is written as what it is.
    let whole = batch_of(&models[4]);
    let slice = whole.slice(10, 50);
    let sliced = Written::new(factory, compression, &TableSchema::key_value(), &[slice], AMPLE).expect("written");
    let block = sliced
        .block(0, &Projection::All)
        .expect("decoded")
        .columns()
        .expect("columns");
    for row in 0..50 {
        let (key, seq, op, value) = &models[4][row + 10];
        assert!(
            block.entry(row).key == key && block.entry(row).value == value,
            "row {row} of a slice"
        );
        assert_eq!((block.seq(row), block.op(row)), (*seq, *op));
    }
}

/// `find` returns what a search of the model returns: hits, misses, older snapshots.
pub fn finds_agree_with_a_model(factory: &FormatFactory, compression: Compression) {
    let models = models();
    let written = write(factory, compression, &models);
    let mut draw = Draw(11);
    for (index, rows) in models.iter().enumerate() {
        let block = written.block(index, &Projection::All).expect("decoded");
        for (key, seq, _, _) in rows {
            for at in [0, seq - 1, *seq, seq.saturating_add(1).min(MAX_SEQ), MAX_SEQ] {
                find_agrees(block.as_ref(), rows, key, at);
            }
            let mut other = key.clone();
            other.push(draw.number() as u8);
            find_agrees(block.as_ref(), rows, &other, *seq);
            other.truncate(draw.below(other.len()));
            find_agrees(block.as_ref(), rows, &other, MAX_SEQ);
            if let Some(last) = other.last_mut() {
                *last = last.wrapping_add(1);
                find_agrees(block.as_ref(), rows, &other, MAX_SEQ);
            }
        }
        for key in [&b""[..], b"\0", b"\xFF\xFF\xFF\xFF", b"common/prefix/", &[0; 64]] {
            find_agrees(block.as_ref(), rows, key, MAX_SEQ);
        }
    }
}

fn find_agrees(block: &dyn Block, rows: &[Row], key: &[u8], seq: SeqNo) {
    let found = block.find(key, seq).expect("searched");
    let expected = rows.iter().position(|row| row.0 == key && row.1 <= seq);
    assert_eq!(
        found.as_ref().map(|found| found.row),
        expected,
        "key {} at {seq}",
        key.escape_ascii()
    );
    if let (Some(found), Some(row)) = (found, expected) {
        assert_eq!((found.seq, found.op), (rows[row].1, rows[row].2));
        assert!(found.value == rows[row].3, "the value of row {row}");
    }
}

/// Parts lie inside the file, do not overlap, and have the CRCs that the writer says; `recover` finds the same.
pub fn the_layout_is_true(factory: &FormatFactory, compression: Compression) {
    let models = models();
    let written = write(factory, compression, &models);
    let layout = &written.layout;
    assert_eq!(layout.file_bytes, written.bytes.len() as u64);
    assert_eq!(layout.blocks.len(), models.len());
    let mut parts: Vec<Part> = layout.shared.clone();
    for (handle, rows) in layout.blocks.iter().zip(&models) {
        assert_eq!(handle.rows as usize, rows.len());
        assert!(handle.bytes() > 0);
        parts.extend(&handle.parts);
    }
    parts.sort_by_key(|part| part.offset);
    for pair in parts.windows(2) {
        assert!(
            pair[0].offset + pair[0].len <= pair[1].offset,
            "{:?} and {:?} overlap",
            pair[0],
            pair[1]
        );
    }
    for part in &parts {
        assert!(
            part.offset + part.len <= layout.file_bytes,
            "{part:?} is outside the file"
        );
        assert_eq!(crc32fast::hash(&fetch(&written.bytes, part)), part.crc, "{part:?}");
    }
    let file = MemoryBytes(written.bytes.clone());
    let recovered = (factory.create)()
        .recover(&file, &TableSchema::key_value())
        .expect("recovered");
    assert_eq!(&recovered, layout);
}
