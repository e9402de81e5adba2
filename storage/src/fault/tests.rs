use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use kodiak_core::ErrorKind;

use super::*;

const SYNCED: CrashOptions = CrashOptions::SYNCED_ONLY;

fn storage() -> FaultStorage {
    let storage = FaultStorage::with_seed(1);
    storage.create_dir_all(Path::new("/db")).expect("healthy");
    storage
}

fn put(storage: &FaultStorage, path: &str, bytes: &[u8], sync: bool) {
    let mut file = storage.create(Path::new(path)).expect("healthy");
    file.write_all(bytes).expect("healthy");
    file.finish(sync).expect("healthy");
}

fn get(storage: &FaultStorage, path: &str) -> Option<Vec<u8>> {
    let file = storage.open(Path::new(path)).ok()?;
    Some(file.read(0, file.len() as usize).expect("healthy").to_vec())
}

fn everything() -> CrashOptions {
    CrashOptions::new(100, BlockSize::Page, 3)
}

#[test]
fn no_image_of_an_image_has_random_numbers_that_one_before_it_had() {
    let mut storage = FaultStorage::with_seed(1);
    let mut drawn = std::collections::BTreeSet::new();
    for round in 0..20 {
        assert!(
            (0..4).all(|_| drawn.insert(storage.random())),
            "in round {round}, after as many operations as before"
        );
        storage = match round % 2 {
            0 => storage.kill_image(),
            _ => storage.crash_image(&CrashOptions::default()),
        };
    }
}

#[test]
fn it_passes_the_conformance_suite() {
    kodiak_core::conformance::storage::storage_suite(&|| (Arc::new(storage()), PathBuf::from("/db")));
}

#[test]
fn a_file_survives_once_bytes_and_entry_are_synced() {
    for (bytes, entry) in [(false, false), (false, true), (true, false), (true, true)] {
        let storage = storage();
        put(&storage, "/db/f", &[7; 5000], bytes);
        if entry {
            storage.sync_dir(Path::new("/db")).expect("healthy");
        }
        let left = get(&storage.crash_image(&SYNCED), "/db/f");
        let expected = entry.then(|| if bytes { vec![7; 5000] } else { Vec::new() });
        assert_eq!(left, expected, "bytes {bytes}, entry {entry}");
        assert_eq!(storage.is_durable(Path::new("/db/f")), bytes && entry);
        assert_eq!(storage.data_is_durable(Path::new("/db/f")), bytes);
        assert_eq!(storage.entry_is_durable(Path::new("/db/f")), entry);
        assert_eq!(get(&storage.crash_image(&everything()), "/db/f"), Some(vec![7; 5000]));
        assert_eq!(get(&storage.kill_image(), "/db/f"), Some(vec![7; 5000]));
    }
}

#[test]
fn a_killed_process_loses_only_its_buffers() {
    let storage = storage();
    let mut file = storage.create(Path::new("/db/f")).expect("healthy");
    file.write_all(b"handed over").expect("healthy");
    file.flush().expect("healthy");
    file.write_all(b"buffered").expect("healthy");
    let killed = storage.kill_image();
    assert_eq!(get(&killed, "/db/f").expect("exists"), b"handed over");
    assert_eq!(
        get(&killed.crash_image(&SYNCED), "/db/f"),
        None,
        "a kill must not make anything durable"
    );
    let _lock = storage.lock(Path::new("/db/LOCK")).expect("free");
    drop(
        storage
            .kill_image()
            .lock(Path::new("/db/LOCK"))
            .expect("the holder is dead"),
    );
}

