//! What an opening does for a repair: damaged logs are replayed, and indexes built.

use std::path::Path;

use kodiak_core::wal::RecoveryMode;
use kodiak_core::{Error, ErrorKind, Result};

use super::{Repair, RepairReport};
use crate::db::{Builder, Db};
use crate::maintenance::capture::table_dir;
use crate::maintenance::files;
use crate::maintenance::passed_over::pass_over;
use crate::manifest::{Manifest, State};
use crate::settings::{SETTINGS_FILE, Settings};

impl Repair<'_> {
    /// True if there were indexes: the manifest named some, or files of some are left.
    pub(super) fn had_indexes(&self, state: &State) -> Result<bool> {
        for &id in state.tables.keys() {
            let names = files::list(&*self.storage, &table_dir(self.path, id))?;
            if names.iter().any(|name| name.ends_with(".index")) {
                return Ok(true);
            }
        }
        Ok(self.indexes_given_up)
    }
}

impl Builder {
    /// Opens a database that is repaired, if its log is damaged or it has indexes.
    pub(super) fn finish_repair(
        &self,
        path: &Path,
        log_damaged: bool,
        had_indexes: bool,
        report: &mut RepairReport,
    ) -> Result<()> {
        if log_damaged {
            let stored = self.stored_settings(path)?;
            self.opened_with((path, stored.as_ref()), &|error, _| Ok(error), report, |builder| {
                // What can be read goes into runs, so that the log is not needed again.
                let db = builder.recovery(RecoveryMode::SkipCorrupt).open(path)?;
                db.flush()?;
                db.close()
            })?;
        } else if had_indexes {
            match self.build_indexes(path, report) {
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                built => report.indexes_left = built.err(),
            }
        }
        if log_damaged || had_indexes {
            let state = Manifest::read(&*self.storage, path)?;
            report.runs = state.runs().count() as u64;
            let of_table = |table: &crate::manifest::TableState| {
                let secondary = table.secondary.values().filter(|known| known.index.is_some());
                u64::from(table.index.is_some()) + secondary.count() as u64
            };
            report.indexes = state.tables.values().map(|table| of_table(table)).sum();
        }
        Ok(())
    }

    /// An opening builds what its settings say: here those of the database.
    fn build_indexes(&self, path: &Path, report: &mut RepairReport) -> Result<()> {
        let stored = self.stored_settings(path)?.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidSettings,
                "the settings, which say what indexes there are, are lost",
            )
        })?;
        let may = |error, section: &str| match section {
            // Those of another kind than the database is to have would be built for nothing.
            "index" | "secondary" => Err(error),
            _ => Ok(error),
        };
        self.opened_with((path, Some(&stored)), &may, report, |builder| {
            builder.open(path).and_then(Db::close)
        })
    }

    /// Does something with a builder that has the settings of the database, those of this builder in the place of what cannot be
    /// used and `may` be passed over; the file stays as it is then.
    fn opened_with(
        &self,
        (path, stored): (&Path, Option<&Settings>),
        may: &dyn Fn(Error, &str) -> Result<Error>,
        report: &mut RepairReport,
        work: impl FnOnce(Self) -> Result<()>,
    ) -> Result<()> {
        // Without its settings the database takes those of this builder.
        let mut settings = stored.unwrap_or(&self.settings).clone();
        let passed_over = pass_over(&self.components, &mut settings, &self.settings, may)?;
        let file = path.join(SETTINGS_FILE);
        let kept = match passed_over.is_empty() {
            true => None,
            false => Some(files::read_small(&*self.storage, &file)?),
        };
        if report.settings_passed_over.is_empty() {
            report.settings_passed_over = passed_over;
        }
        let builder = Self {
            settings,
            ..self.clone()
        };
        let done = work(builder.existing());
        // An opening writes down what it was told.
        kept.map_or(Ok(()), |kept| files::replace(&*self.storage, &file, &kept))?;
        done
    }

    /// The settings that a database has, which were found to be readable; `None` if it has none any more.
    fn stored_settings(&self, path: &Path) -> Result<Option<Settings>> {
        let file = path.join(SETTINGS_FILE);
        if self.storage.len(&file)?.is_none() {
            return Ok(None);
        }
        let bytes = files::read_small(&*self.storage, &file)?;
        Settings::from_text_of(&file, &String::from_utf8_lossy(&bytes)).map(Some)
    }
}
