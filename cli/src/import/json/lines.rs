//! The lines of a file, and the members of their objects.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::io::{BufRead, Read};

use kodiak::{Error, ErrorKind, Result};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A longer line is taken for a file that is not made of lines.
const MAX_LINE: u64 = 64 << 20;

/// Some writers begin a file with this mark, of the order of bytes.
const MARK: &[u8] = "\u{feff}".as_bytes();

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
            let begins = self.offset == 0;
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
            if begins && self.line.starts_with(MARK) {
                self.line.drain(..MARK.len());
            }
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

/// So many names are compared with each other in less time than it takes to hash them.
const FEW: usize = 16;

/// The members of an object in their order, their values as they are written.
#[derive(Default)]
pub struct Members<'a>(pub Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Members<'a> {
    /// Those of the object that a text holds.
    ///
    /// # Errors
    /// What is wrong with the text, and where; or which member it has twice, of which nobody could say what counts.
    pub fn of(text: &'a [u8]) -> Result<Self, String> {
        let members = Self::entries(text)?;
        match members.repeated() {
            Some(name) => Err(format!("it has the member \"{name}\" twice")),
            None => Ok(members),
        }
    }

    /// Those of an object that may have the same one more than once, as maps do.
    ///
    /// # Errors
    /// What is wrong with the text, and where.
    pub fn entries(text: &'a [u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|error| {
            let message = error.to_string();
            // It is not the first line of the file.
            match message.rsplit_once(" at line ") {
                Some((what, _)) => format!("{what} at byte {}", error.column()),
                None => message,
            }
        })
    }

    /// The name of a member that is there more than once.
    fn repeated(&self) -> Option<&str> {
        let names = self.0.iter().map(|(name, _)| name.as_ref());
        if self.0.len() <= FEW {
            let mut places = names.clone().enumerate();
            let twice = places.find(|(place, name)| names.clone().take(*place).any(|other| other == *name));
            return twice.map(|(_, name)| name);
        }
        let mut known = HashSet::with_capacity(self.0.len());
        let mut names = names;
        names.find(|name| !known.insert(*name))
    }

    /// The value of the member of a name.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(own, _)| own == name);
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
