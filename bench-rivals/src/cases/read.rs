//! Cases that only read, from a loaded and drained store.

use std::time::Instant;

use super::{Job, Measures, measure, rate, read, scan};
use crate::data::random_key;
use crate::engine::{Engine, Reader, Result};

/// Fills caches: one scan over everything, then random reads.
fn warm_up<E: Engine>(engine: &E, job: &Job) -> Result<()> {
    let reader = engine.reader()?;
    scan(&reader, &[], u64::MAX, job.value_len)?;
    let mut rng = crate::data::Rng::new(!job.seed);
    for _ in 0..job.operations() / 4 {
        read(&reader, &random_key(rng.below(job.keys)), job.value_len)?;
    }
    Ok(())
}

/// Random reads of keys that exist.
pub fn hits<E: Engine>(job: &Job) -> Result<Measures> {
    let engine: E = job.open()?;
    warm_up(&engine, job)?;
    let ids = job.rng().many_below(job.operations(), job.keys);
    let reader = engine.reader()?;
    let start = Instant::now();
    for id in &ids {
        read(&reader, &random_key(u64::from(*id)), job.value_len)?;
    }
    let read = rate(ids.len() as u64, start);
    drop(reader);
    engine.close()?;
    Ok(vec![measure("ops", read)])
}

/// Random reads of keys that do not exist.
pub fn misses<E: Engine>(job: &Job) -> Result<Measures> {
    let engine: E = job.open()?;
    warm_up(&engine, job)?;
    let ids = job.rng().many_below(job.operations(), job.keys);
    let reader = engine.reader()?;
    let start = Instant::now();
    for id in &ids {
        // Numbers from `keys` on were never written.
        let key = random_key(job.keys + u64::from(*id));
        if reader.get(&key, |_| ())?.is_some() {
            return Err(super::wrong("a value that was never written", &key));
        }
    }
    let read = rate(ids.len() as u64, start);
    drop(reader);
    engine.close()?;
    Ok(vec![measure("ops", read)])
}

/// Two threads read keys that exist.
pub fn parallel<E: Engine>(job: &Job) -> Result<Measures> {
    let engine: E = job.open()?;
    warm_up(&engine, job)?;
    let ids = job.rng().many_below(job.operations(), job.keys);
    let (first, second) = ids.split_at(ids.len() / 2);
    let work = |ids: &[u32]| -> Result<()> {
        let reader = engine.reader()?;
        for id in ids {
            read(&reader, &random_key(u64::from(*id)), job.value_len)?;
        }
        Ok(())
    };
    let start = Instant::now();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(second));
        work(first)?;
        other.join().map_err(|_| "a reader panicked")?
    })?;
    let read = rate(ids.len() as u64, start);
    engine.close()?;
    Ok(vec![measure("ops", read)])
}

/// Seeks to random keys that exist and reads some entries from each on.
pub fn seeks<E: Engine>(job: &Job, entries: u64) -> Result<Measures> {
    let engine: E = job.open()?;
    warm_up(&engine, job)?;
    let count = (job.operations() * 2 / entries).max(job.operations() / 20).max(1);
    let ids = job.rng().many_below(count, job.keys);
    let reader = engine.reader()?;
    let start = Instant::now();
    let mut seen = 0;
    for id in &ids {
        seen += scan(&reader, &random_key(u64::from(*id)), entries, job.value_len)?;
    }
    let sought = rate(count, start);
    // Only near the last keys there are fewer.
    if seen < count || (job.keys > 10 * entries && seen < count * entries * 9 / 10) {
        return Err(format!("{seen} entries after {count} seeks").into());
    }
    drop(reader);
    engine.close()?;
    Ok(vec![measure("ops", sought)])
}

/// Scans everything: once with the engine's caches empty, then with them filled.
pub fn scan_all<E: Engine>(job: &Job) -> Result<Measures> {
    let engine: E = job.open()?;
    let mut rates = Vec::new();
    let begin = Instant::now();
    while rates.len() < 4 || (rates.len() < 16 && begin.elapsed().as_millis() < 500) {
        let reader = engine.reader()?;
        let start = Instant::now();
        let entries = scan(&reader, &[], u64::MAX, job.value_len)?;
        rates.push(rate(entries, start));
        if entries != job.keys {
            return Err(format!("{entries} entries instead of {}", job.keys).into());
        }
    }
    engine.close()?;
    let cold = rates.remove(0);
    rates.sort_by(f64::total_cmp);
    Ok(vec![measure("cold", cold), measure("warm", rates[rates.len() / 2])])
}
