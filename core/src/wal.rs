//! Write-ahead logs: what makes a write survive before it is in a run.
//!
//! A database has one log for all its tables: a directory of numbered *segments*. A batch is one record; all of it is
//! replayed or none of it.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::batch::{Batch, BatchOps};
use crate::entry::SeqNo;
use crate::options::Options;
use crate::registry::{Component, impl_factory};
use crate::storage::Storage;
use crate::{Error, ErrorKind, Result};

/// The number of a log segment. It grows by one with each and is never reused.
pub type SegmentId = u64;

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum SyncMode {
    /// Once it is in the log's buffer in this process: lost if the process dies.
    None,
    /// Once the operating system has it: survives a killed process, not a power loss.
    #[default]
    Normal,
    /// Once the disk has it: survives a power loss.
    Full,
}

impl SyncMode {
    /// The names used in settings, in order.
    pub const NAMES: [&'static str; 3] = ["none", "normal", "full"];

    /// The mode of a name.
    ///
    /// # Errors
    /// `InvalidSettings` that lists the names.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "none" => Ok(Self::None),
            "normal" => Ok(Self::Normal),
            "full" => Ok(Self::Full),
            _ => Err(Error::new(
                ErrorKind::InvalidSettings,
                format!("unknown sync mode \"{name}\"; known are: {}", Self::NAMES.join(", ")),
            )),
        }
    }

    /// The name used in settings.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// What replay does about damage, as in RocksDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecoveryMode {
    /// Any damage or incomplete record, even at the very end, is an error.
    Absolute,
    /// A torn tail ends the log there; damage below a synced position is an error. What comes back is the state at one
    /// point in time.
    #[default]
    PointInTime,
    /// As `PointInTime`, but only an incomplete record at the end of the *last* segment is accepted; any other damage is an
    /// error.
    TolerateTail,
    /// Damaged records are skipped, and counted; whatever can be read comes back. For rescue only.
    SkipCorrupt,
}

impl RecoveryMode {
    /// The names used in settings, in the order of the variants.
    pub const NAMES: [&'static str; 4] = ["absolute", "point-in-time", "tolerate-tail", "skip-corrupt"];

    /// The mode of a name.
    ///
    /// # Errors
    /// `InvalidSettings` that lists the names.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "absolute" => Ok(Self::Absolute),
            "point-in-time" => Ok(Self::PointInTime),
            "tolerate-tail" => Ok(Self::TolerateTail),
            "skip-corrupt" => Ok(Self::SkipCorrupt),
            _ => Err(Error::new(
                ErrorKind::InvalidSettings,
                format!(
                    "unknown recovery mode \"{name}\"; known are: {}",
                    Self::NAMES.join(", ")
                ),
            )),
        }
    }
}

/// What errors about a damaged log advise.
pub const RESCUE: &str = "restore a backup, or take what can be read: with `kodiak repair`, or for one opening with the setting \
                          wal.recovery = \"skip-corrupt\" (--set wal.recovery=skip-corrupt)";

/// Where an open log works and within which limits.
#[derive(Debug, Clone)]
pub struct WalContext {
    /// The files.
    pub storage: Arc<dyn Storage>,
    /// The random number of the database whose log it is, which segments keep: those of another one are not replayed. 0: none.
    pub database: u64,
    /// The log's own directory; created with its parents if missing.
    pub dir: PathBuf,
    /// Bytes at which a segment is full and the next one is begun. A record larger than that gets room of its own.
    pub segment_bytes: u64,
    /// Largest record that will be appended, in bytes of payload; replay refuses larger ones before it allocates.
    pub max_record_bytes: u64,
    /// Payloads of at least this many bytes are compressed with LZ4, if that makes them smaller; `None`: never.
    pub compress_above: Option<usize>,
    /// Commits in mode `full` may go past the system's cache
    /// ([`LogFile::write_durably`](crate::storage::LogFile::write_durably)).
    pub direct_io: bool,
    /// While a commit in mode `full` waits for the disk its processor is kept awake, where the storage can
    /// ([`Storage::keep_awake`]).
    pub keep_awake: bool,
    /// False: no counters, no histograms, at no cost.
    pub metrics: bool,
}

/// What [`Wal::append`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The sequence number of the batch's first operation; the others follow it.
    pub first_seq: SeqNo,
    /// The segment that holds the record.
    pub segment: SegmentId,
}

/// A snapshot of a log's own counters since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct WalStats {
    /// Records appended.
    pub records: u64,
    /// Bytes of records, headers included, after compression.
    pub bytes: u64,
    /// Successful syncs to disk.
    pub syncs: u64,
    /// Appends and syncs that failed.
    pub failures: u64,
    /// Segments on disk, the active one included.
    pub segments: u64,
    /// Bytes of records in the active segment.
    pub active_bytes: u64,
    /// The sequence number after those of the last record appended; 0 before the first.
    pub next_seq: SeqNo,
}

/// A log open for appending.
///
/// **Order.** The log gives out sequence numbers, from 1 on unless [`skip_to`](Self::skip_to) says otherwise, in the order of its
/// records: if it ends after any record, what came back is a prefix of the history. (A counter elsewhere would be one more cache
/// line that processors hand each other with every append, beside that which gives records their places.)
///
/// **Threads.** Every method may be called from any thread. Appends may run side by side; group commit lives here.
///
/// **Failure.** After a failed write or sync the log is *poisoned*: the batch in flight is not acknowledged, and every
/// later append and sync fails with `Unavailable` until the database is reopened. Nothing is retried on the same file.
pub trait Wal: Send + Sync + Debug {
    /// Appends one batch with the time `now_micros`, gives it the next sequence numbers, and returns once it is as durable as
    /// `mode` asks *and every record before it in the log is complete*.
    ///
    /// # Errors
    /// `InvalidInput` for a batch above `max_record_bytes` (the log stays usable); `Io` (poisons, unless only the next segment
    /// could not be created: then nothing was written, and a later append may succeed); `Unavailable`.
    fn append(&self, batch: &Batch, now_micros: u64, mode: SyncMode) -> Result<Appended>;

