use std::io::Write;

use clap::Args;
use kodiak::Error;

use crate::arguments::Existing;
use crate::bytes::Encoding;
use crate::failure::Result;
use crate::output::Output;
use crate::rows::{self, Nulls};
use crate::values::Values;

/// `kodiak get`
#[derive(Debug, Args)]
pub struct Get {
    #[command(flatten)]
    db: Existing,
    /// The table
    table: String,
    /// The key; in a table with columns the values of its key columns, separated by commas
    #[arg(allow_hyphen_values = true)]
    key: String,
    #[command(flatten)]
    encoding: Encoding,
    #[command(flatten)]
    nulls: Nulls,
    /// Print the value's bytes as they are, without a line break
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Print the value as a JSON string
    #[arg(long)]
    json: bool,
}

impl Get {
    pub fn run(self, out: &mut Output) -> Result {
        let db = self.db.open_read_only()?;
        let table = db.table(&self.table)?;
        let missing = || self.nulls.missing(&table, &self.key);
        if self.nulls.by_columns(&table, self.encoding.hex)? {
            if self.raw {
                let message = format!("table \"{}\" has columns: leave --raw out, or say --hex", self.table);
                return Err(Error::invalid_input(message).into());
            }
            let row = table.get_row(&self.nulls.key(&table, &self.key, true)?)?;
            return rows::show(&row.ok_or_else(missing)?, 1, out);
        }
        let key = self.encoding.parse(&self.key)?;
        let value = table.get(key)?.ok_or_else(missing)?;
        let values = Values::of(&table, self.encoding);
        if self.raw {
            out.write_all(&value)?;
        } else if self.json {
            writeln!(out, "{}", values.json(&value))?;
        } else {
            let mut text = String::new();
            values.show(&value, &mut text);
            writeln!(out, "{text}")?;
        }
        Ok(())
    }
}
