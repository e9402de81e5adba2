//! From [`Settings`] back to text, and the question where each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use kodiak_core::options::OptionValue;
use kodiak_core::{Error, Result};

use super::fields::FIELDS;
use super::parse::options_of;
use super::units::format_size;
use super::{FormatLevel, Settings};

/// What a settings file said, for [`Settings::explain`]. It takes no part in comparisons.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    pub(super) file: Option<PathBuf>,
    pub(super) preset: Option<&'static str>,
    pub(super) lines: BTreeMap<String, (usize, OptionValue)>,
}

impl PartialEq for Origins {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nothing set it.
    Default,
    /// The preset of this name.
    Preset(&'static str),
    /// This line of the settings file.
    File(usize),
    /// The program.
    Code,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::Preset(name) => write!(f, "preset {name}"),
            Self::File(line) => write!(f, "file, line {line}"),
            Self::Code => write!(f, "program"),
        }
    }
}

/// One setting with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// The dotted path.
    pub setting: String,
    /// The value as a file would have it; `-` if not set.
    pub value: String,
    /// Where the value came from.
    pub origin: Origin,
}

/// Every setting by dotted path, given component options included, in the order of the documentation.
pub(super) fn flatten(settings: &Settings) -> Vec<(String, Option<OptionValue>)> {
    let mut copy = settings.clone();
    let mut all = Vec::with_capacity(FIELDS.len() + 8);
    let mut fields = FIELDS.iter().peekable();
    while let Some(field) = fields.next() {
        all.push((field.path.to_owned(), field.get(&mut copy)));
        let section = section_of(field.path);
        if fields.peek().is_some_and(|next| section_of(next.path) == section) {
            continue;
        }
        for (name, value) in options_of(&mut copy, section).into_iter().flatten() {
            all.push((format!("{section}.{name}"), Some(value.clone())));
        }
        if section == "format" {
            for (index, level) in settings.format.levels.iter().enumerate() {
                let path = format!("format.levels[{index}]");
                all.extend(
                    level_values(level)
                        .into_iter()
                        .map(|(name, value)| (format!("{path}.{name}"), Some(value))),
                );
            }
        }
    }
    all
}

fn level_values(level: &FormatLevel) -> Vec<(String, OptionValue)> {
    let mut values = vec![("from".to_owned(), OptionValue::Int(level.from as u64))];
    if let Some(kind) = &level.kind {
        values.push(("kind".to_owned(), OptionValue::Name(kind.clone())));
    }
    if let Some(size) = level.block_size {
        values.push(("block_size".to_owned(), OptionValue::Name(format_size(size))));
    }
    if let Some(compression) = level.compression {
        values.push((
            "compression".to_owned(),
            OptionValue::Name(compression.name().to_owned()),
        ));
    }
    values.extend(level.options.iter().map(|(name, value)| (name.clone(), value.clone())));
    values
}

pub(super) fn explain(settings: &Settings) -> Vec<Explained> {
    let default: BTreeMap<_, _> = flatten(&Settings::default()).into_iter().collect();
    let preset = settings.origins.preset;
    let of_preset = preset.and_then(|name| Settings::preset(name).ok());
    let of_preset: BTreeMap<_, _> = of_preset.iter().flat_map(flatten).collect();
    flatten(settings)
        .into_iter()
        .map(|(setting, value)| {
            let written = settings
                .origins
                .lines
                .get(&setting)
                .filter(|(_, was)| same(Some(was), value.as_ref()));
            let origin = match (written, preset) {
                (Some((line, _)), _) => Origin::File(*line),
                (None, None) if default.get(&setting) == Some(&value) => Origin::Default,
                (None, Some(_)) if of_preset.get(&setting) == Some(&value) && default.get(&setting) == Some(&value) => {
                    Origin::Default
                }
                (None, Some(name)) if of_preset.get(&setting) == Some(&value) => Origin::Preset(name),
                _ => Origin::Code,
            };
            let value = value.map_or_else(|| "-".to_owned(), |value| value.to_string());
            Explained { setting, value, origin }
        })
        .collect()
}

impl Settings {
    /// Reads settings from the text of a file, which they remember.
    ///
    /// # Errors
    /// As [`from_toml`](Self::from_toml), naming the file.
    pub(crate) fn from_text_of(path: &Path, text: &str) -> Result<Self> {
        let mut settings = Self::from_toml(text).map_err(|error| error.with_file(path))?;
        settings.origins.file = Some(path.to_owned());
        Ok(settings)
    }

    /// An error about these settings, with the file and the line that say so, if they do.
    pub(crate) fn located(&self, error: Error) -> Error {
        let all = explain(self);
        let found = all.iter().find(|known| Some(known.setting.as_str()) == error.setting());
        match (found.map(|known| &known.origin), &self.origins.file) {
            (Some(Origin::File(line)), Some(file)) if error.file().is_none() => {
                error.with_advice(&format!("line {line} sets it")).with_file(file)
            }
            _ => error,
        }
    }
}

/// Equal, also if one writes as a number of bytes what the other writes with a unit.
pub(super) fn same(left: Option<&OptionValue>, right: Option<&OptionValue>) -> bool {
    let normal = |value: &OptionValue| match value {
        OptionValue::Name(text) => super::units::parse_size(text).map_or_else(|_| value.clone(), OptionValue::Int),
        other => other.clone(),
    };
    left.map(normal) == right.map(normal)
}

pub(super) fn to_table(settings: &Settings) -> toml::Table {
    let mut root = toml::Table::new();
    for (path, value) in flatten(settings) {
        let Some(value) = value else { continue };
        if path.starts_with("format.levels[") {
            continue;
        }
        if let Some((section, name)) = path.split_once('.')
            && let toml::Value::Table(table) = root.entry(section).or_insert_with(|| toml::Table::new().into())
        {
            table.insert(name.to_owned(), to_value(value));
        }
    }
    let levels: Vec<toml::Value> = settings
        .format
        .levels
        .iter()
        .map(|level| {
            let values = level_values(level)
                .into_iter()
                .map(|(name, value)| (name, to_value(value)));
            toml::Value::Table(values.collect())
        })
        .collect();
    if !levels.is_empty()
        && let Some(toml::Value::Table(format)) = root.get_mut("format")
    {
        format.insert("levels".to_owned(), toml::Value::Array(levels));
    }
    root
}

fn to_value(value: OptionValue) -> toml::Value {
    match value {
        OptionValue::Int(value) => match i64::try_from(value) {
            Ok(value) => toml::Value::Integer(value),
            // TOML's integers end at 2^63: larger ones are written as a size.
            Err(_) => toml::Value::String(format!("{value}B")),
        },
        OptionValue::Float(value) => toml::Value::Float(value),
        OptionValue::Bool(value) => toml::Value::Boolean(value),
        OptionValue::Name(value) => toml::Value::String(value),
    }
}

pub(super) fn to_toml(settings: &Settings) -> String {
    to_table(settings).to_string()
}

fn section_of(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}
