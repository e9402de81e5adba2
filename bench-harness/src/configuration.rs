//! Configurations: settings with a name.

use kodiak::components::Components;
use kodiak::core::options::OptionValue;
use kodiak::settings::{FIELDS, Field, GivenOptions, PRESETS};
use kodiak::{Error, ErrorKind, Result, Settings};

/// Settings with a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// What reports call it.
    pub name: String,
    /// The settings.
    pub settings: Settings,
}

/// Memtables that the data should fill, at least: so that flushes and compactions have something to do.
const MEMTABLES: u64 = 8;
const SMALLEST: u64 = 1 << 20;

impl Configuration {
    /// A configuration of a name.
    pub fn new(name: impl Into<String>, settings: Settings) -> Self {
        Self {
            name: name.into(),
            settings,
        }
    }

    /// What is compared where nothing is named: the defaults; then, with one part changed at a time, every other format,
    /// memtable and compaction policy.
    pub fn standard() -> Vec<String> {
        let components = Components::new();
        let formats = components.formats().iter().map(|factory| factory.component.name);
        let memtables = components.memtables().iter().map(|factory| factory.component.name);
        let policies = components.policies().iter().map(|factory| factory.component.name);
        // The first of each family is what the defaults have.
        let others = formats.skip(1).chain(memtables.skip(1)).chain(policies.skip(1));
        std::iter::once("default").chain(others).map(str::to_owned).collect()
    }

    /// Reads a specification: parts joined by `+`, each the name of a preset, the name of a component, or
    /// `section.key=value`; `parquet+skiplist+format.compression=zstd`, for example. Sizes that belong to the amount of data
    /// are scaled down for `data_bytes`, if given.
    ///
    /// # Errors
    /// `InvalidInput` for a part that is none of these, listing what there is; `InvalidSettings` for a value that is not
    /// allowed.
    pub fn parse(specification: &str, data_bytes: Option<u64>) -> Result<Self> {
        let parts: Vec<_> = specification.split('+').map(str::trim).collect();
        let preset = |part: &&str| PRESETS.iter().any(|(name, _)| name == part);
        let mut settings = Settings::preset(parts.iter().copied().find(preset).unwrap_or("default"))?;
        if let Some(bytes) = data_bytes {
            scale(&mut settings, bytes);
        }
        for part in parts.iter().copied().filter(|part| !preset(part)) {
            match part.split_once('=') {
                Some((path, value)) => set(&mut settings, path.trim(), value.trim())?,
                None => set(&mut settings, component(part)?, part)?,
            }
        }
        Ok(Self::new(specification, settings))
    }
}

/// Makes memtables, runs and log segments smaller in proportion, so that data of `bytes` fills several.
pub fn scale(settings: &mut Settings, bytes: u64) {
    let memtable = settings.memtable.size;
    let target = (bytes / MEMTABLES).clamp(SMALLEST.min(memtable), memtable);
    let scaled = |size: u64| ((size as f64 * (target as f64 / memtable as f64)) as u64).clamp(SMALLEST.min(size), size);
    settings.compaction.target_run_size = scaled(settings.compaction.target_run_size);
    settings.wal.segment_size = scaled(settings.wal.segment_size);
    settings.memtable.size = target;
}

/// The setting that picks the component `name`.
fn component(name: &str) -> Result<&'static str> {
    let all = Components::new().describe();
    let found: Vec<_> = all.iter().filter(|component| component.name == name).collect();
    match found.as_slice() {
        [one] => Ok(one.setting),
        [] => {
            let presets = PRESETS.map(|(name, _)| name).join(", ");
            let known: Vec<_> = all.iter().map(|component| component.name).collect();
            Err(Error::invalid_input(format!(
                "\"{name}\" is neither a preset ({presets}), nor a component ({}), nor section.key=value",
                known.join(", ")
            )))
        }
        several => {
            let choices: Vec<_> = several
                .iter()
                .map(|component| format!("{}={name}", component.setting))
                .collect();
            Err(Error::invalid_input(format!(
                "\"{name}\" is more than one component; write {}",
                choices.join(" or ")
            )))
        }
    }
}

