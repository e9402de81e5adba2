//! Bytes that are not what the writer wrote.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int8Array, Int64Array, RecordBatch};
use arrow::buffer::Buffer;

use super::{AMPLE, Draw, MemoryBytes, Written, fetch, random_batches};
use crate::ErrorKind;
use crate::entry::MAX_SEQ;
use crate::format::{BlockHandle, Compression, FormatFactory, Projection};
use crate::schema::TableSchema;

/// How many damaged forms of each block are tried.
const ROUNDS: usize = 150;

/// The decoder, `recover`, and blocks decoded from damaged bytes return errors or nonsense, but neither panic nor hang.
pub fn damage_never_panics(factory: &FormatFactory, compression: Compression) {
    let schema = TableSchema::key_value();
    // Without the block of a large value: damage there hits the value only.
    let batches: Vec<_> = random_batches()
        .into_iter()
        .filter(|batch| batch.get_array_memory_size() < 1 << 20)
        .collect();
    let written = Written::new(factory, compression, &schema, &batches, AMPLE).expect("written");
    let mut draw = Draw(13);
    for handle in &written.layout.blocks {
        let parts: Vec<Buffer> = handle.parts.iter().map(|part| fetch(&written.bytes, part)).collect();
        for round in 0..ROUNDS {
            let damaged: Vec<Buffer> = parts.iter().map(|part| damage(&mut draw, part, round)).collect();
            use_it(&written, handle, &damaged);
        }
        assert!(
            written.decode(handle, &[], &Projection::All).is_err(),
            "a block without parts"
        );
        let more: Vec<Buffer> = parts.iter().chain(&parts).cloned().collect();
        assert!(
            written.decode(handle, &more, &Projection::All).is_err(),
            "a block with too many parts"
        );
        let other = BlockHandle {
            rows: handle.rows + 1,
            parts: handle.parts.clone(),
        };
        assert!(
            written.decode(&other, &parts, &Projection::All).is_err(),
            "a block with another number of rows"
        );
    }
    let format = (factory.create)();
    for round in 0..ROUNDS {
        // Footers lie at the end, so damage gathers there.
        let mut bytes = written.bytes.clone();
        let tail = bytes.len() - bytes.len().min([64, 1024, usize::MAX][round % 3]);
        let at = tail + draw.below(bytes.len() - tail);
        bytes[at] ^= 1 << draw.below(8);
        if round.is_multiple_of(5) {
            bytes.truncate(draw.below(bytes.len()));
        }
        let _ = format.recover(&MemoryBytes(bytes), &schema);
    }
    for bytes in [Vec::new(), vec![0; 7], vec![0xFF; 100]] {
        let error = format.recover(&MemoryBytes(bytes), &schema).expect_err("no data file");
        assert_eq!(error.kind(), ErrorKind::Corruption);
    }
}

pub(super) fn damage(draw: &mut Draw, part: &[u8], round: usize) -> Buffer {
    let mut bytes = part.to_vec();
    // The heads of parts say how the rest is to be read.
    let reach = if round.is_multiple_of(2) {
        bytes.len()
    } else {
        bytes.len().min(600)
    };
    for _ in 0..=draw.below(3) {
        let at = draw.below(reach);
        match draw.below(4) {
            0 => bytes[at] = 0xFF,
            1 => bytes[at] = draw.number() as u8,
            _ => bytes[at] ^= 1 << draw.below(8),
        }
    }
    if round % 10 == 9 {
        bytes.truncate(draw.below(bytes.len()));
    }
    Buffer::from(bytes)
}

fn use_it(written: &Written, handle: &BlockHandle, parts: &[Buffer]) {
    for projection in [Projection::All, Projection::Keys] {
        let Ok(block) = written.decode(handle, parts, &projection) else {
            continue;
        };
        for key in [&b""[..], b"common/prefix/ab", b"\xFF"] {
            let _ = block.find(key, MAX_SEQ);
        }
        assert_eq!(block.rows(), handle.rows as usize, "a block has the rows of its handle");
        if let Ok(columns) = block.columns() {
            for row in 0..columns.rows() {
                let _ = columns.entry(row);
            }
        }
    }
}

/// A block that would decode to more than the limit is refused, one that does not is decoded.
pub fn decoded_memory_is_bounded(factory: &FormatFactory, compression: Compression) {
    let schema = TableSchema::key_value();
    let rows = 1000;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(BinaryArray::from_iter_values((0..rows).map(|row| format!("{row:08}")))),
        Arc::new(BinaryArray::from_iter_values((0..rows).map(|_| [0; 1000]))),
        Arc::new(Int64Array::from_iter_values(0..rows)),
        Arc::new(Int8Array::from_iter_values((0..rows).map(|_| 0))),
    ];
    let batch = RecordBatch::try_new(schema.run_columns(), columns).expect("the run's columns");
    let decode = |limit| {
        let written = Written::new(factory, compression, &schema, std::slice::from_ref(&batch), limit)?;
        written
            .block(0, &Projection::All)?
            .columns()
            .map(|columns| columns.rows())
    };
    assert_eq!(decode(4 << 20).expect("decoded"), rows as usize);
    // Uncompressed values may stay where they are, and so take no memory however many they are.
    if compression != Compression::None {
        let error = decode(100 << 10).expect_err("a million bytes of values are more than 100 KiB");
        assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
    }
}
