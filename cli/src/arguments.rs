//! What the command line takes.

use std::path::{Path, PathBuf};

use clap::builder::styling::Styles;
use clap::{ArgAction, Args, Parser};
use kodiak::core::storage::Storage;
use kodiak::settings::Maintenance;
use kodiak::settings::SETTINGS_FILE;
use kodiak::{Builder, Db, Error, ErrorKind, IndexOptions, LocalStorage, Result, Settings};

use crate::commands::Command;

/// An LSM storage engine in which every part can be exchanged
#[derive(Debug, Parser)]
#[command(name = "kodiak", version, max_term_width = 120, styles = Styles::plain())]
pub struct Arguments {
    /// Tell what happens, on standard error; more with -vv
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
}

/// The setting that counts for one command where it is changed by `--set`: later ones are not to pass over damage without being asked.
const RECOVERY: &str = "wal.recovery";

/// The settings to open a database with. Without any, those that it was last opened with, or the defaults.
#[derive(Debug, Clone, Default, Args)]
pub struct SettingsArguments {
    /// Take the settings from this TOML file, for this opening and, if it is for writing, later ones
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Change one setting, as --settings does: --set format.kind=parquet (repeat for more). wal.recovery of a database that exists is
    /// changed for this command only
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
}

/// True if the file that the engine keeps with a database is at fault.
fn is_stored(error: &kodiak::Error) -> bool {
    error
        .file()
        .and_then(Path::file_name)
        .is_some_and(|name| name == SETTINGS_FILE)
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (path, value) = text
        .split_once('=')
        .ok_or("write section.key=value, such as format.kind=parquet")?;
    Ok((path.trim().to_owned(), value.trim().to_owned()))
}

impl SettingsArguments {
    /// The settings for a database, which need not exist.
    ///
    /// # Errors
    /// Those of the settings; `Io`.
    pub fn resolve(&self, db: Option<&Path>) -> Result<Settings> {
        let mut settings = self.without_set(db)?;
        self.apply(&mut settings)?;
        Ok(settings)
    }

    /// A builder with these settings.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn builder(&self, db: &Path) -> Result<Builder> {
        self.build(Some(db)).map_err(|error| self.instead(error))
    }

    /// As [`builder`](Self::builder), for looking at damage and mending it: settings in the database that cannot be read are no
    /// obstacle.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve), but for those.
    pub fn rescuer(&self, db: &Path) -> Result<Builder> {
        match self.build(Some(db)) {
            Err(error) if self.settings.is_none() && is_stored(&error) => self.build(None),
            built => built,
        }
    }

    fn build(&self, db: Option<&Path>) -> Result<Builder> {
        let mut settings = self.without_set(db)?;
        let kept = settings.wal.recovery;
        self.apply(&mut settings)?;
        if !self.set.iter().any(|(path, _)| path == RECOVERY) {
            return Ok(Builder::new(settings));
        }
        let once = std::mem::replace(&mut settings.wal.recovery, kept);
        Ok(Builder::new(settings).recovery(once))
    }

    /// The settings of the file, or of the database.
    fn without_set(&self, db: Option<&Path>) -> Result<Settings> {
        let stored = db.map(|db| db.join(SETTINGS_FILE));
        let file = match (&self.settings, &stored) {
            (Some(file), _) => Some(file),
            (None, Some(stored)) if LocalStorage::new().len(stored)?.is_some() => Some(stored),
            _ => None,
        };
        file.map_or_else(|| Ok(Settings::default()), Settings::from_file)
    }

    fn apply(&self, settings: &mut Settings) -> Result<()> {
        self.set.iter().try_for_each(|(path, value)| settings.set(path, value))
    }

    /// Says how to do without settings in the database that cannot be read.
    fn instead(&self, error: kodiak::Error) -> kodiak::Error {
        if self.settings.is_some() || !is_stored(&error) {
            return error;
        }
        let message = "the settings that the database was last opened with cannot be read: correct them, or open the database with \
                       others, which it keeps (--settings FILE); or run kodiak repair, which moves them to lost/ and puts in their \
                       place those that it is told (--settings, --set), or the defaults";
        kodiak::Error::new(error.kind(), message).with_source(error)
    }
}

