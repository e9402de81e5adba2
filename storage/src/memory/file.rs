//! Files in memory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::buffer::Buffer;
use kodiak_core::Result;
use kodiak_core::storage::{LogFile, MappedLog, ReadableFile};
use parking_lot::RwLock;

use crate::buffered::Sink;
use crate::errors::{check_log_range, io_error, short_file};
use crate::page::{self, PageBuf};

/// The bytes of a file, in the form that what was last done to it needs.
#[derive(Debug)]
enum Content {
    /// A file that only grows: `len` bytes of `bytes` are in use.
    Growing { bytes: PageBuf, len: usize },
    /// A file that has been opened for reading: cheap to map, made to grow again at the price of a copy.
    Finished(Buffer),
    /// A file that is overwritten in place.
    Log(Arc<PageBuf>),
}

/// A file, reachable by its names and its handles.
#[derive(Debug)]
pub(super) struct MemoryFile {
    content: RwLock<Content>,
    locked: Arc<AtomicBool>,
}

fn grow(bytes: &PageBuf, len: usize, capacity: usize) -> io::Result<PageBuf> {
    let larger = PageBuf::zeroed(capacity)?;
    let mut piece = [0; page::PAGE];
    let mut done = 0;
    while done < len {
        let count = piece.len().min(len - done);
        bytes.read(done as u64, &mut piece[..count]);
        larger.write(done, &piece[..count]);
        done += count;
    }
    Ok(larger)
}

fn page_buf(bytes: &[u8]) -> io::Result<PageBuf> {
    let copy = PageBuf::zeroed(bytes.len())?;
    copy.write(0, bytes);
    Ok(copy)
}

impl MemoryFile {
    fn with(content: Content) -> Self {
        Self {
            content: RwLock::new(content),
            locked: Arc::default(),
        }
    }

    pub(super) fn new_growing() -> Self {
        Self::with(Content::Finished(page::empty()))
    }

    pub(super) fn new_log(len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        Ok(Self::with(Content::Log(Arc::new(PageBuf::zeroed(len)?))))
    }

    pub(super) fn lock_flag(&self) -> &Arc<AtomicBool> {
        &self.locked
    }

    pub(super) fn len(&self) -> u64 {
        match &*self.content.read() {
            Content::Growing { len, .. } => *len as u64,
            Content::Finished(bytes) => bytes.len() as u64,
            Content::Log(bytes) => bytes.len() as u64,
        }
    }

    fn append(&self, more: &[u8]) -> io::Result<()> {
        const SMALLEST: usize = 16 * page::PAGE;
        let mut content = self.content.write();
        let (bytes, len) = match &mut *content {
            Content::Growing { bytes, len } => {
                let needed = *len + more.len();
                if needed > bytes.len() {
                    *bytes = grow(bytes, *len, needed.max(bytes.len() * 2))?;
                }
                (bytes, len)
            }
            other => {
                let old = match other {
                    Content::Finished(old) => old.clone(),
                    _ => return Err(io::Error::other("the file has become a log, which cannot grow")),
                };
                let bytes = PageBuf::zeroed((old.len() + more.len()).next_multiple_of(page::PAGE).max(SMALLEST))?;
                bytes.write(0, &old);
                *other = Content::Growing { bytes, len: old.len() };
                let Content::Growing { bytes, len } = other else {
                    unreachable!("it has just been set")
                };
                (bytes, len)
            }
        };
        bytes.write(*len, more);
        *len += more.len();
        Ok(())
    }

    /// Its bytes as they are now. A log is copied; what grew is frozen, cut to its length if a quarter of it is unused.
    pub(super) fn reader(&self, path: &Path) -> io::Result<MemoryReader> {
        let mut content = self.content.write();
        let bytes = match &mut *content {
            Content::Finished(bytes) => bytes.clone(),
            Content::Log(bytes) => grow(bytes, bytes.len(), bytes.len())?.freeze(bytes.len()),
            Content::Growing { bytes, len } => {
                let len = *len;
                let whole = if bytes.len() / 4 * 3 > len {
                    grow(bytes, len, len)?
                } else {
                    std::mem::replace(bytes, PageBuf::zeroed(0)?)
                };
                let buffer = whole.freeze(len);
                *content = Content::Finished(buffer.clone());
                buffer
            }
        };
        Ok(MemoryReader {
            path: path.to_owned(),
            bytes,
        })
    }

