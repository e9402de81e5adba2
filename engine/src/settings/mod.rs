//! Settings: one TOML file, or the same values set in code, pick every part of a database.
//!
//! Settings are values; [`Components::resolve`](crate::components::Components::resolve) makes components of them and
//! refuses what cannot work. Every setting is listed once, in [`fields`](FIELDS): reading, writing, explaining and the
//! documentation all iterate that list.

mod assign;
mod changes;
mod explain;
mod fields;
mod parse;
mod presets;
mod publish;
pub mod units;

use std::collections::BTreeMap;
use std::path::Path;

use kodiak_core::format::Compression;
use kodiak_core::options::OptionValue;
use kodiak_core::wal::{RecoveryMode, SyncMode};
use kodiak_core::{Error, ErrorKind, Result};

pub use changes::{Change, Effect};
pub use explain::{Explained, Origin, Origins};
pub use fields::{FIELDS, Field};
pub(crate) use parse::own_settings;
pub use presets::PRESETS;
pub use publish::{DeltaTables, PublishSettings};

/// The file, in a database's directory, with the settings that it was last opened with.
pub const SETTINGS_FILE: &str = "SETTINGS.toml";

/// Options of a component as they were given; what is not given takes the component's default.
pub type GivenOptions = BTreeMap<String, OptionValue>;

/// Everything that can be set for a database. See `docs/settings.md` for the file.
///
/// In code, take [`Settings::default`] (or [`Settings::preset`]) and change its fields. Nothing is checked before
/// [`Components::resolve`](crate::components::Components::resolve), which opening a database calls first.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `[memtable]`
    pub memtable: MemtableSettings,
    /// `[index]`
    pub index: IndexSettings,
    /// `[secondary]`
    pub secondary: SecondarySettings,
    /// `[format]`
    pub format: FormatSettings,
    /// `[filter]`
    pub filter: FilterSettings,
    /// `[compaction]`
    pub compaction: CompactionSettings,
    /// `[wal]`
    pub wal: WalSettings,
    /// `[cache]`
    pub cache: CacheSettings,
    /// `[limits]`
    pub limits: LimitSettings,
    /// `[backpressure]`
    pub backpressure: BackpressureSettings,
    /// `[publish]`
    pub publish: PublishSettings,
    /// `[metrics]`
    pub metrics: MetricsSettings,
    /// Where values came from, for [`Settings::explain`]. Leave it as it is.
    pub origins: Origins,
}

/// The newest entries of each table, in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct MemtableSettings {
    /// The memtable's name.
    pub kind: String,
    /// Bytes at which it is frozen and flushed.
    pub size: u64,
    /// Its own options.
    pub options: GivenOptions,
}

/// How a key finds its run and block.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexSettings {
    /// [`FENCE`], or the name of an index that each table has over all its runs.
    pub primary: String,
    /// Bytes of index nodes kept in memory, over all tables.
    pub pool: u64,
    /// Each table keeps a bitmap of the dead rows of each run, so that scans compare no versions.
    pub deletion_vectors: bool,
    /// [`MANIFEST`], or the name of the index that holds the runs of all tables, so that opening need not read them.
    pub catalogue: String,
    /// Changes of runs that the manifest tells before the catalogue gets them.
    pub catalogue_changes: usize,
    /// The index's own options.
    pub options: GivenOptions,
}

/// The catalogue that is none: the manifest tells of every run.
pub const MANIFEST: &str = "manifest";

/// The primary index that is none: key bounds, filter and fence keys of each run.
pub const FENCE: &str = "fence";

/// Secondary indexes.
#[derive(Debug, Clone, PartialEq)]
pub struct SecondarySettings {
    /// The name of the index that holds their entries.
    pub kind: String,
    /// What becomes of entries whose rows are replaced.
    pub maintenance: Maintenance,
    /// Bytes of index nodes kept in memory, over all secondary indexes of all tables; taken once there is one.
    pub pool: u64,
    /// The index's own options.
    pub options: GivenOptions,
}

/// How secondary indexes are kept up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Maintenance {
    /// Entries of replaced rows stay until a compaction drops those; reads look at rows to know whether an entry holds.
    #[default]
    Lazy,
    /// A flush looks up the rows that it replaces; reads of the newest state need not.
    Eager,
}

/// The data files of runs.
#[derive(Debug, Clone, PartialEq)]
pub struct FormatSettings {
    /// The format's name.
    pub kind: String,
    /// Bytes of entries in a block, before compression; where it is `None`, [`LevelFormat::block_size`] tells.
    ///
    /// [`LevelFormat::block_size`]: crate::components::LevelFormat::block_size
    pub block_size: Option<u64>,
    /// Compression of blocks.
    pub compression: Compression,
    /// Its own options.
    pub options: GivenOptions,
    /// `[[format.levels]]`: what differs from some level down, in ascending order of `from`.
    pub levels: Vec<FormatLevel>,
}

