//! Backups: many states of a database in one directory, sharing the files of runs.
//!
//! ```text
//! backups/0000000003        what backup 3 consists of: see `docs/formats/backup.md`
//! runs/000001-0000000007-1f2e3d4c.feather     run 7 of table 1, whose sidecar has this checksum
//! runs/000001-0000000007-1f2e3d4c.meta
//! runs/000001-0000000009-6a0e5c1b7d243f98.index   an index of table 1, of runs and of a kind that have this hash
//! ```
//!
//! A file is written under another name, synced and renamed, so that one with its final name is whole; and the file that
//! names a backup comes last. A crash at any moment leaves older backups as they were.

mod compare;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kodiak_core::batch::TableId;
use kodiak_core::storage::{Lock, Storage};
use kodiak_core::{Error, ErrorKind, Result};

use super::capture::{self, Capture, Place, table_dir};
use super::files;
use super::indexes::{each_index, runs_hash};
use crate::db::{Db, LOCK_FILE};
use crate::manifest::{RunMeta, State, TableState};
use compare::check_copy;
use record::{Record, StoredFile};

const BACKUPS: &str = "backups";
const RUNS: &str = "runs";
/// The ending of index files among those of runs.
const INDEX_ENDING: &str = ".index";
/// Where a database open for reading only writes what it has in memory, on the way to the other runs.
const FLUSHED: &str = "flushed";
/// The beginning of the names of files that are being written.
const UNFINISHED: &str = "new-";

/// The number of a backup within its directory: larger is later.
pub type BackupId = u64;

/// What is known of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupInfo {
    /// Its number.
    pub id: BackupId,
    /// When it was made, microseconds since 1970.
    pub micros: u64,
    /// The last write that it holds.
    pub last_seq: u64,
    /// Tables in it.
    pub tables: u64,
    /// Bytes of its runs' files, shared with other backups or not.
    pub bytes: u64,
    /// Bytes that had to be copied when it was made.
    pub copied: u64,
}

/// A directory of backups.
///
/// All methods but [`restore`](Self::restore) need it for themselves: `Locked` if another process is at work there.
#[derive(Debug)]
pub struct BackupDir {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    _lock: Box<dyn Lock>,
}

impl Db {
    /// Adds a backup of the database, as it is now, to the directory `dir`, and returns what is known of it. Files of runs that
    /// an earlier backup has are not copied again; those that are, are read back and compared with their checksums. The
    /// directory is made if there is none; it may be on another disk, but holds backups of one database only.
    ///
    /// The backup holds every write acknowledged before this call, as a [checkpoint](Self::checkpoint) does; of a database open for
    /// reading only, every one before that. What such a database has in memory is copied each time.
    ///
    /// # Errors
    /// `Corruption` if a file of the database is damaged; `InvalidInput` if the directory holds backups of another database, or is inside that of this one;
    /// `Locked` if another backup is made there; `Io`; `Unavailable`. Nothing is added then, and nothing lost.
    pub fn backup(&self, dir: impl AsRef<Path>) -> Result<BackupInfo> {
        let shared = &self.open.shared;
        files::check_outside(&*shared.storage, dir.as_ref(), &shared.dir)?;
        let backups = BackupDir::open(Arc::clone(&shared.storage), dir)?;
        let records = backups.records()?;
        if let Some(other) = records.iter().find(|record| record.state.identity != shared.identity) {
            let id = other.id;
            let message = format!("the directory holds backups of another database (backup {id} is one)");
            return Err(Error::invalid_input(message).with_file(&backups.dir));
        }
        let flushed = backups.dir.join(FLUSHED);
        // One that was interrupted may have left it.
        backups.storage.remove_dir_all(&flushed)?;
        let capture = Capture::take(shared, &|table| table_dir(&flushed, table));
        let added = capture.and_then(|capture| backups.add(&capture, &records, shared.settings.to_toml()));
        if let Err(error) = backups.storage.remove_dir_all(&flushed) {
            tracing::warn!(%error, "what was flushed for a backup could not be removed: the next one will");
        }
        added
    }
}

