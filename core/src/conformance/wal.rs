//! What every write-ahead log must pass.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::batch::Batch;
use crate::options::Options;
use crate::storage::Storage;
use crate::wal::{Appended, RecoveryMode, ReplayReport, SyncMode, Wal, WalContext, WalFactory};
use crate::{ErrorKind, Op, Result, SeqNo};

/// Makes an empty storage, and a directory in it for the log, which does not exist yet.
pub type StorageMaker<'a> = &'a dyn Fn() -> (Arc<dyn Storage>, std::path::PathBuf);

/// Runs the whole suite for one kind of log.
///
/// # Panics
/// Where the log breaks a promise.
pub fn run(factory: &WalFactory, storage: StorageMaker<'_>) {
    a_missing_directory_holds_no_records(factory, storage);
    sequence_numbers_are_taken_in_order(factory, storage);
    a_batch_above_the_limit_is_refused(factory, storage);
    segments_are_numbered_upward(factory, storage);
    counters_count(factory, storage);
    if !factory.capabilities.durable {
        what_is_not_durable_refuses_to_pretend(factory, storage);
        return;
    }
    acknowledged_records_survive_a_killed_process(factory, storage);
    records_come_back_after_a_close_in_every_mode(factory, storage);
    records_come_back_over_many_segments(factory, storage);
    released_segments_are_gone_and_reused(factory, storage);
    batches_larger_than_a_segment_come_back(factory, storage);
    compressed_batches_come_back(factory, storage);
    concurrent_appends_come_back_in_order(factory, storage);
    an_error_of_the_sink_ends_the_replay(factory, storage);
    a_log_opened_again_and_again_keeps_its_history(factory, storage);
}

/// A context with small segments.
pub fn context(storage: &Arc<dyn Storage>, dir: &Path) -> WalContext {
    WalContext {
        storage: storage.clone(),
        database: 1,
        dir: dir.to_owned(),
        segment_bytes: 64 << 10,
        max_record_bytes: 16 << 20,
        compress_above: None,
        direct_io: true,
        keep_awake: true,
        metrics: false,
    }
}

/// Opens a log with the default options of its kind.
pub fn open(factory: &WalFactory, context: &WalContext, first: u64) -> Box<dyn Wal> {
    (factory.open)(context.clone(), &Options::defaults(factory.component.options), first).expect("a fresh log opens")
}

/// A record as it came back.
pub type Replayed = (SeqNo, u64, Vec<u8>);

/// Replays from `from` and returns the records with the report.
///
/// # Errors
/// Those of the replay.
pub fn replay(
    factory: &WalFactory,
    context: &WalContext,
    from: u64,
    mode: RecoveryMode,
) -> Result<(Vec<Replayed>, ReplayReport)> {
    let mut records = Vec::new();
    let options = Options::defaults(factory.component.options);
    let report = (factory.replay)(context, &options, from, mode, &mut |record| {
        assert_eq!(record.ops().collect::<Result<Vec<_>>>()?.len(), record.count as usize);
        records.push((record.first_seq, record.timestamp_micros, record.payload.to_vec()));
        Ok(())
    })?;
    Ok((records, report))
}

/// A batch of `ops` operations with values of `len` bytes each, told apart by `number`.
pub fn batch(number: u64, ops: u64, len: usize) -> Batch {
    let mut batch = Batch::new();
    for op in 0..ops {
        let mut value: Vec<u8> = (0..len as u64)
            .map(|at| (number.wrapping_mul(31) ^ (at / 3) ^ op) as u8)
            .collect();
        value.truncate(len);
        batch.push(
            (number % 5) as u32,
            Op::Put,
            format!("key-{number:08}-{op}").as_bytes(),
            &value,
        );
    }
    batch
}

fn append(wal: &dyn Wal, batch: &Batch, mode: SyncMode) -> (Replayed, Appended) {
    let now = 1_700_000_000_000_000 + wal.next_seq();
    let appended = wal.append(batch, now, mode).expect("a sound log appends");
    ((appended.first_seq, now, batch.payload().to_vec()), appended)
}

