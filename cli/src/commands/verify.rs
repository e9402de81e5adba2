use std::io::Write;

use clap::Args;
use kodiak::{Error, ErrorKind};

use crate::arguments::Existing;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::progress;

/// `kodiak verify`
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    db: Existing,
}

impl Verify {
    pub fn run(self, out: &mut Output) -> Result {
        let builder = self.db.settings.rescuer(&self.db.db)?;
        let report = progress::busy("verifying", || match builder.verify(&self.db.db) {
            // Beside the process that has it open.
            Err(error) if error.kind() == ErrorKind::Locked => self.db.open_read_only()?.verify(),
            verified => verified,
        })?;
        writeln!(out, "{report}")?;
        if report.is_clean() {
            return Ok(());
        }
        let message = format!(
            "{} problems: restore a backup, or run: kodiak repair",
            report.problems.len()
        );
        Err(Failure::Error(Error::corruption(message)))
    }
}
