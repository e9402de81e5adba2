//! A harness that never finds anything proves nothing: storages that break one promise each must be found out.

use std::sync::Arc;

use kodiak::SyncMode;
use kodiak_storage::FaultStorage;
use kodiak_tests::crash::buggy::{Bug, BuggyStorage};
use kodiak_tests::crash::order::{Violations, watch};
use kodiak_tests::crash::points::{Sample, collect_watched};
use kodiak_tests::crash::script::Setup;
use kodiak_tests::crash::verify::{Depth, verify_all};

/// Runs scripts over a storage with the bug; tells the first thing that is noticed.
fn notice(bug: Bug, wal: &'static str, sync: SyncMode) -> Option<String> {
    for seed in 1..9 {
        let setup = Setup {
            wal,
            sync,
            seed,
            writes: 120,
            background: true,
            publish: false,
        };
        let storage = FaultStorage::with_seed(seed);
        let violations = Violations::default();
        let watch = watch(&storage, &violations);
        let wrap = |storage| Arc::new(BuggyStorage::new(storage, bug)) as _;
        let run = match collect_watched(&setup, Sample::every(7), &storage, &wrap, Some(watch)) {
            Ok(run) => run,
            Err(failure) => return Some(format!("the script fails: {failure}")),
        };
        if let Some(violation) = violations.lock().first() {
            return Some(format!("order: {violation}"));
        }
        let depth = |_| Depth {
            reopen: false,
            crashes: 0,
        };
        let failures = verify_all(&setup, &run.model, &run.points, &depth);
        if let Some(failure) = failures.into_iter().next() {
            return Some(format!("crash: {failure}"));
        }
    }
    None
}

#[test]
fn every_planted_bug_is_noticed() {
    let bugs = [
        (Bug::FileNotSynced(".feather"), "mapped", SyncMode::Normal),
        (Bug::FileNotSynced(".meta"), "mapped", SyncMode::Normal),
        (Bug::FileNotSynced("CURRENT.new"), "mapped", SyncMode::Normal),
        (Bug::LogNotSynced("/wal/"), "mapped", SyncMode::Full),
        (Bug::LogNotSynced("/wal/"), "segment", SyncMode::Full),
        (Bug::LogNotSynced("/wal/"), "segment", SyncMode::Normal),
        (Bug::LogSyncedSometimes("/wal/"), "mapped", SyncMode::Full),
        (Bug::LogSyncedSometimes("/wal/"), "segment", SyncMode::Full),
        (Bug::LogNotSynced("MANIFEST-0"), "mapped", SyncMode::Normal),
        (Bug::LogNotSynced("MANIFEST-TAIL"), "segment", SyncMode::Full),
        (Bug::DirNotSynced("/db"), "mapped", SyncMode::Normal),
        (Bug::DirNotSynced("/db/wal"), "mapped", SyncMode::Full),
        (Bug::DirNotSynced("/db/wal"), "segment", SyncMode::Full),
        (Bug::DirNotSynced("/000001"), "mapped", SyncMode::Normal),
        (Bug::WritesSwapped("/wal/"), "segment", SyncMode::Full),
        (Bug::WritesSwapped("MANIFEST-0"), "mapped", SyncMode::Normal),
        (Bug::SegmentReleasedEarly, "segment", SyncMode::Normal),
        (Bug::SegmentReleasedEarly, "mapped", SyncMode::Full),
        (Bug::ManifestRemovedEarly, "mapped", SyncMode::Normal),
        (Bug::RenamedBeforeWritten, "mapped", SyncMode::Normal),
    ];
    let notices: Vec<_> = bugs
        .iter()
        .map(|&(bug, wal, sync)| (bug, wal, notice(bug, wal, sync)))
        .collect();
    let missed: Vec<_> = notices.iter().filter(|(.., notice)| notice.is_none()).collect();
    assert!(
        missed.is_empty(),
        "{} of {} planted bugs are missed: {missed:?}",
        missed.len(),
        bugs.len()
    );
}
