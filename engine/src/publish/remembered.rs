//! What an open database knows of the publications that it has made, so that none is read again for the next one.

use std::collections::VecDeque;
use std::path::Path;

use kodiak_core::Result;
use kodiak_core::batch::TableId;
use kodiak_core::storage::Storage;

use super::RECORD_FILE;
use super::record::Record;
use crate::maintenance::{read_small, remove_if_there};

/// Data files of a table whose publication is kept in memory, some 500 bytes each; that of a larger one is read anew each time.
const FILES: usize = 1 << 16;

/// The last publication of a table, if this process has made it. Whoever makes the next one takes it, and puts back what has become of
/// it; after a failure nothing is known.
#[derive(Debug, Default)]
pub(crate) struct Remembered(Option<Known>);

/// A publication that the next one replaces.
#[derive(Debug)]
pub(super) struct Known {
    pub record: Record,
    /// Whether the directory is taken to be as it was left. Else somebody has to look.
    pub trusted: bool,
    /// The record as it was written.
    bytes: Written,
    /// Files that only publications before it name, those of the oldest first, for readers of these.
    pub superseded: VecDeque<Vec<String>>,
}

/// What a file must be to be the one that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    len: u64,
    crc32: u32,
}

impl Written {
    fn of(bytes: &[u8]) -> Self {
        Self {
            len: bytes.len() as u64,
            crc32: crc32fast::hash(bytes),
        }
    }
}

/// How far somebody who publishes goes by memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// As far as the record is there, for publications that are made one after the other.
    Memory,
    /// Not further than the record is the one that was written, and all that it names is there: who asks for a publication may have a reason.
    Files,
}

impl Remembered {
    /// The last publication in a directory, if there is one of this table that can be read.
    pub(super) fn take(
        &mut self,
        storage: &dyn Storage,
        dir: &Path,
        (database, table): (u64, TableId),
        trust: Trust,
    ) -> Option<Known> {
        let last = self.0.take();
        let path = dir.join(RECORD_FILE);
        if trust == Trust::Memory
            && let Some(last) = last
        {
            let there = storage.len(&path).ok().flatten() == Some(last.bytes.len);
            return match there {
                true => Some(Known { trusted: true, ..last }),
                false => Known::read(storage, dir, (database, table)),
            };
        }
        let bytes = read_small(storage, &path).ok()?;
        match last {
            Some(last) if last.bytes == Written::of(&bytes) => Some(Known { trusted: false, ..last }),
            _ => Known::parse(storage, dir, (database, table), &bytes),
        }
    }

    /// Keeps a publication that was made, or was there already.
    pub(super) fn keep(&mut self, known: Known) {
        self.0 = (known.record.files.len() <= FILES).then_some(known);
    }

    /// What was known is gone.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

impl Known {
    fn read(storage: &dyn Storage, dir: &Path, of: (u64, TableId)) -> Option<Self> {
        let bytes = read_small(storage, &dir.join(RECORD_FILE)).ok()?;
        Self::parse(storage, dir, of, &bytes)
    }

    fn parse(storage: &dyn Storage, dir: &Path, (database, table): (u64, TableId), bytes: &[u8]) -> Option<Self> {
        Some(Self {
            record: Record::parse(storage, dir, (database, table), bytes)?,
            trusted: false,
            bytes: Written::of(bytes),
            superseded: VecDeque::new(),
        })
    }

    /// A publication whose record was written as these bytes.
    pub fn made(record: Record, bytes: &[u8], superseded: VecDeque<Vec<String>>) -> Self {
        Self {
            record,
            trusted: false,
            bytes: Written::of(bytes),
            superseded,
        }
    }
}

/// Removes files of superseded publications but the newest `kept` ones.
///
/// # Errors
/// `Io`.
pub(super) fn remove_superseded(
    storage: &dyn Storage,
    dir: &Path,
    superseded: &mut VecDeque<Vec<String>>,
    kept: usize,
) -> Result<()> {
    while superseded.len() > kept {
        for name in superseded.pop_front().into_iter().flatten() {
            remove_if_there(storage, &dir.join(name))?;
        }
    }
    Ok(())
}
