//! Rows into a table with three secondary indexes on random integers (the shape of iiBench), and out of it through them: by the
//! index that holds the entries, and by how it is maintained.
//!
//! `cargo run --release -p kodiak --example secondary_indexes [ROWS] [POOL] [MEMTABLE]` (1,000,000 rows, a pool of 8 MiB, of which the
//! indexes come to about eight times, and a memtable of twice the pool, unless told). Entries come to the indexes a memtable at a time,
//! sorted: the smaller it is, the fewer of them a leaf gets at once. Trust ratios, not rates.
//!
//! `... secondary_indexes inserts ROWS POOL MEMTABLE [ROUNDS]` does the inserts alone, lazily maintained, the two kinds taking turns, and
//! gives medians; `... secondary_indexes curve [POOL] [ROUNDS]` does that for indexes of 1, 4 and 16 pools and for several memtables.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use kodiak::core::options::OptionValue;
use kodiak::settings::Maintenance;
use kodiak::{Db, Error, ErrorKind, IndexDefinition, Result, Settings, Table, TableSchema};

const BATCH: u64 = 1000;
const COLUMNS: [&str; 3] = ["a", "b", "c"];
/// Rows of a read.
const READ: usize = 100;

fn mixed(n: u64) -> u64 {
    let spread = n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31);
    spread.wrapping_mul(0xBF58_476D_1CE4_E5B9) ^ spread >> 29
}

fn columns() -> SchemaRef {
    let names = ["id"].into_iter().chain(COLUMNS).chain(["payload"]);
    let fields: Vec<Field> = names.map(|name| Field::new(name, DataType::Int64, false)).collect();
    Arc::new(Schema::new(fields))
}

/// Rows with these keys, and random integers by `round`.
fn rows(ids: impl Iterator<Item = u64>, round: u64) -> Result<RecordBatch> {
    let ids: Vec<u64> = ids.collect();
    let column = |salt: u64| -> ArrayRef {
        let value = |&id: &u64| match salt {
            0 => id as i64,
            _ => (mixed(id * 8 + salt + (round << 40)) >> 1) as i64,
        };
        Arc::new(ids.iter().map(value).collect::<Int64Array>())
    };
    RecordBatch::try_new(columns(), (0..5).map(column).collect())
        .map_err(|error| Error::invalid_input(error.to_string()))
}

fn settings(kind: &str, maintenance: Maintenance, pool: u64, memtable: u64) -> Settings {
    let mut settings = Settings::default();
    kind.clone_into(&mut settings.secondary.kind);
    settings.secondary.maintenance = maintenance;
    settings.secondary.pool = pool;
    settings.memtable.size = memtable.max(64 << 10);
    if kind == "fractal" {
        let node = (pool / 16).max(16 << 10);
        for (name, bytes) in [("node_size", node), ("basement_size", (node / 8).max(4 << 10))] {
            settings
                .secondary
                .options
                .insert(name.to_owned(), OptionValue::Int(bytes));
        }
    }
    settings
}

/// Rows a second.
struct Figures {
    insert: f64,
    update: f64,
    covered: f64,
    whole: f64,
    written: u64,
}

fn rate(count: u64, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    work()?;
    Ok(count as f64 / begun.elapsed().as_secs_f64().max(1e-9))
}

/// Reads of a hundred rows each, from somewhere in each index.
fn read(table: &Table, reads: u64, names: &[&str]) -> Result<u64> {
    let mut found = 0;
    for n in 0..reads {
        let name = COLUMNS[n as usize % 3];
        let from: ArrayRef = Arc::new(Int64Array::from(vec![(mixed(n) >> 2) as i64]));
        let from =
            RecordBatch::try_from_iter([(name, from)]).map_err(|error| Error::invalid_input(error.to_string()))?;
        let read = table
            .index(name)?
            .key_range(&from..)
            .limit(READ)
            .project(names.iter().copied());
        for batch in read.batches()? {
            found += batch?.num_rows() as u64;
        }
    }
    Ok(found)
}

