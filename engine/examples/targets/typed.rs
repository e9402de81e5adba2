//! Typed tables against files that Arrow alone writes and reads.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use kodiak::{Db, Error, Result, Settings, Table, TableSchema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::{ROUNDS, best, io, report};

/// Rows in a batch that is inserted or written.
const BATCH: u64 = 8192;
/// The columns that scans read.
const SCANNED: [&str; 4] = ["id", "at", "amount", "name"];

/// Rows whose keys are `keys`; `version` tells versions of a row apart.
fn rows(keys: impl Iterator<Item = u64> + Clone, version: u64) -> Result<RecordBatch> {
    let mixed = |n: u64| (n ^ version).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    let columns: [(&str, ArrayRef, bool); 7] = [
        (
            "id",
            Arc::new(Int64Array::from_iter_values(keys.clone().map(|n| n as i64))),
            false,
        ),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from_iter_values(
                keys.clone().map(|n| 1_700_000_000_000_000 + (n as i64) * 1000),
            )),
            false,
        ),
        (
            "amount",
            Arc::new(Float64Array::from_iter_values(
                keys.clone().map(|n| mixed(n) as f64 / 7.0),
            )),
            false,
        ),
        (
            "count",
            Arc::new(
                keys.clone()
                    .map(|n| (n % 11 != 0).then(|| (mixed(n) % 1000) as i32))
                    .collect::<Int32Array>(),
            ),
            true,
        ),
        (
            "name",
            Arc::new(StringArray::from_iter_values(
                keys.clone().map(|n| format!("name {}", mixed(n) % 5000)),
            )),
            false,
        ),
        (
            "note",
            Arc::new(StringArray::from_iter_values(
                keys.clone().map(|n| format!("{:020}", mixed(n))),
            )),
            false,
        ),
        (
            "open",
            Arc::new(keys.map(|n| Some(n % 3 == 0)).collect::<BooleanArray>()),
            false,
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).map_err(io)
}

fn batches(count: u64) -> Result<Vec<RecordBatch>> {
    (0..count)
        .step_by(BATCH as usize)
        .map(|from| rows(from..count.min(from + BATCH), 0))
        .collect()
}

fn synced(file: File) -> Result<()> {
    file.sync_all().map_err(io)
}

fn write_with_arrow(path: &Path, format: &str, batches: &[RecordBatch]) -> Result<()> {
    let file = File::create(path).map_err(io)?;
    let schema = batches[0].schema();
    if format == "parquet" {
        let mut writer = ArrowWriter::try_new(file, schema, None).map_err(io)?;
        batches.iter().try_for_each(|batch| writer.write(batch).map_err(io))?;
        return synced(writer.into_inner().map_err(io)?);
    }
    let mut writer = FileWriter::try_new_buffered(file, &schema).map_err(io)?;
    batches.iter().try_for_each(|batch| writer.write(batch).map_err(io))?;
    writer.finish().map_err(io)?;
    synced(writer.into_inner().map_err(io)?.into_inner().map_err(io)?)
}

fn read_with_arrow(path: &Path, format: &str) -> Result<u64> {
    let file = File::open(path).map_err(io)?;
    if format == "parquet" {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(io)?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), SCANNED);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(BATCH as usize)
            .build()
            .map_err(io)?;
        return total(reader.map(|batch| batch.map_err(io)));
    }
    let whole = FileReader::try_new(File::open(path).map_err(io)?, None).map_err(io)?;
    let columns = SCANNED.iter().map(|name| whole.schema().index_of(name).map_err(io));
    let reader = FileReader::try_new_buffered(file, Some(columns.collect::<Result<_>>()?)).map_err(io)?;
    total(reader.map(|batch| batch.map_err(io)))
}

fn scan(table: &Table) -> Result<u64> {
    total(table.read().project(SCANNED).without_cache().batches()?)
}

/// Looks at every column, as whoever reads would: at numbers, and at the bytes of texts.
fn total(batches: impl Iterator<Item = Result<RecordBatch>>) -> Result<u64> {
    use arrow::array::AsArray;
    use arrow::compute::sum;
    use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
    let mut rows = 0;
    for batch in batches {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        std::hint::black_box((
            sum(batch.column(0).as_primitive::<Int64Type>()),
            sum(batch.column(1).as_primitive::<TimestampMicrosecondType>()),
            sum(batch.column(2).as_primitive::<Float64Type>()),
            batch
                .column(3)
                .as_string::<i32>()
                .value_data()
                .iter()
                .map(|&byte| u64::from(byte))
                .sum::<u64>(),
        ));
    }
    Ok(rows)
}

fn settings((format, block_size): (&str, u64)) -> Settings {
    let mut settings = Settings::default();
    settings.format.kind = format.to_owned();
    settings.format.block_size = Some(block_size);
    settings
}

