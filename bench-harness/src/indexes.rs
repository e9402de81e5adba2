//! The indexes by themselves: the same work on each, with data of several times the pool, and their targets as ratios.

mod experiments;
mod session;
mod targets;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kodiak::core::index::Updates;
use kodiak::{Error, Result};
use tempfile::TempDir;

pub use self::experiments::{EXPERIMENTS, Experiment};
use self::session::{Session, busy, create, key, newest, node_bytes};
pub use self::targets::{Aim, Target, summary, targets};

const KEY: usize = 8;
const VALUE: usize = 24;
const ENTRY: usize = KEY + VALUE;
/// Changes applied at once, sorted.
const BATCH: usize = 1000;

/// What is measured.
#[derive(Debug, Clone)]
pub struct Bench {
    /// Bytes of the pool. Nodes of the fractal tree are a sixteenth of it, basements an eighth of a KiB for each MiB of it.
    pub pool: usize,
    /// Data, keys and values alone, as multiples of the pool.
    pub times: Vec<usize>,
    /// Entries for the reads in memory.
    pub memory_entries: u64,
    /// Where the files are made.
    pub dir: Option<PathBuf>,
}

impl Bench {
    /// A directory that is removed when it is dropped.
    fn directory(&self) -> Result<TempDir> {
        let parent = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        tempfile::tempdir_in(&parent).map_err(|error| Error::io("make a directory in it", &parent, error))
    }
}

/// One kind of work on one index.
#[derive(Debug, Clone)]
pub struct Row {
    /// The index; or the map in memory that it is compared with.
    pub index: &'static str,
    /// How many times the pool the data is; 0 for data in memory.
    pub times: usize,
    /// The work.
    pub work: Cow<'static, str>,
    /// How often.
    pub operations: usize,
    /// Time for each, in nanoseconds.
    pub nanos: f64,
    /// Time on a processor for each, in nanoseconds, where the system tells: other programs disturb it less.
    pub busy: f64,
    /// Bytes written for each.
    pub written: f64,
    /// Bytes read for each.
    pub read: f64,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = if self.times == 0 {
            "memory".to_owned()
        } else {
            format!("{}x", self.times)
        };
        write!(
            f,
            "{:8} {times:>6}  {:18} {:>9} ops {:>9.0} ns ({:>7.0} busy) {:>9.1} B written {:>9.1} B read",
            self.index, self.work, self.operations, self.nanos, self.busy, self.written, self.read
        )
    }
}

impl fmt::Display for Bench {
    /// What is measured, and how, for whoever reads the report.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |bytes: usize| bytes >> 10;
        let (node, basement) = node_bytes(self.pool);
        writeln!(
            f,
            "Both indexes, with a pool of {} KiB and data (keys of {KEY} bytes, values of {VALUE}) of so many times that: bplus with \
             its default pages, fractal with nodes of {} KiB and basements of {} KiB.",
            kib(self.pool),
            kib(node),
            kib(basement)
        )?;
        writeln!(
            f,
            "Changes come in sorted batches of {BATCH}, with a durable commit for each half pool; point reads are of random keys. \
             \"Random inserts\" are the last quarter of those that make the data."
        )?;
        write!(
            f,
            "Of each operation: time, time on a processor (\"busy\", which other programs disturb less), bytes written and read. \
             \"memory\": {} entries that fit the pool.",
            self.memory_entries
        )
    }
}

/// Does everything, telling each result as it comes.
///
/// # Errors
/// `Io`; `Corruption` if an index gives a wrong answer.
pub fn run(bench: &Bench, tell: &mut dyn FnMut(&Row)) -> Result<Vec<Row>> {
    let dir = bench.directory()?;
    let mut rows = Vec::new();
    for &times in &bench.times {
        let count = bench.pool / ENTRY * times;
        for &factory in kodiak_indexes::ALL {
            let mut session = Session {
                factory,
                index: create(factory, bench.pool, bench.pool, dir.path())?,
                pool: bench.pool,
                times,
                rows: &mut rows,
                tell,
            };
            random(&mut session, count)?;
            session.index = create(factory, bench.pool, bench.pool, dir.path())?;
            session.write("sorted inserts", count, |_, number, updates| {
                updates.put(&number.to_be_bytes(), &[number as u8; VALUE]);
                Ok(())
            })?;
            session.scan(count)?;
        }
    }
    in_memory(bench, dir.path(), &mut rows, tell)?;
    Ok(rows)
}

