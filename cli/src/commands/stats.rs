use std::io::Write;

use clap::Args;

use crate::arguments::Existing;
use crate::failure::Result;
use crate::output::Output;

/// `kodiak stats`
#[derive(Debug, Args)]
pub struct Stats {
    #[command(flatten)]
    db: Existing,
}

impl Stats {
    pub fn run(self, out: &mut Output) -> Result {
        write!(out, "{}", self.db.open_read_only()?.stats())?;
        Ok(())
    }
}
