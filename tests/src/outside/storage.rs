//! A storage that counts what is created, over one in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kodiak::core::storage::{Lock, LogFile, ReadableFile, Storage, WritableFile};
use kodiak::{MemoryStorage, Result};
use parking_lot::Mutex;

/// Files in memory, and a note of every name that was ever created.
#[derive(Debug, Default)]
pub struct NotingStorage {
    inner: MemoryStorage,
    created: Mutex<Vec<PathBuf>>,
}

impl NotingStorage {
    /// Everything that was created, renamed to or linked to, in order.
    pub fn created(&self) -> Vec<PathBuf> {
        self.created.lock().clone()
    }

    fn note(&self, path: &Path) {
        self.created.lock().push(path.to_owned());
    }
}

impl Storage for NotingStorage {
    fn create(&self, path: &Path) -> Result<Box<dyn WritableFile>> {
        self.note(path);
        self.inner.create(path)
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn ReadableFile>> {
        self.inner.open(path)
    }

    fn create_log(&self, path: &Path, len: u64) -> Result<Arc<dyn LogFile>> {
        self.note(path);
        self.inner.create_log(path, len)
    }

    fn open_log(&self, path: &Path) -> Result<Arc<dyn LogFile>> {
        self.inner.open_log(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.note(to);
        self.inner.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        self.note(to);
        self.inner.hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.inner.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.note(path);
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
        self.note(path);
        self.inner.lock(path)
    }

    fn now_micros(&self) -> u64 {
        self.inner.now_micros()
    }

    fn monotonic_nanos(&self) -> u64 {
        self.inner.monotonic_nanos()
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }
}
