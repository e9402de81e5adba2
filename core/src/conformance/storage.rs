//! What every [`Storage`] must do. What it must survive (crashes, modes, symbolic links) is tested where it is implemented.

pub mod log;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::buffer::Buffer;

use crate::storage::Storage;
use crate::{ErrorKind, Result};

/// Makes a storage and the path of an existing, empty directory in it.
pub type MakeStorage<'a> = &'a dyn Fn() -> (Arc<dyn Storage>, PathBuf);

/// Every check, each with a storage of its own.
///
/// # Panics
/// If one fails.
pub fn storage_suite(make: MakeStorage<'_>) {
    let checks: [fn(&dyn Storage, &Path); 17] = [
        files_are_created_once_and_read_back,
        positions_count_every_byte,
        missing_files_and_directories_are_not_found,
        reading_beyond_the_end_is_corruption,
        reads_are_aligned_and_mapping_equals_reading,
        log::a_log_starts_with_zeros_and_is_overwritten_in_place,
        log::a_log_refuses_what_lies_beyond_its_end,
        log::a_log_grows_with_zeros_and_never_shrinks,
        log::mapped_and_written_bytes_meet_in_a_log,
        log::durable_writes_meet_all_others_in_a_log,
        log::disjoint_mapped_writes_do_not_disturb_each_other,
        rename_replaces,
        a_hard_link_is_a_second_name,
        listing_is_sorted_and_complete,
        directories_are_made_with_parents_and_removed_with_contents,
        removed_files_stay_readable_while_open,
        a_lock_excludes_until_dropped,
    ];
    for check in checks {
        let (storage, dir) = make();
        check(&*storage, &dir);
    }
    let (storage, dir) = make();
    of_racing_lockers_one_wins(&storage, &dir);
    clocks_and_random_numbers_are_sane(&*storage);
}

fn put(storage: &dyn Storage, path: &Path, bytes: &[u8]) {
    let mut file = storage.create(path).expect("a new file");
    file.write_all(bytes).expect("space");
    file.finish(true).expect("space");
}

fn get(storage: &dyn Storage, path: &Path) -> Vec<u8> {
    let file = storage.open(path).expect("an existing file");
    file.read(0, file.len() as usize).expect("within the file").to_vec()
}

#[track_caller]
fn kind<T>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => {
            assert!(error.file().is_some(), "the error does not name the file: {error}");
            error.kind()
        }
    }
}

/// Bytes in which every place can be told from its neighbours.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

/// A file is created once, and read back as written, whatever its length.
pub fn files_are_created_once_and_read_back(storage: &dyn Storage, dir: &Path) {
    for len in [0, 1, 63, 4096, 300_000, 1_000_001] {
        let path = dir.join(len.to_string());
        let bytes = pattern(len);
        put(storage, &path, &bytes);
        assert_eq!(storage.len(&path).expect("looks"), Some(len as u64));
        assert!(get(storage, &path) == bytes, "{len} bytes differ");
        assert_eq!(kind(storage.create(&path)), ErrorKind::AlreadyExists);
        assert_eq!(kind(storage.create_log(&path, 10)), ErrorKind::AlreadyExists);
        assert!(get(storage, &path) == bytes, "a refused create changed the file");
    }
}

/// The position of a file being written is the number of bytes given to it, buffered or not.
pub fn positions_count_every_byte(storage: &dyn Storage, dir: &Path) {
    let path = dir.join("file");
    let mut file = storage.create(&path).expect("new");
    let mut expected = Vec::new();
    for round in 0..300usize {
        let bytes = pattern(round * 37 % 5000);
        file.write_all(&bytes).expect("space");
        expected.extend_from_slice(&bytes);
        assert_eq!(file.position(), expected.len() as u64);
        if round % 100 == 50 {
            file.sync().expect("syncs");
            assert_eq!(file.position(), expected.len() as u64);
            assert!(get(storage, &path) == expected, "synced bytes cannot be read");
        }
    }
    let large = pattern(3_000_000);
    file.write_all(&large).expect("space");
    expected.extend_from_slice(&large);
    assert_eq!(file.position(), expected.len() as u64);
    file.finish(false).expect("space");
    assert!(get(storage, &path) == expected, "the bytes differ");
}

