//! Every kind of storage operation fails, once or from some time on: with a typed error or none, never with a panic, a hang
//! or the loss of what was acknowledged.

use std::sync::Arc;

use kodiak::{ErrorKind, SyncMode, TableSchema};
use kodiak_core::conformance::extent;
use kodiak_storage::{BlockSize, CrashOptions, Fault, FaultPlan, FaultRule, FaultStorage, OpKind};
use kodiak_tests::crash::faults::run;
use kodiak_tests::crash::script::{DIR, Setup};

fn setup(wal: &'static str, sync: SyncMode, seed: u64) -> Setup {
    Setup {
        wal,
        sync,
        seed,
        writes: 45,
        background: true,
        publish: false,
    }
}

/// How many `n` are tried for each kind of operation and fault before the steps grow.
fn tries() -> u64 {
    extent("KODIAK_FAULT_POINTS", [3, u64::MAX, u64::MAX])
}

fn rule(kind: OpKind, nth: u64, fault: Fault, sticky: bool) -> FaultPlan {
    let rule = FaultRule::nth(kind, nth, fault);
    FaultPlan::from(if sticky { rule.sticky() } else { rule })
}

/// The numbers to try: the first ones, then ever fewer.
fn numbers() -> impl Iterator<Item = u64> {
    let tries = tries();
    (1..).scan(1u64, move |next, _| {
        let now = *next;
        *next += 1 + now / tries;
        Some(now)
    })
}

fn fail_each(wal: &'static str, sync: SyncMode, faults: &[Fault]) {
    let mut failures = Vec::new();
    let (mut runs, mut fired) = (0, 0);
    for kind in OpKind::ALL {
        for &fault in faults {
            for sticky in [false, true] {
                for (round, nth) in numbers().enumerate() {
                    let setup = Setup {
                        publish: round % 2 == 1,
                        ..setup(wal, sync, 1 + round as u64)
                    };
                    runs += 1;
                    match run(&setup, rule(kind, nth, fault, sticky)) {
                        Ok(0) => break,
                        Ok(_) => fired += 1,
                        Err(failure) => failures.push(format!(
                            "{kind:?} number {nth} {fault:?} (sticky: {sticky}), wal {wal} sync {} seed {}, published: {}: {failure}",
                            sync.name(),
                            setup.seed,
                            setup.publish,
                        )),
                    }
                }
            }
        }
    }
    assert!(fired > runs / 4, "faults fired in {fired} of {runs} runs only");
    let shown = failures.iter().take(8).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(
        failures.is_empty(),
        "{} of {runs} runs are wrong:\n{shown}",
        failures.len()
    );
}

#[test]
fn input_output_errors_mapped_normal() {
    fail_each("mapped", SyncMode::Normal, &[Fault::Eio]);
}

#[test]
fn input_output_errors_segment_full() {
    fail_each("segment", SyncMode::Full, &[Fault::Eio]);
}

#[test]
fn a_full_disk_mapped_full() {
    fail_each("mapped", SyncMode::Full, &[Fault::Enospc]);
}

#[test]
fn a_full_disk_segment_normal() {
    fail_each("segment", SyncMode::Normal, &[Fault::Enospc]);
}

#[test]
fn interruptions_and_short_transfers() {
    fail_each("segment", SyncMode::Full, &[Fault::ShortOne, Fault::ShortHalf]);
    fail_each("mapped", SyncMode::None, &[Fault::Interrupted]);
}

#[test]
fn interruptions_and_short_transfers_the_other_way_round() {
    fail_each("segment", SyncMode::Full, &[Fault::Interrupted]);
    fail_each("mapped", SyncMode::Full, &[Fault::ShortOne, Fault::ShortHalf]);
}

/// Puts keys until one fails; returns how many were acknowledged.
fn put_until_failure(db: &kodiak::Db, from: usize) -> (usize, Option<kodiak::Error>) {
    let table = db.table("t").expect("there");
    for number in from..from + 200 {
        if let Err(error) = table.put(format!("key{number:04}"), vec![b'v'; 700]) {
            return (number, Some(error));
        }
    }
    (from + 200, None)
}

#[test]
fn a_failed_sync_of_the_log_ends_all_writes_until_reopening() {
    for wal in ["mapped", "segment"] {
        // Every sync of the script where all are asked for, otherwise those around a change of segments and a few more.
        let some = [1, 2, 3, 7, 40, 90, 91, 92, 93, 94, 130, 199];
        let all = tries() >= 100;
        (1..200)
            .filter(|nth| all || some.contains(nth))
            .for_each(|nth| failed_sync(wal, nth));
    }
}

