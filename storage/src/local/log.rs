//! Preallocated files, overwritten in place.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use kodiak_core::storage::{LOG_BLOCK, LogFile, MappedLog};
use kodiak_core::{Error, ErrorKind, Result};
use memmap2::{MmapOptions, MmapRaw};
#[cfg(target_os = "linux")]
use rustix::fs::{OFlags, Stat, fstat};
use rustix::io::Errno;

use super::sync_data;
use crate::buffered::{read_fully, uninterrupted, write_fully};
use crate::copy;
use crate::errors::{check_log_range, io_error};

/// Gives `file` its `len` bytes, all zero. `fallocate` alone leaves extents marked as unwritten, and then every sync that
/// follows a first overwrite has to change metadata: several times the price. So the zeros are really written; asking
/// for the space first gets it in one piece, and finds a full disk before any work is done.
pub(super) fn allocate(file: &File, len: u64) -> io::Result<()> {
    const ZEROS: usize = 256 * 1024;
    if len == 0 {
        return Ok(());
    }
    reserve(file, len)?;
    let zeros = vec![0u8; ZEROS];
    let mut offset = 0;
    while offset < len {
        let count = (len - offset).min(ZEROS as u64) as usize;
        write_fully(&zeros[..count], |rest, done| {
            Ok(rustix::io::pwrite(file, rest, offset + done)?)
        })?;
        offset += count as u64;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn reserve(file: &File, len: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match uninterrupted(|| Ok(fallocate(file, FallocateFlags::empty(), 0, len)?)) {
        // Not every file system can; writing the zeros does it as well.
        Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported) => Ok(()),
        result => result,
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}

/// A second handle of a log file, opened at need, whose writes go past the system's cache and return once the disk has them:
/// one system call instead of two, and no page to be found, locked and written back.
#[derive(Debug, Default)]
struct Direct {
    handle: OnceLock<Option<File>>,
    refused: AtomicBool,
}

impl Direct {
    /// The handle; `None` where the file system has no such thing.
    fn file(&self, path: &Path, file: &File) -> Option<&File> {
        if self.refused.load(Ordering::Relaxed) {
            return None;
        }
        self.handle.get_or_init(|| open_direct(path, file)).as_ref()
    }

    fn give_up(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path, file: &File) -> Option<File> {
    // What rustix calls so is `O_SYNC` here, which also saves the time of the last change, whenever the clock has gone on.
    let data_only = OFlags::from_bits_retain(libc::O_DSYNC as u32);
    let (direct, _) = super::open_regular(path, OFlags::WRONLY | OFlags::DIRECT | data_only).ok()?;
    // The name could be another file's by now.
    let same = |a: Stat, b: Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
    same(fstat(file).ok()?, fstat(&direct).ok()?).then_some(direct)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_: &Path, _: &File) -> Option<File> {
    None
}

#[derive(Debug)]
pub(super) struct LocalLog {
    path: PathBuf,
    file: File,
    len: AtomicU64,
    sync_failed: AtomicBool,
    direct: Direct,
}

impl LocalLog {
    pub(super) fn new(path: &Path, file: File, len: u64) -> Self {
        Self {
            path: path.to_owned(),
            file,
            len: AtomicU64::new(len),
            sync_failed: AtomicBool::new(false),
            direct: Direct::default(),
        }
    }

    fn check_synced(&self) -> Result<()> {
        if self.sync_failed.load(Ordering::Acquire) {
            let message = "an earlier sync of this file failed, and what it was to save may be lost: give the file up";
            return Err(Error::new(ErrorKind::Unavailable, message).with_file(&self.path));
        }
        Ok(())
    }

    fn sync_failed(&self, error: io::Error) -> Error {
        self.sync_failed.store(true, Ordering::Release);
        let what = "sync the log; what was written since the last good sync may be lost";
        io_error(what, &self.path, error)
    }
}

impl LogFile for LocalLog {
    fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        check_log_range(&self.path, offset, bytes.len(), self.len())?;
        write_fully(bytes, |rest, done| {
            Ok(rustix::io::pwrite(&self.file, rest, offset + done)?)
        })
        .map_err(|error| io_error(&format!("write {} bytes", bytes.len()), &self.path, error).with_offset(offset))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        let len = out.len();
        let available = self.len().saturating_sub(offset).min(len as u64) as usize;
        read_fully(&mut out[..available], |rest, done| {
            Ok(rustix::io::pread(&self.file, rest, offset + done)?)
        })
        .map_err(|error| io_error(&format!("read {len} bytes"), &self.path, error).with_offset(offset))
    }

    fn sync_data(&self) -> Result<()> {
        self.check_synced()?;
        uninterrupted(|| sync_data(&self.file)).map_err(|error| self.sync_failed(error))
    }

    fn write_durably(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let aligned = |value: usize| value.is_multiple_of(LOG_BLOCK);
        if aligned(offset as usize)
            && aligned(bytes.len())
            && aligned(bytes.as_ptr().addr())
            && let Some(direct) = self.direct.file(&self.path, &self.file)
        {
            check_log_range(&self.path, offset, bytes.len(), self.len())?;
            self.check_synced()?;
            let written = write_fully(bytes, |rest, done| Ok(rustix::io::pwrite(direct, rest, offset + done)?));
            match written {
                // Some file systems only say so now, or want larger blocks; nothing is written then.
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => self.direct.give_up(),
                result => return result.map_err(|error| self.sync_failed(error).with_offset(offset)),
            }
        }
        self.write_at(offset, bytes)?;
        self.sync_data()
    }

    fn grow(&self, len: u64) -> Result<()> {
        let what = format!("make the file {len} bytes long");
        let grown = || -> io::Result<u64> {
            // Another handle may have made it longer already: this must never cut it.
            let now = rustix::fs::fstat(&self.file)?.st_size as u64;
            if now < len {
                rustix::fs::ftruncate(&self.file, len)?;
            }
            Ok(now.max(len))
        };
        let len = uninterrupted(grown).map_err(|error| io_error(&what, &self.path, error))?;
        self.len.fetch_max(len, Ordering::AcqRel);
        Ok(())
    }

    fn trim(&self, len: u64) -> Result<()> {
        if len >= self.len() {
            return Ok(());
        }
        self.len.store(len, Ordering::Release);
        uninterrupted(|| Ok(rustix::fs::ftruncate(&self.file, len)?))
            .map_err(|error| io_error(&format!("cut the file to {len} bytes"), &self.path, error))
    }

    fn map(&self) -> Result<Option<Arc<dyn MappedLog>>> {
        let Ok(len) = usize::try_from(self.len()) else {
            return Ok(None);
        };
        if len == 0 {
            return Ok(None);
        }
        let map = MmapOptions::new()
            .len(len)
            .map_raw(&self.file)
            .map_err(|error| io_error(&format!("map {len} bytes for writing"), &self.path, error))?;
        Ok(Some(Arc::new(LocalMappedLog { map })))
    }
}

/// A shared mapping of a log file.
#[derive(Debug)]
struct LocalMappedLog {
    map: MmapRaw,
}

impl MappedLog for LocalMappedLog {
    #[inline]
    fn write(&self, offset: usize, bytes: &[u8]) {
        let len = self.map.len();
        assert!(
            offset <= len && bytes.len() <= len - offset,
            "a write beyond the end of the mapped log"
        );
        // SAFETY: the range is inside the mapping, which lives as long as `self`. No reference to the mapped memory ever
        // exists; this process accesses it only here, through copies that may race.
        unsafe { copy::store(self.map.as_mut_ptr().add(offset), bytes) }
    }
}
