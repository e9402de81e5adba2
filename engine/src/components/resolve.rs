//! From settings to components, refusing what cannot work.

use std::sync::Arc;

use kodiak_core::compaction::PolicyContext;
use kodiak_core::format::{BlockFormat, Compression, WriteOptions};
use kodiak_core::index::IndexFactory;
use kodiak_core::options::{OptionKind, OptionSpec, OptionValue, Options};
use kodiak_core::registry::{Factory, Registry};
use kodiak_core::wal::SyncMode;
use kodiak_core::{Error, Result};

use super::{Components, LevelFormat, Picked, Resolved, option_names};
use super::{stored_index, stored_indexes};
use crate::settings::units::{format_size, parse_size};
use crate::settings::{Allocation, FENCE, FormatSettings, GivenOptions, MANIFEST, Settings, own_settings};

pub(super) fn resolve(components: &Components, settings: &Settings) -> Result<Resolved> {
    settings.check_ranges()?;
    let s = settings;
    let resolved = Resolved {
        memtable: pick(
            &components.memtables,
            "memtable",
            "kind",
            &s.memtable.kind,
            &s.memtable.options,
        )?,
        wal: pick(&components.wals, "wal", "kind", &s.wal.kind, &s.wal.options)?,
        filter: pick(&components.filters, "filter", "kind", &s.filter.kind, &s.filter.options)?,
        index: index(components, settings)?,
        catalogue: catalogue(settings)?,
        secondary: secondary(components, settings)?,
        policy: pick(
            &components.policies,
            "compaction",
            "preset",
            &s.compaction.preset,
            &s.compaction.options,
        )?,
        levels: levels(components, settings)?,
        settings: settings.clone(),
        components: components.clone(),
    };
    check_wal(&resolved, components)?;
    check_filter(&resolved, components)?;
    check_backpressure(&resolved)?;
    check_memory(settings)?;
    check_publishing(&resolved, components)?;
    Ok(resolved)
}

pub(super) fn policy_context(settings: &Settings, ttl_micros: u64) -> PolicyContext {
    PolicyContext {
        levels: settings.compaction.levels,
        memtable_bytes: settings.memtable.size,
        target_run_bytes: settings.compaction.target_run_size,
        ttl_micros,
        dead_share: settings.compaction.dead_share,
    }
}

/// Finds a component and completes its options. `section` and `key` say which setting names it.
fn pick<F: Factory>(
    registry: &Registry<F>,
    section: &str,
    key: &str,
    name: &str,
    given: &GivenOptions,
) -> Result<Picked<F>> {
    let factory = registry
        .find(name)
        .map_err(|error| error.with_setting(format!("{section}.{key}")))?;
    let specs = factory.component().options;
    let options = options(specs, section, name, given)?;
    Ok(Picked { factory, options })
}

/// The primary index; `None` for fences.
fn index(components: &Components, settings: &Settings) -> Result<Option<Picked<IndexFactory>>> {
    let given = &settings.index;
    if given.primary == FENCE {
        if given.deletion_vectors {
            let known: Vec<_> = components
                .indexes
                .iter()
                .map(|factory| factory.component.name)
                .collect();
            let message = format!(
                "index.deletion_vectors = true needs to be told which row an update displaces, which index.primary = \"{FENCE}\" \
                 does not know; set index.primary to one of: {}",
                list(&known)
            );
            return Err(Error::settings("index.deletion_vectors", message));
        }
        options(&[], "index", FENCE, &given.options)?;
        return Ok(None);
    }
    let picked = pick(&components.indexes, "index", "primary", &given.primary, &given.options).map_err(|error| {
        match error.setting() {
            Some("index.primary") => Error::settings("index.primary", format!("{}, or {FENCE}", error.message())),
            _ => error,
        }
    })?;
    check_pool(&picked, "index", "primary", given.pool)?;
    Ok(Some(picked))
}

/// The catalogue; `None` for the manifest.
fn catalogue(settings: &Settings) -> Result<Option<&'static IndexFactory>> {
    let kind = settings.index.catalogue.as_str();
    if kind == MANIFEST {
        return Ok(None);
    }
    let factory = stored_index(kind).ok_or_else(|| {
        let known = list(&stored_indexes());
        let message = format!("\"{kind}\" is not known; there are: {known}, or {MANIFEST}");
        Error::settings("index.catalogue", message)
    })?;
    Ok(Some(factory))
}

/// What holds secondary indexes.
fn secondary(components: &Components, settings: &Settings) -> Result<Picked<IndexFactory>> {
    let given = &settings.secondary;
    let picked = pick(&components.indexes, "secondary", "kind", &given.kind, &given.options)?;
    check_pool(&picked, "secondary", "kind", given.pool)?;
    Ok(picked)
}

