//! Verification and repair of damaged logs.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kodiak::core::storage::Storage;
use kodiak::maintenance::RepairReport;
use kodiak::{ErrorKind, MemoryStorage, TableSchema};

use super::common::*;

/// A closed database with a table of 2000 keys, numbered as their writes are, all of them only in the log: the names of its segments.
fn logged(storage: &Arc<MemoryStorage>) -> Vec<String> {
    let mut settings = small();
    settings.memtable.size = 1 << 20;
    let db = kodiak::Builder::new(settings)
        .storage(Arc::clone(storage) as Arc<dyn Storage>)
        .open("/db")
        .expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    for key in 1..=2000u32 {
        table.put(key.to_be_bytes(), [0; 100]).expect("put");
    }
    drop(table);
    db.close().expect("close");
    let mut segments = storage.list(Path::new("/db/wal")).expect("list");
    segments.sort();
    segments
}

/// The database does not open, and verification says so; repaired it opens, is sound and has all keys but those of the writes that are lost.
fn is_mended(storage: &Arc<MemoryStorage>, what: &str) -> RepairReport {
    let error = builder(storage).open("/db").expect_err(what);
    assert_eq!(error.kind(), ErrorKind::Corruption, "{what}: {error}");
    let found = builder(storage).verify("/db").expect("verify");
    assert!(
        found
            .problems
            .iter()
            .any(|problem| problem.to_string() == error.to_string()),
        "{what}: {found}, but not {error}"
    );
    let report = builder(storage).repair("/db").expect("repair");
    let found = builder(storage).verify("/db").expect("verify");
    assert!(found.is_clean(), "{what}: {found}");
    let left = contents(&open(storage, "/db"));
    let lost = |key: u64| report.lost_writes.iter().any(|range| range.contains(&key));
    let expected: Vec<_> = (1..=2000u32)
        .filter(|&key| !lost(key.into()))
        .map(|key| key.to_be_bytes().to_vec())
        .collect();
    let left: Vec<_> = left["t"].keys().cloned().collect();
    assert!(
        left == expected,
        "{what}: {} are left, not {}",
        left.len(),
        expected.len()
    );
    report
}

fn wal(name: &str) -> PathBuf {
    Path::new("/db/wal").join(name)
}

#[test]
fn a_log_that_lacks_its_end_is_told_and_mended() {
    type Damage = fn(&MemoryStorage, &[String]);
    let all: Damage = |storage, segments| {
        for segment in segments {
            storage.remove(&wal(segment)).expect("remove");
        }
    };
    let directory: Damage = |storage, _| storage.remove_dir_all(Path::new("/db/wal")).expect("remove");
    let last: Damage = |storage, segments| storage.remove(&wal(&segments[segments.len() - 1])).expect("remove");
    let end: Damage = |storage, segments| truncate(storage, &wal(&segments[segments.len() - 1]), 5000);
    for (what, from_the_first, damage) in [
        ("all segments", true, all),
        ("the directory", true, directory),
        ("the last segment", false, last),
        ("the end of the last segment", false, end),
    ] {
        let storage = Arc::new(MemoryStorage::new());
        let segments = logged(&storage);
        assert!(segments.len() > 2);
        damage(&storage, &segments);
        let report = is_mended(&storage, what);
        let [lost]: &[RangeInclusive<u64>; 1] = report.lost_writes.as_slice().try_into().expect("one range");
        assert!(
            *lost.end() == 2000 && (*lost.start() == 1) == from_the_first,
            "{what}: {lost:?}"
        );
        assert!(
            report
                .to_string()
                .contains(&format!("lacks the sequence numbers {} to 2000", lost.start())),
            "{report}"
        );
    }
}

#[test]
fn a_repair_of_the_log_leaves_the_settings_as_they_are() {
    let storage = Arc::new(MemoryStorage::new());
    let segments = logged(&storage);
    truncate(&*storage, &wal(&segments[segments.len() - 1]), 5000);
    let settings = || {
        let file = storage.open(Path::new("/db/SETTINGS.toml")).expect("open");
        let bytes = file.read(0, file.len() as usize).expect("read");
        String::from_utf8(bytes.to_vec()).expect("TOML")
    };
    let before = settings();
    let others = kodiak::Builder::new(kodiak::Settings::default());
    let report = others
        .storage(Arc::clone(&storage) as Arc<dyn Storage>)
        .repair("/db")
        .expect("repair");
    assert!(!report.lost_writes.is_empty(), "the log was damaged");
    assert_eq!(settings(), before);
}

#[test]
fn the_records_behind_a_damaged_header_are_read() {
    for (what, at) in [("first", 0), ("middle", 1), ("last", usize::MAX)] {
        for offset in [10, 14, 17, 25] {
            let storage = Arc::new(MemoryStorage::new());
            let segments = logged(&storage);
            let at = at.min(segments.len() - 1);
            flip(&*storage, &wal(&segments[at]), offset);
            let report = is_mended(&storage, what);
            assert!(report.lost_writes.is_empty(), "{what}: {:?}", report.lost_writes);
        }
    }
}

#[test]
fn the_writes_that_went_with_a_header_are_told() {
    for (what, at) in [("first", 0), ("middle", 1), ("last", usize::MAX)] {
        let storage = Arc::new(MemoryStorage::new());
        let segments = logged(&storage);
        let path = wal(&segments[at.min(segments.len() - 1)]);
        let len = storage.len(&path).expect("len").expect("there");
        let mut bytes = storage
            .open(&path)
            .expect("open")
            .read(0, len as usize)
            .expect("read")
            .to_vec();
        bytes[..512].fill(0);
        overwrite(&*storage, &path, &bytes);
        let report = is_mended(&storage, what);
        let [lost]: &[RangeInclusive<u64>; 1] = report.lost_writes.as_slice().try_into().expect("one range");
        assert!(lost.end() - lost.start() < 5, "{what}: {lost:?}");
        assert_eq!(*lost.start() == 1, at == 0, "{what}: {lost:?}");
    }
}
