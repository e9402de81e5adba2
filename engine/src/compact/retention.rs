//! Which versions a flush or compaction keeps.
//!
//! Snapshots cut the sequence numbers into *stripes*: no reader can tell apart two versions of a key in one stripe, so only
//! the newest of them is kept (all merge operands down to the first that is not one, combined where the operator can).

use std::sync::Arc;

use kodiak_core::block::ColumnBlock;
use kodiak_core::entry::MAX_SEQ;
use kodiak_core::{EntryRef, Op, Result, SeqNo, Slice, shown_key};

use super::sink::Sink;
use crate::deletion::Passing;
use crate::merge::MergeOperator;
use crate::range_delete::RangeTombstones;
use crate::read::{MergedCursor, resolve_merge};

/// What may be dropped.
pub struct Retention {
    /// Sequence numbers at which somebody may read, ascending. (Reading the newest needs no entry.)
    pub snapshots: Vec<SeqNo>,
    /// Nothing older than the inputs exists for any key in their range.
    pub bottom: bool,
    /// Versions older than this have expired.
    pub hidden_below: SeqNo,
    /// Range deletes of the inputs.
    pub tombstones: RangeTombstones,
    /// The table's merge operator.
    pub operator: Option<Arc<dyn MergeOperator>>,
    /// True if rows of runs carry their values as bytes.
    pub key_value: bool,
    /// Rows of the inputs that the cursor passes over, because deletion vectors say that nobody needs them.
    pub passing: Option<Passing>,
}

impl Retention {
    #[inline]
    fn stripe(&self, seq: SeqNo) -> usize {
        match self.snapshots.last() {
            Some(&last) if last >= seq => self.snapshots.partition_point(|&snapshot| snapshot < seq),
            _ => self.snapshots.len(),
        }
    }

    fn stripe_end(&self, stripe: usize) -> SeqNo {
        self.snapshots.get(stripe).copied().unwrap_or(MAX_SEQ)
    }

    /// True if a range delete of the same stripe hides the version.
    fn covered(&self, key: &[u8], seq: SeqNo, stripe: usize) -> bool {
        !self.tombstones.is_empty() && self.tombstones.covering(key, self.stripe_end(stripe)) > seq
    }

    /// The range deletes that the outputs must hold: of each stripe the newest, and none that hides nothing any more.
    pub fn surviving_tombstones(&self) -> RangeTombstones {
        let mut kept = self.tombstones.clone();
        kept.retain(|seq, newer| {
            let stripe = self.stripe(seq);
            let shadowed = newer.is_some_and(|newer| self.stripe(newer) == stripe);
            let useless = seq < self.hidden_below || (self.bottom && stripe == 0);
            !shadowed && !useless
        });
        kept
    }
}

/// Operands of one key and stripe that wait for what lies below them, newest first.
#[derive(Default)]
struct Pending {
    operands: Vec<(SeqNo, Slice)>,
    stripe: usize,
}

/// A sink, and of how many keys it was not given the newest version.
struct Watch<'s> {
    sink: &'s mut dyn Sink,
    /// That of the present key, if it is still to come.
    newest: Option<SeqNo>,
    lost: u64,
}

impl Watch<'_> {
    /// Another key begins, whose newest version is this.
    #[inline]
    fn key(&mut self, newest: Option<SeqNo>) {
        self.lost += u64::from(self.newest.is_some());
        self.newest = newest;
    }

    #[inline]
    fn came(&mut self, seq: SeqNo) {
        if let Some(newest) = self.newest.take() {
            self.lost += u64::from(newest != seq);
        }
    }
}

impl Sink for Watch<'_> {
    #[inline]
    fn entry(&mut self, entry: EntryRef<'_>) -> Result<()> {
        self.came(entry.seq);
        self.sink.entry(entry)
    }

    fn rows(&mut self, block: &Arc<ColumnBlock>, from: usize, to: usize) -> Result<()> {
        self.came(block.seq(from));
        self.sink.rows(block, from, to)
    }
}

/// Reads a merged cursor to its end and hands what must be kept to a sink.
pub struct Rewriter<'a> {
    cursor: MergedCursor,
    retention: &'a Retention,
    /// First key that belongs to another worker.
    end: Option<&'a [u8]>,
    key: Vec<u8>,
    started: bool,
    stripe: usize,
    /// The newest version of `key` in `stripe` hides all older ones there.
    decided: bool,
    pending: Pending,
    /// So many rows are to be passed before a stretch is looked for again.
    patience: u32,
}

