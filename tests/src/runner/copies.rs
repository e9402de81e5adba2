//! What leaves the database or enters it as files: checkpoints, backups, ingestion.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kodiak::core::storage::Storage;
use kodiak::maintenance::{BackupDir, BackupId};
use kodiak::{Db, ErrorKind};

use super::openings::{read_everything, same_model};
use super::shapes::{to_table, write_bytes};
use super::{DIR, Outcome, Runner, failed};
use crate::history::{Change, Key, Value, Write};
use crate::model::{BACKUPS, Model, TABLES};

/// Where backups are.
const BACKUP_DIR: &str = "/backups";

/// Copies of the database, with what they must hold.
#[derive(Default)]
pub(super) struct Copies {
    checkpoint: Option<(PathBuf, Model)>,
    backups: Vec<(BackupId, Model)>,
    made: usize,
    /// The next copy is made beside the database, if it can be.
    beside: bool,
}

impl Runner<'_> {
    pub(super) fn ingest(&mut self, place: usize, entries: &[(Key, Value)]) -> Outcome {
        let Some(table) = &self.tables[place] else {
            return Ok(());
        };
        let (kind, tick) = (TABLES[place].1, self.model.tick);
        let sorted: BTreeMap<Vec<u8>, &(Key, Value)> =
            entries.iter().map(|entry| (kind.key(&entry.0), entry)).collect();
        let schema = self.typed_schema(place);
        let encode = |value: Value| match &schema {
            Some(schema) => write_bytes(kind, schema, kind.encode(value, tick)),
            None => kind.encode(value, tick),
        };
        let by_rows = entries.len().is_multiple_of(2);
        let rows: Option<Vec<_>> = sorted
            .values()
            .map(|(key, value)| Some(Ok(to_table(kind, schema.as_deref()?, &kind.row(key, *value)?))))
            .collect();
        let ingested = match rows {
            Some(rows) if by_rows => table.ingest_batches(rows),
            _ => table.ingest(sorted.iter().map(|(key, (_, value))| Ok((key, encode(*value))))),
        };
        if self.has_unique(place) {
            return match ingested {
                Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
                Ok(ingested) if ingested.entries == 0 => Ok(()),
                other => Err(format!("a table with a unique index is ingested into: {other:?}")),
            };
        }
        let ingested = ingested.map_err(failed("ingest"))?;
        if ingested.entries != sorted.len() as u64 {
            return Err(format!(
                "{} of {} entries were ingested",
                ingested.entries,
                sorted.len()
            ));
        }
        let put = |(key, value): &(Key, Value)| Write {
            table: place,
            change: Change::Put(key.clone(), *value),
        };
        let writes: Vec<Write> = sorted.into_values().map(put).collect();
        writes.iter().for_each(|write| self.model.apply(write));
        self.extend_trails(&writes);
        // The table is on disk now, and with a log so is what was written to the others before.
        if self.durable && ingested.entries > 0 {
            self.journal.settle(&self.model);
        } else if ingested.entries > 0 {
            self.journal.replace_table(place, self.model.tables[place].clone());
        }
        Ok(())
    }

    pub(super) fn checkpoint(&mut self) -> Outcome {
        self.check_checkpoint()?;
        self.copies.made += 1;
        let path = PathBuf::from(format!("/checkpoint-{}", self.copies.made));
        self.copy(|db| db.checkpoint(&path))
            .map_err(|error| format!("checkpoint: {error}"))?;
        self.copies.checkpoint = Some((path, self.model.clone()));
        self.settled()
    }

    pub(super) fn backup(&mut self) -> Outcome {
        let info = self
            .copy(|db| db.backup(BACKUP_DIR))
            .map_err(|error| format!("backup: {error}"))?;
        self.copies.backups.push((info.id, self.model.clone()));
        if self.copies.backups.len() > BACKUPS {
            let (id, _) = self.copies.backups.remove(0);
            self.backups()?.delete(id).map_err(failed("delete a backup"))?;
        }
        self.settled()
    }

    /// Copies the database; every other time through an opening for reading beside it, if its log shows what is in memory.
    fn copy<T>(&mut self, copy: impl Fn(&Db) -> kodiak::Result<T>) -> Outcome<T> {
        self.copies.beside = !self.copies.beside;
        let db = self.db()?;
        if !self.copies.beside || !self.durable {
            return copy(db).map_err(failed("copy"));
        }
        db.sync().map_err(failed("sync"))?;
        // A compaction may remove what the reader, with a low limit on open files, does not hold.
        let mut attempts = 0;
        loop {
            let builder = self.builder(self.setup.settings.wal.recovery)?.read_only();
            let reader = builder.open(DIR).map_err(failed("open for reading"))?;
            let report = reader.verify().map_err(failed("verify beside the writer"))?;
            if !report.is_clean() {
                return Err(format!("beside the writer: {report}"));
            }
            match copy(&reader) {
                Err(error) if error.kind() == ErrorKind::NotFound && attempts < 20 => attempts += 1,
                copied => return copied.map_err(failed("copy beside the writer")),
            }
        }
    }

    pub(super) fn restore(&mut self, which: usize) -> Outcome {
        if self.copies.backups.is_empty() {
            return Ok(());
        }
        let (id, model) = self.copies.backups[which % self.copies.backups.len()].clone();
        let backups = self.backups()?;
        let damaged = backups.verify(id).map_err(failed("verify a backup"))?;
        if !damaged.is_empty() {
            return Err(format!("backup {id} is damaged: {damaged:?}"));
        }
        // Another name each time: a power loss may bring a directory back that was removed.
        self.copies.made += 1;
        let target = PathBuf::from(format!("/restored-{}", self.copies.made));
        backups.restore(id, &target).map_err(failed("restore"))?;
        self.check_copy(&target, model, false)
            .map_err(|error| format!("backup {id}: {error}"))
    }

    /// Compares the checkpoint and the oldest backup.
    pub(super) fn check_copies(&mut self) -> Outcome {
        self.check_checkpoint()?;
        self.restore(0)
    }

    fn check_checkpoint(&mut self) -> Outcome {
        let Some((path, model)) = self.copies.checkpoint.take() else {
            return Ok(());
        };
        self.check_copy(&path, model, true)
            .map_err(|error| format!("checkpoint: {error}"))
    }

    fn backups(&self) -> Outcome<BackupDir> {
        BackupDir::open(Arc::new(self.storage.clone()), BACKUP_DIR).map_err(failed("open the backups"))
    }

    /// Opens a copy, compares it with what it was made of, uses it if it shares files, and removes it.
    fn check_copy(&self, path: &Path, mut model: Model, shared: bool) -> Outcome {
        model.advance(self.model.tick);
        let (db, tables) = self.open_at(path, self.setup.settings.wal.recovery)?;
        same_model(&model, &read_everything(&tables, model.tick)?)?;
        // A checkpoint shares files with the original: what is done to it must not reach that.
        if shared {
            if let Some(table) = &tables[0] {
                table
                    .delete_range(..&[0xFF; 4000][..])
                    .map_err(failed("empty the copy"))?;
            }
            db.compact().map_err(failed("compact the copy"))?;
        }
        drop(tables);
        db.close().map_err(failed("close the copy"))?;
        self.storage.remove_dir_all(path).map_err(failed("remove the copy"))
    }
}
