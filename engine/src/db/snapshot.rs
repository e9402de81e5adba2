//! Snapshots: moments at which a database can still be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use kodiak_core::{Error, Result, SeqNo};
use parking_lot::Mutex;

use super::shared::Shared;

/// The snapshots held at present.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    held: Mutex<BTreeMap<SeqNo, usize>>,
}

impl Snapshots {
    /// Takes one at the sequence number that `visible` returns. It is read under the lock, so that a flush or compaction
    /// either knows of the snapshot or began when everything that it may drop was older.
    pub fn take(self: &Arc<Self>, visible: impl FnOnce() -> SeqNo) -> Snapshot {
        let mut held = self.held.lock();
        let seq = visible();
        *held.entry(seq).or_default() += 1;
        Snapshot {
            seq,
            owner: Arc::clone(self),
        }
    }

    /// Their sequence numbers, ascending.
    pub fn list(&self) -> Vec<SeqNo> {
        self.held.lock().keys().copied().collect()
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.held.lock().values().sum()
    }
}

/// A moment at which all tables of a database can be read, until it is dropped. While it is held, versions that it can see
/// are kept on disk.
#[derive(Debug)]
pub struct Snapshot {
    seq: SeqNo,
    owner: Arc<Snapshots>,
}

impl Snapshot {
    /// The sequence number of the last write that it sees.
    pub fn seq(&self) -> SeqNo {
        self.seq
    }

    pub(crate) fn check(&self, shared: &Shared) -> Result<()> {
        if Arc::ptr_eq(&self.owner, &shared.snapshots) {
            return Ok(());
        }
        Err(Error::invalid_input(
            "the snapshot belongs to another database, or to an earlier opening of this one",
        ))
    }
}

impl Clone for Snapshot {
    fn clone(&self) -> Self {
        *self.owner.held.lock().entry(self.seq).or_default() += 1;
        Self {
            seq: self.seq,
            owner: Arc::clone(&self.owner),
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let mut held = self.owner.held.lock();
        if let Some(count) = held.get_mut(&self.seq) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.seq);
            }
        }
    }
}
