//! What a verification tells.

use std::fmt;

use kodiak_core::{Error, Result};

/// What a verification found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Everything that is wrong, in the order of reading; each names its file and, where there is one, the offset.
    pub problems: Vec<Error>,
    /// Settings kept with the database that this program cannot use: nothing is wrong with the data.
    pub settings_passed_over: Vec<Error>,
    /// The database was open for reading only: log, indexes and the files about tables were not looked at.
    pub runs_only: bool,
    /// Tables looked at.
    pub tables: u64,
    /// Runs read from end to end.
    pub runs: u64,
    /// Blocks in them.
    pub blocks: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Primary indexes that were compared with the runs.
    pub indexes: u64,
    /// Secondary indexes that were compared with the rows: of an open database with all, of another with those in runs.
    pub secondary_indexes: u64,
    /// Tables whose deletion vectors were compared with the runs.
    pub deletion_vectors: u64,
    /// Whole batches in the log.
    pub log_batches: u64,
    /// Bytes of an incomplete batch at the end of the log: what a crash leaves, not damage.
    pub log_torn_bytes: u64,
}

impl VerifyReport {
    /// True if nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn note(&mut self, result: Result<()>) {
        self.problems.extend(result.err());
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.problems.iter().chain(&self.settings_passed_over) {
            writeln!(f, "{problem}")?;
        }
        writeln!(
            f,
            "{} tables, {} runs, {} blocks, {} entries, {} bytes, {} primary indexes, {} secondary indexes, {} tables with \
             deletion vectors; {} batches in the log",
            self.tables,
            self.runs,
            self.blocks,
            self.entries,
            self.bytes,
            self.indexes,
            self.secondary_indexes,
            self.deletion_vectors,
            self.log_batches
        )?;
        if self.log_torn_bytes > 0 {
            writeln!(
                f,
                "the log ends with {} bytes of an incomplete batch",
                self.log_torn_bytes
            )?;
        }
        if self.runs_only {
            writeln!(
                f,
                "runs and deletion vectors only, as of the moment when the database was opened for reading: the rest takes a verification \
                 that has the database for itself, or of the program that has it open"
            )?;
        }
        match self.problems.len() {
            0 => write!(f, "no problems"),
            count => write!(f, "{count} problems"),
        }
    }
}
