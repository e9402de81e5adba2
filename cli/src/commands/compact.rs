use std::io::Write;

use clap::Args;

use crate::arguments::Existing;
use crate::failure::Result;
use crate::output::Output;
use crate::progress;

/// `kodiak compact`
#[derive(Debug, Args)]
pub struct Compact {
    #[command(flatten)]
    db: Existing,
    /// Only this table
    table: Option<String>,
}

impl Compact {
    pub fn run(self, out: &mut Output) -> Result {
        let db = self.db.open()?;
        let before = db.stats().disk_bytes();
        progress::busy("compacting", || {
            match &self.table {
                Some(table) => db.table(table)?.compact()?,
                None => db.compact()?,
            }
            db.wait_idle()
        })?;
        let after = db.stats().disk_bytes();
        db.close()?;
        writeln!(out, "{before} bytes of runs before, {after} after")?;
        Ok(())
    }
}
