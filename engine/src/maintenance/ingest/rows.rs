//! Rows of an ingestion on their way into runs.

use std::sync::Arc;

use kodiak_core::{EntryRef, Error, Op, Result, SeqNo};

use crate::compact::remove_runs;
use crate::db::{Shared, TableInner, check_limits};
use crate::manifest::RunMeta;
use crate::range_delete::RangeTombstones;
use crate::run::{RunPlan, RunWriter};
use crate::secondary::check_ingested;
use crate::typed::{Target, check_bytes};

/// What all rows of an ingestion have in common.
#[derive(Clone)]
pub(super) struct Common<'s> {
    pub shared: &'s Shared,
    pub table: &'s Arc<TableInner>,
    /// The schema that rows are written by; it stays until the ingestion ends.
    pub target: Target,
    pub plan: Arc<RunPlan>,
    pub seq: SeqNo,
    /// When they were written.
    pub micros: u64,
    /// Bytes that a key and a value may have.
    pub limits: (u64, u64),
}

/// Writes rows, whose keys ascend, into runs. Dropped, it removes those that were not taken.
pub(super) struct Rows<'s> {
    pub common: Common<'s>,
    writer: Option<RunWriter>,
    /// The runs that are done.
    pub finished: Vec<RunMeta>,
    /// The last key.
    pub last: Option<Vec<u8>>,
    /// How many rows of the ingestion there are, those before the first one here included.
    pub entries: u64,
}

impl<'s> Rows<'s> {
    /// None yet, behind so many `entries` of the ingestion.
    pub fn new(common: &Common<'s>, entries: u64) -> Self {
        Self {
            common: common.clone(),
            writer: None,
            finished: Vec::new(),
            last: None,
            entries,
        }
    }

    /// Adds an entry of the caller's bytes.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check_bytes(self.common.table, Op::Put, key, value).map_err(|error| self.placed(0, error))?;
        self.push_row(key, value)
    }

    #[cold]
    pub fn placed(&self, ahead: u64, error: Error) -> Error {
        let entry = self.entries + ahead;
        Error::new(error.kind(), format!("entry {entry} of the ingestion")).with_source(error)
    }

    /// Adds an entry whose bytes are what the table's codecs make.
    pub fn push_row(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let Common { table, seq, limits, .. } = self.common;
        let checked = check_limits(table, Op::Put, key, value, limits).and_then(|()| check_ingested(table, key));
        checked.map_err(|error| self.placed(0, error))?;
        match &mut self.last {
            Some(last) if last.as_slice() >= key => {
                return Err(disorder(self.entries, last == key));
            }
            Some(last) => {
                last.clear();
                last.extend_from_slice(key);
            }
            None => self.last = Some(key.to_vec()),
        }
        self.writer()?.push(EntryRef {
            key,
            seq,
            op: Op::Put,
            value,
        })?;
        self.entries += 1;
        Ok(())
    }

    /// The run that is being written; a new one if that is large enough.
    pub fn writer(&mut self) -> Result<&mut RunWriter> {
        let shared = self.common.shared;
        let full = |writer: &RunWriter| writer.bytes() >= shared.settings.compaction.target_run_size;
        if self.writer.as_ref().is_some_and(full) {
            self.close_run()?;
            shared.check_open()?;
        }
        let Common {
            table, target, plan, ..
        } = &self.common;
        match &mut self.writer {
            Some(writer) => Ok(writer),
            none => {
                let (context, id) = (Arc::clone(&table.runs), shared.new_run_id()?);
                Ok(none.insert(RunWriter::new(context, target, Arc::clone(plan), id)?))
            }
        }
    }

    /// Ends the run that is being written, if there is one.
    pub fn close_run(&mut self) -> Result<()> {
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        let Common { table, seq, micros, .. } = self.common;
        let sample = match table.options.ttl_micros {
            0 => Vec::new(),
            _ => vec![(seq, micros)],
        };
        let run = writer.finish(&RangeTombstones::default(), (micros, micros), |_, _| sample)?;
        self.finished.push(run);
        Ok(())
    }

    /// Ends the last run, and gives all of them away.
    pub fn finish(mut self) -> Result<Vec<RunMeta>> {
        self.close_run()?;
        Ok(std::mem::take(&mut self.finished))
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        self.writer.take();
        remove_runs(&self.common.table.runs, &self.finished);
    }
}

#[cold]
pub(super) fn disorder(entry: u64, same: bool) -> Error {
    let what = if same { "the same as" } else { "before" };
    Error::invalid_input(format!(
        "the key of entry {entry} is {what} the one before it: keys must ascend"
    ))
}
