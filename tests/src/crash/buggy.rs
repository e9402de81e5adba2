//! A storage that breaks one of its promises, as an engine would that forgot a sync: the harness must notice.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kodiak::Result;
use kodiak::core::storage::{Lock, LogFile, MappedLog, ReadableFile, Storage, WritableFile};
use kodiak_storage::FaultStorage;
use parking_lot::Mutex;

/// What is done wrong. Texts are parts of paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Files that are written once are not synced.
    FileNotSynced(&'static str),
    /// Files that are overwritten in place are not synced.
    LogNotSynced(&'static str),
    /// Every third sync of them is left out.
    LogSyncedSometimes(&'static str),
    /// A directory whose path ends so is not synced.
    DirNotSynced(&'static str),
    /// Every fourth write to such a file is made after the one that follows it.
    WritesSwapped(&'static str),
    /// A log segment is removed when the next but one is begun, whether it is needed or not.
    SegmentReleasedEarly,
    /// A manifest is removed as soon as the next one is written, before `CURRENT` names that.
    ManifestRemovedEarly,
    /// Renaming is made to survive before what was renamed does.
    RenamedBeforeWritten,
}

/// The storage.
#[derive(Debug)]
pub struct BuggyStorage {
    inner: Arc<FaultStorage>,
    bug: Bug,
    syncs: Arc<AtomicU64>,
}

impl BuggyStorage {
    /// Wraps a storage.
    pub fn new(inner: Arc<FaultStorage>, bug: Bug) -> Self {
        Self {
            inner,
            bug,
            syncs: Arc::default(),
        }
    }

    fn log(&self, path: &Path, inner: Arc<dyn LogFile>) -> Arc<dyn LogFile> {
        let name = path.to_string_lossy();
        let concerned = match self.bug {
            Bug::LogNotSynced(part) | Bug::LogSyncedSometimes(part) | Bug::WritesSwapped(part) => name.contains(part),
            _ => false,
        };
        if !concerned {
            return inner;
        }
        let (bug, syncs) = (self.bug, Arc::clone(&self.syncs));
        Arc::new(BuggyLog {
            inner,
            bug,
            syncs,
            writes: AtomicU64::new(0),
            held: Mutex::new(None),
        })
    }

    fn number(path: &Path, suffix: &str, prefix: &str) -> Option<u64> {
        let name = path.file_name()?.to_string_lossy().into_owned();
        name.strip_suffix(suffix)?.strip_prefix(prefix)?.parse().ok()
    }

    fn remove_early(&self, path: &Path) {
        let old = match self.bug {
            Bug::SegmentReleasedEarly => Self::number(path, ".wal", "")
                .filter(|number| *number > 2)
                .map(|number| path.with_file_name(format!("{:020}.wal", number - 2))),
            Bug::ManifestRemovedEarly => Self::number(path, "", "MANIFEST-")
                .filter(|number| *number > 1)
                .map(|number| path.with_file_name(format!("MANIFEST-{:06}", number - 1))),
            _ => None,
        };
        if let Some(old) = old {
            // It may be gone already.
            drop(self.inner.remove(&old));
        }
    }
}

impl Storage for BuggyStorage {
    fn create(&self, path: &Path) -> Result<Box<dyn WritableFile>> {
        let inner = self.inner.create(path)?;
        let late = self.bug == Bug::RenamedBeforeWritten && path.extension().is_some_and(|end| end == "new");
        match self.bug {
            Bug::FileNotSynced(part) if path.to_string_lossy().contains(part) => Ok(Box::new(Unsynced { inner })),
            _ if late => Ok(Box::new(Unsynced { inner })),
            _ => Ok(inner),
        }
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn ReadableFile>> {
        self.inner.open(path)
    }

    fn create_log(&self, path: &Path, len: u64) -> Result<Arc<dyn LogFile>> {
        let log = self.log(path, self.inner.create_log(path, len)?);
        self.remove_early(path);
        Ok(log)
    }

    fn open_log(&self, path: &Path) -> Result<Arc<dyn LogFile>> {
        Ok(self.log(path, self.inner.open_log(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.inner.rename(from, to)?;
        if self.bug == Bug::RenamedBeforeWritten {
            let parent = to.parent().map_or_else(PathBuf::new, Path::to_owned);
            return self.inner.sync_dir(&parent);
        }
        Ok(())
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
        Storage::len(&*self.inner, path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        match self.bug {
            Bug::DirNotSynced(end) if dir.to_string_lossy().ends_with(end) => Ok(()),
            _ => self.inner.sync_dir(dir),
        }
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
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

/// A file whose sync does nothing.
#[derive(Debug)]
struct Unsynced {
    inner: Box<dyn WritableFile>,
}

impl Write for Unsynced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl WritableFile for Unsynced {
    fn position(&self) -> u64 {
        self.inner.position()
    }

    fn sync(&mut self) -> Result<()> {
        self.inner
            .flush()
            .map_err(|source| kodiak::Error::io("write", Path::new("a file"), source))
    }

    fn finish(self: Box<Self>, _sync: bool) -> Result<()> {
        self.inner.finish(false)
    }
}

struct BuggyLog {
    inner: Arc<dyn LogFile>,
    bug: Bug,
    syncs: Arc<AtomicU64>,
    writes: AtomicU64,
    /// A write that is not made yet.
    held: Mutex<Option<(u64, Vec<u8>)>>,
}

impl fmt::Debug for BuggyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuggyLog")
            .field("bug", &self.bug)
            .finish_non_exhaustive()
    }
}

impl LogFile for BuggyLog {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        if !matches!(self.bug, Bug::WritesSwapped(_)) {
            return self.inner.write_at(offset, bytes);
        }
        let mut held = self.held.lock();
        if held.is_none() && number % 4 == 3 {
            *held = Some((offset, bytes.to_vec()));
            return Ok(());
        }
        self.inner.write_at(offset, bytes)?;
        match held.take() {
            Some((offset, bytes)) => self.inner.write_at(offset, &bytes),
            None => Ok(()),
        }
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        self.inner.read_at(offset, out)
    }

    fn sync_data(&self) -> Result<()> {
        let number = self.syncs.fetch_add(1, Ordering::Relaxed);
        match self.bug {
            Bug::LogNotSynced(_) => Ok(()),
            Bug::LogSyncedSometimes(_) if number % 3 == 2 => Ok(()),
            _ => self.inner.sync_data(),
        }
    }

    fn grow(&self, len: u64) -> Result<()> {
        self.inner.grow(len)
    }

    fn trim(&self, len: u64) -> Result<()> {
        self.inner.trim(len)
    }

    fn map(&self) -> Result<Option<Arc<dyn MappedLog>>> {
        self.inner.map()
    }
}

impl Drop for BuggyLog {
    fn drop(&mut self) {
        if let Some((offset, bytes)) = self.held.lock().take() {
            // The file may be gone.
            drop(self.inner.write_at(offset, &bytes));
        }
    }
}
