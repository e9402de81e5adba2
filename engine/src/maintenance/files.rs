//! Small helpers over [`Storage`].

use std::io::Write;
use std::path::Path;

use kodiak_core::storage::{ReadableFile, Storage};
use kodiak_core::{Error, ErrorKind, Result};

use crate::db::{TABLES_DIR, WAL_DIR};
use crate::manifest::CURRENT;

/// Largest file that is read as a whole.
const MAX_SMALL: u64 = 1 << 30;
/// Bytes copied at once.
const CHUNK: u64 = 1 << 20;

/// Reads a file of which nothing is known, up to a gigabyte.
pub(crate) fn read_small(storage: &dyn Storage, path: &Path) -> Result<arrow::buffer::Buffer> {
    let file = storage.open(path)?;
    if file.len() > MAX_SMALL {
        return Err(Error::corruption(format!("{} bytes are too many for such a file", file.len())).with_file(path));
    }
    file.read(0, file.len() as usize)
}

/// Writes a file under another name, syncs it, renames it to `path` and syncs the directory.
pub(crate) fn replace(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    remove_if_there(storage, &temporary)?;
    let mut file = storage.create(&temporary)?;
    file.write_all(bytes)
        .map_err(|source| Error::io("write", &temporary, source))?;
    file.finish(true)?;
    storage.rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |dir| storage.sync_dir(dir))
}

/// Removes a file; a missing one is fine.
pub(crate) fn remove_if_there(storage: &dyn Storage, path: &Path) -> Result<()> {
    match storage.remove(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The names in a directory; none if it does not exist.
pub(crate) fn list(storage: &dyn Storage, dir: &Path) -> Result<Vec<String>> {
    match storage.list(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        names => names,
    }
}

/// Whether a directory holds anything of a database.
///
/// # Errors
/// `NotFound` if not, or if there is no such directory; `Io`.
pub(crate) fn check_database(storage: &dyn Storage, dir: &Path) -> Result<()> {
    let known = |name: &String| [TABLES_DIR, WAL_DIR, CURRENT].contains(&name.as_str());
    if list(storage, dir)?.iter().any(known) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NotFound, "there is no database").with_file(dir))
}

/// Copies a file and syncs the copy; returns length and CRC32 of what was copied. The directory is the caller's to sync.
pub(crate) fn copy(storage: &dyn Storage, from: &dyn ReadableFile, to: &Path) -> Result<(u64, u32)> {
    let mut file = storage.create(to)?;
    let mut crc = crc32fast::Hasher::new();
    let mut at = 0;
    while at < from.len() {
        let bytes = from.read(at, CHUNK.min(from.len() - at) as usize)?;
        crc.update(&bytes);
        file.write_all(&bytes)
            .map_err(|source| Error::io("write", to, source))?;
        at += bytes.len() as u64;
    }
    file.finish(true)?;
    Ok((at, crc.finalize()))
}

/// Length and CRC32 of a file.
pub(crate) fn checksum(file: &dyn ReadableFile) -> Result<(u64, u32)> {
    let mut crc = crc32fast::Hasher::new();
    let mut at = 0;
    while at < file.len() {
        let bytes = file.read(at, CHUNK.min(file.len() - at) as usize)?;
        crc.update(&bytes);
        at += bytes.len() as u64;
    }
    Ok((at, crc.finalize()))
}

/// Gives a finished file a second name, or copies it where that cannot be (another file system).
pub(crate) fn link_or_copy(storage: &dyn Storage, from: &Path, to: &Path) -> Result<()> {
    match storage.hard_link(from, to) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => {
            tracing::debug!(%error, "a file is copied, not linked");
            copy(storage, &*storage.open(from)?, to).map(|_| ())
        }
        linked => linked,
    }
}

/// Fails if `dir` is the directory of the database, or inside of it: what is no part of a database does not stay there.
///
/// # Errors
/// `InvalidInput`; `Io`.
pub(crate) fn check_outside(storage: &dyn Storage, dir: &Path, database: &Path) -> Result<()> {
    if !storage.real_path(dir)?.starts_with(storage.real_path(database)?) {
        return Ok(());
    }
    let message = format!(
        "a copy of a database has no place in the directory of that database, {}: choose one outside of it",
        database.display()
    );
    Err(Error::invalid_input(message).with_file(dir))
}

/// Fails unless `dir` does not exist or is empty.
pub(crate) fn check_empty(storage: &dyn Storage, dir: &Path) -> Result<()> {
    let found = match storage.len(dir) {
        Ok(Some(_)) => Some("it is a file".to_owned()),
        _ => list(storage, dir)?.first().map(|name| format!("it holds \"{name}\"")),
    };
    match found {
        Some(found) => {
            let message = format!("the directory must be empty or not exist yet, but {found}");
            Err(Error::new(ErrorKind::AlreadyExists, message).with_file(dir))
        }
        None => Ok(()),
    }
}
