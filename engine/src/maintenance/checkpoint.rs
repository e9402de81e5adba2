//! Checkpoints: copies of a database that share its files.

use std::path::Path;
use std::sync::Arc;

use kodiak_core::batch::TableId;
use kodiak_core::compaction::RunId;
use kodiak_core::storage::Storage;
use kodiak_core::{ErrorKind, Result};

use super::capture::{self, Capture, Place, table_dir};
use super::files;
use super::indexes::each_index;
use crate::db::Db;
use crate::manifest::TableState;

impl Db {
    /// Makes a copy of the database, as it is now, in the directory `path`, which must be empty or not exist yet. The copy is
    /// a database like any other.
    ///
    /// Memory is flushed first. The files of runs, which never change, get a second name where the file system allows it, and
    /// are copied otherwise. Primary and secondary indexes are written anew, at the size of their entries. So a checkpoint is cheap, takes space only for what the original gives up later, and is no
    /// substitute for a backup on another disk. Writing goes on meanwhile: the checkpoint holds every write acknowledged
    /// before this call, whole batches only, and none that begins after it returns.
    ///
    /// The copy keeps the identity of the database, which its sidecars carry: it is the same database, at an earlier moment,
    /// and its history parts from that of the original when it is first written to. It cannot be opened before it is
    /// complete; after a crash, remove the directory and make it again.
    ///
    /// Of a database open for reading only, beside a process that writes or not, the copy holds what was acknowledged when it was
    /// opened. What was in memory is written to the copy alone, which gets its indexes when it is first opened for writing.
    ///
    /// # Errors
    /// `InvalidInput` if `path` is inside the directory of the database; `AlreadyExists` if it is not empty; `Io`, after which what was made is removed; `NotFound` if a process
    /// that writes has removed a file before it was opened, as there are more than `limits.max_open_files`: open the database anew; `Unavailable` in a database that is closed.
    pub fn checkpoint(&self, path: impl AsRef<Path>) -> Result<()> {
        let (shared, target) = (&self.open.shared, path.as_ref());
        let storage = &shared.storage;
        files::check_outside(&**storage, target, &shared.dir)?;
        capture::in_empty(&**storage, target, || {
            let capture = Capture::take(shared, &|table| table_dir(target, table))?;
            let state = capture.state.clone();
            let mut files = Links { storage, capture };
            capture::build(storage, target, state, &shared.settings.to_toml(), &mut files)
        })
    }
}

/// The files of a checkpoint.
struct Links<'s> {
    storage: &'s Arc<dyn Storage>,
    capture: Capture,
}

impl Place for Links<'_> {
    fn run(&mut self, table: TableId, run: RunId, dir: &Path) -> Result<()> {
        for path in self.capture.runs[&(table, run)].paths()? {
            let to = dir.join(path.file_name().unwrap_or_default());
            if path == to {
                // A database open for reading only has just flushed it.
                continue;
            }
            match files::link_or_copy(&**self.storage, &path, &to) {
                // Another process may have removed it.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    files::copy(&**self.storage, &*self.capture.files.open(&path)?, &to)?;
                }
                linked => linked?,
            }
        }
        Ok(())
    }

    fn indexes(&mut self, id: TableId, table: &mut TableState, dir: &Path) -> Result<()> {
        let held = self.capture.indexes.get(&id);
        each_index(table, &mut |index| {
            let written = held.map(|held| held.write(self.storage, index.name, &index.path(dir)));
            match written.transpose()?.flatten() {
                Some(root) => index.meta.root = root,
                None => return Ok(false),
            }
            Ok(true)
        })
    }
}