fn open(dir: &Path, name: &str, chosen: (&str, u64)) -> Result<(Db, Table)> {
    let db = Db::open(dir.join(name), settings(chosen))?;
    let schema = TableSchema::new(rows(0..1, 0)?.schema(), &["id"])?;
    let table = db.create_table("t", schema)?;
    Ok((db, table))
}

/// Nothing of this section is small enough to be lost in the noise of a tiny run.
fn expect(rows: u64, count: u64) -> Result<()> {
    match rows == count {
        true => Ok(()),
        false => Err(Error::corruption(format!("{rows} rows were read, not {count}"))),
    }
}

/// Rows that are asked for one at a time.
const POINTS: u64 = 20_000;

/// Nanoseconds for a row, by its key, of keys in no order.
fn point_reads(table: &Table, count: u64) -> Result<f64> {
    let keys: Vec<RecordBatch> = (0..POINTS)
        .map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % count)
        .map(|key| {
            let ids: ArrayRef = Arc::new(Int64Array::from(vec![key as i64]));
            RecordBatch::try_from_iter([("id", ids)]).map_err(io)
        })
        .collect::<Result<_>>()?;
    best(POINTS, || {
        let found = keys.iter().map(|key| Ok(u64::from(table.get_row(key)?.is_some())));
        expect(found.sum::<Result<u64>>()?, POINTS)
    })
}

/// A tenth of all keys, each as likely as any other.
fn is_changed(key: u64) -> bool {
    let mixed = (key + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31);
    mixed.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32 < (1 << 32) / 10
}

pub fn typed(dir: &Path, count: u64) -> Result<()> {
    let batches = batches(count)?;
    let formats = [
        ("feather", 32),
        ("feather", 128),
        ("feather", 512),
        ("parquet", 32),
        ("parquet", 128),
        ("parquet", 512),
    ];
    let mut first: Option<f64> = None;
    for (format, kib) in formats {
        let chosen = (format, kib << 10);
        let label = format!("{format}, {kib} KiB");
        let path: PathBuf = dir.join(format!("alone.{format}"));
        let alone = best(count, || write_with_arrow(&path, format, &batches))?;
        let mut inserted = f64::INFINITY;
        for round in 0..ROUNDS {
            // To make a database is not what is measured.
            let (_db, table) = open(dir, &format!("typed-{format}-{kib}-{round}"), chosen)?;
            let begun = Instant::now();
            table.bulk_insert(batches.iter().cloned().map(Ok))?;
            inserted = inserted.min(begun.elapsed().as_nanos() as f64 / count as f64);
        }
        report(
            &format!("bulk insert, sorted, {label} / Arrow writes"),
            inserted,
            alone,
            "<= 2x (0.5x the speed)",
        );
        let (db, table) = open(dir, &format!("typed-{format}-{kib}"), chosen)?;
        table.bulk_insert(batches.iter().rev().cloned().map(Ok))?;
        db.compact()?;
        let alone = best(count, || expect(read_with_arrow(&path, format)?, count))?;
        let scanned = best(count, || expect(scan(&table)?, count))?;
        report(
            &format!("scan of 4 of 7 columns, {label} / Arrow reads"),
            scanned,
            alone,
            "<= 1.25x (0.8x the speed)",
        );
        let read = point_reads(&table, count)?;
        report(
            &format!("a row by its key, {label} / {} KiB", formats[0].1),
            read,
            *first.get_or_insert(read),
            "",
        );
        drop((table, db));
        let mut settings = settings(chosen);
        settings.cache.capacity = count * 100 / 8;
        let db = Db::open(dir.join(format!("typed-{format}-{kib}")), settings)?;
        let table = db.table("t")?;
        let read = point_reads(&table, count)?;
        report(
            &format!("a row by its key, cache 1/8, {label}"),
            read,
            *first.get_or_insert(read),
            "",
        );
        let changed: Vec<u64> = (0..count).filter(|&key| is_changed(key)).collect();
        // In no order, and one batch after the other.
        let step = (changed.len() / 16).max(1);
        for offset in 0..step {
            table.insert(&rows(changed.iter().copied().skip(offset).step_by(step), 1)?)?;
        }
        let updated = best(count, || expect(scan(&table)?, count))?;
        report(
            &format!("scan after 10 % updates, {label} / Arrow reads"),
            updated,
            alone,
            "<= 2x (0.5x the speed)",
        );
        db.flush()?;
        let flushed = best(count, || expect(scan(&table)?, count))?;
        report(
            &format!("the same, updates flushed, {label}"),
            flushed,
            alone,
            "<= 2x (0.5x the speed)",
        );
    }
    Ok(())
}
