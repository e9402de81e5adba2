//! The core workloads of YCSB (Cooper et al., "Benchmarking cloud serving systems with YCSB", SoCC 2010), one thread.

use std::time::Instant;

use super::{Job, Measures, Values, measure, rate, read, scan};
use crate::data::{Rng, Zipf, random_key};
use crate::engine::{Engine, Result};

/// One operation.
#[derive(Debug, Clone, Copy)]
enum Step {
    Read(u32),
    Update(u32),
    Insert(u32),
    ReadModifyWrite(u32),
    Scan(u32, u8),
}

/// The operations of a workload, made before the clock starts. `loaded` keys are there already.
fn steps(workload: char, loaded: u64, count: u64, rng: &mut Rng) -> Result<Vec<Step>> {
    let zipf = Zipf::new(loaded);
    let mut next = loaded;
    let mut steps = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let percent = rng.below(100);
        let id = zipf.scattered(rng) as u32;
        let mut insert = || {
            next += 1;
            Step::Insert((next - 1) as u32)
        };
        steps.push(match workload {
            'a' if percent < 50 => Step::Update(id),
            'b' if percent < 5 => Step::Update(id),
            'd' if percent < 5 => insert(),
            // The newest are read most.
            'd' => Step::Read((next - 1 - zipf.rank(rng)) as u32),
            'e' if percent < 5 => insert(),
            'e' => Step::Scan(id, 1 + rng.below(100) as u8),
            'f' if percent < 50 => Step::ReadModifyWrite(id),
            'a' | 'b' | 'c' | 'f' => Step::Read(id),
            _ => return Err(format!("there is no workload {workload:?}").into()),
        });
    }
    Ok(steps)
}

/// Runs a workload over a loaded, drained store, after one scan that fills caches.
pub fn run<E: Engine>(job: &Job, workload: char) -> Result<Measures> {
    let engine: E = job.open()?;
    scan(&engine.reader()?, &[], u64::MAX, job.value_len)?;
    // A scan of 50 entries on average is a lot more work than the rest.
    let count = if workload == 'e' {
        (job.operations() / 5).max(1)
    } else {
        job.operations()
    };
    let steps = steps(workload, job.keys, count, &mut job.rng())?;
    let len = job.value_len;
    let mut values = Values::new(job);
    let start;
    if workload == 'c' {
        // Nothing is written: one reader for all.
        let reader = engine.reader()?;
        start = Instant::now();
        for step in &steps {
            if let Step::Read(id) = step {
                read(&reader, &random_key(u64::from(*id)), len)?;
            }
        }
    } else {
        start = Instant::now();
        for step in &steps {
            match *step {
                Step::Read(id) => {
                    read(&engine.reader()?, &random_key(u64::from(id)), len)?;
                }
                Step::Update(id) => {
                    let key = random_key(u64::from(id));
                    engine.put(&key, values.of(&key, 1))?;
                }
                Step::Insert(id) => {
                    let key = random_key(u64::from(id));
                    engine.put(&key, values.of(&key, 0))?;
                }
                Step::ReadModifyWrite(id) => {
                    let key = random_key(u64::from(id));
                    let version = read(&engine.reader()?, &key, len)?;
                    engine.put(&key, values.of(&key, version + 1))?;
                }
                Step::Scan(id, entries) => {
                    let key = random_key(u64::from(id));
                    if scan(&engine.reader()?, &key, u64::from(entries), len)? == 0 {
                        return Err(super::wrong("nothing scanned", &key));
                    }
                }
            }
        }
    }
    let done = rate(count, start);
    engine.close()?;
    Ok(vec![measure("ops", done)])
}
