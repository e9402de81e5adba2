//! Storage: files, directories, locks, the clock and randomness. No other module touches any of these directly.
//!
//! Three implementations live in `kodiak-storage`: local files, memory, and a fault-injecting one that makes crash images.
//! Reliability rests on this seam, so the promises are written down exactly.
//!
//! **What survives.** After [`WritableFile::sync`] the bytes written before it survive a power loss, *if* the file's
//! directory entry does; a directory entry (from `create`, `rename`, `hard_link`, `remove`) survives for sure only after
//! [`Storage::sync_dir`] on its directory. What was written without a sync survives a killed process, but after a power
//! loss any part of it may be missing.
//!
//! **After a failed sync** nothing is known about the bytes written since the last good one: a second sync on the same
//! file may report success without having saved them. Callers never retry; they give the file up.
//!
//! **Paths** are absolute or relative to the process, as given by whoever opened the database. Symbolic links in the last
//! component are not followed. New files are readable and writable for the owner only, new directories likewise.

use std::fmt::Debug;
use std::io::Write;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use arrow::buffer::Buffer;

use crate::{Error, ErrorKind, Result};

/// A place for files. Every method may be called from any thread.
///
/// # Errors
/// `NotFound`, `AlreadyExists`, `Locked` where they apply, otherwise `Io`; each names the file and what was tried.
pub trait Storage: Send + Sync + Debug {
    /// Creates a file to be written once, from start to end.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one of that name.
    fn create(&self, path: &Path) -> Result<Box<dyn WritableFile>>;

    /// Opens a finished file for reading at any place.
    fn open(&self, path: &Path) -> Result<Arc<dyn ReadableFile>>;

    /// Creates a file of exactly `len` bytes, all zero and with its space really allocated, to be overwritten in place: a
    /// log segment. Neither the file nor its directory is synced.
    ///
    /// # Errors
    /// `AlreadyExists`; `Io` if the space cannot be had, in which case no file is left behind.
    fn create_log(&self, path: &Path, len: u64) -> Result<Arc<dyn LogFile>>;

    /// Opens an existing file to be overwritten in place.
    fn open_log(&self, path: &Path) -> Result<Arc<dyn LogFile>>;

    /// How many files the system lets the process have open at once, if it is known to set a limit.
    fn open_file_limit(&self) -> Option<usize> {
        None
    }

    /// The path that `path` leads to, without `.`, `..` and, where the storage has any, links: two paths of one place become equal. What
    /// is not there is taken as it is written.
    ///
    /// # Errors
    /// `Io` if a directory on the way cannot be looked at.
    fn real_path(&self, path: &Path) -> Result<PathBuf> {
        let mut real = PathBuf::new();
        for part in path.components() {
            match part {
                Component::ParentDir => drop(real.pop()),
                Component::Normal(name) => real.push(name),
                _ => {}
            }
        }
        Ok(real)
    }

    /// Renames a file, replacing `to` if it exists. Both must be on the same file system.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Gives a finished file a second name.
    fn hard_link(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file. Open readers and mappings go on working.
    fn remove(&self, path: &Path) -> Result<()>;

    /// Creates a directory and its missing parents; existing ones are fine. The new directories survive a power loss once
    /// this has returned; what is put into them is another matter.
    fn create_dir_all(&self, path: &Path) -> Result<()>;

    /// Removes a directory and all in it; a missing one is fine.
    fn remove_dir_all(&self, path: &Path) -> Result<()>;

    /// The names of the files and directories in a directory, sorted.
    fn list(&self, dir: &Path) -> Result<Vec<String>>;

    /// The length of a file, or `None` if there is no such file.
    fn len(&self, path: &Path) -> Result<Option<u64>>;

    /// Makes the entries of a directory survive a power loss.
    fn sync_dir(&self, dir: &Path) -> Result<()>;

    /// Takes the lock file of a database, creating it if need be. It is held until dropped, and freed by the operating
    /// system if the process dies. Two locks exclude each other within one process as well as between processes.
    ///
    /// # Errors
    /// `Locked` at once if it is held; `Corruption` if what is there is no file.
    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>>;

    /// Microseconds since 1970-01-01 UTC. It may jump in either direction: use it for audit and TTL only.
    fn now_micros(&self) -> u64;

    /// Nanoseconds since some fixed point in the past; never goes backward. For durations.
    fn monotonic_nanos(&self) -> u64;

    /// A random number, for file identities.
    fn random(&self) -> u64;

    /// What keeps a processor awake while a thread waits for the disk, if the system has something of the kind.
    fn keep_awake(&self) -> Option<Box<dyn KeepAwake>> {
        None
    }
}

/// Keeps the processor of a thread that waits for the disk from sleeping.
///
/// A processor without work sleeps, and a virtual one goes back to its host, which then has to bring it back when the disk is done:
/// that takes as long as a good part of a commit. Whoever waits says so; nothing depends on it but time.
pub trait KeepAwake: Send + Sync + Debug {
    /// The calling thread will wait for the disk now. One thread at a time, until it calls [`end`](Self::end).
    fn begin(&self);

