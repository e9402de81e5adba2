//! A memtable over the standard library's ordered map.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use kodiak::core::entry::{EntryCursor, EntryRef, Op, SeqNo};
use kodiak::core::memtable::{Memtable, MemtableCapabilities, MemtableFactory, Version};
use kodiak::core::registry::Component;
use kodiak::{Error, Result};
use parking_lot::RwLock;

/// The memtable `btree`.
pub static FACTORY: MemtableFactory = MemtableFactory {
    component: Component {
        name: "btree",
        summary: "An ordered map behind a lock, for a test.",
        options: &[],
    },
    capabilities: CAPABILITIES,
    create: |_, _| Ok(Arc::new(Tree::new(usize::MAX))),
};

/// What it can do.
pub const CAPABILITIES: MemtableCapabilities = MemtableCapabilities {
    concurrent_insert: true,
    scalable_insert: true,
    fast_get: true,
    fast_cursor: true,
    overhead_per_entry: OVERHEAD,
};

const OVERHEAD: usize = 120;

/// Keys ascending, and of one key the newest version first.
type Place = (Vec<u8>, Reverse<SeqNo>);

/// Operation and value. The value is leaked: entries must outlive every borrow, and tests are short.
type Stored = (Op, &'static [u8]);

/// An ordered map behind a lock.
#[derive(Debug)]
pub struct Tree {
    entries: RwLock<BTreeMap<Place, Stored>>,
    memory: std::sync::atomic::AtomicUsize,
    /// It forgets every so-manieth insert.
    forgets: usize,
    inserts: std::sync::atomic::AtomicUsize,
}

impl Tree {
    /// One that forgets every so-manieth insert: `usize::MAX` for none.
    pub fn new(forgets: usize) -> Self {
        Self {
            entries: RwLock::default(),
            memory: 0.into(),
            forgets,
            inserts: 0.into(),
        }
    }
}

impl Memtable for Tree {
    fn insert(&self, entry: EntryRef<'_>) -> Result<()> {
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        let count = self.inserts.fetch_add(1, relaxed) + 1;
        if count.is_multiple_of(self.forgets) {
            return Ok(());
        }
        self.memory
            .fetch_add(entry.key.len() + entry.value.len() + OVERHEAD, relaxed);
        let value: &'static [u8] = Box::leak(entry.value.into());
        let before = self
            .entries
            .write()
            .insert((entry.key.to_vec(), Reverse(entry.seq)), (entry.op, value));
        match before {
            None => Ok(()),
            Some(_) => Err(Error::invalid_input("an entry was inserted twice")),
        }
    }

    fn get(&self, key: &[u8], seq: SeqNo) -> Option<Version<'_>> {
        let entries = self.entries.read();
        let ((found, Reverse(seq)), &(op, value)) = entries.range((key.to_vec(), Reverse(seq))..).next()?;
        (found == key).then_some(Version { seq: *seq, op, value })
    }

    fn cursor(self: Arc<Self>) -> Box<dyn EntryCursor> {
        Box::new(TreeCursor { tree: self, at: None })
    }

    fn len(&self) -> usize {
        self.entries.read().len()
    }

    fn memory(&self) -> usize {
        self.memory.load(std::sync::atomic::Ordering::Relaxed)
    }
}

struct TreeCursor {
    tree: Arc<Tree>,
    at: Option<(Place, Stored)>,
}

impl TreeCursor {
    /// To the first entry of a range, or to its last.
    fn go(&mut self, from: Bound<Place>, to: Bound<Place>, last: bool) -> Result<()> {
        let entries = self.tree.entries.read();
        let mut range = entries.range((from, to));
        let found = if last { range.next_back() } else { range.next() };
        let found = found.map(|(place, stored)| (place.clone(), *stored));
        drop(entries);
        self.at = found;
        Ok(())
    }
}

impl EntryCursor for TreeCursor {
    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.go(Bound::Included((key.to_vec(), Reverse(seq))), Bound::Unbounded, false)
    }

    fn seek_before(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.go(Bound::Unbounded, Bound::Excluded((key.to_vec(), Reverse(seq))), true)
    }

    fn seek_first(&mut self) -> Result<()> {
        self.go(Bound::Unbounded, Bound::Unbounded, false)
    }

    fn seek_last(&mut self) -> Result<()> {
        self.go(Bound::Unbounded, Bound::Unbounded, true)
    }

    fn next(&mut self) -> Result<()> {
        match self.at.take() {
            Some((place, _)) => self.go(Bound::Excluded(place), Bound::Unbounded, false),
            None => Ok(()),
        }
    }

    fn prev(&mut self) -> Result<()> {
        match self.at.take() {
            Some((place, _)) => self.go(Bound::Unbounded, Bound::Excluded(place), true),
            None => Ok(()),
        }
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        let ((key, Reverse(seq)), (op, value)) = self.at.as_ref()?;
        Some(EntryRef {
            key,
            seq: *seq,
            op: *op,
            value,
        })
    }
}
