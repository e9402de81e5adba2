//! Bytes: of directories, and written by this process.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::engine::Result;

/// Bytes that the files under `dir` occupy on the disk (blocks, not lengths: files may have holes or reserved space).
pub fn disk_bytes(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() {
            disk_bytes(&entry.path())?
        } else {
            metadata.blocks() * 512
        };
    }
    Ok(sum)
}

/// Bytes that this process has caused to be written to the disk so far, as Linux counts them: a page of the page cache counts
/// when it becomes dirty, be it by `write` or through a map. `None` where there is no such count.
pub fn written_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/io").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes:"))?;
    line.trim().parse().ok()
}

/// Copies a directory tree and syncs the copy, so that its writing does not disturb what is measured next.
pub fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.metadata()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            fs::OpenOptions::new().write(true).open(&target)?.sync_all()?;
        }
    }
    Ok(())
}
