//! Writing, decoding, searching and iterating blocks of every format, beside Arrow's own writer and reader.
//!
//! `KODIAK_BENCH_N` sets the number of rows (default 65,536: keys of 16 bytes, values of 100, blocks of 256 rows).

#![allow(clippy::print_stdout)] // Sizes belong in the output of a benchmark.

use std::hint::black_box;
use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int8Array, Int64Array, RecordBatch};
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kodiak_core::conformance::format::{AMPLE, Draw, Written};
use kodiak_core::entry::MAX_SEQ;
use kodiak_core::format::{Compression, Projection, WriteOptions};
use kodiak_core::options::Options;
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::WritableFile;
use kodiak_formats::ALL;

const BLOCK: usize = 256;

fn rows() -> usize {
    kodiak_core::conformance::bench::size(1 << 16, 2 * BLOCK)
}

fn keys(rows: usize) -> Vec<[u8; 16]> {
    let mut draw = Draw(1);
    let mut keys: Vec<_> = (0..rows)
        .map(|_| {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&draw.number().to_be_bytes());
            key[8..].copy_from_slice(&draw.number().to_be_bytes());
            key
        })
        .collect();
    keys.sort_unstable();
    keys
}

fn batches(keys: &[[u8; 16]]) -> Vec<RecordBatch> {
    let mut draw = Draw(2);
    keys.chunks(BLOCK)
        .map(|keys| {
            // Half of each value repeats, as in records of a schema.
            let value = |draw: &mut Draw| {
                let mut value = [b'x'; 100];
                value[..50].iter_mut().for_each(|byte| *byte = draw.number() as u8);
                value
            };
            let columns: Vec<ArrayRef> = vec![
                Arc::new(BinaryArray::from_iter_values(keys)),
                Arc::new(BinaryArray::from_iter_values(keys.iter().map(|_| value(&mut draw)))),
                Arc::new(Int64Array::from_iter_values(
                    keys.iter().map(|_| draw.below(1 << 30) as i64),
                )),
                Arc::new(Int8Array::from_iter_values(keys.iter().map(|_| 0))),
            ];
            RecordBatch::try_new(TableSchema::key_value().run_columns(), columns).expect("the run's columns")
        })
        .collect()
}

/// Memory that is written over and over.
#[derive(Debug)]
struct Sink {
    bytes: Vec<u8>,
    position: usize,
    total: u64,
}

impl Sink {
    fn new() -> Self {
        Self {
            bytes: vec![0; 4 << 20],
            position: 0,
            total: 0,
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(self.bytes.len())];
        if self.position + bytes.len() > self.bytes.len() {
            self.position = 0;
        }
        self.bytes[self.position..self.position + bytes.len()].copy_from_slice(bytes);
        self.position += bytes.len();
        self.total += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WritableFile for Sink {
    fn position(&self) -> u64 {
        self.total
    }

    fn sync(&mut self) -> kodiak_core::Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>, _sync: bool) -> kodiak_core::Result<()> {
        Ok(())
    }
}

fn each(mut run: impl FnMut(&'static kodiak_core::format::FormatFactory, Compression, String)) {
    for factory in ALL {
        for &compression in factory.capabilities.compressions {
            run(
                factory,
                compression,
                format!("{}-{}", factory.component.name, compression.name()),
            );
        }
    }
}

fn write(c: &mut Criterion) {
    let batches = batches(&keys(rows()));
    let bytes: usize = batches.iter().map(|batch| batch.num_rows() * (16 + 100 + 9)).sum();
    let schema = TableSchema::key_value();
    let mut group = c.benchmark_group("write");
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("arrow", |b| {
        b.iter(|| {
            let mut writer = FileWriter::try_new(Sink::new(), &schema.run_columns()).expect("begun");
            batches.iter().for_each(|batch| writer.write(batch).expect("written"));
            writer.finish().expect("finished");
        });
    });
    each(|factory, compression, name| {
        let options = WriteOptions {
            compression,
            options: Options::defaults(factory.component.options),
        };
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut writer = (factory.create)()
                    .create(Box::new(Sink::new()), &schema, &options)
                    .expect("begun");
                batches.iter().for_each(|batch| writer.write(batch).expect("written"));
                writer.finish(false).expect("finished").blocks.len()
            });
        });
    });
}

fn read(c: &mut Criterion) {
    let keys = keys(rows());
    let batches = batches(&keys);
    let schema = TableSchema::key_value();
    let mut group = c.benchmark_group("read");
    each(|factory, compression, name| {
        let written = Written::new(factory, compression, &schema, &batches, AMPLE).expect("written");
        println!(
            "{name}: {:.3} of the raw size",
            written.bytes.len() as f64 / (keys.len() * 125) as f64
        );
        let handle = &written.layout.blocks[0];
        let parts: Vec<_> = handle
            .parts
            .iter()
            .map(|part| kodiak_core::conformance::format::fetch(&written.bytes, part))
            .collect();
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{name}/decode"), |b| {
            b.iter(|| {
                written
                    .decode(handle, black_box(&parts), &Projection::All)
                    .expect("decoded")
            });
        });
        let block = written.block(0, &Projection::All).expect("decoded");
        let mut draw = Draw(3);
        group.bench_function(format!("{name}/find"), |b| {
            b.iter(|| {
                block
                    .find(black_box(&keys[draw.below(BLOCK)]), MAX_SEQ)
                    .expect("searched")
                    .expect("found")
            });
        });
        group.throughput(Throughput::Elements(BLOCK as u64));
        group.bench_function(format!("{name}/iterate"), |b| {
            b.iter(|| {
                let columns = Arc::clone(&block).columns().expect("columns");
                (0..columns.rows())
                    .map(|row| sum(columns.entry(row).key) + sum(columns.entry(row).value))
                    .sum::<usize>()
            });
        });
    });
    let mut draw = Draw(3);
    let array: Vec<&[u8]> = keys[..BLOCK].iter().map(|key| key.as_slice()).collect();
    group.throughput(Throughput::Elements(1));
    group.bench_function("array/find", |b| {
        b.iter(|| {
            array
                .binary_search(&black_box(&keys[draw.below(BLOCK)]).as_slice())
                .expect("found")
        });
    });
    let plain = &batches[0];
    group.throughput(Throughput::Elements(BLOCK as u64));
    group.bench_function("arrow/iterate", |b| {
        b.iter(|| {
            let column = |index: usize| {
                plain
                    .column(index)
                    .as_any()
                    .downcast_ref::<BinaryArray>()
                    .expect("binary")
            };
            let (keys, values) = (column(0), column(1));
            (0..plain.num_rows())
                .map(|row| sum(keys.value(row)) + sum(values.value(row)))
                .sum::<usize>()
        });
    });
    let mut file = Vec::new();
    let mut writer = FileWriter::try_new(&mut file, &schema.run_columns()).expect("begun");
    writer.write(plain).expect("written");
    writer.finish().expect("finished");
    group.bench_function("arrow/decode", |b| {
        let mut reader = FileReader::try_new(io::Cursor::new(&file), None).expect("opened");
        b.iter(|| {
            reader.set_index(0).expect("there");
            reader.next().expect("there").expect("decoded").num_rows()
        });
    });
}

/// Touches the ends of a byte string, as a consumer would.
fn sum(bytes: &[u8]) -> usize {
    bytes.len() + usize::from(bytes.first().copied().unwrap_or(0)) + usize::from(bytes.last().copied().unwrap_or(0))
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(500))
}

criterion_group! { name = benches; config = config(); targets = write, read }
criterion_main!(benches);
