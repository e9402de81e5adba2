use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn put(path: &Path, bytes: &[u8]) {
    let mut file = LocalStorage.create(path).expect("new");
    file.write_all(bytes).expect("space");
    file.finish(false).expect("space");
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.kind(),
    }
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().expect("exists").permissions().mode() & 0o7777
}

#[test]
fn it_passes_the_conformance_suite() {
    let root = dir();
    let counter = std::sync::atomic::AtomicU32::new(0);
    kodiak_core::conformance::storage::storage_suite(&|| {
        let number = counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = root.path().join(number.to_string());
        LocalStorage.create_dir_all(&path).expect("the parent exists");
        (Arc::new(LocalStorage), path)
    });
}

/// The umask belongs to the whole process, so a child of its own runs the assertions.
#[test]
fn files_and_directories_are_for_their_owner_only_under_any_umask() {
    const CHILD: &str = "KODIAK_TEST_UMASK";
    if let Ok(mask) = std::env::var(CHILD) {
        let mask = u32::from_str_radix(&mask, 8).expect("octal");
        let root = dir();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o700)).expect("ours");
        rustix::process::umask(Mode::from_raw_mode(mask));
        let nested = root.path().join("a/b");
        LocalStorage.create_dir_all(&nested).expect("creates");
        put(&nested.join("file"), b"x");
        LocalStorage.create_log(&nested.join("log"), 10).expect("creates");
        let _lock = LocalStorage.lock(&nested.join("lock")).expect("free");
        for directory in [root.path().join("a"), nested.clone()] {
            assert_eq!(mode(&directory), 0o700, "{}", directory.display());
        }
        for name in ["file", "log", "lock"] {
            assert_eq!(mode(&nested.join(name)), 0o600, "{name}");
        }
        return;
    }
    for mask in ["000", "022", "277"] {
        let test = "local::tests::files_and_directories_are_for_their_owner_only_under_any_umask";
        let status = std::process::Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, mask)
            .output()
            .expect("it runs");
        assert!(
            status.status.success(),
            "umask {mask}: {}",
            String::from_utf8_lossy(&status.stdout)
        );
    }
}

#[test]
fn symbolic_links_are_not_followed() {
    let root = dir();
    let real = root.path().join("real");
    let link = root.path().join("link");
    put(&real, b"secret");
    symlink(&real, &link).expect("links");
    assert_eq!(kind(LocalStorage.open(&link)), ErrorKind::Io);
    assert_eq!(kind(LocalStorage.open_log(&link)), ErrorKind::Io);
    assert_eq!(kind(LocalStorage.lock(&link)), ErrorKind::Corruption);
    assert_eq!(kind(LocalStorage.create(&link)), ErrorKind::AlreadyExists);
    assert_eq!(kind(LocalStorage.create_log(&link, 5)), ErrorKind::AlreadyExists);
    assert_eq!(LocalStorage.len(&link).expect("looks"), None);
    assert_eq!(
        LocalStorage.len(&real.join("below")).expect("looks"),
        None,
        "a file is no directory"
    );
    let dangling = root.path().join("dangling");
    symlink(root.path().join("outside"), &dangling).expect("links");
    assert_eq!(kind(LocalStorage.lock(&dangling)), ErrorKind::Corruption);
    assert!(!root.path().join("outside").exists());

    let real_dir = root.path().join("dir");
    LocalStorage.create_dir_all(&real_dir).expect("creates");
    let dir_link = root.path().join("dirlink");
    symlink(&real_dir, &dir_link).expect("links");
    assert_eq!(kind(LocalStorage.list(&dir_link)), ErrorKind::Io);
    assert_eq!(kind(LocalStorage.sync_dir(&dir_link)), ErrorKind::Io);
    assert_eq!(kind(LocalStorage.create_dir_all(&dir_link)), ErrorKind::Io);
    LocalStorage
        .create_dir_all(&dir_link.join("below"))
        .expect("only the last component matters");
    assert!(real_dir.join("below").is_dir());
    LocalStorage.remove_dir_all(&dir_link).expect("removes the link itself");
    assert!(!dir_link.exists());
    assert!(real_dir.join("below").is_dir(), "what the link points to was removed");
}

#[test]
fn a_pipe_in_place_of_a_file_is_refused_and_does_not_block() {
    let root = dir();
    let pipe = root.path().join("pipe");
    fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("makes a pipe");
    assert_eq!(kind(LocalStorage.open(&pipe)), ErrorKind::Io);
    assert_eq!(kind(LocalStorage.open_log(&pipe)), ErrorKind::Io);
}

#[test]
fn a_failing_log_allocation_leaves_no_file() {
    let root = dir();
    let path = root.path().join("log");
    // More than any file system can hold.
    let error = LocalStorage.create_log(&path, 1 << 62).expect_err("no such disk");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(LocalStorage.len(&path).expect("looks"), None);
}