/// Sets one setting from text, as a settings file would have it (quotes around names and sizes may be left out). As there,
/// another component loses the options that were given to the one before.
///
/// # Errors
/// `InvalidSettings` naming the setting and what is allowed.
pub fn set(settings: &mut Settings, path: &str, text: &str) -> Result<()> {
    let value = value_of(path, text)?;
    if let Some(field) = Field::find(path) {
        let before = field.get(settings);
        field.set(settings, &value)?;
        let (section, key) = path.split_once('.').unwrap_or((path, ""));
        if matches!((section, key), (_, "kind") | ("compaction", "preset"))
            && field.get(settings) != before
            && let Some(options) = options_of(settings, section)
        {
            options.clear();
        }
        return Ok(());
    }
    let Some((section, key)) = path.split_once('.') else {
        return Err(Error::settings(
            path,
            "write section.key=value, such as format.kind=parquet",
        ));
    };
    if let Some(options) = options_of(settings, section) {
        options.insert(key.to_owned(), value);
        return Ok(());
    }
    let own: Vec<_> = FIELDS
        .iter()
        .map(|field| field.path)
        .filter(|own| own.split('.').next() == Some(section))
        .collect();
    let known = if own.is_empty() {
        FIELDS.iter().map(|field| field.path).collect()
    } else {
        own
    };
    Err(Error::settings(
        path,
        format!("unknown setting; known are: {}", known.join(", ")),
    ))
}

fn value_of(path: &str, text: &str) -> Result<OptionValue> {
    Ok(match text.parse::<toml::Value>() {
        Ok(toml::Value::Boolean(value)) => OptionValue::Bool(value),
        Ok(toml::Value::Float(value)) if value.is_finite() => OptionValue::Float(value),
        Ok(toml::Value::String(value)) => OptionValue::Name(value),
        Ok(toml::Value::Integer(value)) => {
            OptionValue::Int(u64::try_from(value).map_err(|_| {
                Error::new(ErrorKind::InvalidSettings, format!("{value} is below 0")).with_setting(path)
            })?)
        }
        // A name or size without its quotes.
        _ => OptionValue::Name(text.to_owned()),
    })
}

fn options_of<'s>(settings: &'s mut Settings, section: &str) -> Option<&'s mut GivenOptions> {
    match section {
        "memtable" => Some(&mut settings.memtable.options),
        "format" => Some(&mut settings.format.options),
        "filter" => Some(&mut settings.filter.options),
        "compaction" => Some(&mut settings.compaction.options),
        "wal" => Some(&mut settings.wal.options),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(specification: &str) -> Settings {
        Configuration::parse(specification, None).expect("valid").settings
    }

    fn refused(specification: &str) -> String {
        Configuration::parse(specification, None)
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn every_standard_configuration_can_be_used_and_differs_from_the_others() {
        let standard = Configuration::standard();
        let all: Vec<_> = standard.iter().map(|name| parsed(name)).collect();
        for (index, settings) in all.iter().enumerate() {
            Components::new().resolve(settings).expect("they work together");
            assert!(!all[..index].contains(settings), "{}", standard[index]);
        }
    }

    #[test]
    fn parts_are_presets_components_and_single_settings() {
        let settings =
            parsed("parquet + skiplist + format.compression=zstd + memtable.size=3MiB + filter.bits_per_key=7.5");
        assert_eq!(
            (settings.format.kind.as_str(), settings.memtable.kind.as_str()),
            ("parquet", "skiplist")
        );
        assert_eq!(settings.format.compression, kodiak::core::format::Compression::Zstd);
        assert_eq!((settings.memtable.size, settings.filter.bits_per_key), (3 << 20, 7.5));
        let expected = Settings {
            origins: Default::default(),
            ..Settings::preset("write-heavy").expect("known")
        };
        assert_eq!(parsed("write-heavy"), expected);
        assert_eq!(
            parsed("compaction.l0_trigger=9").compaction.options["l0_trigger"],
            OptionValue::Int(9)
        );
        assert_eq!(parsed("filter.prefix=4").filter.prefix, Some(4));
    }

    #[test]
    fn another_component_loses_the_options_of_the_one_before() {
        assert!(parsed("compaction.l0_trigger=9+tiered").compaction.options.is_empty());
        assert_eq!(parsed("tiered+compaction.run_trigger=9").compaction.options.len(), 1);
    }

    #[test]
    fn what_is_unknown_or_ambiguous_is_refused_with_the_choices() {
        assert!(refused("parket").contains("parquet"));
        assert!(refused("none").contains("filter.kind=none or wal.kind=none"));
        assert!(refused("cache.size=3").contains("cache.capacity"));
        assert!(refused("store.size=3").contains("memtable.kind"));
        assert!(refused("memtable.size=much").contains("memtable.size"));
        assert!(refused("memtable.size=-3").contains("below 0"));
    }

    #[test]
    fn sizes_are_scaled_down_but_never_up_or_below_a_mebibyte() {
        let size = |bytes| {
            Configuration::parse("default", Some(bytes))
                .expect("valid")
                .settings
                .memtable
                .size
        };
        assert_eq!(size(80 << 20), 10 << 20);
        assert_eq!(size(100), 1 << 20);
        assert_eq!(size(1 << 40), Settings::default().memtable.size);
        let heavy = Configuration::parse("write-heavy", Some(80 << 20))
            .expect("valid")
            .settings;
        assert_eq!(heavy.compaction.target_run_size, 2 * heavy.memtable.size);
    }
}
