//! CSV, split into records and fields.
//!
//! A record's line, its bytes as they are and whether a field was quoted are all needed here, to tell which rows are rejected,
//! where to go on later, and an empty text from a missing one: a quoted field is never missing.

use std::io::Read;

use kodiak::{Error, Result};

/// A record longer than this is taken for a quote that is never closed.
const MAX_RECORD: usize = 64 << 20;
const STEP: usize = 256 << 10;

/// Splits a file; [`next`](Self::next) goes from record to record.
pub struct Records<R> {
    source: R,
    delimiter: u8,
    /// What was read and is not passed yet; the record at hand begins at `start`, and the next byte is at `at`.
    bytes: Vec<u8>,
    start: usize,
    at: usize,
    ended: bool,
    /// Where `start` is in the file, and on which line, from 1.
    offset: u64,
    line: u64,
    /// The line after the record at hand.
    next_line: u64,
    fields: Vec<u8>,
    ends: Vec<(usize, bool)>,
    problem: Option<&'static str>,
}

impl<R: Read> Records<R> {
    /// Records of `source`, which is at `offset` of its file, on line `line`.
    pub fn new(source: R, delimiter: u8, offset: u64, line: u64) -> Self {
        Self {
            source,
            delimiter,
            bytes: Vec::new(),
            start: 0,
            at: 0,
            ended: false,
            offset,
            line,
            next_line: line,
            fields: Vec::new(),
            ends: Vec::new(),
            problem: None,
        }
    }

    /// Goes to the next record that is no empty line; false at the end.
    ///
    /// # Errors
    /// Those of reading; `InvalidInput` for a record that does not end.
    pub fn next(&mut self) -> Result<bool> {
        loop {
            self.offset += (self.at - self.start) as u64;
            self.start = self.at;
            self.line = self.next_line;
            if !self.parse()? {
                return Ok(false);
            }
            let empty = self.ends.len() == 1 && self.ends[0] == (0, false);
            if !empty {
                return Ok(true);
            }
        }
    }

    /// How many fields the record has.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// A field, and whether it was quoted.
    pub fn field(&self, index: usize) -> (&[u8], bool) {
        let start = match index {
            0 => 0,
            _ => self.ends[index - 1].0,
        };
        let (end, quoted) = self.ends[index];
        (&self.fields[start..end], quoted)
    }

    /// The record's bytes, without the line break.
    pub fn raw(&self) -> &[u8] {
        let raw = &self.bytes[self.start..self.at];
        let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
        raw.strip_suffix(b"\r").unwrap_or(raw)
    }

    /// The line on which the record begins, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Where the next record begins: in bytes, and its line.
    pub fn end(&self) -> (u64, u64) {
        (self.offset + (self.at - self.start) as u64, self.next_line)
    }

