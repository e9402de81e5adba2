//! Compound faults: a crash, and an operation that fails while the database recovers from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kodiak::{ErrorKind, SyncMode};
use kodiak_core::conformance::extent;
use kodiak_storage::{BlockSize, CrashOptions, Fault, FaultPlan, FaultRule, FaultStorage, OpKind};
use kodiak_tests::crash::model::Model;
use kodiak_tests::crash::points::{Bounds, Point, Sample, collect};
use kodiak_tests::crash::script::{DIR, Setup};
use kodiak_tests::crash::verify::examine;
use parking_lot::Mutex;

/// Crash points of each configuration; of each, every operation of the recovery fails in turn.
fn points() -> u64 {
    extent("KODIAK_COMPOUND_POINTS", [8, 16, 1000])
}

/// Opens a copy of `point` with one fault, then without. False if the fault did not come to pass.
fn recover(setup: &Setup, model: &Model, point: &Point, kind: OpKind, nth: u64, fault: Fault) -> Result<bool, String> {
    let storage = point.image.kill_image();
    storage.set_plan(FaultRule::nth(kind, nth, fault));
    let opened = setup.builder().storage(Arc::new(storage.clone())).open(DIR);
    let fired = storage.faults_fired() > 0;
    if let Err(error) = &opened
        && (!fired || !matches!(error.kind(), ErrorKind::Io | ErrorKind::Unavailable))
    {
        return Err(format!("it is told as {error:?}"));
    }
    // What a power loss right after the failure leaves, with what was left of the first crash.
    let options = CrashOptions::new((nth % 3 * 50) as u8, BlockSize::Page, nth);
    let lost = storage.crash_image(&options);
    // A failure of background work may be told here.
    drop(opened.map(kodiak::Db::close));
    storage.set_plan(FaultPlan::none());
    // What had survived the first crash need not have been on disk.
    let durable = Bounds {
        kept: point.bounds.durable,
        ..point.bounds
    };
    examine(setup, model, &storage, &point.bounds, true).map_err(|error| format!("opened again: {error}"))?;
    examine(setup, model, &lost, &durable, false).map_err(|error| format!("after a second crash: {error}"))?;
    Ok(fired)
}

/// Every operation of the recovery from one crash fails in turn; returns how many did.
fn fail_each(setup: &Setup, model: &Model, point: &Point) -> Result<usize, String> {
    let mut fired = 0;
    for kind in OpKind::ALL {
        for nth in 1.. {
            let fault = if nth % 2 == 0 { Fault::Enospc } else { Fault::Eio };
            let outcome = recover(setup, model, point, kind, nth, fault);
            match outcome.map_err(|error| format!("{}; then {kind:?} number {nth} {fault:?}: {error}", point.label))? {
                true => fired += 1,
                false => break,
            }
        }
    }
    Ok(fired)
}

fn compound(wal: &'static str, sync: SyncMode, publish: bool) {
    let setup = Setup {
        wal,
        sync,
        seed: 3,
        writes: 120,
        background: true,
        publish,
    };
    let calm = collect(&setup, Sample::NONE, &FaultStorage::with_seed(3), &|storage| storage).expect("no faults");
    let storage = FaultStorage::with_seed(3);
    let every = (calm.mutations / points()).max(1);
    let run = collect(&setup, Sample::every(every), &storage, &|storage| storage).expect("no faults");
    let (next, fired) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(point) = run.points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match fail_each(&setup, &run.model, point) {
                        Ok(count) => drop(fired.fetch_add(count, Ordering::Relaxed)),
                        Err(failure) => failures.lock().push(failure),
                    }
                }
            });
        }
    });
    let (failures, fired) = (failures.into_inner(), fired.into_inner());
    eprintln!(
        "{wal} {}: {fired} faults after {} crashes",
        sync.name(),
        run.points.len()
    );
    assert!(
        failures.is_empty(),
        "{} are wrong:\n{}",
        failures.len(),
        failures.join("\n\n")
    );
    assert!(
        fired > 10 * run.points.len(),
        "{fired} faults fired after {} crashes",
        run.points.len()
    );
}

#[test]
fn an_error_while_recovering_loses_nothing_mapped_full() {
    compound("mapped", SyncMode::Full, false);
}

#[test]
fn an_error_while_recovering_loses_nothing_segment_normal() {
    compound("segment", SyncMode::Normal, false);
}

#[test]
fn an_error_while_recovering_leaves_publications_that_are_the_tables() {
    compound("mapped", SyncMode::Full, true);
}
