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

#[cfg(test)]
mod tests {
    use kodiak_core::options::Options;
    use kodiak_core::{EntryRef, Op};

    use super::*;

    #[test]
    fn a_version_is_unseen_if_every_reader_sees_a_newer_one() {
        let factory = &kodiak_memtables::ALL[0];
        let options = Options::defaults(factory.component.options);
        let slots: Vec<Arc<Slot>> = (0..3)
            .map(|_| Arc::new(Slot::new(factory, &options, 1 << 16, 1, &[]).expect("a memtable")))
            .collect();
        let key = |seq: SeqNo| (seq.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 59) as u8;
        for seq in 1..=300 {
            let op = if seq % 7 == 0 { Op::Delete } else { Op::Put };
            let (key, value) = ([key(seq)], b"v");
            let entry = EntryRef {
                key: &key,
                seq,
                op,
                value,
            };
            slots[(seq / 100) as usize % 3].insert(entry).expect("insert");
        }
        for snapshots in [&[][..], &[150], &[1, 40, 41, 299, 300]] {
            let replaced = Replaced::new(&slots, snapshots).expect("memtables");
            for seq in 1..=300 {
                let newer = |last: SeqNo| (seq + 1..=last).rev().find(|&other| key(other) == key(seq));
                let readers = snapshots.iter().copied().filter(|&at| at >= seq).chain([300]);
                let seen = readers.into_iter().any(|at| newer(at).is_none());
                assert_eq!(replaced.is_unseen(seq), !seen, "{seq} with {snapshots:?}");
                assert_eq!(
                    replaced.newest(seq),
                    newer(300).filter(|_| seen),
                    "{seq} with {snapshots:?}"
                );
            }
        }
    }
}
