//! The files of a log that is open for appending: creating, recycling and releasing segments.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kodiak_core::storage::{KeepAwake, LogFile, Storage};
use kodiak_core::wal::{SegmentId, WalContext};
use kodiak_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use crate::blocks::Blocks;
use crate::format::{
    Identity, Link, SEGMENT_HEADER, SegmentHeader, is_spare_name, segment_of_name, segment_path, spare_name,
};
use crate::reader::{SegmentFile, SegmentReader};

/// Released segments kept for reuse take so many bytes at most: those of a memtable of the default size, so that a log that is
/// written to all the time need not fill new files with zeros.
const SPARE_BYTES: u64 = 128 << 20;
/// So many are kept at least, however large they are.
const SPARES: u64 = 2;

/// The directory of an open log.
#[derive(Debug)]
pub(crate) struct Files {
    pub storage: Arc<dyn Storage>,
    database: u64,
    dir: PathBuf,
    segment_bytes: u64,
    keep_awake: Option<Box<dyn KeepAwake>>,
    /// The first segment of this opening. Files of earlier ones are not reused: a sync of theirs may have failed, after which
    /// nothing is known of a file, its length included, and after a power loss file systems whose renaming is not atomic may
    /// show one file under two names, so that two segments made of it would overwrite each other.
    first: SegmentId,
    listed: Mutex<Listed>,
}

#[derive(Debug, Default)]
struct Listed {
    /// Segments before the active one, ascending.
    closed: Vec<SegmentId>,
    /// File names.
    spares: Vec<String>,
}

/// A segment that is, or was, written to since the log was opened.
#[derive(Debug)]
pub(crate) struct Segment {
    pub number: SegmentId,
    pub file: Arc<dyn LogFile>,
    pub identity: Identity,
    /// The position of its first byte in the whole of the log since opening.
    pub base: u64,
    /// Bytes below this offset are on disk, and so is everything in older segments.
    pub synced: AtomicU64,
    /// Its directory entry survives a power loss.
    listed: AtomicBool,
}

/// A file ready to become a segment.
#[derive(Debug)]
pub(crate) struct Blank {
    pub number: SegmentId,
    pub file: Arc<dyn LogFile>,
    recycled: bool,
    listed: bool,
}

