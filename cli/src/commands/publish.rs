use std::io::Write;

use clap::Args;

use crate::arguments::Existing;
use crate::failure::Result;
use crate::output::Output;

/// `kodiak publish`
#[derive(Debug, Args)]
#[command(
    after_help = "With the setting publish.continuous = true, typed tables are published in the background too, and with \
                        publish.key_value = true key-value tables, whenever flushes and compactions have changed them: kodiak publish is needed for what is still in memory."
)]
pub struct Publish {
    #[command(flatten)]
    db: Existing,
    /// The table
    table: String,
    /// Take back what is published, and give up the files that are only there for it
    #[arg(long)]
    withdraw: bool,
}

impl Publish {
    pub fn run(self, out: &mut Output) -> Result {
        let db = self.db.open()?;
        let table = db.table(&self.table)?;
        if self.withdraw {
            table.withdraw()?;
            writeln!(out, "table {} is no longer published", self.table)?;
            return Ok(db.close()?);
        }
        let published = table.publish()?;
        writeln!(
            out,
            "{} rows of table {} in {}",
            published.rows,
            self.table,
            published.dir.display()
        )?;
        match published.why_not_exact.as_slice() {
            [] => writeln!(out, "its files are exact as they lie")?,
            reasons => reasons
                .iter()
                .try_for_each(|reason| writeln!(out, "not by its files alone: {reason}"))?,
        }
        let view = match &published.why_no_view {
            None => "view.sql (DuckDB), ",
            Some(_) => "",
        };
        match &published.why_no_delta {
            None => writeln!(out, "read it by {view}read.py (pyarrow, Polars), or as a Delta table")?,
            Some(why) => writeln!(out, "read it by {view}read.py (pyarrow, Polars); no Delta table: {why}")?,
        }
        if published.why_no_view.is_some() {
            writeln!(
                out,
                "view.sql (DuckDB) and Delta tables are made of Parquet files: set format.kind, or [[format.levels]], to \"parquet\", and compact"
            )?;
        }
        Ok(db.close()?)
    }
}