impl BackupDir {
    /// Opens a directory of backups, making it if there is none.
    ///
    /// # Errors
    /// `Locked`; `Io`.
    pub fn open(storage: Arc<dyn Storage>, dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref().to_owned();
        storage.create_dir_all(&dir.join(BACKUPS))?;
        storage.create_dir_all(&dir.join(RUNS))?;
        let lock = storage.lock(&dir.join(LOCK_FILE))?;
        Ok(Self {
            storage,
            dir,
            _lock: lock,
        })
    }

    /// The backups, oldest first.
    ///
    /// # Errors
    /// `Corruption` naming the file of a damaged one; `Unsupported` if a newer version wrote one; `Io`.
    pub fn list(&self) -> Result<Vec<BackupInfo>> {
        Ok(self.records()?.iter().map(Record::info).collect())
    }

    /// Removes a backup, and the files that no other one needs.
    ///
    /// # Errors
    /// `NotFound`, listing the backups there are; `Corruption` if another backup cannot be read, as what it needs is not known:
    /// nothing is removed then; `Io`.
    pub fn delete(&self, id: BackupId) -> Result<()> {
        let records = self.records()?;
        find(&records, id, &self.dir)?;
        self.storage.remove(&self.record_path(id))?;
        // The backup is gone for good before any of its files is.
        self.storage.sync_dir(&self.dir.join(BACKUPS))?;
        let others = records.iter().filter(|record| record.id != id);
        self.remove_unneeded(
            &others
                .flat_map(|record| record.files.iter().map(|file| file.name.clone()))
                .collect(),
        )
    }

    /// Reads every file of a backup and compares it with its length and checksum; returns what is wrong.
    ///
    /// # Errors
    /// `NotFound`; `Corruption` if the backup's own file is damaged; `Io`.
    pub fn verify(&self, id: BackupId) -> Result<Vec<Error>> {
        let records = self.records()?;
        let record = find(&records, id, &self.dir)?;
        Ok(record.files.iter().filter_map(|file| self.check(file).err()).collect())
    }

