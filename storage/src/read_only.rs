//! A storage through which nothing can be changed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kodiak_core::storage::{Lock, LogFile, MappedLog, ReadableFile, Storage, WritableFile};
use kodiak_core::{Error, ErrorKind, Result};

/// Shows another storage and refuses, with `Unavailable`, whatever would change it. Files that their owners overwrite in place are
/// opened for reading only, so that it takes no right to write; such a file is as long as it was when it was opened, and whether later writes of its
/// owner are seen depends on the storage.
#[derive(Debug, Clone)]
pub struct ReadOnlyStorage {
    below: Arc<dyn Storage>,
    held: HashMap<PathBuf, Arc<dyn ReadableFile>>,
}

impl ReadOnlyStorage {
    /// Shows `storage`.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self {
            below: storage,
            held: HashMap::new(),
        }
    }

    /// Shows these files as well, where their owner has removed them.
    #[must_use]
    pub fn holding(mut self, files: impl IntoIterator<Item = (PathBuf, Arc<dyn ReadableFile>)>) -> Self {
        self.held.extend(files);
        self
    }
}

fn refused<T>(path: &Path) -> Result<T> {
    let message = "the storage is open for reading only: nothing was changed";
    Err(Error::new(ErrorKind::Unavailable, message).with_file(path))
}

impl Storage for ReadOnlyStorage {
    fn create(&self, path: &Path) -> Result<Box<dyn WritableFile>> {
        refused(path)
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn ReadableFile>> {
        match self.below.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => self.held.get(path).cloned().ok_or(error),
            opened => opened,
        }
    }

    fn create_log(&self, path: &Path, _len: u64) -> Result<Arc<dyn LogFile>> {
        refused(path)
    }

    fn open_log(&self, path: &Path) -> Result<Arc<dyn LogFile>> {
        Ok(Arc::new(ReadOnlyLog {
            file: self.open(path)?,
            path: path.into(),
        }))
    }

    fn open_file_limit(&self) -> Option<usize> {
        self.below.open_file_limit()
    }

    fn real_path(&self, path: &Path) -> Result<PathBuf> {
        self.below.real_path(path)
    }

    fn rename(&self, from: &Path, _to: &Path) -> Result<()> {
        refused(from)
    }

    fn hard_link(&self, from: &Path, _to: &Path) -> Result<()> {
        refused(from)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        refused(path)
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        refused(path)
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        refused(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        self.below.list(dir)
    }

    fn len(&self, path: &Path) -> Result<Option<u64>> {
        let len = self.below.len(path)?;
        Ok(len.or_else(|| Some(self.held.get(path)?.len())))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        refused(dir)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        refused(path)
    }

    fn now_micros(&self) -> u64 {
        self.below.now_micros()
    }

    fn monotonic_nanos(&self) -> u64 {
        self.below.monotonic_nanos()
    }

    fn random(&self) -> u64 {
        self.below.random()
    }
}

#[derive(Debug)]
struct ReadOnlyLog {
    file: Arc<dyn ReadableFile>,
    path: Box<Path>,
}

impl LogFile for ReadOnlyLog {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn write_at(&self, _offset: u64, _bytes: &[u8]) -> Result<()> {
        refused(&self.path)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        let there = self.file.len().saturating_sub(offset);
        let count = usize::try_from(there).unwrap_or(usize::MAX).min(out.len());
        if count > 0 {
            out[..count].copy_from_slice(&self.file.read(offset, count)?);
        }
        Ok(count)
    }

    fn sync_data(&self) -> Result<()> {
        refused(&self.path)
    }

    fn grow(&self, _len: u64) -> Result<()> {
        refused(&self.path)
    }

    fn map(&self) -> Result<Option<Arc<dyn MappedLog>>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStorage;

    #[test]
    fn what_is_there_is_shown_and_nothing_can_be_changed() {
        let below = Arc::new(MemoryStorage::new());
        let path = Path::new("/log");
        let log = below.create_log(path, 8192).expect("create");
        log.write_at(4090, b"twelve bytes").expect("write");
        let storage = ReadOnlyStorage::new(Arc::clone(&below) as Arc<dyn Storage>);
        let shown = storage.open_log(path).expect("open");
        let mut out = [0; 12];
        assert_eq!(shown.read_at(4090, &mut out).expect("read"), 12);
        assert_eq!((&out, shown.len()), (b"twelve bytes", 8192));
        assert_eq!(shown.read_at(8190, &mut out).expect("read"), 2);
        assert_eq!(shown.read_at(9000, &mut out).expect("read"), 0);
        let other = Path::new("/other");
        let refusals = [
            shown.write_at(0, b"x").err(),
            shown.grow(9000).err(),
            shown.sync_data().err(),
            storage.create(other).err(),
            storage.create_log(other, 1).err(),
            storage.rename(path, other).err(),
            storage.hard_link(path, other).err(),
            storage.remove(path).err(),
            storage.create_dir_all(other).err(),
            storage.remove_dir_all(other).err(),
            storage.sync_dir(Path::new("/")).err(),
            storage.lock(other).err(),
        ];
        for (nth, refusal) in refusals.into_iter().enumerate() {
            assert_eq!(refusal.map(|error| error.kind()), Some(ErrorKind::Unavailable), "{nth}");
        }
        assert_eq!(below.list(Path::new("/")).expect("list"), ["log"]);
        assert_eq!(storage.len(path).expect("len"), Some(8192));
    }

    #[test]
    fn held_files_are_shown_when_they_are_gone() {
        let below = Arc::new(MemoryStorage::new());
        let path = Path::new("/file");
        let mut file = below.create(path).expect("create");
        std::io::Write::write_all(&mut file, b"bytes").expect("write");
        file.finish(true).expect("finish");
        let storage = ReadOnlyStorage::new(Arc::clone(&below) as Arc<dyn Storage>);
        let holding = storage
            .clone()
            .holding([(path.to_owned(), storage.open(path).expect("open"))]);
        below.remove(path).expect("remove");
        assert_eq!(
            storage.open(path).map(drop).expect_err("gone").kind(),
            ErrorKind::NotFound
        );
        assert_eq!(&*holding.open(path).expect("held").read(0, 5).expect("read"), b"bytes");
        assert_eq!(
            (storage.len(path).expect("len"), holding.len(path).expect("len")),
            (None, Some(5))
        );
    }
}
