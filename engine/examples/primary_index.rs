//! Point reads with a primary index beside those that go through the runs, in a table of many runs that all overlap.
//!
//! `cargo run --release -p kodiak --example primary_index [KEYS] [RUNS]` (1,000,000 keys of 16 bytes with values of 100 bytes in 50
//! runs unless told). Each figure of a read is the best of three rounds. Trust ratios, not nanoseconds.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::path::Path;
use std::time::Instant;

use kodiak::core::options::OptionValue;
use kodiak::settings::Allocation;
use kodiak::{Db, Error, ErrorKind, Result, Settings, Table, TableSchema};

const VALUE: [u8; 100] = [7; 100];
const ROUNDS: usize = 3;
/// In a round.
const MOST_READS: u64 = 500_000;

/// The n-th key: well spread, and in no order, so that every run has keys from everywhere.
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

/// Every flush is a run that stays on level 0.
fn settings(primary: &str, filter: &str) -> Settings {
    let mut settings = Settings::default();
    primary.clone_into(&mut settings.index.primary);
    filter.clone_into(&mut settings.filter.kind);
    settings.filter.allocation = Allocation::Uniform;
    settings.index.pool = 256 << 20;
    settings.memtable.size = 1 << 30;
    (settings.backpressure.l0_slowdown, settings.backpressure.l0_stop) = (100_000, 100_000);
    let trigger = OptionValue::Int(1000);
    settings.compaction.options.insert("l0_trigger".to_owned(), trigger);
    settings
}

/// Nanoseconds.
struct Figures {
    /// For each key, of all flushes.
    flush: f64,
    /// For a get of a key that is there.
    hit: f64,
    /// For a get of one that is not.
    miss: f64,
}

fn best(count: u64, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        work()?;
        best = best.min(begun.elapsed().as_nanos() as f64 / count as f64);
    }
    Ok(best)
}

fn fill(db: &Db, table: &Table, keys: u64, runs: u64) -> Result<f64> {
    let mut flushing = 0.0;
    for run in 0..runs {
        (keys * run / runs..keys * (run + 1) / runs).try_for_each(|n| table.put(key(n), VALUE))?;
        let begun = Instant::now();
        db.flush()?;
        flushing += begun.elapsed().as_nanos() as f64;
    }
    Ok(flushing / keys as f64)
}

fn measure_one(dir: &Path, settings: Settings, keys: u64, runs: u64) -> Result<Figures> {
    let db = Db::open(dir, settings)?;
    let table = db.create_table("t", TableSchema::key_value())?;
    let flush = fill(&db, &table, keys, runs)?;
    let stats = db.stats();
    let there = stats.tables[0].levels[0].sorted_runs as u64;
    if there != runs {
        let message = format!("there are {there} runs, not {runs}");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let reads = keys.min(MOST_READS);
    let hit = best(reads, || {
        (0..reads).try_for_each(|n| match table.get(key(n.wrapping_mul(7919) % keys))? {
            Some(_) => Ok(()),
            None => Err(Error::corruption("a key is missing")),
        })
    })?;
    let miss = best(reads, || {
        (0..reads).try_for_each(|n| match table.get(key(keys + n))? {
            None => Ok(()),
            Some(_) => Err(Error::corruption("an absent key was found")),
        })
    })?;
    db.close()?;
    Ok(Figures { flush, hit, miss })
}

fn measure(keys: u64, runs: u64) -> Result<()> {
    let dir = tempfile::tempdir().map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
    let run = |name: &str, primary: &str, filter: &str| -> Result<Figures> {
        let figures = measure_one(&dir.path().join(name), settings(primary, filter), keys, runs)?;
        println!(
            "{name:<24} {:>8.0} ns {:>8.0} ns {:>12.0} ns",
            figures.hit, figures.miss, figures.flush
        );
        Ok(figures)
    };
    println!(
        "{:<24} {:>11} {:>11} {:>15}",
        format!("{keys} keys, {runs} runs"),
        "hit",
        "miss",
        "flush, per key"
    );
    let filtered = run("fences with filters", "fence", "blocked-bloom")?;
    let bare = run("fences without", "fence", "none")?;
    for kind in ["bplus", "fractal"] {
        let indexed = run(kind, kind, "none")?;
        println!(
            "{:<24} {:>7.1} x with filters (aim: 3), {:.1} x without (aim: 5); misses {:.1} x, {:.1} x; flush {:.2} x the time",
            format!("  {kind} is faster by"),
            filtered.hit / indexed.hit,
            bare.hit / indexed.hit,
            filtered.miss / indexed.miss,
            bare.miss / indexed.miss,
            indexed.flush / filtered.flush
        );
    }
    Ok(())
}

fn main() -> Result<()> {
    let number = |nth| std::env::args().nth(nth).and_then(|number| number.parse().ok());
    measure(number(1).unwrap_or(1_000_000), number(2).unwrap_or(50))
}

#[cfg(test)]
#[test]
fn it_runs() {
    measure(500, 5).expect("nothing fails");
}
