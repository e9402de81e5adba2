//! The log of a database under repair.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use kodiak_core::batch::TableId;
use kodiak_core::wal::{RecoveryMode, ReplayReport, WalRecord};
use kodiak_core::{ErrorKind, Result, SeqNo};

use super::Repair;
use crate::db::{WAL_DIR, check_log_end, wal_context};
use crate::maintenance::files;
use crate::manifest::{State, TableState};

/// What the records of a log are found to be.
#[derive(Default)]
struct Found {
    /// A number above those of all tables in it.
    next_table: TableId,
    /// The last sequence number.
    last_seq: SeqNo,
    /// The sequence numbers that no record has, though there are larger ones.
    gaps: Vec<RangeInclusive<SeqNo>>,
}

impl Found {
    fn note(&mut self, record: &WalRecord<'_>, known: SeqNo) -> Result<()> {
        for op in record.ops() {
            let op = op.map_err(|error| error.with_offset(record.offset))?;
            self.next_table = self.next_table.max(op.table.saturating_add(1));
        }
        // The log begins wherever the first segment that is needed does, but not behind numbers that were still to be given out.
        let before = if self.last_seq == 0 { known } else { self.last_seq };
        self.gap(before, record.first_seq.saturating_sub(1));
        self.last_seq = self.last_seq.max(record.last_seq());
        Ok(())
    }

    fn gap(&mut self, before: SeqNo, last: SeqNo) {
        if before < last {
            self.gaps.push(before + 1..=last);
        }
    }
}

impl Repair<'_> {
    /// Reads the log as opening will; if it is damaged or lacks its end, keeps a copy of its segments and tells which writes are lost. Returns
    /// whether it is, and a number above those of all tables in it. `state` is what the manifest says, if it can be read.
    pub(super) fn read_log(&mut self, from: u64, state: Option<&State>) -> Result<(bool, TableId)> {
        let database = state.map_or(0, |state| state.identity);
        let context = wal_context(&self.resolved, &self.storage, database, self.path);
        let picked = self.resolved.wal.clone();
        let known = state.map_or(SeqNo::MAX, |state| state.last_seq);
        let read = |mode, found: &mut Found| -> Result<ReplayReport> {
            let mut sink = |record: WalRecord<'_>| found.note(&record, known);
            (picked.factory.replay)(&context, &picked.options, from, mode, &mut sink)
        };
        let mut found = Found::default();
        let whole = read(self.resolved.settings.wal.recovery, &mut found).and_then(|report| {
            state.map_or(Ok(()), |state| check_log_end(state, found.last_seq, &context.dir))?;
            Ok(report)
        });
        match whole {
            Ok(report) => {
                self.log_database = report.database;
                self.report.log_batches = report.records;
                Ok((false, found.next_table))
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Io | ErrorKind::Unsupported | ErrorKind::InvalidSettings
                ) =>
            {
                Err(error)
            }
            Err(error) => {
                self.report.problems.push(error);
                let mut found = Found::default();
                let report = read(RecoveryMode::SkipCorrupt, &mut found)?;
                self.log_database = report.database;
                self.report.log_batches = report.records;
                if let Some((state, end)) = state.and_then(|state| Some((state, state.log_end?))) {
                    // What all tables have in runs is not lost with the log.
                    let in_runs = state.tables.values().map(|table| table.runs.newest()).min();
                    found.gap(found.last_seq.max(in_runs.unwrap_or(0)), end);
                }
                self.report.lost_writes = found.gaps;
                self.copy_log()?;
                Ok((true, found.next_table))
            }
        }
    }

    /// Without a manifest: the first segment from which on none is missing. One before that was released, and is back only
    /// because a power loss has undone its removal.
    pub(super) fn unbroken_log(&self) -> Result<u64> {
        let number = |name: &String| name.strip_suffix(".wal")?.parse::<u64>().ok();
        let mut segments: Vec<u64> = files::list(&*self.storage, &self.path.join(WAL_DIR))?
            .iter()
            .filter_map(number)
            .collect();
        segments.sort_unstable();
        let gap = segments.windows(2).rposition(|pair| pair[0] + 1 != pair[1]);
        Ok(segments.get(gap.map_or(0, |gap| gap + 1)).copied().unwrap_or(0))
    }

    /// True if segments before those of the state hold entries that are in no run.
    pub(super) fn older_log_is_needed(&self, state: &State) -> Result<bool> {
        let newest = |table: &TableState| table.runs.values().map(|placed| placed.run.max_seq).max().unwrap_or(0);
        let newest: BTreeMap<TableId, u64> = state.tables.iter().map(|(id, table)| (*id, newest(table))).collect();
        let mut needed = false;
        let mut sink = |record: WalRecord<'_>| {
            if record.segment < state.wal_from {
                for (seq, op) in (record.first_seq..).zip(record.ops()) {
                    needed |= op.is_ok_and(|op| newest.get(&op.table).is_some_and(|newest| seq > *newest));
                }
            }
            Ok(())
        };
        let (context, picked) = (
            wal_context(&self.resolved, &self.storage, state.identity, self.path),
            &self.resolved.wal,
        );
        (picked.factory.replay)(&context, &picked.options, 0, RecoveryMode::SkipCorrupt, &mut sink)?;
        Ok(needed)
    }

    /// Keeps a copy of the log, which opening will change.
    pub(super) fn copy_log(&mut self) -> Result<()> {
        let dir = self.path.join(WAL_DIR);
        for name in files::list(&*self.storage, &dir)? {
            if name.ends_with(".wal") {
                let (from, to) = (self.storage.open(&dir.join(&name))?, self.lost_path(&dir.join(&name))?);
                files::copy(&*self.storage, &*from, &to)?;
                self.report.lost.push(to);
            }
        }
        self.sync_lost()
    }
}
