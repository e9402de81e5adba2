//! The page store: one file of extents in units of 4 KiB, written by copying and committed by one sector.
//!
//! **A commit** writes all changed nodes to pages that no root uses, then an account of space, which names them with their
//! checksums, overwrites the older of two root slots with one that names the account, and syncs. Until all of that is on the disk the
//! commit before counts, and none of its pages has been touched. The disk may write it in any order: so an opening reads what
//! the newest commit wrote, and passes that commit over if anything is missing. It need not once the slot says that the sync has come
//! to its end, which is written after it, and not waited for. Large commits sync twice instead, before the slot and after it, and leave nothing
//! to be read.
//!
//! **Assumed of the disk**: it writes a sector of 512 bytes as a whole; after a sync what was written before it survives a
//! power loss.

pub(crate) mod account;
pub(crate) mod commit;
mod open;
pub(crate) mod piece;
pub(crate) mod slot;
pub(crate) mod space;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use kodiak_core::storage::LogFile;
use kodiak_core::{Error, Result};
use parking_lot::Mutex;

use self::account::Account;
pub(crate) use self::open::dir_of;
use self::piece::{HEADER, Kind, PAGE, Ptr};
use self::slot::Slot;
use self::space::{Extent, Space};
use crate::pool::{BufferPool, Tally};
use crate::tree::piece::Piece;

/// What a store counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub hits: Striped,
    pub misses: AtomicU64,
    pub reads: AtomicU64,
    pub read_bytes: AtomicU64,
    pub writes: AtomicU64,
    pub write_bytes: AtomicU64,
    pub syncs: AtomicU64,
    pub commits: AtomicU64,
}

/// A counter of what threads do often and at once: each adds to a cache line that few others have.
#[derive(Debug, Default)]
pub(crate) struct Striped([Stripe; 16]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

impl Striped {
    fn add(&self) {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static MINE: usize = THREADS.fetch_add(1, Ordering::Relaxed));
        // A thread that is ending has no number any more.
        let mine = MINE.try_with(|mine| *mine).unwrap_or(0);
        count(&self.0[mine % self.0.len()].0, 1);
    }

    /// The sum.
    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum()
    }
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
    /// What the working state has in memory.
    pub tally: Arc<Tally>,
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
    /// What the opening found is on the disk for certain.
    pub(in crate::store) settled: AtomicBool,
    /// The opening passed over a commit that was half written.
    pub(in crate::store) torn: AtomicBool,
    pub(in crate::store) found: Mutex<Found>,
}

/// What is written again before anything else is.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The pieces of the newest commit, if they are not known to be on the disk.
    pub unsynced: Vec<Ptr>,
    /// The slot of the newest commit takes the place of the other one, too.
    pub doubled: bool,
}

/// The accounts that opening would read.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    pub extents: Vec<Extent>,
    pub whole_pages: u64,
    /// The next account is to be whole.
    pub renew: bool,
    /// How far the file was used lately, in pages: it sinks slowly where less is.
    pub reach: u64,
}

/// How the file grows at least: a quarter of a mebibyte, or one part in so many of what there is. What it has beyond what it needs is
/// given back once it is several times that.
const STEP: u64 = 64;
const GROWTH: u64 = 16;

impl Store {
    fn read_account(&self, ptr: &Ptr) -> Result<Account> {
        let (header, bytes) = piece::unseal(self.read_bytes(ptr)?, ptr)?;
        if header.kind != Kind::Space {
            return Err(Error::corruption(
                "something else is where an account of space should be",
            ));
        }
        Account::decode(header, &bytes[HEADER..])
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
        self.read_rated(ptr).map(|(piece, _)| piece)
    }

    /// As [`read`](Self::read); and whether the piece is asked for often.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(crate) fn read_rated(&self, ptr: &Ptr) -> Result<(Arc<Piece>, bool)> {
        if let Some(kept) = self.pool.get((self.number, ptr.page)) {
            self.counters.hits.add();
            return Ok(kept);
        }
        count(&self.counters.misses, 1);
        let piece = Arc::new(self.load(ptr)?);
        self.pool.insert((self.number, ptr.page), &piece);
        Ok((piece, false))
    }

    /// As [`read`](Self::read), for a piece that will not be wanted again.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(crate) fn read_once(&self, ptr: &Ptr) -> Result<Arc<Piece>> {
        if let Some((piece, _)) = self.pool.get((self.number, ptr.page)) {
            self.counters.hits.add();
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
        self.settle()?;
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
        self.space.lock().note(&ptr);
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

    /// Gives the end of the file back, if no commit of late has had use for it. Nobody reads or writes behind `end`.
    fn give_back(&self, end: u64, chain: &mut Chain) {
        let sunk = chain.reach - chain.reach.saturating_sub(end) / 8;
        chain.reach = sunk.max(end);
        let spare = STEP.max(chain.reach / GROWTH);
        if self.file.len() / PAGE > chain.reach + 4 * spare {
            // If it fails the file stays as it is, which harms nobody.
            let _ = self.file.trim((chain.reach + spare) * PAGE);
        }
    }

    /// Gives a piece of the working state up.
    ///
    /// # Errors
    /// `Corruption` if it was not in use.
    pub(crate) fn kill(&self, ptr: &Ptr) -> Result<()> {
        let mut space = self.space.lock();
        if space.kill(ptr).map_err(|error| self.at(error, ptr))? {
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

#[cfg(test)]
mod tests;

impl Drop for Store {
    fn drop(&mut self) {
        self.pool.remove_file(self.number);
    }
}
