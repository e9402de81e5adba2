use std::io::Write;

use clap::Args;
use kodiak::{ScanBounds, ScanOptions, Table};

use crate::arguments::Existing;
use crate::bytes::{Encoding, to_json};
use crate::failure::Result;
use crate::output::Output;
use crate::rows::{self, Nulls};
use crate::values::Values;

/// `kodiak scan`
#[derive(Debug, Args)]
pub struct Scan {
    #[command(flatten)]
    db: Existing,
    /// The table
    table: String,
    /// Begin with this key; in a table with columns the values of the first key columns, separated by commas
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    from: Option<String>,
    /// End before this key
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    to: Option<String>,
    /// Only keys that begin with this; in a table with columns, those with these values of the first key columns
    #[arg(long, allow_hyphen_values = true, conflicts_with_all = ["from", "to"])]
    prefix: Option<String>,
    /// End after so many entries
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// From the last key to the first
    #[arg(long)]
    reverse: bool,
    /// Print keys only
    #[arg(long, conflicts_with = "count")]
    keys: bool,
    /// Print how many entries there are, and nothing else
    #[arg(long)]
    count: bool,
    /// Print each entry as a JSON object, as rows of tables with columns are anyway
    #[arg(long, conflicts_with_all = ["hex", "count"])]
    json: bool,
    #[command(flatten)]
    encoding: Encoding,
    #[command(flatten)]
    nulls: Nulls,
}

impl Scan {
    pub fn run(self, out: &mut Output) -> Result {
        let db = self.db.open_read_only()?;
        let table = db.table(&self.table)?;
        if self.nulls.by_columns(&table, self.encoding.hex)? {
            return self.rows(&table, out);
        }
        let mut scan = table.scan_with(self.options(&table)?.without_cache())?;
        let values = Values::of(&table, self.encoding);
        let (mut entries, mut line) = (0, String::new());
        while let Some((key, value)) = scan.next_ref()? {
            entries += 1;
            if !self.count {
                self.show(key, value, values, &mut line);
                out.write_all(line.as_bytes())?;
            }
        }
        if self.count {
            writeln!(out, "{entries}")?;
        }
        Ok(())
    }

    /// The rows of a table with columns.
    fn rows(&self, table: &Table, out: &mut Output) -> Result {
        let mut read = table.read().without_cache();
        read = match &self.prefix {
            Some(prefix) => read.prefix(&self.nulls.key(table, prefix, false)?),
            None => read.range(self.bounds(table)?),
        };
        if self.reverse {
            read = read.rev();
        }
        if self.limit.is_some() {
            read = read.limit(self.limit());
        }
        if self.keys || self.count {
            read = read.project(rows::key_names(table));
        }
        let mut shown = 0;
        for batch in read.batches()? {
            let batch = batch?;
            if !self.count {
                rows::show(&batch, shown + 1, out)?;
            }
            shown += batch.num_rows() as u64;
        }
        if self.count {
            writeln!(out, "{shown}")?;
        }
        Ok(())
    }

    fn limit(&self) -> usize {
        self.limit
            .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
    }

    fn bounds(&self, table: &Table) -> Result<ScanBounds> {
        Ok(self
            .nulls
            .bounds(table, self.from.as_deref(), self.to.as_deref(), self.encoding)?)
    }

    fn options(&self, table: &Table) -> Result<ScanOptions<'static>> {
        let options = match &self.prefix {
            Some(prefix) => ScanOptions::prefix(self.encoding.parse(prefix)?),
            None => ScanOptions::new(self.bounds(table)?),
        };
        let options = options.limit(self.limit());
        Ok(if self.reverse { options.rev() } else { options })
    }

    fn show(&self, key: &[u8], value: &[u8], values: Values, line: &mut String) {
        line.clear();
        if self.json {
            let mut entry = serde_json::Map::new();
            entry.insert("key".to_owned(), to_json(key));
            if !self.keys {
                entry.insert("value".to_owned(), values.json(value));
            }
            line.push_str(&serde_json::Value::Object(entry).to_string());
        } else {
            self.encoding.show(key, line);
            if !self.keys {
                // A tab in a key or value is shown as \t, so that this one is unmistakable.
                line.push('\t');
                values.show(value, line);
            }
        }
        line.push('\n');
    }
}
