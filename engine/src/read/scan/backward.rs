//! Scans that go backward, to which the versions of a key come oldest first.

use kodiak_core::{Op, Result, Slice};

use super::Scan;
use crate::read::resolve_merge;

impl Scan {
    /// To the entry before the current one; false if there is none.
    pub(super) fn backward(&mut self) -> Result<bool> {
        if self.on_row {
            self.on_row = false;
            self.cursor.advance()?;
        }
        self.value = None;
        loop {
            if self.undisturbed {
                let rows = self.cursor.plain_rows_back(self.context.seq, &self.bounds.start);
                self.ahead = rows.saturating_sub(1);
                if rows > 0 {
                    self.on_row = true;
                    return Ok(true);
                }
            }
            // No more of a row is read than is needed to know whether it counts: of a run that is memory which nothing else has fetched.
            let Some(key) = self.cursor.key() else {
                return Ok(false);
            };
            // Nothing is compared with nothing: some processors take long to find out that there is no memory behind it.
            if !self.bounds.start.is_empty() && key < self.bounds.start.as_slice() {
                return Ok(false);
            }
            if self.cursor.is_superseded(self.context.seq) {
                self.cursor.advance()?;
                continue;
            }
            if let Some(value) = self.take_versions()? {
                self.value = Some(value);
                return Ok(true);
            }
        }
    }

    /// Moves past all versions of the key under the cursor, which it keeps; the value that they come to.
    fn take_versions(&mut self) -> Result<Option<Slice>> {
        self.key.clear();
        self.key.extend_from_slice(self.cursor.key().unwrap_or_default());
        let mut base: Option<Slice> = None;
        let mut operands: Vec<Slice> = Vec::new();
        while let Some(entry) = self.cursor.entry() {
            if entry.key != self.key.as_slice() {
                break;
            }
            if entry.seq <= self.context.seq && !self.hidden(entry.key, entry.seq) {
                match entry.op {
                    Op::Merge => operands.extend(self.cursor.value()?),
                    op => {
                        operands.clear();
                        base = if op == Op::Put { self.cursor.value()? } else { None };
                    }
                }
            }
            self.cursor.advance()?;
        }
        if !operands.is_empty() {
            operands.reverse();
            base = Some(resolve_merge(
                self.context.operator.as_deref(),
                &self.key,
                base.as_deref(),
                &operands,
            )?);
        }
        match (base, &self.context.target) {
            (Some(value), Some(target)) => target.encoded(value).map(Some),
            (value, _) => Ok(value),
        }
    }
}