/// Rows to pass after a stretch was looked for in vain.
const PATIENCE: u32 = 15;

impl<'a> Rewriter<'a> {
    /// Rewrites from where `cursor` stands to `end`.
    pub fn new(cursor: MergedCursor, retention: &'a Retention, end: Option<&'a [u8]>) -> Self {
        Self {
            cursor,
            retention,
            end,
            key: Vec::new(),
            started: false,
            stripe: 0,
            decided: false,
            pending: Pending::default(),
            patience: 0,
        }
    }

    /// Rewrites everything; `stop` is asked now and then whether to give up. Returns of how many keys the newest version was not
    /// kept.
    ///
    /// # Errors
    /// Those of reading and writing; `Unavailable` if told to stop.
    pub fn run(mut self, sink: &mut dyn Sink, stop: &dyn Fn() -> bool) -> Result<u64> {
        let mut watch = Watch {
            sink,
            newest: None,
            lost: 0,
        };
        self.rewrite(&mut watch, stop)?;
        watch.key(None);
        Ok(watch.lost)
    }

    fn rewrite(&mut self, sink: &mut Watch<'_>, stop: &dyn Fn() -> bool) -> Result<()> {
        let plain = self.retention.tombstones.is_empty() && self.retention.hidden_below == 0;
        let mut steps = 0u32;
        loop {
            steps = steps.wrapping_add(1);
            if steps.is_multiple_of(4096) && stop() {
                return Err(kodiak_core::Error::new(
                    kodiak_core::ErrorKind::Unavailable,
                    "the database is closing",
                ));
            }
            if self.patience > 0 {
                self.patience -= 1;
            } else if plain && self.pending.operands.is_empty() {
                if self.copy_stretch(sink)? {
                    continue;
                }
                // Runs that interleave finely have no stretches worth looking for at each row.
                self.patience = if self.retention.key_value { PATIENCE } else { 0 };
            }
            let Some(entry) = self.cursor.entry() else { break };
            if self.end.is_some_and(|end| entry.key >= end) {
                break;
            }
            if self.started && entry.key == self.key.as_slice() {
                let stripe = self.retention.stripe(entry.seq);
                if stripe != self.stripe {
                    Self::flush_pending(&mut self.pending, self.retention, &self.key, false, sink)?;
                    self.stripe = stripe;
                    self.decided = false;
                }
            } else {
                let bottom = self.retention.bottom;
                Self::flush_pending(&mut self.pending, self.retention, &self.key, bottom, sink)?;
                if entry.op == Op::Delete && bottom && self.retention.snapshots.is_empty() {
                    sink.key(None);
                    sink.lost += self.cursor.pass_deleted(MAX_SEQ, self.end, &mut self.key)?;
                    continue;
                }
                self.key.clear();
                self.key.extend_from_slice(entry.key);
                sink.key(Some(entry.seq));
                self.started = true;
                self.stripe = self.retention.stripe(entry.seq);
                self.decided = false;
            }
            if !self.decided {
                self.version(sink)?;
            }
            self.cursor.advance()?;
        }
        Self::flush_pending(
            &mut self.pending,
            self.retention,
            &self.key,
            self.retention.bottom,
            sink,
        )
    }

    /// Copies a stretch of rows of one run that nothing else touches: puts of distinct keys. False if the row under the
    /// cursor needs a closer look.
    fn copy_stretch(&mut self, sink: &mut Watch<'_>) -> Result<bool> {
        let Some((block, row, mut end)) = self.cursor.stretch() else {
            return Ok(false);
        };
        if let Some(bound) = self.end
            && block.key(end - 1) >= bound
        {
            end = block.lower_bound(bound, MAX_SEQ).max(row);
        }
        if end - row < 4 || (self.started && block.key(row) == self.key.as_slice()) {
            return Ok(false);
        }
        let put = Op::Put as i8;
        let ops = &block.ops()[row..end];
        let puts = ops.iter().position(|&op| op != put).unwrap_or(ops.len());
        let mut stop = row + puts.min(1);
        // Versions of one key have falling sequence numbers: where they rise the keys differ.
        let seqs = block.seqs();
        while stop < row + puts && (seqs[stop] > seqs[stop - 1] || block.key(stop) != block.key(stop - 1)) {
            stop += 1;
        }
        if stop == row {
            return Ok(false);
        }
        let block = Arc::clone(block);
        sink.key(Some(block.seq(row)));
        sink.rows(&block, row, stop)?;
        self.key.clear();
        self.key.extend_from_slice(block.key(stop - 1));
        self.started = true;
        self.stripe = self.retention.stripe(block.seq(stop - 1));
        self.decided = true;
        self.cursor.advance_to(stop)?;
        Ok(true)
    }