impl Files {
    /// Prepares the directory for a log that begins with segment `first`, and makes all older segments survive a power loss.
    /// Also returns where the newest of them ends.
    pub fn open(context: &WalContext, first: SegmentId) -> Result<(Self, Option<Link>)> {
        let storage = context.storage.as_ref();
        let existed = storage.list(&context.dir).is_ok();
        storage.create_dir_all(&context.dir)?;
        if let (false, Some(parent)) = (
            existed,
            context.dir.parent().filter(|parent| !parent.as_os_str().is_empty()),
        ) {
            storage.sync_dir(parent)?;
        }
        let mut listed = Listed::default();
        for name in storage.list(&context.dir)? {
            let path = context.dir.join(&name);
            if let Some(segment) = segment_of_name(&name) {
                listed.closed.push(segment);
            } else if is_spare_name(&name) {
                // A crash has left it.
                storage.remove(&path)?;
            }
        }
        listed.closed.sort_unstable();
        if let Some(&newest) = listed.closed.last().filter(|&&newest| newest >= first) {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("the log cannot begin with segment {first}: segment {newest} exists; begin above it"),
            )
            .with_file(segment_path(&context.dir, newest)));
        }
        let previous = settle(context, &listed.closed)?;
        let files = Self {
            storage: context.storage.clone(),
            database: context.database,
            dir: context.dir.clone(),
            segment_bytes: context.segment_bytes.max(SEGMENT_HEADER as u64 * 2),
            keep_awake: context.keep_awake.then(|| context.storage.keep_awake()).flatten(),
            first,
            listed: Mutex::new(listed),
        };
        Ok((files, previous))
    }

    /// A file for segment `number` with room for a batch of `record` bytes: a spare one if there is one, else a new one.
    pub fn blank(&self, number: SegmentId, record: u64) -> Result<Blank> {
        let path = segment_path(&self.dir, number);
        let bytes = self.segment_bytes.max(SEGMENT_HEADER as u64 + record);
        let spare = if bytes == self.segment_bytes {
            self.listed.lock().spares.pop()
        } else {
            None
        };
        let recycled = spare.is_some();
        let file = match spare {
            Some(name) => {
                self.storage.rename(&self.dir.join(name), &path)?;
                self.storage
                    .open_log(&path)
                    .inspect_err(|_| drop(self.storage.remove(&path)))?
            }
            None => self.storage.create_log(&path, bytes)?,
        };
        Ok(Blank {
            number,
            file,
            recycled,
            listed: false,
        })
    }

    /// Gives up a file that was not used.
    pub fn give_back(&self, blank: Blank) {
        let mut listed = self.listed.lock();
        self.recycle(&mut listed, blank.number).unwrap_or_else(|error| {
            tracing::warn!(%error, "an unused log segment stays behind");
        });
    }

    /// Removes a file that could not be prepared.
    pub fn discard(&self, blank: Blank) {
        let path = segment_path(&self.dir, blank.number);
        drop(blank);
        self.storage.remove(&path).unwrap_or_else(|error| {
            tracing::warn!(%error, "a log segment that could not be prepared stays behind");
        });
    }

    /// Makes the segment's size and name survive a power loss ahead of need.
    pub fn settle_blank(&self, blank: &mut Blank) -> Result<()> {
        blank.file.sync_data()?;
        self.storage.sync_dir(&self.dir)?;
        blank.listed = true;
        Ok(())
    }

    /// Makes a segment of a file; also returns the header, which is for the caller to write.
    pub fn segment(
        &self,
        blank: Blank,
        fresh: bool,
        previous: Option<Link>,
        base: u64,
    ) -> (Segment, [u8; SEGMENT_HEADER]) {
        // Records repeat the low half, by which a reader tells them from zeros.
        let log_id = std::iter::repeat_with(|| self.storage.random())
            .find(|id| *id as u32 != 0)
            .unwrap_or(1);
        let header = SegmentHeader {
            segment: blank.number,
            log_id,
            fresh,
            recycled: blank.recycled,
            database: self.database,
            previous,
        };
        let (bytes, seed) = header.encode();
        let segment = Segment {
            number: blank.number,
            file: blank.file,
            identity: Identity::new(&header, seed),
            base,
            synced: AtomicU64::new(0),
            listed: AtomicBool::new(blank.listed),
        };
        (segment, bytes)
    }

    /// Notes that `segment` is no longer the active one.
    pub fn closed(&self, segment: SegmentId) {
        self.listed.lock().closed.push(segment);
    }

    /// Segments on disk, the active one included.
    pub fn count(&self) -> u64 {
        self.listed.lock().closed.len() as u64 + 1
    }

    /// Recycles or removes the closed segments below `before`, oldest first.
    pub fn release(&self, before: SegmentId) -> Result<()> {
        let mut listed = self.listed.lock();
        while let Some(&segment) = listed.closed.first().filter(|&&segment| segment < before) {
            self.recycle(&mut listed, segment)?;
            listed.closed.remove(0);
        }
        Ok(())
    }

    fn recycle(&self, listed: &mut Listed, segment: SegmentId) -> Result<()> {
        let path = segment_path(&self.dir, segment);
        let most = (SPARE_BYTES / self.segment_bytes).max(SPARES) as usize;
        if segment >= self.first && listed.spares.len() < most && self.storage.len(&path)? == Some(self.segment_bytes) {
            let name = spare_name(segment);
            self.storage.rename(&path, &self.dir.join(&name))?;
            listed.spares.push(name);
            return Ok(());
        }
        match self.storage.remove(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Gives back what only a log that goes on needs: spare files, and the space behind `end` in the active segment. A closed
    /// database takes no more than its data.
    pub fn give_up_space(&self, active: &Segment, end: u64) {
        let spares = std::mem::take(&mut self.listed.lock().spares);
        let removed = spares.iter().map(|name| self.storage.remove(&self.dir.join(name)));
        for given_up in removed.chain([active.file.trim(end)]) {
            given_up.unwrap_or_else(|error| {
                tracing::warn!(%error, "space that was set aside for the log stays in use");
            });
        }
    }

    /// Makes all that was written to `segment` below `end` survive a power loss. Older segments must have been synced before.
    pub fn sync(&self, segment: &Segment, end: u64) -> Result<()> {
        segment.file.sync_data()?;
        if !segment.listed.load(Ordering::Acquire) {
            self.storage.sync_dir(&self.dir)?;
            segment.listed.store(true, Ordering::Release);
        }
        segment.synced.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }

    /// Writes `blocks` to `segment` and makes them survive a power loss. Everything before them must do so already, the
    /// segment's size and name included.
    pub fn write_durably(&self, segment: &Segment, blocks: &mut Blocks) -> Result<()> {
        let end = blocks.end();
        let Some((offset, whole)) = blocks.whole(segment.file.len()) else {
            let (offset, unwritten) = blocks.unwritten();
            segment.file.write_at(offset, unwritten)?;
            return self.sync(segment, end);
        };
        segment.file.write_durably(offset, whole)?;
        segment.synced.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }

    /// Runs `wait`, which waits for the disk. If the thread that does so is `alone` its processor is kept awake meanwhile: others that
    /// commit do that as well. Only one thread at a time.
    pub fn wait_awake<R>(&self, alone: bool, wait: impl FnOnce() -> R) -> R {
        let Some(keep_awake) = self.keep_awake.as_ref().filter(|_| alone) else {
            return wait();
        };
        keep_awake.begin();
        let result = wait();
        keep_awake.end();
        result
    }
}

impl Segment {
    /// What the next segment's header is to say of this one, which ends at `end`.
    pub fn link(&self, end: u64) -> Link {
        let synced = self.synced.load(Ordering::Acquire);
        Link {
            segment: self.number,
            id: self.identity.id(),
            end,
            synced,
        }
    }
}

/// Syncs the segments of earlier openings, so that nothing is built on records that a power loss could still take away;
/// returns where the newest one ends.
fn settle(context: &WalContext, segments: &[SegmentId]) -> Result<Option<Link>> {
    if segments.is_empty() {
        return Ok(None);
    }
    for &segment in segments {
        context
            .storage
            .open_log(&segment_path(&context.dir, segment))?
            .sync_data()?;
    }
    context.storage.sync_dir(&context.dir)?;
    for &segment in segments.iter().rev() {
        let path = segment_path(&context.dir, segment);
        let file = SegmentFile::open(context.storage.as_ref(), &path, segment)?;
        if let Some((header, seed)) = file.header() {
            let (end, closed) = end_of(&file, header, seed, context.max_record_bytes, &path)?;
            return Ok(Some(Link {
                segment,
                id: header.id(),
                end,
                // If a sync has failed before, the one above saves nothing of what was dropped then, and must not be believed.
                synced: if closed { end } else { 0 },
            }));
        }
    }
    Ok(None)
}

fn end_of(file: &SegmentFile, header: &SegmentHeader, seed: u32, limit: u64, path: &Path) -> Result<(u64, bool)> {
    let bytes = file.load(u64::MAX)?;
    let mut reader = SegmentReader::new(&bytes, header, seed, limit);
    while reader.advance().map_err(|error| error.with_file(path))?.is_some() {}
    Ok((reader.offset(), reader.tail().closed))
}

/// The numbers of the segments in the log's directory, in order; none if there is no such directory.
pub(crate) fn segments_in(storage: &dyn Storage, dir: &Path) -> Result<Vec<SegmentId>> {
    let names = match storage.list(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        names => names?,
    };
    let mut segments: Vec<_> = names.iter().filter_map(|name| segment_of_name(name)).collect();
    segments.sort_unstable();
    Ok(segments)
}
