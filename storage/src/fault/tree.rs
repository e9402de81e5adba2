//! Directories, each with its entries as the running system sees them and as the disk holds them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Component, Path};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::Errno;

use super::content::FileState;
use super::image::{CrashOptions, Dice};
use crate::memory::normalise;

pub(super) type FileRef = Arc<Mutex<FileState>>;
pub(super) type DirRef = Arc<Mutex<Dir>>;
type Entries = BTreeMap<OsString, Entry>;

#[derive(Debug, Clone)]
pub(super) enum Entry {
    File(FileRef),
    Dir(DirRef),
}

impl Entry {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(two)) => Arc::ptr_eq(one, two),
            (Self::Dir(one), Self::Dir(two)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }
}

/// A change of a directory that is not on the disk yet. Each survives or not by itself; a rename within one directory
/// survives as a whole, one between two directories is two changes.
#[derive(Debug, Clone)]
enum DirOp {
    Insert(OsString, Entry),
    Remove(OsString),
    Rename(OsString, OsString, Entry),
}

impl DirOp {
    fn apply(self, entries: &mut Entries) {
        match self {
            Self::Insert(name, entry) => {
                entries.insert(name, entry);
            }
            Self::Remove(name) => {
                entries.remove(&name);
            }
            Self::Rename(from, to, entry) => {
                entries.remove(&from);
                entries.insert(to, entry);
            }
        }
    }