/// A new database with a table of so many rows, and how fast they were inserted.
fn fill(dir: &Path, settings: Settings, count: u64, indexed: bool) -> Result<(Db, Table, f64)> {
    let db = Db::open(dir, settings)?;
    let table = db.create_table("t", TableSchema::new(columns(), &["id"])?)?;
    if indexed {
        COLUMNS
            .iter()
            .try_for_each(|name| table.create_index(IndexDefinition::on(*name, [*name])))?;
    }
    let insert = rate(count, || {
        for start in (0..count).step_by(BATCH as usize) {
            table.insert(&rows(start..(start + BATCH).min(count), 0)?)?;
        }
        db.flush()
    })?;
    db.wait_idle()?;
    Ok((db, table, insert))
}

/// Numbers about its indexes.
fn index_stats(db: &Db) -> Vec<kodiak::core::index::IndexStats> {
    let stats = db.stats();
    stats.tables[0]
        .secondary
        .iter()
        .map(|index| index.index.clone())
        .collect()
}

fn measure_one(dir: &Path, settings: Settings, count: u64, indexed: bool) -> Result<Figures> {
    let (db, table, insert) = fill(dir, settings, count, indexed)?;
    let updates = count / 4;
    let update = rate(updates, || {
        for start in (0..updates).step_by(BATCH as usize) {
            let ids = (start..(start + BATCH).min(updates)).map(|n| mixed(n) % count);
            table.insert(&rows(ids, 1)?)?;
        }
        db.flush()
    })?;
    db.wait_idle()?;
    let written = index_stats(&db).iter().map(|index| index.write_bytes).sum();
    let (mut covered, mut whole) = (0.0, 0.0);
    if indexed {
        let reads = (count / 2000).clamp(3, 300);
        // Warm, and so that the answers are compared.
        let expected = read(&table, reads, &["id"])?;
        covered = rate(expected, || read(&table, reads, &["id"]).map(drop))?;
        whole = rate(expected, || {
            match read(&table, reads, &["id", "payload"])? == expected {
                true => Ok(()),
                false => Err(Error::corruption("an index finds others with rows than without")),
            }
        })?;
    }
    drop(table);
    db.close()?;
    Ok(Figures {
        insert,
        update,
        covered,
        whole,
        written,
    })
}

fn measure(count: u64, pool: u64, memtable: u64) -> Result<()> {
    let dir = tempfile::tempdir().map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
    println!(
        "{:<24} {:>12} {:>12} {:>16} {:>14} {:>14}",
        format!("{count} rows"),
        "inserts/s",
        "updates/s",
        "read, covered/s",
        "read, rows/s",
        "index MiB"
    );
    let run = |name: &str, kind: &str, maintenance, indexed| -> Result<Figures> {
        let path = dir.path().join(name.replace(' ', "-"));
        let figures = measure_one(&path, settings(kind, maintenance, pool, memtable), count, indexed)?;
        let removed = std::fs::remove_dir_all(&path);
        removed.map_err(|source| Error::io("remove", &path, source))?;
        println!(
            "{name:<24} {:>12.0} {:>12.0} {:>16.0} {:>14.0} {:>14.0}",
            figures.insert,
            figures.update,
            figures.covered,
            figures.whole,
            figures.written as f64 / f64::from(1 << 20)
        );
        Ok(figures)
    };
    run("no index", "fractal", Maintenance::Lazy, false)?;
    let bplus_lazy = run("bplus lazy", "bplus", Maintenance::Lazy, true)?;
    let bplus_eager = run("bplus eager", "bplus", Maintenance::Eager, true)?;
    let fractal_lazy = run("fractal lazy", "fractal", Maintenance::Lazy, true)?;
    let fractal_eager = run("fractal eager", "fractal", Maintenance::Eager, true)?;
    for (name, fractal, bplus) in [
        ("lazy", &fractal_lazy, &bplus_lazy),
        ("eager", &fractal_eager, &bplus_eager),
    ] {
        println!(
            "fractal over bplus, {name}: inserts {:.1}, updates {:.1}, reads {:.2}, bytes written {:.2}",
            fractal.insert / bplus.insert,
            fractal.update / bplus.update,
            fractal.whole / bplus.whole,
            fractal.written as f64 / (bplus.written as f64).max(1.0)
        );
    }
    println!(
        "lazy over eager, fractal: inserts {:.1}, updates {:.1}, covered reads {:.2}, reads of rows {:.2}",
        fractal_lazy.insert / fractal_eager.insert,
        fractal_lazy.update / fractal_eager.update,
        fractal_lazy.covered / fractal_eager.covered,
        fractal_lazy.whole / fractal_eager.whole
    );
    Ok(())
}

