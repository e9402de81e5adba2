//! The configurations: every setting that picks or tunes a component, with the values worth trying.
//!
//! Everything that is registered is found by itself: a new component, and each of its options, is a new choice.

use std::fmt;
use std::sync::Arc;

use kodiak::core::format::Compression;
use kodiak::core::options::{OptionKind, OptionSpec, OptionValue, Options};
use kodiak::core::registry::{Component, Factory, Registry};
use kodiak::settings::{Allocation, FormatLevel, GivenOptions, Maintenance};
use kodiak::{Components, RecoveryMode, Settings, SyncMode};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

type Apply = Arc<dyn Fn(&mut Settings) + Send + Sync>;

/// One value of a factor.
#[derive(Clone)]
pub struct Choice {
    /// Its name in messages.
    pub label: String,
    apply: Apply,
}

impl Choice {
    fn new(label: impl Into<String>, apply: impl Fn(&mut Settings) + Send + Sync + 'static) -> Self {
        Self {
            label: label.into(),
            apply: Arc::new(apply),
        }
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

/// Something that can be set, and to what. The first choices of all factors together are valid settings, and so is each other
/// choice with the first ones of all other factors, unless the builder refuses it with everything.
#[derive(Debug, Clone)]
pub struct Factor {
    /// Its name in messages.
    pub name: &'static str,
    /// What it may be.
    pub choices: Vec<Choice>,
}

impl Factor {
    fn new(name: &'static str, choices: Vec<Choice>) -> Self {
        Self { name, choices }
    }
}

/// Small memtables, blocks, runs and segments, so that a short history meets flushes and compactions.
pub fn small() -> Settings {
    let mut settings = Settings::default();
    settings.memtable.size = 64 * KIB;
    settings.format.block_size = Some(4 * KIB);
    settings.filter.allocation = Allocation::Uniform;
    settings.compaction.target_run_size = 128 * KIB;
    settings.wal.segment_size = 256 * KIB;
    settings.cache.capacity = MIB;
    settings
}

/// The settings of one choice for each factor.
pub fn settings(factors: &[Factor], row: &[usize]) -> Settings {
    let mut settings = small();
    factors
        .iter()
        .zip(row)
        .for_each(|(factor, &choice)| (factor.choices[choice].apply)(&mut settings));
    settings
}

/// The choices of a row that are not the first, in words.
pub fn label(factors: &[Factor], row: &[usize]) -> String {
    let chosen = factors.iter().zip(row).filter(|(_, choice)| **choice > 0);
    let words: Vec<_> = chosen
        .map(|(factor, &choice)| format!("{}={}", factor.name, factor.choices[choice].label))
        .collect();
    words.join(" ")
}

/// Every factor of these components. The order of each factor's choices is that of the registry.
pub fn all(components: &Components) -> Vec<Factor> {
    let mut factors = vec![
        kinds("memtable", components.memtables(), |s, kind, options| {
            kind.clone_into(&mut s.memtable.kind);
            s.memtable.options.clone_from(options);
        }),
        kinds("format", components.formats(), |s, kind, options| {
            kind.clone_into(&mut s.format.kind);
            s.format.options.clone_from(options);
        }),
        kinds("wal", components.wals(), |s, kind, options| {
            kind.clone_into(&mut s.wal.kind);
            s.wal.options.clone_from(options);
        }),
        kinds("filter", components.filters(), |s, kind, options| {
            kind.clone_into(&mut s.filter.kind);
            s.filter.options.clone_from(options);
        }),
        kinds("policy", components.policies(), |s, kind, options| {
            kind.clone_into(&mut s.compaction.preset);
            s.compaction.options.clone_from(options);
        }),
        below(components),
        indexes(components),
        secondaries(components),
        Factor::new(
            "maintenance",
            [Maintenance::Lazy, Maintenance::Eager]
                .map(|how| Choice::new(format!("{how:?}"), move |s| s.secondary.maintenance = how))
                .into(),
        ),
        deletion_vectors(),
        catalogue(components),
    ];
    factors.extend(sizes());
    factors.extend(modes());
    factors
}

/// Every component of a family with its defaults, and then with each option changed by itself.
fn kinds<F: Factory>(
    name: &'static str,
    registry: &Registry<F>,
    set: fn(&mut Settings, &str, &GivenOptions),
) -> Factor {
    let mut choices = Vec::new();
    for factory in registry.iter() {
        let Component {
            name: kind, options, ..
        } = *factory.component();
        choices.push(Choice::new(kind, move |settings| {
            set(settings, kind, &GivenOptions::new())
        }));
        for spec in options {
            for value in variations(spec) {
                let label = format!("{kind}({}={value})", spec.name);
                let given = GivenOptions::from([(spec.name.to_owned(), value)]);
                choices.push(Choice::new(label, move |settings| set(settings, kind, &given)));
            }
        }
    }
    Factor::new(name, choices)
}

/// What an option may be besides its default: every name, both truths, and of numbers the smallest and a larger one.
fn variations(spec: &OptionSpec) -> Vec<OptionValue> {
    let all = match spec.kind {
        OptionKind::Int { default, range } | OptionKind::Bytes { default, range } => {
            let larger = default.saturating_mul(4).max(default + 1).min(range.1);
            vec![OptionValue::Int(range.0), OptionValue::Int(larger)]
        }
        OptionKind::Float { default, range } => {
            vec![
                OptionValue::Float(range.0),
                OptionValue::Float((default * 2.0).min(range.1)),
            ]
        }
        OptionKind::Bool { default } => vec![OptionValue::Bool(!default)],
        OptionKind::Name { names } => names.iter().map(|name| OptionValue::Name((*name).to_owned())).collect(),
    };
    let mut kept = Vec::new();
    for value in all {
        if value != spec.default_value() && !kept.contains(&value) {
            kept.push(value);
        }
    }
    kept
}

/// The format from some level down.
fn below(components: &Components) -> Factor {
    let mut choices = vec![Choice::new("as above", |_| {})];
    for factory in components.formats().iter() {
        for (index, &compression) in factory.capabilities.compressions.iter().enumerate() {
            let kind = factory.component.name;
            let from = 1 + index % 2;
            let label = format!("{kind}/{} from level {from}", compression.name());
            choices.push(Choice::new(label, move |settings| {
                settings.format.levels = vec![FormatLevel {
                    from,
                    kind: Some(kind.to_owned()),
                    block_size: (index % 2 == 1).then_some(16 * KIB),
                    compression: Some(compression),
                    options: GivenOptions::new(),
                }];
            }));
        }
    }
    Factor::new("below", choices)
}

/// No primary index, and each one with each option changed by itself, in the smallest pool that it works in.
fn indexes(components: &Components) -> Factor {
    let of_kinds = kinds("index", components.indexes(), |s, kind, options| {
        kind.clone_into(&mut s.index.primary);
        s.index.options.clone_from(options);
    });
    let mut choices = vec![Choice::new("fence", |_| {})];
    for choice in of_kinds.choices {
        let registry = components.indexes().clone();
        choices.push(Choice::new(choice.label.clone(), move |settings| {
            (choice.apply)(settings);
            if let Ok(factory) = registry.find(&settings.index.primary) {
                let given = settings.index.options.clone();
                let options = Options::resolve(factory.component.options, given).unwrap_or_default();
                settings.index.pool = (factory.smallest_pool)(&options) as u64;
            }
        }));
    }
    Factor::new(of_kinds.name, choices)
}

/// Each index that can hold secondary indexes with each option changed by itself, in the smallest pool that it works in.
fn secondaries(components: &Components) -> Factor {
    let of_kinds = kinds("secondary", components.indexes(), |s, kind, options| {
        kind.clone_into(&mut s.secondary.kind);
        s.secondary.options.clone_from(options);
    });
    let smallest = |choice: Choice| {
        let registry = components.indexes().clone();
        Choice::new(choice.label.clone(), move |settings| {
            (choice.apply)(settings);
            if let Ok(factory) = registry.find(&settings.secondary.kind) {
                let given = settings.secondary.options.clone();
                let options = Options::resolve(factory.component.options, given).unwrap_or_default();
                settings.secondary.pool = (factory.smallest_pool)(&options) as u64;
            }
        })
    };
    Factor::new(of_kinds.name, of_kinds.choices.into_iter().map(smallest).collect())
}

/// Without deletion vectors, and with them where there is a primary index: the default share of dead rows that a run may have,
/// none, or any.
fn deletion_vectors() -> Factor {
    let mut choices = vec![Choice::new("off", |_| {})];
    for share in [0.5, 0.01, 0.0] {
        choices.push(Choice::new(format!("from {share}"), move |settings| {
            settings.index.deletion_vectors = settings.index.primary != "fence";
            settings.compaction.dead_share = share;
        }));
    }
    Factor::new("deletion_vectors", choices)
}

/// The runs in the manifest, and in each index: at once, or once there are some changes.
fn catalogue(components: &Components) -> Factor {
    let mut choices = vec![Choice::new("manifest", |_| {})];
    for factory in components.indexes().iter() {
        let kind = factory.component.name;
        for changes in [1, 6] {
            choices.push(Choice::new(format!("{kind} from {changes}"), move |settings| {
                kind.clone_into(&mut settings.index.catalogue);
                settings.index.catalogue_changes = changes;
            }));
        }
    }
    Factor::new("catalogue", choices)
}

fn sizes() -> Vec<Factor> {
    let cache = [64 * KIB, 0, 64 * MIB];
    let blocks = [4 * KIB, 256, 64 * KIB];
    let memtables = [64 * KIB, MIB];
    let runs = [64 * KIB, 16 * MIB];
    let segments = [64 * KIB, MIB];
    let levels = [7, 2, 3];
    let work = [(2, 2), (1, 1), (3, 8)];
    let files = [(1000, 2), (8, 1)];
    vec![
        Factor::new(
            "cache",
            cache
                .map(|bytes| Choice::new(bytes.to_string(), move |s| s.cache.capacity = bytes))
                .into(),
        ),
        Factor::new(
            "block_size",
            blocks
                .map(|bytes| Choice::new(bytes.to_string(), move |s| s.format.block_size = Some(bytes)))
                .into(),
        ),
        Factor::new(
            "memtable_size",
            memtables
                .map(|bytes| Choice::new(bytes.to_string(), move |s| s.memtable.size = bytes))
                .into(),
        ),
        Factor::new(
            "run_size",
            runs.map(|bytes| Choice::new(bytes.to_string(), move |s| s.compaction.target_run_size = bytes))
                .into(),
        ),
        Factor::new(
            "segment_size",
            segments
                .map(|bytes| Choice::new(bytes.to_string(), move |s| s.wal.segment_size = bytes))
                .into(),
        ),
        Factor::new(
            "levels",
            levels
                .map(|count| Choice::new(count.to_string(), move |s| s.compaction.levels = count))
                .into(),
        ),
        Factor::new(
            "threads",
            work.map(|(threads, parts)| {
                Choice::new(format!("{threads}x{parts}"), move |s| {
                    s.compaction.threads = threads;
                    s.compaction.max_subcompactions = parts;
                })
            })
            .into(),
        ),
        Factor::new(
            "limits",
            files
                .map(|(files, memtables)| {
                    Choice::new(format!("{files} files, {memtables} memtables"), move |s| {
                        s.limits.max_open_files = files;
                        s.limits.max_immutable_memtables = memtables;
                    })
                })
                .into(),
        ),
    ]
}

fn modes() -> Vec<Factor> {
    let syncs = [SyncMode::Normal, SyncMode::None, SyncMode::Full];
    let recoveries = [
        RecoveryMode::PointInTime,
        RecoveryMode::Absolute,
        RecoveryMode::TolerateTail,
        RecoveryMode::SkipCorrupt,
    ];
    vec![
        Factor::new(
            "compression",
            Compression::ALL
                .map(|codec| Choice::new(codec.name(), move |s| s.format.compression = codec))
                .into(),
        ),
        Factor::new(
            "sync",
            syncs
                .map(|mode| Choice::new(mode.name(), move |s| s.wal.sync = mode))
                .into(),
        ),
        Factor::new(
            "recovery",
            recoveries
                .map(|mode| Choice::new(format!("{mode:?}"), move |s| s.wal.recovery = mode))
                .into(),
        ),
        Factor::new(
            "wal_compression",
            vec![
                Choice::new("none", |_| {}),
                Choice::new("lz4", |s| {
                    s.wal.compression = Compression::Lz4;
                    s.wal.compress_above = 64;
                }),
            ],
        ),
        Factor::new(
            "bits",
            [10.0, 2.0, 0.0]
                .map(|bits| Choice::new(bits.to_string(), move |s| s.filter.bits_per_key = bits))
                .into(),
        ),
        Factor::new(
            "allocation",
            vec![
                Choice::new("uniform", |s| s.filter.allocation = Allocation::Uniform),
                Choice::new("monkey", |s| s.filter.allocation = Allocation::Monkey),
            ],
        ),
        Factor::new(
            "prefix",
            [None, Some(1), Some(4)]
                .map(|prefix| Choice::new(format!("{prefix:?}"), move |s| s.filter.prefix = prefix))
                .into(),
        ),
        Factor::new(
            "publish",
            vec![
                Choice::new("on request", |_| {}),
                Choice::new("typed", |s| s.publish.continuous = true),
                Choice::new("all", |s| {
                    s.publish.continuous = true;
                    s.publish.key_value = true;
                }),
            ],
        ),
        Factor::new(
            "metrics",
            [true, false]
                .map(|on| Choice::new(on.to_string(), move |s| s.metrics.enabled = on))
                .into(),
        ),
    ]
}
