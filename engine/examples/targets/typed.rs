//! Typed tables against files that Arrow alone writes and reads.

mod data;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use kodiak::{Db, Error, Result, Settings, Table, TableSchema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use data::{FLIGHTS, Kind, ORDERS};

use crate::{ROUNDS, best, io, once, report};

/// Rows in a batch that is inserted or written.
const BATCH: u64 = 8192;

fn batches(kind: &Kind, count: u64) -> Result<Vec<RecordBatch>> {
    (0..count)
        .step_by(BATCH as usize)
        .map(|from| kind.rows(&(from..count.min(from + BATCH)).collect::<Vec<_>>(), 0))
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

fn read_with_arrow(kind: &Kind, path: &Path, format: &str) -> Result<u64> {
    let file = File::open(path).map_err(io)?;
    if format == "parquet" {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(io)?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), kind.scanned.iter().copied());
        let reader = builder
            .with_projection(mask)
            .with_batch_size(BATCH as usize)
            .build()
            .map_err(io)?;
        return total(reader.map(|batch| batch.map_err(io)));
    }
    let whole = FileReader::try_new(File::open(path).map_err(io)?, None).map_err(io)?;
    let columns = kind
        .scanned
        .iter()
        .map(|name| whole.schema().index_of(name).map_err(io));
    let reader = FileReader::try_new_buffered(file, Some(columns.collect::<Result<_>>()?)).map_err(io)?;
    total(reader.map(|batch| batch.map_err(io)))
}

fn scan(kind: &Kind, table: &Table) -> Result<u64> {
    total(
        table
            .read()
            .project(kind.scanned.iter().copied())
            .without_cache()
            .batches()?,
    )
}

/// Looks at every column, as whoever reads would: at numbers, and at the bytes of texts.
fn total(batches: impl Iterator<Item = Result<RecordBatch>>) -> Result<u64> {
    let mut rows = 0;
    for batch in batches {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        batch.columns().iter().for_each(touch);
    }
    Ok(rows)
}

fn touch(column: &ArrayRef) {
    use arrow::array::AsArray;
    use arrow::compute::sum;
    use arrow::datatypes::{DataType, Float64Type, Int16Type, Int64Type, TimestampMicrosecondType};
    match column.data_type() {
        DataType::Int16 => drop(std::hint::black_box(sum(column.as_primitive::<Int16Type>()))),
        DataType::Int64 => drop(std::hint::black_box(sum(column.as_primitive::<Int64Type>()))),
        DataType::Float64 => drop(std::hint::black_box(sum(column.as_primitive::<Float64Type>()))),
        DataType::Utf8 => {
            let bytes = column.as_string::<i32>().value_data().iter();
            std::hint::black_box(bytes.map(|&byte| u64::from(byte)).sum::<u64>());
        }
        _ => drop(std::hint::black_box(sum(
            column.as_primitive::<TimestampMicrosecondType>()
        ))),
    }
}

fn settings((format, block_size): (&str, u64)) -> Settings {
    let mut settings = Settings::default();
    settings.format.kind = format.to_owned();
    settings.format.block_size = Some(block_size);
    settings
}

fn open(kind: &Kind, dir: &Path, name: &str, chosen: (&str, u64)) -> Result<(Db, Table)> {
    let db = Db::open(dir.join(name), settings(chosen))?;
    let schema = TableSchema::new(kind.rows(&[0], 0)?.schema(), kind.key)?;
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
fn point_reads(kind: &Kind, table: &Table, count: u64) -> Result<f64> {
    let keys = (0..POINTS).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % count);
    let rows = kind.rows(&keys.collect::<Vec<_>>(), 0)?;
    let columns = kind.key.iter().map(|name| rows.schema().index_of(name).map_err(io));
    let keys = rows.project(&columns.collect::<Result<Vec<_>>>()?).map_err(io)?;
    let keys: Vec<RecordBatch> = (0..keys.num_rows()).map(|row| keys.slice(row, 1)).collect();
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

/// A table with a key of eight bytes.
pub fn orders(dir: &Path, count: u64) -> Result<()> {
    let formats = [
        ("feather", 32),
        ("feather", 128),
        ("feather", 512),
        ("parquet", 32),
        ("parquet", 128),
        ("parquet", 512),
    ];
    measure(&ORDERS, dir, count, &formats)
}

/// A table with a key of seven columns.
pub fn flights(dir: &Path, count: u64) -> Result<()> {
    measure(&FLIGHTS, dir, count, &[("feather", 128), ("parquet", 128)])
}

fn measure(kind: &Kind, dir: &Path, count: u64, formats: &[(&str, u64)]) -> Result<()> {
    let batches = batches(kind, count)?;
    let mut first: Option<f64> = None;
    for &(format, kib) in formats {
        let chosen = (format, kib << 10);
        let (label, name) = (
            format!("{}{format}, {kib} KiB", kind.label),
            format!("{}{format}-{kib}", kind.label),
        );
        let path: PathBuf = dir.join(format!("{name}.alone"));
        let (mut alone, mut inserted) = (f64::INFINITY, f64::INFINITY);
        for round in 0..ROUNDS {
            // A file that is new, as those of the database are: to cut an old one short takes longer than to write it.
            if round > 0 {
                std::fs::remove_file(&path).map_err(io)?;
            }
            alone = alone.min(once(count, || write_with_arrow(&path, format, &batches))?);
            // To make a database is not what is measured.
            let (_db, table) = open(kind, dir, &format!("{name}-{round}"), chosen)?;
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
        let (db, table) = open(kind, dir, &name, chosen)?;
        table.bulk_insert(batches.iter().rev().cloned().map(Ok))?;
        db.compact()?;
        let alone = best(count, || expect(read_with_arrow(kind, &path, format)?, count))?;
        let scanned = best(count, || expect(scan(kind, &table)?, count))?;
        report(
            &format!("scan of {} columns, {label} / Arrow reads", kind.scanned.len()),
            scanned,
            alone,
            "<= 1.25x (0.8x the speed)",
        );
        let read = point_reads(kind, &table, count)?;
        report(
            &format!("a row by its key, {label} / {} KiB", formats[0].1),
            read,
            *first.get_or_insert(read),
            "",
        );
        drop((table, db));
        let mut settings = settings(chosen);
        settings.cache.capacity = count * 100 / 8;
        let db = Db::open(dir.join(&name), settings)?;
        let table = db.table("t")?;
        let read = point_reads(kind, &table, count)?;
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
            let some: Vec<u64> = changed.iter().copied().skip(offset).step_by(step).collect();
            table.insert(&kind.rows(&some, 1)?)?;
        }
        let updated = best(count, || expect(scan(kind, &table)?, count))?;
        report(
            &format!("scan after 10 % updates, {label} / Arrow reads"),
            updated,
            alone,
            "<= 2x (0.5x the speed)",
        );
        db.flush()?;
        let flushed = best(count, || expect(scan(kind, &table)?, count))?;
        report(
            &format!("the same, updates flushed, {label}"),
            flushed,
            alone,
            "<= 2x (0.5x the speed)",
        );
    }
    Ok(())
}
