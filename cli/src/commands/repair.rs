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
        let bar = progress::busy("repairing");
        let report = self
            .db
            .settings
            .rescuer(&self.db.db)
            .and_then(|builder| builder.repair(&self.db.db));
        bar.finish_and_clear();
        writeln!(out, "{}", report?)?;
        Ok(())
    }
}
