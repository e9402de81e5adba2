//! Version edits: what the manifest records.

use std::sync::Arc;

use kodiak_core::SeqNo;
use kodiak_core::batch::TableId;
use kodiak_core::compaction::RunId;
use kodiak_core::format::Compression;
use kodiak_core::wal::SegmentId;

pub use crate::deletion::DeadRows;

/// The number of a sorted run within its database: runs of one level with the same number form one sorted run, and a larger
/// number is newer. It is never reused.
pub type SortedRunId = u64;

/// What the manifest keeps of a run, so that planning and searching need not open its sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunMeta {
    /// Its number.
    pub id: RunId,
    /// The block format of its data file.
    pub format: String,
    /// The compression of its blocks.
    pub compression: Compression,
    /// Length of the data file.
    pub data_bytes: u64,
    /// Length of the sidecar.
    pub sidecar_bytes: u64,
    /// [`Sidecar::crc`](crate::sidecar::Sidecar::crc): ties this very sidecar to the run.
    pub sidecar_crc: u32,
    /// Rows, point tombstones included.
    pub entries: u64,
    /// Point tombstones.
    pub tombstones: u64,
    /// Range deletes.
    pub range_deletes: u64,
    /// Blocks of the data file.
    pub blocks: u64,
    /// Smallest user key of entries and range deletes.
    pub min_key: Arc<[u8]>,
    /// Largest user key of entries; for a range delete, its end.
    pub max_key: Arc<[u8]>,
    /// Smallest sequence number.
    pub min_seq: SeqNo,
    /// Largest sequence number.
    pub max_seq: SeqNo,
    /// When the oldest entry was written, microseconds since 1970.
    pub oldest_micros: u64,
    /// When the newest entry was written, microseconds since 1970.
    pub newest_micros: u64,
}

impl RunMeta {
    /// Bytes of data file and sidecar.
    pub fn bytes(&self) -> u64 {
        self.data_bytes.saturating_add(self.sidecar_bytes)
    }
}

/// Where a run hangs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The level, from 0.
    pub level: u32,
    /// The sorted run within the level.
    pub sorted_run: SortedRunId,
}

/// The primary index of a table: its file, and the root in it that belongs to the table's runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexMeta {
    /// The number of its file, from the same sequence as those of runs.
    pub id: RunId,
    /// The kind of index.
    pub kind: String,
    /// The root.
    pub root: u64,
}

/// A secondary index of a table: its file, and the root in it that belongs to the table's runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondaryMeta {
    /// Its file.
    pub file: IndexMeta,
    /// It says of each of its entries whether newer runs have made it void, so that entries need not be looked up.
    pub exact: bool,
}

/// What has died in the runs of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// They are all that is dead; otherwise they come on top of what was.
    pub anew: bool,
    /// The rows of each run, in ascending order of their numbers.
    pub runs: Vec<(RunId, DeadRows)>,
}

/// The catalogue that a manifest names: an index that has the runs as they were when the manifest file began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueMeta {
    /// The number of its file.
    pub number: u64,
    /// The kind of index.
    pub kind: String,
    /// The root.
    pub root: u64,
}

/// One change of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The random number that tells this database from others. Set once.
    Identity(u64),
    /// Tables that are created from here on have the runs that this catalogue has of them. It comes before all of them.
    Catalogue(CatalogueMeta),
    /// A new table.
    CreateTable {
        /// Its number, at least [`State::next_table`](super::State::next_table).
        id: TableId,
        /// Its name, unlike that of every other table.
        name: String,
        /// Its schema, as `TableSchema::to_bytes` writes it.
        schema: Vec<u8>,
        /// Its options, as the engine writes them.
        options: Vec<u8>,
    },
    /// A table and all its runs go.
    DropTable(TableId),
    /// Other options for a table.
    TableOptions {
        /// The table.
        table: TableId,
        /// Its options, as the engine writes them.
        options: Vec<u8>,
    },
    /// A new run.
    AddRun {
        /// The table.
        table: TableId,
        /// Where it hangs.
        place: Place,
        /// What it is.
        run: Arc<RunMeta>,
    },
    /// A run goes.
    RemoveRun {
        /// The table.
        table: TableId,
        /// The run.
        run: RunId,
    },
    /// A run hangs elsewhere from now on; its files stay as they are.
    MoveRun {
        /// The table.
        table: TableId,
        /// The run.
        run: RunId,
        /// Where it hangs.
        place: Place,
    },
    /// Sequence numbers up to this one have been given out.
    LastSeq(SeqNo),
    /// The first log segment that is still needed.
    WalFrom(SegmentId),
    /// The table's entries in log segments below this one are in runs.
    Flushed {
        /// The table.
        table: TableId,
        /// The segment.
        segment: SegmentId,
    },
    /// Another schema of a table. The last one that is in force is the table's.
    AddSchema {
        /// The table.
        table: TableId,
        /// Its number within the table, larger than all others; the one that the table was created with has 0.
        number: u32,
        /// False if it is a layout of files only.
        in_force: bool,
        /// It, as `TableSchema::to_bytes` writes it.
        schema: Vec<u8>,
    },
    /// Numbers below these have been given out.
    NextIds {
        /// For runs.
        run: RunId,
        /// For tables.
        table: TableId,
        /// For sorted runs.
        sorted_run: SortedRunId,
    },
    /// The log was closed with records up to this sequence number, all of them on the disk, and some of them only there. It holds until
    /// a later change flushes, drops a table, or moves the first log segment needed.
    LogEnd(SeqNo),
    /// The index of the table's runs as they are after all changes before this one; adding or removing a run makes a table
    /// have none.
    SetIndex {
        /// The table.
        table: TableId,
        /// Its index; `None` if it has none from now on.
        index: Option<IndexMeta>,
    },
    /// A new secondary index of a table, without a file so far.
    AddSecondary {
        /// The table.
        table: TableId,
        /// Its name, unlike that of every other index of the table.
        name: String,
        /// What it is of, as the engine writes it.
        definition: Vec<u8>,
    },
    /// A secondary index goes.
    DropSecondary {
        /// The table.
        table: TableId,
        /// Its name.
        name: String,
    },
    /// The file and root of a secondary index for the table's runs as they are after all changes before this one; adding or
    /// removing a run makes all indexes of a table have none.
    SetSecondary {
        /// The table.
        table: TableId,
        /// Its name.
        name: String,
        /// The file and root; `None` if it is to be built anew.
        index: Option<SecondaryMeta>,
    },
    /// The deletion vectors of the table's runs as they are after the edit. An edit that adds or removes a run and does not say
    /// this of the table afterwards makes it have none.
    MarkDead {
        /// The table.
        table: TableId,
        /// What has died; `None` if it has no deletion vectors from now on.
        dead: Option<Marks>,
    },
    /// When entries of the table's runs were written, of a table with a TTL: what the sidecars of the runs say, so that an opening
    /// need not read these.
    AddTimes {
        /// The table.
        table: TableId,
        /// They are all; otherwise they come on top of what was, and mean nothing to a table of which not all are known.
        anew: bool,
        /// Sequence numbers, ascending, and times in microseconds since 1970: entries up to the one were written by the other.
        samples: Vec<(SeqNo, u64)>,
    },
}

/// Changes that take effect together, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionEdit {
    /// The changes.
    pub changes: Vec<Change>,
}

impl VersionEdit {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a change.
    pub fn push(&mut self, change: Change) -> &mut Self {
        self.changes.push(change);
        self
    }

    /// Adds a change.
    #[must_use]
    pub fn with(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }
}
