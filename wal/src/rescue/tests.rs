use std::path::Path;
use std::sync::Arc;

use kodiak_core::batch::Batch;
use kodiak_core::options::Options;
use kodiak_core::storage::Storage;
use kodiak_core::wal::{RecoveryMode, SyncMode, WalContext};
use kodiak_core::{Op, SeqNo};
use kodiak_storage::MemoryStorage;

use super::*;
use crate::format::segment_path;
use crate::replay::replay;

const DIR: &str = "/wal";
const SEGMENTS: usize = 4;

fn context(storage: &Arc<MemoryStorage>) -> WalContext {
    WalContext {
        storage: Arc::clone(storage) as Arc<dyn Storage>,
        database: 1,
        dir: DIR.into(),
        segment_bytes: 16 << 10,
        max_record_bytes: 1 << 20,
        compress_above: None,
        direct_io: false,
        keep_awake: false,
        metrics: false,
    }
}

/// A log of some segments: the bytes of each, and the sequence numbers in it.
fn log() -> Vec<(SegmentId, Vec<u8>, Vec<SeqNo>)> {
    let storage = Arc::new(MemoryStorage::new());
    let context = context(&storage);
    let wal = (crate::segment::FACTORY.open)(context.clone(), &Options::default(), 1).expect("open");
    for number in 0..250u64 {
        let mut batch = Batch::new();
        batch.push(1, Op::Put, &number.to_be_bytes(), &[number as u8; 250]);
        wal.append(&batch, 1, SyncMode::Normal).expect("append");
    }
    wal.close().expect("close");
    drop(wal);
    let mut segments = Vec::new();
    for number in crate::files::segments_in(&*context.storage, &context.dir).expect("list") {
        let file = storage.open(&segment_path(Path::new(DIR), number)).expect("open");
        let bytes = file.read(0, file.len() as usize).expect("read").to_vec();
        segments.push((number, bytes, Vec::new()));
    }
    let mut sink = |record: kodiak_core::wal::WalRecord<'_>| {
        let of = segments.iter_mut().find(|(number, ..)| *number == record.segment);
        of.expect("there").2.extend(record.first_seq..=record.last_seq());
        Ok(())
    };
    replay(&context, &Options::default(), 0, RecoveryMode::Absolute, &mut sink).expect("replay");
    assert!(segments.len() >= SEGMENTS, "{} segments", segments.len());
    segments
}

/// The sequence numbers that a rescue finds in these segments; every record must be as it was written.
fn rescued(segments: &[(SegmentId, Vec<u8>)]) -> Vec<SeqNo> {
    use std::io::Write;
    let storage = Arc::new(MemoryStorage::new());
    storage.create_dir_all(Path::new(DIR)).expect("mkdir");
    for (number, bytes) in segments {
        let mut file = storage.create(&segment_path(Path::new(DIR), *number)).expect("create");
        file.write_all(bytes).expect("write");
        file.finish(false).expect("finish");
    }
    let mut found = Vec::new();
    let mut sink = |record: kodiak_core::wal::WalRecord<'_>| {
        let number = record.first_seq - 1;
        let op = record.ops().next().expect("one")?;
        assert_eq!(
            (op.key, op.value),
            (&number.to_be_bytes()[..], &[number as u8; 250][..])
        );
        found.push(record.first_seq);
        Ok(())
    };
    replay(
        &context(&storage),
        &Options::default(),
        0,
        RecoveryMode::SkipCorrupt,
        &mut sink,
    )
    .expect("replay");
    found
}

fn bytes_of(log: &[(SegmentId, Vec<u8>, Vec<SeqNo>)]) -> Vec<(SegmentId, Vec<u8>)> {
    log.iter().map(|(number, bytes, _)| (*number, bytes.clone())).collect()
}

#[test]
fn all_records_behind_a_lost_header_are_read() {
    let log = log();
    let all: Vec<SeqNo> = log.iter().flat_map(|(.., seqs)| seqs.clone()).collect();
    for lost in 0..log.len() {
        for part in [0..64, 0..8, 12..16, 16..32, 8..64] {
            let mut damaged = bytes_of(&log);
            damaged[lost].1[part.clone()].iter_mut().for_each(|byte| *byte ^= 0x5a);
            assert_eq!(rescued(&damaged), all, "bytes {part:?} of segment {lost}");
        }
    }
}

#[test]
fn a_lost_first_sector_costs_only_the_records_in_it() {
    let log = log();
    for lost in 0..log.len() {
        let mut damaged = bytes_of(&log);
        damaged[lost].1[..512].fill(0);
        let expected: Vec<SeqNo> = log
            .iter()
            .enumerate()
            .flat_map(|(index, (.., seqs))| seqs[if index == lost { 2 } else { 0 }..].to_vec())
            .collect();
        assert_eq!(rescued(&damaged), expected, "segment {lost}");
    }
}

#[test]
fn stale_records_are_not_taken_for_those_of_a_segment() {
    let log = log();
    let last = log.len() - 1;
    // The last segment's file was the first one's, and only its header was written, which is lost.
    for header in [0x00, 0x5a, 0xff] {
        let mut damaged = bytes_of(&log)[1..].to_vec();
        damaged[last - 1].1 = log[0].1.clone();
        damaged[last - 1].1[..64].fill(header);
        let expected: Vec<SeqNo> = log[1..last].iter().flat_map(|(.., seqs)| seqs.clone()).collect();
        assert_eq!(rescued(&damaged), expected);
    }
    // One in the middle, which the next one names by another id.
    let mut damaged = bytes_of(&log)[1..].to_vec();
    damaged[1].1 = log[0].1.clone();
    damaged[1].1[..64].fill(0x5a);
    let kept = |index: &usize| *index != 0 && *index != 2;
    let expected: Vec<SeqNo> = (0..log.len())
        .filter(kept)
        .flat_map(|index| log[index].2.clone())
        .collect();
    assert_eq!(rescued(&damaged), expected);
}

#[test]
fn one_record_alone_is_no_proof() {
    let log = log();
    // A single record whose value is damaged: there is a seed under which it is intact.
    let mut damaged = bytes_of(&log);
    damaged[1].1[..64].fill(0x5a);
    damaged[1].1[64 + 200] ^= 1;
    let end = 64
        + crate::format::record_size(crate::format::stored_len(
            damaged[1].1[64..].first_chunk().expect("a header"),
        ));
    damaged[1].1.truncate(end);
    let expected: Vec<SeqNo> = [0, 2, 3]
        .iter()
        .flat_map(|&index: &usize| log[index].2.clone())
        .collect();
    let found = rescued(&damaged);
    assert!(found.starts_with(&expected), "{found:?}");
}
