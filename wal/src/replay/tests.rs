use std::path::{Path, PathBuf};
use std::sync::Arc;

use kodiak_core::batch::Batch;
use kodiak_core::conformance::extent;
use kodiak_core::storage::{ReadableFile, Storage};
use kodiak_core::wal::{SyncMode, Wal};
use kodiak_core::{ErrorKind, Op, SeqNo};
use kodiak_storage::MemoryStorage;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;

use super::*;
use crate::format::{ALIGN, Identity, SEGMENT_HEADER};

const LOG_BYTES: usize = 64 << 10;
const LIMIT: u64 = 16 << 20;
const MODES: [RecoveryMode; 4] = [
    RecoveryMode::Absolute,
    RecoveryMode::PointInTime,
    RecoveryMode::TolerateTail,
    RecoveryMode::SkipCorrupt,
];

/// A batch that was written, and the bytes of the segment that it took.
struct Written {
    start: usize,
    end: usize,
    synced: u64,
    first_seq: SeqNo,
    payload: Vec<u8>,
}

/// A segment's bytes and what is in them.
struct Log {
    bytes: Vec<u8>,
    written: Vec<Written>,
}

fn context(storage: &Arc<dyn Storage>, compress_above: Option<usize>) -> WalContext {
    WalContext {
        storage: storage.clone(),
        database: 1,
        dir: PathBuf::from("/wal"),
        segment_bytes: LOG_BYTES as u64,
        max_record_bytes: LIMIT,
        compress_above,
        direct_io: true,
        keep_awake: false,
        metrics: false,
    }
}

fn open(context: &WalContext, first: SegmentId) -> Box<dyn Wal> {
    (crate::segment::FACTORY.open)(context.clone(), &Options::default(), first).expect("opens")
}

fn batch_of(rng: &mut StdRng, len: usize) -> Batch {
    let mut batch = Batch::new();
    let noise = rng.random_range(0..3) > 0;
    let value: Vec<u8> = (0..len)
        .map(|at| if noise { rng.random() } else { (at / 50) as u8 })
        .collect();
    batch.push(1, Op::Put, b"key", &value);
    if len.is_multiple_of(3) {
        batch.push(2, Op::Delete, b"gone", b"");
    }
    batch
}

fn read_segment(storage: &dyn Storage, segment: SegmentId) -> Vec<u8> {
    let file = storage.open(&segment_path(Path::new("/wal"), segment)).expect("there");
    file.read(0, file.len() as usize).expect("reads").to_vec()
}

/// A log of exactly 64 KiB with batches of all sizes up to 8 KiB, of which every sixth or so was synced.
fn full_log(compress_above: Option<usize>, seed: u64) -> Log {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let context = context(&storage, compress_above);
    let wal = open(&context, 1);
    let rng = &mut StdRng::seed_from_u64(seed);
    let mut sizes: Vec<usize> = (0..).step_by(97).take_while(|&len| len < 8192).collect();
    sizes.extend((0..400).map(|_| rng.random_range(0..300)));
    wal.append(&Batch::new(), 1, SyncMode::Normal).expect("an empty batch");
    let mut picks = 0u32;
    loop {
        let left = LOG_BYTES - SEGMENT_HEADER - wal.stats().active_bytes as usize;
        if left == 0 {
            break;
        }
        let len = sizes[rng.random_range(0..sizes.len())];
        let batch = if left < 9000 {
            exactly(left, rng)
        } else {
            batch_of(rng, len)
        };
        picks += 1;
        let mode = if picks.is_multiple_of(6) {
            SyncMode::Full
        } else {
            SyncMode::Normal
        };
        wal.append(&batch, u64::from(picks), mode).expect("appends");
        assert_eq!(wal.active_segment(), 1, "the last batch fits exactly");
    }
    let bytes = read_segment(storage.as_ref(), 1);
    assert_eq!(bytes.len(), LOG_BYTES);
    Log {
        written: contents(&bytes),
        bytes,
    }
}

