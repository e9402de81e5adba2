//! Failing syncs, and power losses at every operation.

use std::path::Path;
use std::sync::Arc;

use kodiak_core::ErrorKind;
use kodiak_core::conformance::wal::{Replayed, batch, context, open, replay};
use kodiak_core::storage::Storage;
use kodiak_core::wal::{RecoveryMode, SyncMode, WalContext, WalFactory};
use kodiak_storage::{BlockSize, CrashOptions, Fault, FaultRule, FaultStorage, Moment, OpKind};

const DIR: &str = "/db/wal";

fn durable() -> impl Iterator<Item = &'static &'static WalFactory> {
    kodiak_wal::ALL.iter().filter(|factory| factory.capabilities.durable)
}

fn context_on(storage: &FaultStorage) -> WalContext {
    let storage: Arc<dyn Storage> = Arc::new(storage.clone());
    WalContext {
        segment_bytes: 4096,
        ..context(&storage, Path::new(DIR))
    }
}

/// Appends until an append fails; returns what was acknowledged, and what was not.
fn append_until_failure(
    wal: &dyn kodiak_core::wal::Wal,
    count: u64,
    mode: SyncMode,
) -> (Vec<Replayed>, Option<kodiak_core::Error>) {
    let mut acknowledged = Vec::new();
    for number in 0..count {
        let batch = batch(number, 1, 200);
        match wal.append(&batch, number, mode) {
            Ok(appended) => acknowledged.push((appended.first_seq, number, batch.payload().to_vec())),
            Err(error) => return (acknowledged, Some(error)),
        }
    }
    (acknowledged, None)
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_until_reopened() {
    for factory in durable() {
        for nth in 1..=30 {
            let storage = FaultStorage::new();
            let context = context_on(&storage);
            let wal = open(factory, &context, 1);
            storage.set_plan(FaultRule::nth(OpKind::Sync, nth, Fault::Eio));
            let (acknowledged, error) = append_until_failure(wal.as_ref(), 60, SyncMode::Full);
            let name = factory.component.name;
            // A sync that only prepares a file ahead of need may fail without harm; every other poisons.
            let Some(error) = error else {
                assert_eq!(
                    (name, acknowledged.len()),
                    ("mapped", 60),
                    "sync {nth} failed unnoticed"
                );
                continue;
            };
            assert_eq!(error.kind(), ErrorKind::Io, "{name}: {error}");
            let syncs = storage.count(OpKind::Sync);
            for mode in [SyncMode::None, SyncMode::Normal, SyncMode::Full] {
                let error = wal.append(&batch(1, 1, 1), 0, mode).expect_err("poisoned");
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{name}: {error}");
            }
            assert_eq!(wal.sync().expect_err("poisoned").kind(), ErrorKind::Unavailable);
            assert_eq!(wal.rotate().expect_err("poisoned").kind(), ErrorKind::Unavailable);
            assert_eq!(wal.stats().failures, 1);
            // The thread that prepares the next segment may just have synced that file, which is another one.
            let more = storage.count(OpKind::Sync) - syncs;
            assert!(
                more <= u64::from(name == "mapped"),
                "{name}: a failed sync must not be tried again"
            );
            drop(wal);
            let lost = storage.crash_image(&CrashOptions::SYNCED_ONLY);
            let (records, _) = replay(factory, &context_on(&lost), 1, RecoveryMode::PointInTime).expect("opens");
            assert!(
                records.len() >= acknowledged.len(),
                "{name}: sync {nth}: an acknowledged batch is lost"
            );
            assert_eq!(records[..acknowledged.len()], acknowledged);
        }
    }
}

#[test]
fn after_a_failed_write_nothing_is_acknowledged_until_reopened() {
    let factory = kodiak_wal::ALL
        .iter()
        .find(|factory| factory.component.name == "segment")
        .expect("built in");
    for nth in 1..=30 {
        let storage = FaultStorage::new();
        let context = context_on(&storage);
        let wal = open(factory, &context, 1);
        storage.set_plan(FaultRule::nth(OpKind::Write, nth, Fault::Enospc));
        let (acknowledged, error) = append_until_failure(wal.as_ref(), 60, SyncMode::Normal);
        assert_eq!(error.expect("every write matters").kind(), ErrorKind::Io);
        let error = wal.append(&batch(1, 1, 1), 0, SyncMode::Normal).expect_err("poisoned");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        drop(wal);
        let (records, _) = replay(factory, &context, 1, RecoveryMode::PointInTime).expect("opens");
        assert_eq!(records, acknowledged, "write {nth}");
    }
}

#[test]
fn a_log_without_space_for_the_next_segment_goes_on_when_there_is_some() {
    for factory in durable() {
        let storage = FaultStorage::new();
        let context = context_on(&storage);
        let wal = open(factory, &context, 1);
        storage.set_plan(FaultRule::nth(OpKind::CreateLog, 1, Fault::Enospc).sticky());
        let (mut written, error) = append_until_failure(wal.as_ref(), 60, SyncMode::Full);
        assert_eq!(error.expect("no space").kind(), ErrorKind::Io);
        storage.set_plan(FaultRule::nth(OpKind::CreateLog, u64::MAX, Fault::Enospc));
        let batch = batch(77, 1, 200);
        wal.skip_to(1000);
        wal.append(&batch, 5, SyncMode::Full).expect("there is space again");
        written.push((1000, 5, batch.payload().to_vec()));
        let (records, _) = replay(factory, &context, 1, RecoveryMode::PointInTime).expect("opens");
        assert_eq!(records, written, "{}", factory.component.name);
    }
}

/// The modes of a script's appends, and their name.
type Modes = (&'static str, fn(u64) -> SyncMode);

const SCRIPTS: [Modes; 3] = [
    ("full", |_| SyncMode::Full),
    ("normal", |_| SyncMode::Normal),
    // Long enough in mode `full` that a log may choose another way of writing, and back.
    ("mixed", |number| {
        if number % 20 == 18 {
            SyncMode::Normal
        } else {
            SyncMode::Full
        }
    }),
];

/// Runs a script of appends, rotations and releases with a power loss at one mutation, reopens, and checks what is left.
fn lose_power(factory: &WalFactory, modes: Modes, mutation: u64, options: CrashOptions) -> bool {
    let storage = FaultStorage::with_seed(mutation);
    storage.crash_at(mutation, Moment::Before, options);
    let context = context_on(&storage);
    let (mut issued, mut acknowledged): (Vec<Replayed>, usize) = (Vec::new(), 0);
    let mut image = None;
    let wal = open(factory, &context, 1);
    for number in 0..40 {
        let batch = batch(number, 1 + number % 2, 250);
        issued.push((wal.next_seq(), number, batch.payload().to_vec()));
        let mode = modes.1(number);
        wal.append(&batch, number, mode)
            .expect("nothing fails before the power does");
        image = image.or_else(|| storage.take_crash_image());
        if image.is_some() {
            break;
        }
        if mode == SyncMode::Full {
            acknowledged = issued.len();
        }
        if number % 16 == 15 {
            wal.rotate().expect("rotates");
        }
    }
    let crashed = image.is_some();
    let image = image
        .or_else(|| storage.take_crash_image())
        .unwrap_or_else(|| storage.crash_image(&options));
    let context = context_on(&image);
    let name = factory.component.name;
    let told = || format!("{name} {}, power lost before mutation {mutation}, {options:?}", modes.0);
    let (records, report) =
        replay(factory, &context, 1, RecoveryMode::PointInTime).unwrap_or_else(|error| panic!("{}: {error}", told()));
    assert!(
        records.len() <= issued.len() && records[..] == issued[..records.len()],
        "{}: not a prefix",
        told()
    );
    assert!(
        records.len() >= acknowledged,
        "{}: {} of {acknowledged}",
        told(),
        records.len()
    );
    // Whoever goes on writing finds the same again, even after a second loss of power.
    let wal = open(factory, &context, report.next_segment);
    wal.skip_to(1000);
    wal.append(&batch(99, 1, 20), 7, SyncMode::Full).expect("appends");
    let again = context_on(&image.crash_image(&CrashOptions::SYNCED_ONLY));
    let (second, _) =
        replay(factory, &again, 1, RecoveryMode::PointInTime).unwrap_or_else(|error| panic!("{}: {error}", told()));
    assert_eq!(second.len(), records.len() + 1, "{}", told());
    assert!(
        second[..records.len()] == records[..],
        "{}: another history the second time",
        told()
    );
    crashed
}

#[test]
fn a_power_loss_at_any_operation_leaves_a_prefix_with_all_that_was_acknowledged() {
    for factory in durable() {
        for modes in SCRIPTS {
            for survival in [0, 10, 50, 100] {
                for block in [BlockSize::Sector, BlockSize::Page] {
                    let mut mutation = 1;
                    while lose_power(factory, modes, mutation, CrashOptions::new(survival, block, mutation)) {
                        mutation += 1;
                    }
                    assert!(mutation > 20, "{mutation} operations");
                }
            }
        }
    }
}
