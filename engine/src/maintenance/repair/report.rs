//! What a repair tells.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use kodiak_core::{Error, SeqNo};

/// What a repair did.
#[derive(Debug, Default)]
pub struct RepairReport {
    /// Everything that was wrong, with the file.
    pub problems: Vec<Error>,
    /// Files moved to [`LOST_DIR`](super::LOST_DIR), by their new paths.
    pub lost: Vec<PathBuf>,
    /// Settings and sidecars that were written anew, and data files with what could be saved of damaged ones.
    pub rebuilt: Vec<PathBuf>,
    /// Settings kept with the database that can be read, but not be used by this program: they are left as they are.
    pub settings_passed_over: Vec<Error>,
    /// The manifest was lost, and made anew.
    pub manifest_rebuilt: bool,
    /// Tables in the repaired database.
    pub tables: u64,
    /// Runs in it.
    pub runs: u64,
    /// Indexes that were built anew.
    pub indexes: u64,
    /// Why indexes are left for the next opening to build.
    pub indexes_left: Option<Error>,
    /// Whole batches in the log, which the next opening replays.
    pub log_batches: u64,
    /// If the log is damaged: the sequence numbers that it had to have and does not. Those that are in no run are of writes that are lost.
    pub lost_writes: Vec<RangeInclusive<SeqNo>>,
}

/// Most ranges of sequence numbers that are printed.
const SHOWN: usize = 10;

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.problems.iter().chain(&self.settings_passed_over) {
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
        if !self.lost_writes.is_empty() {
            let shown = self.lost_writes.iter().take(SHOWN);
            let shown: Vec<_> = shown
                .map(|range| format!("{} to {}", range.start(), range.end()))
                .collect();
            let more = match self.lost_writes.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(", and {more} more ranges"),
            };
            writeln!(
                f,
                "warning: the log lacks the sequence numbers {}{more}: writes with them are lost, but for those that runs have",
                shown.join(", ")
            )?;
        }
        if self.indexes > 0 {
            writeln!(f, "indexes built anew: {}", self.indexes)?;
        }
        if let Some(error) = &self.indexes_left {
            writeln!(
                f,
                "the next opening builds the indexes, which could not be built now: {error}"
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
