//! Measures the engine against yardsticks of the same run, and prints each ratio beside the one aimed at.
//!
//! `cargo run --release -p kodiak --example targets [KEYS] [SECTION]` (1,000,000 keys unless told; 16-byte keys, 100-byte
//! values; sections are reads, formats, writes, compaction, syncs, runs, typed, flights).
//! Each figure is the best of three rounds, those of writes and syncs the median of more. Trust ratios, not nanoseconds: machines are noisy.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

mod syncs;
mod typed;
mod writes;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Instant;

use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use kodiak::{Db, Error, ErrorKind, Result, ScanOptions, Settings, Table, TableSchema};

const VALUE: [u8; 100] = [7; 100];
const ROUNDS: usize = 3;

/// The n-th key: well spread, and in no order.
fn key(n: u64) -> [u8; 16] {
    let spread = n
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(31)
        .wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&spread.to_be_bytes());
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

/// The n-th of `count` keys in an order unlike that in which they were written.
fn nth(n: u64, count: u64) -> [u8; 16] {
    key(n.wrapping_mul(7919) % count)
}

/// Nanoseconds for each of `count` operations, best of three.
fn best(count: u64, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        best = best.min(once(count, &mut work)?);
    }
    Ok(best)
}

/// Nanoseconds per operation of one round.
fn once(count: u64, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_nanos() as f64 / count as f64)
}

fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

/// Looks at the bytes of an entry, as whoever iterates would.
fn touch(key: &[u8], value: &[u8]) -> usize {
    key.len()
        + value.len()
        + usize::from(key.last().copied().unwrap_or(0))
        + usize::from(value.first().copied().unwrap_or(0))
}

fn report(what: &str, measured: f64, yardstick: f64, target: &str) {
    println!(
        "{what:<58} {measured:>10.0} ns {yardstick:>10.0} ns {:>7.2}x  {target}",
        measured / yardstick
    );
}

fn io(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Io, "a benchmark file cannot be used").with_source(error)
}

fn open(dir: &Path, name: &str, settings: &Settings) -> Result<(Db, Table)> {
    let db = Db::open(dir.join(name), settings.clone())?;
    let table = db.table_or_create("t", TableSchema::key_value())?;
    Ok((db, table))
}

fn fill(table: &Table, from: u64, to: u64) -> Result<()> {
    (from..to).try_for_each(|n| table.put(key(n), VALUE))
}

fn gets(table: &Table, count: u64) -> Result<f64> {
    best(count, || {
        for n in 0..count {
            if table.get(nth(n, count))?.is_none() {
                return Err(Error::corruption("a key is missing"));
            }
        }
        Ok(())
    })
}

fn reads(dir: &Path, count: u64) -> Result<()> {
    let (db, table) = open(dir, "reads", &Settings::default())?;
    fill(&table, 0, count)?;
    db.compact()?;
    let mut keys: Vec<[u8; 16]> = (0..count).map(key).collect();
    keys.sort_unstable();
    let array = best(count, || {
        let found = (0..count)
            .filter(|&n| keys.binary_search(&nth(n, count)).is_ok())
            .count();
        assert_eq!(found as u64, count);
        Ok(())
    })?;
    drop(keys);
    report(
        "point read, Feather / search of a sorted array",
        gets(&table, count)?,
        array,
        "<= 3x",
    );
    let missing = best(count, || {
        (0..count).try_for_each(|n| match table.get(key(count + n))? {
            None => Ok(()),
            Some(_) => Err(Error::corruption("an absent key was found")),
        })
    })?;
    println!(
        "{:<58} {missing:>10.0} ns",
        "point read of an absent key (a probe per run + 200 ns)"
    );
    let map: BTreeMap<Vec<u8>, Vec<u8>> = (0..count).map(|n| (key(n).to_vec(), VALUE.to_vec())).collect();
    let iterate = best(count, || {
        std::hint::black_box(map.iter().map(|(key, value)| touch(key, value)).sum::<usize>());
        Ok(())
    })?;
    let expected: usize = map.iter().map(|(key, value)| touch(key, value)).sum();
    let scan = best(count, || {
        let (mut scan, mut bytes) = (table.scan(..)?, 0usize);
        while let Some((key, value)) = scan.next_ref()? {
            bytes += touch(key, value);
        }
        assert_eq!(bytes, expected);
        Ok(())
    })?;
    report(
        "iteration, per entry / BTreeMap",
        scan,
        iterate,
        "<= 2x (0.5x the speed)",
    );
    let iterate_back = best(count, || {
        std::hint::black_box(map.iter().rev().map(|(key, value)| touch(key, value)).sum::<usize>());
        Ok(())
    })?;
    let scan_back = best(count, || {
        let (mut scan, mut bytes) = (table.scan_with(ScanOptions::new(..).rev())?, 0usize);
        while let Some((key, value)) = scan.next_ref()? {
            bytes += touch(key, value);
        }
        assert_eq!(bytes, expected);
        Ok(())
    })?;
    report("iteration backward, per entry / BTreeMap", scan_back, iterate_back, "-");
    let seeks = (count / 50).max(1);
    let map_seek = best(seeks, || {
        for n in 0..seeks {
            let start = nth(n, count).to_vec();
            std::hint::black_box(
                map.range(start..)
                    .take(100)
                    .map(|(key, value)| touch(key, value))
                    .sum::<usize>(),
            );
        }
        Ok(())
    })?;
    let seek = |rows: usize| {
        best(seeks, || {
            for n in 0..seeks {
                let mut scan = table.scan(nth(n, count)..)?;
                for _ in 0..rows {
                    std::hint::black_box(scan.next_ref()?.map(|(key, value)| touch(key, value)));
                }
            }
            Ok(())
        })
    };
    report("seek + 100 entries / BTreeMap", seek(100)?, map_seek, "<= 2x");
    println!("{:<58} {:>10.0} ns", "seek + 10 entries", seek(10)?);
    Ok(())
}

