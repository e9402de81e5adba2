//! Scans: the visible entries of a key range, in key order, forward or backward.

mod backward;

use std::sync::Arc;

use kodiak_core::{Op, Result, SeqNo, Slice};

use super::ScanBounds;
use super::merged::{MergedCursor, Start};
use super::resolve_merge;
use crate::merge::MergeOperator;
use crate::range_delete::RangeTombstones;
use crate::typed::Target;

/// What a scan must know besides its sources.
pub struct ScanContext {
    /// Read at this sequence number.
    pub seq: SeqNo,
    /// Versions older than this have expired.
    pub hidden_below: SeqNo,
    /// Range deletes of all sources.
    pub tombstones: RangeTombstones,
    /// The table's merge operator.
    pub operator: Option<Arc<dyn MergeOperator>>,
    /// What encoded rows of a typed table are brought to.
    pub target: Option<Target>,
    /// True if rows of runs carry their values as bytes.
    pub key_value: bool,
}

/// Iterates over `(key, value)` in key order; made by [`Table::scan`](crate::Table::scan).
///
/// As an [`Iterator`] it hands out [`Slice`]s that may be kept; [`next_ref`](Self::next_ref) hands out borrowed bytes and
/// copies nothing. It sees the table as it was when the scan was made, and keeps the files of that moment alive until it is
/// dropped. After an error it yields nothing more.
pub struct Scan {
    cursor: MergedCursor,
    context: ScanContext,
    bounds: ScanBounds,
    reverse: bool,
    /// Nothing but newer rows hides a row, and rows are handed out as they are.
    undisturbed: bool,
    /// The cursor stands on the current row, which has not been passed yet.
    on_row: bool,
    /// So many rows after the current one need no closer look.
    ahead: usize,
    /// So many more rows may be handed out, besides those ahead.
    left: usize,
    /// The cursor is to be positioned before it is read.
    unstarted: bool,
    done: bool,
    /// The key of the current row if the cursor has moved on; else room for reuse.
    key: Vec<u8>,
    /// The value of the current row, unless it is borrowed from the cursor.
    value: Option<Slice>,
}

impl Scan {
    pub(crate) fn new(cursor: MergedCursor, context: ScanContext, bounds: ScanBounds, reverse: bool) -> Result<Self> {
        let done = bounds.is_empty();
        let mut scan = Self {
            undisturbed: context.key_value && context.hidden_below == 0 && context.tombstones.is_empty(),
            cursor,
            context,
            bounds,
            reverse,
            on_row: false,
            ahead: 0,
            left: usize::MAX,
            unstarted: false,
            done,
            key: Vec::new(),
            value: None,
        };
        if !done {
            scan.start()?;
        }
        Ok(scan)
    }

    fn start(&mut self) -> Result<()> {
        let newest = kodiak_core::entry::MAX_SEQ;
        match (self.reverse, &self.bounds.end) {
            (false, _) => self.cursor.start(Start::At(&self.bounds.start, newest)),
            (true, Some(end)) => self.cursor.start(Start::At(end, newest)),
            (true, None) => self.cursor.start(Start::Edge),
        }
    }

    /// Hands out so many entries at most.
    pub(crate) fn limited(mut self, entries: usize) -> Self {
        self.left = entries;
        self
    }

    /// The same entries in the other order, from its end: `scan(range)?.rev()`, for one that nothing was read from. What was read before
    /// is read again, but counts towards a limit. [`ScanOptions::rev`](crate::ScanOptions::rev) does not position the scan twice.
    ///
    /// An error of reading the files is the next item then.
    #[must_use]
    pub fn rev(mut self) -> Self {
        self.leave();
        self.reverse = !self.reverse;
        self.cursor.turn();
        self.unstarted = true;
        self
    }

    /// Leaves where it stands.
    fn leave(&mut self) {
        self.done = self.bounds.is_empty();
        self.on_row = false;
        self.left = self.left.saturating_add(self.ahead);
        self.ahead = 0;
        self.value = None;
    }

    /// Moves to the first key at or after `key` (going forward) or at or before it (going backward), within the bounds. May be
    /// called at any time, also after the end.
    ///
    /// # Errors
    /// Those of reading the files.
    pub fn seek(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        let key = key.as_ref();
        self.leave();
        self.unstarted = false;
        if self.done {
            return Ok(());
        }
        let newest = kodiak_core::entry::MAX_SEQ;
        if self.reverse {
            match &self.bounds.end {
                Some(end) if key >= end.as_slice() => self.cursor.start(Start::At(end, newest)),
                // Before the successor of `key` is: at `key` in any version, or before it.
                _ => self.cursor.start(Start::At(&[key, &[0]].concat(), newest)),
            }
        } else {
            self.cursor
                .start(Start::At(key.max(self.bounds.start.as_slice()), newest))
        }
    }

    /// The next key and value, borrowed until the following call; `None` at the end.
    ///
    /// # Errors
    /// Those of reading the files and of the merge operator.
    #[inline]
    pub fn next_ref(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if !self.advance()? {
            return Ok(None);
        }
        if self.on_row {
            let Some((key, value)) = self.cursor.key_value() else {
                return Ok(None);
            };
            let value = match &self.value {
                Some(value) => value,
                None => value,
            };
            return Ok(Some((key, value)));
        }
        Ok(Some((&self.key, self.value.as_deref().unwrap_or_default())))
    }

    #[inline]
    fn advance(&mut self) -> Result<bool> {
        if self.ahead > 0 {
            self.ahead -= 1;
            self.cursor.step();
            return Ok(true);
        }
        self.search()
    }