/// What inserts come to: rows a second, and what the indexes did on the disk.
#[derive(Clone, Copy)]
struct Inserts {
    rate: f64,
    written: u64,
    read: u64,
    syncs: u64,
    used: u64,
}

fn inserts_once(settings: Settings, count: u64, indexed: bool) -> Result<Inserts> {
    let dir = tempfile::tempdir().map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
    let (db, table, rate) = fill(dir.path(), settings, count, indexed)?;
    let stats = index_stats(&db);
    drop(table);
    db.close()?;
    let sum = |of: fn(&kodiak::core::index::IndexStats) -> u64| stats.iter().map(of).sum();
    Ok(Inserts {
        rate,
        written: sum(|index| index.write_bytes),
        read: sum(|index| index.read_bytes),
        syncs: sum(|index| index.syncs),
        used: sum(|index| index.used_bytes),
    })
}

/// Inserts without an index and with those of either kind, which take turns; of each the run of the median rate.
fn inserts(count: u64, pool: u64, memtable: u64, rounds: u64) -> Result<()> {
    let kinds = [
        ("no index", "fractal", false),
        ("bplus", "bplus", true),
        ("fractal", "fractal", true),
    ];
    let mut runs = kinds.map(|_| Vec::new());
    for _ in 0..rounds.max(1) {
        for ((_, kind, indexed), runs) in kinds.iter().zip(&mut runs) {
            let settings = settings(kind, Maintenance::Lazy, pool, memtable);
            runs.push(inserts_once(settings, count, *indexed)?);
        }
    }
    let median = runs.map(|mut runs| {
        runs.sort_by(|one, other| one.rate.total_cmp(&other.rate));
        runs[runs.len() / 2]
    });
    println!("{count} rows, pool {} KiB, memtable {} KiB", pool >> 10, memtable >> 10);
    for ((name, ..), run) in kinds.iter().zip(&median) {
        println!(
            "{name:<10} {:>10.0} rows/s, indexes of {:>5.1} MiB: written {:>7.1} MiB, read {:>7.1} MiB, {:>6} syncs",
            run.rate,
            run.used as f64 / f64::from(1 << 20),
            run.written as f64 / f64::from(1 << 20),
            run.read as f64 / f64::from(1 << 20),
            run.syncs
        );
    }
    println!("fractal over bplus: {:.2}", median[2].rate / median[1].rate);
    Ok(())
}

/// About what a row takes in the three indexes.
const ROW: u64 = 70;

fn curve(pool: u64, rounds: u64) -> Result<()> {
    for times in [1, 4, 16] {
        for memtable in [pool / 8, pool / 2, 2 * pool] {
            inserts(times * pool / ROW, pool, memtable, rounds)?;
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let number = |nth| std::env::args().nth(nth).and_then(|number| number.parse().ok());
    let (first, second) = (number(2), number(3));
    match std::env::args().nth(1).as_deref() {
        Some("inserts") => {
            let pool = second.unwrap_or(8 << 20);
            let memtable = number(4).unwrap_or(2 * pool);
            inserts(first.unwrap_or(1_000_000), pool, memtable, number(5).unwrap_or(3))
        }
        Some("curve") => curve(first.unwrap_or(2 << 20), second.unwrap_or(3)),
        _ => {
            let pool = first.unwrap_or(8 << 20);
            measure(number(1).unwrap_or(1_000_000), pool, second.unwrap_or(2 * pool))
        }
    }
}

#[cfg(test)]
#[test]
fn it_runs() {
    measure(3000, 256 << 10, 512 << 10).expect("nothing fails");
    inserts(3000, 256 << 10, 64 << 10, 1).expect("nothing fails");
}
