//! Blocks that a read with a filter need not read.
//!
//! That no row of a block passes is not enough: one of them may be the newest version of a key of which an older one, elsewhere,
//! would pass. So a block is left out only if nothing older may hold one of its keys: not the runs below, and not the block
//! behind it. Newer versions are no matter, as they count whether or not this block is read, unless they are merged with what
//! is older; then nothing else at all may hold one of its keys.

use std::sync::Arc;

use kodiak_core::{Error, Result};

use super::lazy::Run;
use super::reader::RunReader;
use crate::typed::Filter;
use crate::version::SortedRun;

/// What a cursor over a sorted run may leave out.
#[derive(Debug, Clone)]
pub struct Pruning {
    filter: Arc<Filter>,
    /// The runs that may hold other versions that matter.
    others: Vec<SortedRun>,
}

impl Pruning {
    /// Leaves out blocks in which no row passes, unless they overlap a run of `others`: those that are older than the cursor's,
    /// or all others if versions are merged.
    pub fn new(filter: &Arc<Filter>, others: Vec<SortedRun>) -> Self {
        Self {
            filter: Arc::clone(filter),
            others,
        }
    }

    /// For each block of a run whether it is left out; `None` if none is. `next` is the run behind it in the same sorted run.
    ///
    /// # Errors
    /// `Corruption` if the sidecar's statistics cannot be read; those of reading the catalogue.
    pub fn blocks(&self, run: &RunReader, next: Option<&Arc<Run>>) -> Result<Option<Arc<[bool]>>> {
        let Some(statistics) = run.statistics()? else {
            return Ok(None);
        };
        if run.sidecar().meta().merges > 0 {
            return Ok(None);
        }
        let rows: Vec<u32> = (0..run.blocks()).map(|block| run.block_rows(block)).collect();
        let mut left_out = self.filter.excluded(&statistics, run.schema_version(), &rows)?;
        let (fences, mut first, mut end) = (run.fences(), Vec::new(), Vec::new());
        for block in 0..left_out.len() {
            if !left_out[block] {
                continue;
            }
            fences.key(block, &mut first);
            let behind = block + 1;
            let continued = if behind < left_out.len() {
                fences.key(behind, &mut end);
                fences.continues(behind)
            } else {
                end.clear();
                end.extend_from_slice(fences.last_key());
                next.is_some_and(|next| next.min_key() <= fences.last_key())
            };
            let mut others = self.others.iter();
            let met = others.try_fold(continued, |met, runs| {
                Ok::<_, Error>(met || runs.overlaps(&first, &end)?)
            })?;
            left_out[block] = !met;
        }
        Ok(left_out.contains(&true).then(|| left_out.into()))
    }
}
