//! How logs end: closed in a segment that had an earlier life, or by a failure while some appends are synced and others are not.

use std::path::Path;
use std::sync::Arc;

use kodiak_core::ErrorKind;
use kodiak_core::conformance::wal::{Replayed, batch, context, open, replay};
use kodiak_core::storage::Storage;
use kodiak_core::wal::{RecoveryMode, SyncMode, Wal, WalContext, WalFactory};
use kodiak_storage::{CrashOptions, Fault, FaultRule, FaultStorage, OpKind};

const MODES: [RecoveryMode; 4] = [
    RecoveryMode::Absolute,
    RecoveryMode::PointInTime,
    RecoveryMode::TolerateTail,
    RecoveryMode::SkipCorrupt,
];

fn durable() -> impl Iterator<Item = &'static &'static WalFactory> {
    kodiak_wal::ALL.iter().filter(|factory| factory.capabilities.durable)
}

fn context_on(storage: &FaultStorage) -> WalContext {
    let storage: Arc<dyn Storage> = Arc::new(storage.clone());
    WalContext {
        segment_bytes: 4096,
        ..context(&storage, Path::new("/db/wal"))
    }
}

fn append(wal: &dyn Wal, number: u64, len: usize) -> Replayed {
    let batch = batch(number, 1, len);
    let appended = wal.append(&batch, number, SyncMode::Normal).expect("appends");
    (appended.first_seq, number, batch.payload().to_vec())
}

/// The mark of a log closed in good order goes behind the last record, over what an earlier life of the file has left there; or
/// there is no room for it.
#[test]
fn a_log_closed_in_a_recycled_segment_ends_where_it_was_closed() {
    for factory in durable() {
        let mut closed = 0;
        for last in (0..1900).step_by(19) {
            let storage = FaultStorage::with_seed(last as u64);
            let context = context_on(&storage);
            let wal = open(factory, &context, 1);
            for number in 0..60 {
                append(wal.as_ref(), number, 300);
                wal.release(wal.active_segment()).expect("releases");
            }
            let from = wal.rotate().expect("rotates");
            wal.release(from).expect("releases");
            // Two records of different lengths, so that the end falls anywhere in the segment.
            let written = [1900, last].map(|len| append(wal.as_ref(), 1000, len));
            wal.close().expect("closes");
            drop(wal);
            for mode in MODES {
                let what = format!("{}, last value of {last} bytes, {mode:?}", factory.component.name);
                let (records, report) = replay(factory, &context, from, mode).expect(&what);
                assert_eq!(records, written, "{what}");
                assert_eq!((report.torn_bytes, report.skipped), (0, 0), "{what}");
                closed += u32::from(report.closed);
            }
            // What goes on from there knows nothing of the earlier life either.
            let (_, report) = replay(factory, &context, from, RecoveryMode::Absolute).expect("as before");
            let wal = open(factory, &context, report.next_segment);
            wal.skip_to(report.last_seq + 1);
            let later = append(wal.as_ref(), 2000, 10);
            drop(wal);
            let (records, _) = replay(factory, &context, from, RecoveryMode::Absolute).expect("as before");
            assert_eq!(records[2..], [later], "{}", factory.component.name);
        }
        assert!(
            closed > 300,
            "{}: {closed} of 400 tell that they were closed",
            factory.component.name
        );
    }
}

/// A power loss on a file system whose renaming is not atomic can leave a file under its old name as well. Two segments that were
/// made of one file overwrote each other.
#[test]
fn a_file_that_a_crash_left_under_two_names_does_no_harm() {
    for factory in durable() {
        for name in ["00000000000000000900.spare", "00000000000000000001.wal"] {
            let what = format!("{}, also called {name}", factory.component.name);
            let storage = FaultStorage::with_seed(1);
            let wal = open(factory, &context_on(&storage), 1);
            for number in 0..60 {
                append(wal.as_ref(), number, 300);
                wal.release(wal.active_segment()).expect("releases");
            }
            let from = wal.active_segment();
            let image = storage.kill_image();
            let names = image.list(Path::new("/db/wal")).expect("a directory");
            let other = match name.ends_with("spare") {
                true => names.iter().find(|name| name.ends_with("spare")),
                false => names.iter().filter(|name| name.ends_with("wal")).max(),
            };
            let path = Path::new("/db/wal").join(other.expect("a file that was used again"));
            image.hard_link(&path, &Path::new("/db/wal").join(name)).expect("links");

            let context = context_on(&image);
            let (mut expected, report) = replay(factory, &context, from, RecoveryMode::PointInTime).expect(&what);
            let wal = open(factory, &context, report.next_segment);
            wal.skip_to(report.last_seq + 1);
            wal.release(from).expect("releases what is older");
            for number in 100..160 {
                expected.push(append(wal.as_ref(), number, 300));
            }
            let context = context_on(&image.kill_image());
            for mode in MODES {
                let (records, _) = replay(factory, &context, from, mode).expect(&what);
                assert_eq!(records, expected, "{what}, {mode:?}");
            }
        }
    }
}

