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
    /// Print all figures as JSON
    #[arg(long)]
    json: bool,
}

impl Stats {
    pub fn run(self, out: &mut Output) -> Result {
        let stats = self.db.open_read_only()?.stats();
        match self.json {
            true => writeln!(
                out,
                "{}",
                serde_json::to_string_pretty(&stats).map_err(std::io::Error::from)?
            )?,
            false => write!(out, "{stats}")?,
        }
        Ok(())
    }
}