/// What differs from a level down. What is `None` is as on the level above; so are options, if the kind is the same.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FormatLevel {
    /// The first level that it applies to.
    pub from: usize,
    /// The format's name.
    pub kind: Option<String>,
    /// Bytes of entries in a block, before compression.
    pub block_size: Option<u64>,
    /// Compression of blocks.
    pub compression: Option<Compression>,
    /// The format's own options.
    pub options: GivenOptions,
}

/// The filters of runs.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterSettings {
    /// The filter's name.
    pub kind: String,
    /// Bits per key; with `monkey`, on average over all levels.
    pub bits_per_key: f64,
    /// How the bits are shared out over the levels.
    pub allocation: Allocation,
    /// If set, filters hold the first so many bytes of each key, and also answer prefix scans.
    pub prefix: Option<usize>,
    /// Its own options.
    pub options: GivenOptions,
}

/// How filter bits are shared out over the levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allocation {
    /// The same number for every key.
    Uniform,
    /// More bits for keys of small levels (Dayan, Athanassoulis, Idreos: "Monkey", SIGMOD 2017).
    #[default]
    Monkey,
}

/// Compaction.
#[derive(Debug, Clone, PartialEq)]
pub struct CompactionSettings {
    /// The policy's name.
    pub preset: String,
    /// Number of levels, level 0 included.
    pub levels: usize,
    /// Bytes that an output run should have.
    pub target_run_size: u64,
    /// Threads for flushes and compactions.
    pub threads: usize,
    /// Key ranges that one compaction or bulk insert may be split into, to run side by side.
    pub max_subcompactions: usize,
    /// With deletion vectors: share of dead rows from which a run is rewritten; 0 for never.
    pub dead_share: f64,
    /// The policy's own options.
    pub options: GivenOptions,
}

/// The write-ahead log.
#[derive(Debug, Clone, PartialEq)]
pub struct WalSettings {
    /// The log's name.
    pub kind: String,
    /// When a write is acknowledged.
    pub sync: SyncMode,
    /// Commits in mode `full` go past the system's cache where the file system can.
    pub direct_io: bool,
    /// While a commit in mode `full` waits for the disk its processor is kept awake.
    pub keep_awake: bool,
    /// Bytes at which a segment is full.
    pub segment_size: u64,
    /// Bytes of log from which memtables that hold on to the oldest of it are flushed; `None`: twice what all memtables may take.
    pub max_size: Option<u64>,
    /// Compression of records: `None` or `Lz4`.
    pub compression: Compression,
    /// Records of fewer bytes are not compressed.
    pub compress_above: u64,
    /// What a replay does about damage.
    pub recovery: RecoveryMode,
    /// The log's own options.
    pub options: GivenOptions,
}

impl WalSettings {
    /// The bytes from which records are compressed; `None` for never.
    pub fn compress_threshold(&self) -> Option<usize> {
        (self.compression != Compression::None).then(|| usize::try_from(self.compress_above).unwrap_or(usize::MAX))
    }
}

/// The cache of decoded blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    /// Bytes.
    pub capacity: u64,
}

/// Limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSettings {
    /// Longest user key accepted, bytes.
    pub max_key: u64,
    /// Longest value accepted, bytes.
    pub max_value: u64,
    /// Files of runs held open at once.
    pub max_open_files: usize,
    /// Bytes for memtables, cache and work in flight together; `None`: what those need ([`Settings::memory_budget`]).
    pub memory_budget: Option<u64>,
    /// Frozen memtables that may wait for their flush, over all tables.
    pub max_immutable_memtables: usize,
}

/// When writers are slowed down and stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackpressureSettings {
    /// Runs on level 0 at which writers are slowed down.
    pub l0_slowdown: usize,
    /// Runs on level 0 at which they are stopped.
    pub l0_stop: usize,
    /// Bytes that compaction is behind by at which writers are slowed down.
    pub pending_slowdown: u64,
    /// Bytes that compaction is behind by at which they are stopped.
    pub pending_stop: u64,
}

/// Metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Count and measure through the `metrics` facade.
    pub enabled: bool,
}

/// Memory that each background thread may use for reading, merging and writing, counted in the default budget.
pub const WORK_BYTES_PER_THREAD: u64 = 16 << 20;

impl Default for Settings {
    fn default() -> Self {
        presets::base()
    }
}

impl Settings {
    /// The settings of a preset: one of [`PRESETS`].
    ///
    /// # Errors
    /// `InvalidSettings` that lists the presets.
    pub fn preset(name: &str) -> Result<Self> {
        presets::find(name)
    }