/// The sync of a new segment fails, the log is opened anew while the header can still be read, and then the power is lost: nothing is missing.
#[test]
fn a_segment_without_records_may_lose_its_header() {
    for factory in durable() {
        let what = factory.component.name;
        let storage = FaultStorage::with_seed(1);
        let wal = open(factory, &context_on(&storage), 1);
        append(wal.as_ref(), 0, 300);
        let from = wal.rotate().expect("rotates");
        let image = storage.kill_image();
        let context = context_on(&image);
        let (records, report) = replay(factory, &context, from, RecoveryMode::PointInTime).expect(what);
        assert!(records.is_empty() && !report.closed, "{what}: {report:?}");
        let wal = open(factory, &context, report.next_segment);
        wal.skip_to(2);
        let expected: Vec<_> = (1..40)
            .map(|number| {
                let batch = batch(number, 1, 300);
                let appended = wal.append(&batch, number, SyncMode::Full).expect("appends");
                (appended.first_seq, number, batch.payload().to_vec())
            })
            .collect();
        assert!(
            wal.active_segment() > report.next_segment,
            "{what}: later segments promise"
        );
        let lost = image.kill_image();
        let path = Path::new("/db/wal").join(format!("{from:020}.wal"));
        let segment = lost.open_log(&path).expect("it is there");
        segment.write_at(0, &[0; 4096]).expect("writes");
        for mode in MODES {
            let (records, report) = replay(factory, &context_on(&lost), from, mode).expect(what);
            assert_eq!(records, expected, "{what}, {mode:?}");
            assert_eq!((report.torn_bytes, report.skipped), (0, 0), "{what}, {mode:?}");
        }
    }
}

#[test]
fn a_segment_of_another_database_is_not_replayed() {
    for factory in durable() {
        let what = factory.component.name;
        let storage = FaultStorage::with_seed(1);
        let context = |database| WalContext {
            database,
            ..context_on(&storage)
        };
        let wal = open(factory, &context(7), 1);
        let written = [append(wal.as_ref(), 0, 300)];
        wal.close().expect("closes");
        drop(wal);
        for mode in MODES {
            // One that does not know which it is reads any.
            for database in [7, 0] {
                let (records, _) = replay(factory, &context(database), 1, mode).expect(what);
                assert_eq!(records, written, "{what}, {mode:?}");
            }
            match replay(factory, &context(8), 1, mode) {
                Ok((records, report)) => {
                    assert_eq!(mode, RecoveryMode::SkipCorrupt, "{what}");
                    assert!(records.is_empty() && report.skipped == 1, "{what}: {report:?}");
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corruption, "{what}, {mode:?}");
                    assert!(error.to_string().contains("another database"), "{what}: {error}");
                }
            }
        }
        // Older versions have left no number.
        let wal = open(factory, &context(0), 10);
        wal.skip_to(2);
        let later = append(wal.as_ref(), 1, 300);
        wal.close().expect("closes");
        drop(wal);
        let (records, _) = replay(factory, &context(8), 10, RecoveryMode::Absolute).expect(what);
        assert_eq!(records, [later], "{what}");
    }
}

/// Which modes a log's appends take by turns.
const MIXED: [SyncMode; 5] = [
    SyncMode::Normal,
    SyncMode::Full,
    SyncMode::None,
    SyncMode::Normal,
    SyncMode::Full,
];

#[test]
fn a_log_that_fails_while_modes_are_mixed_keeps_what_each_has_promised() {
    for factory in durable() {
        for kind in [OpKind::Write, OpKind::Sync] {
            for (nth, fault) in (1..60).flat_map(|nth| [(nth, Fault::Eio), (nth, Fault::Enospc)]) {
                let storage = FaultStorage::with_seed(nth);
                storage.set_plan(FaultRule::nth(kind, nth, fault));
                fail_in_mixed_modes(
                    factory,
                    &storage,
                    &format!("{}, {kind:?} {nth} {fault:?}", factory.component.name),
                );
            }
        }
    }
}

fn fail_in_mixed_modes(factory: &WalFactory, storage: &FaultStorage, what: &str) {
    let context = context_on(storage);
    let options = kodiak_core::options::Options::defaults(factory.component.options);
    let Ok(wal) = (factory.open)(context.clone(), &options, 1) else {
        assert!(storage.faults_fired() > 0, "{what}");
        return;
    };
    let mut acknowledged: Vec<Replayed> = Vec::new();
    // So many are to survive a killed process, and a power loss.
    let (mut handed_over, mut synced) = (0, 0);
    for number in 0..90 {
        let (batch, mode) = (batch(number, 1, 250), MIXED[number as usize % MIXED.len()]);
        match wal.append(&batch, number, mode) {
            Ok(appended) => acknowledged.push((appended.first_seq, number, batch.payload().to_vec())),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Io, "{what}: {error}");
                for mode in [SyncMode::None, SyncMode::Normal, SyncMode::Full] {
                    let error = wal.append(&batch, 0, mode).expect_err(what);
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}");
                }
                break;
            }
        }
        if mode >= SyncMode::Normal {
            handed_over = acknowledged.len();
        }
        if mode == SyncMode::Full {
            synced = acknowledged.len();
        }
    }
    assert!(wal.next_seq() > acknowledged.len() as u64, "{what}");
    for (image, least) in [
        (storage.kill_image(), handed_over),
        (storage.crash_image(&CrashOptions::SYNCED_ONLY), synced),
    ] {
        let (records, _) = replay(factory, &context_on(&image), 1, RecoveryMode::PointInTime).expect(what);
        assert!(records.len() >= least, "{what}: {} of {least} promised", records.len());
        // At most the batch that failed follows what was acknowledged.
        let common = records.len().min(acknowledged.len());
        assert_eq!(records[..common], acknowledged[..common], "{what}");
        assert!(records.len() <= acknowledged.len() + 1, "{what}");
    }
}
