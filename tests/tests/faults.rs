//! Every kind of storage operation fails, once or from some time on: with a typed error or none, never with a panic, a hang
//! or the loss of what was acknowledged.

use kodiak::SyncMode;
use kodiak_storage::{Fault, FaultPlan, FaultRule, OpKind};
use kodiak_tests::crash::faults::run;
use kodiak_tests::crash::script::Setup;

fn setup(wal: &'static str, sync: SyncMode, seed: u64) -> Setup {
    Setup { wal, sync, seed, writes: 45, background: true }
}

/// How many `n` are tried for each kind of operation and fault; a release tries all.
fn tries() -> u64 {
    std::env::var("KODIAK_FAULT_POINTS").ok().and_then(|tries| tries.parse().ok()).unwrap_or(4)
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
    let mut runs = 0;
    for kind in OpKind::ALL {
        for &fault in faults {
            for sticky in [false, true] {
                for (round, nth) in numbers().enumerate() {
                    let setup = setup(wal, sync, 1 + round as u64);
                    runs += 1;
                    match run(&setup, rule(kind, nth, fault, sticky)) {
                        Ok(0) => break,
                        Ok(_) => {}
                        Err(failure) => failures.push(format!(
                            "{kind:?} number {nth} {fault:?} (sticky: {sticky}), wal {wal} sync {} seed {}: {failure}",
                            sync.name(),
                            setup.seed
                        )),
                    }
                }
            }
        }
    }
    let shown = failures.iter().take(8).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(failures.is_empty(), "{} of {runs} runs are wrong:\n{shown}", failures.len());
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
