//! Cases that read and write, and recovery.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Job, Measures, Values, measure, rate, read, scan};
use crate::data::{Rng, random_key};
use crate::engine::{Engine, Result};

/// Puts per millisecond of the writer beside which reads are measured: the same for all engines, and less than the slowest
/// of them can do with a million keys.
const WRITES_PER_MS: u64 = 20;

/// Random reads while another thread overwrites at a fixed pace.
pub fn read_while_writing<E: Engine>(job: &Job) -> Result<Measures> {
    let engine: E = job.open()?;
    scan(&engine.reader()?, &[], u64::MAX, job.value_len)?;
    let ids = job.rng().many_below(job.operations(), job.keys);
    let stop = AtomicBool::new(false);
    let write = || -> Result<f64> {
        let mut rng = Rng::new(!job.seed);
        let mut values = Values::new(job);
        let start = Instant::now();
        let mut written = 0;
        while !stop.load(Ordering::Relaxed) {
            let due = start.elapsed().as_millis() as u64 * WRITES_PER_MS;
            for _ in written..due.min(written + 10 * WRITES_PER_MS) {
                let key = random_key(rng.below(job.keys));
                engine.put(&key, values.of(&key, written + 1))?;
                written += 1;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(rate(written, start))
    };
    let work = || -> Result<f64> {
        let start = Instant::now();
        for id in &ids {
            read(&engine.reader()?, &random_key(u64::from(*id)), job.value_len)?;
        }
        Ok(rate(ids.len() as u64, start))
    };
    let (read, written) = std::thread::scope(|scope| -> Result<(f64, f64)> {
        let writer = scope.spawn(write);
        let read = work();
        stop.store(true, Ordering::Relaxed);
        let written = writer.join().map_err(|_| "the writer panicked")??;
        Ok((read?, written))
    })?;
    engine.close()?;
    Ok(vec![measure("ops", read), measure("writes", written)])
}

/// Deletes 90 % of the keys in random order, then scans what is left at once, without draining.
pub fn delete<E: Engine>(job: &Job) -> Result<Measures> {
    let engine: E = job.open()?;
    let mut ids: Vec<u32> = (0..job.keys as u32).collect();
    job.rng().shuffle(&mut ids);
    let (gone, kept) = ids.split_at(job.keys as usize / 10 * 9);
    let start = Instant::now();
    for id in gone {
        engine.delete(&random_key(u64::from(*id)))?;
    }
    let deleted = rate(gone.len() as u64, start);
    let reader = engine.reader()?;
    let start = Instant::now();
    let entries = scan(&reader, &[], u64::MAX, job.value_len)?;
    let scanned = rate(entries, start);
    if entries != kept.len() as u64 {
        return Err(format!("{entries} entries survived instead of {}", kept.len()).into());
    }
    for id in kept.iter().take(10_000) {
        read(&reader, &random_key(u64::from(*id)), job.value_len)?;
    }
    drop(reader);
    engine.close()?;
    Ok(vec![measure("ops", deleted), measure("survivors", scanned)])
}

/// Opens a store left by [`load_log`](super::fill::load_log) and makes the first read.
pub fn recovery<E: Engine>(job: &Job) -> Result<Measures> {
    let start = Instant::now();
    let engine: E = job.open()?;
    read(&engine.reader()?, &random_key(0), job.value_len)?;
    let recovered = rate(job.keys, start);
    let entries = scan(&engine.reader()?, &[], u64::MAX, job.value_len)?;
    if entries != job.keys {
        return Err(format!("{entries} entries came back instead of {}", job.keys).into());
    }
    engine.close()?;
    Ok(vec![measure("ops", recovered)])
}