/// What of its indexes a table chooses for itself.
#[derive(Debug, Clone, Default, Args)]
pub struct IndexArguments {
    /// The primary index: fence (none), bplus, fractal; "default" for that of the settings, now and later
    #[arg(long, value_name = "KIND")]
    pub primary: Option<String>,
    /// Deletion vectors: on (with a primary index of its own), off, default
    #[arg(long, value_name = "ON|OFF")]
    pub deletion_vectors: Option<String>,
    /// What holds secondary indexes: bplus, fractal, default
    #[arg(long, value_name = "KIND")]
    pub secondary: Option<String>,
    /// How secondary indexes are kept up to date: lazy, eager, default
    #[arg(long, value_name = "LAZY|EAGER")]
    pub maintenance: Option<String>,
}

impl IndexArguments {
    /// True if nothing is chosen.
    pub fn is_empty(&self) -> bool {
        let texts = [
            &self.primary,
            &self.deletion_vectors,
            &self.secondary,
            &self.maintenance,
        ];
        texts.into_iter().all(Option::is_none)
    }

    /// What was chosen before, with these changes.
    ///
    /// # Errors
    /// `InvalidInput` for words that are none of those that may be said.
    pub fn apply(&self, mut own: IndexOptions) -> Result<IndexOptions> {
        let kind = |text: &String| (text != "default").then(|| text.clone());
        let unknown = |option: &str, text: &str, known: &str| {
            Error::invalid_input(format!("--{option} is {known} or default, not \"{text}\""))
        };
        if let Some(text) = &self.primary {
            own.primary = kind(text);
        }
        if let Some(text) = &self.secondary {
            own.secondary = kind(text);
        }
        match self.deletion_vectors.as_deref() {
            None => {}
            Some("on") => own.deletion_vectors = Some(true),
            Some("off") => own.deletion_vectors = Some(false),
            Some("default") => own.deletion_vectors = None,
            Some(text) => return Err(unknown("deletion-vectors", text, "on, off")),
        }
        match self.maintenance.as_deref() {
            None => {}
            Some("lazy") => own.maintenance = Some(Maintenance::Lazy),
            Some("eager") => own.maintenance = Some(Maintenance::Eager),
            Some("default") => own.maintenance = None,
            Some(text) => return Err(unknown("maintenance", text, "lazy, eager")),
        }
        Ok(own)
    }
}

/// How often a copy is begun beside a process that writes.
const COPY_ATTEMPTS: usize = 10;

/// A database that must exist.
#[derive(Debug, Clone, Args)]
pub struct Existing {
    /// The directory of the database
    pub db: PathBuf,
    #[command(flatten)]
    pub settings: SettingsArguments,
}

impl Existing {
    /// Opens it for writing.
    ///
    /// # Errors
    /// Those of [`Db::open`]; `NotFound` if there is none.
    pub fn open(&self) -> Result<Db> {
        self.settings
            .builder(&self.db)?
            .existing()
            .open(&self.db)
            .map_err(|error| advise(error, &self.db))
    }

    /// Opens it for reading: another process may have it open.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_read_only(&self) -> Result<Db> {
        self.settings
            .builder(&self.db)?
            .read_only()
            .open(&self.db)
            .map_err(|error| advise(error, &self.db))
    }

    /// Copies it by `copy`, and tells whether another process has it open. Then it is opened for reading, beside that process, and
    /// anew if files have gone that `copy` did not get to in time.
    ///
    /// # Errors
    /// As [`open`](Self::open), and those of `copy`.
    pub fn copy<T>(&self, copy: impl Fn(&Db) -> Result<T>) -> Result<(T, bool)> {
        match self.open() {
            Err(error) if error.kind() == ErrorKind::Locked => {}
            opened => {
                let db = opened?;
                let made = copy(&db)?;
                db.close()?;
                return Ok((made, false));
            }
        }
        let mut attempts = 1;
        loop {
            match copy(&self.open_read_only()?) {
                Err(error) if attempts < COPY_ATTEMPTS && self.lacks(&error) => attempts += 1,
                made => return made.map(|made| (made, true)),
            }
        }
    }

    /// True if the error is that a file of the database is not there.
    fn lacks(&self, error: &Error) -> bool {
        error.kind() == ErrorKind::NotFound && error.file().is_some_and(|file| file.starts_with(&self.db))
    }
}

/// Says what to do where the engine, which does not know of this program, cannot.
fn advise(error: kodiak::Error, db: &Path) -> kodiak::Error {
    if error.kind() != ErrorKind::NotFound || error.file() != Some(db) {
        return error;
    }
    let message = format!("{}; make one with: kodiak create {}", error.message(), db.display());
    kodiak::Error::new(error.kind(), message)
}
