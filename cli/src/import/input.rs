//! What is imported: a file, or a copy of what can be read only once.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use kodiak::{Error, Result};
use tempfile::NamedTempFile;

/// The name of standard input.
const STANDARD_INPUT: &str = "-";

/// Something that can be read more than once, and from any place. A copy is removed when this is dropped.
pub struct Input {
    name: PathBuf,
    copy: Option<NamedTempFile>,
}

impl Input {
    /// The file of this name; a copy of standard input if that is `-`, and of what a pipe holds.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub fn open(name: &Path) -> Result<Self> {
        let failed = |error| Error::io("read the rows", name, error);
        let copy = if name == Path::new(STANDARD_INPUT) {
            Some(copy(name, std::io::stdin().lock())?)
        } else if is_once(name)? {
            Some(copy(name, File::open(name).map_err(failed)?)?)
        } else {
            None
        };
        Ok(Self {
            name: name.to_owned(),
            copy,
        })
    }

    /// What it is called.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Where it can be read.
    pub fn path(&self) -> &Path {
        self.copy.as_ref().map_or(&self.name, NamedTempFile::path)
    }
}

/// True if what has this name can be read only once.
///
/// # Errors
/// `NotFound`, `Io`.
pub fn is_once(name: &Path) -> Result<bool> {
    if name == Path::new(STANDARD_INPUT) {
        return Ok(true);
    }
    let metadata = std::fs::metadata(name).map_err(|error| Error::io("read the rows", name, error))?;
    Ok(!metadata.is_file() && !metadata.is_dir())
}

fn copy(name: &Path, mut from: impl std::io::Read) -> Result<NamedTempFile> {
    let failed = |error| Error::io("copy the rows to a temporary file", name, error);
    let mut copy = NamedTempFile::new().map_err(failed)?;
    std::io::copy(&mut from, &mut copy).map_err(failed)?;
    copy.flush().map_err(failed)?;
    Ok(copy)
}
