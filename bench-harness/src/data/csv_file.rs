//! The lines of a CSV file, keyed by columns or by their number.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use kodiak::{Error, ErrorKind, Result};

use super::Dataset;

/// A CSV file with a header, in memory: a value is a line of it.
#[derive(Debug)]
pub struct CsvFile {
    path: PathBuf,
    text: Vec<u8>,
    /// Where each line begins and ends in `text`.
    lines: Vec<(usize, usize)>,
    key_columns: Vec<String>,
    /// The key columns of each line, one behind the other, and where they end; empty if the key is the line's number.
    keys: Vec<u8>,
    key_ends: Vec<usize>,
}

impl CsvFile {
    /// Reads a file; `key` names the columns that make up the key.
    ///
    /// # Errors
    /// `NotFound`, `Io`; `InvalidInput` for an unknown column (listing the known ones), a line with another number of fields
    /// than the header, no lines, or two lines with the same key (naming both).
    pub fn open(path: &Path, key: &[String]) -> Result<Self> {
        let text = std::fs::read(path).map_err(|source| Error::io("read the data", path, source))?;
        Self::parse(text, key)
            .map(|file| Self {
                path: path.to_owned(),
                ..file
            })
            .map_err(|error| error.with_file(path))
    }

    fn parse(text: Vec<u8>, key: &[String]) -> Result<Self> {
        let mut reader = csv::Reader::from_reader(text.as_slice());
        let header = reader.byte_headers().map_err(malformed)?.clone();
        let columns = key
            .iter()
            .map(|name| column(&header, name))
            .collect::<Result<Vec<_>>>()?;
        let mut record = csv::ByteRecord::new();
        let (mut lines, mut keys, mut key_ends) = (Vec::new(), Vec::new(), Vec::new());
        while reader.read_byte_record(&mut record).map_err(malformed)? {
            let start = record.position().map_or(0, |position| position.byte() as usize);
            let end = reader.position().byte() as usize;
            let line = text[start..end].trim_ascii();
            let skipped = text[start..end].len() - text[start..end].trim_ascii_start().len();
            lines.push((start + skipped, start + skipped + line.len()));
            for (nth, &column) in columns.iter().enumerate() {
                if nth > 0 {
                    keys.push(b'/');
                }
                keys.extend_from_slice(&record[column]);
            }
            key_ends.push(keys.len());
        }
        if lines.is_empty() {
            return Err(Error::invalid_input("the file has no lines behind its header"));
        }
        if columns.is_empty() {
            key_ends.clear();
        }
        let file = Self {
            path: PathBuf::new(),
            text,
            lines,
            key_columns: key.to_vec(),
            keys,
            key_ends,
        };
        file.check_keys()?;
        Ok(file)
    }

    fn check_keys(&self) -> Result<()> {
        let mut seen = HashMap::with_capacity(self.key_ends.len());
        for line in 0..self.key_ends.len() {
            let key = self.key_of(line);
            if key.contains(&0) {
                return Err(Error::invalid_input(format!(
                    "the key of row {} holds a zero byte",
                    line + 1
                )));
            }
            if let Some(earlier) = seen.insert(key, line) {
                return Err(Error::invalid_input(format!(
                    "rows {} and {} have the same key \"{}\": name more key columns",
                    earlier + 1,
                    line + 1,
                    key.escape_ascii()
                )));
            }
        }
        Ok(())
    }

    fn key_of(&self, line: usize) -> &[u8] {
        let start = line.checked_sub(1).map_or(0, |before| self.key_ends[before]);
        &self.keys[start..self.key_ends[line]]
    }

    fn line(&self, index: u64) -> usize {
        (index % self.lines.len() as u64) as usize
    }
}

fn malformed(error: csv::Error) -> Error {
    Error::new(ErrorKind::InvalidInput, "the file is not a CSV file with a header").with_source(error)
}

fn column(header: &csv::ByteRecord, name: &str) -> Result<usize> {
    header
        .iter()
        .position(|column| column == name.as_bytes())
        .ok_or_else(|| {
            let known: Vec<_> = header.iter().map(|column| column.escape_ascii().to_string()).collect();
            Error::invalid_input(format!(
                "there is no column \"{name}\"; the columns are: {}",
                known.join(", ")
            ))
        })
}

impl Dataset for CsvFile {
    fn len(&self) -> u64 {
        self.lines.len() as u64
    }

    fn key(&self, index: u64, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        if self.key_ends.is_empty() {
            let _ = write!(out, "{:010}", index + 1);
            return;
        }
        out.extend_from_slice(self.key_of(self.line(index)));
        let round = index / self.len();
        if round > 0 {
            let _ = write!(out, "\0{round}");
        }
    }

    fn absent_key(&self, index: u64, out: &mut Vec<u8>) {
        self.key(index, out);
        out.extend_from_slice(b"\0absent");
    }

    fn value(&self, index: u64, version: u32, out: &mut Vec<u8>) {
        // An overwritten line becomes another line of the file.
        let (start, end) = self.lines[self.line(index + 7919 * u64::from(version))];
        out.extend_from_slice(&self.text[start..end]);
    }

    fn describe(&self) -> String {
        let key = if self.key_columns.is_empty() {
            "row number".to_owned()
        } else {
            self.key_columns.join(", ")
        };
        format!("{} lines of {}, keyed by {key}", self.len(), self.path.display())
    }
}
