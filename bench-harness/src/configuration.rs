//! Configurations: settings with a name.

use kodiak::components::Components;
use kodiak::settings::PRESETS;
use kodiak::{Error, Result, Settings};

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
                Some((path, value)) => settings.set(path.trim(), value.trim())?,
                None => settings.set(component(part)?, part)?,
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

#[cfg(test)]
mod tests {
    use kodiak::core::options::OptionValue;

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
