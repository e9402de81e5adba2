use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::arguments::Existing;
use crate::failure::Result;
use crate::output::Output;
use crate::progress;

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
        let db = self.db.open()?;
        progress::busy("copying", || db.checkpoint(&self.target))?;
        db.close()?;
        writeln!(out, "made {}", self.target.display())?;
        Ok(())
    }
}
