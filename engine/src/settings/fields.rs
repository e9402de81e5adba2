//! The list of all settings.

mod access;

use kodiak_core::format::Compression;
use kodiak_core::wal::{RecoveryMode, SyncMode};

pub(super) use access::check_block_size;

use super::{Allocation, DeltaTables, Maintenance, Settings};

/// One setting.
#[derive(Debug)]
pub struct Field {
    /// Its dotted path in the settings file.
    pub path: &'static str,
    /// One sentence of help.
    pub help: &'static str,
    access: Access,
}

/// How a setting is read and written. One function gives access for both: reading works on a copy.
#[derive(Debug)]
enum Access {
    Size(fn(&mut Settings) -> &mut u64, (u64, u64)),
    MaybeSize(fn(&mut Settings) -> &mut Option<u64>, (u64, u64)),
    Count(fn(&mut Settings) -> &mut usize, (usize, usize)),
    MaybeCount(fn(&mut Settings) -> &mut Option<usize>, (usize, usize)),
    Float(fn(&mut Settings) -> &mut f64, (f64, f64)),
    Bool(fn(&mut Settings) -> &mut bool),
    Text(fn(&mut Settings) -> &mut String),
    Name {
        names: &'static [&'static str],
        get: fn(&Settings) -> usize,
        set: fn(&mut Settings, usize),
    },
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const BLOCK_SIZE: (u64, u64) = (256, 64 * MIB);
const COMPRESSIONS: [&str; 3] = ["none", "lz4", "zstd"];

