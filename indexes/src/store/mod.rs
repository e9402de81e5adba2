//! The page store: one file of extents in units of 4 KiB, written by copying and committed by one sector.
//!
//! **A commit** writes all changed nodes to pages that no root uses, then an account of space, syncs, overwrites the older of
//! two root slots with one that names the account, and syncs again. Until that slot is on the disk the commit before counts,
//! and none of its pages has been touched.
//!
//! **Assumed of the disk**: it writes a sector of 512 bytes as a whole; after a sync what was written before it survives a
//! power loss.

pub(crate) mod account;
pub(crate) mod commit;
pub(crate) mod piece;
pub(crate) mod slot;
pub(crate) mod space;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kodiak_core::storage::{LogFile, Storage};
use kodiak_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use self::account::Account;
use self::piece::{HEADER, Kind, PAGE, Ptr};
use self::slot::{SLOT, Slot};
use self::space::{Extent, Space};
use crate::pool::BufferPool;
use crate::tree::piece::Piece;

/// What a store counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub hits: AtomicU64,
    pub misses: AtomicU64,
    pub reads: AtomicU64,
    pub read_bytes: AtomicU64,
    pub writes: AtomicU64,
    pub write_bytes: AtomicU64,
    pub syncs: AtomicU64,
    pub commits: AtomicU64,
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// An open index file.
#[derive(Debug)]
pub(crate) struct Store {
    pub path: PathBuf,
    pub pool: Arc<BufferPool>,
    pub space: Mutex<Space>,
    pub counters: Counters,
    pub(in crate::store) slot: Mutex<Slot>,
    /// The accounts from the last whole one on, and the bytes of that one.
    pub(in crate::store) chain: Mutex<Chain>,
    file: Arc<dyn LogFile>,
    number: u32,
    compress: bool,
    /// A sync has failed: nothing can be committed any more.
    pub(in crate::store) poisoned: AtomicBool,
}

/// The accounts that opening would read.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    pub extents: Vec<Extent>,
    pub whole_pages: u64,
    /// The next account is to be whole.
    pub renew: bool,
}

/// How the file grows at least: a quarter of a mebibyte, or one part in so many of what there is.
const STEP: u64 = 64;
const GROWTH: u64 = 16;

