//! Directories where files belong, and files where directories do.

use std::path::{Path, PathBuf};

use kodiak_core::storage::Storage;
use kodiak_core::{Error, ErrorKind, Result};
use kodiak_storage::is_no_directory;

use super::files;
use crate::db::{LOCK_FILE, TABLES_DIR, WAL_DIR};
use crate::manifest::{CURRENT, TAIL, is_catalogue, parse_file_name};
use crate::publish::PUBLISHED_DIR;
use crate::settings::SETTINGS_FILE;

/// What something in the directory of a database has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    File,
    Directory,
    /// A link, a pipe: never wanted.
    Other,
}

/// Something that is not what its place is for.
#[derive(Debug)]
pub(super) struct Misplaced {
    pub path: PathBuf,
    /// What is there.
    pub is: Sort,
    /// What belongs there.
    pub expected: Sort,
}

impl Misplaced {
    /// It, as a problem.
    pub fn error(&self) -> Error {
        let name = |sort| match sort {
            Sort::Directory => "a directory",
            Sort::File => "a file",
            Sort::Other => "a link, a pipe or the like",
        };
        let (is, expected) = (name(self.is), name(self.expected));
        Error::corruption(format!(
            "{is} is where {expected} belongs: `kodiak repair` moves it away"
        ))
        .with_file(&self.path)
    }
}

/// What is in a place; a directory if there is nothing.
///
/// # Errors
/// `Io`.
pub(super) fn sort_of(storage: &dyn Storage, path: &Path) -> Result<Sort> {
    if storage.len(path)?.is_some() {
        return Ok(Sort::File);
    }
    match storage.list(path) {
        Err(error) if is_no_directory(&error) => Ok(Sort::Other),
        // What cannot be looked at must not be taken for anything, as it would be moved away.
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(Sort::Directory),
    }
}

/// What is not a file where one belongs, or not a directory. Names that are nothing of the engine's do not matter beside its own.
///
/// # Errors
/// `Io`.
pub(super) fn misplaced(storage: &dyn Storage, path: &Path) -> Result<Vec<Misplaced>> {
    let mut found = Vec::new();
    let mut look = |dir: &Path, expected: &dyn Fn(&str) -> Option<Sort>| -> Result<()> {
        for name in files::list(storage, dir)? {
            let Some(expected) = expected(&name) else { continue };
            let path = dir.join(&name);
            let is = sort_of(storage, &path)?;
            if is != expected {
                found.push(Misplaced { path, is, expected });
            }
        }
        Ok(())
    };
    let is_number = |name: &str| name.parse::<u32>().is_ok();
    look(path, &|name| match name {
        TABLES_DIR | WAL_DIR | PUBLISHED_DIR => Some(Sort::Directory),
        CURRENT | TAIL | SETTINGS_FILE | LOCK_FILE => Some(Sort::File),
        _ if parse_file_name(name).is_some() || is_catalogue(name) => Some(Sort::File),
        _ => None,
    })?;
    let is_directory = |name: &str| sort_of(storage, &path.join(name)).map(|sort| sort == Sort::Directory);
    for dir in [TABLES_DIR, PUBLISHED_DIR] {
        if is_directory(dir)? {
            look(&path.join(dir), &|name| is_number(name).then_some(Sort::Directory))?;
        }
    }
    if is_directory(WAL_DIR)? {
        look(&path.join(WAL_DIR), &|_| Some(Sort::File))?;
    }
    if is_directory(TABLES_DIR)? {
        for name in files::list(storage, &path.join(TABLES_DIR))? {
            let dir = path.join(TABLES_DIR).join(&name);
            if is_number(&name) && sort_of(storage, &dir)? == Sort::Directory {
                look(&dir, &|_| Some(Sort::File))?;
            }
        }
    }
    Ok(found)
}

/// Checks that the settings kept with a database can be read. There need not be any.
///
/// # Errors
/// `InvalidSettings` or `Corruption`, naming the file.
pub(super) fn settings_file(storage: &dyn Storage, path: &Path) -> Result<()> {
    let file = path.join(SETTINGS_FILE);
    if storage.len(&file)?.is_none() {
        return Ok(());
    }
    let bytes = files::read_small(storage, &file)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| Error::corruption("the settings are not UTF-8").with_source(error))
        .and_then(|text| crate::Settings::from_text_of(&file, text));
    text.map(|_| ()).map_err(|error| error.with_file(file))
}

#[cfg(test)]
mod tests {
    use kodiak_storage::{Fault, FaultPlan, FaultRule, FaultStorage, OpKind};

    use super::*;

    #[test]
    fn a_directory_that_cannot_be_listed_is_not_taken_for_something_else() {
        let storage = FaultStorage::new();
        let place = Path::new("/db/wal");
        storage.create_dir_all(place).expect("a healthy storage");
        assert_eq!(sort_of(&storage, place).expect("a healthy storage"), Sort::Directory);
        storage.set_plan(FaultPlan::none().with(FaultRule::nth(OpKind::List, 1, Fault::Eio)));
        let error = sort_of(&storage, place).expect_err("the disk fails");
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    }
}