    /// Decides about the version under the cursor, the newest one of its key and stripe that is not decided.
    fn version(&mut self, sink: &mut dyn Sink) -> Result<()> {
        let Some(entry) = self.cursor.entry() else {
            return Ok(());
        };
        let expired = entry.seq < self.retention.hidden_below;
        if expired || self.retention.covered(entry.key, entry.seq, self.stripe) {
            // Whatever is older in this stripe is hidden as well, so operands above have no base.
            self.decided = true;
            return Self::flush_pending(&mut self.pending, self.retention, &self.key, true, sink);
        }
        match entry.op {
            Op::Merge => {
                let seq = entry.seq;
                if let Some(value) = self.cursor.value()? {
                    self.pending.stripe = self.stripe;
                    self.pending.operands.push((seq, value));
                }
                Ok(())
            }
            op => {
                self.decided = true;
                if !self.pending.operands.is_empty() {
                    let base = if op == Op::Put { self.cursor.value()? } else { None };
                    if Self::resolve(&mut self.pending, self.retention, &self.key, base.as_deref(), sink)? {
                        return Ok(());
                    }
                    Self::keep_pending(&mut self.pending, self.retention, &self.key, sink)?;
                }
                if op == Op::Delete && self.retention.bottom && self.stripe == 0 {
                    return Ok(());
                }
                if op == Op::Put
                    && !self.retention.key_value
                    && let Some((block, row)) = self.cursor.position()
                {
                    return sink.rows(block, row, row + 1);
                }
                sink.entry(entry)
            }
        }
    }

    /// Writes what the waiting operands make of `base`. False if the operator cannot tell: then they have to stay, for reads to
    /// report, as a flush that failed of one key would stop all writers.
    fn resolve(
        pending: &mut Pending,
        retention: &Retention,
        key: &[u8],
        base: Option<&[u8]>,
        sink: &mut dyn Sink,
    ) -> Result<bool> {
        let operands: Vec<Slice> = pending.operands.iter().map(|(_, value)| value.clone()).collect();
        let value = match resolve_merge(retention.operator.as_deref(), key, base, &operands) {
            Ok(value) => value,
            Err(error) => {
                let key = shown_key(key);
                tracing::warn!(%error, key, "operands cannot be merged, and stay");
                return Ok(false);
            }
        };
        sink.entry(EntryRef {
            key,
            seq: pending.operands[0].0,
            op: Op::Put,
            value: &value,
        })?;
        pending.operands.clear();
        Ok(true)
    }

    /// Writes out operands that wait. With `absent` the key has no value below them: then they become a value, if no older
    /// stripe could hold one.
    fn flush_pending(
        pending: &mut Pending,
        retention: &Retention,
        key: &[u8],
        absent: bool,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        if pending.operands.is_empty() {
            return Ok(());
        }
        if absent && retention.operator.is_some() && Self::resolve(pending, retention, key, None, sink)? {
            return Ok(());
        }
        Self::keep_pending(pending, retention, key, sink)
    }

    /// Writes the waiting operands as operands, as one if the operator can combine them.
    fn keep_pending(pending: &mut Pending, retention: &Retention, key: &[u8], sink: &mut dyn Sink) -> Result<()> {
        let combined = retention
            .operator
            .as_deref()
            .and_then(|operator| combine(operator, key, &pending.operands));
        if let Some(value) = combined {
            sink.entry(EntryRef {
                key,
                seq: pending.operands[0].0,
                op: Op::Merge,
                value: &value,
            })?;
        } else {
            for (seq, value) in &pending.operands {
                sink.entry(EntryRef {
                    key,
                    seq: *seq,
                    op: Op::Merge,
                    value,
                })?;
            }
        }
        pending.operands.clear();
        Ok(())
    }
}

/// One operand for all of them (newest first), if the operator can.
fn combine(operator: &dyn MergeOperator, key: &[u8], operands: &[(SeqNo, Slice)]) -> Option<Vec<u8>> {
    let (first, newer) = operands.split_last()?;
    newer.iter().rev().try_fold(first.1.to_vec(), |older, (_, newer)| {
        operator.combine(key, &older, newer)
    })
}
