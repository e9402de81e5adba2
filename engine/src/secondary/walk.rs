//! Walking over versions of rows with the index keys that they have.

use std::sync::Arc;

use arrow::array::{Array, BinaryArray};
use kodiak_core::block::ColumnBlock;
use kodiak_core::{Op, Result, SeqNo};

use super::codec::IndexCodec;
use super::{Secondary, columns};
use crate::db::TableInner;
use crate::read::{MergedCursor, Source, Start};
use crate::run::{Run, SortedRunCursor};
use crate::typed::{Columns, Target};

/// Blocks whose index keys are kept: as many runs as are usually merged.
const RECENT_BLOCKS: usize = 16;

/// Walks over all versions of all rows in some places, keys ascending, newest first.
pub(super) struct Walk<'w> {
    cursor: MergedCursor,
    /// Those that the indexes need: of blocks no others are decoded.
    columns: Columns,
    indexes: Vec<(&'w Secondary, Arc<IndexCodec>)>,
    recent: Vec<(Arc<ColumnBlock>, Vec<Option<BinaryArray>>)>,
}

/// Runs, each as a source of its own; pages that were read are let go of.
pub(super) fn sources(runs: &[Arc<Run>]) -> Vec<Source> {
    let source = |run: &Arc<Run>| Source::Run(SortedRunCursor::new(vec![Arc::clone(run)], false).once());
    runs.iter().map(source).collect()
}

impl<'w> Walk<'w> {
    /// Over the entries of `sources`, as rows of a table's present schema.
    ///
    /// # Errors
    /// Those of reading.
    pub fn new(
        table: &TableInner,
        indexes: impl IntoIterator<Item = &'w Arc<Secondary>>,
        sources: Vec<Source>,
    ) -> Result<Self> {
        Self::of_target(table.target(), indexes, sources)
    }

    /// Over the entries of `sources`, as rows of `target`.
    ///
    /// # Errors
    /// Those of reading.
    pub fn of_target(
        target: Target,
        indexes: impl IntoIterator<Item = &'w Arc<Secondary>>,
        sources: Vec<Source>,
    ) -> Result<Self> {
        let with_codec = |index: &'w Arc<Secondary>| Ok((&**index, index.codec(target.schema())?));
        let indexes: Vec<_> = indexes.into_iter().map(with_codec).collect::<Result<_>>()?;
        let columns = columns::needed(&target, indexes.iter().map(|(_, codec)| &**codec))?;
        let wanted = columns.wanted();
        let of_block = |source| match source {
            Source::Run(cursor) => Source::Run(cursor.wanting(&wanted)),
            memory => memory,
        };
        let mut cursor = MergedCursor::new(sources.into_iter().map(of_block).collect(), false);
        cursor.start(Start::Edge)?;
        Ok(Self {
            cursor,
            columns,
            indexes,
            recent: Vec::new(),
        })
    }

    /// Key, sequence number and operation under the cursor.
    pub fn current(&self) -> Option<(&[u8], SeqNo, Op)> {
        self.cursor.entry().map(|entry| (entry.key, entry.seq, entry.op))
    }

    /// To the next version.
    ///
    /// # Errors
    /// Those of reading.
    pub fn next(&mut self) -> Result<()> {
        self.cursor.advance()
    }

    /// The index key, in the index of this place, of the row under the cursor, which is a put; `None` if it is not in the index.
    ///
    /// # Errors
    /// Those of the codecs.
    pub fn index_key(&mut self, place: usize) -> Result<Option<Vec<u8>>> {
        if let Some((block, row)) = self.cursor.position() {
            let (block, row) = (Arc::clone(block), row);
            let keys = self.block_keys(&block, place)?;
            return Ok(keys.is_valid(row).then(|| keys.value(row).to_vec()));
        }
        let Some(entry) = self.cursor.entry() else {
            return Ok(None);
        };
        row_key(self.columns.target(), &self.indexes[place].1, entry.key, entry.value)
    }

    fn block_keys(&mut self, block: &Arc<ColumnBlock>, place: usize) -> Result<&BinaryArray> {
        let known = self.recent.iter().position(|(known, _)| Arc::ptr_eq(known, block));
        let known = match known {
            Some(known) => known,
            None => {
                if self.recent.len() == RECENT_BLOCKS {
                    self.recent.remove(0);
                }
                self.recent.push((Arc::clone(block), vec![None; self.indexes.len()]));
                self.recent.len() - 1
            }
        };
        if self.recent[known].1[place].is_none() {
            let codec = &self.indexes[place].1;
            let own = columns::of_block(&self.columns, block)?;
            self.recent[known].1[place] = Some(codec.encode(&own)?);
        }
        match &self.recent[known].1[place] {
            Some(keys) => Ok(keys),
            None => Err(kodiak_core::Error::corruption("the index keys of a block are missing")),
        }
    }
}

/// The index key of a row given as bytes.
fn row_key(target: &Target, codec: &IndexCodec, key: &[u8], row: &[u8]) -> Result<Option<Vec<u8>>> {
    let one = |bytes| BinaryArray::from_iter_values([bytes]);
    let keys = codec.encode(&columns::of_rows(target, [codec], &one(key), &one(row))?)?;
    Ok(keys.is_valid(0).then(|| keys.value(0).to_vec()))
}