    /// Moves on where the next row is not known.
    fn search(&mut self) -> Result<bool> {
        if self.done || self.left == 0 {
            self.done = true;
            return Ok(false);
        }
        let moved = self.start_and_move();
        self.done = !matches!(moved, Ok(true));
        if !self.done {
            // The rows ahead are handed out without a look at the limit.
            self.left -= 1;
            self.ahead = self.ahead.min(self.left);
            self.left -= self.ahead;
        }
        moved
    }

    #[inline]
    fn start_and_move(&mut self) -> Result<bool> {
        if std::mem::take(&mut self.unstarted) {
            self.start()?;
        }
        if self.reverse { self.backward() } else { self.forward() }
    }

    #[inline]
    fn hidden(&self, key: &[u8], seq: SeqNo) -> bool {
        seq < self.context.hidden_below
            || (!self.context.tombstones.is_empty() && seq < self.context.tombstones.covering(key, self.context.seq))
    }

    fn forward(&mut self) -> Result<bool> {
        if self.on_row {
            self.on_row = false;
            self.cursor.leave_key(&mut self.key)?;
        }
        self.value = None;
        loop {
            // First, because it takes no look at sequence numbers and operations.
            if self.on_plain_row() {
                self.on_row = true;
                self.cursor.fetch_ahead();
                return Ok(true);
            }
            if self.undisturbed && self.cursor.on_put(self.context.seq) {
                self.cursor.fetch_ahead();
                let key = self.cursor.key();
                self.on_row = self
                    .bounds
                    .end
                    .as_deref()
                    .is_none_or(|end| key.is_some_and(|key| key < end));
                return Ok(self.on_row);
            }
            let Some(entry) = self.cursor.entry() else {
                return Ok(false);
            };
            if self.bounds.end.as_ref().is_some_and(|end| entry.key >= end.as_slice()) {
                return Ok(false);
            }
            if entry.seq > self.context.seq {
                self.cursor.advance()?;
                continue;
            }
            if entry.op == Op::Put && !self.hidden(entry.key, entry.seq) {
                self.on_row = true;
                if !self.context.key_value {
                    self.value = self.targeted()?;
                }
                return Ok(true);
            }
            if entry.op == Op::Merge && !self.hidden(entry.key, entry.seq) {
                return self.merge_forward().map(|()| true);
            }
            match entry.op {
                Op::Delete => {
                    let end = self.bounds.end.as_deref();
                    self.cursor.pass_deleted(self.context.seq, end, &mut self.key)?;
                }
                _ => self.cursor.leave_key(&mut self.key)?,
            }
        }
    }

    /// The value under the cursor, of a typed table, encoded by the schema that is read by.
    fn targeted(&self) -> Result<Option<Slice>> {
        match (self.cursor.value()?, &self.context.target) {
            (Some(value), Some(target)) => target.encoded(value).map(Some),
            (value, _) => Ok(value),
        }
    }

    /// Finds out whether the row under the cursor is plain, and how many after it are: puts of distinct keys that nothing else
    /// in the scan touches. False if that is not known.
    #[inline]
    fn on_plain_row(&mut self) -> bool {
        if !self.undisturbed {
            return false;
        }
        let rows = self.cursor.plain_rows(self.context.seq, self.bounds.end.as_deref());
        self.ahead = rows.saturating_sub(1);
        rows > 0
    }

    /// Collects the operands of the key under the cursor, and moves past the key.
    fn merge_forward(&mut self) -> Result<()> {
        let mut operands = Vec::new();
        let mut base = None;
        self.key.clear();
        self.key
            .extend_from_slice(self.cursor.entry().map_or(&[][..], |entry| entry.key));
        while let Some(entry) = self.cursor.entry() {
            if entry.key != self.key.as_slice() {
                break;
            }
            let (op, hidden) = (entry.op, self.hidden(entry.key, entry.seq));
            if op != Op::Merge || hidden {
                if op == Op::Put && !hidden {
                    base = self.cursor.value()?;
                }
                self.cursor.pass_key(&mut self.key)?;
                break;
            }
            operands.extend(self.cursor.value()?);
            self.cursor.advance()?;
        }
        self.value = Some(resolve_merge(
            self.context.operator.as_deref(),
            &self.key,
            base.as_deref(),
            &operands,
        )?);
        Ok(())
    }

    fn owned(&self) -> Result<(Slice, Slice)> {
        if !self.on_row {
            let value = self.value.clone().unwrap_or_else(|| Slice::from(Vec::new()));
            return Ok((Slice::copy_from(&self.key), value));
        }
        if let Some((block, row)) = self.cursor.position() {
            let offsets = block.keys().value_offsets();
            let start = offsets[row] as usize;
            let key = Slice::of(block.keys().values(), start, offsets[row + 1] as usize - start);
            return match &self.value {
                Some(value) => Ok((key, value.clone())),
                None => Ok((key, block.value(row)?)),
            };
        }
        let Some(entry) = self.cursor.entry() else {
            return Err(kodiak_core::Error::corruption("a scan lost its row"));
        };
        if let Some(value) = &self.value {
            return Ok((Slice::copy_from(entry.key), value.clone()));
        }
        // One allocation for both.
        let both = Slice::from([entry.key, entry.value].concat()).into_buffer();
        Ok((
            Slice::of(&both, 0, entry.key.len()),
            Slice::of(&both, entry.key.len(), entry.value.len()),
        ))
    }
}

impl Iterator for Scan {
    type Item = Result<(Slice, Slice)>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance() {
            Ok(true) => Some(self.owned()),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan")
            .field("bounds", &self.bounds)
            .field("reverse", &self.reverse)
            .finish_non_exhaustive()
    }
}
