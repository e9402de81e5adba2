//! What programs can have done in the background at a moment of their choice, and how large things are.

use std::sync::Arc;
use std::time::Duration;

use kodiak_core::entry::MAX_SEQ;
use kodiak_core::{KeyRange, Result};

use super::Db;
use super::shared::Shared;
use super::stats::TableStats;
use super::table::Table;
use super::table_state::TableInner;
use crate::read::ScanBounds;
use crate::run::Run;

impl Db {
    /// Moves what is in memory into runs, and returns when that is done. Others write on meanwhile.
    ///
    /// # Errors
    /// Those of writing the runs; `Unavailable`.
    pub fn flush(&self) -> Result<()> {
        self.open.shared.flush_all()
    }

    /// Flushes, then merges each table into one sorted run: reads are fastest then, and what is deleted takes no space.
    ///
    /// # Errors
    /// Those of reading and writing the runs; `Unavailable`.
    pub fn compact(&self) -> Result<()> {
        let shared = &self.open.shared;
        shared.compact_tables(&shared.all_tables(), |table| shared.compact_fully(table))
    }

    /// Waits until no flush or compaction is due or running, and, with the setting `publish.continuous`, until what is published
    /// of each typed table is what its files hold.
    ///
    /// # Errors
    /// The failure of a flush, compaction or publication; `Unavailable` if the database is closed meanwhile.
    pub fn wait_idle(&self) -> Result<()> {
        let shared = &self.open.shared;
        loop {
            shared.check_open()?;
            let seen = shared.signals.progress.count();
            if let Some(trouble) = shared.trouble.lock().any() {
                return Err(trouble.replicate());
            }
            if shared.is_idle() {
                let failure = shared.all_tables().iter().find_map(|table| table.continuous.failure());
                return failure.map_or(Ok(()), Err);
            }
            // What a compaction that somebody asked for has left to be moved is found at the next look, a second later.
            shared.signals.compaction.raise();
            shared.signals.progress.wait(seen, Duration::from_millis(20));
        }
    }
}

impl Table {
    /// [`Db::flush`] for this table alone.
    ///
    /// # Errors
    /// As there.
    pub fn flush(&self) -> Result<()> {
        self.open.shared.flush_tables(std::slice::from_ref(&self.inner))
    }

    /// [`Db::compact`] for this table alone.
    ///
    /// # Errors
    /// As there.
    pub fn compact(&self) -> Result<()> {
        let shared = &self.open.shared;
        shared.compact_tables(std::slice::from_ref(&self.inner), |table| shared.compact_fully(table))
    }

    /// Flushes the table, then merges the runs that may hold keys of `range` into one sorted run, a level at a time. Runs that
    /// have none of them are read and written only as far as they overlap those that have: after much of a range was deleted,
    /// this gives its space back and makes reads there fast again, without work for the rest of the table.
    ///
    /// # Errors
    /// Those of [`Db::compact`].
    pub fn compact_range(&self, range: impl KeyRange) -> Result<()> {
        let (shared, bounds) = (&self.open.shared, ScanBounds::of(range));
        let table = std::slice::from_ref(&self.inner);
        match bounds.is_empty() {
            true => shared.check_open(),
            false => shared.compact_tables(table, |table| shared.compact_range(table, &bounds)),
        }
    }

    /// What the table consists of. [`Db::stats`] tells it of all tables, and what the database has done.
    pub fn stats(&self) -> TableStats {
        TableStats::of(&self.inner)
    }

    /// About how much a range of keys holds in runs, found from their fence keys without reading data. Entries in memory are not
    /// counted; older versions and tombstones are, and blocks at the ends of the range as a whole.
    ///
    /// # Errors
    /// Those of opening the runs at the ends of the range; `Unavailable`.
    pub fn approximate_size(&self, range: impl KeyRange) -> Result<RangeSize> {
        self.open.shared.check_open()?;
        let (bounds, mut size) = (ScanBounds::of(range), RangeSize::default());
        if bounds.is_empty() {
            return Ok(size);
        }
        let view = self.inner.view.load_full();
        for sorted_run in view.version.sorted_runs() {
            for run in sorted_run.within(sorted_run.meeting(&bounds)?) {
                size.add(run?, &bounds)?;
            }
        }
        Ok(size)
    }
}

/// About how much a range of keys holds: see [`Table::approximate_size`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RangeSize {
    /// Rows of runs, older versions and tombstones included.
    pub entries: u64,
    /// Bytes of these rows in data files.
    pub bytes: u64,
}

impl RangeSize {
    /// Adds what a run has of `bounds`, which are not empty.
    fn add(&mut self, run: &Arc<Run>, bounds: &ScanBounds) -> Result<()> {
        let meta = run.meta();
        let ends_before = |end: &Vec<u8>| run.max_key() < end.as_slice();
        if run.min_key() >= bounds.start.as_slice() && bounds.end.as_ref().is_none_or(ends_before) {
            self.entries += meta.entries;
            self.bytes += meta.data_bytes;
            return Ok(());
        }
        let reader = run.reader()?;
        let first = reader.locate(&bounds.start, MAX_SEQ).unwrap_or(0);
        let end = match &bounds.end {
            Some(end) => reader.locate(end, MAX_SEQ).map_or(0, |last| last + 1),
            None => reader.blocks(),
        };
        for block in first..end {
            self.entries += u64::from(reader.block_rows(block));
            self.bytes += reader.block_bytes(block);
        }
        Ok(())
    }
}

impl Shared {
    /// Freezes the memtables of all tables and waits until they are flushed.
    pub(crate) fn flush_all(&self) -> Result<()> {
        self.flush_tables(&self.all_tables())
    }

    fn compact_tables(
        &self,
        tables: &[Arc<TableInner>],
        compact: impl Fn(&Arc<TableInner>) -> Result<()>,
    ) -> Result<()> {
        self.flush_tables(tables)?;
        for table in tables {
            compact(table)?;
            self.look_whether_exact(table);
        }
        self.stalls.refresh(self);
        self.signals.progress.raise();
        Ok(())
    }
}