    /// Its bytes are from now on overwritten in place. Buffers handed out before keep their state.
    pub(super) fn make_log(&self) -> io::Result<()> {
        let mut content = self.content.write();
        let bytes = match &*content {
            Content::Log(_) => return Ok(()),
            Content::Finished(bytes) => page_buf(bytes)?,
            Content::Growing { bytes, len } => grow(bytes, *len, *len)?,
        };
        *content = Content::Log(Arc::new(bytes));
        Ok(())
    }

    /// Calls `with` with the bytes of a log, which cannot be replaced by longer ones meanwhile.
    fn with_log<T>(&self, with: impl FnOnce(&Arc<PageBuf>) -> Result<T>) -> Result<T> {
        match &*self.content.read() {
            Content::Log(bytes) => with(bytes),
            _ => unreachable!("a file that has become a log stays one"),
        }
    }

    fn grow_log(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut content = self.content.write();
        if let Content::Log(bytes) = &mut *content
            && bytes.len() < len
        {
            *bytes = Arc::new(grow(bytes, bytes.len(), len)?);
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct MemorySink {
    path: PathBuf,
    file: Arc<MemoryFile>,
}

impl MemorySink {
    pub(super) fn new(path: &Path, file: Arc<MemoryFile>) -> Self {
        Self {
            path: path.to_owned(),
            file,
        }
    }
}

impl Sink for MemorySink {
    const REFUSE_AFTER_FAILED_SYNC: bool = true;

    fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.append(bytes)?;
        Ok(bytes.len())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A finished file: a buffer of all its bytes.
#[derive(Debug)]
pub struct MemoryReader {
    path: PathBuf,
    bytes: Buffer,
}

impl MemoryReader {
    /// The file at `path`, of which these are all bytes.
    pub fn new(path: PathBuf, bytes: Buffer) -> Self {
        Self { path, bytes }
    }
}

impl ReadableFile for MemoryReader {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, offset: u64, len: usize) -> Result<Buffer> {
        let range = usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(len)?));
        match range.and_then(|range| self.bytes.get(range)) {
            Some(bytes) => Ok(page::aligned_copy(bytes)),
            None => Err(short_file(&self.path, offset, len, self.len())),
        }
    }

    fn map(&self) -> Result<Option<Buffer>> {
        Ok(Some(self.bytes.clone()))
    }
}

#[derive(Debug)]
pub(super) struct MemoryLog {
    path: PathBuf,
    file: Arc<MemoryFile>,
}

impl MemoryLog {
    pub(super) fn new(path: &Path, file: Arc<MemoryFile>) -> Self {
        Self {
            path: path.to_owned(),
            file,
        }
    }
}

impl LogFile for MemoryLog {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.with_log(|log| {
            check_log_range(&self.path, offset, bytes.len(), log.len() as u64)?;
            log.write(offset as usize, bytes);
            Ok(())
        })
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        self.file.with_log(|log| Ok(log.read(offset, out)))
    }

    fn sync_data(&self) -> Result<()> {
        Ok(())
    }

    fn grow(&self, len: u64) -> Result<()> {
        let what = format!("make the file {len} bytes long");
        self.file
            .grow_log(len)
            .map_err(|error| io_error(&what, &self.path, error))
    }

    fn map(&self) -> Result<Option<Arc<dyn MappedLog>>> {
        self.file
            .with_log(|log| Ok(Some(Arc::new(MemoryMappedLog(log.clone())) as _)))
    }
}

#[derive(Debug)]
struct MemoryMappedLog(Arc<PageBuf>);

impl MappedLog for MemoryMappedLog {
    #[inline]
    fn write(&self, offset: usize, bytes: &[u8]) {
        self.0.write(offset, bytes);
    }
}
