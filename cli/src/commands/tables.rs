use std::io::Write;

use clap::Args;

use crate::arguments::Existing;
use crate::failure::Result;
use crate::output::Output;

/// `kodiak tables`
#[derive(Debug, Args)]
pub struct Tables {
    #[command(flatten)]
    db: Existing,
}

impl Tables {
    pub fn run(self, out: &mut Output) -> Result {
        for table in self.db.open_read_only()?.tables() {
            writeln!(out, "{table}")?;
        }
        Ok(())
    }
}