fn a_missing_directory_holds_no_records(factory: &WalFactory, storage: StorageMaker<'_>) {
    let (storage, dir) = storage();
    let context = context(&storage, &dir.join("not").join("there"));
    let (records, report) = replay(factory, &context, 0, RecoveryMode::Absolute).expect("nothing is no error");
    assert!(records.is_empty());
    assert!(report.next_segment >= 1);
    let wal = open(factory, &context, report.next_segment);
    append(wal.as_ref(), &batch(1, 1, 10), SyncMode::Normal);
}

fn sequence_numbers_are_taken_in_order(factory: &WalFactory, storage: StorageMaker<'_>) {
    let (storage, dir) = storage();
    let wal = open(factory, &context(&storage, &dir), 1);
    assert_eq!(wal.next_seq(), 1);
    wal.skip_to(41);
    for (ops, first) in [(1, 41), (3, 42), (0, 45), (1, 45)] {
        let (_, appended) = append(wal.as_ref(), &batch(first, ops, 8), SyncMode::Normal);
        assert_eq!((appended.first_seq, appended.segment), (first, 1));
    }
    assert_eq!(wal.next_seq(), 46);
    // As after an ingestion, which is not in the log.
    wal.skip_to(1_000_000);
    assert!(
        !factory.capabilities.durable || wal.stats().next_seq == 46,
        "the log ends where its last record does"
    );
    assert_eq!(
        append(wal.as_ref(), &batch(1, 2, 8), SyncMode::Normal).1.first_seq,
        1_000_000
    );
    assert_eq!(wal.next_seq(), 1_000_002);
}

fn a_batch_above_the_limit_is_refused(factory: &WalFactory, storage: StorageMaker<'_>) {
    let (storage, dir) = storage();
    let context = WalContext {
        max_record_bytes: 1000,
        ..context(&storage, &dir)
    };
    let wal = open(factory, &context, 1);
    let error = wal
        .append(&batch(1, 1, 1001), 0, SyncMode::Normal)
        .expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("1000"), "{error}");
    assert_eq!(wal.next_seq(), 1, "a refused batch takes no sequence number");
    append(wal.as_ref(), &batch(2, 1, 100), SyncMode::Normal);
}

fn segments_are_numbered_upward(factory: &WalFactory, storage: StorageMaker<'_>) {
    let (storage, dir) = storage();
    let wal = open(factory, &context(&storage, &dir), 7);
    assert_eq!(wal.active_segment(), 7);
    for segment in 8..12 {
        assert_eq!(wal.rotate().expect("rotates"), segment);
        assert_eq!(wal.active_segment(), segment);
        let (_, appended) = append(wal.as_ref(), &batch(segment, 1, 50), SyncMode::Normal);
        assert_eq!(appended.segment, segment);
    }
    wal.release(10).expect("releases");
    wal.sync().expect("syncs");
}

fn counters_count(factory: &WalFactory, storage: StorageMaker<'_>) {
    let (storage, dir) = storage();
    let context = WalContext {
        metrics: true,
        ..context(&storage, &dir)
    };
    let wal = open(factory, &context, 1);
    for number in 0..10 {
        append(wal.as_ref(), &batch(number, 1, 50), SyncMode::Normal);
    }
    wal.sync().expect("syncs");
    let stats = wal.stats();
    assert_eq!((stats.records, stats.failures), (10, 0));
    if factory.capabilities.durable {
        assert!(stats.bytes >= 500 && stats.active_bytes == stats.bytes, "{stats:?}");
        assert_eq!((stats.syncs, stats.segments), (1, 1));
        wal.rotate().expect("rotates");
        assert_eq!((wal.stats().segments, wal.stats().active_bytes), (2, 0));
    }
}

