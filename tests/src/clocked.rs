//! A storage with files of the disk and a clock of the test's.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kodiak::Result;
use kodiak::core::storage::{Lock, LogFile, ReadableFile, Storage, WritableFile};
use kodiak_storage::LocalStorage;

/// Local files, which other programs can read, and a clock that stands unless it is moved.
#[derive(Debug)]
pub struct ClockedStorage {
    inner: LocalStorage,
    micros: AtomicU64,
}

impl Default for ClockedStorage {
    fn default() -> Self {
        Self {
            inner: LocalStorage::new(),
            micros: AtomicU64::new(1_700_000_000_000_000),
        }
    }
}

impl ClockedStorage {
    /// The clock goes on by so many microseconds.
    pub fn advance(&self, micros: u64) {
        self.micros.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Storage for ClockedStorage {
    fn create(&self, path: &Path) -> Result<Box<dyn WritableFile>> {
        self.inner.create(path)
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn ReadableFile>> {
        self.inner.open(path)
    }

    fn create_log(&self, path: &Path, len: u64) -> Result<Arc<dyn LogFile>> {
        self.inner.create_log(path, len)
    }

    fn open_log(&self, path: &Path) -> Result<Arc<dyn LogFile>> {
        self.inner.open_log(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.inner.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        self.inner.hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.inner.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.inner.create_dir_all(path)
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        self.inner.remove_dir_all(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn len(&self, path: &Path) -> Result<Option<u64>> {
        self.inner.len(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        self.inner.lock(path)
    }

    fn now_micros(&self) -> u64 {
        self.micros.load(Ordering::SeqCst)
    }

    fn monotonic_nanos(&self) -> u64 {
        self.inner.monotonic_nanos()
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }
}
