//! Cases that write.

use std::time::Instant;

use super::{Job, Kind, Measures, Values, measure, rate, read, scan};
use crate::bytes::{disk_bytes, written_bytes};
use crate::data::{KEY_LEN, Key, fill_value, random_key, sequential_key};
use crate::engine::{Engine, Result};

/// Samples read back after each fill.
const SAMPLES: u64 = 10_000;

/// Writes keys `from..to` in batches.
fn put_batches<E: Engine>(engine: &E, job: &Job, keys: std::ops::Range<u64>, size: u64) -> Result<()> {
    let mut entries: Vec<(Key, Vec<u8>)> = vec![(Key::default(), vec![0; job.value_len]); size as usize];
    let mut from = keys.start;
    while from < keys.end {
        let to = (from + size).min(keys.end);
        let batch = &mut entries[..(to - from) as usize];
        for (id, (key, value)) in (from..to).zip(batch.iter_mut()) {
            *key = random_key(id);
            fill_value(key, 0, value);
        }
        engine.put_batch(batch.iter().map(|(key, value)| (key.as_slice(), value.as_slice())))?;
        from = to;
    }
    Ok(())
}

/// Reads a sample of what was written.
fn check_sample<E: Engine>(engine: &E, job: &Job, key_of: fn(u64) -> Key) -> Result<()> {
    let reader = engine.reader()?;
    let mut rng = job.rng();
    for _ in 0..SAMPLES.min(job.keys) {
        read(&reader, &key_of(rng.below(job.keys)), job.value_len)?;
    }
    Ok(())
}

/// Prepares a store to read from.
pub fn load<E: Engine>(job: &Job) -> Result<Measures> {
    let engine: E = job.open()?;
    put_batches(&engine, job, 0..job.keys, 1000)?;
    engine.drain()?;
    check_sample(&engine, job, random_key)?;
    engine.close()?;
    Ok(Vec::new())
}

/// Prepares a store whose log is not flushed, and leaves it as a crash of the process would.
pub fn load_log<E: Engine>(job: &Job) -> Result<Measures> {
    let engine: E = job.open()?;
    let mut values = Values::new(job);
    for id in 0..job.keys {
        let key = random_key(id);
        engine.put(&key, values.of(&key, 0))?;
    }
    // Neither closed nor dropped: the process ends without a word to the engine.
    std::mem::forget(engine);
    Ok(Vec::new())
}

/// Fills an empty store.
pub fn fill<E: Engine>(job: &Job) -> Result<Measures> {
    let engine: E = job.open()?;
    let key_of = if job.kind == Kind::SequentialFill {
        sequential_key
    } else {
        random_key
    };
    let start = Instant::now();
    if job.kind == Kind::BatchFill {
        put_batches(&engine, job, 0..job.keys, 100)?;
    } else {
        let mut values = Values::new(job);
        for id in 0..job.keys {
            let key = key_of(id);
            engine.put(&key, values.of(&key, 0))?;
        }
    }
    let written = rate(job.keys, start);
    finish(engine, job, key_of, written)
}

/// Checks, drains, and counts everything.
fn finish<E: Engine>(engine: E, job: &Job, key_of: fn(u64) -> Key, written: f64) -> Result<Measures> {
    check_sample(&engine, job, key_of)?;
    let start = Instant::now();
    engine.drain()?;
    let drained = start.elapsed().as_secs_f64();
    let entries = scan(&engine.reader()?, &[], u64::MAX, job.value_len)?;
    if entries != job.keys {
        return Err(format!("{entries} entries instead of {}", job.keys).into());
    }
    engine.close()?;
    Ok(vec![measure("ops", written), measure("drain_seconds", drained)])
}

/// Puts, each on the disk before the next.
pub fn synced<E: Engine>(job: &Job) -> Result<Measures> {
    let engine: E = job.open()?;
    let mut values = Values::new(job);
    let start = Instant::now();
    for id in 0..job.keys {
        let key = random_key(id);
        engine.put(&key, values.of(&key, 0))?;
    }
    let written = rate(job.keys, start);
    finish(engine, job, random_key, written)
}

/// Two threads fill an empty store, one with even, one with odd numbers.
pub fn parallel<E: Engine>(job: &Job) -> Result<Measures> {
    let engine: E = job.open()?;
    let start = Instant::now();
    let work = |first: u64| -> Result<()> {
        let mut values = Values::new(job);
        for id in (first..job.keys).step_by(2) {
            let key = random_key(id);
            engine.put(&key, values.of(&key, 0))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(1));
        work(0)?;
        other.join().map_err(|_| "a writer panicked")?
    })?;
    let written = rate(job.keys, start);
    finish(engine, job, random_key, written)
}

/// Overwrites random keys of a loaded store: as many operations as there are keys.
pub fn overwrite<E: Engine>(job: &Job) -> Result<Measures> {
    let engine: E = job.open()?;
    let ids = job.rng().many_below(job.keys, job.keys);
    let mut values = Values::new(job);
    let before = written_bytes();
    let start = Instant::now();
    for (version, id) in (1..).zip(&ids) {
        let key = random_key(u64::from(*id));
        engine.put(&key, values.of(&key, version))?;
    }
    let overwritten = rate(job.keys, start);
    let start = Instant::now();
    engine.drain()?;
    let drained = start.elapsed().as_secs_f64();
    check_versions(&engine, job, &ids)?;
    engine.close()?;
    let user = (job.keys * (KEY_LEN + job.value_len) as u64) as f64;
    let mut measures = vec![measure("ops", overwritten), measure("drain_seconds", drained)];
    if let (Some(before), Some(after)) = (before, written_bytes()) {
        measures.push(measure("written_per_user_byte", (after - before) as f64 / user));
    }
    measures.push(measure("disk_per_live_byte", disk_bytes(&job.dir)? as f64 / user));
    Ok(measures)
}

/// The last version written is the one that is read.
fn check_versions<E: Engine>(engine: &E, job: &Job, ids: &[u32]) -> Result<()> {
    let mut newest = vec![0u64; job.keys as usize];
    for (version, id) in (1..).zip(ids) {
        newest[*id as usize] = version;
    }
    let reader = engine.reader()?;
    let mut rng = job.rng();
    for _ in 0..SAMPLES.min(job.keys) {
        let id = rng.below(job.keys);
        let version = read(&reader, &random_key(id), job.value_len)?;
        if version != newest[id as usize] {
            return Err(format!("key {id} has version {version}, not {}", newest[id as usize]).into());
        }
    }
    Ok(())
}