    /// What is wrong with the record's quotes.
    pub fn problem(&self) -> Option<&'static str> {
        self.problem
    }

    /// Makes the next byte available; false at the end.
    fn fill(&mut self) -> Result<bool> {
        if self.at < self.bytes.len() {
            return Ok(true);
        }
        if self.ended {
            return Ok(false);
        }
        if self.at - self.start > MAX_RECORD {
            return Err(Error::invalid_input(format!(
                "line {}: a record has more than {} MiB: is a closing quote missing?",
                self.line,
                MAX_RECORD >> 20
            )));
        }
        self.bytes.drain(..self.start);
        self.at -= self.start;
        self.start = 0;
        let len = self.bytes.len();
        let read = (&mut self.source)
            .take(STEP as u64)
            .read_to_end(&mut self.bytes)
            .map_err(|error| Error::new(kodiak::ErrorKind::Io, "cannot read the rows").with_source(error))?;
        self.ended = read == 0;
        // Some writers begin a file with this mark.
        if self.offset == 0 && len == 0 && self.bytes.starts_with(b"\xEF\xBB\xBF") {
            self.at = 3;
            return self.fill();
        }
        Ok(read > 0)
    }

    /// Splits the record at hand; false if there is none.
    fn parse(&mut self) -> Result<bool> {
        self.fields.clear();
        self.ends.clear();
        self.problem = None;
        if !self.fill()? {
            return Ok(false);
        }
        loop {
            let quoted = self.fill()? && self.bytes[self.at] == b'"';
            let ended = match quoted {
                true => self.quoted()?,
                false => self.plain()?,
            };
            self.ends.push((self.fields.len(), quoted));
            if ended {
                return Ok(true);
            }
        }
    }

    /// A field without quotes around it; true if it is the last one.
    fn plain(&mut self) -> Result<bool> {
        while self.fill()? {
            let rest = &self.bytes[self.at..];
            let delimiter = self.delimiter;
            let len = rest.iter().position(|&byte| byte == delimiter || byte == b'\n');
            let Some(len) = len else {
                self.fields.extend_from_slice(rest);
                self.at = self.bytes.len();
                continue;
            };
            self.fields.extend_from_slice(&rest[..len]);
            let ended = rest[len] == b'\n';
            self.at += len + 1;
            if ended {
                self.end_line();
            }
            return Ok(ended);
        }
        self.end_line();
        Ok(true)
    }

    fn end_line(&mut self) {
        self.next_line += 1;
        let start = self.ends.last().map_or(0, |(end, _)| *end);
        if self.fields.len() > start && self.fields.ends_with(b"\r") {
            self.fields.pop();
        }
    }

    /// A field in quotes; true if it is the last one.
    fn quoted(&mut self) -> Result<bool> {
        self.at += 1;
        loop {
            if !self.fill()? {
                self.problem = Some("a quote is not closed");
                self.next_line += 1;
                return Ok(true);
            }
            let rest = &self.bytes[self.at..];
            let len = rest.iter().position(|&byte| byte == b'"').unwrap_or(rest.len());
            self.next_line += rest[..len].iter().filter(|&&byte| byte == b'\n').count() as u64;
            self.fields.extend_from_slice(&rest[..len]);
            self.at += len;
            if self.at == self.bytes.len() {
                continue;
            }
            self.at += 1;
            if self.fill()? && self.bytes[self.at] == b'"' {
                self.fields.push(b'"');
                self.at += 1;
                continue;
            }
            return self.behind_quotes();
        }
    }

    fn behind_quotes(&mut self) -> Result<bool> {
        while self.fill()? {
            let byte = self.bytes[self.at];
            self.at += 1;
            match byte {
                b'\n' => {
                    self.next_line += 1;
                    return Ok(true);
                }
                byte if byte == self.delimiter => return Ok(false),
                b'\r' => {}
                _ => self.problem = Some("there is text behind a closing quote"),
            }
        }
        self.next_line += 1;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out a byte at a time.
    struct Slowly<'a>(&'a [u8]);

    impl Read for Slowly<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let len = self.0.len().min(out.len()).min(1);
            out[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }

    type Row = (u64, Vec<String>, Option<&'static str>);

    fn rows(text: &str) -> Vec<Row> {
        let mut records = Records::new(Slowly(text.as_bytes()), b',', 0, 1);
        let mut rows = Vec::new();
        let mut offset = 0;
        while records.next().expect("memory") {
            let fields = (0..records.len()).map(|index| {
                let (field, quoted) = records.field(index);
                let field = String::from_utf8_lossy(field);
                if quoted {
                    format!("<{field}>")
                } else {
                    field.into_owned()
                }
            });
            rows.push((records.line(), fields.collect(), records.problem()));
            let whole = &text[offset..records.end().0 as usize];
            assert_eq!(
                whole.trim_matches(['\n', '\r', '\u{feff}']).as_bytes(),
                records.raw().strip_prefix(b"\xEF\xBB\xBF").unwrap_or(records.raw())
            );
            offset = records.end().0 as usize;
        }
        rows
    }

    fn row(line: u64, fields: &[&str]) -> Row {
        (line, fields.iter().map(|field| (*field).to_owned()).collect(), None)
    }

    #[test]
    fn fields_lines_and_quotes_are_told_apart() {
        assert_eq!(
            rows("\u{feff}a,b\r\n1,\"x, \"\"y\"\"\"\n\n\"two\nlines\",\n,\"\"\n7,8"),
            [
                row(1, &["a", "b"]),
                row(2, &["1", "<x, \"y\">"]),
                row(4, &["<two\nlines>", ""]),
                row(6, &["", "<>"]),
                row(7, &["7", "8"]),
            ]
        );
        assert_eq!(rows("a\"b,c\n"), [row(1, &["a\"b", "c"])]);
        assert_eq!(rows(""), []);
        assert_eq!(rows("\"\"\n"), [row(1, &["<>"])], "an empty text is no empty line");
    }

    #[test]
    fn broken_quotes_are_a_problem_of_their_record() {
        let broken = rows("\"a\"b,c\nd,\"e");
        assert_eq!(broken[0].2, Some("there is text behind a closing quote"));
        assert_eq!(broken[1].2, Some("a quote is not closed"));
    }
}
