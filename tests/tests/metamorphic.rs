//! A history gives the answers of the model, whatever the configuration.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use kodiak::Components;
use kodiak_core::conformance::extent;
use kodiak_tests::factors::{self, Factor};
use kodiak_tests::generate::Generator;
use kodiak_tests::history::{Op, Replay};
use kodiak_tests::minimise::explain;
use kodiak_tests::pairwise::{self, Row};
use kodiak_tests::runner::{Setup, run};
use parking_lot::Mutex;

/// How much is tried.
struct Extent {
    /// Different histories.
    seeds: usize,
    /// Histories that each configuration goes through: in each round another one.
    rounds: usize,
    /// Operations of each history.
    ops: usize,
}

/// Carries out histories under each configuration, on all cores; the configurations' failures, explained. Neighbours among the
/// configurations have different histories, so that even one round goes through many.
fn compare(factors: &[Factor], rows: &[Row], extent: &Extent, first_seed: u64) -> Vec<String> {
    let components = Components::new();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    // A few failures say more than all of them.
                    if job >= rows.len() * extent.rounds || failures.lock().len() >= 3 {
                        return;
                    }
                    let (round, index) = (job / rows.len(), job % rows.len());
                    let (row, seed) = (&rows[index], first_seed + ((index + round) % extent.seeds) as u64);
                    let history: Vec<Op> = Generator::new(seed).take(extent.ops).collect();
                    let setup = Setup {
                        components: components.clone(),
                        ..Setup::new(factors::settings(factors, row))
                    };
                    if let Err(failure) = run(&history, &setup) {
                        let label = factors::label(factors, row);
                        let message = explain(&history, failure, &setup, &format!("{seed}-{job}"));
                        failures.lock().push(format!("seed {seed}, {label}:\n  {message}"));
                    }
                }
            });
        }
    });
    failures.into_inner()
}

#[test]
fn histories_give_the_answers_of_the_model_under_every_configuration() {
    if let Some(path) = std::env::var_os("KODIAK_REPLAY") {
        let replay = Replay::load(Path::new(&path)).expect("a replay file");
        let setup = Setup::new(replay.settings().expect("valid settings"));
        for _ in 0..extent("KODIAK_ROUNDS", [5; 3]) {
            if let Err(failure) = run(&replay.ops, &setup) {
                panic!("it still fails: {failure}");
            }
        }
        return;
    }
    let size = Extent {
        seeds: extent("KODIAK_SEEDS", [100, 100, 10_000]).max(1) as usize,
        rounds: extent("KODIAK_ROUNDS", [1, 1, 100]) as usize,
        ops: extent("KODIAK_OPS", [2000, 5000, 10_000]) as usize,
    };
    let components = Components::new();
    let factors = factors::all(&components);
    let begun = Instant::now();
    let full = std::env::var_os("KODIAK_FULL").is_some();
    let rows = if full {
        pairwise::product(&factors, &components)
            .take(extent("KODIAK_CONFIGS", [u64::MAX; 3]) as usize)
            .collect()
    } else {
        let cover = pairwise::cover(&factors, &components, 1);
        assert!(
            cover.missed.is_empty(),
            "pairs that no configuration has: {:#?}",
            cover.missed
        );
        cover.rows
    };
    let planned = begun.elapsed();
    let failures = compare(&factors, &rows, &size, extent("KODIAK_FIRST_SEED", [0; 3]));
    eprintln!(
        "{} configurations, each with {} of {} histories of {} operations; planned in {planned:.1?}, all in {:.1?}",
        rows.len(),
        size.rounds,
        size.seeds,
        size.ops,
        begun.elapsed()
    );
    assert!(
        failures.is_empty(),
        "{} configurations fail, among them:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
