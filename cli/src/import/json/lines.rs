//! The lines of a file, and the members of their objects.

use std::borrow::Cow;
use std::fmt;
use std::io::{BufRead, Read};

use kodiak::{Error, ErrorKind, Result};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A longer line is taken for a file that is not made of lines.
const MAX_LINE: u64 = 64 << 20;

/// Reads lines that are not empty.
pub struct Lines<R> {
    source: R,
    /// The line at hand.
    pub line: Vec<u8>,
    /// Behind it.
    pub offset: u64,
    /// Of the line at hand.
    pub number: u64,
    /// Of the line behind it.
    pub next: u64,
}

impl<R: BufRead> Lines<R> {
    /// Lines of a file from an offset on, where a line of this number begins.
    pub fn new(source: R, offset: u64, line: u64) -> Self {
        Self {
            source,
            line: Vec::new(),
            offset,
            number: line,
            next: line,
        }
    }

    /// Reads the next line; false at the end.
    ///
    /// # Errors
    /// `Io`; `InvalidInput` for a line that is too long.
    pub fn next(&mut self) -> Result<bool> {
        loop {
            self.line.clear();
            let read = (&mut self.source)
                .take(MAX_LINE)
                .read_until(b'\n', &mut self.line)
                .map_err(|error| Error::new(ErrorKind::Io, "cannot read the rows").with_source(error))?;
            if read == 0 {
                return Ok(false);
            }
            if read as u64 == MAX_LINE {
                let message = format!("line {} has more than {} MiB", self.next, MAX_LINE >> 20);
                return Err(Error::invalid_input(message));
            }
            self.offset += read as u64;
            self.number = self.next;
            self.next += 1;
            if !self.line.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    /// The line at hand, for those who want to know what was wrong.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.line.trim_ascii()).into_owned()
    }
}

/// The members of an object in their order, their values as they are written.
#[derive(Default)]
pub struct Members<'a>(pub Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Members<'a> {
    /// Those of the object that a text holds.
    ///
    /// # Errors
    /// What is wrong with the text, and where.
    pub fn of(text: &'a [u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|error| {
            let message = error.to_string();
            // It is not the first line of the file.
            match message.rsplit_once(" at line ") {
                Some((what, _)) => format!("{what} at byte {}", error.column()),
                None => message,
            }
        })
    }

    /// The value of the last member of a name, as JSON has it.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().rev().find(|(own, _)| own == name);
        found.map(|(_, value)| *value)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members<'de>, A::Error> {
                let mut found = Vec::new();
                while let Some((Name(name), value)) = members.next_entry::<Name<'de>, &'de RawValue>()? {
                    found.push((name, value.get()));
                }
                Ok(Members(found))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A name that is copied only if it has escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
