//! The lock file of a database.
//!
//! `flock` belongs to the open file, not to the process: it excludes a second `open` in the same process too, and closing
//! some other descriptor of the file does not release it, as it would with `fcntl`. Network file systems imitate it with
//! `fcntl`, though, which has both faults; so a table of the process's own locks comes first, and the file is not even
//! opened while this process holds it.
//!
//! A forked child shares the parent's open file. It gets `Locked` like everybody else, and when it drops the value it
//! inherited, the parent's lock stays. If the parent dies, the lock lives until the child ends or replaces itself by `exec`.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use kodiak_core::storage::Lock;
use kodiak_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use rustix::fs::{self, AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{FILE_MODE, open_at};
use crate::errors::{io_error, locked, no_lock_file};

/// Device and inode of the lock files held by this process.
static HELD: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

/// A lock file replaced this often while we try to lock it is being played with.
const ATTEMPTS: u32 = 100;

#[derive(Debug)]
pub(super) struct LocalLock {
    /// `None` only while it is being dropped.
    file: Option<File>,
    identity: (u64, u64),
    owner: u32,
}

#[expect(clippy::unnecessary_cast, reason = "other systems have other types here")]
fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// A pipe could be locked, too; links are not followed, and what the others make the system say would puzzle whoever sees it.
fn check_is_file(path: &Path, stat: &Stat) -> Result<()> {
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a pipe",
        _ => "something other than a file",
    };
    Err(no_lock_file(path, what))
}

impl LocalLock {
    pub(super) fn acquire(path: &Path) -> Result<Self> {
        let failed = |error: Errno| io_error("lock the file", path, error);
        for _ in 0..ATTEMPTS {
            let mut held = HELD.lock();
            match fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if held.contains(&identity(&stat)) => return Err(locked(path)),
                Ok(stat) => check_is_file(path, &stat)?,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(failed(error)),
            }
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK;
            let file = open_at(path, flags, FILE_MODE).map_err(failed)?;
            match rustix::io::retry_on_intr(|| fs::flock(&file, FlockOperation::NonBlockingLockExclusive)) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(locked(path)),
                Err(error) => return Err(failed(error)),
            }
            let stat = fs::fstat(&file).map_err(failed)?;
            if Mode::from_raw_mode(stat.st_mode) != FILE_MODE {
                fs::fchmod(&file, FILE_MODE).map_err(failed)?;
            }
            let identity_held = identity(&stat);
            // Whoever removed the file between the two calls left us with a lock on a file that nobody else will find.
            match fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if identity(&stat) == identity_held => {
                    held.insert(identity_held);
                    return Ok(Self {
                        file: Some(file),
                        identity: identity_held,
                        owner: std::process::id(),
                    });
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(Error::new(ErrorKind::Io, "cannot lock the file: it is being replaced all the time").with_file(path))
    }
}

impl Lock for LocalLock {}

impl Drop for LocalLock {
    fn drop(&mut self) {
        if std::process::id() != self.owner {
            // A forked child: unlocking would release the parent's lock, closing does not.
            return;
        }
        let mut held = HELD.lock();
        if let Some(file) = self.file.take() {
            // Explicitly, because a child between `fork` and `exec` may still have the descriptor open. A failure means that
            // it is not locked. The file is closed before the table lets anybody else in.
            let _ = fs::flock(&file, FlockOperation::Unlock);
        }
        held.remove(&self.identity);
    }
}
