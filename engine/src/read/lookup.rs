//! The state of one point look-up on its way from the newest source to the oldest.

use kodiak_core::{Op, Result, SeqNo, Slice};

use super::resolve_merge;
use crate::merge::MergeOperator;

/// Collects what the sources know about one key, newest first, until the answer is certain.
pub struct Lookup<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Read at this sequence number; lowered below each operand found, so that the next older version is asked for.
    pub seq: SeqNo,
    /// Versions older than this are covered by a range delete or have expired.
    pub hidden_below: SeqNo,
    /// Of the versions that the answer is made of, the oldest so far.
    pub oldest: SeqNo,
    operands: Vec<Slice>,
}

/// Where a look-up stands.
#[derive(Debug)]
pub enum Progress {
    /// Older sources must be asked.
    Continue,
    /// The key has this value, or none.
    Done(Option<Slice>),
}

impl<'a> Lookup<'a> {
    /// Begins; versions older than `hidden_below` count as absent.
    pub fn new(key: &'a [u8], seq: SeqNo, hidden_below: SeqNo) -> Self {
        Self {
            key,
            seq,
            hidden_below,
            oldest: seq,
            operands: Vec::new(),
        }
    }

    /// Takes the newest range delete that covers the key in a source, before the source's own versions are shown. (Sources
    /// further down hold only older versions.)
    pub fn cover(&mut self, seq: SeqNo) {
        self.hidden_below = self.hidden_below.max(seq);
    }

    /// True if some versions are hidden because they are old, so that it matters how old one is.
    #[inline]
    pub fn hides(&self) -> bool {
        self.hidden_below > 0
    }

    /// True if no older source can matter.
    pub fn is_hidden(&self) -> bool {
        self.hidden_below > 0 && self.seq < self.hidden_below
    }

    /// Takes the newest version at or below [`seq`](Self::seq) that a source has.
    #[inline]
    pub fn found(
        &mut self,
        seq: SeqNo,
        op: Op,
        value: impl FnOnce() -> Slice,
        operator: Option<&dyn MergeOperator>,
    ) -> Result<Progress> {
        if seq < self.hidden_below {
            return self.end(operator);
        }
        if matches!(op, Op::Put | Op::Merge) {
            self.oldest = seq;
        }
        match op {
            Op::Put if self.operands.is_empty() => Ok(Progress::Done(Some(value()))),
            Op::Put => {
                let base = value();
                resolve_merge(operator, self.key, Some(&base), &self.operands).map(|value| Progress::Done(Some(value)))
            }
            Op::Merge => {
                self.operands.push(value());
                if seq == 0 {
                    return self.end(operator);
                }
                self.seq = seq - 1;
                Ok(Progress::Continue)
            }
            Op::Delete | Op::RangeDelete => self.end(operator),
        }
    }

    /// No older version exists.
    pub fn end(&mut self, operator: Option<&dyn MergeOperator>) -> Result<Progress> {
        if self.operands.is_empty() {
            return Ok(Progress::Done(None));
        }
        resolve_merge(operator, self.key, None, &self.operands).map(|value| Progress::Done(Some(value)))
    }
}
