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
}

impl Compact {
    pub fn run(self, out: &mut Output) -> Result {
        let db = self.db.open()?;
        let before = db.stats().disk_bytes();
        let bar = progress::busy("compacting");
        let result = db.compact().and_then(|()| db.wait_idle());
        bar.finish_and_clear();
        result?;
        let after = db.stats().disk_bytes();
        db.close()?;
        writeln!(out, "{before} bytes of runs before, {after} after")?;
        Ok(())
    }
}
