//! A file system in memory, for tests and for data that need not outlive the process.

mod file;

pub use file::MemoryReader;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsStr;
use std::ops::Bound;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kodiak_core::Result;
use kodiak_core::storage::{Lock, LogFile, ReadableFile, Storage, WritableFile};
use parking_lot::RwLock;
use rustix::io::Errno;

use self::file::{MemoryFile, MemoryLog, MemorySink};
use crate::buffered::Buffered;
use crate::clock::{self, SplitMix, TestClock};
use crate::errors::{io_error, locked, no_lock_file};

/// When the clock of a seeded storage stands still: 2026-01-01 00:00 UTC.
pub(crate) const FROZEN_MICROS: u64 = 1_767_225_600_000_000;

/// A file system in memory. It is empty but for the root directory; relative paths start at the root. There is no power to
/// lose: syncs do nothing. Dropping the last handle frees everything.
#[derive(Debug)]
pub struct MemoryStorage {
    nodes: RwLock<BTreeMap<PathBuf, Node>>,
    clock: TestClock,
    random: SplitMix,
}

#[derive(Debug, Clone)]
enum Node {
    Directory,
    File(Arc<MemoryFile>),
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStorage {
    /// An empty file system with the system's clock and arbitrary random numbers.
    pub fn new() -> Self {
        Self {
            nodes: RwLock::default(),
            clock: TestClock::running(),
            random: SplitMix::arbitrary(),
        }
    }

    /// An empty file system whose clock stands still and whose random numbers follow from `seed`.
    pub fn with_seed(seed: u64) -> Self {
        Self {
            nodes: RwLock::default(),
            clock: TestClock::frozen(FROZEN_MICROS),
            random: SplitMix::new(seed),
        }
    }

    /// Stops the wall clock at `micros` since 1970.
    pub fn freeze_clock(&self, micros: u64) {
        self.clock.freeze(micros);
    }

    /// Moves the wall clock, running or not, by `micros`.
    pub fn jump_clock(&self, micros: i64) {
        self.clock.jump(micros);
    }

    /// Lets the wall clock show the system's time again.
    pub fn run_clock(&self) {
        self.clock.run();
    }

    fn file(&self, what: &str, path: &Path) -> Result<Arc<MemoryFile>> {
        match self.nodes.read().get(&normalise(path)) {
            Some(Node::File(file)) => Ok(file.clone()),
            Some(Node::Directory) => Err(io_error(what, path, Errno::ISDIR)),
            None if normalise(path).as_os_str().is_empty() => Err(io_error(what, path, Errno::ISDIR)),
            None => Err(io_error(what, path, Errno::NOENT)),
        }
    }

    fn add_file(&self, what: &str, path: &Path, file: Arc<MemoryFile>) -> Result<()> {
        let key = normalise(path);
        let mut nodes = self.nodes.write();
        check_parent(&nodes, &key).map_err(|error| io_error(what, path, error))?;
        match nodes.entry(key) {
            Entry::Occupied(_) => Err(io_error(what, path, Errno::EXIST)),
            Entry::Vacant(entry) => {
                entry.insert(Node::File(file));
                Ok(())
            }
        }
    }
}

/// The path without root, `.` and `..`: the empty path is the root.
pub(crate) fn normalise(path: &Path) -> PathBuf {
    let mut parts: Vec<&OsStr> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::ParentDir => {
                parts.pop();
            }
            _ => {}
        }
    }
    parts.into_iter().collect()
}

/// Checks that something can be created at `key`.
fn check_parent(nodes: &BTreeMap<PathBuf, Node>, key: &Path) -> Result<(), Errno> {
    let parent = key.parent().ok_or(Errno::EXIST)?;
    check_directory(nodes, parent)
}

fn check_directory(nodes: &BTreeMap<PathBuf, Node>, key: &Path) -> Result<(), Errno> {
    match nodes.get(key) {
        _ if key.as_os_str().is_empty() => Ok(()),
        Some(Node::Directory) => Ok(()),
        Some(Node::File(_)) => Err(Errno::NOTDIR),
        None => Err(Errno::NOENT),
    }
}

/// The keys of everything below `dir`, at any depth. Paths order by component, so they follow it without a gap.
fn below<'a>(nodes: &'a BTreeMap<PathBuf, Node>, dir: &'a Path) -> impl Iterator<Item = &'a PathBuf> {
    let range = (Bound::Excluded(dir.to_owned()), Bound::Unbounded);
    nodes
        .range(range)
        .map(|(key, _)| key)
        .take_while(move |key| key.starts_with(dir))
}