#[test]
fn a_full_disk_is_an_error_that_says_so() {
    let file = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(file) = file else { return };
    let mut full = Box::new(Buffered::new(file::FileSink::new(Path::new("/dev/full"), file)));
    full.write_all(b"x").expect("buffered");
    let error = full.sync().expect_err("the device is full");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("the file system is full"), "{error}");
    full.write_all(b"y").expect_err("the file must be given up");
}

#[test]
fn log_space_is_really_written() {
    use std::os::unix::fs::MetadataExt;
    let root = dir();
    let path = root.path().join("log");
    LocalStorage.create_log(&path, 1_000_000).expect("space");
    let metadata = path.metadata().expect("exists");
    assert_eq!(metadata.len(), 1_000_000);
    assert!(
        metadata.blocks() * 512 >= 1_000_000,
        "only {} blocks",
        metadata.blocks()
    );
    assert!(std::fs::read(&path).expect("reads").iter().all(|&byte| byte == 0));
}

#[test]
fn a_truncated_file_is_corruption_and_not_a_crash() {
    let root = dir();
    let path = root.path().join("file");
    put(&path, &[1; 100]);
    let file = LocalStorage.open(&path).expect("opens");
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("opens")
        .set_len(10)
        .expect("truncates");
    assert_eq!(kind(file.read(0, 100)), ErrorKind::Corruption);
}

#[test]
fn closing_another_descriptor_keeps_the_lock() {
    let root = dir();
    let path = root.path().join("lock");
    let lock = LocalStorage.lock(&path).expect("free");
    drop(File::open(&path).expect("opens"));
    drop(LocalStorage.open(&path).expect("opens"));
    assert_eq!(kind(LocalStorage.lock(&path)), ErrorKind::Locked);
    let outsider = File::open(&path).expect("opens");
    assert!(
        fs::flock(&outsider, fs::FlockOperation::NonBlockingLockExclusive).is_err(),
        "the system's lock is gone"
    );
    drop(lock);
    fs::flock(&outsider, fs::FlockOperation::NonBlockingLockExclusive).expect("released");
}

#[test]
fn another_process_is_locked_out_until_the_holder_ends_or_is_killed() {
    const CHILD: &str = "KODIAK_TEST_LOCK";
    if let Ok(path) = std::env::var(CHILD) {
        let _lock = LocalStorage.lock(&PathBuf::from(&path)).expect("free");
        std::fs::write(format!("{path}.held"), "").expect("writes");
        std::thread::sleep(std::time::Duration::from_secs(60));
        return;
    }
    let root = dir();
    let path = root.path().join("lock");
    let test = "local::tests::another_process_is_locked_out_until_the_holder_ends_or_is_killed";
    let mut child = std::process::Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", test])
        .env(CHILD, &path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("it runs");
    while !root.path().join("lock.held").exists() {
        assert!(child.try_wait().expect("waits").is_none(), "the child could not lock");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert_eq!(kind(LocalStorage.lock(&path)), ErrorKind::Locked);
    child.kill().expect("ours");
    child.wait().expect("ours");
    LocalStorage.lock(&path).expect("freed by the system");
}

#[test]
fn a_mapping_outlives_file_and_reader() {
    let root = dir();
    let path = root.path().join("file");
    put(&path, &[3; 10_000]);
    let reader = LocalStorage.open(&path).expect("opens");
    let map = reader.map().expect("maps").expect("maps");
    drop(reader);
    LocalStorage.remove(&path).expect("removes");
    assert!(map.iter().all(|&byte| byte == 3));
    assert_eq!(map.as_ptr() as usize % 4096, 0);
}

/// Resident bytes of the mappings of a file; `None` where there is no `/proc`.
fn resident(path: &Path) -> Option<u64> {
    let maps = std::fs::read_to_string("/proc/self/smaps").ok()?;
    let mut lines = maps
        .lines()
        .skip_while(|line| !line.ends_with(path.to_str().expect("a plain name")));
    let line = lines.find(|line| line.starts_with("Rss:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[test]
fn forgotten_bytes_of_a_mapping_are_not_resident_and_stay_what_they_are() {
    let root = dir();
    let path = root.path().join("file");
    let bytes: Vec<u8> = (0..1u32 << 20).map(|at| (at / 7) as u8).collect();
    put(&path, &bytes);
    let reader = LocalStorage.open(&path).expect("opens");
    reader.forget(0..100);
    let map = reader.map().expect("maps").expect("maps");
    assert!(map[..] == bytes[..]);
    if let Some(before) = resident(&path) {
        assert!(before > 900 << 10, "{before} bytes of those just read");
        reader.forget(0..512 << 10);
        let after = resident(&path).expect("as before");
        assert!(after < 600 << 10, "{after} bytes");
    }
    // Anywhere, and beyond the end.
    reader.forget(100_001..100_002);
    reader.forget(5000..u64::MAX);
    reader.forget(u64::MAX - 1..u64::MAX);
    assert!(map[..] == bytes[..]);
}
