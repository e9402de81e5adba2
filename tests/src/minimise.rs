//! Shortens a history that fails: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (TSE 2002).

use std::time::{Duration, Instant};

use crate::history::{Op, Replay};
use crate::runner::{Failure, Setup, run};

/// How long to try, and how often each shorter history, since threads may fail a history once and not the next time.
///
/// A history that fails each time is shortened to one that does too. Were a single failure enough, each step could make it
/// rarer, and in the end the replay would hardly ever fail. One that fails only sometimes is shortened to what fails at all.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Time in all.
    pub time: Duration,
    /// Runs of each candidate.
    pub tries: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(20),
            tries: 3,
        }
    }
}

/// The shortest history found that still fails, and how it does. `failure` is how `ops` fails.
pub fn minimise(ops: &[Op], failure: Failure, setup: &Setup, effort: Effort) -> (Vec<Op>, Failure) {
    let deadline = Instant::now() + effort.time;
    // What comes after the failure is of no use.
    let mut best = (ops[..ops.len().min(failure.op + 1)].to_vec(), failure);
    let sometimes = |ops: &[Op]| (0..effort.tries).find_map(|_| run(ops, setup).err());
    let each_time = |ops: &[Op]| (0..effort.tries).try_fold(None, |_, _| run(ops, setup).err().map(Some))?;
    let always = each_time(&best.0).is_some();
    if !always && sometimes(&best.0).is_none() {
        best.0 = ops.to_vec();
    }
    let fails = |ops: &[Op]| if always { each_time(ops) } else { sometimes(ops) };
    let mut parts = 2;
    while best.0.len() > 1 && Instant::now() < deadline {
        let size = best.0.len().div_ceil(parts);
        let shorter = (0..best.0.len().div_ceil(size)).find_map(|part| {
            if Instant::now() >= deadline {
                return None;
            }
            let without: Vec<Op> = best
                .0
                .iter()
                .enumerate()
                .filter(|(at, _)| at / size != part)
                .map(|(_, op)| op.clone())
                .collect();
            fails(&without).map(|failure| (without, failure))
        });
        match shorter {
            Some(shorter) => {
                best = shorter;
                parts = (parts - 1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(best.0.len()),
        }
    }
    best
}

/// Shortens a failing history, writes the replay file, and says all that in a message.
pub fn explain(ops: &[Op], failure: Failure, setup: &Setup, name: &str) -> String {
    let (ops, failure) = minimise(ops, failure, setup, Effort::default());
    let replay = Replay {
        failure: failure.to_string(),
        settings: setup.settings.to_toml(),
        ops,
    };
    match replay.save(name) {
        Ok(path) => format!(
            "{failure}\n  {} operations are left; run it again with KODIAK_REPLAY={}",
            replay.ops.len(),
            path.display()
        ),
        Err(error) => format!(
            "{failure}\n  the replay file could not be written: {error}\n{:#?}",
            replay.ops
        ),
    }
}