/// Every setting, section by section, in the order of the documentation. Component options and `[[format.levels]]` come on
/// top.
pub const FIELDS: &[Field] = &[
    Field {
        path: "memtable.kind",
        help: "The memtable.",
        access: Access::Text(|s| &mut s.memtable.kind),
    },
    Field {
        path: "memtable.size",
        help: "Bytes at which a memtable is frozen and flushed.",
        access: Access::Size(|s| &mut s.memtable.size, (64 * KIB, 64 * GIB)),
    },
    Field {
        path: "index.primary",
        help: "How a key finds its run and block: `fence` goes down the levels by key bounds, filter and fence keys; an index \
               over all runs of a table is asked once. Tables may choose for themselves.",
        access: Access::Text(|s| &mut s.index.primary),
    },
    Field {
        path: "index.pool",
        help: "Bytes of index nodes kept in memory, over all tables; where only tables choose to have an index, beside \
               `limits.memory_budget`.",
        access: Access::Size(|s| &mut s.index.pool, (64 * KIB, 16 * TIB)),
    },
    Field {
        path: "index.deletion_vectors",
        help: "Keep a bitmap of the dead rows of each run (merge-on-write), so that scans and publications compare no versions; \
               needs a primary index, which tells what an update displaces. Tables may choose for themselves.",
        access: Access::Bool(|s| &mut s.index.deletion_vectors),
    },
    Field {
        path: "index.catalogue",
        help: "Where the list of all runs is: in the `manifest`, which each opening reads whole, or in an index, of which an opening for \
               writing reads little, however many runs there are.",
        access: Access::Text(|s| &mut s.index.catalogue),
    },
    Field {
        path: "index.catalogue_changes",
        help: "Runs that have come, gone or moved before the catalogue gets them, when the manifest is written anew; until there are \
               as many, there is no catalogue.",
        access: Access::Count(|s| &mut s.index.catalogue_changes, (1, 1_000_000)),
    },
    Field {
        path: "secondary.kind",
        help: "The index that holds the entries of secondary indexes; those of another kind are built anew when a database is \
               opened. Tables may choose for themselves.",
        access: Access::Text(|s| &mut s.secondary.kind),
    },
    Field {
        path: "secondary.maintenance",
        help: "`lazy`: a flush adds entries blindly, reads look at rows to know which entries hold, and compactions clean up; \
               `eager`: a flush looks up the rows that it replaces, and reads of the newest state need not. \
               Tables may choose for themselves.",
        access: Access::Name {
            names: &["lazy", "eager"],
            get: |s| s.secondary.maintenance as usize,
            set: |s, index| s.secondary.maintenance = [Maintenance::Lazy, Maintenance::Eager][index],
        },
    },
    Field {
        path: "secondary.pool",
        help: "Bytes of nodes of secondary indexes kept in memory, over all tables; taken, beside `limits.memory_budget`, once there \
               is one. What rows known by operands only are in the indexes may take an eighth as much again.",
        access: Access::Size(|s| &mut s.secondary.pool, (64 * KIB, 16 * TIB)),
    },
    Field {
        path: "format.kind",
        help: "The format of data files.",
        access: Access::Text(|s| &mut s.format.kind),
    },
    Field {
        path: "format.block_size",
        help: "Bytes of entries in a block, before compression. Where nothing is said, 32 KiB in key-value tables, and 128 KiB in \
               typed ones, of which whole columns are read.",
        access: Access::MaybeSize(|s| &mut s.format.block_size, BLOCK_SIZE),
    },
    Field {
        path: "format.compression",
        help: "Compression of blocks, where the format offers it.",
        access: Access::Name {
            names: &COMPRESSIONS,
            get: |s| s.format.compression as usize,
            set: |s, index| s.format.compression = Compression::ALL[index],
        },
    },
    Field {
        path: "filter.kind",
        help: "The filter of each run.",
        access: Access::Text(|s| &mut s.filter.kind),
    },
    Field {
        path: "filter.bits_per_key",
        help: "Bits per key; with `monkey` allocation the average over all levels.",
        access: Access::Float(|s| &mut s.filter.bits_per_key, (0.0, 64.0)),
    },
    Field {
        path: "filter.allocation",
        help: "How bits are shared out: `uniform`, or `monkey` with more for the keys of small levels.",
        access: Access::Name {
            names: &["uniform", "monkey"],
            get: |s| s.filter.allocation as usize,
            set: |s, index| s.filter.allocation = [Allocation::Uniform, Allocation::Monkey][index],
        },
    },
    Field {
        path: "filter.prefix",
        help: "If set, filters hold the first so many bytes of each key and also answer prefix scans.",
        access: Access::MaybeCount(|s| &mut s.filter.prefix, (1, 1024)),
    },
    Field {
        path: "compaction.preset",
        help: "The compaction policy.",
        access: Access::Text(|s| &mut s.compaction.preset),
    },
    Field {
        path: "compaction.levels",
        help: "Number of levels, level 0 included.",
        access: Access::Count(|s| &mut s.compaction.levels, (2, 32)),
    },
    Field {
        path: "compaction.target_run_size",
        help: "Bytes that an output run should have.",
        access: Access::Size(|s| &mut s.compaction.target_run_size, (64 * KIB, 64 * GIB)),
    },
    Field {
        path: "compaction.threads",
        help: "Threads for flushes and compactions.",
        access: Access::Count(|s| &mut s.compaction.threads, (1, 256)),
    },
    Field {
        path: "compaction.max_subcompactions",
        help: "Key ranges that one compaction or bulk insert may be split into, to run side by side.",
        access: Access::Count(|s| &mut s.compaction.max_subcompactions, (1, 256)),
    },
    Field {
        path: "compaction.dead_share",
        help: "With deletion vectors: share of dead rows from which a run is rewritten to reclaim their space; 0 for never.",
        access: Access::Float(|s| &mut s.compaction.dead_share, (0.0, 1.0)),
    },
    Field {
        path: "wal.kind",
        help: "The write-ahead log.",
        access: Access::Text(|s| &mut s.wal.kind),
    },
    Field {
        path: "wal.sync",
        help: "What an acknowledged write survives: `none` nothing, `normal` a killed process, `full` a power loss.",
        access: Access::Name {
            names: &SyncMode::NAMES,
            get: |s| s.wal.sync as usize,
            set: |s, index| s.wal.sync = [SyncMode::None, SyncMode::Normal, SyncMode::Full][index],
        },
    },
    Field {
        path: "wal.direct_io",
        help: "Commits in mode `full` go past the system's cache where the file system can: faster, and no less durable.",
        access: Access::Bool(|s| &mut s.wal.direct_io),
    },
    Field {
        path: "wal.keep_awake",
        help: "While a commit in mode `full` waits for the disk, a thread of the lowest priority keeps its processor from sleeping \
               (Linux; not under a processor quota).",
        access: Access::Bool(|s| &mut s.wal.keep_awake),
    },
    Field {
        path: "wal.segment_size",
        help: "Bytes at which a log segment is full.",
        access: Access::Size(|s| &mut s.wal.segment_size, (64 * KIB, 64 * GIB)),
    },
    Field {
        path: "wal.max_size",
        help: "Bytes of log from which memtables that hold on to the oldest of it are flushed, however little they hold; not set: \
               twice what all memtables may take.",
        access: Access::MaybeSize(|s| &mut s.wal.max_size, (64 * KIB, 64 * TIB)),
    },
    Field {
        path: "wal.compression",
        help: "Compression of log records.",
        access: Access::Name {
            names: &["none", "lz4"],
            get: |s| s.wal.compression as usize,
            set: |s, index| s.wal.compression = Compression::ALL[index],
        },
    },
    Field {
        path: "wal.compress_above",
        help: "Log records of fewer bytes are not compressed.",
        access: Access::Size(|s| &mut s.wal.compress_above, (0, 64 * GIB)),
    },
    Field {
        path: "wal.recovery",
        help: "What a replay does about damage.",
        access: Access::Name {
            names: &RecoveryMode::NAMES,
            get: |s| s.wal.recovery as usize,
            set: |s, index| s.wal.recovery = RECOVERY[index],
        },
    },
    Field {
        path: "cache.capacity",
        help: "Bytes of decoded blocks kept in memory.",
        access: Access::Size(|s| &mut s.cache.capacity, (0, 16 * TIB)),
    },
    Field {
        path: "limits.max_key",
        help: "Longest user key accepted.",
        access: Access::Size(|s| &mut s.limits.max_key, (1, 16 * MIB)),
    },
    Field {
        path: "limits.max_value",
        help: "Longest value accepted.",
        access: Access::Size(|s| &mut s.limits.max_value, (1, GIB)),
    },
    Field {
        path: "limits.max_open_files",
        help: "Files of runs held open at once; at most three quarters of what the system allows the process (`ulimit -n`).",
        access: Access::Count(|s| &mut s.limits.max_open_files, (8, 10_000_000)),
    },
    Field {
        path: "limits.memory_budget",
        help: "Bytes for memtables, cache and work in flight together; not set: what those need.",
        access: Access::MaybeSize(|s| &mut s.limits.memory_budget, (MIB, 64 * TIB)),
    },
    Field {
        path: "limits.max_immutable_memtables",
        help: "Frozen memtables that may wait for their flush, over all tables.",
        access: Access::Count(|s| &mut s.limits.max_immutable_memtables, (1, 1024)),
    },
    Field {
        path: "backpressure.l0_slowdown",
        help: "Runs on level 0 at which writers are slowed down.",
        access: Access::Count(|s| &mut s.backpressure.l0_slowdown, (1, 1_000_000)),
    },
    Field {
        path: "backpressure.l0_stop",
        help: "Runs on level 0 at which writers are stopped.",
        access: Access::Count(|s| &mut s.backpressure.l0_stop, (1, 1_000_000)),
    },
    Field {
        path: "backpressure.pending_slowdown",
        help: "Bytes that compaction is behind by at which writers are slowed down.",
        access: Access::Size(|s| &mut s.backpressure.pending_slowdown, (MIB, 1024 * TIB)),
    },
    Field {
        path: "backpressure.pending_stop",
        help: "Bytes that compaction is behind by at which writers are stopped.",
        access: Access::Size(|s| &mut s.backpressure.pending_stop, (MIB, 1024 * TIB)),
    },
    Field {
        path: "publish.continuous",
        help: "Publish each typed table in the background after every flush and compaction that changes it.",
        access: Access::Bool(|s| &mut s.publish.continuous),
    },
    Field {
        path: "publish.key_value",
        help: "With `publish.continuous`: publish each key-value table as well.",
        access: Access::Bool(|s| &mut s.publish.key_value),
    },
    Field {
        path: "publish.kept",
        help: "With `publish.continuous`: how many publications before the last one keep their files, for readers that are not done.",
        access: Access::Count(|s| &mut s.publish.kept, (0, 1000)),
    },
    Field {
        path: "publish.delta",
        help: "Whether publications are Delta tables too, where formats and types allow: `always`, so that a table of which a column was \
               renamed or widened, or added with a default, is compacted first; `auto`, as long as no file must be rewritten for it; `never`.",
        access: Access::Name {
            names: &["always", "auto", "never"],
            get: |s| s.publish.delta as usize,
            set: |s, index| s.publish.delta = [DeltaTables::Always, DeltaTables::Auto, DeltaTables::Never][index],
        },
    },
    Field {
        path: "metrics.enabled",
        help: "Count and measure through the `metrics` facade.",
        access: Access::Bool(|s| &mut s.metrics.enabled),
    },
];

const RECOVERY: [RecoveryMode; 4] = [
    RecoveryMode::Absolute,
    RecoveryMode::PointInTime,
    RecoveryMode::TolerateTail,
    RecoveryMode::SkipCorrupt,
];
