//! Files of the local file system.
//!
//! New files have mode 0600 and new directories 0700, whatever the umask. Every file is opened with `O_NOFOLLOW` and
//! `O_CLOEXEC`, and must be a regular file: a symbolic link, pipe or device put in its place is refused.
//!
//! **Mappings** assume that nobody truncates or changes a finished file behind the database's back, which the database's
//! lock and the file modes see to. If somebody does, the bytes read are anything, and access beyond the new end kills the
//! process with `SIGBUS`, as does a disk that cannot deliver a mapped page.

#[cfg(target_os = "linux")]
mod awake;
mod file;
mod lock;
mod log;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

#[cfg(target_os = "linux")]
use kodiak_core::storage::KeepAwake;
use kodiak_core::storage::{Lock, LogFile, ReadableFile, Storage, WritableFile};
use kodiak_core::{Error, ErrorKind, Result};
use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::buffered::Buffered;
use crate::clock;
use crate::errors::io_error;

const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIRECTORY_MODE: Mode = Mode::RWXU;

/// Files of the local file system. All values of this type are alike.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalStorage;

impl LocalStorage {
    /// The local file system.
    pub fn new() -> Self {
        Self
    }
}

/// Opens `path`, which must not be a symbolic link.
fn open_at(path: &Path, flags: OFlags, mode: Mode) -> Result<File, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::io::retry_on_intr(|| fs::openat(CWD, path, flags, mode)).map(File::from)
}

/// Creates a file that must be new, for its owner only.
fn create_new(path: &Path, access: OFlags) -> Result<File> {
    let create = || {
        let file = open_at(path, access | OFlags::CREATE | OFlags::EXCL, FILE_MODE)?;
        // A strange umask could have taken the owner's bits.
        fs::fchmod(&file, FILE_MODE)?;
        Ok(file)
    };
    create().map_err(|error: Errno| io_error("create the file", path, error))
}

/// Opens a regular file. `NONBLOCK` keeps a pipe in its place from blocking us; for files it has no meaning.
fn open_regular(path: &Path, access: OFlags) -> Result<(File, u64)> {
    let file = open_at(path, access | OFlags::NONBLOCK, Mode::empty())
        .map_err(|error| io_error("open the file", path, error))?;
    let stat = fs::fstat(&file).map_err(|error| io_error("look at the file", path, error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::new(ErrorKind::Io, "cannot open the file: it is not a regular file").with_file(path));
    }
    Ok((file, stat.st_size as u64))
}

/// Opens a directory, which must not be a symbolic link.
fn open_dir(path: &Path) -> Result<File, Errno> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map_err(|error| {
        // Systems call a link "not a directory" here, which would puzzle whoever sees one behind it.
        let is_link = || {
            let stat = fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW);
            stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
        };
        if error == Errno::NOTDIR && is_link() {
            Errno::LOOP
        } else {
            error
        }
    })
}

/// Makes the data and length of `file` survive a power loss.
fn sync_data(file: &File) -> io::Result<()> {
    #[cfg(target_vendor = "apple")]
    return Ok(fs::fcntl_fullfsync(file)?);
    #[cfg(not(target_vendor = "apple"))]
    Ok(fs::fdatasync(file)?)
}

/// Creates one directory whose parent exists, and syncs the parent. True if it is new.
fn create_dir(path: &Path) -> Result<bool, Errno> {
    match fs::mkdir(path, DIRECTORY_MODE) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let stat = fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
            return match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => Ok(false),
                FileType::Symlink => Err(Errno::LOOP),
                _ => Err(Errno::NOTDIR),
            };
        }
        Err(error) => return Err(error),
    }
    let stat = fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    if Mode::from_raw_mode(stat.st_mode) != DIRECTORY_MODE {
        fs::chmodat(CWD, path, DIRECTORY_MODE, AtFlags::empty())?;
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    // The parent may be a link that whoever runs the system has set up: it is not the last component of our path.
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::io::retry_on_intr(|| fs::fsync(fs::openat(CWD, parent, flags, Mode::empty())?))?;
    Ok(true)
}