    /// Reads a settings file.
    ///
    /// # Errors
    /// `NotFound`, `Io`; `InvalidSettings` as [`from_toml`](Self::from_toml), naming the file.
    #[allow(
        clippy::disallowed_methods,
        reason = "the program's own file, wherever the database is kept"
    )]
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|source| Error::io("read the settings file", path, source))?;
        Self::from_text_of(path, &text)
    }

    /// Reads settings from TOML text: what it does not name comes from its `preset`, or from the defaults.
    ///
    /// # Errors
    /// `InvalidSettings` naming the setting: TOML that cannot be parsed, an unknown section or setting (listing the known
    /// ones), a value of the wrong type or out of range. Options of components are checked by
    /// [`Components::resolve`](crate::components::Components::resolve).
    pub fn from_toml(text: &str) -> Result<Self> {
        parse::parse(text)
    }

    /// Writes every setting, also those that have their defaults, as TOML text that [`from_toml`](Self::from_toml) reads.
    pub fn to_toml(&self) -> String {
        explain::to_toml(self)
    }

    /// Every setting with its value and where that came from.
    pub fn explain(&self) -> Vec<Explained> {
        explain::explain(self)
    }

    /// What differs in `new`, and when it takes effect if the database is reopened with it. `used_levels` is the number of
    /// levels down to the deepest that holds a run.
    ///
    /// # Errors
    /// `InvalidSettings` for a change that a database in this state does not allow.
    pub fn changes(&self, new: &Self, used_levels: usize) -> Result<Vec<Change>> {
        changes::changes(self, new, used_levels)
    }

    /// The memory budget: as set, or memtables (the active one and those waiting), cache, the pool of primary indexes if there
    /// are any, and 16 MiB for each background thread.
    pub fn memory_budget(&self) -> u64 {
        self.limits.memory_budget.unwrap_or_else(|| self.memory_needed())
    }

    /// Bytes that memtables, cache, primary indexes and background threads may come to.
    pub fn memory_needed(&self) -> u64 {
        let work = WORK_BYTES_PER_THREAD.saturating_mul(self.compaction.threads as u64);
        let indexes = self.index_memory().saturating_add(self.catalogue_memory());
        self.memtable_budget()
            .saturating_add(self.cache.capacity)
            .saturating_add(indexes)
            .saturating_add(work)
    }

    /// Bytes that the memtables of all tables may come to: one that is written to, and those that wait for their flush.
    pub fn memtable_budget(&self) -> u64 {
        let memtables = self.limits.max_immutable_memtables as u64 + 1;
        self.memtable.size.saturating_mul(memtables)
    }

    /// Bytes of log that memtables may hold on to.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.wal
            .max_size
            .unwrap_or_else(|| self.memtable_budget().saturating_mul(2))
    }

    /// Bytes that primary indexes may come to.
    pub(crate) fn index_memory(&self) -> u64 {
        if self.index.primary == FENCE {
            0
        } else {
            self.index.pool
        }
    }

    /// Bytes that the catalogue may come to.
    pub(crate) fn catalogue_memory(&self) -> u64 {
        if self.index.catalogue == MANIFEST {
            0
        } else {
            crate::manifest::CATALOGUE_POOL
        }
    }

    /// What holds on one level.
    pub fn format_at(&self, level: usize) -> FormatSettings {
        let mut format = FormatSettings {
            levels: Vec::new(),
            ..self.format.clone()
        };
        for entry in self.format.levels.iter().filter(|entry| entry.from <= level) {
            if let Some(kind) = &entry.kind
                && *kind != format.kind
            {
                format.kind.clone_from(kind);
                format.options.clear();
            }
            format.block_size = entry.block_size.or(format.block_size);
            format.compression = entry.compression.unwrap_or(format.compression);
            format.options.extend(entry.options.clone());
        }
        format
    }

    /// Checks every setting that has a range, whether it came from a file or from code.
    ///
    /// # Errors
    /// `InvalidSettings` naming the setting and the range.
    pub fn check_ranges(&self) -> Result<()> {
        let mut copy = self.clone();
        FIELDS.iter().try_for_each(|field| field.check(&mut copy))?;
        for (index, entry) in self.format.levels.iter().enumerate() {
            if let Some(size) = entry.block_size {
                fields::check_block_size(&format!("format.levels[{index}].block_size"), size)?;
            }
        }
        Ok(())
    }
}

impl serde::Serialize for Settings {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        explain::to_table(self).serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Settings {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = toml::Table::deserialize(deserializer)?;
        Self::from_toml(&table.to_string()).map_err(serde::de::Error::custom)
    }
}

/// The compression of a name in the settings.
///
/// # Errors
/// `InvalidSettings` that lists the names.
pub fn compression_from_name(name: &str) -> Result<Compression> {
    Compression::ALL
        .into_iter()
        .find(|compression| compression.name() == name)
        .ok_or_else(|| {
            let known = Compression::ALL.map(Compression::name).join(", ");
            Error::new(
                ErrorKind::InvalidSettings,
                format!("unknown compression \"{name}\"; known are: {known}"),
            )
        })
}

#[cfg(test)]
mod tests;
