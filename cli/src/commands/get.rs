use std::io::Write;

use clap::Args;
use kodiak::{Error, ErrorKind};

use crate::arguments::Existing;
use crate::bytes::{Encoding, to_json};
use crate::failure::Result;
use crate::output::Output;

/// `kodiak get`
#[derive(Debug, Args)]
pub struct Get {
    #[command(flatten)]
    db: Existing,
    /// The table
    table: String,
    /// The key
    key: String,
    #[command(flatten)]
    encoding: Encoding,
    /// Print the value's bytes as they are, without a line break
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Print the value as a JSON string
    #[arg(long)]
    json: bool,
}

impl Get {
    pub fn run(self, out: &mut Output) -> Result {
        let key = self.encoding.parse(&self.key)?;
        let db = self.db.open_read_only()?;
        let Some(value) = db.table(&self.table)?.get(key)? else {
            let message = format!("table \"{}\" has no key \"{}\"", self.table, self.key);
            return Err(Error::new(ErrorKind::NotFound, message).into());
        };
        if self.raw {
            out.write_all(&value)?;
        } else if self.json {
            writeln!(out, "{}", to_json(&value))?;
        } else {
            let mut text = String::new();
            self.encoding.show(&value, &mut text);
            writeln!(out, "{text}")?;
        }
        Ok(())
    }
}
