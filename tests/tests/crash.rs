//! Power losses and killed processes at many points of a script, for both durable logs and every sync mode.

use std::sync::Arc;

use kodiak::SyncMode;
use kodiak_core::conformance::extent;
use kodiak_storage::FaultStorage;
use kodiak_tests::crash::order::{Violations, watch};
use kodiak_tests::crash::points::{Sample, collect, collect_watched};
use kodiak_tests::crash::script::Setup;
use kodiak_tests::crash::verify::{Depth, verify_all};

/// Crash points of each test here, of those without background work half as many.
fn wanted() -> usize {
    extent("KODIAK_CRASH_POINTS", [350, 10_000, 100_000]) as usize
}

fn first_seed() -> u64 {
    extent("KODIAK_CRASH_SEED", [1; 3])
}

/// Images that are in memory at a time, each of some MiB.
const AT_ONCE: u64 = 400;

/// Crashes scripts of one kind at about `wanted` points; every failure is told.
fn crash(wal: &'static str, sync: SyncMode, background: bool, publish: bool, wanted: usize) {
    let mut taken = 0;
    let mut failures = Vec::new();
    for seed in first_seed().. {
        let setup = Setup {
            wal,
            sync,
            seed,
            writes: 220,
            background,
            publish,
        };
        let storage = FaultStorage::with_seed(seed);
        let violations = Violations::default();
        let order = watch(&storage, &violations);
        let calm = collect_watched(&setup, Sample::NONE, &storage, &|storage| storage, Some(order)).expect("no faults");
        failures.append(&mut violations.lock());
        let every = (calm.mutations / wanted as u64).max(1);
        let depth = |number| Depth {
            reopen: number % 6 == 0,
            crashes: if number % 9 == 4 { 4 } else { 0 },
        };
        let turns = (calm.mutations / every).div_ceil(AT_ONCE).max(1);
        for sample in Sample::every(every).turns(turns) {
            let storage = FaultStorage::with_seed(seed);
            let run = collect(&setup, sample, &storage, &|storage: Arc<FaultStorage>| storage).expect("no faults");
            failures.extend(verify_all(&setup, &run.model, &run.points, &depth));
            taken += run.points.len();
        }
        if taken >= wanted || failures.len() > 10 {
            break;
        }
    }
    let shown = failures.iter().take(5).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(
        failures.is_empty(),
        "{} of {taken} crash points are wrong:\n{shown}",
        failures.len()
    );
}

macro_rules! crash_tests {
    ($($name:ident: $wal:literal, $sync:ident, $background:literal, $publish:literal, $part:expr;)*) => {
        $(#[test]
        fn $name() {
            crash($wal, SyncMode::$sync, $background, $publish, $part);
        })*
    };
}

crash_tests! {
    mapped_full_loses_nothing_acknowledged: "mapped", Full, true, false, wanted();
    mapped_normal_keeps_a_prefix: "mapped", Normal, true, true, wanted();
    mapped_none_keeps_a_prefix: "mapped", None, true, false, wanted();
    segment_full_loses_nothing_acknowledged: "segment", Full, true, true, wanted();
    segment_normal_keeps_a_prefix: "segment", Normal, true, false, wanted();
    segment_none_keeps_a_prefix: "segment", None, true, true, wanted();
    one_table_without_background_mapped: "mapped", Normal, false, false, wanted() / 2;
    one_table_without_background_segment: "segment", Full, false, true, wanted() / 2;
}
