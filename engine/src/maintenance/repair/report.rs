//! What a repair tells.

use std::fmt;
use std::path::PathBuf;

use kodiak_core::Error;

/// What a repair did.
#[derive(Debug, Default)]
pub struct RepairReport {
    /// Everything that was wrong, with the file.
    pub problems: Vec<Error>,
    /// Files moved to [`LOST_DIR`](super::LOST_DIR), by their new paths.
    pub lost: Vec<PathBuf>,
    /// Sidecars that were written anew, and data files with what could be saved of damaged ones.
    pub rebuilt: Vec<PathBuf>,
    /// The manifest was lost, and made anew.
    pub manifest_rebuilt: bool,
    /// Tables in the repaired database.
    pub tables: u64,
    /// Runs in it.
    pub runs: u64,
    /// Whole batches in the log, which the next opening replays.
    pub log_batches: u64,
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        for path in &self.rebuilt {
            writeln!(f, "written anew: {}", path.display())?;
        }
        for path in &self.lost {
            writeln!(f, "moved to {}", path.display())?;
        }
        if self.manifest_rebuilt && self.runs > 0 {
            writeln!(
                f,
                "warning: without the manifest, nobody knows which run files were in force: what was deleted or replaced \
                 shortly before may be back"
            )?;
        }
        let manifest = if self.manifest_rebuilt { "made anew" } else { "kept" };
        write!(
            f,
            "manifest {manifest}: {} tables, {} runs; {} batches in the log",
            self.tables, self.runs, self.log_batches
        )
    }
}