    /// It has waited.
    fn end(&self);
}

/// A held lock. Dropping it releases it.
pub trait Lock: Send + Sync + Debug {}

/// A file written once from start to end. Bytes may sit in a buffer until [`sync`](Self::sync) or [`finish`](Self::finish).
pub trait WritableFile: Write + Send + Debug {
    /// Bytes written so far.
    fn position(&self) -> u64;

    /// Says that the file will be read for long, at random places: what is mapped of it may then lie in huge pages, which the system
    /// finds sooner. To be called before anything is written. A hint, which may do nothing.
    fn read_for_long(&mut self) {}

    /// Hands buffered bytes to the operating system and makes the file's bytes survive a power loss.
    fn sync(&mut self) -> Result<()>;

    /// Hands buffered bytes to the operating system, syncs if asked, and closes the file. Without it a drop may lose
    /// buffered bytes.
    fn finish(self: Box<Self>, sync: bool) -> Result<()>;
}

/// A finished file, read at any place from any thread.
pub trait ReadableFile: Send + Sync + Debug {
    /// The length in bytes.
    fn len(&self) -> u64;

    /// True if it has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Exactly `len` bytes from `offset`, in memory of their own, aligned to 64 bytes.
    ///
    /// # Errors
    /// `Corruption` if the file ends before; `Io`.
    fn read(&self, offset: u64, len: usize) -> Result<Buffer>;

    /// The whole file as memory mapped from the page cache, or `None` if this storage or system cannot. The mapping stays
    /// valid after the file is removed, and costs no memory of the process's own. Its start is aligned to a page.
    fn map(&self) -> Result<Option<Buffer>>;

    /// Says that these bytes of a mapping will not be looked at again soon, so that their pages need not count as memory of
    /// the process. They stay what they are, and may be read all the same. A hint, which may do nothing.
    fn forget(&self, range: Range<u64>) {
        let _ = range;
    }
}

/// The unit of [`LogFile::write_durably`], bytes: a page, which is also what disks and file systems are laid out for.
pub const LOG_BLOCK: usize = 4096;

/// A preallocated file, overwritten in place by concurrent writers that agree on disjoint ranges.
pub trait LogFile: Send + Sync + Debug {
    /// The length in bytes; only [`grow`](Self::grow) and [`trim`](Self::trim) change it.
    fn len(&self) -> u64;

    /// True if it has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes all of `bytes` at `offset`, by a system call.
    ///
    /// # Errors
    /// `InvalidInput` beyond the end; `Io`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Reads up to `out.len()` bytes at `offset`; returns how many, fewer only at the end of the file.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize>;

    /// Makes what was written survive a power loss: what came through `write_at`, and through a mapping as well.
    fn sync_data(&self) -> Result<()>;

    /// Writes all of `bytes` at `offset` and makes *them* survive a power loss, which says nothing of what else was written. The
    /// length of the file must survive one already. A storage may have a faster way than [`write_at`](Self::write_at) and
    /// [`sync_data`](Self::sync_data), past the system's cache, for whole blocks: where offset, length and the address of
    /// `bytes` are multiples of [`LOG_BLOCK`]. Nobody may write to those blocks in another way at the same time.
    ///
    /// # Errors
    /// `InvalidInput` beyond the end; `Io`, after which nothing is known of the range, and the file must be given up.
    fn write_durably(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.write_at(offset, bytes)?;
        self.sync_data()
    }

    /// Makes the file `len` bytes long, the new ones zero, for every handle of it; a file that is as long already stays as it
    /// is. The space need not be allocated: a later write may find the disk full. The new length survives a power loss
    /// after [`sync_data`](Self::sync_data). A file that grows must not be mapped: old mappings may go their own way.
    ///
    /// # Errors
    /// `Unsupported` where the storage cannot (the default); `Io`.
    fn grow(&self, len: u64) -> Result<()> {
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("this storage cannot make a file {len} bytes long once it exists: use another storage"),
        ))
    }

    /// Gives the space behind the first `len` bytes back to the system: nobody will read or write there any more, through a mapping
    /// neither. The file may become that short, at once or never; a power loss may undo it. A hint, which does nothing by
    /// default.
    ///
    /// # Errors
    /// `Io`; the file is as it was.
    fn trim(&self, len: u64) -> Result<()> {
        let _ = len;
        Ok(())
    }

    /// The whole file mapped for writing, or `None` if this storage cannot. What is written there counts as handed to the
    /// operating system.
    fn map(&self) -> Result<Option<Arc<dyn MappedLog>>>;
}

/// A log file mapped into memory for writing.
pub trait MappedLog: Send + Sync + Debug {
    /// Copies `bytes` to `offset`. Concurrent calls on disjoint ranges are fine; on overlapping ones the result is one of
    /// the possible mixtures of bytes.
    ///
    /// # Panics
    /// If the range is not inside the file.
    fn write(&self, offset: usize, bytes: &[u8]);
}