    /// The sequence number that the next batch will get.
    fn next_seq(&self) -> SeqNo;

    /// The next batch will get `next_seq`, which is not smaller than what it would have got: the numbers before have been
    /// given out elsewhere, or by an earlier opening. The caller keeps appends out.
    fn skip_to(&self, next_seq: SeqNo);

    /// Makes every record appended so far survive a power loss.
    fn sync(&self) -> Result<()>;

    /// Finishes the active segment and begins the next one, whose number it returns. Records appended from now on are in
    /// that segment or later ones.
    fn rotate(&self) -> Result<SegmentId>;

    /// The segment that the next record goes to.
    fn active_segment(&self) -> SegmentId;

    /// The segments below `before` are no longer needed: removes or recycles them.
    fn release(&self, before: SegmentId) -> Result<()>;

    /// Whether the log takes work; asks nothing of the disk.
    ///
    /// # Errors
    /// `Unavailable` if it is poisoned or closed.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Marks the end of the log and leaves its files alone from now on: another log may be opened in the same directory while
    /// this object is still alive. Every later call fails with `Unavailable`. A poisoned log just stops.
    ///
    /// # Errors
    /// `Io` if the end could not be marked, which costs nothing but the mark.
    fn close(&self) -> Result<()> {
        Ok(())
    }

    /// Counters.
    fn stats(&self) -> WalStats;
}

/// One replayed record.
#[derive(Debug, Clone, Copy)]
pub struct WalRecord<'a> {
    /// The segment it was read from.
    pub segment: SegmentId,
    /// The offset of its header in the segment.
    pub offset: u64,
    /// The sequence number of its first operation.
    pub first_seq: SeqNo,
    /// When it was written, microseconds since 1970.
    pub timestamp_micros: u64,
    /// How many operations it holds.
    pub count: u32,
    /// The operations, as [`Batch::payload`] lays them out.
    pub payload: &'a [u8],
}

impl<'a> WalRecord<'a> {
    /// The operations.
    pub fn ops(&self) -> BatchOps<'a> {
        BatchOps::new(self.payload, self.count)
    }

    /// The sequence number of its last operation.
    pub fn last_seq(&self) -> SeqNo {
        self.first_seq + u64::from(self.count).saturating_sub(1)
    }
}

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplayReport {
    /// Segments read.
    pub segments: u64,
    /// Records handed over.
    pub records: u64,
    /// Bytes of those records.
    pub bytes: u64,
    /// Largest sequence number handed over; 0 if none.
    pub last_seq: SeqNo,
    /// Bytes of an incomplete record cut off at the end.
    pub torn_bytes: u64,
    /// Damaged records passed over (only with [`RecoveryMode::SkipCorrupt`]).
    pub skipped: u64,
    /// The segment that was asked for, a later one or the end of one was not there, but segments behind it perhaps were. After a
    /// crash that is what was never synced; beside a process that writes, it may have released them since the manifest was read.
    pub incomplete: bool,
    /// The number for the next segment: above every one seen.
    pub next_segment: SegmentId,
    /// The last segment ends with the mark of a log that was closed in good order, so that its syncs had not failed. If it was
    /// not, records may have been read that no sync will save any more.
    pub closed: bool,
    /// The database that the last segment which tells is of; 0 if none does.
    pub database: u64,
}

/// What a log can do.
#[derive(Debug, Clone, Copy)]
pub struct WalCapabilities {
    /// Records come back after the process or the machine dies. False: the settings must not ask for `full`.
    pub durable: bool,
    /// It needs [`LogFile::map`](crate::storage::LogFile::map).
    pub needs_mapping: bool,
    /// In `normal` mode an append makes no system call.
    pub append_without_system_call: bool,
}

impl WalCapabilities {
    /// The capabilities as `(name, value)`.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        vec![
            ("durable", self.durable.to_string()),
            ("needs_mapping", self.needs_mapping.to_string()),
            (
                "append_without_system_call",
                self.append_without_system_call.to_string(),
            ),
        ]
    }
}

/// Hands over one record during replay; an error ends the replay with that error.
pub type ReplaySink<'s> = dyn FnMut(WalRecord<'_>) -> Result<()> + 's;

/// Replays and opens logs of one kind. Every kind writes segments that every other kind can replay, so that the kind may be
/// changed between two openings.
#[derive(Debug)]
pub struct WalFactory {
    /// Name, summary and options.
    pub component: Component,
    /// What its logs can do.
    pub capabilities: WalCapabilities,
    /// Reads all records of the segments from number `from` on, in order. A directory that does not exist holds none. With
    /// `from` 0 the log may begin anywhere; otherwise a missing segment from that number on is noticed.
    ///
    /// # Errors
    /// `Corruption` with file and offset, as the mode says; `Unsupported` for a newer version; whatever the sink returns.
    pub replay: fn(
        context: &WalContext,
        options: &Options,
        from: SegmentId,
        mode: RecoveryMode,
        sink: &mut ReplaySink<'_>,
    ) -> Result<ReplayReport>,
    /// Opens for appending, beginning with a fresh segment numbered `first`. Older segments stay until released.
    pub open: fn(context: WalContext, options: &Options, first: SegmentId) -> Result<Box<dyn Wal>>,
}

impl_factory!(WalFactory, "write-ahead log");
