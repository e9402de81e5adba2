//! What every log file of a storage must pass.

use std::path::Path;

use super::{get, kind, pattern};
use crate::ErrorKind;
use crate::storage::{LOG_BLOCK, LogFile, Storage};

pub(super) fn log_bytes(log: &dyn LogFile) -> Vec<u8> {
    let mut bytes = vec![0xEE; log.len() as usize];
    assert_eq!(log.read_at(0, &mut bytes).expect("reads"), bytes.len());
    bytes
}

/// A log is born full of zeros, keeps its length, and takes writes anywhere, in any order, through any handle.
pub fn a_log_starts_with_zeros_and_is_overwritten_in_place(storage: &dyn Storage, dir: &Path) {
    let path = dir.join("log");
    let len = 300_001;
    let log = storage.create_log(&path, len).expect("space");
    assert_eq!(log.len(), len);
    assert!(log_bytes(&*log).iter().all(|&byte| byte == 0));
    let mut expected = vec![0; len as usize];
    let second = storage.open_log(&path).expect("opens");
    for (round, offset) in [250_000usize, 0, 4090, 100, 299_990, 4095].into_iter().enumerate() {
        let bytes = pattern(if offset > 299_000 { 11 } else { 1000 + round });
        let handle = if round % 2 == 0 { &log } else { &second };
        handle.write_at(offset as u64, &bytes).expect("within the log");
        expected[offset..offset + bytes.len()].copy_from_slice(&bytes);
        handle.sync_data().expect("syncs");
    }
    assert!(
        log_bytes(&*log) == expected && log_bytes(&*second) == expected,
        "the log differs"
    );
    assert_eq!(storage.len(&path).expect("looks"), Some(len));
    let mut out = [0; 100];
    assert_eq!(log.read_at(len - 30, &mut out).expect("reads"), 30);
    assert_eq!(log.read_at(len, &mut out).expect("reads"), 0);
    assert_eq!(log.read_at(u64::MAX, &mut out).expect("reads"), 0);
    drop((log, second));
    assert!(get(storage, &path) == expected, "the log read as a file differs");
    let reopened = storage.open_log(&path).expect("opens");
    assert!(log_bytes(&*reopened) == expected, "the log reopened differs");
    let empty = storage
        .create_log(&dir.join("empty"), 0)
        .expect("an empty log is possible");
    assert!(empty.is_empty());
}

/// A write that does not fit is `InvalidInput`, and changes nothing.
pub fn a_log_refuses_what_lies_beyond_its_end(storage: &dyn Storage, dir: &Path) {
    let log = storage.create_log(&dir.join("log"), 100).expect("space");
    for (offset, len) in [(0, 101), (100, 1), (99, 2), (u64::MAX, 1)] {
        assert_eq!(kind(log.write_at(offset, &vec![1; len])), ErrorKind::InvalidInput);
    }
    log.write_at(100, &[]).expect("nothing fits at the end");
    assert!(log_bytes(&*log).iter().all(|&byte| byte == 0));
}

