mod nested;

use std::path::Path;

use arrow::array::*;
use arrow::datatypes::*;
use kodiak_core::conformance::format::{AMPLE, Draw, MemoryBytes, MemoryFile, Written};
use kodiak_core::options::Options;
use orc_rust::ArrowReaderBuilder;

use super::types;
use super::*;
use crate::parquet::tests::{every_type, files_below, key_value_batches};

fn write(schema: &TableSchema, batches: &[RecordBatch], compression: Compression) -> (Vec<u8>, FileLayout) {
    let options = WriteOptions {
        compression,
        options: Options::defaults(&[]),
    };
    let file = MemoryFile::default();
    let mut writer = Orc
        .create(Box::new(file.clone()), schema, &options)
        .expect("types that ORC holds");
    batches.iter().for_each(|batch| writer.write(batch).expect("a block"));
    let layout = writer.finish(true).expect("memory does not fail");
    (file.bytes(), layout)
}

/// Rows of every type that the format holds, with timestamps around 1970.
fn every_held_type(rows: usize, start: usize) -> (TableSchema, RecordBatch) {
    let (schema, batch) = every_type(rows, start);
    let held: Vec<usize> = (0..schema.columns().fields().len())
        .filter(|&index| types::refuses(schema.columns().field(index).data_type()).is_none())
        .collect();
    let mut fields: Vec<Field> = held
        .iter()
        .map(|&index| schema.columns().field(index).clone())
        .collect();
    let mut arrays: Vec<ArrayRef> = held.iter().map(|&index| batch.column(index).clone()).collect();
    let mut draw = Draw(3);
    let near: Int64Array = (0..rows)
        .map(|_| Some(draw.below(4_000_000_000) as i64 - 2_000_000_000))
        .collect();
    let near = near.reinterpret_cast::<TimestampNanosecondType>();
    fields.push(Field::new("near_epoch", near.data_type().clone(), true));
    arrays.push(Arc::new(near));
    arrays.extend(batch.columns()[schema.columns().fields().len()..].iter().cloned());
    let schema = TableSchema::new(Arc::new(Schema::new(fields)), &["key"]).expect("a keyed table");
    let batch = RecordBatch::try_new(schema.run_columns(), arrays).expect("the run's columns");
    (schema, batch)
}

fn fetch(bytes: &[u8], part: kodiak_core::format::Part) -> Buffer {
    Buffer::from(&bytes[part.offset as usize..][..part.len as usize])
}

#[test]
fn every_type_reads_back() {
    let (schema, first) = every_held_type(700, 0);
    let batches = [first, every_held_type(1, 700).1, every_held_type(77, 701).1];
    for compression in Compression::ALL {
        let (bytes, layout) = write(&schema, &batches, compression);
        let codecs = Codecs::new(&schema);
        let decoder = Orc
            .open(&schema, &codecs, &[fetch(&bytes, layout.shared[0])], AMPLE)
            .expect("own file");
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
        }
    }
}

/// The same with timestamps that other readers can hold: in the range of nanoseconds, and not in the second before 1970.
fn every_type_for_others(rows: usize, start: usize) -> (TableSchema, RecordBatch) {
    let (schema, batch) = every_held_type(rows, start);
    let mut draw = Draw(5);
    let mut time = || {
        let time =
            (draw.below(4_000_000_000) as i64 - 2_000_000_000) * 1_000_000_000 + draw.below(3) as i64 * 500_000_100;
        (draw.below(5) != 0).then_some(if (-1_000_000_000..0).contains(&time) { 0 } else { time })
    };
    let times: Int64Array = (0..rows).map(|_| time()).collect();
    let times: ArrayRef = Arc::new(times.reinterpret_cast::<TimestampNanosecondType>());
    let (fields, mut arrays): (Vec<_>, Vec<_>) = schema
        .columns()
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, array)| match field.data_type() {
            DataType::Timestamp(_, _) => (
                field.clone(),
                arrow::compute::cast(&times, field.data_type()).expect("another unit"),
            ),
            _ => (field.clone(), array.clone()),
        })
        .unzip();
    arrays.extend(batch.columns()[fields.len()..].iter().cloned());
    let schema = TableSchema::new(Arc::new(Schema::new(fields)), &["key"]).expect("a keyed table");
    let batch = RecordBatch::try_new(schema.run_columns(), arrays).expect("the run's columns");
    (schema, batch)
}

#[test]
fn another_reader_agrees() {
    let (schema, first) = every_type_for_others(700, 0);
    let batches = [first, every_type_for_others(77, 700).1];
    let all = arrow::compute::concat_batches(&schema.run_columns(), &batches).expect("one schema");
    for compression in Compression::ALL {
        let (bytes, _) = write(&schema, &batches, compression);
        let reader = ArrowReaderBuilder::try_new(bytes::Bytes::from(bytes)).expect("a tail that another reader takes");
        let read: Vec<_> = reader
            .build()
            .map(|batch| batch.expect("stripes that another reader takes"))
            .collect();
        let read = arrow::compute::concat_batches(&read[0].schema(), &read).expect("one schema");
        for (index, field) in schema.run_columns().fields().iter().enumerate() {
            let (found, wanted) = (read.column(index), all.column(index));
            match field.data_type() {
                DataType::FixedSizeBinary(_) => {
                    assert!(
                        found.as_binary::<i32>().iter().eq(wanted.as_fixed_size_binary().iter()),
                        "{field}"
                    );
                }
                wanted_type => {
                    let found = arrow::compute::cast(found, wanted_type).expect("the same values");
                    assert_eq!(&found, wanted, "{} {field}", compression.name());
                }
            }
        }
    }
}

