//! Cursors over runs.

use std::sync::Arc;

use kodiak_core::block::ColumnBlock;
use kodiak_core::compaction::RunId;
use kodiak_core::format::Projection;
use kodiak_core::{EntryRef, Result, SeqNo};

use super::behind::Behind;
use super::reader::RunReader;
use super::rows::Rows;
use crate::deletion::Pass;

/// A cursor over one run: a block, and a row in it.
#[derive(Debug)]
pub struct RunCursor {
    run: Arc<RunReader>,
    block: Option<Rows>,
    index: usize,
    row: usize,
    fill_cache: bool,
    projection: Projection,
    once: bool,
    behind: Option<Behind>,
    /// Blocks that are passed over as if they were not there.
    left_out: Option<Arc<[bool]>>,
    /// Rows that it never stands on.
    pass: Option<Pass>,
    /// The next of those in the block; the largest number if there is none.
    gone: usize,
}

impl RunCursor {
    /// A cursor that is not positioned. Blocks read stay in the cache if `fill_cache`.
    pub fn new(run: Arc<RunReader>, fill_cache: bool, projection: Projection) -> Self {
        Self {
            run,
            block: None,
            index: 0,
            row: 0,
            fill_cache,
            projection,
            once: false,
            behind: None,
            left_out: None,
            pass: None,
            gone: usize::MAX,
        }
    }

    /// Passes over rows.
    pub fn passing(mut self, pass: Option<Pass>) -> Self {
        self.pass = pass;
        self
    }

    /// Lets go of the pages of what it has read; see `SortedRunCursor::once`.
    pub fn once(mut self, once: bool) -> Self {
        self.once = once;
        self
    }

    /// Passes over the blocks that are marked so.
    pub fn leaving_out(mut self, blocks: Option<Arc<[bool]>>) -> Self {
        self.left_out = blocks;
        self
    }

    #[inline]
    fn is_left_out(&self, block: usize) -> bool {
        self.left_out.as_ref().is_some_and(|blocks| blocks[block])
    }

    /// To the beginning of the first block after `index` that is not left out.
    #[cold]
    fn pass_forward(&mut self, index: usize) -> Result<()> {
        self.block = None;
        self.index = index;
        self.run.note_left_out(1);
        self.enter_block_after()?;
        self.settle_forward()
    }

    /// To the end of the last block before `index` that is not left out.
    #[cold]
    fn pass_backward(&mut self, index: usize) -> Result<()> {
        self.block = None;
        self.index = index;
        self.run.note_left_out(1);
        self.enter_prev()
    }

    fn load(&mut self, index: usize) -> Result<&Rows> {
        if self.block.is_none() || self.index != index {
            self.block = None;
            let block = self.run.rows(index, &self.projection, (self.fill_cache, self.once))?;
            if let Some(pass) = &mut self.pass {
                pass.enter(self.run.first_rows()?[index], &block);
                self.gone = pass.next();
            }
            self.block = Some(block);
            self.index = index;
            if self.once {
                let behind = self.behind.get_or_insert_with(|| Behind::new(&self.run, index));
                behind.enter(index);
            }
        }
        self.block
            .as_ref()
            .ok_or_else(|| kodiak_core::Error::corruption("a cursor lost its block"))
    }

    /// The first half of a seek to the first entry at or after `(key, seq)`: the memory that the second one will need is on its
    /// way when this returns.
    pub fn approach(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        if self.run.blocks() > 0 {
            let index = self.run.locate(key, seq).unwrap_or(0);
            if self.is_left_out(index) {
                return self.pass_forward(index);
            }
            self.load(index)?.approach(key);
        }
        Ok(())
    }

    /// The second half, with the same arguments.
    pub fn land(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        let Some(block) = &self.block else { return Ok(()) };
        self.row = block.lower_bound(key, seq);
        if self.row < block.len() {
            block.approach_values(self.row);
        }
        self.settle_forward()
    }

    /// To the last entry before `(key, seq)`.
    pub fn seek_before(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        if self.run.blocks() == 0 {
            return Ok(());
        }
        let Some(index) = self.run.locate(key, seq) else {
            self.block = None;
            return Ok(());
        };
        if self.is_left_out(index) {
            return self.pass_backward(index);
        }
        let row = self.load(index)?.lower_bound(key, seq);
        if row == 0 {
            self.enter_prev()
        } else {
            self.row = row - 1;
            self.settle_backward()
        }
    }

    /// To the first entry.
    pub fn seek_first(&mut self) -> Result<()> {
        if self.run.blocks() > 0 {
            if self.is_left_out(0) {
                return self.pass_forward(0);
            }
            self.load(0)?;
            self.row = 0;
            self.settle_forward()?;
        }
        Ok(())
    }

    /// To the last entry.
    pub fn seek_last(&mut self) -> Result<()> {
        if let Some(last) = self.run.blocks().checked_sub(1) {
            if self.is_left_out(last) {
                return self.pass_backward(last);
            }
            let rows = self.load(last)?.len();
            self.row = rows - 1;
            self.settle_backward()?;
        }
        Ok(())
    }