#[test]
fn unsynced_blocks_survive_one_by_one_over_the_old_bytes() {
    let storage = storage();
    let log = storage.create_log(Path::new("/db/log"), 64 * 4096).expect("healthy");
    let map = log.map().expect("healthy").expect("maps");
    map.write(0, &vec![1; 64 * 4096]);
    log.sync_data().expect("healthy");
    storage.sync_dir(Path::new("/db")).expect("healthy");
    map.write(100, &vec![2; 60 * 4096]);
    for (block, unit) in [(BlockSize::Page, 4096), (BlockSize::Sector, 512)] {
        let mut mixed = 0;
        for seed in 0..20 {
            let image = storage.crash_image(&CrashOptions::new(50, block, seed));
            let bytes = get(&image, "/db/log").expect("its entry is synced");
            assert!(
                bytes[..100].iter().all(|&byte| byte == 1) && bytes[60 * 4096 + 100..].iter().all(|&byte| byte == 1)
            );
            let blocks: Vec<u8> = bytes[4096..60 * 4096].chunks(unit).map(|block| block[0]).collect();
            for (block, first) in bytes[4096..60 * 4096].chunks(unit).zip(&blocks) {
                assert!(block.iter().all(|byte| byte == first), "a block was torn");
            }
            mixed += usize::from(blocks.contains(&1) && blocks.contains(&2));
            assert_eq!(
                Some(bytes),
                get(&storage.crash_image(&CrashOptions::new(50, block, seed)), "/db/log")
            );
        }
        assert_eq!(mixed, 20, "survival is not per block");
    }
    let sector = get(
        &storage.crash_image(&CrashOptions::new(50, BlockSize::Sector, 1)),
        "/db/log",
    )
    .expect("exists");
    let torn = sector[4096..60 * 4096]
        .chunks(4096)
        .filter(|page| page.iter().any(|&byte| byte != page[0]))
        .count();
    assert!(torn > 40, "only {torn} pages are torn at sector size");
}

#[test]
fn growth_may_be_lost_and_holes_are_zero() {
    let storage = storage();
    let mut file = storage.create(Path::new("/db/f")).expect("healthy");
    file.write_all(&[1; 10_000]).expect("healthy");
    file.sync().expect("healthy");
    storage.sync_dir(Path::new("/db")).expect("healthy");
    file.write_all(&[2; 40_000]).expect("healthy");
    file.finish(false).expect("healthy");
    let (mut short, mut full, mut between, mut holes) = (0, 0, 0, 0);
    for seed in 0..200 {
        let bytes = get(
            &storage.crash_image(&CrashOptions::new(50, BlockSize::Sector, seed)),
            "/db/f",
        )
        .expect("exists");
        assert!(
            bytes.len() >= 10_000 && bytes[..10_000].iter().all(|&byte| byte == 1),
            "synced bytes are lost"
        );
        assert!(bytes[10_000..].iter().all(|&byte| byte == 2 || byte == 0));
        match bytes.len() {
            10_000 => short += 1,
            50_000 => full += 1,
            _ => between += 1,
        }
        holes += usize::from(bytes[10_000..].contains(&0));
    }
    assert!(
        short > 20 && full > 50 && between > 20 && holes > 100,
        "{short} {full} {between} {holes}"
    );
}