/// What does not exist is `NotFound`, or `None` where that is the answer.
pub fn missing_files_and_directories_are_not_found(storage: &dyn Storage, dir: &Path) {
    let missing = dir.join("missing");
    assert_eq!(kind(storage.open(&missing)), ErrorKind::NotFound);
    assert_eq!(kind(storage.open_log(&missing)), ErrorKind::NotFound);
    assert_eq!(kind(storage.remove(&missing)), ErrorKind::NotFound);
    assert_eq!(kind(storage.rename(&missing, &dir.join("other"))), ErrorKind::NotFound);
    assert_eq!(
        kind(storage.hard_link(&missing, &dir.join("other"))),
        ErrorKind::NotFound
    );
    assert_eq!(kind(storage.list(&missing)), ErrorKind::NotFound);
    assert_eq!(kind(storage.sync_dir(&missing)), ErrorKind::NotFound);
    assert_eq!(storage.len(&missing).expect("looks"), None);
    storage.remove_dir_all(&missing).expect("a missing directory is fine");
    let nested = missing.join("file");
    assert_eq!(kind(storage.create(&nested)), ErrorKind::NotFound);
    assert_eq!(kind(storage.create_log(&nested, 10)), ErrorKind::NotFound);
    assert_eq!(kind(storage.lock(&nested)), ErrorKind::NotFound);
    assert!(
        storage.list(dir).expect("lists").is_empty(),
        "a failed call left something behind"
    );
}

/// A read past the end is `Corruption` that names file and offset, and allocates nothing first.
pub fn reading_beyond_the_end_is_corruption(storage: &dyn Storage, dir: &Path) {
    let path = dir.join("file");
    put(storage, &path, &pattern(1000));
    let file = storage.open(&path).expect("opens");
    assert_eq!(file.len(), 1000);
    assert!(!file.is_empty());
    assert_eq!(file.read(1000, 0).expect("nothing, at the end").len(), 0);
    for (offset, len) in [
        (0, 1001),
        (999, 2),
        (1000, 1),
        (5000, 1),
        (0, 1 << 60),
        (u64::MAX, 1),
        (u64::MAX, 1 << 60),
    ] {
        let error = file.read(offset, len).expect_err("beyond the end");
        assert_eq!(error.kind(), ErrorKind::Corruption);
        assert_eq!(error.file(), Some(&*path));
        assert_eq!(error.offset(), Some(offset));
    }
}

/// Reads are aligned to 64 bytes wherever they start; a mapping holds the same bytes and starts on a page.
pub fn reads_are_aligned_and_mapping_equals_reading(storage: &dyn Storage, dir: &Path) {
    for len in [0usize, 1, 4095, 4096, 70_000] {
        let path = dir.join(len.to_string());
        let bytes = pattern(len);
        put(storage, &path, &bytes);
        let file = storage.open(&path).expect("opens");
        for offset in [0, 1, 63, 64, 65, 4095] {
            for count in [0, 1, 100, 5000] {
                if offset + count <= len {
                    let read = file.read(offset as u64, count).expect("within the file");
                    assert!(count == 0 || aligned(&read, 64), "not aligned at {offset}");
                    assert_eq!(&*read, &bytes[offset..offset + count]);
                }
            }
        }
        if let Some(map) = file.map().expect("maps") {
            assert!(*map == *bytes, "the mapping of {len} bytes differs");
            assert!(len == 0 || aligned(&map, 4096));
        }
    }
}

fn aligned(buffer: &Buffer, to: usize) -> bool {
    (buffer.as_ptr() as usize).is_multiple_of(to)
}

/// A rename takes the old name away and replaces what had the new one; readers of either go on.
pub fn rename_replaces(storage: &dyn Storage, dir: &Path) {
    let (one, two) = (dir.join("one"), dir.join("two"));
    put(storage, &one, b"first");
    put(storage, &two, b"second");
    let old = storage.open(&two).expect("opens");
    storage.rename(&one, &two).expect("renames");
    assert_eq!(storage.len(&one).expect("looks"), None);
    assert_eq!(get(storage, &two), b"first");
    assert_eq!(&*old.read(0, 6).expect("reads"), b"second");
    storage.rename(&two, &two).expect("onto itself changes nothing");
    assert_eq!(get(storage, &two), b"first");
    let other = dir.join("dir");
    storage.create_dir_all(&other).expect("creates");
    storage
        .rename(&two, &other.join("three"))
        .expect("into another directory");
    assert_eq!(get(storage, &other.join("three")), b"first");
    assert_eq!(storage.list(dir).expect("lists"), ["dir"]);
}

/// Both names reach the file, and either may go.
pub fn a_hard_link_is_a_second_name(storage: &dyn Storage, dir: &Path) {
    let (one, two) = (dir.join("one"), dir.join("two"));
    put(storage, &one, b"bytes");
    storage.hard_link(&one, &two).expect("links");
    assert_eq!(kind(storage.hard_link(&one, &two)), ErrorKind::AlreadyExists);
    storage.remove(&one).expect("removes");
    assert_eq!(get(storage, &two), b"bytes");
    assert_eq!(storage.list(dir).expect("lists"), ["two"]);
}

