//! What an opening does for a repair: damaged logs are replayed, and indexes built.

use std::path::Path;

use kodiak_core::wal::RecoveryMode;
use kodiak_core::{Error, ErrorKind, Result};

use super::{Repair, RepairReport};
use crate::db::{Builder, Db};
use crate::maintenance::capture::table_dir;
use crate::maintenance::files;
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
            // Without its settings the database takes those of this builder.
            let builder = self.with_stored_settings(path)?.unwrap_or_else(|| self.clone());
            // What can be read goes into runs, so that the log is not needed again.
            let db = builder.existing().recovery(RecoveryMode::SkipCorrupt).open(path)?;
            db.flush()?;
            db.close()?;
        } else if had_indexes {
            match self.build_indexes(path) {
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
    fn build_indexes(&self, path: &Path) -> Result<()> {
        let builder = self.with_stored_settings(path)?.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidSettings,
                "the settings, which say what indexes there are, are lost",
            )
        })?;
        builder.existing().open(path).and_then(Db::close)
    }

    /// A builder with the settings that a database has, which were found to be readable; `None` if it has none any more.
    fn with_stored_settings(&self, path: &Path) -> Result<Option<Self>> {
        let file = path.join(SETTINGS_FILE);
        if self.storage.len(&file)?.is_none() {
            return Ok(None);
        }
        let bytes = files::read_small(&*self.storage, &file)?;
        let text = String::from_utf8_lossy(&bytes);
        let settings = Settings::from_toml(&text).map_err(|error| error.with_file(file))?;
        Ok(Some(Self {
            settings,
            ..self.clone()
        }))
    }
}