/// A batch whose record takes `left` bytes, or about half of them if that is much. It cannot be compressed.
fn exactly(left: usize, rng: &mut StdRng) -> Batch {
    let left = if left > 400 { left / 2 / ALIGN * ALIGN } else { left };
    let value: Vec<u8> = (0..left).map(|_| rng.random()).collect();
    (0..left)
        .map(|len| {
            let mut batch = Batch::new();
            batch.push(1, Op::Put, b"", &value[..len]);
            batch
        })
        .find(|batch| crate::format::record_size(batch.payload().len()) == left)
        .unwrap_or_default()
}

fn contents(bytes: &[u8]) -> Vec<Written> {
    let state = SegmentHeader::decode(bytes, 1).expect("this version");
    let HeaderState::Valid(header, seed) = state else {
        panic!("{state:?}")
    };
    let identity = Identity::new(&header, seed);
    let mut reader = SegmentReader::new(bytes, &header, seed, LIMIT);
    let mut written = Vec::new();
    while let Some(found) = reader.advance().expect("sound") {
        let record = reader.record(&found);
        let (head, _) = identity.check(&bytes[found.offset..]).expect("sound");
        written.push(Written {
            start: found.offset,
            end: reader.offset() as usize,
            synced: head.synced,
            first_seq: record.first_seq,
            payload: record.payload.to_vec(),
        });
    }
    assert!(written.len() > 30, "{} batches", written.len());
    assert!(written.iter().any(|batch| batch.synced > 0));
    written
}

#[derive(Debug)]
struct NoFile(u64);

impl ReadableFile for NoFile {
    fn len(&self) -> u64 {
        self.0
    }

    fn read(&self, _offset: u64, _len: usize) -> Result<arrow::buffer::Buffer> {
        Err(Error::corruption("the bytes are in memory"))
    }

    fn map(&self) -> Result<Option<arrow::buffer::Buffer>> {
        Ok(None)
    }
}

/// Replays segment 1 from `bytes` as the only one, and returns how many batches came back; all of them must be what was
/// written.
fn replay_bytes(log: &Log, bytes: &[u8], mode: RecoveryMode) -> Result<ReplayReport> {
    let state = SegmentHeader::decode(bytes, 1)?;
    let files = [SegmentFile::of(
        Path::new("/wal/1"),
        state,
        Arc::new(NoFile(bytes.len() as u64)),
    )];
    let mut expected = log.written.iter();
    let mut sink = |record: WalRecord<'_>| {
        let same = |batch: &&Written| batch.first_seq == record.first_seq && batch.payload == record.payload;
        let found = match mode {
            RecoveryMode::SkipCorrupt => expected.find(same),
            _ => expected.next().filter(same),
        };
        assert!(
            found.is_some(),
            "a batch came back that was not written there: {record:?}"
        );
        Ok(())
    };
    let mut replay = Replay {
        from: 0,
        mode,
        limit: LIMIT,
        report: ReplayReport::default(),
        hole: false,
        sink: &mut sink,
    };
    if let Some((header, seed)) = files[0].header() {
        let mut reader = SegmentReader::new(bytes, header, seed, LIMIT);
        let tail = replay.stream(&mut reader, None)?;
        replay.judge(&files, 0, &tail, None)?;
    } else {
        replay.segment(&files, 0, &Job::new(None))?;
    }
    Ok(replay.report)
}

