//! What an open log holds of the system's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kodiak_core::conformance::wal::{batch, context, open};
use kodiak_core::storage::Storage;
use kodiak_core::wal::{SyncMode, WalContext};
use kodiak_storage::{LocalStorage, MemoryStorage};

/// How often files of `dir` are mapped, and how many are open. Nothing where there is no `/proc`.
fn held(dir: &Path) -> Option<(usize, usize)> {
    let name = dir.to_str().expect("a plain name");
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let files = std::fs::read_dir("/proc/self/fd").ok()?;
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let open = targets.filter(|target: &PathBuf| target.starts_with(name)).count();
    Some((maps.lines().filter(|line| line.contains(name)).count(), open))
}

#[test]
fn a_log_that_is_never_synced_lets_go_of_segments_that_were_released() {
    for factory in kodiak_wal::ALL {
        let dir = tempfile::tempdir().expect("a directory");
        let storage: Arc<dyn Storage> = Arc::new(LocalStorage);
        let context = WalContext {
            segment_bytes: 4096,
            ..context(&storage, dir.path())
        };
        let wal = open(factory, &context, 1);
        for number in 0..300 {
            let batch = batch(number, 1, 500);
            wal.append(&batch, number, SyncMode::Normal).expect("appends");
            if number % 20 == 19 {
                let active = wal.rotate().expect("rotates");
                wal.release(active).expect("releases");
            }
        }
        // The active segment, the one before it, and the one that is being prepared.
        if let Some((maps, files)) = held(dir.path()) {
            let name = factory.component.name;
            assert!(maps <= 3 && files <= 3, "{name}: {maps} mappings, {files} open files");
        }
    }
}

#[test]
fn of_segments_that_wait_for_a_sync_only_the_files_are_held() {
    let dir = tempfile::tempdir().expect("a directory");
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage);
    let context = WalContext {
        segment_bytes: 4096,
        ..context(&storage, dir.path())
    };
    let mapped = kodiak_wal::ALL
        .iter()
        .find(|factory| factory.component.name == "mapped");
    let wal = open(mapped.expect("built in"), &context, 1);
    let write = || {
        for number in 0..300 {
            let batch = batch(number, 1, 500);
            wal.append(&batch, number, SyncMode::Normal).expect("appends");
        }
    };
    write();
    let Some((maps, files)) = held(dir.path()) else { return };
    assert!(maps <= 3 && files > 20, "{maps} mappings, {files} open files");
    wal.sync().expect("syncs");
    let (_, files) = held(dir.path()).expect("as before");
    assert!(files <= 3, "{files} open files after a sync");
}

#[test]
fn a_closed_log_takes_no_more_space_than_its_records() {
    for factory in kodiak_wal::ALL {
        let dir = tempfile::tempdir().expect("a directory");
        let storage: Arc<dyn Storage> = Arc::new(LocalStorage);
        let context = WalContext {
            segment_bytes: 4096,
            ..context(&storage, dir.path())
        };
        let wal = open(factory, &context, 1);
        for number in 0..100 {
            wal.append(&batch(number, 1, 500), number, SyncMode::Normal)
                .expect("appends");
        }
        let active = wal.rotate().expect("rotates");
        wal.release(active).expect("releases");
        drop(wal);
        let names = storage.list(&context.dir).unwrap_or_default();
        let bytes = names
            .iter()
            .map(|name| storage.len(&context.dir.join(name)).expect("looks").unwrap_or_default());
        let bytes: u64 = bytes.sum();
        assert!(
            names.len() <= 1 && bytes < 200,
            "{}: {names:?}, {bytes} bytes",
            factory.component.name
        );
    }
}

#[test]
fn released_segments_are_kept_for_reuse_within_bounds() {
    // The segments' bytes are zeros that nobody touches.
    for (segment_bytes, most) in [(64 << 20, 2), (24 << 20, 5)] {
        for factory in kodiak_wal::ALL.iter().filter(|factory| factory.capabilities.durable) {
            let dir = Path::new("/db/wal");
            let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
            let context = WalContext {
                segment_bytes,
                ..context(&storage, dir)
            };
            let wal = open(factory, &context, 1);
            let spares = || {
                let names = storage.list(dir).expect("lists");
                names.iter().filter(|name| name.ends_with(".spare")).count()
            };
            for _ in 0..most + 2 {
                wal.rotate().expect("rotates");
            }
            assert_eq!(spares(), 0);
            wal.release(wal.active_segment()).expect("releases");
            assert_eq!(spares(), most, "{} with {segment_bytes} bytes", factory.component.name);
            wal.rotate().expect("rotates");
            assert_eq!(spares(), most - 1, "{} takes one", factory.component.name);
        }
    }
}

/// How many threads keep processors awake; nothing where there is no `/proc`, or where a quota of processor time rules them out.
fn awake() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:"))?;
    let processors: u32 = allowed
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(u32::count_ones)
        .sum();
    if std::thread::available_parallelism().ok()?.get() < processors as usize {
        return None;
    }
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    Some(names.filter(|name| name.trim_end() == "kodiak-awake").count())
}

#[test]
fn only_commits_that_wait_for_the_disk_keep_a_processor_awake() {
    for factory in kodiak_wal::ALL.iter().filter(|factory| factory.capabilities.durable) {
        for (keep_awake, mode, expected) in [
            (true, SyncMode::Full, 1),
            (true, SyncMode::Normal, 0),
            (false, SyncMode::Full, 0),
        ] {
            let dir = tempfile::tempdir().expect("a directory");
            let storage: Arc<dyn Storage> = Arc::new(LocalStorage);
            let context = WalContext {
                keep_awake,
                ..context(&storage, dir.path())
            };
            let wal = open(factory, &context, 1);
            for number in 0..40 {
                wal.append(&batch(number, 1, 100), number, mode).expect("appends");
            }
            if awake().is_none() {
                eprintln!("skipped: no /proc, or a quota of processor time");
                return;
            }
            // A thread gives itself its name once it runs, and is listed for a moment after its end.
            let comes_to = |expected| {
                (0..500).any(|_| {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                    awake() == Some(expected)
                })
            };
            let name = factory.component.name;
            assert!(
                comes_to(expected),
                "{name}, {mode:?}, {keep_awake}: {:?} threads",
                awake()
            );
            drop(wal);
            assert!(comes_to(0), "{name}: it ends with its log");
        }
    }
}
