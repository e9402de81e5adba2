//! The same history gives the same answers under every configuration.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use kodiak::Components;
use kodiak_tests::factors::{self, Factor};
use kodiak_tests::generate::Generator;
use kodiak_tests::history::{Op, Replay};
use kodiak_tests::minimise::explain;
use kodiak_tests::pairwise::{self, Row};
use kodiak_tests::runner::{Setup, run};
use parking_lot::Mutex;

fn number(name: &str, default: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => default,
    }
}

/// Carries out the history of each seed under each configuration, on all cores; the configurations' failures, explained.
fn compare(factors: &[Factor], rows: &[Row], seeds: usize, ops: usize) -> Vec<String> {
    let components = Components::new();
    let first = number("KODIAK_FIRST_SEED", 0);
    let histories: Vec<Vec<Op>> = (first as u64..(first + seeds) as u64)
        .map(|seed| Generator::new(seed).take(ops).collect())
        .collect();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    // A few failures say more than all of them.
                    if job >= rows.len() * seeds || failures.lock().len() >= 3 {
                        return;
                    }
                    let (row, history) = (&rows[job / seeds], &histories[job % seeds]);
                    let seed = first + job % seeds;
                    let setup = Setup {
                        components: components.clone(),
                        ..Setup::new(factors::settings(factors, row))
                    };
                    if let Err(failure) = run(history, &setup) {
                        let label = factors::label(factors, row);
                        let message = explain(history, failure, &setup, &format!("{seed}-{job}"));
                        failures.lock().push(format!("seed {seed}, {label}:\n  {message}"));
                    }
                }
            });
        }
    });
    failures.into_inner()
}

#[test]
fn a_history_gives_the_same_answers_under_every_configuration() {
    if let Some(path) = std::env::var_os("KODIAK_REPLAY") {
        let replay = Replay::load(Path::new(&path)).expect("a replay file");
        let setup = Setup::new(replay.settings().expect("valid settings"));
        for _ in 0..number("KODIAK_SEEDS", 5) {
            if let Err(failure) = run(&replay.ops, &setup) {
                panic!("it still fails: {failure}");
            }
        }
        return;
    }
    let (seeds, ops) = (number("KODIAK_SEEDS", 1), number("KODIAK_OPS", 2000));
    let components = Components::new();
    let factors = factors::all(&components);
    let begun = Instant::now();
    let full = std::env::var_os("KODIAK_FULL").is_some();
    let rows = if full {
        pairwise::product(&factors, &components)
            .take(number("KODIAK_CONFIGS", usize::MAX))
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
    let failures = compare(&factors, &rows, seeds, ops);
    eprintln!(
        "{} configurations, {seeds} histories of {ops} operations; planned in {planned:.1?}, all in {:.1?}",
        rows.len(),
        begun.elapsed()
    );
    assert!(
        failures.is_empty(),
        "{} configurations fail, among them:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
