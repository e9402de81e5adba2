//! Bugs that a storage has, and with it the page store.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kodiak_core::Result;
use kodiak_core::storage::{Lock, LogFile, MappedLog, ReadableFile, Storage, WritableFile};
use kodiak_storage::FaultStorage;
use parking_lot::Mutex;

use super::Bug;
use crate::setup::PATH;

/// The storage.
#[derive(Debug)]
pub struct BuggyStorage {
    inner: FaultStorage,
    bug: Bug,
}

impl BuggyStorage {
    pub fn new(inner: FaultStorage, bug: Bug) -> Self {
        Self { inner, bug }
    }

    fn log(&self, path: &Path, inner: Arc<dyn LogFile>) -> Arc<dyn LogFile> {
        let concerned = path.to_string_lossy().starts_with(PATH) && !self.bug.is_of_the_tree();
        if !concerned {
            return inner;
        }
        Arc::new(BuggyLog {
            inner,
            bug: self.bug,
            is_draft: path != Path::new(PATH),
            writes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            state: Mutex::default(),
        })
    }
}

impl Storage for BuggyStorage {
    fn create(&self, path: &Path) -> Result<Box<dyn WritableFile>> {
        self.inner.create(path)
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn ReadableFile>> {
        self.inner.open(path)
    }

    fn create_log(&self, path: &Path, len: u64) -> Result<Arc<dyn LogFile>> {
        Ok(self.log(path, self.inner.create_log(path, len)?))
    }

    fn open_log(&self, path: &Path) -> Result<Arc<dyn LogFile>> {
        Ok(self.log(path, self.inner.open_log(path)?))
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
        Storage::len(&self.inner, path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        match self.bug {
            Bug::DirNotSynced => Ok(()),
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

const PAGE: u64 = 4096;
const SLOT: usize = 512;
/// Where a slot says that its commit is on the disk (`docs/formats/index.md`).
const SYNCED: usize = 48;

/// What such a slot says, or another thing, with a checksum that fits.
fn with_synced(slot: &[u8], synced: bool) -> Vec<u8> {
    let mut slot = slot.to_vec();
    slot[SYNCED] = u8::from(synced);
    let crc = crc32fast::hash(&slot[..SLOT - 4]);
    slot[SLOT - 4..].copy_from_slice(&crc.to_le_bytes());
    slot
}

fn number_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[derive(Debug, Default)]
struct LogState {
    /// A write that is not made yet.
    held: Option<(u64, Vec<u8>)>,
    /// What was written last is a slot.
    slot_written: bool,
    /// The newest piece, what commit it is of, and where it is; and the newest of the commit before.
    newest: Option<(u64, u64)>,
    before: Option<(u64, u64)>,
    /// A page in use that was overwritten, to be put back.
    borrowed: Option<(u64, Vec<u8>)>,
}

struct BuggyLog {
    inner: Arc<dyn LogFile>,
    bug: Bug,
    is_draft: bool,
    writes: AtomicU64,
    syncs: AtomicU64,
    state: Mutex<LogState>,
}

impl fmt::Debug for BuggyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuggyLog")
            .field("bug", &self.bug)
            .finish_non_exhaustive()
    }
}

impl BuggyLog {
    fn write_slot(&self, offset: u64, slot: &[u8]) -> Result<()> {
        self.state.lock().slot_written = true;
        match self.bug {
            Bug::SaysSynced => self.inner.write_at(offset, &with_synced(slot, true)),
            Bug::WithoutAlternate => {
                self.inner.write_at(0, slot)?;
                self.inner.write_at(PAGE, slot)
            }
            Bug::PagesReusedEarly => {
                self.borrow(number_at(slot, 16))?;
                self.inner.write_at(offset, slot)
            }
            _ => self.inner.write_at(offset, slot),
        }
    }

    /// Writes over a piece of the commit before that of `number`, until the next sync.
    fn borrow(&self, number: u64) -> Result<()> {
        let mut state = self.state.lock();
        let known = [state.newest, state.before];
        let old = known.into_iter().flatten().find(|(birth, _)| *birth < number);
        if let (Some((_, offset)), None) = (old, &state.borrowed) {
            let mut bytes = vec![0; PAGE as usize];
            self.inner.read_at(offset, &mut bytes)?;
            self.inner.write_at(offset, &[0xAB; PAGE as usize])?;
            state.borrowed = Some((offset, bytes));
        }
        Ok(())
    }

    fn note(&self, offset: u64, bytes: &[u8]) {
        let mut state = self.state.lock();
        state.slot_written = false;
        let birth = number_at(bytes, 16);
        if state.newest.is_some_and(|(newest, _)| newest != birth) {
            state.before = state.newest;
        }
        state.newest = Some((birth, offset));
    }
}

impl LogFile for BuggyLog {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        if bytes.len() == SLOT {
            return self.write_slot(offset, bytes);
        }
        self.note(offset, bytes);
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        match self.bug {
            Bug::WriteLost if number % 17 == 16 => return Ok(()),
            Bug::WritesSwapped => {}
            _ => return self.inner.write_at(offset, bytes),
        }
        let held = self.state.lock().held.take();
        if held.is_none() && number % 4 == 3 {
            self.state.lock().held = Some((offset, bytes.to_vec()));
            return Ok(());
        }
        self.inner.write_at(offset, bytes)?;
        match held {
            Some((offset, bytes)) => self.inner.write_at(offset, &bytes),
            None => Ok(()),
        }
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        let held = self.state.lock().held.clone();
        if let Some((at, bytes)) = held.filter(|(at, bytes)| *at == offset && bytes.len() >= out.len()) {
            let _ = at;
            out.copy_from_slice(&bytes[..out.len()]);
            return Ok(out.len());
        }
        let read = self.inner.read_at(offset, out)?;
        if self.bug == Bug::NotChecked && read == SLOT {
            let slot = with_synced(out, true);
            out.copy_from_slice(&slot);
        }
        Ok(read)
    }

    fn sync_data(&self) -> Result<()> {
        let number = self.syncs.fetch_add(1, Ordering::Relaxed);
        let (slot_written, borrowed) = {
            let mut state = self.state.lock();
            (state.slot_written, state.borrowed.take())
        };
        if let Some((offset, bytes)) = borrowed {
            self.inner.write_at(offset, &bytes)?;
        }
        match self.bug {
            Bug::NotSynced => Ok(()),
            Bug::DraftNotSynced if self.is_draft => Ok(()),
            Bug::SyncedSometimes if number % 3 == 2 => Ok(()),
            Bug::NotSettled if number == 0 && !self.is_draft => Ok(()),
            Bug::RootBeforePages if !slot_written && number > 0 => Ok(()),
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