    fn touches(&self, wanted: &OsString) -> bool {
        match self {
            Self::Insert(name, _) | Self::Remove(name) => name == wanted,
            Self::Rename(from, to, _) => from == wanted || to == wanted,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Dir {
    pub(super) current: Entries,
    durable: Entries,
    pending: Vec<DirOp>,
}

impl Dir {
    fn change(&mut self, op: DirOp) {
        op.clone().apply(&mut self.current);
        self.pending.push(op);
    }

    pub(super) fn sync(&mut self) {
        for op in std::mem::take(&mut self.pending) {
            op.apply(&mut self.durable);
        }
    }

    /// What a failing sync does: the changes stay visible, and no later sync saves them.
    pub(super) fn drop_unsynced(&mut self) {
        self.pending.clear();
    }

    /// Drops what is pending about `name`, but not about the other name of a rename.
    fn forget_changes_of(&mut self, name: &OsString) {
        let pending = std::mem::take(&mut self.pending).into_iter();
        self.pending = pending
            .filter_map(|op| match op {
                DirOp::Rename(from, to, entry) if from == *name => Some(DirOp::Insert(to, entry)),
                DirOp::Rename(from, to, _) if to == *name => Some(DirOp::Remove(from)),
                op if op.touches(name) => None,
                op => Some(op),
            })
            .collect();
    }

    fn clear(&mut self) {
        for (name, entry) in std::mem::take(&mut self.current) {
            if let Entry::Dir(dir) = entry {
                dir.lock().clear();
            }
            self.pending.push(DirOp::Remove(name));
        }
    }
}

/// A file system.
#[derive(Debug, Default)]
pub(super) struct Tree {
    root: DirRef,
}

impl Tree {
    pub(super) fn dir(&self, path: &Path) -> Result<DirRef, Errno> {
        let mut dir = self.root.clone();
        for component in normalise(path).components() {
            let Component::Normal(name) = component else { continue };
            let next = match dir.lock().current.get(name) {
                Some(Entry::Dir(next)) => next.clone(),
                Some(Entry::File(_)) => return Err(Errno::NOTDIR),
                None => return Err(Errno::NOENT),
            };
            dir = next;
        }
        Ok(dir)
    }

    /// The directory that has, or would have, the entry, and the entry's name.
    fn parent(&self, path: &Path) -> Result<(DirRef, OsString), Errno> {
        let path = normalise(path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::ISDIR);
        };
        Ok((self.dir(parent)?, name.to_owned()))
    }

    pub(super) fn file(&self, path: &Path) -> Result<FileRef, Errno> {
        let (dir, name) = self.parent(path)?;
        match dir.lock().current.get(&name) {
            Some(Entry::File(file)) => Ok(file.clone()),
            Some(Entry::Dir(_)) => Err(Errno::ISDIR),
            None => Err(Errno::NOENT),
        }
    }

    pub(super) fn add(&self, path: &Path, file: FileRef) -> Result<(), Errno> {
        let (dir, name) = self.parent(path)?;
        let mut dir = dir.lock();
        if dir.current.contains_key(&name) {
            return Err(Errno::EXIST);
        }
        dir.change(DirOp::Insert(name, Entry::File(file)));
        Ok(())
    }

    pub(super) fn remove(&self, path: &Path) -> Result<(), Errno> {
        self.file(path)?;
        let (dir, name) = self.parent(path)?;
        dir.lock().change(DirOp::Remove(name));
        Ok(())
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), Errno> {
        let file = self.file(from)?;
        match self.file(to) {
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
            // Two names of one file: POSIX leaves both.
            Ok(target) if Arc::ptr_eq(&target, &file) => return Ok(()),
            Ok(_) => {}
        }
        let ((source, old), (target, new)) = (self.parent(from)?, self.parent(to)?);
        let entry = Entry::File(file);
        if Arc::ptr_eq(&source, &target) {
            source.lock().change(DirOp::Rename(old, new, entry));
        } else {
            target.lock().change(DirOp::Insert(new, entry));
            source.lock().change(DirOp::Remove(old));
        }
        Ok(())
    }

    /// New directories are on the disk at once, as the trait promises.
    pub(super) fn create_dir_all(&self, path: &Path) -> Result<(), Errno> {
        let mut dir = self.root.clone();
        for component in normalise(path).components() {
            let Component::Normal(name) = component else { continue };
            let name = name.to_owned();
            let mut parent = dir.lock();
            let next = match parent.current.get(&name) {
                Some(Entry::Dir(next)) => next.clone(),
                Some(Entry::File(_)) => return Err(Errno::NOTDIR),
                None => {
                    let next = DirRef::default();
                    parent.forget_changes_of(&name);
                    parent.durable.insert(name.clone(), Entry::Dir(next.clone()));
                    parent.current.insert(name, Entry::Dir(next.clone()));
                    next
                }
            };
            drop(parent);
            dir = next;
        }
        Ok(())
    }

    pub(super) fn remove_dir_all(&self, path: &Path) -> Result<(), Errno> {
        let dir = match self.dir(path) {
            Err(Errno::NOENT) => return Ok(()),
            result => result?,
        };
        dir.lock().clear();
        if let Ok((parent, name)) = self.parent(path) {
            parent.lock().change(DirOp::Remove(name));
        }
        Ok(())
    }

    /// True if a power loss now would leave this very file or directory under this name.
    pub(super) fn entry_is_durable(&self, path: &Path) -> bool {
        let path = normalise(path);
        if !path.parent().is_none_or(|parent| self.entry_is_durable(parent)) {
            return false;
        }
        let Ok((dir, name)) = self.parent(&path) else {
            return true;
        };
        let dir = dir.lock();
        let same = match (dir.current.get(&name), dir.durable.get(&name)) {
            (Some(current), Some(durable)) => current.is(durable),
            _ => false,
        };
        same && !dir.pending.iter().any(|op| op.touches(&name))
    }

    /// What a power loss leaves.
    pub(super) fn survivor(&self, options: &CrashOptions) -> Self {
        let mut copier = Copier::default();
        let mut dice = Dice::new(options);
        Self {
            root: copier.survivor(&self.root, options, &mut dice),
        }
    }

    /// The same tree, with all that is not on the disk, in a system of its own.
    pub(super) fn duplicate(&self) -> Self {
        Self {
            root: Copier::default().dir(&self.root),
        }
    }
}

/// Copies a tree; a file with two names stays one file.
#[derive(Default)]
struct Copier {
    files: HashMap<usize, FileRef>,
    dirs: HashMap<usize, DirRef>,
}

impl Copier {
    fn survivor(&mut self, dir: &DirRef, options: &CrashOptions, dice: &mut Dice) -> DirRef {
        let entries = {
            let dir = dir.lock();
            let mut entries = dir.durable.clone();
            for op in dir.pending.iter().filter(|_| dice.survives()) {
                op.clone().apply(&mut entries);
            }
            entries
        };
        let mut survivors = Entries::new();
        for (name, entry) in entries {
            let entry = match entry {
                Entry::Dir(dir) => Entry::Dir(self.survivor(&dir, options, dice)),
                Entry::File(file) => {
                    let copy = self.files.entry(Arc::as_ptr(&file).addr());
                    let new = || Arc::new(Mutex::new(file.lock().survivor(options.block, dice)));
                    Entry::File(copy.or_insert_with(new).clone())
                }
            };
            survivors.insert(name, entry);
        }
        Arc::new(Mutex::new(Dir {
            durable: survivors.clone(),
            current: survivors,
            pending: Vec::new(),
        }))
    }

    fn entry(&mut self, entry: &Entry) -> Entry {
        match entry {
            Entry::Dir(dir) => Entry::Dir(self.dir(dir)),
            Entry::File(file) => {
                let copy = self.files.entry(Arc::as_ptr(file).addr());
                Entry::File(
                    copy.or_insert_with(|| Arc::new(Mutex::new(file.lock().duplicate())))
                        .clone(),
                )
            }
        }
    }

    fn entries(&mut self, entries: &Entries) -> Entries {
        entries
            .iter()
            .map(|(name, entry)| (name.clone(), self.entry(entry)))
            .collect()
    }

    fn dir(&mut self, dir: &DirRef) -> DirRef {
        if let Some(copy) = self.dirs.get(&Arc::as_ptr(dir).addr()) {
            return copy.clone();
        }
        let original = dir.lock();
        let pending = original.pending.iter().map(|op| match op {
            DirOp::Insert(name, entry) => DirOp::Insert(name.clone(), self.entry(entry)),
            DirOp::Remove(name) => DirOp::Remove(name.clone()),
            DirOp::Rename(from, to, entry) => DirOp::Rename(from.clone(), to.clone(), self.entry(entry)),
        });
        let pending = pending.collect();
        let copy = Dir {
            current: self.entries(&original.current),
            durable: self.entries(&original.durable),
            pending,
        };
        let copy = Arc::new(Mutex::new(copy));
        self.dirs.insert(Arc::as_ptr(dir).addr(), copy.clone());
        copy
    }
}
