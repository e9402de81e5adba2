//! Changes of one index, gathered and applied together.

use std::sync::Arc;

use kodiak_core::index::Updates;
use kodiak_core::{Result, SeqNo};

use super::entry::{Mark, entry_key, pending_key, put_forget};
use super::memory::{SlotIndex, check_len, is_long};
use super::{IndexFile, Secondary};
use crate::db::Slot;

/// Bytes of keys and operands that are applied at once.
const BATCH: usize = 4 << 20;

/// Collects changes of one index.
pub(super) struct Batch<'i> {
    pub index: &'i Arc<Secondary>,
    file: &'i Arc<IndexFile>,
    /// It is being filled by another thread, which may add what is forgotten here.
    building: bool,
    /// Rows were added that are pending.
    pub pended: bool,
    updates: Updates,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<'i> Batch<'i> {
    pub fn new(index: &'i Arc<Secondary>, file: &'i Arc<IndexFile>, building: bool) -> Self {
        Self {
            index,
            file,
            building,
            pended: false,
            updates: Updates::new(),
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// What a memtable has for the index; nothing if it is older.
    pub fn of_slot<'s>(&self, slot: &'s Slot) -> Option<&'s SlotIndex> {
        slot.indexes.iter().find(|own| Arc::ptr_eq(&own.index, self.index))
    }

    /// Adds an entry that was put together before.
    pub fn add_whole(&mut self, key: &[u8], mark: Mark) -> Result<()> {
        check_len(self.index, key.len())?;
        self.value.clear();
        mark.encode(&mut self.value);
        self.updates.upsert(key, &self.value);
        self.flush_full()
    }

    /// Adds the entry of a version; `void` as in [`Mark`]. The row of one that is too long is pending.
    pub fn add(&mut self, index_key: &[u8], user_key: &[u8], seq: SeqNo, void: Option<SeqNo>) -> Result<()> {
        if is_long(index_key, user_key) {
            return self.add_pending(user_key, seq);
        }
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        entry_key(index_key, user_key, &mut key);
        let len = index_key.len();
        let added = self.add_whole(&key, Mark { len, seq, void });
        self.key = key;
        added
    }

    /// Adds a row that is known by operands only.
    pub fn add_pending(&mut self, user_key: &[u8], seq: SeqNo) -> Result<()> {
        let mut key = Vec::with_capacity(1 + user_key.len());
        pending_key(user_key, &mut key);
        let (len, void) = (0, None);
        self.pended = true;
        self.add_whole(&key, Mark { len, seq, void })
    }

    /// No reader from `seq` on sees the version of that number, nor an older one; nor an older reader, if `unseen`.
    pub fn forget(&mut self, index_key: &[u8], user_key: &[u8], seq: SeqNo, void: SeqNo, unseen: bool) -> Result<()> {
        if is_long(index_key, user_key) {
            return self.forget_pending(user_key, seq, unseen);
        }
        if !unseen || self.building {
            return self.add(index_key, user_key, seq, Some(void.max(seq + 1)));
        }
        self.key.clear();
        entry_key(index_key, user_key, &mut self.key);
        self.take_away(seq)
    }

    pub fn forget_pending(&mut self, user_key: &[u8], seq: SeqNo, unseen: bool) -> Result<()> {
        if !unseen || self.building {
            return Ok(());
        }
        self.key.clear();
        pending_key(user_key, &mut self.key);
        self.index.pending.forgets();
        self.take_away(seq)
    }

    fn take_away(&mut self, seq: SeqNo) -> Result<()> {
        self.value.clear();
        put_forget(&mut self.value, seq);
        self.updates.upsert(&self.key, &self.value);
        self.flush_full()
    }

    fn flush_full(&mut self) -> Result<()> {
        match self.updates.bytes() >= BATCH {
            true => self.flush(),
            false => Ok(()),
        }
    }

    pub fn flush(&mut self) -> Result<()> {
        if !self.updates.is_empty() {
            self.file.index()?.apply(&self.updates, None)?;
            self.updates.clear();
        }
        Ok(())
    }
}
