//! Directories for databases that are not to outlive the process that made them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kodiak::core::storage::{Lock, Storage};
use kodiak::{Error, LocalStorage, Result};

/// What the names of workspaces begin with; the number of the process follows.
const PREFIX: &str = "kodiak-compare-";
/// What the name of one ends with that is not locked yet.
const UNFINISHED: &str = ".new";
/// The file in it that is locked as long as the process lives.
const OWNER: &str = "OWNER";

/// A directory of this process, which is removed when it is dropped, or, if the process was killed, by a later [`sweep`](Self::sweep).
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
    owner: Option<Box<dyn Lock>>,
}

impl Workspace {
    /// Makes the one of this process below `parent`, or below the directory for temporary files.
    ///
    /// # Errors
    /// `Io`, also if this process has one there.
    pub fn new(parent: Option<&Path>) -> Result<Self> {
        Self::sweep(parent);
        let storage = LocalStorage::new();
        let name = format!("{PREFIX}{}", std::process::id());
        let path = parent_of(parent).join(&name);
        // Locked before it has the name by which others find it.
        let unfinished = path.with_file_name(name + UNFINISHED);
        // Of a process that had the same number.
        let _ = std::fs::remove_dir_all(&unfinished);
        let failed = |error| Error::io("make a directory for databases", &path, error);
        std::fs::create_dir(&unfinished).map_err(failed)?;
        let owner = storage.lock(&unfinished.join(OWNER))?;
        std::fs::rename(&unfinished, &path).map_err(failed)?;
        Ok(Self {
            path,
            owner: Some(owner),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes workspaces below `parent`, or below the directory for temporary files, whose processes have ended without doing so.
    /// What cannot be removed stays.
    pub fn sweep(parent: Option<&Path>) {
        let storage = LocalStorage::new();
        for entry in std::fs::read_dir(parent_of(parent)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name.strip_prefix(PREFIX).and_then(|number| number.parse::<u32>().ok());
            let owner = entry.path().join(OWNER);
            if number.is_none() || !owner.is_file() {
                continue;
            }
            if let Ok(lock) = storage.lock(&owner) {
                drop(lock);
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Removes a workspace of this process in which others are at work, which may make files until their directories are gone, or
    /// these once more: so it must have been away for a while.
    pub fn remove_in_use(path: &Path) {
        let mut away = 0;
        for _ in 0..500 {
            let _ = std::fs::remove_dir_all(path);
            away = if path.exists() { 0 } else { away + 1 };
            if away == 10 {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        self.owner.take();
        // If it fails, a later run removes it.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn parent_of(parent: Option<&Path>) -> PathBuf {
    parent.map_or_else(std::env::temp_dir, Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspaces_go_with_their_owners_and_others_stay() {
        let parent = tempfile::tempdir().expect("a directory");
        let names = || -> Vec<String> {
            let entries = std::fs::read_dir(parent.path())
                .expect("a list")
                .map(|entry| entry.expect("an entry"));
            let mut names: Vec<String> = entries
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        };
        let others = ["kodiak-compare-7.new", "kodiak-compare-8", "kodiak-compare-x", "mine"];
        for name in others {
            std::fs::create_dir(parent.path().join(name)).expect("made");
        }
        std::fs::write(parent.path().join("kodiak-compare-x").join(OWNER), "").expect("written");
        // Of a process that has ended.
        let dead = parent.path().join("kodiak-compare-0");
        std::fs::create_dir_all(dead.join("db")).expect("made");
        std::fs::write(dead.join(OWNER), "").expect("written");
        let own = Workspace::new(Some(parent.path())).expect("made");
        let name = own.path().file_name().expect("a name").to_string_lossy().into_owned();
        let mut all = others.map(str::to_owned).to_vec();
        all.push(name);
        all.sort();
        assert_eq!(names(), all);
        std::fs::write(own.path().join("file"), "").expect("written");
        Workspace::sweep(Some(parent.path()));
        assert_eq!(names(), all, "it is in use");
        drop(own);
        assert_eq!(names(), others);
    }
}
