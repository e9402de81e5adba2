//! Which operations fail, and what is told about each.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// A kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum OpKind {
    /// Creating a file to be written once.
    Create,
    /// Opening a file or a log.
    Open,
    /// Reading from a file or a log.
    Read,
    /// Writing to a file (when its buffer is handed to the system) or a log.
    Write,
    /// A write through a mapping. It cannot fail.
    MapWrite,
    /// Syncing a file or a log.
    Sync,
    /// Syncing a directory.
    SyncDir,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Linking a file.
    Link,
    /// Listing a directory.
    List,
    /// Looking at the length of a file.
    Len,
    /// Taking a lock.
    Lock,
    /// Creating a log and allocating its space.
    CreateLog,
    /// Creating directories.
    MkDir,
    /// Removing a directory and its contents.
    RemoveDir,
    /// Mapping a file or a log.
    Map,
    /// Making a log longer.
    Grow,
    /// Making a log shorter.
    Trim,
}

impl OpKind {
    /// All kinds.
    pub const ALL: [Self; 19] = [
        Self::Create,
        Self::Open,
        Self::Read,
        Self::Write,
        Self::MapWrite,
        Self::Sync,
        Self::SyncDir,
        Self::Rename,
        Self::Remove,
        Self::Link,
        Self::List,
        Self::Len,
        Self::Lock,
        Self::CreateLog,
        Self::MkDir,
        Self::RemoveDir,
        Self::Map,
        Self::Grow,
        Self::Trim,
    ];

    /// True if the operation changes what a crash may leave: the points at which a crash is worth trying.
    pub fn mutates(self) -> bool {
        !matches!(
            self,
            Self::Open | Self::Read | Self::List | Self::Len | Self::Lock | Self::Map
        )
    }
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The device failed (`EIO`). A sync also drops what it was to save.
    Eio,
    /// No space is left (`ENOSPC`). A sync also drops what it was to save.
    Enospc,
    /// Interrupted (`EINTR`); repeating the call helps, as the storage itself does a thousand times.
    Interrupted,
    /// A read or write ends after one byte; others are not touched.
    ShortOne,
    /// A read or write ends half way; others are not touched.
    ShortHalf,
}

impl Fault {
    fn applies_to(self, kind: OpKind) -> bool {
        match self {
            Self::ShortOne | Self::ShortHalf => matches!(kind, OpKind::Read | OpKind::Write),
            _ => kind != OpKind::MapWrite,
        }
    }

    /// The error, if it is one, and not just a short transfer.
    pub(super) fn error(self) -> Option<io::Error> {
        match self {
            Self::Eio => Some(Errno::IO.into()),
            Self::Enospc => Some(Errno::NOSPC.into()),
            Self::Interrupted => Some(Errno::INTR.into()),
            Self::ShortOne | Self::ShortHalf => None,
        }
    }

    /// How many of `len` bytes are transferred.
    pub(super) fn shorten(fault: Option<Self>, len: usize) -> usize {
        match fault {
            Some(Self::ShortOne) => len.min(1),
            Some(Self::ShortHalf) => len.div_ceil(2),
            _ => len,
        }
    }
}

/// One planned failure.
#[derive(Debug, Clone)]
pub struct FaultRule {
    kind: Option<OpKind>,
    path: Option<String>,
    nth: u64,
    fault: Fault,
    sticky: bool,
    seen: u64,
}

impl FaultRule {
    /// The `nth` operation (from 1) of this kind fails, once.
    pub fn nth(kind: OpKind, nth: u64, fault: Fault) -> Self {
        Self {
            kind: Some(kind),
            path: None,
            nth,
            fault,
            sticky: false,
            seen: 0,
        }
    }

    /// The `nth` operation (from 1) of any kind fails, once.
    pub fn nth_of_any(nth: u64, fault: Fault) -> Self {
        Self {
            kind: None,
            path: None,
            nth,
            fault,
            sticky: false,
            seen: 0,
        }
    }

    /// All later ones fail as well.
    pub fn sticky(mut self) -> Self {
        self.sticky = true;
        self
    }

    /// Only operations on paths that contain `text` are counted and fail.
    pub fn on_path(mut self, text: impl Into<String>) -> Self {
        self.path = Some(text.into());
        self
    }

    fn matches(&self, kind: OpKind, path: &Path) -> bool {
        self.kind.is_none_or(|wanted| wanted == kind)
            && self.fault.applies_to(kind)
            && self
                .path
                .as_ref()
                .is_none_or(|text| path.to_string_lossy().contains(text.as_str()))
    }
}

/// Which operations fail. Counting starts when the plan is set.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    rules: Vec<FaultRule>,
    pub(super) fired: u64,
}

impl FaultPlan {
    /// Nothing fails.
    pub fn none() -> Self {
        Self::default()
    }

    /// This fails, besides what is planned already; of several rules the first that fires counts.
    pub fn with(mut self, rule: FaultRule) -> Self {
        self.rules.push(rule);
        self
    }

    /// What happens to the next operation.
    pub(super) fn decide(&mut self, kind: OpKind, path: &Path) -> Option<Fault> {
        let mut decision = None;
        for rule in self.rules.iter_mut().filter(|rule| rule.matches(kind, path)) {
            rule.seen += 1;
            if rule.seen == rule.nth || (rule.sticky && rule.seen > rule.nth) {
                decision = decision.or(Some(rule.fault));
            }
        }
        self.fired += u64::from(decision.is_some());
        decision
    }
}

impl From<FaultRule> for FaultPlan {
    fn from(rule: FaultRule) -> Self {
        Self::none().with(rule)
    }
}

/// Whether an operation is about to happen or has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It is about to happen.
    Before,
    /// It has happened, or failed.
    After,
}

/// An operation, as told to a callback and kept in the trace.
#[derive(Debug, Clone)]
pub struct OpEvent {
    /// Its number among all operations, from 1.
    pub number: u64,
    /// Its number among the mutating ones, from 1, if it is one.
    pub mutation: Option<u64>,
    /// What it does.
    pub kind: OpKind,
    /// To which file or directory, as named when it was opened.
    pub path: PathBuf,
    /// The new name, of a rename or link.
    pub to: Option<PathBuf>,
    /// Where in the file, for reads and writes.
    pub offset: u64,
    /// How many bytes were asked for.
    pub len: u64,
    /// Before or after.
    pub moment: Moment,
    /// After it: why it failed.
    pub error: Option<io::ErrorKind>,
    /// After it: how many bytes of the file a power loss could take.
    pub unsynced_bytes: u64,
}
