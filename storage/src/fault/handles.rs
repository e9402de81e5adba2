//! Open files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::buffer::Buffer;
use kodiak_core::Result;
use kodiak_core::storage::{LogFile, MappedLog, ReadableFile};

use super::plan::{Fault, OpKind};
use super::system::{Op, System};
use super::tree::FileRef;
use crate::buffered::{Sink, read_fully, uninterrupted, write_fully};
use crate::errors::{check_log_range, io_error, short_file};
use crate::page;

/// What all handles have.
#[derive(Debug, Clone)]
struct Handle {
    system: Arc<System>,
    path: PathBuf,
    file: FileRef,
}

impl Handle {
    fn op(&self, kind: OpKind) -> Op<'_> {
        Op::new(kind, &self.path).file(&self.file)
    }

    fn write(&self, kind: OpKind, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.system
            .run_once(self.op(kind).range(offset, bytes.len() as u64), |_, fault| {
                let count = Fault::shorten(fault, bytes.len());
                self.file.lock().write(offset, &bytes[..count]);
                Ok(count)
            })
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.system
            .run_once(self.op(OpKind::Read).range(offset, out.len() as u64), |_, fault| {
                let count = Fault::shorten(fault, out.len());
                Ok(self.file.lock().current.read(offset, &mut out[..count]))
            })
    }

    fn sync(&self) -> io::Result<()> {
        self.system.run_once(self.op(OpKind::Sync), |_, _| {
            self.file.lock().sync();
            Ok(())
        })
    }

    fn len(&self) -> u64 {
        self.file.lock().current.len
    }
}

#[derive(Debug)]
pub(super) struct FaultSink {
    handle: Handle,
    offset: u64,
}

impl FaultSink {
    pub(super) fn new(system: Arc<System>, path: &Path, file: FileRef) -> Self {
        Self {
            handle: Handle {
                system,
                path: path.to_owned(),
                file,
            },
            offset: 0,
        }
    }
}

impl Sink for FaultSink {
    // The worst that the trait permits, so that a caller who tries again is found out.
    const REFUSE_AFTER_FAILED_SYNC: bool = false;

    fn path(&self) -> &Path {
        &self.handle.path
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.handle.write(OpKind::Write, self.offset, bytes)?;
        self.offset += count as u64;
        Ok(count)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.handle.sync()
    }
}

#[derive(Debug)]
pub(super) struct FaultFile {
    handle: Handle,
    len: u64,
}

impl FaultFile {
    pub(super) fn new(system: Arc<System>, path: &Path, file: FileRef) -> Self {
        let handle = Handle {
            system,
            path: path.to_owned(),
            file,
        };
        Self {
            len: handle.len(),
            handle,
        }
    }
}

impl ReadableFile for FaultFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, len: usize) -> Result<Buffer> {
        let path = &self.handle.path;
        if offset.checked_add(len as u64).is_none_or(|end| end > self.len) {
            return Err(short_file(path, offset, len, self.len));
        }
        let mut bytes = vec![0; len];
        read_fully(&mut bytes, |rest, done| self.handle.read(offset + done, rest))
            .map_err(|error| io_error(&format!("read {len} bytes"), path, error).with_offset(offset))?;
        Ok(page::aligned_copy(&bytes))
    }

    fn map(&self) -> Result<Option<Buffer>> {
        let handle = &self.handle;
        let mapped = handle
            .system
            .run(handle.op(OpKind::Map), |_, _| handle.file.lock().map());
        mapped
            .map(Some)
            .map_err(|error| io_error(&format!("map {} bytes", self.len), &handle.path, error))
    }
}

#[derive(Debug)]
pub(super) struct FaultLog {
    handle: Handle,
}

impl FaultLog {
    pub(super) fn new(system: Arc<System>, path: &Path, file: FileRef) -> Self {
        Self {
            handle: Handle {
                system,
                path: path.to_owned(),
                file,
            },
        }
    }
}

impl LogFile for FaultLog {
    fn len(&self) -> u64 {
        self.handle.len()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let path = &self.handle.path;
        check_log_range(path, offset, bytes.len(), self.len())?;
        write_fully(bytes, |rest, done| {
            self.handle.write(OpKind::Write, offset + done, rest)
        })
        .map_err(|error| io_error(&format!("write {} bytes", bytes.len()), path, error).with_offset(offset))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        let len = out.len();
        let available = self.len().saturating_sub(offset).min(len as u64) as usize;
        read_fully(&mut out[..available], |rest, done| {
            self.handle.read(offset + done, rest)
        })
        .map_err(|error| io_error(&format!("read {len} bytes"), &self.handle.path, error).with_offset(offset))
    }

    fn sync_data(&self) -> Result<()> {
        let what = "sync the log; what was written since the last good sync may be lost";
        uninterrupted(|| self.handle.sync()).map_err(|error| io_error(what, &self.handle.path, error))
    }

    fn grow(&self, len: u64) -> Result<()> {
        let (handle, now) = (&self.handle, self.len());
        let op = handle.op(OpKind::Grow).range(now, len.saturating_sub(now));
        let grown = handle.system.run(op, |_, _| {
            handle.file.lock().grow(len);
            Ok(())
        });
        grown.map_err(|error| io_error(&format!("make the file {len} bytes long"), &handle.path, error))
    }

    fn trim(&self, len: u64) -> Result<()> {
        let (handle, now) = (&self.handle, self.len());
        let op = handle.op(OpKind::Trim).range(len, now.saturating_sub(len));
        let trimmed = handle.system.run(op, |_, _| {
            handle.file.lock().trim(len);
            Ok(())
        });
        trimmed.map_err(|error| io_error(&format!("cut the file to {len} bytes"), &handle.path, error))
    }

    fn map(&self) -> Result<Option<Arc<dyn MappedLog>>> {
        let handle = &self.handle;
        let len = self.len();
        handle
            .system
            .run(handle.op(OpKind::Map), |_, _| Ok(()))
            .map_err(|error| io_error(&format!("map {len} bytes for writing"), &handle.path, error))?;
        Ok(Some(Arc::new(FaultMappedLog {
            handle: handle.clone(),
            len,
        })))
    }
}

#[derive(Debug)]
struct FaultMappedLog {
    handle: Handle,
    len: u64,
}

impl MappedLog for FaultMappedLog {
    fn write(&self, offset: usize, bytes: &[u8]) {
        let end = (offset as u64).checked_add(bytes.len() as u64);
        assert!(
            end.is_some_and(|end| end <= self.len),
            "a write beyond the end of the mapped log"
        );
        let written = self.handle.write(OpKind::MapWrite, offset as u64, bytes);
        debug_assert!(written.is_ok(), "no rule applies to writes through a mapping");
    }
}
