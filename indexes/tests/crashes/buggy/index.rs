//! Bugs that a tree has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kodiak_core::Result;
use kodiak_core::index::{Change, Displaced, Index, IndexFinding, IndexStats, IndexView, Root, Updates};

use super::Bug;

/// The index.
#[derive(Debug)]
pub struct BuggyIndex {
    inner: Arc<dyn Index>,
    bug: Bug,
    calls: AtomicU64,
}

impl BuggyIndex {
    pub fn new(inner: Box<dyn Index>, bug: Bug) -> Self {
        Self {
            inner: Arc::from(inner),
            bug,
            calls: AtomicU64::new(0),
        }
    }

    /// True for every third call.
    fn is_due(&self) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) % 3 == 2
    }
}

/// The same without its last change of a single key.
fn without_one(updates: &Updates) -> Updates {
    let mut fewer = Updates::new();
    for index in 0..updates.point_count().saturating_sub(1) {
        let (key, change) = updates.point(index);
        match change {
            Change::Put(value) => fewer.put(key, value),
            Change::Delete => fewer.delete(key),
            Change::Upsert(operand) => fewer.upsert(key, operand),
        };
    }
    fewer
}

impl Index for BuggyIndex {
    fn apply(&self, updates: &Updates, displaced: Option<Displaced<'_>>) -> Result<()> {
        let plain = updates.ranges().next().is_none();
        if self.bug == Bug::MessageLost && plain && self.is_due() {
            return self.inner.apply(&without_one(updates), displaced);
        }
        self.inner.apply(updates, displaced)
    }

    fn bulk_load(&self, entries: &mut dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>)>>) -> Result<()> {
        self.inner.bulk_load(entries)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.inner.get(key)
    }

    fn commit(&self) -> Result<Root> {
        let newest = self.inner.roots().last().map_or(0, |root| root.0);
        // It is made with the next one.
        if self.bug == Bug::AcknowledgedEarly && self.is_due() {
            return Ok(Root(newest + 1));
        }
        self.inner.commit()
    }

    fn rollback(&self) -> Result<()> {
        match self.bug {
            Bug::RollbackForgotten => Ok(()),
            _ => self.inner.rollback(),
        }
    }

    fn roots(&self) -> Vec<Root> {
        self.inner.roots()
    }

    fn release(&self, root: Root) -> Result<()> {
        match self.bug {
            Bug::NotReleased => return Ok(()),
            Bug::ReleasedTooMuch => {
                let others = self.inner.roots();
                let other = others.iter().rev().nth(1).filter(|other| **other != root);
                other.map_or(Ok(()), |other| self.inner.release(*other))?;
            }
            _ => {}
        }
        self.inner.release(root)
    }

    fn reset_to(&self, root: Root) -> Result<()> {
        let newest = *self.inner.roots().last().expect("one is always there");
        match self.bug {
            Bug::ResetForgotten => self.inner.reset_to(newest),
            _ => self.inner.reset_to(root),
        }
    }

    fn view(&self, root: Root) -> Result<Arc<dyn IndexView>> {
        let newest = *self.inner.roots().last().expect("one is always there");
        match self.bug {
            Bug::ViewMoves => self.inner.view(newest),
            _ => self.inner.view(root),
        }
    }

    fn verify(&self, finding: &mut dyn FnMut(IndexFinding)) -> Result<()> {
        self.inner.verify(finding)
    }

    fn dump(&self, root: Root, line: &mut dyn FnMut(String)) -> Result<()> {
        self.inner.dump(root, line)
    }

    fn stats(&self) -> IndexStats {
        self.inner.stats()
    }
}
