//! Closing, crashing and opening again, and what must be there afterwards.

use std::ops::Bound;
use std::sync::Arc;

use kodiak::RecoveryMode;
use kodiak_storage::FaultStorage;

use super::{Outcome, Runner, failed};
use crate::history::{Key, ScanOp};
use crate::model::{Content, Model, SNAPSHOTS, TABLES, difference};

impl Runner<'_> {
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
        self.settled()
    }

    /// Goes on with what a crash left. `safe`: nothing acknowledged may be missing.
    pub(super) fn crash(&mut self, image: FaultStorage, safe: bool) -> Outcome {
        self.forget_handles();
        self.db = None;
        self.storage = image;
        let strict = self.setup.settings.wal.recovery;
        if let Err(error) = self.open(strict) {
            // The strict modes may refuse a log that the crash has torn, and only that.
            let torn = matches!(strict, RecoveryMode::Absolute | RecoveryMode::TolerateTail);
            if !torn || !error.contains("corruption") {
                return Err(error);
            }
            self.open(RecoveryMode::PointInTime)
                .map_err(|error| format!("after a refusal: {error}"))?;
        }
        let left = self.read_everything()?;
        // Which records are damaged is up to the disk, and that mode skips them: it promises no order.
        if safe || strict != RecoveryMode::SkipCorrupt {
            self.journal.check(&left, !(safe && self.durable), self.durable)?;
        }
        self.model = left;
        self.settled()
    }

    fn read_everything(&self) -> Outcome<Model> {
        let mut left = Model::default();
        for (place, table) in self.tables.iter().enumerate() {
            let Some(table) = table else { continue };
            let mut content = Content::new();
            for entry in table.scan(..).map_err(failed("scan"))? {
                let (key, value) = entry.map_err(failed("scan"))?;
                content.insert(key.to_vec(), Arc::from(&*value));
            }
            left.tables[place] = Some(content);
        }
        Ok(left)
    }

    pub(super) fn check_all(&self) -> Outcome {
        let found = self.read_everything()?;
        let differ =
            |place: usize| difference(&self.model.tables[place], &found.tables[place]).map(|text| (place, text));
        match (0..TABLES.len()).find_map(differ) {
            Some((place, text)) => Err(format!("table {}: {text}", TABLES[place].0.escape_debug())),
            None => Ok(()),
        }
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
            let keys: Vec<_> = self.model.tables[table]
                .iter()
                .flatten()
                .map(|(key, _)| Key(key.clone()))
                .collect();
            keys.iter().try_for_each(|key| self.get(table, None, key))?;
        }
        self.db()?.wait_idle().map_err(failed("wait_idle"))?;
        if self.db()?.stats().to_string().is_empty() {
            return Err("the statistics say nothing".to_owned());
        }
        self.reopen(true)
    }
}
