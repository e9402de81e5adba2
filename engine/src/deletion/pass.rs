//! Passing over dead rows with a cursor.

use std::sync::Arc;

use kodiak_core::{Op, SeqNo};

use super::{DeadRows, DeletionVectors, sees};
use crate::run::Rows;

/// What a cursor passes over in the runs of a version.
#[derive(Debug, Clone)]
pub(crate) struct Passing {
    vectors: Arc<DeletionVectors>,
    /// For a compaction: deletes are not passed over, nor what one of these snapshots (ascending) may see.
    snapshots: Option<Arc<[SeqNo]>>,
}

impl Passing {
    /// Everything that is dead.
    pub fn all(vectors: Arc<DeletionVectors>) -> Self {
        Self {
            vectors,
            snapshots: None,
        }
    }

    /// What nobody needs any more while `snapshots` are held.
    pub fn superseded(vectors: Arc<DeletionVectors>, snapshots: &[SeqNo]) -> Self {
        Self {
            vectors,
            snapshots: Some(snapshots.into()),
        }
    }

    /// What is passed over in one run; `None` for nothing.
    pub fn in_run(&self, run: kodiak_core::compaction::RunId) -> Option<Pass> {
        let dead = self.vectors.of(run).filter(|dead| !dead.rows.is_empty())?;
        Some(Pass {
            dead: Arc::clone(dead),
            snapshots: self.snapshots.clone(),
            gone: Vec::new(),
            at: 0,
        })
    }
}

/// The rows of a block that a cursor passes over, and where it stands among them.
#[derive(Debug)]
pub(crate) struct Pass {
    dead: Arc<DeadRows>,
    snapshots: Option<Arc<[SeqNo]>>,
    /// Ascending.
    gone: Vec<u32>,
    /// The first of them that is not before the cursor.
    at: usize,
}

impl Pass {
    /// Enters a block whose first row has the number `first` in the file.
    pub fn enter(&mut self, first: u32, rows: &Rows) {
        let end = u64::from(first) + rows.len() as u64;
        self.gone.clear();
        self.at = 0;
        // Numbers end with the file, whose rows 32 bits can count.
        let range = first..=u32::try_from(end - 1).unwrap_or(u32::MAX);
        self.gone.extend(self.dead.rows.range(range).map(|row| row - first));
        if let Some(snapshots) = &self.snapshots {
            let newest = self.dead.newest;
            self.gone.retain(|&row| {
                let entry = rows.entry(row as usize);
                entry.op != Op::Delete && !sees(snapshots, entry.seq, newest)
            });
        }
    }

    /// The next row that is passed over; the largest number if there is none.
    #[inline]
    pub fn next(&self) -> usize {
        self.gone.get(self.at).map_or(usize::MAX, |&row| row as usize)
    }

    /// The cursor was moved to `row` from wherever it was.
    pub fn seek(&mut self, row: usize) {
        self.at = self.gone.partition_point(|&gone| (gone as usize) < row);
    }

    /// The first row at or after `row` that is not passed over, for a cursor that goes forward. It may be beyond the block.
    #[inline]
    pub fn forward(&mut self, mut row: usize) -> usize {
        while self.next() < row {
            self.at += 1;
        }
        while self.next() == row {
            self.at += 1;
            row += 1;
        }
        row
    }

    /// The last row at or before `row` that is not passed over, for a cursor that goes backward.
    pub fn backward(&mut self, row: usize) -> Option<usize> {
        self.seek(row + 1);
        let mut row = row;
        while let Some(before) = self.at.checked_sub(1)
            && self.gone[before] as usize == row
        {
            self.at = before;
            row = row.checked_sub(1)?;
        }
        Some(row)
    }
}
