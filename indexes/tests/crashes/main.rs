//! What crashes, failing operations, a full disk and damage do to an index.

mod beside;
mod buggy;
mod calibration;
#[path = "../common/mod.rs"]
mod common;
mod compound;
mod damage;
mod faults;
mod image;
mod points;
mod script;
mod setup;
mod threads;

use std::sync::atomic::{AtomicUsize, Ordering};

use kodiak_core::conformance::extent;
use kodiak_core::index::IndexFactory;

use crate::compound::{crash_again, fail_each};
use crate::image::examine;
use crate::points::{collect, on_all};
use crate::setup::Setup;

/// Crashes scripts at so many points: a few of each in a short run, about 150 in a long one. For some images the recovery is crashed
/// again, for some it meets errors.
fn crash(factory: &'static IndexFactory) {
    let wanted = extent("KODIAK_INDEX_CRASH_POINTS", [300, 10_000, 100_000]) as usize;
    let is_short = wanted < 2000;
    // Of (operations, before or after, ways to crash).
    let every = if is_short { 120 } else { 14 };
    let (crashes, errors) = if is_short { (16, 32) } else { (10, 15) };
    let (mut taken, mut mutations, mut failures) = (0, 0, Vec::new());
    let (again, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for seed in extent("KODIAK_CRASH_SEED", [1; 3]).. {
        let setup = Setup::new(factory, seed);
        let run = collect(setup, if is_short && setup.is_large() { every * 4 } else { every });
        mutations += run.mutations;
        failures.extend(run.failure);
        failures.extend(on_all(&run.points, &|number, point| {
            let number = number + taken;
            if number % crashes == 3 {
                again.fetch_add(crash_again(&setup, &run.states, point)?, Ordering::Relaxed);
            }
            if number % errors == 8 && !setup.is_large() {
                failed.fetch_add(fail_each(&setup, &run.states, point)?, Ordering::Relaxed);
            }
            examine(&setup, &run.states, &point.image, point.bounds)
        }));
        taken += run.points.len();
        if taken >= wanted || failures.len() > 5 {
            break;
        }
    }
    let (again, failed) = (again.into_inner(), failed.into_inner());
    eprintln!("{taken} points of {mutations} operations, {again} crashes and {failed} errors after them");
    let shown = failures.iter().take(5).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(
        failures.is_empty(),
        "{} of {taken} crash points are wrong:\n{shown}",
        failures.len()
    );
    assert!(
        again > taken / 10 && failed > taken / 10,
        "{again} crashes and {failed} errors after {taken}"
    );
}

#[test]
fn whatever_a_crash_leaves_of_a_bplus_tree_is_what_was_acknowledged() {
    crash(factory("bplus"));
}

#[test]
fn whatever_a_crash_leaves_of_a_fractal_tree_is_what_was_acknowledged() {
    crash(factory("fractal"));
}

fn factory(name: &str) -> &'static IndexFactory {
    let all = kodiak_indexes::ALL.iter();
    all.copied()
        .find(|factory| factory.component.name == name)
        .expect("it comes with the crate")
}
