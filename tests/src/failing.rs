//! Local files of which one operation fails: for what the fault-injecting storage, in memory, cannot show.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kodiak::core::storage::{Lock, LogFile, ReadableFile, Storage, WritableFile};
use kodiak::{Error, LocalStorage, Result};

/// Files of the system; the `nth` operation on a path fails.
#[derive(Debug)]
pub struct FailingStorage {
    nth: u64,
    count: AtomicU64,
}

impl FailingStorage {
    /// The operation with this number fails, from 1 on.
    pub fn new(nth: u64) -> Self {
        Self {
            nth,
            count: AtomicU64::new(0),
        }
    }

    /// Operations so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    fn pass(&self, path: &Path) -> Result<()> {
        if self.count.fetch_add(1, Ordering::AcqRel) + 1 == self.nth {
            let error = std::io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error());
            return Err(Error::io("do what fails here", path, error));
        }
        Ok(())
    }
}

impl Storage for FailingStorage {
    fn create(&self, path: &Path) -> Result<Box<dyn WritableFile>> {
        self.pass(path).and_then(|()| LocalStorage.create(path))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn ReadableFile>> {
        self.pass(path).and_then(|()| LocalStorage.open(path))
    }

    fn create_log(&self, path: &Path, len: u64) -> Result<Arc<dyn LogFile>> {
        self.pass(path).and_then(|()| LocalStorage.create_log(path, len))
    }

    fn open_log(&self, path: &Path) -> Result<Arc<dyn LogFile>> {
        self.pass(path).and_then(|()| LocalStorage.open_log(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.pass(from).and_then(|()| LocalStorage.rename(from, to))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        self.pass(from).and_then(|()| LocalStorage.hard_link(from, to))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.pass(path).and_then(|()| LocalStorage.remove(path))
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.pass(path).and_then(|()| LocalStorage.create_dir_all(path))
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        self.pass(path).and_then(|()| LocalStorage.remove_dir_all(path))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        self.pass(dir).and_then(|()| LocalStorage.list(dir))
    }

    fn len(&self, path: &Path) -> Result<Option<u64>> {
        self.pass(path).and_then(|()| Storage::len(&LocalStorage, path))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.pass(dir).and_then(|()| LocalStorage.sync_dir(dir))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        self.pass(path).and_then(|()| LocalStorage.lock(path))
    }

    fn now_micros(&self) -> u64 {
        LocalStorage.now_micros()
    }

    fn monotonic_nanos(&self) -> u64 {
        LocalStorage.monotonic_nanos()
    }

    fn random(&self) -> u64 {
        LocalStorage.random()
    }
}
