use std::io::Write;

use clap::Args;
use kodiak::Error;

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
        let report = progress::busy("verifying", || builder.verify(&self.db.db))?;
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
