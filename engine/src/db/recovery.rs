//! What the log holds, when a database is opened: into memtables, and what comes after that.

use std::collections::HashMap;
use std::sync::Arc;

use kodiak_core::wal::{RecoveryMode, ReplayReport, WalContext, WalRecord};
use kodiak_core::{Error, Result};

use super::log_end::check_log_end;
use super::shared::Shared;
use super::table_state::TableInner;
use crate::manifest::{Change, State, VersionEdit};

/// Puts what the log holds into memtables.
pub(super) fn replay(shared: &Shared, context: &WalContext, state: &State, mode: RecoveryMode) -> Result<ReplayReport> {
    let picked = &shared.resolved.wal;
    let mut last_seq = 0;
    // Memtables are flushed in the order in which they were filled: what is not newer than a table's newest run is in a run.
    let in_runs: HashMap<_, _> = state
        .tables
        .iter()
        .map(|(id, table)| (*id, (table.flushed, table.runs.newest())))
        .collect();
    let mut full = Vec::new();
    let mut sink = |record: WalRecord<'_>| -> Result<()> {
        let damaged = |error: Error| error.with_offset(record.offset);
        for (seq, op) in (record.first_seq..).zip(record.ops()) {
            let op = op.map_err(damaged)?;
            // A dropped table's entries are of no use.
            let Some(table) = shared.table(op.table) else { continue };
            if in_runs
                .get(&op.table)
                .is_some_and(|(segment, newest)| record.segment < *segment || seq <= *newest)
            {
                continue;
            }
            let view = table.view.load();
            view.active.insert(op.at(seq))?;
            if !view.active.indexes.is_empty() {
                crate::secondary::replay(&table, op, seq)?;
            }
            view.active.touch(record.timestamp_micros);
            table.times.note(seq, record.timestamp_micros);
            if view.active.memory() >= shared.settings.memtable.size as usize {
                full.push(table);
            }
        }
        // Not earlier: a batch is flushed as a whole, or not at all.
        for table in full.drain(..) {
            if table.view.load().active.memory() >= shared.settings.memtable.size as usize {
                shared.begin_slot(&table, record.segment)?;
            }
        }
        last_seq = last_seq.max(record.last_seq());
        Ok(())
    };
    let mut report = (picked.factory.replay)(context, &picked.options, state.log_from(), mode, &mut sink)?;
    report.last_seq = report.last_seq.max(last_seq);
    if let Err(error) = check_log_end(state, report.last_seq, &context.dir) {
        if mode != RecoveryMode::SkipCorrupt {
            return Err(error);
        }
        tracing::warn!(last_seq = report.last_seq, end = state.log_end, "the log lacks its end");
        forget_log_end(shared)?;
    }
    Ok(report)
}

/// The log lacks its end, and what is there is to be taken. That is told once: the mark goes with any change of what the log has to have.
#[cold]
fn forget_log_end(shared: &Shared) -> Result<()> {
    match shared.manifest.lock().as_mut() {
        Some(manifest) => {
            let from = manifest.state().wal_from;
            manifest.append(&VersionEdit::new().with(Change::WalFrom(from)))
        }
        None => Ok(()),
    }
}

/// What was replayed from so many segments or fewer is not flushed.
const REPLAYED_SEGMENTS: u64 = 8;

/// After replay: opens the log for appending; what was replayed is made safe before anything new is accepted.
pub(super) fn finish_recovery(
    shared: &mut Shared,
    context: WalContext,
    report: &ReplayReport,
    state: &State,
) -> Result<()> {
    // Without a log there are no segments to count on from; a number below a table's mark would mean that it is flushed.
    let flushed = state.tables.values().map(|table| table.flushed).max().unwrap_or(0);
    let first = report.next_segment.max(state.wal_from).max(flushed);
    let replayed: Vec<Arc<TableInner>> = shared.all_tables();
    for name in shared.storage.list(&context.dir).unwrap_or_default() {
        let path = context.dir.join(name);
        if path.extension().is_some_and(|extension| extension == "wal") {
            shared.storage.open_log(&path)?.sync_data()?;
        }
    }
    let picked = &shared.resolved.wal;
    let wal = (picked.factory.open)(context, &picked.options, first)?;
    wal.skip_to(shared.next_seq());
    shared.wal = Some(wal);
    // What was replayed goes on being written to if the log may be read again, and is not too long: or each of many short
    // openings would leave a run.
    let closed = report.closed || report.records == 0;
    let goes_on = closed && report.torn_bytes == 0 && report.skipped == 0;
    let oldest = first.saturating_sub(REPLAYED_SEGMENTS);
    for table in &replayed {
        let active = Arc::clone(&table.view.load().active);
        if !active.is_empty() && (!goes_on || active.first_segment() <= oldest) {
            shared.begin_slot(table, first)?;
        }
        table.view.load().active.advance_segment(first, 0);
    }
    // A process that ended before it could, or whose last flush was cut short.
    shared.check_writable()?.release(state.wal_from)?;
    // A log that ends in damage must not be read again: its end would cut off what follows. Nor may one be relied on that was
    // not closed: if a sync has failed, it may be readable and yet lost with the power, in spite of the sync above. So its
    // records are written to runs before anything that comes after them is accepted.
    if report.torn_bytes > 0 {
        tracing::warn!(dir = %shared.dir.display(), bytes = report.torn_bytes, "the end of the log is cut off");
    }
    if !goes_on {
        while shared.flush_next()? {}
        shared.release_log()?;
    }
    Ok(())
}