/// Durable writes, of whole blocks and of anything else, are seen through every handle and mapping, and see what those wrote.
pub fn durable_writes_meet_all_others_in_a_log(storage: &dyn Storage, dir: &Path) {
    let block = LOG_BLOCK as u64;
    let log = storage.create_log(&dir.join("log"), 8 * block).expect("space");
    let second = storage.open_log(&dir.join("log")).expect("opens");
    let mapping = log.map().expect("maps, or says that it cannot");
    log.sync_data().expect("syncs");
    let memory: Vec<u8> = (0..4 * LOG_BLOCK).map(|at| (at / 7) as u8).collect();
    let skip = memory.as_ptr().align_offset(LOG_BLOCK).min(LOG_BLOCK);
    let aligned = &memory[skip..skip + 2 * LOG_BLOCK];
    let mut expected = vec![0; 8 * LOG_BLOCK];
    let writes = [
        (block, aligned),
        (2 * block, &aligned[..LOG_BLOCK]),
        (3 * block, &aligned[1..=LOG_BLOCK]),
        (block + 5, aligned),
        (6 * block, aligned),
        (block, aligned),
        (8 * block, &aligned[..0]),
    ];
    for (round, (offset, bytes)) in writes.into_iter().enumerate() {
        let handle = if round % 2 == 0 { &log } else { &second };
        handle.write_durably(offset, bytes).expect("within the log");
        expected[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        let other = 100 + round * 3000;
        match &mapping {
            Some(mapping) => mapping.write(other, &[0xAB; 50]),
            None => log.write_at(other as u64, &[0xAB; 50]).expect("within the log"),
        }
        expected[other..other + 50].fill(0xAB);
        assert!(
            log_bytes(&*log) == expected && log_bytes(&*second) == expected,
            "the log differs after durable write {round}"
        );
    }
    for (offset, len) in [(7 * block, 2 * LOG_BLOCK), (u64::MAX - block + 1, LOG_BLOCK)] {
        assert_eq!(
            kind(log.write_durably(offset, &aligned[..len])),
            ErrorKind::InvalidInput
        );
    }
}

/// A log that is made longer keeps its bytes, through every handle; asking for less changes nothing.
pub fn a_log_grows_with_zeros_and_never_shrinks(storage: &dyn Storage, dir: &Path) {
    let path = dir.join("log");
    let log = storage.create_log(&path, 5000).expect("space");
    let second = storage.open_log(&path).expect("opens");
    log.write_at(4990, &[7; 10]).expect("within the log");
    for (asked, len) in [(100, 5000), (5000, 5000), (100_000, 100_000), (6000, 100_000)] {
        log.grow(asked).expect("space");
        assert_eq!(log.len(), len);
        assert_eq!(storage.len(&path).expect("looks"), Some(len));
    }
    second.grow(100_000).expect("it is as long already");
    second.write_at(99_990, &[9; 10]).expect("within the log by now");
    let mut expected = vec![0; 100_000];
    expected[4990..5000].fill(7);
    expected[99_990..].fill(9);
    assert!(log_bytes(&*log) == expected, "the grown log differs");
    log.sync_data().expect("syncs");
    drop((log, second));
    assert!(get(storage, &path) == expected, "the grown log read as a file differs");
}

/// What goes through a mapping and what goes through `write_at` are seen together.
pub fn mapped_and_written_bytes_meet_in_a_log(storage: &dyn Storage, dir: &Path) {
    let path = dir.join("log");
    let len = 100_000;
    let log = storage.create_log(&path, len as u64).expect("space");
    let Some(map) = log.map().expect("maps") else { return };
    let mut expected = vec![0; len];
    let mut offset = 3;
    for count in (0..200).chain([4096, 10_000]) {
        let bytes = pattern(count);
        if count % 3 == 0 {
            log.write_at(offset as u64, &bytes).expect("within the log");
        } else {
            map.write(offset, &bytes);
        }
        expected[offset..offset + count].copy_from_slice(&bytes);
        offset += count + count % 5;
    }
    log.sync_data().expect("syncs");
    assert!(log_bytes(&*log) == expected, "the log differs");
    let beyond = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| map.write(len - 1, &[1, 2])));
    assert!(beyond.is_err(), "a write beyond the end went through");
    let overflow = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| map.write(usize::MAX, &[1, 2])));
    assert!(overflow.is_err(), "a write beyond the end went through");
    drop(log);
    map.write(0, b"abc");
    expected[..3].copy_from_slice(b"abc");
    drop(map);
    assert!(
        get(storage, &path) == expected,
        "what the mapping wrote last is missing"
    );
}

/// Four threads write neighbouring ranges of odd lengths through one mapping, and every byte arrives.
pub fn disjoint_mapped_writes_do_not_disturb_each_other(storage: &dyn Storage, dir: &Path) {
    const THREADS: usize = 4;
    const RECORD: usize = 37;
    const RECORDS: usize = 2000;
    let log = storage
        .create_log(&dir.join("log"), (RECORD * RECORDS) as u64)
        .expect("space");
    let Some(map) = log.map().expect("maps") else { return };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let map = &map;
            scope.spawn(move || {
                for record in (thread..RECORDS).step_by(THREADS) {
                    map.write(record * RECORD, &[(record % 251) as u8 + 1; RECORD]);
                }
            });
        }
    });
    for (record, bytes) in log_bytes(&*log).chunks(RECORD).enumerate() {
        assert!(
            bytes.iter().all(|&byte| byte == (record % 251) as u8 + 1),
            "record {record} is damaged"
        );
    }
}