impl Store {
    /// Makes a file with one, empty root. It gets its name only when it is whole.
    ///
    /// # Errors
    /// `AlreadyExists`, `Io`.
    pub(crate) fn create(storage: &dyn Storage, path: &Path, kind: &str, upsert: &str) -> Result<()> {
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
        let made = commit::write_first(storage, &draft, kind, upsert).and_then(|()| storage.rename(&draft, path));
        if let Err(error) = made {
            // The first error is the one worth telling.
            let _ = storage.remove(&draft);
            return Err(error);
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        storage.sync_dir(dir.unwrap_or(Path::new(".")))
    }

    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound`; `Corruption`, `Unsupported`; `InvalidSettings` if another kind of index or operator made it; `Io`.
    pub(crate) fn open(
        storage: &dyn Storage,
        path: &Path,
        pool: Arc<BufferPool>,
        kind: &str,
        upsert: &str,
        compress: bool,
    ) -> Result<Self> {
        let mut store = Self::open_any(storage, path, pool)?;
        store.compress = compress;
        let slot = store.slot.get_mut();
        let other = |what: &str, found: &str, wanted: &str| {
            let message =
                format!("the file was made with the {what} \"{found}\", not \"{wanted}\": open it with that one");
            Err(Error::new(ErrorKind::InvalidSettings, message).with_file(path))
        };
        if slot.kind != kind {
            return other("index", &slot.kind, kind);
        }
        if !slot.upsert.is_empty() && slot.upsert != upsert {
            return other("upsert operator", &slot.upsert, upsert);
        }
        upsert.clone_into(&mut slot.upsert);
        Ok(store)
    }

    /// Opens a file of whatever index, to be read.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_any(storage: &dyn Storage, path: &Path, pool: Arc<BufferPool>) -> Result<Self> {
        let file = storage.open_log(path)?;
        let slot = read_slots(&*file, path)?;
        let store = Self {
            path: path.to_owned(),
            number: pool.new_file(),
            pool,
            space: Mutex::default(),
            counters: Counters::default(),
            slot: Mutex::new(slot.clone()),
            chain: Mutex::default(),
            file,
            compress: false,
            poisoned: AtomicBool::new(false),
        };
        store.replay(&slot)?;
        Ok(store)
    }

    /// The kind of index, and the name of its upsert operator, which may be empty.
    pub(crate) fn names(&self) -> (String, String) {
        let slot = self.slot.lock();
        (slot.kind.clone(), slot.upsert.clone())
    }

    /// Reads the accounts and brings the state of space up to date.
    fn replay(&self, slot: &Slot) -> Result<()> {
        let mut accounts: Vec<(Extent, Account)> = Vec::new();
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
        if space.end.saturating_mul(PAGE) > self.file.len() {
            let message = format!("the file is cut short: {} pages are in use", space.end);
            return Err(Error::corruption(message)
                .with_file(&self.path)
                .with_offset(self.file.len()));
        }
        (*self.space.lock(), *self.chain.lock()) = (space, chain);
        Ok(())
    }

    fn read_account(&self, ptr: &Ptr) -> Result<Account> {
        let (header, bytes) = piece::unseal(self.read_bytes(ptr)?, ptr)?;
        if header.kind != Kind::Space {
            return Err(Error::corruption(
                "something else is where an account of space should be",
            ));
        }
        Account::decode(&bytes[HEADER..])
    }

    /// Names file and offset.
    pub(crate) fn at(&self, error: Error, ptr: &Ptr) -> Error {
        error.with_file(&self.path).with_offset(ptr.offset())
    }

    fn read_bytes(&self, ptr: &Ptr) -> Result<Vec<u8>> {
        let mut bytes = vec![0; ptr.len as usize];
        let read = self.file.read_at(ptr.offset(), &mut bytes)?;
        if read < bytes.len() {
            return Err(Error::corruption("the file is cut short within a piece"));
        }
        count(&self.counters.reads, 1);
        count(&self.counters.read_bytes, bytes.len() as u64);
        Ok(bytes)
    }

    /// The piece at `ptr` as it is in the file, past the pool.
    ///
    /// # Errors
    /// `Corruption`, `Unsupported`, `Io`; all name file and offset.
    pub(crate) fn load(&self, ptr: &Ptr) -> Result<Piece> {
        let parse = || {
            let (header, bytes) = piece::unseal(self.read_bytes(ptr)?, ptr)?;
            Piece::parse(header, bytes)
        };
        parse().map_err(|error| self.at(error, ptr))
    }

    /// The piece at `ptr`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    #[inline]
    pub(crate) fn read(&self, ptr: &Ptr) -> Result<Arc<Piece>> {
        if let Some(piece) = self.pool.get((self.number, ptr.page)) {
            count(&self.counters.hits, 1);
            return Ok(piece);
        }
        count(&self.counters.misses, 1);
        let piece = Arc::new(self.load(ptr)?);
        self.pool.insert((self.number, ptr.page), &piece);
        Ok(piece)
    }

    /// As [`read`](Self::read), for a piece that will not be wanted again.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(crate) fn read_once(&self, ptr: &Ptr) -> Result<Arc<Piece>> {
        if let Some(piece) = self.pool.get((self.number, ptr.page)) {
            count(&self.counters.hits, 1);
            return Ok(piece);
        }
        count(&self.counters.misses, 1);
        Ok(Arc::new(self.load(ptr)?))
    }

    /// Keeps what has just been written to `ptr`.
    pub(crate) fn keep(&self, ptr: &Ptr, piece: Piece) {
        self.pool.insert((self.number, ptr.page), &Arc::new(piece));
    }

    /// Writes a piece, whose body has room for a header before it, to new pages.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn write(&self, kind: Kind, level: u8, raw: &mut Vec<u8>) -> Result<Ptr> {
        let raw_len = raw.len() - HEADER;
        match if self.compress { piece::compress(raw) } else { None } {
            Some(mut small) => self.write_sealed(kind, level, &mut small, raw_len, true),
            None => self.write_sealed(kind, level, raw, raw_len, false),
        }
    }

    fn write_sealed(
        &self,
        kind: Kind,
        level: u8,
        bytes: &mut Vec<u8>,
        raw_len: usize,
        compressed: bool,
    ) -> Result<Ptr> {
        let pages = (bytes.len() as u64).div_ceil(PAGE);
        let (extent, birth) = {
            let mut space = self.space.lock();
            (space.allocate(pages), space.generation + 1)
        };
        let crc = piece::seal(bytes, kind, level, raw_len, compressed, extent.page, birth);
        let ptr = Ptr {
            page: extent.page,
            len: bytes.len() as u32,
            crc,
            birth,
        };
        self.reserve(extent.end())?;
        // Whole pages: the system would have to read the rest of the last one.
        let len = bytes.len();
        bytes.resize((pages * PAGE) as usize, 0);
        let written = self.file.write_at(ptr.offset(), bytes);
        bytes.truncate(len);
        written?;
        count(&self.counters.writes, 1);
        count(&self.counters.write_bytes, pages * PAGE);
        Ok(ptr)
    }

    /// Makes the file long enough.
    fn reserve(&self, end: u64) -> Result<()> {
        let have = self.file.len() / PAGE;
        if end > have {
            let wanted = end.max(have + STEP.max(have / GROWTH));
            self.file.grow(wanted * PAGE)?;
        }
        Ok(())
    }

    /// Gives a piece of the working state up.
    ///
    /// # Errors
    /// `Corruption` if it was not in use.
    pub(crate) fn kill(&self, ptr: &Ptr) -> Result<()> {
        let free = self.space.lock().kill(ptr).map_err(|error| self.at(error, ptr))?;
        if free {
            self.pool.remove((self.number, ptr.page));
        }
        Ok(())
    }

    /// Forgets pieces whose pages have become free.
    pub(crate) fn forget(&self, freed: &[Extent]) {
        for extent in freed {
            self.pool.remove((self.number, extent.page));
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.pool.remove_file(self.number);
    }
}

/// The newer of the two slots.
fn read_slots(file: &dyn LogFile, path: &Path) -> Result<Slot> {
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
    Ok(newer)
}
