//! One error type with few kinds, each telling the caller what to do.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

/// What the library returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync>;

/// What the caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The call's arguments are wrong (a key too long, a column missing): change the call.
    InvalidInput,
    /// The settings are unknown, contradictory or changed in a way that is not allowed: change the settings.
    InvalidSettings,
    /// The named table, file or version does not exist: create it, or mend the name.
    NotFound,
    /// A table or database of this name exists already: pick another name, or open it.
    AlreadyExists,
    /// Bytes on disk are not what was written: restore a backup, or run `kodiak repair`.
    Corruption,
    /// The operating system refused: look at the source, mend the cause (space, permissions), try again.
    Io,
    /// Another process, or another handle in this one, has the database open: close that one.
    Locked,
    /// The database no longer accepts this work (read-only, closed, or a failed sync poisoned its log): reopen it.
    Unavailable,
    /// A newer version of Kodiak wrote this, or a component cannot do it: use a version or a component that can.
    Unsupported,
    /// Another writer changed the same keys first: retry the transaction.
    Conflict,
}

impl ErrorKind {
    /// A short, stable name, as shown in messages and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid input",
            Self::InvalidSettings => "invalid settings",
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::Corruption => "corruption",
            Self::Io => "input/output",
            Self::Locked => "locked",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
            Self::Conflict => "conflict",
        }
    }
}

/// An error: its kind, what happened, and where (file, offset, setting), with the cause as [`source`](StdError::source).
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    file: Option<PathBuf>,
    offset: Option<u64>,
    setting: Option<String>,
    source: Option<Source>,
}

/// Bytes of a key that messages show.
const SHOWN_KEY: usize = 64;

/// A key as messages show it: in quotes, what is not ASCII escaped, and of a long one the beginning and the length.
pub fn shown_key(key: &[u8]) -> String {
    match key.get(..SHOWN_KEY) {
        Some(start) if key.len() > SHOWN_KEY => format!("\"{}...\" ({} bytes)", start.escape_ascii(), key.len()),
        _ => format!("\"{}\"", key.escape_ascii()),
    }
}

impl Error {
    /// An error of `kind`; the message says what happened and, where it is not obvious, what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            file: None,
            offset: None,
            setting: None,
            source: None,
        }))
    }

    /// Shorthand for [`ErrorKind::Corruption`].
    pub fn corruption(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corruption, message)
    }

    /// Shorthand for [`ErrorKind::InvalidInput`].
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// Shorthand for [`ErrorKind::InvalidSettings`] about one setting, such as `memtable.kind`.
    pub fn settings(setting: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidSettings, message).with_setting(setting)
    }

    /// An error of the operating system while doing `what` (such as "read 4096 bytes") on `file`.
    pub fn io(what: impl Into<String>, file: &Path, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            _ => ErrorKind::Io,
        };
        Self::new(kind, format!("cannot {}", what.into()))
            .with_file(file)
            .with_source(source)
    }

    /// Adds to the message what the caller can do besides, or what was done before.
    pub fn with_advice(mut self, advice: &str) -> Self {
        self.0.message.extend(["; ", advice]);
        self
    }

    /// Names the file concerned, unless one is named already.
    pub fn with_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.0.file.get_or_insert_with(|| file.into());
        self
    }

    /// Names the byte offset in the file, unless one is named already.
    pub fn with_offset(mut self, offset: u64) -> Self {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// Names the setting concerned, unless one is named already.
    pub fn with_setting(mut self, setting: impl Into<String>) -> Self {
        self.0.setting.get_or_insert_with(|| setting.into());
        self
    }

    /// Attaches the cause.
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What happened, without place and cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The file concerned.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// The byte offset in [`file`](Self::file).
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// The setting concerned, as a dotted path.
    pub fn setting(&self) -> Option<&str> {
        self.0.setting.as_deref()
    }

    /// The same error again, for a caller that must hand one failure to several waiters; the source is kept as text.
    pub fn replicate(&self) -> Self {
        let inner = &self.0;
        Self(Box::new(Inner {
            kind: inner.kind,
            message: inner.message.clone(),
            file: inner.file.clone(),
            offset: inner.offset,
            setting: inner.setting.clone(),
            source: inner.source.as_ref().map(|source| source.to_string().into()),
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        write!(f, "{}: {}", inner.kind.name(), inner.message)?;
        if let Some(setting) = &inner.setting {
            write!(f, " [setting {setting}]")?;
        }
        if let Some(file) = &inner.file {
            write!(f, " [file {}", file.display())?;
            if let Some(offset) = inner.offset {
                write!(f, ", offset {offset}")?;
            }
            write!(f, "]")?;
        } else if let Some(offset) = inner.offset {
            write!(f, " [offset {offset}]")?;
        }
        let Some(source) = &inner.source else { return Ok(()) };
        // Some sources have many lines; reports and logs have one for each error.
        let text = source.to_string();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut before = ": ";
        for line in lines {
            write!(f, "{before}{line}")?;
            before = " ";
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_keys_the_beginning_is_shown() {
        assert_eq!(shown_key(b"a\x00\"b"), r#""a\x00\"b""#);
        assert_eq!(shown_key(&[b'k'; 64]), format!("\"{}\"", "k".repeat(64)));
        assert_eq!(
            shown_key(&[b'k'; 1000]),
            format!("\"{}...\" (1000 bytes)", "k".repeat(64))
        );
    }

    #[test]
    fn the_message_names_file_offset_and_cause() {
        let error = Error::corruption("block checksum differs")
            .with_file("000012.feather")
            .with_offset(4096)
            .with_source(std::io::Error::other("cause"));
        assert_eq!(
            error.to_string(),
            "corruption: block checksum differs [file 000012.feather, offset 4096]: cause"
        );
        assert_eq!(error.replicate().to_string(), error.to_string());
    }

    #[test]
    fn a_cause_of_several_lines_is_told_in_one() {
        let error = Error::corruption("no footer").with_source("out of bounds\n\twhile reading\n\na field\n");
        assert_eq!(
            error.to_string(),
            "corruption: no footer: out of bounds while reading a field"
        );
    }

    #[test]
    fn the_innermost_place_wins() {
        let error = Error::corruption("x").with_file("inner").with_file("outer");
        assert_eq!(error.file(), Some(Path::new("inner")));
    }
}
