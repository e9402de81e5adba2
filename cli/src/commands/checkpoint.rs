use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::arguments::Existing;
use crate::failure::Result;
use crate::output::Output;
use crate::progress;

/// What is told of copies that were made beside a process that has the database open.
pub const BESIDE: &str = ", of what the process that has the database open had written";

/// `kodiak checkpoint`
#[derive(Debug, Args)]
pub struct Checkpoint {
    #[command(flatten)]
    db: Existing,
    /// Where to make the copy: an empty directory, or one that does not exist yet
    target: PathBuf,
}

impl Checkpoint {
    pub fn run(self, out: &mut Output) -> Result {
        let ((), beside) = progress::busy("copying", || self.db.copy(|db| db.checkpoint(&self.target)))?;
        writeln!(
            out,
            "made {}{}",
            self.target.display(),
            if beside { BESIDE } else { "" }
        )?;
        Ok(())
    }
}
