use clap::Args;

use crate::arguments::Existing;
use crate::failure::Result;

/// `kodiak drop-table`
#[derive(Debug, Args)]
pub struct DropTable {
    #[command(flatten)]
    db: Existing,
    /// The table
    table: String,
}

impl DropTable {
    pub fn run(self) -> Result {
        let db = self.db.open()?;
        db.drop_table(&self.table)?;
        Ok(db.close()?)
    }
}
