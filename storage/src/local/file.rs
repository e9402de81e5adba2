//! Files written once and finished files.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use arrow::buffer::{Buffer, MutableBuffer};
use kodiak_core::Result;
use kodiak_core::memory::HUGE_PAGE;
use kodiak_core::storage::ReadableFile;
use memmap2::{Mmap, MmapOptions, UncheckedAdvice};
use parking_lot::Mutex;

use super::sync_data;
use crate::buffered::{Sink, uninterrupted};
use crate::errors::{io_error, short_file};
use crate::page;

/// A file being written.
#[derive(Debug)]
pub(super) struct FileSink {
    path: PathBuf,
    file: File,
}

impl FileSink {
    pub(super) fn new(path: &Path, file: File) -> Self {
        Self {
            path: path.to_owned(),
            file,
        }
    }
}

impl Sink for FileSink {
    const REFUSE_AFTER_FAILED_SYNC: bool = true;

    fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.file, bytes)?)
    }

    fn sync(&mut self) -> io::Result<()> {
        sync_data(&self.file)
    }
}

/// A finished file.
#[derive(Debug)]
pub(super) struct LocalFile {
    path: PathBuf,
    file: File,
    len: u64,
    /// The last mapping, for as long as somebody has it.
    mapped: Mutex<Weak<Mmap>>,
}

impl LocalFile {
    pub(super) fn new(path: &Path, file: File, len: u64) -> Self {
        Self {
            path: path.to_owned(),
            file,
            len,
            mapped: Mutex::default(),
        }
    }

    /// Fills all of `out` from `offset` or says why not.
    fn fill(&self, offset: u64, mut out: &mut [MaybeUninit<u8>]) -> Result<()> {
        let wanted = out.len();
        while !out.is_empty() {
            let at = offset + (wanted - out.len()) as u64;
            let count = uninterrupted(|| Ok(rustix::io::pread(&self.file, &mut *out, at)?.0.len()))
                .map_err(|error| io_error(&format!("read {} bytes", out.len()), &self.path, error).with_offset(at))?;
            if count == 0 {
                // It has been truncated since it was opened.
                return Err(short_file(&self.path, offset, wanted, at));
            }
            out = &mut out[count..];
        }
        Ok(())
    }
}

impl ReadableFile for LocalFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, len: usize) -> Result<Buffer> {
        // Before the allocation: a damaged length must not ask for all memory.
        if offset.checked_add(len as u64).is_none_or(|end| end > self.len) {
            return Err(short_file(&self.path, offset, len, self.len));
        }
        let mut buffer = MutableBuffer::with_capacity(len);
        // SAFETY: the buffer has capacity for `len` bytes, which nothing else refers to, and uninitialised is what they may be.
        let room = unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast::<MaybeUninit<u8>>(), len) };
        self.fill(offset, room)?;
        // SAFETY: `fill` initialised all `len` bytes.
        unsafe { buffer.set_len(len) };
        Ok(buffer.into())
    }

    fn map(&self) -> Result<Option<Buffer>> {
        if self.len == 0 {
            return Ok(Some(page::empty()));
        }
        let Ok(len) = usize::try_from(self.len) else {
            return Ok(None);
        };
        // SAFETY: the file is finished, and the database's lock and the file's mode keep others from changing it (see the
        // module's documentation for what happens to those who do so all the same).
        let map = unsafe { MmapOptions::new().len(len).map(&self.file) }
            .map_err(|error| io_error(&format!("map {len} bytes"), &self.path, error))?;
        let start = NonNull::from(&map[..]).cast::<u8>();
        let map = Arc::new(map);
        *self.mapped.lock() = Arc::downgrade(&map);
        // SAFETY: the mapping is valid for `len` bytes until it is dropped, moving it does not move its memory, and the buffer
        // owns it.
        Ok(Some(unsafe { Buffer::from_custom_allocation(start, len, map) }))
    }

    fn forget(&self, range: Range<u64>) {
        let Some(map) = self.mapped.lock().upgrade() else {
            return;
        };
        // From the beginning of a huge page on: whoever looks at the rest of it has the system map all of it again.
        let start = range.start.min(self.len) as usize / HUGE_PAGE * HUGE_PAGE;
        let end = range.end.min(self.len) as usize;
        if start >= end {
            return;
        }
        // SAFETY: the mapping is shared, read-only, and of a file that does not change: a page dropped from it is found in the
        // file again, with the same bytes, by whoever looks.
        let forgotten = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
        // Only a hint.
        drop(forgotten);
    }
}
