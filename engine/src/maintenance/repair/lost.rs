//! The directory of what could not be used.

use std::path::{Path, PathBuf};

use kodiak_core::storage::Lock;
use kodiak_core::{Error, ErrorKind, Result};

use super::{LOST_DIR, Repair};
use crate::db::LOCK_FILE;
use crate::maintenance::files;
use crate::maintenance::places::{Sort, misplaced, settings_file, sort_of};
use crate::settings::SETTINGS_FILE;

impl Repair<'_> {
    /// A name for a file in the directory of lost files.
    pub(super) fn lost_path(&self, path: &Path) -> Result<PathBuf> {
        let dir = self.path.join(LOST_DIR);
        self.storage.create_dir_all(&dir)?;
        let inside = path
            .strip_prefix(self.path)
            .unwrap_or(path)
            .to_string_lossy()
            .replace('/', "-");
        for attempt in 0u64.. {
            let name = if attempt == 0 {
                inside.clone()
            } else {
                format!("{inside}.{attempt}")
            };
            let lost = dir.join(name);
            if self.storage.len(&lost)?.is_none() {
                return Ok(lost);
            }
        }
        Err(Error::new(ErrorKind::Io, "no name is left for a lost file").with_file(dir))
    }

    /// Moves a file to the directory of lost files.
    pub(super) fn lose(&mut self, path: &Path) -> Result<()> {
        let lost = self.lost_path(path)?;
        self.storage.rename(path, &lost)?;
        self.report.lost.push(lost);
        self.sync_lost()
    }

    /// Moves settings that cannot be read away, and puts those that the repair was given in their place.
    pub(super) fn check_settings(&mut self) -> Result<()> {
        match settings_file(&*self.storage, self.path) {
            Err(error) if error.kind() == ErrorKind::Io => Err(error),
            Err(error) => {
                self.report.problems.push(error);
                let path = self.path.join(SETTINGS_FILE);
                self.lose(&path)?;
                files::replace(&*self.storage, &path, self.resolved.settings.to_toml().as_bytes())?;
                self.report.rebuilt.push(path);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Takes the lock of the database; what is there and no file has no owner, and is moved away.
    ///
    /// # Errors
    /// `Locked`, `Io`.
    pub(super) fn lock(&mut self) -> Result<Box<dyn Lock>> {
        let path = self.path.join(LOCK_FILE);
        self.clear_places(Some(&path))?;
        self.storage.lock(&path)
    }

    /// Moves away what is not a file where one belongs, or not a directory, of all that or of one place.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn clear_places(&mut self, place: Option<&Path>) -> Result<()> {
        for found in misplaced(&*self.storage, self.path)? {
            if place.is_some_and(|place| place != found.path) {
                continue;
            }
            self.report.problems.push(found.error());
            match found.is {
                Sort::Directory => self.lose_directory(&found.path)?,
                Sort::File | Sort::Other => self.lose(&found.path)?,
            }
        }
        Ok(())
    }

    /// Moves the files of a directory to that of lost files, one by one, and removes it: only files can be renamed.
    fn lose_directory(&mut self, dir: &Path) -> Result<()> {
        for name in self.storage.list(dir)? {
            let path = dir.join(name);
            match sort_of(&*self.storage, &path)? {
                Sort::Directory => self.lose_directory(&path)?,
                Sort::File | Sort::Other => self.lose(&path)?,
            }
        }
        self.storage.remove_dir_all(dir)
    }

    pub(super) fn lose_if_there(&mut self, path: &Path) -> Result<()> {
        match self.lose(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            lost => lost,
        }
    }

    pub(super) fn sync_lost(&self) -> Result<()> {
        match self.storage.sync_dir(&self.path.join(LOST_DIR)) {
            // Nothing was lost.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            synced => synced,
        }
    }
}
