//! Which versions in memtables others in them replace.

use std::collections::HashMap;
use std::sync::Arc;

use kodiak_core::entry::MAX_SEQ;
use kodiak_core::{Result, SeqNo};
use roaring::RoaringTreemap;

use crate::db::Slot;
use crate::read::{MergedCursor, Source, Start};

/// The last moment at which readers cannot tell `seq` from what comes before the next of `snapshots` (ascending).
pub(super) fn stripe_end(snapshots: &[SeqNo], seq: SeqNo) -> SeqNo {
    let next = snapshots.partition_point(|&snapshot| snapshot < seq);
    snapshots.get(next).copied().unwrap_or(MAX_SEQ)
}

/// The versions that are not the newest of their keys, by their sequence numbers, of which each operation has one of its own. It is
/// found by one pass in key order, so that indexes, whose orders are others, need not look every key up.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    /// Seen by no reader at one of the snapshots, or now.
    unseen: RoaringTreemap,
    /// Of those that are seen by some, the newest of the key.
    newest: HashMap<SeqNo, SeqNo>,
}

impl Replaced {
    /// In these memtables, for readers at `snapshots` (ascending) and now.
    ///
    /// # Errors
    /// Those of the memtables' cursors.
    pub fn new(slots: &[Arc<Slot>], snapshots: &[SeqNo]) -> Result<Self> {
        let mut replaced = Self::default();
        let sources = slots
            .iter()
            .map(|slot| Source::Memory(Arc::clone(&slot.entries).cursor()));
        let mut cursor = MergedCursor::new(sources.collect(), false);
        cursor.start(Start::Edge)?;
        let mut key = Vec::new();
        // Of that key: the newest version, and the last one that was met.
        let mut met: Option<(SeqNo, SeqNo)> = None;
        while let Some(entry) = cursor.entry() {
            met = match met.filter(|_| entry.key == key) {
                Some((newest, newer)) => {
                    if newer <= stripe_end(snapshots, entry.seq) {
                        replaced.unseen.insert(entry.seq);
                    } else {
                        replaced.newest.insert(entry.seq, newest);
                    }
                    Some((newest, entry.seq))
                }
                None => {
                    key.clear();
                    key.extend_from_slice(entry.key);
                    Some((entry.seq, entry.seq))
                }
            };
            cursor.advance()?;
        }
        Ok(replaced)
    }

    /// True if a version is seen by no reader at one of the snapshots, or now, unless a range delete hides it from all.
    pub fn is_unseen(&self, seq: SeqNo) -> bool {
        self.unseen.contains(seq)
    }

    /// The newest version of the key of a version that is seen, if that is another one.
    pub fn newest(&self, seq: SeqNo) -> Option<SeqNo> {
        self.newest.get(&seq).copied()
    }
}
