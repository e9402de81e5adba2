//! Puts in mode `normal`, by one thread and by two.

use std::path::Path;
use std::time::Instant;

use kodiak::core::{EntryRef, Op};
use kodiak::{Error, Result, Settings};

use crate::{VALUE, best, fill, key, median, open, report};

const ROUNDS: usize = 7;
/// The database of which the recovery is timed.
const REPLAYED: &str = "writes0-1";

/// Prints what puts in mode `normal`, and the recovery of what they left in the log, take beside the memtable alone.
pub fn measure(dir: &Path, count: u64) -> Result<()> {
    let size = 512 << 20;
    let mut settings = Settings::default();
    settings.memtable.size = size;
    let memtable = best(count, || {
        let memtable = kodiak_memtables::ALL[0].create_default(size as usize)?;
        (0..count).try_for_each(|n| {
            let entry = EntryRef {
                key: &key(n),
                seq: n + 1,
                op: Op::Put,
                value: &VALUE,
            };
            memtable.insert(entry)
        })
    })?;
    let put = |name: &str, threads: u64, again: bool| {
        let (db, table) = open(dir, name, &settings)?;
        if again {
            // The log then has segments that it can use again.
            fill(&table, 0, count)?;
            db.flush()?;
            db.wait_idle()?;
        }
        let (each, begun) = (count / threads, Instant::now());
        std::thread::scope(|scope| {
            let spawn = |thread: u64| {
                let table = &table;
                scope.spawn(move || fill(table, thread * each, (thread + 1) * each))
            };
            let running: Vec<_> = (0..threads).map(spawn).collect();
            running
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| Error::corruption("a panic"))?)
        })?;
        Ok::<_, Error>(begun.elapsed().as_nanos() as f64 / count as f64)
    };
    let mut times = [const { Vec::new() }; 4];
    // Turn by turn, and the files go at once: the system would write them to the disk while the next round is timed.
    for round in 0..ROUNDS {
        for (times, (threads, again)) in times.iter_mut().zip([(1, false), (2, false), (1, true), (2, true)]) {
            let name = format!("writes{round}-{threads}{}", if again { "-again" } else { "" });
            times.push(put(&name, threads, again)?);
            if name != REPLAYED {
                std::fs::remove_dir_all(dir.join(name))
                    .map_err(|error| Error::corruption("cannot clear up").with_source(error))?;
            }
        }
    }
    let [one, two, one_again, two_again] = times.map(median);
    report("put, normal mode / memtable alone", one, memtable, "<= 2.5x");
    let aim = "<= 0.67x (1.5x the rate)";
    report("put by two threads / by one, a new log", two, one, aim);
    report(
        "put by two threads / by one, segments used again",
        two_again,
        one_again,
        aim,
    );
    let recover = best(count, || open(dir, REPLAYED, &settings).map(drop))?;
    report(
        "recovery, per entry / memtable insert",
        recover,
        memtable,
        "<= 2x (0.5x the speed)",
    );
    Ok(())
}
