//! Which of two overlapping runs is newer, found by comparing the versions of keys that both hold.
//!
//! A level's number is lost with the manifest, and sequence numbers of runs overlap: a run deep down may hold a late version
//! of one key, and one above it an early version of another. But of any *one* key, all versions in one run are newer than
//! all in the other; reads rely on finding the newer run first. So one pass over all keys finds every order that matters.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use kodiak_core::block::ColumnBlock;
use kodiak_core::format::Projection;
use kodiak_core::{Result, SeqNo};

use crate::maintenance::check::{DataFile, TableFiles};
use crate::manifest::RunMeta;
use crate::range_delete::RangeTombstones;

/// The layer of each run, from 0, the newest: of two runs that overlap, the newer one has the smaller layer; runs of one layer
/// do not overlap.
pub(super) fn layers(files: &TableFiles, metas: &[RunMeta]) -> Result<Vec<usize>> {
    let overlap = |a: usize, b: usize| metas[a].min_key <= metas[b].max_key && metas[b].min_key <= metas[a].max_key;
    let mut newer: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut unclear = false;
    for a in 0..metas.len() {
        for b in (0..metas.len()).filter(|&b| b != a && overlap(a, b)) {
            if metas[a].min_seq > metas[b].max_seq {
                newer.insert((a, b));
            } else if metas[b].min_seq <= metas[a].max_seq {
                unclear = true;
            }
        }
    }
    if unclear {
        compare(files, metas, &mut newer)?;
    }
    let mut waiting: BTreeSet<usize> = (0..metas.len()).collect();
    let mut layers = vec![0; metas.len()];
    while !waiting.is_empty() {
        let free = |&&run: &&usize| !waiting.iter().any(|&other| newer.contains(&(other, run)));
        // Among those with nothing newer before them, the newest; a circle, which no sound database has, is cut there too.
        let age = |&&run: &&usize| (metas[run].max_seq, metas[run].id);
        let next = waiting
            .iter()
            .filter(free)
            .max_by_key(age)
            .or_else(|| waiting.iter().max_by_key(age));
        let Some(&next) = next else { break };
        waiting.remove(&next);
        let below =
            (0..metas.len()).filter(|&other| other != next && !waiting.contains(&other) && overlap(other, next));
        layers[next] = below.map(|other| layers[other] + 1).max().unwrap_or(0);
    }
    Ok(layers)
}

/// One run, entry by entry.
struct Cursor {
    data: DataFile,
    block: Option<Arc<ColumnBlock>>,
    index: usize,
    row: usize,
    tombstones: RangeTombstones,
}

impl Cursor {
    fn open(files: &TableFiles, meta: &RunMeta) -> Result<Self> {
        let sidecar = files.sidecar(meta.id)?;
        let format = files.components.formats().find(&meta.format)?;
        let data = DataFile::open(files, &files.data_path(meta.id, format), format, &sidecar)?;
        let tombstones = sidecar.range_deletes()?.into_iter().collect();
        let mut cursor = Self {
            data,
            block: None,
            index: 0,
            row: 0,
            tombstones,
        };
        cursor.load()?;
        Ok(cursor)
    }

    fn load(&mut self) -> Result<()> {
        let more = self.index < self.data.layout().blocks.len();
        self.block = if more {
            Some(self.data.block(self.index, &Projection::Keys)?)
        } else {
            None
        };
        self.row = 0;
        Ok(())
    }

    fn here(&self) -> Option<(Vec<u8>, SeqNo)> {
        self.block
            .as_ref()
            .map(|block| (block.key(self.row).to_vec(), block.seq(self.row)))
    }

    fn advance(&mut self) -> Result<()> {
        self.row += 1;
        if self.block.as_ref().is_some_and(|block| self.row == block.rows()) {
            self.index += 1;
            self.load()?;
        }
        Ok(())
    }
}

/// Merges the keys of all runs, and notes which run has the newer version of each key.
fn compare(files: &TableFiles, metas: &[RunMeta], newer: &mut BTreeSet<(usize, usize)>) -> Result<()> {
    let mut cursors = metas
        .iter()
        .map(|meta| Cursor::open(files, meta))
        .collect::<Result<Vec<_>>>()?;
    let mut heap = BinaryHeap::new();
    let push = |heap: &mut BinaryHeap<_>, cursor: &Cursor, run: usize| {
        if let Some((key, seq)) = cursor.here() {
            heap.push(Reverse((key, Reverse(seq), run)));
        }
    };
    (0..cursors.len()).for_each(|run| push(&mut heap, &cursors[run], run));
    let deleting: Vec<usize> = (0..metas.len()).filter(|&run| metas[run].range_deletes > 0).collect();
    // The run and key before: the same key in another run comes later because it is older.
    let mut before: Option<(Vec<u8>, usize)> = None;
    while let Some(Reverse((key, Reverse(seq), run))) = heap.pop() {
        match &before {
            Some((last, other)) if *last == key && *other != run => {
                newer.insert((*other, run));
            }
            _ => {}
        }
        for &other in deleting.iter().filter(|&&other| other != run) {
            if cursors[other].tombstones.covering(&key, SeqNo::MAX) > seq {
                newer.insert((other, run));
            }
        }
        cursors[run].advance()?;
        push(&mut heap, &cursors[run], run);
        before = Some((key, run));
    }
    Ok(())
}
