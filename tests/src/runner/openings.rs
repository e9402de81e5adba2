//! Closing, crashing and opening again, and what must be there afterwards.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use kodiak::{Builder, Db, RecoveryMode, Table};
use kodiak_storage::FaultStorage;

use super::indexes::check_indexes;
use super::shapes::{read_bytes, read_rows};
use super::{Outcome, Runner, Tables, failed};
use crate::history::ScanOp;
use crate::model::{Content, Fold, Kind, Model, SNAPSHOTS, TABLES, difference};

/// What tables hold, at this tick of the clock.
pub(super) fn read_everything(tables: &Tables, tick: u64) -> Outcome<Model> {
    let mut left = Model {
        tick,
        ..Model::default()
    };
    for (place, table) in tables.iter().enumerate() {
        let Some(table) = table else { continue };
        let mut content = Content::new();
        for entry in table.scan(..).map_err(failed("scan"))? {
            let (key, value) = entry.map_err(failed("scan"))?;
            let value = read_bytes(TABLES[place].1, &table.schema(), &value)?;
            content.insert(key.to_vec(), value.into());
        }
        check_rows(table, TABLES[place].1, &content)?;
        check_indexes(table, None)?;
        left.tables[place] = Some(content);
    }
    Ok(left)
}

/// A typed table's rows, read by columns, must be what a scan of its bytes has found.
fn check_rows(table: &Table, kind: Kind, content: &Content) -> Outcome {
    if table.schema().is_key_value() {
        return Ok(());
    }
    let mut expected = content.iter();
    for rows in table.read().batches().map_err(failed("read rows"))? {
        let rows = read_rows(kind, &table.schema(), &rows.map_err(failed("read rows"))?)?;
        for (key, value) in kind.entries(&rows) {
            if expected.next() != Some((&key, &value)) {
                let key = key.escape_ascii();
                return Err(format!("row {key} of table {} differs from the scan", table.name()));
            }
        }
    }
    match expected.next() {
        Some((key, _)) => Err(format!("row {} is missing from the batches", key.escape_ascii())),
        None => Ok(()),
    }
}

/// Compares what is there with what should be.
pub(super) fn same_model(expected: &Model, found: &Model) -> Outcome {
    let differ = |place: usize| difference(&expected.tables[place], &found.tables[place]).map(|text| (place, text));
    match (0..TABLES.len()).find_map(differ) {
        Some((place, text)) => Err(format!("table {}: {text}", TABLES[place].0.escape_debug())),
        None => Ok(()),
    }
}

impl Runner<'_> {
    /// What opens a database in the storage.
    pub(super) fn builder(&self, recovery: RecoveryMode) -> Outcome<Builder> {
        let mut settings = self.setup.settings.clone();
        settings.wal.recovery = recovery;
        let builder = Builder::new(settings)
            .components(self.setup.components.clone())
            .storage(Arc::new(self.storage.clone()));
        builder
            .merge_operator(Arc::new(Fold))
            .map_err(failed("register the operator"))
    }

    /// Opens the database in a directory of the storage, with all its tables.
    pub(super) fn open_at(&self, dir: &Path, recovery: RecoveryMode) -> Outcome<(Db, Tables)> {
        let db = self.builder(recovery)?.open(dir).map_err(failed("open"))?;
        let mut tables = Tables::default();
        for (place, (name, _)) in TABLES.iter().enumerate() {
            if db.tables().iter().any(|table| table == name) {
                tables[place] = Some(db.table(name).map_err(failed("table"))?);
            }
        }
        Ok((db, tables))
    }

    fn forget_handles(&mut self) {
        self.tables = Default::default();
        self.snapshots = Default::default();
    }

    pub(super) fn reopen(&mut self, explicit: bool) -> Outcome {
        self.forget_handles();
        match self.db.take() {
            Some(db) if explicit => db.close().map_err(failed("close"))?,
            db => drop(db),
        }
        self.open(self.setup.settings.wal.recovery)?;
        self.check_published(explicit)?;
        self.settled()
    }

    /// Goes on with what a crash left. `safe`: nothing acknowledged may be missing.
    pub(super) fn crash(&mut self, image: FaultStorage, safe: bool) -> Outcome {
        self.storage = image;
        self.db = None;
        self.check_published(false)
            .map_err(|error| format!("after the crash, before it is opened: {error}"))?;
        self.forget_handles();
        let strict = self.setup.settings.wal.recovery;
        if let Err(error) = self.open(strict) {
            // The strict modes may refuse a log that the crash has torn, and only that.
            let torn = matches!(strict, RecoveryMode::Absolute | RecoveryMode::TolerateTail);
            if !torn || !error.contains("corruption") {
                return Err(error);
            }
            self.open(RecoveryMode::PointInTime)
                .map_err(|again| format!("{again}; after {strict:?} said: {error}"))?;
        }
        let left = read_everything(&self.tables, self.model.tick)?;
        // Which records are damaged is up to the disk, and that mode skips them: it promises no order.
        if safe || strict != RecoveryMode::SkipCorrupt {
            self.journal.check(&left, !(safe && self.durable), self.durable)?;
        }
        self.model = left;
        self.recover_trails();
        self.check_published(false)?;
        self.settled()
    }

    pub(super) fn check_all(&self) -> Outcome {
        self.check_index_names()?;
        same_model(&self.model, &read_everything(&self.tables, self.model.tick)?)
    }

    pub(super) fn finish(&mut self) -> Outcome {
        self.check_all()?;
        for reverse in [false, true] {
            for table in 0..TABLES.len() {
                for at in std::iter::once(None).chain((0..SNAPSHOTS).map(Some)) {
                    let (start, end) = (Bound::Unbounded, Bound::Unbounded);
                    let (limit, fill_cache, borrowed) = (usize::MAX, true, reverse);
                    let (prefix, seek) = (None, None);
                    self.scan(&ScanOp {
                        table,
                        at,
                        start,
                        end,
                        prefix,
                        reverse,
                        limit,
                        seek,
                        fill_cache,
                        borrowed,
                    })?;
                }
            }
        }
        for table in 0..TABLES.len() {
            let keys = self.model.tables[table].iter().flatten().map(|(key, _)| key);
            keys.into_iter().try_for_each(|key| self.get_bytes(table, None, key))?;
        }
        self.check_copies()?;
        self.db()?.wait_idle().map_err(failed("wait_idle"))?;
        let report = self.db()?.verify().map_err(failed("verify"))?;
        if !report.is_clean() {
            return Err(report.to_string());
        }
        self.check_published(true)?;
        if self.db()?.stats().to_string().is_empty() {
            return Err("the statistics say nothing".to_owned());
        }
        self.reopen(true)
    }
}