pub(super) fn check_pool(picked: &Picked<IndexFactory>, section: &str, key: &str, pool: u64) -> Result<()> {
    let smallest = (picked.factory.smallest_pool)(&picked.options) as u64;
    if pool >= smallest {
        return Ok(());
    }
    let message = format!(
        "{section}.pool = {} is too small for nodes of {section}.{key} = \"{}\" with these options: it takes {}, about eight of \
         them; raise it, or make nodes smaller",
        format_size(pool),
        picked.factory.component.name,
        format_size(smallest)
    );
    Err(Error::settings(format!("{section}.pool"), message))
}

fn options(specs: &[OptionSpec], section: &str, kind: &str, given: &GivenOptions) -> Result<Options> {
    let mut values = Vec::with_capacity(given.len());
    for (name, value) in given {
        let path = format!("{section}.{name}");
        let Some(spec) = specs.iter().find(|spec| spec.name == name) else {
            let own = own_settings(section);
            let message = format!(
                "unknown setting; known here are: {own}; options of \"{kind}\": {}",
                option_names(specs)
            );
            return Err(Error::settings(path, message));
        };
        let value = match (spec.kind, value) {
            (OptionKind::Bytes { .. } | OptionKind::Int { .. }, OptionValue::Name(text)) => {
                OptionValue::Int(parse_size(text).map_err(|error| error.with_setting(&path))?)
            }
            _ => value.clone(),
        };
        let value = spec
            .check(value)
            .map_err(|error| Error::settings(path, error.message()))?;
        values.push((name.clone(), value));
    }
    Options::resolve(specs, values)
}