impl Storage for MemoryStorage {
    fn create(&self, path: &Path) -> Result<Box<dyn WritableFile>> {
        let file = Arc::new(MemoryFile::new_growing());
        self.add_file("create the file", path, file.clone())?;
        Ok(Box::new(Buffered::new(MemorySink::new(path, file))))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn ReadableFile>> {
        let file = self.file("open the file", path)?;
        Ok(Arc::new(
            file.reader(path)
                .map_err(|error| io_error("open the file", path, error))?,
        ))
    }

    fn create_log(&self, path: &Path, len: u64) -> Result<Arc<dyn LogFile>> {
        let failed = |error| io_error(&format!("allocate {len} bytes for a log file"), path, error);
        let file = Arc::new(MemoryFile::new_log(len).map_err(failed)?);
        self.add_file("create the file", path, file.clone())?;
        Ok(Arc::new(MemoryLog::new(path, file)))
    }

    fn open_log(&self, path: &Path) -> Result<Arc<dyn LogFile>> {
        let file = self.file("open the file", path)?;
        file.make_log()
            .map_err(|error| io_error("open the file for overwriting", path, error))?;
        Ok(Arc::new(MemoryLog::new(path, file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let (source, target) = (normalise(from), normalise(to));
        let mut nodes = self.nodes.write();
        let moved = match nodes.get(&source) {
            Some(Node::File(file)) => Ok(file.clone()),
            Some(Node::Directory) => Err(Errno::ISDIR),
            None => Err(Errno::NOENT),
        };
        let checked = moved.and_then(|file| match nodes.get(&target) {
            Some(Node::Directory) => Err(Errno::ISDIR),
            _ => check_parent(&nodes, &target).map(|()| file),
        });
        let file = checked.map_err(|error| io_error(&format!("rename the file to {}", to.display()), from, error))?;
        nodes.remove(&source);
        nodes.insert(target, Node::File(file));
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        let file = self.file("link the file", from)?;
        self.add_file(&format!("link the file to {}", from.display()), to, file)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.file("remove the file", path)?;
        match self.nodes.write().remove(&normalise(path)) {
            Some(_) => Ok(()),
            None => Err(io_error("remove the file", path, Errno::NOENT)),
        }
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        let mut nodes = self.nodes.write();
        let mut current = PathBuf::new();
        for part in &normalise(path) {
            current.push(part);
            if let Node::File(_) = nodes.entry(current.clone()).or_insert(Node::Directory) {
                return Err(io_error("create the directory", path, Errno::NOTDIR));
            }
        }
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        let key = normalise(path);
        let mut nodes = self.nodes.write();
        if let Some(Node::File(_)) = nodes.get(&key) {
            return Err(io_error("remove the directory", path, Errno::NOTDIR));
        }
        let doomed: Vec<PathBuf> = below(&nodes, &key).cloned().collect();
        for path in doomed {
            nodes.remove(&path);
        }
        nodes.remove(&key);
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let key = normalise(dir);
        let nodes = self.nodes.read();
        check_directory(&nodes, &key).map_err(|error| io_error("list the directory", dir, error))?;
        let children = below(&nodes, &key).filter(|path| path.parent() == Some(&key));
        let mut names: Vec<String> = children
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    fn len(&self, path: &Path) -> Result<Option<u64>> {
        Ok(match self.nodes.read().get(&normalise(path)) {
            Some(Node::File(file)) => Some(file.len()),
            _ => None,
        })
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        check_directory(&self.nodes.read(), &normalise(dir)).map_err(|error| io_error("sync the directory", dir, error))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        let key = normalise(path);
        let mut nodes = self.nodes.write();
        check_parent(&nodes, &key).map_err(|error| io_error("lock the file", path, error))?;
        let node = nodes
            .entry(key)
            .or_insert_with(|| Node::File(Arc::new(MemoryFile::new_growing())));
        let Node::File(file) = node else {
            return Err(no_lock_file(path, "a directory"));
        };
        MemoryLock::acquire(file.lock_flag())
            .map(|lock| Box::new(lock) as _)
            .ok_or_else(|| locked(path))
    }

    fn now_micros(&self) -> u64 {
        self.clock.now()
    }

    fn monotonic_nanos(&self) -> u64 {
        clock::monotonic_nanos()
    }

    fn random(&self) -> u64 {
        self.random.next()
    }
}

/// A held lock: a flag that it clears.
#[derive(Debug)]
pub(crate) struct MemoryLock(Arc<AtomicBool>);

impl MemoryLock {
    pub(crate) fn acquire(flag: &Arc<AtomicBool>) -> Option<Self> {
        flag.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire)
            .ok()
            .map(|_| Self(flag.clone()))
    }
}

impl Lock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
