//! Checkpoints: copies of a database that share its files.

use std::path::Path;

use kodiak_core::Result;

use super::capture::{self, Capture};
use super::files;
use crate::db::Db;

impl Db {
    /// Makes a copy of the database, as it is now, in the directory `path`, which must be empty or not exist yet. The copy is
    /// a database like any other.
    ///
    /// Memory is flushed first. The files of runs, which never change, get a second name where the file system allows it, and
    /// are copied otherwise; so a checkpoint is cheap, takes space only for what the original gives up later, and is no
    /// substitute for a backup on another disk. Writing goes on meanwhile: the checkpoint holds every write acknowledged
    /// before this call, whole batches only, and none that begins after it returns.
    ///
    /// The copy keeps the identity of the database, which its sidecars carry: it is the same database, at an earlier moment,
    /// and its history parts from that of the original when it is first written to. It cannot be opened before it is
    /// complete; after a crash, remove the directory and make it again.
    ///
    /// # Errors
    /// `AlreadyExists` if `path` is not empty; `Io`, after which what was made is removed; `Unavailable` in a database that is
    /// closed or open for reading only.
    pub fn checkpoint(&self, path: impl AsRef<Path>) -> Result<()> {
        let (shared, target) = (&self.open.shared, path.as_ref());
        let storage = &shared.storage;
        files::check_empty(&**storage, target)?;
        let Capture { state, runs } = Capture::take(shared)?;
        let mut place = |table, run, dir: &Path| {
            for path in runs[&(table, run)].paths()? {
                let name = path.file_name().unwrap_or_default();
                files::link_or_copy(&**storage, &path, &dir.join(name))?;
            }
            Ok(())
        };
        capture::build(storage, target, &state, &shared.settings.to_toml(), &mut place)
    }
}
