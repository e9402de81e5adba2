//! Measures ordered scans of a table of which a fifth was updated at random: merge-on-read against merge-on-write.
//!
//! `cargo run --release -p kodiak --example merge_on_write [KEYS]` (1,000,000 unless told; 16-byte keys, 100-byte values). All keys
//! are in one sorted run; the updates are in one run, in 8 and in 50, none of which are merged. Each figure is the best of five
//! rounds, in which the databases take turns. Trust ratios, not nanoseconds: machines are noisy.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use kodiak::core::options::OptionValue;
use kodiak::{Db, Error, ErrorKind, Result, Settings, Table, TableSchema};

const ROUNDS: usize = 5;
const INDEXES: [&str; 3] = ["fence", "bplus", "fractal"];

fn spread(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(31)
        .wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

/// The n-th key: well spread, and in no order.
fn key(n: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&spread(n).to_be_bytes());
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

/// One of the databases.
struct Side {
    index: &'static str,
    db: Db,
    table: Table,
    /// Seconds that the flushes of updates took.
    flushing: f64,
}

fn settings(index: &str) -> Settings {
    let mut settings = Settings::default();
    settings.memtable.size = 1 << 30;
    index.clone_into(&mut settings.index.primary);
    settings.index.deletion_vectors = index != "fence";
    settings.index.pool = 1 << 30;
    // Runs stay as they are.
    settings.compaction.dead_share = 0.0;
    let trigger = ("l0_trigger".to_owned(), OptionValue::Int(1000));
    let off = |name: &str| (name.to_owned(), OptionValue::Bool(false));
    let options = [trigger, off("read_triggered"), off("delete_triggered")];
    settings.compaction.options.extend(options);
    (settings.backpressure.l0_slowdown, settings.backpressure.l0_stop) = (2000, 3000);
    settings
}

impl Side {
    fn new(dir: &Path, index: &'static str, schema: &TableSchema) -> Result<Self> {
        let db = Db::open(dir.join(index), settings(index))?;
        let table = db.create_table("t", schema.clone())?;
        Ok(Self {
            index,
            db,
            table,
            flushing: 0.0,
        })
    }

    /// Writes all keys, and then a fifth of them again, in so many runs.
    fn fill(
        &mut self,
        count: u64,
        runs: u64,
        write: &dyn Fn(&Table, &mut dyn Iterator<Item = u64>) -> Result<()>,
    ) -> Result<()> {
        write(&self.table, &mut (0..count))?;
        self.db.compact()?;
        for run in 0..runs {
            let mut updated = (0..count).filter(|n| spread(*n).is_multiple_of(5) && spread(!*n) % runs == run);
            write(&self.table, &mut updated)?;
            let begun = Instant::now();
            self.db.flush()?;
            self.flushing += begun.elapsed().as_secs_f64();
        }
        self.db.wait_idle()
    }
}

/// Seconds of each side's fastest round.
fn race(sides: &[Side], scan: &dyn Fn(&Table) -> Result<u64>, expected: u64) -> Result<Vec<f64>> {
    let mut fastest = vec![f64::INFINITY; sides.len()];
    for _ in 0..ROUNDS {
        for (side, fastest) in sides.iter().zip(&mut fastest) {
            let begun = Instant::now();
            let found = scan(&side.table)?;
            *fastest = begun.elapsed().as_secs_f64().min(*fastest);
            if found != expected {
                return Err(Error::corruption(format!(
                    "{}: {found} instead of {expected}",
                    side.index
                )));
            }
        }
    }
    Ok(fastest)
}

fn report(what: &str, sides: &[Side], times: &[f64], count: u64) {
    let each = |seconds: f64| seconds * 1e9 / count as f64;
    let base = times[0];
    print!("{what:<44} {:>6.1} ns", each(base));
    for (side, &time) in sides.iter().zip(times).skip(1) {
        print!("  {} {:>6.1} ns {:>5.2}x", side.index, each(time), base / time);
    }
    let flushes: Vec<String> = sides.iter().map(|side| format!("{:.2}", side.flushing)).collect();
    println!("  flushes {} s", flushes.join(" / "));
}

fn put(table: &Table, keys: &mut dyn Iterator<Item = u64>) -> Result<()> {
    let mut value = [7; 100];
    for n in keys {
        value[..8].copy_from_slice(&n.to_le_bytes());
        table.put(key(n), value)?;
    }
    Ok(())
}

fn scan(table: &Table) -> Result<u64> {
    let (mut scan, mut sum) = (table.scan(..)?, 0u64);
    while let Some((key, value)) = scan.next_ref()? {
        sum += u64::from(key[15]) + u64::from(value[0]) + 1;
    }
    Ok(sum)
}

fn key_value(dir: &Path, count: u64, runs: u64) -> Result<()> {
    let mut sides = INDEXES
        .iter()
        .map(|index| Side::new(dir, index, &TableSchema::key_value()))
        .collect::<Result<Vec<_>>>()?;
    sides.iter_mut().try_for_each(|side| side.fill(count, runs, &put))?;
    let expected = (0..count).map(|n| 2 * (n & 0xFF) + 1).sum();
    let times = race(&sides, &scan, expected)?;
    report(&format!("key-value, updates in {runs} runs"), &sides, &times, count);
    // Some more updates, which stay in memory.
    for side in &sides {
        put(&side.table, &mut (0..count).step_by(100))?;
    }
    let times = race(&sides, &scan, expected)?;
    report("the same, and 1 % in memory", &sides, &times, count);
    // Nine tenths are deleted.
    for side in &sides {
        (0..count)
            .filter(|n| n % 10 != 0)
            .try_for_each(|n| side.table.delete(key(n)))?;
        side.db.flush()?;
    }
    let expected = (0..count).step_by(10).map(|n| 2 * (n & 0xFF) + 1).sum();
    let times = race(&sides, &scan, expected)?;
    report("the same, and 90 % deleted, per survivor", &sides, &times, count / 10);
    Ok(())
}

fn typed(dir: &Path, count: u64, runs: u64) -> Result<()> {
    let columns = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("number", DataType::Int64, false),
        Field::new("text", DataType::Utf8, false),
    ];
    let schema = TableSchema::new(Arc::new(Schema::new(columns)), &["id"])?;
    let insert = |table: &Table, keys: &mut dyn Iterator<Item = u64>| {
        let keys: Vec<i64> = keys.map(|n| n as i64).collect();
        for some in keys.chunks(4096) {
            let texts = StringArray::from_iter_values(some.iter().map(|n| format!("the text of row {n}")));
            let columns: [(&str, arrow::array::ArrayRef); 3] = [
                ("id", Arc::new(Int64Array::from(some.to_vec()))),
                ("number", Arc::new(Int64Array::from(some.to_vec()))),
                ("text", Arc::new(texts)),
            ];
            let rows = RecordBatch::try_from_iter(columns);
            table.insert(&rows.map_err(|error| Error::new(ErrorKind::InvalidInput, "columns").with_source(error))?)?;
        }
        Ok(())
    };
    let read = |table: &Table| {
        let mut sum = 0;
        for batch in table.read().batches()? {
            let batch = batch?;
            let numbers = batch.column(1).as_primitive::<Int64Type>().values();
            sum += numbers.iter().sum::<i64>() as u64 + batch.column(2).as_string::<i32>().value_data().len() as u64;
        }
        Ok(sum)
    };
    let mut sides = INDEXES
        .iter()
        .map(|index| Side::new(dir, index, &schema))
        .collect::<Result<Vec<_>>>()?;
    sides.iter_mut().try_for_each(|side| side.fill(count, runs, &insert))?;
    let expected = read(&sides[0].table)?;
    let times = race(&sides, &read, expected)?;
    report(&format!("typed, updates in {runs} runs"), &sides, &times, count);
    Ok(())
}

fn main() -> Result<()> {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok());
    measure(count.unwrap_or(1_000_000))
}

fn measure(count: u64) -> Result<()> {
    println!(
        "{count} keys, a fifth updated: time of an ordered scan per row, merge-on-read, and merge-on-write by index"
    );
    let fresh = |scan: &dyn Fn(&Path) -> Result<()>| {
        let dir = tempfile::tempdir();
        let dir =
            dir.map_err(|error| Error::new(ErrorKind::Io, "no directory for the databases").with_source(error))?;
        scan(dir.path())
    };
    for runs in [1, 8, 50] {
        fresh(&|dir| key_value(dir, count, runs))?;
    }
    for runs in [1, 8] {
        fresh(&|dir| typed(dir, count, runs))?;
    }
    Ok(())
}

#[cfg(test)]
#[test]
fn every_scan_gives_what_it_should() {
    measure(1000).expect("nothing fails");
}