#[test]
fn a_log_cut_at_any_offset_gives_its_longest_prefix_of_whole_batches() {
    for compress_above in [None, Some(64)] {
        let log = full_log(compress_above, 1);
        (0..=LOG_BYTES).into_par_iter().for_each(|cut| {
            let whole = log.written.partition_point(|batch| batch.end <= cut) as u64;
            let report =
                replay_bytes(&log, &log.bytes[..cut], RecoveryMode::PointInTime).expect("a torn tail is no error");
            assert_eq!(report.records, whole, "cut at {cut}");
            let end = log
                .written
                .get(whole as usize)
                .map_or(cut, |batch| batch.start.min(cut));
            let end = if cut < SEGMENT_HEADER { 0 } else { end };
            // A checksum that begins with zero bytes cannot be told from nothing if no more than those are left.
            let visible = log.bytes[end..cut].iter().any(|&byte| byte != 0);
            let torn = if visible { cut - end } else { 0 };
            assert_eq!(report.torn_bytes as usize, torn, "cut at {cut}");
        });
    }
}

#[test]
fn opening_a_cut_log_twice_gives_the_same() {
    let log = full_log(Some(64), 2);
    let mut cuts: Vec<usize> = log
        .written
        .iter()
        .flat_map(|batch| [batch.start, batch.start + 1, batch.end - 1])
        .collect();
    cuts.extend((0..LOG_BYTES).step_by(331));
    for cut in cuts {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let context = context(&storage, None);
        storage.create_dir_all(&context.dir).expect("new");
        let file = storage
            .create_log(&segment_path(&context.dir, 1), cut as u64)
            .expect("new");
        file.write_at(0, &log.bytes[..cut]).expect("fits");
        let read = |mode| {
            let mut seqs = Vec::new();
            let report = replay(&context, &Options::default(), 1, mode, &mut |record| {
                seqs.push((record.first_seq, record.payload.len()));
                Ok(())
            });
            (seqs, report.expect("a torn tail is no error"))
        };
        let (first, report) = read(RecoveryMode::PointInTime);
        assert_eq!(first.len(), log.written.partition_point(|batch| batch.end <= cut));
        // Whoever goes on with the log accepts its end: from then on it is no damage, in any mode, and nothing more is cut.
        let wal = open(&context, report.next_segment);
        wal.skip_to(1000);
        wal.append(&batch_of(&mut StdRng::seed_from_u64(3), 10), 0, SyncMode::Normal)
            .expect("appends");
        drop(wal);
        for mode in [RecoveryMode::PointInTime, RecoveryMode::TolerateTail] {
            let (again, report) = read(mode);
            assert_eq!(again[..first.len()], first, "cut at {cut}");
            assert_eq!((again.len(), again[first.len()].0), (first.len() + 1, 1000));
            assert_eq!(report.torn_bytes as usize, if cut < SEGMENT_HEADER { cut } else { 0 });
        }
    }
}

/// What must come of damage that begins at byte `at`: corruption at the batch it hits if that was promised, else the batches
/// before it.
fn check_damage(log: &Log, bytes: &[u8], at: usize) {
    let result = replay_bytes(log, bytes, RecoveryMode::PointInTime);
    let hit = log.written.partition_point(|batch| batch.end <= at);
    let start = log.written.get(hit).map_or(0, |batch| batch.start as u64);
    let promised = log.written[hit + 1..]
        .iter()
        .map(|batch| batch.synced)
        .max()
        .unwrap_or(0);
    match result {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corruption, "byte {at}: {error}");
            assert!(error.file().is_some() && error.offset().is_some(), "byte {at}: {error}");
            if at >= SEGMENT_HEADER {
                assert!(promised > start, "byte {at}: corruption, though nothing was promised");
                assert_eq!(error.offset(), Some(start), "byte {at}");
            }
        }
        Ok(report) => {
            assert!(at >= SEGMENT_HEADER, "byte {at}: a damaged header went unnoticed");
            assert!(
                promised <= start,
                "byte {at}: damage below the synced offset was cut off"
            );
            assert_eq!(report.records, hit as u64, "byte {at}");
            assert!(report.torn_bytes > 0, "byte {at}: cut off in silence");
        }
    }
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    let log = full_log(Some(512), 3);
    (0..LOG_BYTES).into_par_iter().for_each_init(
        || log.bytes.clone(),
        |bytes, at| {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                check_damage(&log, bytes, at);
                bytes[at] ^= 1 << bit;
            }
        },
    );
}

