use std::io::Write;

use clap::Args;

use crate::arguments::Existing;
use crate::bytes::Encoding;
use crate::failure::Result;
use crate::output::Output;
use crate::progress;
use crate::rows::Nulls;

/// `kodiak compact`
#[derive(Debug, Args)]
pub struct Compact {
    #[command(flatten)]
    db: Existing,
    /// Only this table
    table: Option<String>,
    /// Only what holds keys from this one on; in a table with columns the values of the first key columns, separated by commas
    #[arg(long, value_name = "KEY", requires = "table", allow_hyphen_values = true)]
    from: Option<String>,
    /// Only what holds keys before this one
    #[arg(long, value_name = "KEY", requires = "table", allow_hyphen_values = true)]
    to: Option<String>,
    #[command(flatten)]
    encoding: Encoding,
    #[command(flatten)]
    nulls: Nulls,
}

impl Compact {
    pub fn run(self, out: &mut Output) -> Result {
        let db = self.db.open()?;
        let before = db.stats().disk_bytes();
        progress::busy("compacting", || {
            match &self.table {
                Some(table) => {
                    let table = db.table(table)?;
                    match (self.from.as_deref(), self.to.as_deref()) {
                        (None, None) => table.compact()?,
                        (from, to) => table.compact_range(self.nulls.bounds(&table, from, to, self.encoding)?)?,
                    }
                }
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