#[test]
fn recovery_finds_the_layout_and_notices_damage() {
    for compression in Compression::ALL {
        let schema = TableSchema::key_value();
        let (bytes, layout) = write(&schema, &key_value_batches(5), compression);
        assert_eq!(
            Orc.recover(&MemoryBytes(bytes.clone()), &schema).expect("a whole file"),
            layout
        );
        for len in (0..bytes.len()).step_by(11) {
            assert!(
                Orc.recover(&MemoryBytes(bytes[..len].to_vec()), &schema).is_err(),
                "cut to {len}"
            );
        }
        let other = every_held_type(1, 0).0;
        assert!(
            Orc.recover(&MemoryBytes(bytes), &other).is_err(),
            "a file of another table"
        );
    }
}

#[test]
fn flipped_bits_in_typed_blocks_never_panic() {
    let (schema, batch) = every_held_type(60, 0);
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
                part[draw.below(parts[index].len())] ^= 1 << draw.below(8);
            }
            damaged[index] = Buffer::from_vec(part);
            if let Err(error) = written.decode(handle, &damaged, &Projection::All) {
                assert_ne!(error.kind(), kodiak_core::ErrorKind::Io, "{error}");
            }
        }
    }
}

#[test]
fn lengths_that_claim_more_than_allowed_are_refused_before_memory_is_taken() {
    // Eight bytes that stand for rows without end.
    let mut lengths = Vec::new();
    rle::put_unsigned(&[0; 512], &mut lengths);
    let footer = orc_rust::proto::StripeFooter {
        streams: vec![orc_rust::proto::Stream {
            kind: Some(2),
            column: Some(1),
            length: Some(lengths.len() as u64),
        }],
        ..Default::default()
    };
    let footer = Buffer::from_vec(prost::Message::encode_to_vec(&footer));
    let mut budget = Budget::new(1 << 20);
    let rows = u32::MAX as usize;
    let stripe = Stripe::open(
        Compression::None,
        &Buffer::from_vec(lengths),
        &footer,
        rows,
        &mut budget,
    )
    .expect("sound");
    let error = stripe.binary(0, &mut budget).expect_err("32 GiB of offsets");
    assert!(error.to_string().contains("more than is allowed"), "{error}");
}

#[test]
fn files_of_a_public_corpus_are_read_or_refused() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora/orc");
    if !corpus.is_dir() {
        eprintln!("skipped: there is no ORC corpus at {}", corpus.display());
        return;
    }
    let mut files = Vec::new();
    files_below(&corpus, &mut files);
    files.retain(|path| path.extension().is_some_and(|ending| ending == "orc"));
    let (mut tails, mut stripes) = (0, 0);
    for path in &files {
        let Ok(bytes) = std::fs::read(path) else { continue };
        let file = MemoryBytes(bytes);
        assert!(
            Orc.recover(&file, &TableSchema::key_value()).is_err(),
            "{}",
            path.display()
        );
        let Ok((shared, footer, _)) = tail::read_footer(&file) else {
            continue;
        };
        tails += 1;
        let compression = tail::Postscript::read(&fetch(&file.0, shared))
            .expect("read before")
            .compression;
        for stripe in footer.stripes {
            // The stripe as if it were a key-value table's: an error or nonsense, within the budget.
            let (at, index, data) = (
                stripe.offset() as usize,
                stripe.index_length() as usize,
                stripe.data_length() as usize,
            );
            let Some(bytes) = file.0.get(at..at + index + data + stripe.footer_length() as usize) else {
                continue;
            };
            let (data, footer) = bytes.split_at(index + data);
            let mut budget = Budget::new(AMPLE);
            let rows = stripe.number_of_rows() as usize;
            let Ok(stripe) = Stripe::open(
                compression,
                &Buffer::from(data),
                &Buffer::from(footer),
                rows,
                &mut budget,
            ) else {
                continue;
            };
            stripes += 1;
            for column in &types::columns(&every_held_type(1, 0).0).expect("types that ORC holds") {
                for number in 1..5 {
                    let column = types::Column {
                        number,
                        ..column.clone()
                    };
                    let _ = stripe.array(&column, &mut Budget::new(AMPLE));
                }
            }
        }
    }
    assert!(
        files.len() > 20 && tails > 0 && stripes > 0,
        "{} files, {tails} tails, {stripes} stripes",
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
    let (bytes, layout) = write(&schema, &[batch], Compression::None);
    let data = fetch(&bytes, layout.blocks[0].parts[0]);
    // Delta runs of two: 0xC0 0x01, the first, the difference. Two literal bytes: 0xFE.
    let golden = b"abc\xC0\x01\x01\x02one\xC0\x01\x03\x05\xC0\x01\x0E\x03\xFE\x00\x01";
    assert_eq!(data.as_slice(), golden, "{:02x?}", data.as_slice());
    assert_eq!(layout.blocks[0].parts[0].offset, 3);
    assert_eq!(bytes.first_chunk::<3>(), Some(b"ORC"));
    let postscript = fetch(&bytes, layout.shared[0]);
    assert_eq!(
        postscript.last_chunk::<6>(),
        Some(b"\xF4\x03\x03ORC\x14".last_chunk().expect("six bytes"))
    );
}
