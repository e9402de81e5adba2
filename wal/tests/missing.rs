//! Segments that are not there: whoever reads the log must not take it for a shorter history.

use std::path::Path;
use std::sync::Arc;

use kodiak_core::ErrorKind;
use kodiak_core::conformance::wal::{batch, context, open, replay};
use kodiak_core::storage::Storage;
use kodiak_core::wal::{RecoveryMode, SyncMode, WalContext, WalFactory};
use kodiak_storage::FaultStorage;

fn durable() -> impl Iterator<Item = &'static WalFactory> {
    kodiak_wal::ALL
        .iter()
        .copied()
        .filter(|factory| factory.capabilities.durable)
}

/// A log whose segments 1, 2 and 4 have two records each, and segment 3 none; those of the last are appended in `mode`.
fn log(factory: &WalFactory, mode: SyncMode) -> WalContext {
    let storage: Arc<dyn Storage> = Arc::new(FaultStorage::with_seed(1));
    let context = WalContext {
        segment_bytes: 64 << 10,
        ..context(&storage, Path::new("/wal"))
    };
    let wal = open(factory, &context, 1);
    let append = |numbers: [u64; 2], mode| {
        for number in numbers {
            wal.append(&batch(number, 1, 100), number, mode).expect("appends");
        }
    };
    append([1, 2], SyncMode::Normal);
    wal.rotate().expect("rotates");
    append([3, 4], SyncMode::Normal);
    wal.rotate().expect("rotates");
    assert_eq!(wal.rotate().expect("rotates"), 4);
    append([5, 6], mode);
    wal.close().expect("closes");
    context
}

fn without(context: &WalContext, segments: &[u64]) {
    for segment in segments {
        let path = context.dir.join(format!("{segment:020}.wal"));
        context.storage.remove(&path).expect("removes");
    }
}

/// The numbers of the records that are replayed, and whether something was missing; `None` if the log is refused.
fn read(factory: &WalFactory, context: &WalContext, from: u64, mode: RecoveryMode) -> Option<(Vec<u64>, bool)> {
    match replay(factory, context, from, mode) {
        Ok((records, report)) => Some((records.iter().map(|record| record.1).collect(), report.incomplete)),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
            assert!(error.to_string().contains("missing"), "{error}");
            None
        }
    }
}

#[test]
fn segments_that_are_missing_before_an_empty_one_are_missed() {
    use RecoveryMode::{Absolute, PointInTime, SkipCorrupt, TolerateTail};
    for factory in durable() {
        let read = |context: &WalContext, from, mode| read(factory, context, from, mode);
        for mode in [Absolute, PointInTime, TolerateTail, SkipCorrupt] {
            let whole = log(factory, SyncMode::Normal);
            assert_eq!(read(&whole, 1, mode), Some((vec![1, 2, 3, 4, 5, 6], false)));
            assert_eq!(read(&whole, 3, mode), Some((vec![5, 6], false)));
            // What is not needed any more may be gone.
            without(&whole, &[1, 2]);
            assert_eq!(read(&whole, 3, mode), Some((vec![5, 6], false)), "{mode:?}");
            without(&whole, &[3]);
            assert_eq!(read(&whole, 4, mode), Some((vec![5, 6], false)), "{mode:?}");
        }
        // Segment 3 held nothing, but nobody else can tell that segment 2 is there up to its end.
        for gone in [&[3][..], &[2, 3], &[1, 2, 3]] {
            let log = log(factory, SyncMode::Normal);
            without(&log, gone);
            let left = [vec![1, 2], vec![3, 4]];
            let left: Vec<u64> = left.into_iter().take(3 - gone.len()).flatten().collect();
            assert_eq!(read(&log, 1, Absolute), None, "{gone:?}");
            assert_eq!(read(&log, 1, TolerateTail), None, "{gone:?}");
            assert_eq!(read(&log, 1, PointInTime), Some((left.clone(), true)), "{gone:?}");
            assert_eq!(
                read(&log, 1, SkipCorrupt),
                Some(([left, vec![5, 6]].concat(), true)),
                "{gone:?}"
            );
        }
    }
}

#[test]
fn segments_that_were_synced_are_damage_when_they_are_missing() {
    for factory in durable() {
        let log = log(factory, SyncMode::Full);
        without(&log, &[2, 3]);
        // The second record of segment 4 tells that everything before it was synced.
        assert_eq!(read(factory, &log, 1, RecoveryMode::PointInTime), None);
    }
}
