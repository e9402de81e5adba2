//! Errors of the operating system, told with what the user can do about them.

use std::io;
use std::path::Path;

use kodiak_core::{Error, ErrorKind};
use rustix::io::Errno;

/// The error of a system call that tried to do `what` ("read 4096 bytes") to `path`.
pub(crate) fn io_error(what: &str, path: &Path, source: impl Into<io::Error>) -> Error {
    let source = source.into();
    match source.raw_os_error().and_then(hint) {
        Some(hint) => Error::io(format!("{what} ({hint})"), path, source),
        None => Error::io(what, path, source),
    }
}

fn hint(code: i32) -> Option<&'static str> {
    Some(match Errno::from_raw_os_error(code) {
        Errno::NOSPC => "the file system is full: free some space",
        Errno::DQUOT => "the disk quota is used up: free some space or raise it",
        Errno::MFILE | Errno::NFILE => {
            "too many open files: raise the system's limit (ulimit -n), or set limits.max_open_files lower"
        }
        Errno::LOOP => "symbolic links are not followed: give the real path",
        Errno::ACCESS | Errno::PERM => "permission denied: only the owner may use the database's files",
        Errno::ROFS => "the file system is read-only",
        Errno::XDEV => "the two paths are on different file systems",
        _ => return None,
    })
}

/// True if a directory could not be listed because what is there is none: a link, a pipe. Other errors (permissions, too many open
/// files, a bad disk) say nothing of what is there.
pub fn is_no_directory(error: &Error) -> bool {
    let code = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error);
    code.is_some_and(|code| matches!(Errno::from_raw_os_error(code), Errno::NOTDIR | Errno::LOOP))
}

/// The error of a read past the end of a file.
pub(crate) fn short_file(path: &Path, offset: u64, wanted: usize, len: u64) -> Error {
    Error::corruption(format!(
        "the file is cut short: {wanted} bytes are wanted but it ends at byte {len}"
    ))
    .with_file(path)
    .with_offset(offset)
}

/// Checks that `wanted` bytes at `offset` lie within the `len` bytes of a log file.
pub(crate) fn check_log_range(path: &Path, offset: u64, wanted: usize, len: u64) -> kodiak_core::Result<()> {
    if offset.checked_add(wanted as u64).is_some_and(|end| end <= len) {
        return Ok(());
    }
    let message = format!("{wanted} bytes do not fit a log file of {len} bytes here: start a new one");
    Err(Error::invalid_input(message).with_file(path).with_offset(offset))
}

/// The error of a lock that somebody holds.
pub(crate) fn locked(path: &Path) -> Error {
    Error::new(
        ErrorKind::Locked,
        "another process, or another handle in this one, has it open: close that one",
    )
    .with_file(path)
}

/// The error of something that is not a file in the place of a lock file.
pub(crate) fn no_lock_file(path: &Path, what: &str) -> Error {
    let message = format!(
        "{what} is where the lock file belongs, which tells whether a program has this open: close all that do, then move it away"
    );
    Error::corruption(message).with_file(path)
}