fn what_is_not_durable_refuses_to_pretend(factory: &WalFactory, storage: StorageMaker<'_>) {
    let (storage, dir) = storage();
    let wal = open(factory, &context(&storage, &dir), 1);
    let error = wal.append(&batch(1, 1, 1), 0, SyncMode::Full).expect_err("not durable");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

fn acknowledged_records_survive_a_killed_process(factory: &WalFactory, storage: StorageMaker<'_>) {
    for mode in [SyncMode::Normal, SyncMode::Full] {
        let (storage, dir) = storage();
        let context = context(&storage, &dir);
        let wal = open(factory, &context, 1);
        let mut written = Vec::new();
        for number in 0..50 {
            written.push(append(wal.as_ref(), &batch(number, 1 + number % 3, 70), mode).0);
            // The log is still open: what is seen now is what a killed process leaves.
            if number % 7 == 0 {
                let (records, _) = replay(factory, &context, 1, RecoveryMode::PointInTime).expect("sound");
                assert_eq!(records, written, "{mode:?}");
            }
        }
    }
}

fn records_come_back_after_a_close_in_every_mode(factory: &WalFactory, storage: StorageMaker<'_>) {
    for sync in [SyncMode::None, SyncMode::Normal, SyncMode::Full] {
        let (storage, dir) = storage();
        let context = context(&storage, &dir);
        let wal = open(factory, &context, 3);
        let written: Vec<_> = (0..40)
            .map(|number| append(wal.as_ref(), &batch(number, 2, 33), sync).0)
            .collect();
        drop(wal);
        for mode in [
            RecoveryMode::Absolute,
            RecoveryMode::PointInTime,
            RecoveryMode::TolerateTail,
            RecoveryMode::SkipCorrupt,
        ] {
            let (records, report) = replay(factory, &context, 0, mode).expect("sound");
            assert_eq!(records, written, "{sync:?} {mode:?}");
            assert_eq!((report.records, report.last_seq, report.next_segment), (40, 80, 4));
            assert_eq!((report.segments, report.torn_bytes, report.skipped), (1, 0, 0));
        }
    }
}

fn records_come_back_over_many_segments(factory: &WalFactory, storage: StorageMaker<'_>) {
    let (storage, dir) = storage();
    let context = context(&storage, &dir);
    let wal = open(factory, &context, 1);
    let mut by_segment: BTreeMap<u64, Vec<Replayed>> = BTreeMap::new();
    for number in 0..1000 {
        let sync = if number % 100 == 0 {
            SyncMode::Full
        } else {
            SyncMode::Normal
        };
        let (record, appended) = append(wal.as_ref(), &batch(number, 1, 900), sync);
        by_segment.entry(appended.segment).or_default().push(record);
    }
    drop(wal);
    assert!(by_segment.len() >= 14, "{} segments", by_segment.len());
    for from in [0, 1, 2, 9] {
        let expected: Vec<_> = by_segment
            .range(from..)
            .flat_map(|(_, records)| records.clone())
            .collect();
        let (records, report) = replay(factory, &context, from, RecoveryMode::Absolute).expect("sound");
        assert!(
            records == expected,
            "from {from}: {} of {} records",
            records.len(),
            expected.len()
        );
        assert_eq!(report.segments, by_segment.range(from..).count() as u64);
    }
}

fn released_segments_are_gone_and_reused(factory: &WalFactory, storage: StorageMaker<'_>) {
    let (storage, dir) = storage();
    let context = context(&storage, &dir);
    let wal = open(factory, &context, 1);
    let mut latest = Vec::new();
    for _ in 0..8 {
        let segment = wal.rotate().expect("rotates");
        latest = (0..5)
            .map(|n| append(wal.as_ref(), &batch(n, 1, 300), SyncMode::Full).0)
            .collect();
        wal.release(segment).expect("releases");
        let (records, _) = replay(factory, &context, segment, RecoveryMode::PointInTime).expect("sound");
        assert_eq!(
            records, latest,
            "stale records of segment files used before must not come back"
        );
        assert_eq!(wal.stats().segments, 1);
    }
    drop(wal);
    let (records, _) = replay(factory, &context, 0, RecoveryMode::Absolute).expect("sound");
    assert_eq!(records, latest);
    assert!(
        storage.list(&dir).expect("there").len() <= 4,
        "only a few spare files are kept"
    );
}

fn batches_larger_than_a_segment_come_back(factory: &WalFactory, storage: StorageMaker<'_>) {
    let (storage, dir) = storage();
    for compress_above in [None, Some(4096)] {
        let dir = dir.join(format!("{compress_above:?}"));
        let context = WalContext {
            compress_above,
            ..context(&storage, &dir)
        };
        let wal = open(factory, &context, 1);
        let written: Vec<_> = (0..)
            .zip([10, 70_000, 262_144, 3_000_000, 0, 10 << 20, 500])
            .map(|(number, len)| append(wal.as_ref(), &batch(number, 1, len), SyncMode::Normal).0)
            .collect();
        drop(wal);
        let (records, _) = replay(factory, &context, 1, RecoveryMode::Absolute).expect("sound");
        assert!(records == written, "{} of {} records", records.len(), written.len());
    }
}

fn compressed_batches_come_back(factory: &WalFactory, storage: StorageMaker<'_>) {
    let (storage, dir) = storage();
    let context = WalContext {
        compress_above: Some(200),
        segment_bytes: 1 << 20,
        ..context(&storage, &dir)
    };
    let wal = open(factory, &context, 1);
    let written: Vec<_> = (0..200)
        .map(|number| append(wal.as_ref(), &batch(number, 1, 40 * number as usize), SyncMode::Normal).0)
        .collect();
    let payload: usize = written.iter().map(|(_, _, payload)| payload.len()).sum();
    assert!(
        wal.stats().bytes < payload as u64 / 2,
        "{} of {payload} bytes",
        wal.stats().bytes
    );
    drop(wal);
    let (records, report) = replay(factory, &context, 1, RecoveryMode::Absolute).expect("sound");
    assert!(records == written, "{} of {} records", records.len(), written.len());
    assert_eq!(report.bytes, payload as u64);
}

fn concurrent_appends_come_back_in_order(factory: &WalFactory, storage: StorageMaker<'_>) {
    for mode in [SyncMode::None, SyncMode::Normal, SyncMode::Full] {
        let (storage, dir) = storage();
        let context = context(&storage, &dir);
        let wal = open(factory, &context, 1);
        let mut written: Vec<Replayed> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8u64)
                .map(|thread| {
                    let wal = wal.as_ref();
                    scope.spawn(move || {
                        let append = |n| {
                            let batch = batch(thread * 1000 + n, 1 + n % 3, (n as usize * 37) % 700);
                            let appended = wal.append(&batch, n, mode).expect("a sound log appends");
                            if n == 100 && thread == 3 {
                                wal.rotate().expect("rotates");
                            }
                            (appended.first_seq, n, batch.payload().to_vec())
                        };
                        (0..200).map(append).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().expect("no panic"))
                .collect()
        });
        written.sort();
        if mode != SyncMode::None {
            let (records, _) = replay(factory, &context, 1, RecoveryMode::PointInTime).expect("sound");
            assert!(
                records == written,
                "{mode:?}, live: {} of {} records",
                records.len(),
                written.len()
            );
        }
        drop(wal);
        let (records, _) = replay(factory, &context, 1, RecoveryMode::Absolute).expect("sound");
        assert!(
            records == written,
            "{mode:?}: {} of {} records",
            records.len(),
            written.len()
        );
    }
}

fn an_error_of_the_sink_ends_the_replay(factory: &WalFactory, storage: StorageMaker<'_>) {
    let (storage, dir) = storage();
    let context = context(&storage, &dir);
    let wal = open(factory, &context, 1);
    for number in 0..300 {
        append(wal.as_ref(), &batch(number, 1, 900), SyncMode::Normal);
    }
    for stop_at in [0, 3, 150, 299] {
        let mut seen = 0;
        let result = (factory.replay)(
            &context,
            &Options::defaults(factory.component.options),
            1,
            RecoveryMode::PointInTime,
            &mut |_| {
                if seen == stop_at {
                    return Err(crate::Error::new(ErrorKind::Conflict, "enough"));
                }
                seen += 1;
                Ok(())
            },
        );
        assert_eq!(result.expect_err("the sink's error").kind(), ErrorKind::Conflict);
        assert_eq!(seen, stop_at);
    }
}

fn a_log_opened_again_and_again_keeps_its_history(factory: &WalFactory, storage: StorageMaker<'_>) {
    let (storage, dir) = storage();
    let context = context(&storage, &dir);
    let mut written = Vec::new();
    for round in 0..6 {
        let (records, report) = replay(factory, &context, 1, RecoveryMode::Absolute).expect("sound");
        assert_eq!(records, written, "round {round}");
        let wal = open(factory, &context, report.next_segment);
        wal.skip_to(report.last_seq + 1);
        for number in 0..round {
            written.push(append(wal.as_ref(), &batch(number, 1, 40), SyncMode::Normal).0);
        }
    }
}