    /// To the first row of the next block that is not left out.
    #[cold]
    fn enter_block_after(&mut self) -> Result<()> {
        let next = (self.index + 1..self.run.blocks()).find(|&block| !self.is_left_out(block));
        let passed = next.unwrap_or(self.run.blocks()).saturating_sub(self.index + 1);
        self.run.note_left_out(passed as u64);
        match next {
            Some(next) => {
                self.load(next)?;
                self.row = 0;
            }
            None => self.block = None,
        }
        Ok(())
    }

    /// From wherever it was put in the block: to the next row that it does not pass over.
    fn settle_forward(&mut self) -> Result<()> {
        if let Some(pass) = &mut self.pass {
            pass.seek(self.row);
        }
        self.go_on(self.row)
    }

    /// To `row` of the block, at or after the one it stands on, or the next one that it does not pass over, in whatever block.
    fn go_on(&mut self, row: usize) -> Result<()> {
        self.row = row;
        while let Some(block) = &self.block {
            if let Some(pass) = &mut self.pass {
                self.row = pass.forward(self.row);
                self.gone = pass.next();
            }
            if self.row < block.len() {
                break;
            }
            self.enter_block_after()?;
        }
        Ok(())
    }

    fn leave_stretch(&mut self) -> Result<()> {
        self.go_on(self.row + 1)
    }

    /// From wherever it was put in the block: to the last row before that it does not pass over, in whatever block.
    fn settle_backward(&mut self) -> Result<()> {
        while let (Some(_), Some(pass)) = (&self.block, &mut self.pass) {
            let row = pass.backward(self.row);
            self.gone = pass.next();
            if let Some(row) = row {
                self.row = row;
                break;
            }
            self.enter_block_before()?;
        }
        Ok(())
    }

    /// To the last row of the block before that is not left out.
    #[cold]
    fn enter_block_before(&mut self) -> Result<()> {
        let before = (0..self.index).rfind(|&block| !self.is_left_out(block));
        let passed = self.index - before.map_or(0, |before| before + 1);
        self.run.note_left_out(passed as u64);
        match before {
            Some(before) => {
                let rows = self.load(before)?.len();
                self.row = rows - 1;
            }
            None => self.block = None,
        }
        Ok(())
    }

    #[cold]
    fn enter_prev(&mut self) -> Result<()> {
        self.enter_block_before()?;
        self.settle_backward()
    }

    /// To the next entry.
    #[inline]
    pub fn next(&mut self) -> Result<()> {
        match &self.block {
            Some(block) if self.row + 1 < block.len().min(self.gone) => {
                self.row += 1;
                Ok(())
            }
            Some(_) => self.leave_stretch(),
            None => Ok(()),
        }
    }

    /// To the previous entry.
    #[inline]
    pub fn prev(&mut self) -> Result<()> {
        match &self.block {
            Some(_) if self.row > 0 => {
                self.row -= 1;
                if self.pass.is_some() {
                    return self.settle_backward();
                }
                Ok(())
            }
            Some(_) => self.enter_prev(),
            None => Ok(()),
        }
    }

    /// True if it stands on an entry.
    #[inline]
    pub fn is_positioned(&self) -> bool {
        self.block.is_some()
    }

    /// The block under the cursor and the row in it.
    #[inline]
    pub fn position(&self) -> Option<(&Arc<ColumnBlock>, usize)> {
        self.block.as_ref().map(|block| (block.columns(), self.row))
    }

    /// If all rows of the block under the cursor are puts of distinct keys: a sequence number that none of theirs is above.
    pub fn plain(&self) -> Option<SeqNo> {
        let (block, _) = self.position()?;
        self.run.plain(self.index, block)
    }

    /// The rows of the block under the cursor, and the one it stands on.
    #[inline]
    pub fn rows(&self) -> Option<(&Rows, usize)> {
        self.block.as_ref().map(|block| (block, self.row))
    }

    /// The run, the block and the row under it, by their numbers, if it is positioned.
    pub fn place(&self) -> (RunId, usize, usize) {
        (self.run.id(), self.index, self.row)
    }

    /// To the next row, which the caller knows to be before the [`end`](Self::end).
    #[inline]
    pub fn step(&mut self) {
        self.row += 1;
    }

    /// To the row before, which the caller knows to be in the block.
    #[inline]
    pub fn step_back(&mut self) {
        self.row -= 1;
    }

    /// The end of the rows of the block, from the one it stands on, none of which is passed over.
    #[inline]
    pub fn end(&self) -> usize {
        self.block.as_ref().map_or(0, |block| block.len().min(self.gone))
    }

    /// Moves on to `row` of the block under the cursor, or to the next block if it has no such row.
    pub fn advance_to(&mut self, row: usize) -> Result<()> {
        self.go_on(row)
    }

    /// The entry under the cursor; the value is empty in a typed table.
    #[inline]
    pub fn entry(&self) -> Option<EntryRef<'_>> {
        self.block.as_ref().map(|block| block.entry(self.row))
    }

    /// The key under the cursor.
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        self.block.as_ref().map(|block| block.key(self.row))
    }
}