/// Files and directories alike are listed, by name, sorted, and only those directly inside.
pub fn listing_is_sorted_and_complete(storage: &dyn Storage, dir: &Path) {
    assert!(storage.list(dir).expect("lists").is_empty());
    for name in ["b", "a-file", "000010", "000009", "Z", "a"] {
        put(storage, &dir.join(name), b"");
    }
    storage.create_dir_all(&dir.join("a.dir/inner")).expect("creates");
    put(storage, &dir.join("a.dir/file"), b"");
    assert_eq!(
        storage.list(dir).expect("lists"),
        ["000009", "000010", "Z", "a", "a-file", "a.dir", "b"]
    );
    assert_eq!(storage.list(&dir.join("a.dir")).expect("lists"), ["file", "inner"]);
    storage.sync_dir(dir).expect("syncs");
}

/// Missing parents are made, existing directories are fine, files in the way are not; removal takes all.
pub fn directories_are_made_with_parents_and_removed_with_contents(storage: &dyn Storage, dir: &Path) {
    let deep = dir.join("x/y/z");
    storage.create_dir_all(&deep).expect("creates");
    storage.create_dir_all(&deep).expect("exists");
    put(storage, &deep.join("file"), b"1");
    put(storage, &dir.join("x-file"), b"2");
    storage
        .create_dir_all(&deep.join("file"))
        .expect_err("a file is in the way");
    storage
        .create_dir_all(&deep.join("file/below"))
        .expect_err("a file is in the way");
    assert_eq!(storage.len(&deep).expect("looks"), None, "a directory has no length");
    storage.open(&deep).expect_err("a directory is not a file");
    storage.remove(&deep).expect_err("a directory is not a file");
    storage
        .list(&dir.join("x-file"))
        .expect_err("a file is not a directory");
    storage
        .remove_dir_all(&dir.join("x-file"))
        .expect_err("a file is not a directory");
    storage.remove_dir_all(&dir.join("x")).expect("removes");
    assert_eq!(storage.list(dir).expect("lists"), ["x-file"]);
}

/// Readers, mappings and logs outlive the name of their file.
pub fn removed_files_stay_readable_while_open(storage: &dyn Storage, dir: &Path) {
    let (path, log_path) = (dir.join("file"), dir.join("log"));
    let bytes = pattern(10_000);
    put(storage, &path, &bytes);
    let file = storage.open(&path).expect("opens");
    let map = file.map().expect("maps");
    let log = storage.create_log(&log_path, 100).expect("space");
    storage.remove(&path).expect("removes");
    storage.remove(&log_path).expect("removes");
    put(storage, &path, b"another file of the same name");
    assert_eq!(&*file.read(5000, 5000).expect("reads"), &bytes[5000..]);
    log.write_at(0, b"still there").expect("writes");
    assert_eq!(&log::log_bytes(&*log)[..11], b"still there");
    drop(file);
    assert!(map.is_none_or(|map| *map == *bytes), "the mapping has changed");
}

/// The second to ask gets `Locked`, until the first has dropped its lock.
pub fn a_lock_excludes_until_dropped(storage: &dyn Storage, dir: &Path) {
    let path = dir.join("LOCK");
    let held = storage.lock(&path).expect("free");
    assert_eq!(kind(storage.lock(&path)), ErrorKind::Locked);
    assert_eq!(kind(storage.lock(&path)), ErrorKind::Locked);
    drop(storage.lock(&dir.join("OTHER")).expect("another file is another lock"));
    drop(held);
    drop(storage.lock(&path).expect("free again"));
    assert_eq!(storage.list(dir).expect("lists"), ["LOCK", "OTHER"]);
}

/// Of threads that race for a lock, exactly one holds it at a time, and one of each round wins; 1000 races.
pub fn of_racing_lockers_one_wins(storage: &Arc<dyn Storage>, dir: &Path) {
    const THREADS: usize = 4;
    const RACES: usize = 1000;
    let start = std::sync::Barrier::new(THREADS);
    let winners: Vec<AtomicU32> = (0..RACES).map(|_| AtomicU32::new(0)).collect();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for (race, winners) in winners.iter().enumerate() {
                    // A file of its own for each of some races, so that creating it is raced for as well.
                    let path = dir.join(format!("LOCK{}", race % 50));
                    start.wait();
                    let lock = storage.lock(&path);
                    match &lock {
                        Ok(_) => {
                            winners.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Locked, "{error}"),
                    }
                    // All have tried before the winner lets go.
                    start.wait();
                    drop(lock);
                }
            });
        }
    });
    for (race, winners) in winners.iter().enumerate() {
        assert_eq!(winners.load(Ordering::Relaxed), 1, "winners of race {race}");
    }
}

/// The monotonic clock never goes back, and random numbers differ.
pub fn clocks_and_random_numbers_are_sane(storage: &dyn Storage) {
    let mut last = storage.monotonic_nanos();
    for _ in 0..1000 {
        let now = storage.monotonic_nanos();
        assert!(now >= last, "the monotonic clock went back");
        last = now;
    }
    assert!(
        storage.now_micros() > 1_500_000_000_000_000,
        "the clock shows a time before 2017"
    );
    let mut numbers: Vec<u64> = (0..1000).map(|_| storage.random()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 1000, "random numbers repeat");
}
