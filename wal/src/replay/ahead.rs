//! Decoding segments ahead of the one that is handed over.

use std::ops::Range;

use arrow::buffer::Buffer;
use kodiak_core::Result;
use kodiak_core::wal::RecoveryMode;
use parking_lot::{Condvar, Mutex};

use super::read_all;
use crate::format::Link;
use crate::reader::{Found, Place, SegmentFile, SegmentReader, Tail};

/// Most bytes of decompressed batches held per segment decoded ahead; the rest is decompressed when it is handed over.
const ARENA_BYTES: usize = 32 << 20;

/// Where the operations of a record read ahead are.
pub(super) enum Stored {
    /// In the segment's bytes.
    Direct,
    /// In the arena.
    Arena(Range<usize>),
    /// The arena is full: the record is put together again when it is handed over.
    Later,
}

/// A segment read ahead.
pub(super) struct Decoded {
    pub bytes: Buffer,
    pub records: Vec<(Found, Stored)>,
    pub arena: Vec<u8>,
    pub skipped: u64,
    pub tail: Result<Tail>,
}

impl Decoded {
    fn read(file: &SegmentFile, end: Option<&Link>, limit: u64, mode: RecoveryMode) -> Self {
        let mut decoded = Self {
            bytes: Buffer::from_vec(Vec::<u8>::new()),
            records: Vec::new(),
            arena: Vec::new(),
            skipped: 0,
            tail: Ok(Tail::default()),
        };
        let Some((header, seed)) = file.header() else {
            return decoded;
        };
        let bytes = match file.load(end.map_or(u64::MAX, |link| link.end)) {
            Ok(bytes) => bytes,
            Err(error) => {
                decoded.tail = Err(error);
                return decoded;
            }
        };
        let mut reader = SegmentReader::new(&bytes, header, seed, limit);
        let Self {
            records,
            arena,
            skipped,
            ..
        } = &mut decoded;
        let tail = read_all(&mut reader, end, mode, skipped, |reader, found| {
            let stored = match found.place {
                Place::Direct(_) => Stored::Direct,
                Place::Assembled if arena.len() + reader.assembled().len() > ARENA_BYTES => Stored::Later,
                Place::Assembled => {
                    let start = arena.len();
                    arena.extend_from_slice(reader.assembled());
                    Stored::Arena(start..arena.len())
                }
            };
            records.push((found, stored));
            Ok(())
        });
        drop(reader);
        decoded.tail = tail;
        decoded.bytes = bytes;
        decoded
    }
}

enum State {
    Waiting,
    Running,
    Done(Box<Decoded>),
    Taken,
}

pub(super) enum Taken {
    /// Nobody has begun it: the caller reads the segment itself.
    Mine,
    Decoded(Box<Decoded>),
}

/// The decoding of one segment, by whichever thread comes first.
pub(super) struct Job {
    pub end: Option<Link>,
    state: Mutex<State>,
    done: Condvar,
}

impl Job {
    pub fn new(end: Option<Link>) -> Self {
        Self {
            end,
            state: Mutex::new(State::Waiting),
            done: Condvar::new(),
        }
    }

    pub fn run(&self, file: &SegmentFile, limit: u64, mode: RecoveryMode) {
        let mut state = self.state.lock();
        if !matches!(*state, State::Waiting) {
            return;
        }
        *state = State::Running;
        drop(state);
        let decoded = Box::new(Decoded::read(file, self.end.as_ref(), limit, mode));
        *self.state.lock() = State::Done(decoded);
        self.done.notify_all();
    }

    pub fn take(&self) -> Taken {
        let mut state = self.state.lock();
        while matches!(*state, State::Running) {
            self.done.wait(&mut state);
        }
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(decoded) => Taken::Decoded(decoded),
            _ => Taken::Mine,
        }
    }
}
