use clap::Args;
use kodiak::Error;

use crate::arguments::Existing;
use crate::bytes::Encoding;
use crate::failure::Result;

/// `kodiak merge`
#[derive(Debug, Args)]
pub struct Merge {
    #[command(flatten)]
    db: Existing,
    /// The table, made with a merge operator
    table: String,
    /// The key
    key: String,
    /// What is merged into its value: for the operator counter a number to add
    #[arg(allow_hyphen_values = true)]
    operand: String,
    #[command(flatten)]
    encoding: Encoding,
}

impl Merge {
    pub fn run(self) -> Result {
        let key = self.encoding.parse(&self.key)?;
        let db = self.db.open()?;
        let table = db.table(&self.table)?;
        let counts = table.options().get_merge_operator() == Some("counter") && !self.encoding.hex;
        let operand = match counts {
            true => self.number()?.to_le_bytes().to_vec(),
            false => self.encoding.parse(&self.operand)?,
        };
        table.merge(key, operand)?;
        Ok(db.close()?)
    }

    fn number(&self) -> Result<i64> {
        self.operand.parse().map_err(|_| {
            let message = format!(
                "table \"{}\" counts: \"{}\" is not a whole number of 64 bits",
                self.table, self.operand
            );
            Error::invalid_input(message).into()
        })
    }
}
