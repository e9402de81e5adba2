use std::io::Write;

use clap::Args;

use crate::arguments::Existing;
use crate::failure::Result;
use crate::output::Output;
use crate::progress;

/// `kodiak repair`
#[derive(Debug, Args)]
pub struct Repair {
    #[command(flatten)]
    db: Existing,
}

impl Repair {
    pub fn run(self, out: &mut Output) -> Result {
        let builder = self.db.settings.rescuer(&self.db.db)?;
        let report = progress::busy("repairing", || builder.repair(&self.db.db))?;
        writeln!(out, "{report}")?;
        Ok(())
    }
}
