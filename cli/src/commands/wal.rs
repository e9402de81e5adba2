use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use kodiak::inspect::RowReader;
use kodiak::{Error, ErrorKind, LocalStorage};
use kodiak_wal::DumpLine;

use crate::bytes::Encoding;
use crate::failure::Result;
use crate::operations::Shown;
use crate::output::Output;

/// `kodiak wal`
#[derive(Debug, Subcommand)]
pub enum Wal {
    /// Print the history that a log holds; damage is shown, nothing is changed
    Dump(Dump),
}

/// `kodiak wal dump`
#[derive(Debug, Args)]
pub struct Dump {
    /// A database, a directory of log segments, or one segment; of a database, rows of tables with columns are shown as JSON
    path: PathBuf,
    #[command(flatten)]
    encoding: Encoding,
}

impl Wal {
    pub fn run(self, out: &mut Output) -> Result {
        match self {
            Self::Dump(command) => command.run(out),
        }
    }
}

impl Dump {
    fn run(self, out: &mut Output) -> Result {
        let below = self.path.join("wal");
        let storage = LocalStorage::new();
        let shown = Shown {
            // A log can be looked at without its database, and beside a damaged manifest.
            rows: RowReader::of_database(&storage, &self.path).ok(),
            encoding: self.encoding,
        };
        let path = if below.is_dir() { &below } else { &self.path };
        let (mut failed, mut any): (Option<io::Error>, bool) = (None, false);
        let dumped = kodiak_wal::dump(&storage, path, &mut |line| {
            any = true;
            show(line, &shown, out).map_err(|error| {
                failed = Some(error);
                Error::new(ErrorKind::Io, "the output cannot be written")
            })
        });
        match failed {
            Some(error) => return Err(error.into()),
            None => dumped?,
        }
        if !any {
            writeln!(out, "no segments")?;
        }
        Ok(())
    }
}

fn show(line: DumpLine<'_>, shown: &Shown, out: &mut Output) -> io::Result<()> {
    match line {
        DumpLine::Segment {
            path,
            segment,
            len,
            header,
        } => {
            let state = match header {
                None => "prepared, not used yet",
                Some(header) if header.recycled => "recycled",
                Some(_) => "new",
            };
            let database = match header.map_or(0, |header| header.database) {
                0 => String::new(),
                known => format!(", of database {known:016x}"),
            };
            writeln!(
                out,
                "segment {segment}: {}, {len} bytes, {state}{database}",
                path.display()
            )
        }
        DumpLine::Record {
            offset,
            timestamp_micros,
            first_seq,
            count,
            bytes,
        } => {
            let (time, last) = (
                iso_8601(timestamp_micros),
                first_seq + u64::from(count).saturating_sub(1),
            );
            writeln!(
                out,
                "{time} batch at {offset}: sequence {first_seq} to {last}, {bytes} bytes"
            )
        }
        DumpLine::Op { seq, op } => writeln!(out, "  {seq} table {} {}", op.table, shown.text(&op)),
        DumpLine::Damage { offset, what } => writeln!(out, "DAMAGE at {offset}: {what}"),
        DumpLine::End {
            offset,
            closed,
            torn,
            stats,
        } => {
            let close = if closed { "closed" } else { "open" };
            let torn = if torn > 0 {
                format!(", then {torn} bytes of something incomplete")
            } else {
                String::new()
            };
            writeln!(
                out,
                "end at {offset} ({close}{torn}): {} batches, {} bytes",
                stats.records, stats.bytes
            )
        }
        // A newer log may tell more.
        other => writeln!(out, "{other:?}"),
    }
}

/// A time in microseconds since 1970, in UTC, as `2013-01-31T05:17:00.000000Z`.
pub fn iso_8601(micros: u64) -> String {
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (mut year, mut left) = (1970, days);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    // Four hundred years have always the same number of days; then year by year.
    year += left / 146_097 * 400;
    left %= 146_097;
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!(
        "{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z",
        month + 1,
        left + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(iso_8601(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(iso_8601(951_782_400_000_000), "2000-02-29T00:00:00.000000Z");
        assert_eq!(iso_8601(1_356_998_399_999_999), "2012-12-31T23:59:59.999999Z");
        assert_eq!(iso_8601(4_107_542_400_000_001), "2100-03-01T00:00:00.000001Z");
        assert!(iso_8601(u64::MAX).ends_with('Z'));
    }
}