#[test]
fn no_burst_of_flipped_bits_goes_unnoticed() {
    let log = full_log(None, 4);
    let cases = extent("KODIAK_TEST_BURSTS", [100_000, 1_000_000, 1_000_000]);
    (0..cases).into_par_iter().for_each_init(
        || log.bytes.clone(),
        |bytes, case| {
            let mut rng = StdRng::seed_from_u64(case);
            let bit = rng.random_range(0..(LOG_BYTES - 8) * 8);
            let len = rng.random_range(1..=32);
            // The first and the last bit of a burst differ; what is between them is random.
            let pattern = (u64::from(rng.random::<u32>()) | 1 | 1 << (len - 1)) & ((1 << len) - 1);
            let flip = (pattern << (bit % 8)).to_le_bytes();
            let at = bit / 8;
            let xor = |bytes: &mut [u8]| {
                bytes[at..at + 8]
                    .iter_mut()
                    .zip(flip)
                    .for_each(|(byte, flip)| *byte ^= flip)
            };
            xor(bytes);
            check_damage(&log, bytes, at);
            xor(bytes);
        },
    );
}

#[test]
fn garbage_zeros_and_stale_records_behind_the_end_are_not_records() {
    let log = full_log(None, 5);
    let stale = full_log(None, 6);
    (0..10_000u64).into_par_iter().for_each(|case| {
        let mut rng = StdRng::seed_from_u64(case);
        let keep = rng.random_range(0..log.written.len());
        let end = log.written[keep].start;
        let mut bytes = log.bytes[..end].to_vec();
        let tail = rng.random_range(1..=LOG_BYTES);
        match case % 3 {
            0 => bytes.resize(end + tail, 0),
            1 => bytes.extend((0..tail).map(|_| rng.random::<u8>())),
            // An earlier use of the same file, whole records of it beginning right at the end of ours or anywhere behind.
            _ => {
                let from = stale.written[rng.random_range(0..stale.written.len())].start;
                bytes.extend_from_slice(&stale.bytes[from..]);
            }
        }
        let report = replay_bytes(&log, &bytes, RecoveryMode::PointInTime).expect("no error");
        assert_eq!(report.records, keep as u64, "case {case}");
        if case % 3 == 0 {
            assert_eq!(report.torn_bytes, 0, "case {case}");
            let report = replay_bytes(&log, &bytes, RecoveryMode::Absolute).expect("zeros are no damage");
            assert_eq!(report.records, keep as u64);
        }
    });
}

#[test]
fn the_four_modes_differ_on_the_same_damage() {
    let log = full_log(None, 7);
    let outcome = |bytes: &[u8]| MODES.map(|mode| replay_bytes(&log, bytes, mode).map(|report| report.records).ok());
    let all = log.written.len() as u64;
    assert_eq!(outcome(&log.bytes), [Some(all); 4]);
    // The last batch is cut.
    assert_eq!(
        outcome(&log.bytes[..LOG_BYTES - 1]),
        [None, Some(all - 1), Some(all - 1), Some(all - 1)]
    );
    // Damage below a synced offset.
    let mut bytes = log.bytes.clone();
    bytes[log.written[3].start + 20] ^= 1;
    assert_eq!(outcome(&bytes), [None, None, None, Some(all - 1)]);
    // Damage above it, with intact batches behind.
    let promised = log.written.iter().map(|batch| batch.synced).max().expect("some");
    let first = log.written.partition_point(|batch| (batch.start as u64) < promised);
    assert!(
        first + 1 < log.written.len(),
        "the test needs two batches above the last synced offset"
    );
    let mut bytes = log.bytes.clone();
    bytes[log.written[first].start + 20] ^= 1;
    assert_eq!(outcome(&bytes), [None, Some(first as u64), None, Some(all - 1)]);
}
