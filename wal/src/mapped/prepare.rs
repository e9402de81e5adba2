//! The thread that prepares what a mapped log will need next.

use std::sync::Arc;
use std::thread::JoinHandle;

use kodiak_core::storage::MappedLog as Mapping;
use kodiak_core::wal::SegmentId;
use kodiak_core::{Error, Result};
use parking_lot::{Condvar, Mutex};

use super::Ready;
use crate::files::Files;
use crate::format::SEGMENT_HEADER;

/// Every page of this many bytes is touched.
const PAGE: usize = 4096;

/// Prepares segments in the background. Where it fails the log prepares them itself, and meets the error there.
#[derive(Debug)]
pub(super) struct Preparer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    files: Arc<Files>,
    tasks: Mutex<Tasks>,
    changed: Condvar,
}

/// The segment to be prepared.
#[derive(Debug)]
pub(super) struct Wanted {
    pub number: SegmentId,
    /// Its name and size are to be made durable.
    pub durable: bool,
    /// It will be written through its mapping, whose pages are to be touched.
    pub touch: bool,
    /// A mapping that is to be dropped.
    pub retired: Option<Arc<dyn Mapping>>,
}

#[derive(Debug, Default)]
struct Tasks {
    wanted: Option<Wanted>,
    /// The one in the works.
    working: bool,
    ready: Option<Ready>,
    stop: bool,
}

impl Preparer {
    pub fn start(files: Arc<Files>) -> Result<Self> {
        let shared = Arc::new(Shared {
            files,
            tasks: Mutex::default(),
            changed: Condvar::new(),
        });
        let worker = shared.clone();
        let thread = std::thread::Builder::new()
            .name("kodiak-wal".to_owned())
            .spawn(move || worker.work())
            .map_err(|error| {
                Error::new(
                    kodiak_core::ErrorKind::Io,
                    "cannot start the thread that prepares log segments",
                )
                .with_source(error)
            })?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Asks for a segment.
    pub fn request(&self, wanted: Wanted) {
        self.shared.tasks.lock().wanted = Some(wanted);
        self.shared.changed.notify_all();
    }

    /// The segment `number`, if it was prepared; waits for it if it is in the works.
    pub fn take(&self, number: SegmentId) -> Option<Ready> {
        let mut tasks = self.shared.tasks.lock();
        tasks.wanted = None;
        while tasks.working {
            self.shared.changed.wait(&mut tasks);
        }
        let ready = tasks.ready.take()?;
        if ready.blank.number == number {
            return Some(ready);
        }
        self.shared.files.give_back(ready.blank);
        None
    }

    /// Ends the thread; returns what it had prepared.
    pub fn stop(&self) -> Option<Ready> {
        let mut tasks = self.shared.tasks.lock();
        tasks.stop = true;
        tasks.wanted = None;
        drop(tasks);
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            // It cannot have panicked but for a defect of the storage, which has been reported by then.
            drop(thread.join());
        }
        self.shared.tasks.lock().ready.take()
    }
}

impl Shared {
    fn work(&self) {
        let mut tasks = self.tasks.lock();
        while !tasks.stop {
            if let Some(mut wanted) = tasks.wanted.take() {
                tasks.working = true;
                drop(tasks);
                // First, so that no more than two segments are ever in memory.
                drop(wanted.retired.take());
                let ready = self.prepare(&wanted);
                tasks = self.tasks.lock();
                tasks.working = false;
                tasks.ready = ready;
                self.changed.notify_all();
            } else {
                self.changed.wait(&mut tasks);
            }
        }
    }

    fn prepare(&self, wanted: &Wanted) -> Option<Ready> {
        let prepare = || -> Result<Ready> {
            let mut blank = self.files.blank(wanted.number, 0)?;
            if wanted.durable
                && let Err(error) = self.files.settle_blank(&mut blank)
            {
                // Whoever needs the segment now makes the file anew.
                self.files.discard(blank);
                return Err(error);
            }
            let ready = Ready::new(blank)?;
            if !wanted.touch {
                return Ok(ready);
            }
            // Nobody writes to the segment before it is taken, so that a page is not faulted in by an append. The zeros fall
            // into nothing, or into stale records; a recycled file's stale header stays whole, by which a reader that
            // comes before the segment is used knows what it is.
            for touched in (SEGMENT_HEADER..ready.blank.file.len() as usize).step_by(PAGE) {
                ready.mapping.write(touched, &[0]);
            }
            Ok(ready)
        };
        prepare()
            .inspect_err(|error| tracing::warn!(%error, "cannot prepare the next log segment ahead of need"))
            .ok()
    }
}