#[test]
fn an_unsynced_rename_leaves_the_old_or_the_new_file() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..100 {
        let storage = storage();
        put(&storage, "/db/CURRENT", b"old", true);
        put(&storage, "/db/temp", b"new", true);
        storage.sync_dir(Path::new("/db")).expect("healthy");
        storage
            .rename(Path::new("/db/temp"), Path::new("/db/CURRENT"))
            .expect("healthy");
        assert!(!storage.is_durable(Path::new("/db/CURRENT")));
        let image = storage.crash_image(&CrashOptions::new(50, BlockSize::Page, seed));
        match get(&image, "/db/CURRENT").as_deref() {
            Some(b"old") => {
                old += 1;
                assert_eq!(get(&image, "/db/temp").as_deref(), Some(&b"new"[..]));
            }
            Some(b"new") => {
                new += 1;
                assert_eq!(get(&image, "/db/temp"), None);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(old > 20 && new > 20, "{old} {new}");
}

#[test]
fn unsynced_removals_come_back_and_links_stay_one_file() {
    let storage = storage();
    put(&storage, "/db/f", b"1", true);
    storage
        .hard_link(Path::new("/db/f"), Path::new("/db/g"))
        .expect("healthy");
    storage.sync_dir(Path::new("/db")).expect("healthy");
    storage.remove(Path::new("/db/f")).expect("healthy");
    let image = storage.crash_image(&SYNCED);
    assert_eq!(get(&image, "/db/f").as_deref(), Some(&b"1"[..]));
    image
        .open_log(Path::new("/db/f"))
        .expect("exists")
        .write_at(0, b"2")
        .expect("healthy");
    assert_eq!(get(&image, "/db/g").as_deref(), Some(&b"2"[..]));
    assert_eq!(
        get(&storage, "/db/g").as_deref(),
        Some(&b"1"[..]),
        "an image must not touch its origin"
    );
    storage.sync_dir(Path::new("/db")).expect("healthy");
    assert_eq!(get(&storage.crash_image(&SYNCED), "/db/f"), None);
    storage.remove_dir_all(Path::new("/db")).expect("healthy");
    assert_eq!(get(&storage.crash_image(&SYNCED), "/db/g").as_deref(), Some(&b"1"[..]));
    assert_eq!(
        storage.crash_image(&everything()).list(Path::new("/")).expect("root"),
        Vec::<String>::new()
    );
}

#[test]
fn a_failed_sync_drops_the_bytes_though_a_second_reports_success() {
    let storage = storage();
    let log = storage.create_log(Path::new("/db/log"), 8192).expect("healthy");
    log.sync_data().expect("healthy");
    storage.sync_dir(Path::new("/db")).expect("healthy");
    log.write_at(0, &[1; 600]).expect("healthy");
    storage.set_plan(FaultRule::nth(OpKind::Sync, 1, Fault::Eio));
    assert_eq!(log.sync_data().expect_err("planned").kind(), ErrorKind::Io);
    assert_eq!(storage.faults_fired(), 1);
    log.sync_data().expect("the second lies");
    assert_eq!(
        get(&storage, "/db/log").expect("exists")[..600],
        [1; 600],
        "still readable"
    );
    assert!(!storage.is_durable(Path::new("/db/log")));
    for options in [SYNCED, everything()] {
        assert_eq!(
            get(&storage.crash_image(&options), "/db/log").expect("exists"),
            vec![0; 8192]
        );
    }
    // Written again, it can be saved again; its neighbours in the page stay lost.
    log.write_at(0, &[2; 512]).expect("healthy");
    log.sync_data().expect("healthy");
    let left = get(&storage.crash_image(&SYNCED), "/db/log").expect("exists");
    assert_eq!((left[511], left[512]), (2, 0));
}

#[test]
fn a_failed_directory_sync_loses_the_entries() {
    let storage = storage();
    put(&storage, "/db/f", b"1", true);
    storage.set_plan(FaultRule::nth(OpKind::SyncDir, 1, Fault::Eio));
    storage.sync_dir(Path::new("/db")).expect_err("planned");
    storage.sync_dir(Path::new("/db")).expect("the second lies");
    assert_eq!(get(&storage.crash_image(&everything()), "/db/f"), None);
    assert!(!storage.entry_is_durable(Path::new("/db/f")));
}

#[test]
fn each_kind_of_operation_fails_when_planned() {
    type Act = fn(&FaultStorage) -> Result<()>;
    let acts: [(OpKind, Act); 18] = [
        (OpKind::Create, |s| s.create(Path::new("/db/new")).map(drop)),
        (OpKind::Open, |s| s.open(Path::new("/db/f")).map(drop)),
        (OpKind::Open, |s| s.open_log(Path::new("/db/f")).map(drop)),
        (OpKind::Read, |s| s.open(Path::new("/db/f"))?.read(0, 5).map(drop)),
        (OpKind::Write, |s| s.open_log(Path::new("/db/f"))?.write_at(0, b"12345")),
        (OpKind::Sync, |s| s.open_log(Path::new("/db/f"))?.sync_data()),
        (OpKind::SyncDir, |s| s.sync_dir(Path::new("/db"))),
        (OpKind::Rename, |s| s.rename(Path::new("/db/f"), Path::new("/db/g"))),
        (OpKind::Remove, |s| s.remove(Path::new("/db/f"))),
        (OpKind::Link, |s| s.hard_link(Path::new("/db/f"), Path::new("/db/g"))),
        (OpKind::List, |s| s.list(Path::new("/db")).map(drop)),
        (OpKind::Len, |s| s.len(Path::new("/db/f")).map(drop)),
        (OpKind::Lock, |s| s.lock(Path::new("/db/LOCK")).map(drop)),
        (OpKind::CreateLog, |s| s.create_log(Path::new("/db/log"), 10).map(drop)),
        (OpKind::MkDir, |s| s.create_dir_all(Path::new("/db/dir"))),
        (OpKind::Map, |s| s.open(Path::new("/db/f"))?.map().map(drop)),
        (OpKind::Grow, |s| s.open_log(Path::new("/db/f"))?.grow(100)),
        (OpKind::Trim, |s| s.open_log(Path::new("/db/f"))?.trim(3)),
    ];
    for (kind, act) in acts {
        for (fault, text) in [(Fault::Eio, ""), (Fault::Enospc, "the file system is full")] {
            let storage = storage();
            put(&storage, "/db/f", b"bytes", true);
            let before = storage.list(Path::new("/db")).expect("healthy");
            storage.set_plan(FaultRule::nth(kind, 1, fault));
            let error = act(&storage).expect_err("planned");
            assert_eq!(error.kind(), ErrorKind::Io, "{kind:?}");
            assert!(error.file().is_some() && error.to_string().contains(text), "{error}");
            assert_eq!(
                storage.list(Path::new("/db")).ok(),
                Some(before),
                "{kind:?} left traces"
            );
            act(&storage).unwrap_or_else(|error| panic!("{kind:?} fails only once: {error}"));
            storage.set_plan(FaultRule::nth(kind, 1, fault).sticky());
            for _ in 0..3 {
                act(&storage).expect_err("sticky");
            }
        }
        let storage = storage();
        put(&storage, "/db/f", b"bytes", true);
        storage.set_plan(FaultRule::nth(kind, 1, Fault::Interrupted));
        act(&storage).unwrap_or_else(|error| panic!("{kind:?} is not repeated: {error}"));
        assert_eq!(storage.faults_fired(), 1, "{kind:?}");
        storage.set_plan(FaultRule::nth(kind, 1, Fault::Interrupted).sticky());
        act(&storage).expect_err("it ends some time");
    }
}

#[test]
fn a_grown_length_is_safe_after_a_sync_only() {
    let storage = storage();
    let path = Path::new("/db/log");
    let log = storage.create_log(path, 4096).expect("healthy");
    log.sync_data().expect("healthy");
    storage.sync_dir(Path::new("/db")).expect("healthy");
    log.grow(9000).expect("healthy");
    log.write_at(8000, b"bytes").expect("inside by now");
    let lost = storage.crash_image(&CrashOptions::SYNCED_ONLY);
    assert_eq!(lost.len(path).ok(), Some(Some(4096)));
    log.sync_data().expect("healthy");
    let kept = storage.crash_image(&CrashOptions::SYNCED_ONLY);
    assert_eq!(kept.len(path).ok(), Some(Some(9000)));
    assert_eq!(
        get(&kept, "/db/log").map(|bytes| bytes[8000..8005].to_vec()),
        Some(b"bytes".to_vec())
    );
}

#[test]
fn what_was_cut_off_is_zero_if_the_file_grows_again() {
    let storage = storage();
    let path = Path::new("/db/log");
    let log = storage.create_log(path, 9000).expect("healthy");
    log.write_at(0, &[7; 9000]).expect("inside");
    log.sync_data().expect("healthy");
    storage.sync_dir(Path::new("/db")).expect("healthy");
    log.trim(5000).expect("healthy");
    assert_eq!(log.len(), 5000);
    let cut = storage.crash_image(&CrashOptions::SYNCED_ONLY);
    assert_eq!(get(&cut, "/db/log"), Some(vec![7; 5000]));
    log.sync_data().expect("healthy");
    log.grow(9000).expect("healthy");
    log.sync_data().expect("healthy");
    let bytes = get(&storage.crash_image(&CrashOptions::SYNCED_ONLY), "/db/log").expect("is there");
    assert!(bytes[..5000].iter().all(|&byte| byte == 7) && bytes[5000..].iter().all(|&byte| byte == 0));
}

#[test]
fn short_reads_and_writes_are_completed() {
    for fault in [Fault::ShortOne, Fault::ShortHalf] {
        let storage = storage();
        let bytes: Vec<u8> = (0..3000u32).map(|i| (i % 251) as u8).collect();
        storage.set_plan(
            FaultPlan::none()
                .with(FaultRule::nth(OpKind::Write, 1, fault).sticky())
                .with(FaultRule::nth(OpKind::Read, 1, fault).sticky()),
        );
        put(&storage, "/db/f", &bytes, true);
        assert_eq!(get(&storage, "/db/f"), Some(bytes.clone()));
        let log = storage.create_log(Path::new("/db/log"), 3000).expect("healthy");
        log.write_at(0, &bytes).expect("completed");
        assert_eq!(get(&storage, "/db/log"), Some(bytes));
        assert!(storage.faults_fired() > 20);
    }
}

#[test]
fn armed_images_show_the_state_around_their_mutation() {
    for mutation in 1..=6 {
        for moment in [Moment::Before, Moment::After] {
            let storage = storage();
            let base = storage.mutations();
            storage.crash_at(base + mutation, moment, everything());
            for name in ["/db/a", "/db/b"] {
                // Three mutations each: create, write, sync.
                put(&storage, name, b"1", true);
            }
            let image = storage.take_crash_image().expect("its moment has come");
            assert!(storage.take_crash_image().is_none(), "an image is taken once");
            let done = mutation - u64::from(moment == Moment::Before);
            let expected = |first: u64| (done >= first).then(|| if done > first { b"1".to_vec() } else { Vec::new() });
            assert_eq!(get(&image, "/db/a"), expected(1), "{mutation} {moment:?}");
            assert_eq!(get(&image, "/db/b"), expected(4), "{mutation} {moment:?}");
        }
    }
}

#[test]
fn callback_and_trace_see_operations_in_order_and_may_take_images() {
    let storage = storage();
    storage.record_trace(true);
    let calls = Arc::new(AtomicUsize::new(0));
    let (seen, inner) = (calls.clone(), storage.clone());
    storage.on_op(Some(Arc::new(move |event: &OpEvent| {
        seen.fetch_add(1, Ordering::Relaxed);
        if event.kind == OpKind::Remove && event.moment == Moment::Before {
            assert!(
                inner.is_durable(Path::new("/db/table")),
                "the log went before the table was safe"
            );
            inner.crash_image(&SYNCED);
        }
    })));
    put(&storage, "/db/wal", b"1", true);
    put(&storage, "/db/table", b"2", true);
    storage.sync_dir(Path::new("/db")).expect("healthy");
    storage.remove(Path::new("/db/wal")).expect("healthy");
    storage.on_op(None);
    use OpKind::{Create, Remove, Sync, SyncDir, Write};
    let trace = storage.trace();
    let kinds: Vec<OpKind> = trace.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Create, Write, Sync, Create, Write, Sync, SyncDir, Remove]);
    assert_eq!(calls.load(Ordering::Relaxed), 16);
    assert_eq!((trace[1].unsynced_bytes, trace[2].unsynced_bytes), (512, 0));
    assert!(trace.windows(2).all(|pair| pair[0].number < pair[1].number));
    assert_eq!(storage.count(OpKind::Sync), 2);
}

#[test]
fn thousands_of_images_share_memory_with_their_origin() {
    let storage = storage();
    let log = storage.create_log(Path::new("/db/log"), 64 << 20).expect("sparse");
    put(&storage, "/db/table", &[5; 1 << 20], true);
    let mut images = Vec::new();
    for round in 0..10_000u64 {
        log.write_at(round * 100, &[9; 100]).expect("healthy");
        if round % 10 == 0 {
            log.sync_data().expect("healthy");
        }
        let image = storage.crash_image(&CrashOptions::new(50, BlockSize::Page, round));
        if round % 1000 == 0 {
            images.push((round, image));
        }
    }
    storage.sync_dir(Path::new("/db")).expect("healthy");
    assert!(!images.is_empty());
    let last = get(&storage.crash_image(&SYNCED), "/db/log").expect("exists");
    assert!(last[..9991 * 100].iter().all(|&byte| byte == 9));
}