fn levels(components: &Components, settings: &Settings) -> Result<Vec<LevelFormat>> {
    let mut made: Vec<(&'static str, Arc<dyn BlockFormat>)> = Vec::new();
    let mut above: Option<usize> = None;
    for (index, entry) in settings.format.levels.iter().enumerate() {
        let path = || format!("format.levels[{index}].from");
        if above.is_some_and(|above| above >= entry.from) {
            return Err(Error::settings(
                path(),
                "each entry's `from` must be larger than that of the entry above it",
            ));
        }
        if entry.from >= settings.compaction.levels {
            let (from, levels) = (entry.from, settings.compaction.levels);
            let message = format!(
                "level {from} does not exist: compaction.levels is {levels}, so the last is {}",
                levels - 1
            );
            return Err(Error::settings(path(), message));
        }
        above = Some(entry.from);
    }
    (0..settings.compaction.levels)
        .map(|level| {
            let of = (0..settings.format.levels.len())
                .rev()
                .find(|&index| settings.format.levels[index].from <= level);
            let section = of.map_or_else(|| "format".to_owned(), |index| format!("format.levels[{index}]"));
            level_format(components, &settings.format_at(level), &section, &mut made)
        })
        .collect()
}

fn level_format(
    components: &Components,
    format: &FormatSettings,
    section: &str,
    made: &mut Vec<(&'static str, Arc<dyn BlockFormat>)>,
) -> Result<LevelFormat> {
    let picked = pick(&components.formats, section, "kind", &format.kind, &format.options)?;
    let factory = picked.factory;
    let offered = factory.capabilities.compressions;
    if !offered.contains(&format.compression) {
        let offered: Vec<_> = offered.iter().map(|compression| compression.name()).collect();
        let others: Vec<_> = components
            .formats
            .iter()
            .filter(|other| other.capabilities.compressions.contains(&format.compression))
            .map(|other| other.component.name)
            .collect();
        return Err(Error::settings(
            format!("{section}.compression"),
            format!(
                "{section}.kind = \"{}\" does not offer \"{}\"; it offers: {}; formats that do are: {}",
                format.kind,
                format.compression.name(),
                offered.join(", "),
                list(&others)
            ),
        ));
    }
    let name = factory.component.name;
    let block_format = match made.iter().find(|(known, _)| *known == name) {
        Some((_, format)) => Arc::clone(format),
        None => {
            let format = (factory.create)();
            made.push((name, Arc::clone(&format)));
            format
        }
    };
    Ok(LevelFormat {
        factory,
        format: block_format,
        write: WriteOptions {
            compression: format.compression,
            options: picked.options,
        },
        block_size: format
            .block_size
            .map(|size| usize::try_from(size).unwrap_or(usize::MAX)),
    })
}

fn check_wal(resolved: &Resolved, components: &Components) -> Result<()> {
    let wal = &resolved.settings.wal;
    if wal.sync == SyncMode::Full && !resolved.wal.factory.capabilities.durable {
        let durable: Vec<_> = components
            .wals
            .iter()
            .filter(|factory| factory.capabilities.durable)
            .map(|factory| factory.component.name)
            .collect();
        return Err(Error::settings(
            "wal.sync",
            format!(
                "wal.sync = \"full\" promises what wal.kind = \"{}\" cannot keep; logs that can are: {}; or set wal.sync to none or normal",
                wal.kind,
                list(&durable)
            ),
        ));
    }
    if !matches!(wal.compression, Compression::None | Compression::Lz4) {
        return Err(Error::settings(
            "wal.compression",
            format!("\"{}\" is not one of none, lz4", wal.compression.name()),
        ));
    }
    Ok(())
}

fn check_filter(resolved: &Resolved, components: &Components) -> Result<()> {
    let filter = &resolved.settings.filter;
    let capabilities = &resolved.filter.factory.capabilities;
    // A filter of no bits has none to share out: with it the allocation says nothing.
    let has_bits = capabilities.typical_bits_per_key > 0.0;
    if filter.allocation == Allocation::Monkey && has_bits && !capabilities.adjustable_bits {
        let able: Vec<_> = components
            .filters
            .iter()
            .filter(|factory| factory.capabilities.adjustable_bits)
            .map(|factory| factory.component.name)
            .collect();
        return Err(Error::settings(
            "filter.allocation",
            format!(
                "filter.allocation = \"monkey\" varies the bits per key, but those of filter.kind = \"{}\" are fixed; \
                 set filter.allocation to uniform, or filter.kind to one of: {}",
                filter.kind,
                list(&able)
            ),
        ));
    }
    if let Some(prefix) = filter.prefix {
        if !has_bits {
            let message = format!(
                "filter.prefix = {prefix} needs a filter, but filter.kind = \"{}\" keeps none",
                filter.kind
            );
            return Err(Error::settings("filter.prefix", message));
        }
        if prefix as u64 > resolved.settings.limits.max_key {
            let longest = resolved.settings.limits.max_key;
            let message = format!("filter.prefix = {prefix} is longer than any key: limits.max_key is {longest} bytes");
            return Err(Error::settings("filter.prefix", message));
        }
    }
    Ok(())
}

fn check_backpressure(resolved: &Resolved) -> Result<()> {
    let limits = &resolved.settings.backpressure;
    let due = resolved
        .create_policy(0)
        .map_err(|error| error.with_setting("compaction.preset"))?
        .runs_allowed(0);
    if limits.l0_stop < limits.l0_slowdown {
        return Err(Error::settings(
            "backpressure.l0_stop",
            format!(
                "backpressure.l0_stop = {} is below backpressure.l0_slowdown = {}: raise the one or lower the other",
                limits.l0_stop, limits.l0_slowdown
            ),
        ));
    }
    if limits.l0_slowdown < due {
        return Err(Error::settings(
            "backpressure.l0_slowdown",
            format!(
                "backpressure.l0_slowdown = {} would slow writers down before compaction.preset = \"{}\" has anything to do: \
                 it lets level 0 hold {due} runs; set l0_slowdown to {due} or more",
                limits.l0_slowdown, resolved.settings.compaction.preset
            ),
        ));
    }
    if limits.pending_stop < limits.pending_slowdown {
        return Err(Error::settings(
            "backpressure.pending_stop",
            format!(
                "backpressure.pending_stop = {} is below backpressure.pending_slowdown = {}: raise the one or lower the other",
                format_size(limits.pending_stop),
                format_size(limits.pending_slowdown)
            ),
        ));
    }
    Ok(())
}

fn check_publishing(resolved: &Resolved, components: &Components) -> Result<()> {
    if !resolved.settings.publish.continuous {
        return Ok(());
    }
    let closed = |format: &&LevelFormat| !format.factory.capabilities.open;
    if let Some(format) = resolved.levels.iter().find(closed) {
        let open: Vec<_> = components
            .formats
            .iter()
            .filter(|factory| factory.capabilities.open)
            .map(|factory| factory.component.name)
            .collect();
        return Err(Error::settings(
            "publish.continuous",
            format!(
                "publish.continuous = true makes tables readable for other programs, but they do not read \"{}\", which \
                 format.kind or one of format.levels names: take of these: {}",
                format.factory.component.name,
                list(&open)
            ),
        ));
    }
    Ok(())
}

fn check_memory(settings: &Settings) -> Result<()> {
    let limits = &settings.limits;
    let needed = settings.memory_needed();
    if let Some(budget) = limits.memory_budget
        && budget < needed
    {
        return Err(Error::settings(
            "limits.memory_budget",
            format!(
                "limits.memory_budget = {} is too little: memtable.size = {} times {} (limits.max_immutable_memtables + 1), \
                 cache.capacity = {}, {} for primary indexes, {} for the catalogue and {} for each of compaction.threads = {} come to {}",
                format_size(budget),
                format_size(settings.memtable.size),
                limits.max_immutable_memtables + 1,
                format_size(settings.cache.capacity),
                format_size(settings.index_memory()),
                format_size(settings.catalogue_memory()),
                format_size(crate::settings::WORK_BYTES_PER_THREAD),
                settings.compaction.threads,
                format_size(needed)
            ),
        ));
    }
    Ok(())
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
