//! The log: every record is read.

use std::collections::{BTreeSet, HashMap};

use kodiak_core::batch::TableId;
use kodiak_core::wal::{WalContext, WalRecord};
use kodiak_core::{Result, SeqNo};

use super::VerifyReport;
use crate::components::Resolved;
use crate::manifest::State;

/// Verifies the log from a segment on, and what `check_end` says of its last sequence number; returns the tables of which it has what
/// their runs, if a manifest names them, do not.
pub(super) fn verify_log(
    resolved: &Resolved,
    context: &WalContext,
    (from, state): (u64, Option<&State>),
    check_end: impl FnOnce(SeqNo) -> Result<()>,
    report: &mut VerifyReport,
) -> BTreeSet<TableId> {
    let picked = &resolved.wal;
    let mode = resolved.settings.wal.recovery;
    let tables = state.into_iter().flat_map(|state| &state.tables);
    let in_runs: HashMap<TableId, _> = tables
        .map(|(&id, table)| (id, (table.flushed, table.runs.newest())))
        .collect();
    let (mut unflushed, mut last_seq) = (BTreeSet::new(), 0);
    let mut sink = |record: WalRecord<'_>| {
        last_seq = last_seq.max(record.last_seq());
        for (seq, op) in (record.first_seq..).zip(record.ops()) {
            let table = op.map_err(|error| error.with_offset(record.offset))?.table;
            if let Some((segment, newest)) = in_runs.get(&table)
                && record.segment >= *segment
                && seq > *newest
            {
                unflushed.insert(table);
            }
        }
        Ok(())
    };
    match (picked.factory.replay)(context, &picked.options, from, mode, &mut sink) {
        Ok(replayed) => {
            (report.log_batches, report.log_torn_bytes) = (replayed.records, replayed.torn_bytes);
            report.note(check_end(last_seq));
        }
        Err(error) => report.problems.push(error),
    }
    unflushed
}