fn failed_sync(wal: &'static str, nth: u64) {
    let what = format!("wal {wal}, sync number {nth}");
    let setup = setup(wal, SyncMode::Full, 1);
    let storage = FaultStorage::with_seed(1);
    let open = |storage: &FaultStorage| setup.builder().storage(Arc::new(storage.clone())).open(DIR);
    let db = open(&storage).expect("open");
    db.create_table("t", TableSchema::key_value()).expect("create");
    storage.record_trace(true);
    storage.set_plan(FaultRule::nth(OpKind::Sync, nth, Fault::Eio).on_path("/wal/"));
    let (acknowledged, error) = put_until_failure(&db, 0);
    let Some(error) = error else {
        // A sync that nobody waited for: that of a segment prepared ahead of need.
        assert!(storage.faults_fired() <= 1, "{what}");
        return;
    };
    // Where the sync that failed was one ahead of need, the writer meets a log that is closed already.
    let kinds = [ErrorKind::Io, ErrorKind::Unavailable];
    assert!(kinds.contains(&error.kind()), "{what}: {error:?}");
    assert!(error.to_string().contains("Input/output error"), "{what}: {error}");
    let table = db.table("t").expect("there");
    for _ in 0..3 {
        assert_eq!(
            table.put("late", "value").expect_err(&what).kind(),
            ErrorKind::Unavailable
        );
        assert_eq!(db.sync().expect_err(&what).kind(), ErrorKind::Unavailable);
    }
    // Unless what came before the failure was to be flushed anyway, and nothing is left to do.
    let flushed = db.flush().is_ok();
    let left = table.stats().memtable_entries;
    assert!(
        !flushed || left == 0,
        "{what}: a flush of {left} entries cannot rely on the log"
    );
    for number in 0..acknowledged {
        assert!(
            table.get(format!("key{number:04}")).expect("reads work").is_some(),
            "{what}: key {number}"
        );
    }
    let trace = storage.trace();
    let failed = trace
        .iter()
        .position(|event| event.kind == OpKind::Sync && event.error.is_some())
        .expect("it failed");
    let again = trace[failed + 1..]
        .iter()
        .find(|event| event.kind == OpKind::Sync && event.path == trace[failed].path);
    assert!(again.is_none(), "{what}: the sync is tried again");
    let lost = storage.crash_image(&CrashOptions::new(100, BlockSize::Page, 1));
    assert!(db.close().is_err(), "{what}: what was not synced is not safe");
    drop(table);
    let check = |storage: &FaultStorage, from: usize, acknowledged: usize, what: &str| {
        let db = open(storage).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let table = db.table("t").expect("there");
        for number in from..acknowledged {
            assert!(
                table.get(format!("key{number:04}")).expect("get").is_some(),
                "{what}: key {number} is lost"
            );
        }
        db
    };
    drop(check(&lost, 0, acknowledged, &format!("{what}, after a power loss")));
    // The dropped bytes can still be read, here: what comes after them must not depend on them.
    let db = check(&storage, 0, acknowledged, &format!("{what}, reopened"));
    let seen = db
        .table("t")
        .expect("there")
        .get(format!("key{acknowledged:04}"))
        .expect("get")
        .is_some();
    let (later, error) = put_until_failure(&db, acknowledged + 1);
    assert!(error.is_none(), "{what}: {error:?}");
    let lost = storage.crash_image(&CrashOptions::SYNCED_ONLY);
    let from = if seen { acknowledged } else { acknowledged + 1 };
    drop(check(
        &lost,
        0,
        acknowledged,
        &format!("{what}, reopened, then a power loss"),
    ));
    drop(check(
        &lost,
        from,
        later,
        &format!("{what}, reopened, then a power loss, later keys"),
    ));
}

#[test]
fn writes_resume_once_there_is_space_again() {
    for wal in ["mapped", "segment"] {
        for kind in [OpKind::Write, OpKind::Create, OpKind::CreateLog, OpKind::SyncDir] {
            let setup = setup(wal, SyncMode::Normal, 1);
            let storage = FaultStorage::with_seed(1);
            let db = setup
                .builder()
                .storage(Arc::new(storage.clone()))
                .open(DIR)
                .expect("open");
            let table = db.create_table("t", TableSchema::key_value()).expect("create");
            let on_runs = FaultRule::nth(kind, 1, Fault::Enospc).sticky().on_path("/tables/");
            let on_manifest = FaultRule::nth(kind, 1, Fault::Enospc).sticky().on_path("MANIFEST");
            storage.set_plan(FaultPlan::from(on_runs).with(on_manifest));
            let (acknowledged, _) = put_until_failure(&db, 0);
            drop(db.flush());
            storage.set_plan(FaultPlan::none());
            let begun = std::time::Instant::now();
            while let Err(error) = table.put("again", "value").and_then(|()| db.flush()) {
                assert!(begun.elapsed().as_secs() < 5, "wal {wal}, {kind:?}: {error:?}");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            for number in 0..acknowledged {
                assert!(
                    table.get(format!("key{number:04}")).expect("get").is_some(),
                    "wal {wal}, {kind:?}: key {number}"
                );
            }
            db.close().expect("close");
        }
    }
}
