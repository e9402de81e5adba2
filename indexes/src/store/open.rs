//! Making and opening index files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kodiak_core::storage::{LogFile, Storage};
use kodiak_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use super::account::Account;
use super::piece::{self, PAGE, Ptr};
use super::slot::{Names, SLOT, Slot};
use super::space::{Extent, Space};
use super::{Chain, Counters, Found, Store, commit};
use crate::pool::{BufferPool, Tally};

impl Store {
    /// Makes a file with one, empty root. It gets its name only when it is whole.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidInput` for names that are too long, `Io`.
    pub(crate) fn create(storage: &dyn Storage, path: &Path, names: &Names) -> Result<()> {
        names.check().map_err(|error| error.with_file(path))?;
        if storage.len(path)?.is_some() {
            let message = "there is a file of this name already: open it, or pick another name";
            return Err(Error::new(ErrorKind::AlreadyExists, message).with_file(path));
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let draft = PathBuf::from(name);
        match storage.remove(&draft) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let made = commit::write_first(storage, &draft, names).and_then(|()| storage.rename(&draft, path));
        if let Err(error) = made {
            // The first error is the one worth telling.
            let _ = storage.remove(&draft);
            return Err(error);
        }
        storage.sync_dir(dir_of(path))
    }

    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound`; `Corruption`, also if it is of another owner; `Unsupported`; `InvalidSettings` if another kind of index or operator made
    /// it; `InvalidInput` for names that are too long; `Io`.
    pub(crate) fn open(
        storage: &dyn Storage,
        path: &Path,
        pool: Arc<BufferPool>,
        names: Names,
        compress: bool,
    ) -> Result<Self> {
        let mut store = Self::open_any(storage, path, pool)?;
        store.compress = compress;
        let met = store.slot.get_mut().names.meet(names);
        met.map_err(|error| error.with_file(path))?;
        Ok(store)
    }

    /// Opens a file of whatever index, to be read.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_any(storage: &dyn Storage, path: &Path, pool: Arc<BufferPool>) -> Result<Self> {
        let file = storage.open_log(path)?;
        let slots = read_slots(&*file, path)?;
        let slot = &slots.newer;
        let store = Self {
            path: path.to_owned(),
            number: pool.new_file(),
            tally: Tally::new(&pool),
            pool,
            space: Mutex::default(),
            counters: Counters::default(),
            slot: Mutex::new(slot.clone()),
            chain: Mutex::default(),
            file,
            compress: false,
            poisoned: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            torn: AtomicBool::new(false),
            found: Mutex::new(Found {
                unsynced: Vec::new(),
                doubled: slots.older.generation == slots.newer.generation,
            }),
        };
        store.replay_newest(&slots)?;
        Ok(store)
    }

    /// Opens with the newest commit; with the one before, if what is in the file of the newest was never synced and is not whole.
    fn replay_newest(&self, slots: &Slots) -> Result<()> {
        let error = match self.replay(&slots.newer) {
            Err(error) if error.kind() == ErrorKind::Corruption => error,
            done => return done,
        };
        let Slots { newer, older } = slots;
        if newer.synced || older.generation == newer.generation {
            return Err(error);
        }
        // One that is open for reading only may have been overtaken by commits, and finds their pages.
        if read_slots(&*self.file, &self.path)? != *slots {
            return Err(error);
        }
        *self.slot.lock() = older.clone();
        self.torn.store(true, Ordering::Release);
        self.found.lock().doubled = true;
        self.replay(older)
    }

    /// True if somebody else has committed to the file since it was opened, and may have used pages again that were read here.
    ///
    /// # Errors
    /// Those of reading the slots.
    pub(crate) fn is_overtaken(&self) -> Result<bool> {
        let passed_over = u64::from(self.torn.load(Ordering::Acquire));
        let known = self.slot.lock().generation + passed_over;
        Ok(read_slots(&*self.file, &self.path)?.newer.generation != known)
    }

    /// The kind of index, and the name of its upsert operator, which may be empty.
    pub(crate) fn names(&self) -> Names {
        self.slot.lock().names.clone()
    }

    /// Reads the accounts and brings the state of space up to date, once it has seen that everything is there.
    fn replay(&self, slot: &Slot) -> Result<()> {
        let mut accounts: Vec<(Extent, Account)> = Vec::new();
        let mut unsynced = Vec::new();
        let mut next = Some(slot.account);
        while let Some(ptr) = next {
            let account = self.read_account(&ptr).map_err(|error| self.at(error, &ptr))?;
            let expected = accounts
                .last()
                .map_or(slot.generation, |(_, later)| later.generation - 1);
            if account.generation != expected || (account.generation < 2 && account.previous.is_some()) {
                return Err(self.at(
                    Error::corruption("an account of space is not the one that belongs here"),
                    &ptr,
                ));
            }
            if accounts.is_empty() && !slot.synced {
                self.check(&account.written)?;
                unsynced.clone_from(&account.written);
                unsynced.push(ptr);
            }
            next = account.previous;
            accounts.push((Extent::of(&ptr), account));
        }
        let mut space = Space {
            end: 2,
            ..Space::default()
        };
        let mut chain = Chain::default();
        for (own, account) in accounts.into_iter().rev() {
            if chain.extents.is_empty() {
                chain.whole_pages = own.pages;
            }
            chain.extents.push(own);
            account
                .replay(&mut space, own)
                .map_err(|error| error.with_file(&self.path).with_offset(own.page.saturating_mul(PAGE)))?;
        }
        // A commit has given it back, perhaps, after the account that knows of it was written.
        space.cut_tail();
        if space.end.saturating_mul(PAGE) > self.file.len() {
            let message = format!("the file is cut short: {} pages are in use", space.end);
            return Err(Error::corruption(message)
                .with_file(&self.path)
                .with_offset(self.file.len()));
        }
        (*self.space.lock(), *self.chain.lock()) = (space, chain);
        self.found.lock().unsynced = unsynced;
        Ok(())
    }

    /// Reads what an opening reads anew, past all that is known of it: the root slots and the accounts. Whatever is not as it was left is
    /// told, with its offset.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn reread(&self, tell: &mut dyn FnMut(u64, &str)) -> Result<()> {
        let known = self.slot.lock().clone();
        let mut told = |error: Error| match error.kind() {
            ErrorKind::Io => Err(error),
            _ => {
                tell(error.offset().unwrap_or(0), error.message());
                Ok(())
            }
        };
        match read_slots(&*self.file, &self.path) {
            Err(error) => told(error)?,
            Ok(slots) => {
                let is_known = |slot: &Slot| (slot.generation, slot.account) == (known.generation, known.account);
                if ![&slots.older, &slots.newer].into_iter().any(is_known) {
                    let error = Error::corruption("neither root slot is that of the newest commit");
                    told(error.with_offset(PAGE * (known.generation % 2)))?;
                }
            }
        }
        let mut extents = Vec::new();
        let mut next = Some(known.account);
        while let Some(ptr) = next.filter(|_| extents.len() < self.chain.lock().extents.len()) {
            extents.push(Extent::of(&ptr));
            match self.read_account(&ptr) {
                Ok(account) => next = account.previous,
                Err(error) => return told(self.at(error, &ptr)),
            }
        }
        extents.reverse();
        if extents != self.accounts() {
            return told(self.at(
                Error::corruption("the accounts are not those that were written"),
                &known.account,
            ));
        }
        Ok(())
    }

    /// Reads pieces only to see that they are what was written.
    fn check(&self, pieces: &[Ptr]) -> Result<()> {
        for ptr in pieces {
            let read = self.read_bytes(ptr).and_then(|bytes| piece::unseal(bytes, ptr));
            read.map_err(|error| self.at(error, ptr))?;
        }
        Ok(())
    }
}

/// The directory of a file.
pub(crate) fn dir_of(path: &Path) -> &Path {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    dir.unwrap_or(Path::new("."))
}

/// Both slots.
#[derive(Debug, PartialEq, Eq)]
struct Slots {
    older: Slot,
    newer: Slot,
}

fn read_slots(file: &dyn LogFile, path: &Path) -> Result<Slots> {
    let mut slots = Vec::new();
    for offset in [0, PAGE] {
        let mut bytes = [0; SLOT];
        let read = file.read_at(offset, &mut bytes)?;
        let slot = if read < SLOT {
            Err(Error::corruption("the file is cut short within its root slots"))
        } else {
            Slot::decode(&bytes)
        };
        slots.push(slot.map_err(|error| error.with_file(path).with_offset(offset))?);
    }
    let (odd, even) = (slots.pop(), slots.pop());
    let (Some(even), Some(odd)) = (even, odd) else {
        return Err(Error::corruption("no root slots").with_file(path));
    };
    let (older, newer) = if even.generation > odd.generation {
        (odd, even)
    } else {
        (even, odd)
    };
    if newer.generation - older.generation > 1 {
        let message = "the two root slots do not belong together: one is from another time";
        return Err(Error::corruption(message)
            .with_file(path)
            .with_offset(PAGE * (older.generation % 2)));
    }
    Ok(Slots { older, newer })
}
