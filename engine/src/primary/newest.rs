//! The newest version of each key in some runs, and the older ones, with their places.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;

use kodiak_core::{Error, Op, Result, SeqNo};

use super::locator::Locator;
use crate::run::{Run, SortedRunCursor, Wanted};
use crate::version::Version;

/// A cursor and the entry it stands on.
struct Head {
    key: Vec<u8>,
    locator: Locator,
    cursor: Box<SortedRunCursor>,
}

impl Head {
    /// `None` at the end.
    fn new(mut cursor: SortedRunCursor) -> Result<Option<Self>> {
        cursor.seek_first()?;
        let mut head = Self {
            key: Vec::new(),
            locator: Locator {
                run: 0,
                block: 0,
                row: 0,
                seq: 0,
                op: Op::Put,
            },
            cursor: Box::new(cursor),
        };
        Ok(head.take()?.then_some(head))
    }

    /// Notes what the cursor stands on; false at the end.
    fn take(&mut self) -> Result<bool> {
        let (Some(entry), Some((run, block, row))) = (self.cursor.entry(), self.cursor.place()) else {
            return Ok(false);
        };
        let number = |number: usize| {
            u32::try_from(number).map_err(|_| Error::invalid_input("a run has too many blocks or rows for a locator"))
        };
        self.locator = Locator {
            run,
            block: number(block)?,
            row: number(row)?,
            seq: entry.seq,
            op: entry.op,
        };
        self.key.clear();
        self.key.extend_from_slice(entry.key);
        Ok(true)
    }

    fn advance(&mut self) -> Result<bool> {
        self.cursor.next()?;
        self.take()
    }

    fn rank(&self) -> (&[u8], std::cmp::Reverse<SeqNo>) {
        (&self.key, std::cmp::Reverse(self.locator.seq))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives its largest first.
        other.rank().cmp(&self.rank())
    }
}

/// Walks over the keys of some runs in order; of each it tells the newest version, and then the older ones. Pages that it has
/// read are let go of.
pub(crate) struct Newest {
    heads: BinaryHeap<Head>,
    key: Vec<u8>,
    locator: Option<Locator>,
    older: Vec<Locator>,
}

impl Newest {
    /// Over runs that may overlap.
    ///
    /// # Errors
    /// Those of reading.
    pub fn of_runs(runs: &[Arc<Run>]) -> Result<Self> {
        Self::over(runs.iter().map(|run| vec![Arc::clone(run)]))
    }

    /// Over all runs of a version.
    ///
    /// # Errors
    /// Those of reading.
    pub fn of_version(version: &Version) -> Result<Self> {
        let runs = version
            .sorted_runs()
            .map(|sorted| Ok(sorted.runs()?.cloned().collect()));
        Self::over(runs.collect::<Result<Vec<_>>>()?.into_iter())
    }

    fn over(sorted_runs: impl Iterator<Item = Vec<Arc<Run>>>) -> Result<Self> {
        let mut heads = BinaryHeap::new();
        for runs in sorted_runs {
            let cursor = SortedRunCursor::new(runs, false).once();
            heads.extend(Head::new(cursor.wanting(&Wanted::keys()))?);
        }
        let mut newest = Self {
            heads,
            key: Vec::new(),
            locator: None,
            older: Vec::new(),
        };
        newest.next()?;
        Ok(newest)
    }

    /// Where it stands.
    pub fn current(&self) -> Option<(&[u8], Locator)> {
        self.locator.map(|locator| (&*self.key, locator))
    }

    /// The other versions of the key where it stands, newest first.
    pub fn older(&self) -> &[Locator] {
        &self.older
    }

    /// To the next key.
    ///
    /// # Errors
    /// Those of reading.
    pub fn next(&mut self) -> Result<()> {
        let started = self.locator.take().is_some();
        self.older.clear();
        while let Some(mut head) = self.heads.peek_mut() {
            let older = (started || self.locator.is_some()) && head.key == self.key;
            if older {
                self.older.push(head.locator);
            } else {
                if self.locator.is_some() {
                    return Ok(());
                }
                self.key.clone_from(&head.key);
                self.locator = Some(head.locator);
            }
            if !head.advance()? {
                PeekMut::pop(head);
            }
        }
        Ok(())
    }
}
