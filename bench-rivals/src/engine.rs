//! The one trait that every engine is driven through.

use std::error::Error;
use std::path::Path;

/// Whatever goes wrong: a run that fails is reported as failed, not measured.
pub type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// What all engines are opened with.
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions {
    /// Bytes of a memtable, where there is one.
    pub memtable: u64,
    /// Bytes of the engine's own cache, where there is one.
    pub cache: u64,
    /// Upper limit of the bytes that will be stored (LMDB must know the size of its map).
    pub data: u64,
    /// True: each write is on the disk before it is acknowledged. False: handed to the operating system at most.
    pub durable: bool,
}

/// An embedded, ordered key-value store. Calls are generic, not virtual, so that the harness adds nothing per entry.
pub trait Engine: Sized + Send + Sync {
    /// Reads at one moment or later.
    type Reader<'a>: Reader
    where
        Self: 'a;

    /// Opens the store in the directory `dir`, which exists, creating it if there is none.
    fn open(dir: &Path, options: &OpenOptions) -> Result<Self>;

    /// Writes one entry.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Writes entries atomically.
    fn put_batch<'a>(&self, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<()>;

    /// Deletes a key.
    fn delete(&self, key: &[u8]) -> Result<()>;

    /// A reader that sees every write acknowledged before. Engines with read transactions begin one here; it is held over
    /// a phase that only reads, and made anew for every read where there are writes between.
    fn reader(&self) -> Result<Self::Reader<'_>>;

    /// Moves memtables to disk and waits until no background work is due or running.
    fn drain(&self) -> Result<()>;

    /// Closes the store.
    fn close(self) -> Result<()>;
}

/// The reading side of an [`Engine`].
pub trait Reader {
    /// Hands the value of `key` to `found`.
    fn get<T>(&self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>>;

    /// Hands entries from `start` on in key order to `visit`, until that returns false.
    fn scan(&self, start: &[u8], visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()>;
}
