//! Presets: named starting points. A file's own settings come on top.

use kodiak_core::format::Compression;
use kodiak_core::wal::{RecoveryMode, SyncMode};
use kodiak_core::{Error, Result};

use super::{
    Allocation, BackpressureSettings, CacheSettings, CompactionSettings, DeltaTables, FENCE, FilterSettings,
    FormatLevel, FormatSettings, GivenOptions, IndexSettings, LimitSettings, MANIFEST, Maintenance, MemtableSettings,
    MetricsSettings, Origins, PublishSettings, SecondarySettings, Settings, WalSettings,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Every preset with one sentence on what it is for; the first is what holds without a preset.
pub const PRESETS: [(&str, &str); 5] = [
    ("default", "A mixed workload on a machine that has other work too."),
    (
        "write-heavy",
        "Large memtables and size-tiered compaction: writes are rewritten seldom, reads look at more runs.",
    ),
    ("read-heavy", "A large cache, more filter bits, few runs on level 0."),
    (
        "small-memory",
        "Fits about 40 MiB: small memtables, cache and runs, one background thread.",
    ),
    (
        "open-lake",
        "Feather on the upper levels, zstd Parquet in large blocks from level 2 down, for outside readers.",
    ),
];

/// The settings of the preset `name`.
pub(super) fn find(name: &str) -> Result<Settings> {
    let mut settings = base();
    match name {
        "default" => {}
        "write-heavy" => write_heavy(&mut settings),
        "read-heavy" => read_heavy(&mut settings),
        "small-memory" => small_memory(&mut settings),
        "open-lake" => open_lake(&mut settings),
        _ => {
            let known = PRESETS.map(|(name, _)| name).join(", ");
            return Err(Error::settings(
                "preset",
                format!("unknown preset \"{name}\"; known are: {known}"),
            ));
        }
    }
    settings.origins.preset = PRESETS.iter().map(|(known, _)| *known).find(|known| *known == name);
    Ok(settings)
}

/// What holds where nothing is said. The thresholds of backpressure are those of RocksDB.
pub(super) fn base() -> Settings {
    let kinds = crate::components::default_kinds();
    Settings {
        memtable: MemtableSettings {
            kind: kinds.memtable.to_owned(),
            size: 64 * MIB,
            options: GivenOptions::new(),
        },
        index: IndexSettings {
            primary: FENCE.to_owned(),
            pool: 64 * MIB,
            deletion_vectors: false,
            catalogue: MANIFEST.to_owned(),
            catalogue_changes: 1000,
            options: GivenOptions::new(),
        },
        secondary: SecondarySettings {
            kind: kinds.secondary.to_owned(),
            maintenance: Maintenance::Lazy,
            pool: 64 * MIB,
            options: GivenOptions::new(),
        },
        format: FormatSettings {
            kind: kinds.format.to_owned(),
            block_size: None,
            compression: Compression::None,
            options: GivenOptions::new(),
            levels: Vec::new(),
        },
        filter: FilterSettings {
            kind: kinds.filter.to_owned(),
            bits_per_key: 10.0,
            allocation: Allocation::Monkey,
            prefix: None,
            options: GivenOptions::new(),
        },
        compaction: CompactionSettings {
            preset: kinds.compaction.to_owned(),
            levels: 7,
            target_run_size: 64 * MIB,
            threads: 2,
            max_subcompactions: 2,
            dead_share: 0.5,
            options: GivenOptions::new(),
        },
        wal: WalSettings {
            kind: kinds.wal.to_owned(),
            sync: SyncMode::Normal,
            direct_io: true,
            keep_awake: true,
            segment_size: 16 * MIB,
            max_size: None,
            compression: Compression::None,
            compress_above: KIB,
            recovery: RecoveryMode::PointInTime,
            options: GivenOptions::new(),
        },
        cache: CacheSettings { capacity: 256 * MIB },
        limits: LimitSettings {
            max_key: MIB,
            max_value: 10 * MIB,
            max_open_files: 1000,
            memory_budget: None,
            max_immutable_memtables: 2,
        },
        backpressure: BackpressureSettings {
            l0_slowdown: 20,
            l0_stop: 36,
            pending_slowdown: 64 * GIB,
            pending_stop: 256 * GIB,
        },
        publish: PublishSettings {
            continuous: false,
            key_value: false,
            kept: 1,
            delta: DeltaTables::Always,
        },
        metrics: MetricsSettings { enabled: true },
        origins: Origins::default(),
    }
}

fn write_heavy(settings: &mut Settings) {
    settings.memtable.size = 128 * MIB;
    settings.limits.max_immutable_memtables = 4;
    settings.compaction.preset = crate::components::TIERED.to_owned();
    settings.compaction.target_run_size = 256 * MIB;
    settings.wal.segment_size = 128 * MIB;
    settings.backpressure.l0_slowdown = 40;
    settings.backpressure.l0_stop = 72;
}

fn read_heavy(settings: &mut Settings) {
    settings.cache.capacity = GIB;
    settings.filter.bits_per_key = 14.0;
    settings.backpressure.l0_slowdown = 12;
    settings.backpressure.l0_stop = 24;
}

fn small_memory(settings: &mut Settings) {
    settings.memtable.size = 4 * MIB;
    settings.limits.max_immutable_memtables = 1;
    settings.limits.max_open_files = 100;
    settings.cache.capacity = 8 * MIB;
    settings.compaction.target_run_size = 8 * MIB;
    settings.compaction.threads = 1;
    settings.compaction.max_subcompactions = 1;
    settings.wal.segment_size = 4 * MIB;
}

fn open_lake(settings: &mut Settings) {
    settings.compaction.target_run_size = 256 * MIB;
    settings.format.kind = "feather".to_owned();
    settings.format.levels = vec![FormatLevel {
        from: 2,
        kind: Some("parquet".to_owned()),
        block_size: Some(MIB),
        compression: Some(Compression::Zstd),
        options: GivenOptions::new(),
    }];
}