impl Storage for LocalStorage {
    fn create(&self, path: &Path) -> Result<Box<dyn WritableFile>> {
        let file = create_new(path, OFlags::WRONLY)?;
        Ok(Box::new(Buffered::new(file::FileSink::new(path, file))))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn ReadableFile>> {
        let (file, len) = open_regular(path, OFlags::RDONLY)?;
        Ok(Arc::new(file::LocalFile::new(path, file, len)))
    }

    fn create_log(&self, path: &Path, len: u64) -> Result<Arc<dyn LogFile>> {
        let file = create_new(path, OFlags::RDWR)?;
        if let Err(error) = log::allocate(&file, len) {
            // The first error is the one worth telling; nothing more can be done about a second.
            let _ = fs::unlink(path);
            return Err(io_error(&format!("allocate {len} bytes for a log file"), path, error));
        }
        Ok(Arc::new(log::LocalLog::new(path, file, len)))
    }

    fn open_log(&self, path: &Path) -> Result<Arc<dyn LogFile>> {
        let (file, len) = open_regular(path, OFlags::RDWR)?;
        Ok(Arc::new(log::LocalLog::new(path, file, len)))
    }

    fn open_file_limit(&self) -> Option<usize> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        usize::try_from(limit.current?).ok()
    }

    fn real_path(&self, path: &Path) -> Result<PathBuf> {
        let failed = |source| Error::io("look at the path", path, source);
        let absolute = std::path::absolute(path).map_err(failed)?;
        for there in absolute.ancestors() {
            match std::fs::canonicalize(there) {
                Ok(mut real) => {
                    for part in absolute.strip_prefix(there).into_iter().flat_map(Path::components) {
                        match part {
                            Component::ParentDir => drop(real.pop()),
                            part => real.push(part),
                        }
                    }
                    return Ok(real);
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(absolute)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(|error| io_error(&format!("rename the file to {}", to.display()), from, error))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        fs::linkat(CWD, from, CWD, to, AtFlags::empty())
            .map_err(|error| io_error(&format!("link the file to {}", from.display()), to, error))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        fs::unlink(path).map_err(|error| io_error("remove the file", path, error))
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        let failed = |path: &Path, error: Errno| io_error("create the directory", path, error);
        // Upward to the first that exists or can be made, then downward again.
        let mut missing = Vec::new();
        let mut current = path;
        loop {
            match create_dir(current) {
                Ok(_) => break,
                Err(Errno::NOENT) => {
                    missing.push(current);
                    current = current
                        .parent()
                        .filter(|parent| !parent.as_os_str().is_empty())
                        .ok_or_else(|| failed(path, Errno::NOENT))?;
                }
                // A link among the parents is followed: only the last component must be a real directory.
                Err(Errno::LOOP) if current != path && current.is_dir() => break,
                Err(error) => return Err(failed(current, error)),
            }
        }
        for path in missing.into_iter().rev() {
            create_dir(path).map_err(|error| failed(path, error))?;
        }
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove the directory", path, error)),
            _ => Ok(()),
        }
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let failed = |error: Errno| io_error("list the directory", dir, error);
        let mut names = Vec::new();
        for entry in fs::Dir::new(open_dir(dir).map_err(failed)?).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn len(&self, path: &Path) -> Result<Option<u64>> {
        match fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => Ok(Some(stat.st_size as u64)),
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(io_error("look at the file", path, error)),
        }
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        open_dir(dir)
            .and_then(|file| rustix::io::retry_on_intr(|| fs::fsync(&file)))
            .map_err(|error| io_error("sync the directory", dir, error))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        Ok(Box::new(lock::LocalLock::acquire(path)?))
    }

    fn now_micros(&self) -> u64 {
        clock::system_micros()
    }

    fn monotonic_nanos(&self) -> u64 {
        clock::monotonic_nanos()
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
            Ok(8) => u64::from_ne_bytes(bytes),
            // Interrupted before the system was ready, or forbidden by a sandbox: the hasher's keys are random as well.
            _ => clock::SplitMix::arbitrary().next(),
        }
    }

    #[cfg(target_os = "linux")]
    fn keep_awake(&self) -> Option<Box<dyn KeepAwake>> {
        Some(Box::new(awake::Awake::default()))
    }
}