fn random(session: &mut Session<'_>, count: usize) -> Result<()> {
    let early = count * 3 / 4;
    let insert = |number: u64, updates: &mut Updates| {
        updates.put(&key(number), &[number as u8; VALUE]);
        Ok(())
    };
    // The last quarter is what inserts cost at this size.
    session.write("growing", early, |_, number, updates| insert(number, updates))?;
    session.write("random inserts", count - early, |_, number, updates| {
        insert(early as u64 + number, updates)
    })?;
    session.write("upserts", count / 4, |_, number, updates| {
        updates.upsert(&key(number.wrapping_mul(1_000_003) % count as u64), &[1; VALUE]);
        Ok(())
    })?;
    let some = (count as u64 / 8).min(20_000);
    session.reads(count as u64, some, 104_729)?;
    session.write("read-modify-writes", some as usize, |index, number, updates| {
        let key = key(number.wrapping_mul(600_011) % count as u64);
        let mut value = index.get(&key)?.unwrap_or_default();
        value.rotate_left(1);
        updates.put(&key, &value);
        Ok(())
    })
}

/// Point reads where everything is in memory, beside a map of the standard library.
fn in_memory(bench: &Bench, dir: &Path, rows: &mut Vec<Row>, tell: &mut dyn FnMut(&Row)) -> Result<()> {
    let count = bench.memory_entries;
    let map: BTreeMap<Vec<u8>, Vec<u8>> = (0..count)
        .map(|number| (key(number).to_vec(), vec![1; VALUE]))
        .collect();
    let step = 7_777_777;
    let (start, busy_before) = (Instant::now(), busy());
    let mut found = 0;
    for number in 0..count {
        found += usize::from(map.get(&key(number.wrapping_mul(step) % count)[..]).cloned().is_some());
    }
    let (nanos, busy) = (start.elapsed().as_nanos() as f64, busy() - busy_before);
    let row = Row {
        index: "BTreeMap",
        times: 0,
        work: "point reads".into(),
        operations: found,
        nanos: nanos / count as f64,
        busy: busy / count as f64,
        written: 0.0,
        read: 0.0,
    };
    tell(&row);
    rows.push(row);
    for &factory in kodiak_indexes::ALL {
        let memory = (count as usize * ENTRY * 4).max(64 << 20);
        let mut session = Session {
            factory,
            index: create(factory, bench.pool, memory, dir)?,
            pool: memory,
            times: 0,
            rows,
            tell,
        };
        session.write("random inserts", count as usize, |_, number, updates| {
            updates.put(&key(number), &[1; VALUE]);
            Ok(())
        })?;
        // The first pass brings what is missing into the pool.
        let warm = newest(&*session.index)?;
        for number in 0..count {
            warm.get(&key(number))?;
        }
        session.reads(count, count, step)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tiny_run_answers_every_target() {
        let bench = Bench {
            pool: 1 << 20,
            times: vec![1],
            memory_entries: 1000,
            dir: None,
        };
        let mut told = 0;
        let rows = run(&bench, &mut |_| told += 1).expect("it runs");
        assert_eq!(rows.len(), told);
        let targets = targets(&rows);
        assert_eq!(targets.len(), 10, "{targets:?}");
        assert!(
            targets
                .iter()
                .all(|target| target.ratio.is_finite() && target.ratio >= 0.0)
        );
        assert_eq!(
            targets.iter().filter(|target| target.is_aimed_at()).count(),
            6,
            "{targets:?}"
        );
        assert!(
            summary(&targets).contains(" of 6 aims reached"),
            "{}",
            summary(&targets)
        );
    }
}