    /// Makes a database of a backup in the directory `target`, which must be empty or not exist yet. Every file is compared
    /// with its checksum on the way. The database can be opened when this returns, and not before.
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists` if the target is not empty; `Corruption` naming the damaged file; `Io`. What was made is
    /// removed then.
    pub fn restore(&self, id: BackupId, target: impl AsRef<Path>) -> Result<()> {
        let records = self.records()?;
        let record = find(&records, id, &self.dir)?;
        let mut files = Stored { dir: self, record };
        let (target, state) = (target.as_ref(), record.state.clone());
        capture::in_empty(&*self.storage, target, || {
            capture::build(&self.storage, target, state, &record.settings, &mut files)
        })
    }

    /// Puts a file of a backup into a database.
    fn place(&self, file: &StoredFile, to: &Path) -> Result<()> {
        let from = self.run_path(&file.name);
        let copied = files::copy(&*self.storage, &*self.storage.open(&from)?, to)?;
        file.compare(copied).map_err(|error| error.with_file(from))
    }

    fn record_path(&self, id: BackupId) -> PathBuf {
        self.dir.join(BACKUPS).join(format!("{id:010}"))
    }

    fn run_path(&self, name: &str) -> PathBuf {
        self.dir.join(RUNS).join(name)
    }

    /// What all backups consist of, oldest first.
    fn records(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for name in files::list(&*self.storage, &self.dir.join(BACKUPS))? {
            let Some(id) = name.parse::<BackupId>().ok().filter(|id| format!("{id:010}") == name) else {
                continue;
            };
            let path = self.record_path(id);
            let record = files::read_small(&*self.storage, &path).and_then(|bytes| Record::decode(&bytes));
            let record = record.map_err(|error| error.with_file(&path))?;
            if record.id != id {
                let message = format!("it is the file of backup {}", record.id);
                return Err(Error::corruption(message).with_file(path));
            }
            records.push(record);
        }
        records.sort_by_key(|record| record.id);
        Ok(records)
    }

    fn add(&self, capture: &Capture, records: &[Record], settings: String) -> Result<BackupInfo> {
        let known: BTreeMap<&str, &StoredFile> = records
            .iter()
            .flat_map(|record| &record.files)
            .map(|file| (file.name.as_str(), file))
            .collect();
        let (mut stored, mut copied) = (Vec::new(), 0);
        for ((table, id), run) in &capture.runs {
            let [data, sidecar] = run.paths()?;
            let meta = run.meta();
            for path in [sidecar, data] {
                let ending = path.extension().unwrap_or_default().to_string_lossy();
                let name = format!("{table:06}-{id:010}-{:08x}.{ending}", meta.sidecar_crc);
                let length = self.storage.len(&self.run_path(&name))?;
                match known.get(name.as_str()) {
                    Some(&file) if length == Some(file.bytes) => stored.push(file.clone()),
                    // A file that no backup names is of one that was interrupted: it is not relied on.
                    _ => {
                        let file = self.copy(&*capture.files, &path, name, meta)?;
                        copied += file.bytes;
                        stored.push(file);
                    }
                }
            }
        }
        let mut state = capture.state.clone();
        let stored_before = stored.len();
        self.add_indexes(capture, &mut state, records, &mut stored)?;
        let is_new = |file: &&StoredFile| !known.contains_key(file.name.as_str());
        copied += stored[stored_before..]
            .iter()
            .filter(is_new)
            .map(|file| file.bytes)
            .sum::<u64>();
        self.storage.sync_dir(&self.dir.join(RUNS))?;
        let id = records.last().map_or(1, |record| record.id + 1);
        let micros = self.storage.now_micros();
        let record = Record {
            id,
            micros,
            copied,
            settings,
            state,
            files: stored,
        };
        let unfinished = self.dir.join(BACKUPS).join(format!("{UNFINISHED}{id:010}"));
        files::remove_if_there(&*self.storage, &unfinished)?;
        let mut file = self.storage.create(&unfinished)?;
        std::io::Write::write_all(&mut file, &record.encode())
            .map_err(|source| Error::io("write", &unfinished, source))?;
        file.finish(true)?;
        self.storage.rename(&unfinished, &self.record_path(id))?;
        self.storage.sync_dir(&self.dir.join(BACKUPS))?;
        Ok(record.info())
    }

    /// Writes the indexes of a captured moment, but those that an earlier backup has, and makes `state` name them.
    fn add_indexes(
        &self,
        capture: &Capture,
        state: &mut State,
        records: &[Record],
        stored: &mut Vec<StoredFile>,
    ) -> Result<()> {
        let known = known_indexes(records)?;
        for (&id, table) in &mut state.tables {
            let Some(held) = capture.indexes.get(&id) else { continue };
            let runs = runs_hash(table);
            each_index(Arc::make_mut(table), &mut |index| {
                let name = index.stored_name(id, runs);
                let path = self.run_path(&name);
                if let Some((file, root)) = known.get(&name)
                    && self.storage.len(&path)? == Some(file.bytes)
                {
                    stored.push(StoredFile::clone(file));
                    index.meta.root = *root;
                    return Ok(true);
                }
                let unfinished = self.run_path(&format!("{UNFINISHED}{name}"));
                files::remove_if_there(&*self.storage, &unfinished)?;
                let Some(root) = held.write(&self.storage, index.name, &unfinished)? else {
                    return Ok(false);
                };
                let (bytes, crc) = files::checksum(&*self.storage.open(&unfinished)?)?;
                self.storage.rename(&unfinished, &path)?;
                stored.push(StoredFile { name, bytes, crc });
                index.meta.root = root;
                Ok(true)
            })?;
        }
        Ok(())
    }

    /// Copies one file of a run and reads the copy back.
    fn copy(&self, files: &dyn Storage, from: &Path, name: String, meta: &RunMeta) -> Result<StoredFile> {
        let unfinished = self.run_path(&format!("{UNFINISHED}{name}"));
        files::remove_if_there(&*self.storage, &unfinished)?;
        let (bytes, crc) = files::copy(&*self.storage, &*files.open(from)?, &unfinished)?;
        check_copy((files, from), (&*self.storage, &unfinished), meta)?;
        self.storage.rename(&unfinished, &self.run_path(&name))?;
        Ok(StoredFile { name, bytes, crc })
    }

    fn check(&self, file: &StoredFile) -> Result<()> {
        let path = self.run_path(&file.name);
        let check = || file.compare(files::checksum(&*self.storage.open(&path)?)?);
        check().map_err(|error| error.with_file(&path))
    }

    /// Removes the files that no backup needs.
    fn remove_unneeded(&self, needed: &BTreeSet<String>) -> Result<()> {
        for name in self.storage.list(&self.dir.join(RUNS))? {
            if !needed.contains(&name) {
                self.storage.remove(&self.run_path(&name))?;
            }
        }
        self.storage.sync_dir(&self.dir.join(RUNS))
    }
}

/// The files of a backup.
struct Stored<'b> {
    dir: &'b BackupDir,
    record: &'b Record,
}

impl Place for Stored<'_> {
    fn run(&mut self, table: TableId, run: u64, dir: &Path) -> Result<()> {
        let prefix = format!("{table:06}-{run:010}-");
        let of_run = |file: &&StoredFile| file.name.starts_with(&prefix) && !file.name.ends_with(INDEX_ENDING);
        for file in self.record.files.iter().filter(of_run) {
            let ending = file.name.rsplit_once('.').map_or("", |(_, ending)| ending);
            self.dir.place(file, &dir.join(format!("{run:010}.{ending}")))?;
        }
        Ok(())
    }

    fn indexes(&mut self, id: TableId, table: &mut TableState, dir: &Path) -> Result<()> {
        let runs = runs_hash(table);
        each_index(table, &mut |index| {
            let name = index.stored_name(id, runs);
            match self.record.files.iter().find(|file| file.name == name) {
                Some(file) => self.dir.place(file, &index.path(dir)).map(|()| true),
                None => Ok(false),
            }
        })
    }
}

/// The index files that backups have, by name, and the root of each.
fn known_indexes(records: &[Record]) -> Result<BTreeMap<String, (&StoredFile, u64)>> {
    let mut known = BTreeMap::new();
    for record in records {
        for (&id, table) in &record.state.tables {
            let runs = runs_hash(table);
            each_index(&mut TableState::clone(table), &mut |index| {
                let name = index.stored_name(id, runs);
                if let Some(file) = record.files.iter().find(|file| file.name == name) {
                    known.insert(name, (file, index.meta.root));
                }
                Ok(true)
            })?;
        }
    }
    Ok(known)
}

fn find<'r>(records: &'r [Record], id: BackupId, dir: &Path) -> Result<&'r Record> {
    records.iter().find(|record| record.id == id).ok_or_else(|| {
        let known: Vec<_> = records.iter().map(|record| record.id.to_string()).collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        Error::new(
            ErrorKind::NotFound,
            format!("there is no backup {id}; the backups are: {known}"),
        )
        .with_file(dir)
    })
}

/// A directory of backups of local files. See [`BackupDir::open`].
///
/// # Errors
/// As [`BackupDir::open`].
pub fn backups(dir: impl AsRef<Path>) -> Result<BackupDir> {
    BackupDir::open(Arc::new(kodiak_storage::LocalStorage::new()), dir)
}