fn formats(dir: &Path, count: u64) -> Result<()> {
    let mut measured = Vec::new();
    for kind in ["row", "parquet", "orc"] {
        let mut settings = Settings::default();
        settings.format.kind = kind.to_owned();
        let (db, table) = open(dir, kind, &settings)?;
        fill(&table, 0, count)?;
        db.compact()?;
        measured.push(gets(&table, count)?);
    }
    report("point read, warm, Parquet / row", measured[1], measured[0], "<= 2x");
    report("point read, warm, ORC / row", measured[2], measured[0], "-");
    Ok(())
}

fn compaction(dir: &Path, count: u64) -> Result<()> {
    let mut settings = Settings::default();
    settings.memtable.size = 16 << 20;
    settings.backpressure.l0_slowdown = 30;
    settings
        .compaction
        .options
        .insert("l0_trigger".to_owned(), kodiak::core::options::OptionValue::Int(30));
    let (db, table) = open(dir, "compaction", &settings)?;
    fill(&table, 0, count)?;
    db.flush()?;
    let files: Vec<_> = walk(&dir.join("compaction/tables"))?;
    let arrow = best(count, || {
        let out = File::create(dir.join("rewritten.feather")).map_err(io)?;
        let mut writer: Option<FileWriter<BufWriter<File>>> = None;
        let mut out = Some(BufWriter::with_capacity(256 << 10, out));
        for file in &files {
            for batch in FileReader::try_new(File::open(file).map_err(io)?, None).map_err(io)? {
                let batch = batch.map_err(io)?;
                if writer.is_none()
                    && let Some(out) = out.take()
                {
                    writer = Some(FileWriter::try_new(out, &batch.schema()).map_err(io)?);
                }
                if let Some(writer) = &mut writer {
                    writer.write(&batch).map_err(io)?;
                }
            }
        }
        match writer {
            Some(mut writer) => {
                writer.finish().map_err(io)?;
                writer
                    .into_inner()
                    .map_err(io)?
                    .into_inner()
                    .map_err(io)?
                    .sync_all()
                    .map_err(io)
            }
            None => Ok(()),
        }
    })?;
    let begun = Instant::now();
    db.compact()?;
    let merged = begun.elapsed().as_nanos() as f64 / count as f64;
    report(
        "compaction, Feather to Feather / Arrow reads and rewrites",
        merged,
        arrow,
        "<= 2x (0.5x the speed)",
    );
    Ok(())
}

fn walk(dir: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.is_dir() {
            found.extend(walk(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "feather") {
            found.push(path);
        }
    }
    Ok(found)
}

fn many_runs(dir: &Path, count: u64) -> Result<()> {
    let mut settings = Settings::default();
    settings.memtable.size = 64 << 10;
    settings.backpressure.l0_slowdown = 5000;
    settings.backpressure.l0_stop = 5000;
    settings
        .compaction
        .options
        .insert("l0_trigger".to_owned(), kodiak::core::options::OptionValue::Int(60));
    let (db, table) = open(dir, "runs", &settings)?;
    settings.compaction.target_run_size = 64 << 10;
    drop((db, table));
    let (db, table) = open(dir, "runs", &settings)?;
    fill(&table, 0, count * 62 / 100)?;
    db.compact()?;
    let runs: usize = db
        .stats()
        .tables
        .iter()
        .flat_map(|table| &table.levels)
        .map(|level| level.runs)
        .sum();
    drop(table);
    db.close()?;
    let mut fastest = f64::INFINITY;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let (db, _table) = open(dir, "runs", &settings)?;
        fastest = fastest.min(begun.elapsed().as_secs_f64() * 1e3);
        db.close()?;
    }
    println!("opening a database of {runs} runs: {fastest:.1} ms (aim: 1,000 runs in < 100 ms)");
    Ok(())
}

fn main() -> Result<()> {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok());
    measure(count.unwrap_or(1_000_000), std::env::args().nth(2).as_deref())
}

/// Measures all sections, or one, over so many keys.
fn measure(count: u64, only: Option<&str>) -> Result<()> {
    let dir = tempfile::tempdir().map_err(io)?;
    println!(
        "{:<58} {:>13} {:>13} {:>8}  aim",
        format!("{count} keys"),
        "measured",
        "yardstick",
        "ratio"
    );
    let sections: [(&str, &dyn Fn() -> Result<()>); 8] = [
        ("reads", &|| reads(dir.path(), count)),
        ("formats", &|| formats(dir.path(), count)),
        ("writes", &|| writes::measure(dir.path(), count)),
        ("compaction", &|| compaction(dir.path(), count)),
        ("syncs", &|| syncs::measure(dir.path(), count)),
        ("runs", &|| many_runs(dir.path(), count)),
        ("typed", &|| typed::orders(dir.path(), count)),
        ("flights", &|| typed::flights(dir.path(), count)),
    ];
    sections
        .iter()
        .filter(|(name, _)| only.is_none_or(|only| only == *name))
        .try_for_each(|(_, section)| section())
}

#[cfg(test)]
#[test]
fn every_section_runs() {
    measure(200, None).expect("nothing fails");
}
