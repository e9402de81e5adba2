//! Memory and disk.

use std::path::Path;

use kodiak::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a configuration took when its last workload was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Bytes of live keys and values.
    pub live_bytes: u64,
    /// Bytes of runs: data files and sidecars.
    pub run_bytes: u64,
    /// Bytes that all files together take on disk; the log's files are made in advance.
    pub directory_bytes: u64,
    /// Bytes of runs for each byte of live keys and values.
    pub space_amplification: f64,
    /// Bytes of memtables and cache, by the engine's own account.
    pub engine_memory_bytes: u64,
    /// Most anonymous memory of the process above that before the database was opened, bytes; `None` where the system does
    /// not tell. It is exact only in a process that does nothing else.
    pub peak_memory_bytes: Option<u64>,
}

/// Anonymous memory of this process that is resident, bytes: what mapped files take is not in it. `None` where the system
/// does not tell.
pub fn anonymous_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// Watches the memory of the process.
#[derive(Debug, Clone, Copy)]
pub struct MemoryWatch {
    start: Option<u64>,
    peak: Option<u64>,
}

impl MemoryWatch {
    /// From now on.
    pub fn start() -> Self {
        let now = anonymous_memory();
        Self { start: now, peak: now }
    }

    /// Looks.
    pub fn look(&mut self) {
        self.peak = self.peak.max(anonymous_memory());
    }

    /// The most that was seen above the start.
    pub fn peak(&self) -> Option<u64> {
        Some(self.peak?.saturating_sub(self.start?))
    }
}

/// Bytes that the files below `dir` take on disk.
///
/// # Errors
/// `Io` naming the directory.
pub fn directory_bytes(dir: &Path) -> Result<u64> {
    let failed = |source| Error::io("list the directory", dir, source);
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // Background work may remove files meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        bytes += if metadata.is_dir() {
            directory_bytes(&entry.path())?
        } else {
            on_disk(&metadata)
        };
    }
    Ok(bytes)
}

#[cfg(unix)]
fn on_disk(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

#[cfg(not(unix))]
fn on_disk(metadata: &std::fs::Metadata) -> u64 {
    metadata.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_takes_what_its_files_take() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("below")).expect("made");
        std::fs::write(dir.path().join("below/file"), vec![1; 100_000]).expect("written");
        let bytes = directory_bytes(dir.path()).expect("listed");
        assert!((100_000..200_000).contains(&bytes), "{bytes}");
        assert!(directory_bytes(&dir.path().join("none")).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_that_is_touched_is_seen() {
        let mut watch = MemoryWatch::start();
        let held = vec![1_u8; 64 << 20];
        watch.look();
        assert!(held.iter().step_by(4096).all(|&byte| byte == 1));
        assert!(watch.peak().expect("known on Linux") > 32 << 20, "{watch:?}");
    }
}
