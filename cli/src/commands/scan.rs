use std::io::Write;
use std::ops::Bound;

use clap::Args;
use kodiak::ScanOptions;

use crate::arguments::Existing;
use crate::bytes::{Encoding, to_json};
use crate::failure::Result;
use crate::output::Output;

/// `kodiak scan`
#[derive(Debug, Args)]
pub struct Scan {
    #[command(flatten)]
    db: Existing,
    /// The table
    table: String,
    /// Begin with this key
    #[arg(long, value_name = "KEY")]
    from: Option<String>,
    /// End before this key
    #[arg(long, value_name = "KEY")]
    to: Option<String>,
    /// Only keys that begin with this
    #[arg(long, conflicts_with_all = ["from", "to"])]
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
    /// Print each entry as a JSON object
    #[arg(long, conflicts_with_all = ["hex", "count"])]
    json: bool,
    #[command(flatten)]
    encoding: Encoding,
}

impl Scan {
    pub fn run(self, out: &mut Output) -> Result {
        let options = self.options()?;
        let db = self.db.open_read_only()?;
        let mut scan = db.table(&self.table)?.scan_with(options.without_cache())?;
        let (mut entries, mut line) = (0, String::new());
        while self.limit.is_none_or(|limit| entries < limit) {
            let Some((key, value)) = scan.next_ref()? else { break };
            entries += 1;
            if !self.count {
                self.show(key, value, &mut line);
                out.write_all(line.as_bytes())?;
            }
        }
        if self.count {
            writeln!(out, "{entries}")?;
        }
        Ok(())
    }

    fn options(&self) -> Result<ScanOptions<'static>> {
        let key = |text: &Option<String>| text.as_deref().map(|text| self.encoding.parse(text)).transpose();
        let options = match key(&self.prefix)? {
            Some(prefix) => ScanOptions::prefix(prefix),
            None => {
                let from = key(&self.from)?.map_or(Bound::Unbounded, Bound::Included);
                let to = key(&self.to)?.map_or(Bound::Unbounded, Bound::Excluded);
                ScanOptions::new((from, to))
            }
        };
        Ok(if self.reverse { options.rev() } else { options })
    }

    fn show(&self, key: &[u8], value: &[u8], line: &mut String) {
        line.clear();
        if self.json {
            let mut entry = serde_json::Map::new();
            entry.insert("key".to_owned(), to_json(key));
            if !self.keys {
                entry.insert("value".to_owned(), to_json(value));
            }
            line.push_str(&serde_json::Value::Object(entry).to_string());
        } else {
            self.encoding.show(key, line);
            if !self.keys {
                // A tab in a key or value is shown as \t, so that this one is unmistakable.
                line.push('\t');
                self.encoding.show(value, line);
            }
        }
        line.push('\n');
    }
}
