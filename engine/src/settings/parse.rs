//! From TOML text to [`Settings`], remembering the line of each value.

use std::collections::BTreeSet;

use kodiak_core::options::OptionValue;
use kodiak_core::{Error, ErrorKind, Result};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fields::{FIELDS, Field, check_block_size};
use super::units::parse_size;
use super::{FormatLevel, GivenOptions, PRESETS, Settings, compression_from_name};

/// The keys of a `[[format.levels]]` entry, beside component options.
const LEVEL_KEYS: [&str; 4] = ["from", "kind", "block_size", "compression"];

pub(super) fn parse(text: &str) -> Result<Settings> {
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        Error::new(
            ErrorKind::InvalidSettings,
            format!("line {line} is not TOML: {}", error.message()),
        )
    })?;
    let root = document.get_ref();
    let mut settings = match value_of(root, "preset") {
        None => Settings::default(),
        Some(value) => match value.get_ref() {
            DeValue::String(name) => Settings::preset(name)?,
            other => {
                let known = names(&PRESETS.map(|(name, _)| name));
                let message = format!("{} is not one of {known}", kind_of(other));
                return Err(Error::settings("preset", message));
            }
        },
    };
    let mut parser = Parser {
        text,
        settings: &mut settings,
    };
    for (key, value) in root.iter() {
        let section: &str = key.get_ref();
        if section == "preset" {
            continue;
        }
        if !sections().contains(section) {
            let known: Vec<_> = sections().into_iter().collect();
            return Err(parser.at(
                Error::settings(
                    section,
                    format!("unknown section; known are: preset, {}", names(&known)),
                ),
                key.span().start,
            ));
        }
        match value.get_ref() {
            DeValue::Table(table) => parser.section(section, table)?,
            other => {
                let message = format!("must be a section [{section}], not {}", kind_of(other));
                return Err(parser.at(Error::settings(section, message), key.span().start));
            }
        }
    }
    Ok(settings)
}

struct Parser<'t, 's> {
    text: &'t str,
    settings: &'s mut Settings,
}

impl Parser<'_, '_> {
    fn section(&mut self, section: &str, table: &DeTable<'_>) -> Result<()> {
        // The kind first: options that a preset gave to another kind do not apply to this one.
        let kind_key = kind_key(section);
        let kind = Field::find(&format!("{section}.{kind_key}"));
        if let (Some(field), Some(value)) = (kind, value_of(table, kind_key)) {
            let before = field.get(self.settings);
            self.field(field, value)?;
            if field.get(self.settings) != before
                && let Some(options) = options_of(self.settings, section)
            {
                options.clear();
            }
        }
        for (key, value) in table.iter() {
            let name: &str = key.get_ref();
            let path = format!("{section}.{name}");
            if path == "format.levels" {
                self.levels(value)?;
            } else if let Some(field) = Field::find(&path) {
                self.field(field, value)?;
            } else if options_of(self.settings, section).is_some() {
                let given = self.scalar(&path, value)?;
                if let Some(options) = options_of(self.settings, section) {
                    options.insert(name.to_owned(), given.clone());
                }
                self.remember(path, given, value);
            } else {
                let message = format!("unknown setting; those of [{section}] are: {}", own_settings(section));
                return Err(self.at(Error::settings(path, message), key.span().start));
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &'static Field, value: &Spanned<DeValue<'_>>) -> Result<()> {
        let given = self.scalar(field.path, value)?;
        if let Err(error) = field.set(self.settings, &given) {
            return Err(self.at(error, value.span().start));
        }
        if let Some(now) = field.get(self.settings) {
            self.remember(field.path.to_owned(), now, value);
        }
        Ok(())
    }

    fn levels(&mut self, value: &Spanned<DeValue<'_>>) -> Result<()> {
        let DeValue::Array(entries) = value.get_ref() else {
            let error = Error::settings("format.levels", "must be written as [[format.levels]] entries");
            return Err(self.at(error, value.span().start));
        };
        let mut levels: Vec<FormatLevel> = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("format.levels[{index}]");
            let level = self.level(&path, entry)?;
            if levels.last().is_some_and(|above| above.from >= level.from) {
                let message = "each entry's `from` must be larger than that of the entry above it";
                return Err(self.at(Error::settings(format!("{path}.from"), message), entry.span().start));
            }
            levels.push(level);
        }
        self.settings.format.levels = levels;
        Ok(())
    }

    fn level(&mut self, path: &str, entry: &Spanned<DeValue<'_>>) -> Result<FormatLevel> {
        let DeValue::Table(table) = entry.get_ref() else {
            let error = Error::settings(path, "must be written as a [[format.levels]] entry");
            return Err(self.at(error, entry.span().start));
        };
        let mut level = FormatLevel::default();
        if value_of(table, "from").is_none() {
            let error = Error::settings(path, "lacks `from`, the first level that it applies to");
            return Err(self.at(error, entry.span().start));
        }
        for (key, value) in table.iter() {
            let name: &str = key.get_ref();
            let path = format!("{path}.{name}");
            let given = self.scalar(&path, value)?;
            set_level(&mut level, name, &path, &given).map_err(|error| self.at(error, value.span().start))?;
            self.remember(path, given, value);
        }
        Ok(level)
    }

    fn scalar(&self, path: &str, value: &Spanned<DeValue<'_>>) -> Result<OptionValue> {
        let refuse = |what: String| Err(self.at(Error::settings(path, what), value.span().start));
        match value.get_ref() {
            DeValue::String(text) => Ok(OptionValue::Name(text.to_string())),
            DeValue::Boolean(value) => Ok(OptionValue::Bool(*value)),
            DeValue::Integer(number) => match u64::from_str_radix(number.as_str(), number.radix()) {
                Ok(value) => Ok(OptionValue::Int(value)),
                Err(_) => refuse(format!("{number} is not a whole number from 0 to {}", u64::MAX)),
            },
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(OptionValue::Float(value)),
                _ => refuse(format!("{} is not a finite number", number.as_str())),
            },
            other => refuse(format!(
                "a setting is a text, a number, true or false, not {}",
                kind_of(other)
            )),
        }
    }

    fn remember(&mut self, path: String, value: OptionValue, at: &Spanned<DeValue<'_>>) {
        let line = line_of(self.text, at.span().start);
        self.settings.origins.lines.insert(path, (line, value));
    }

    /// Names the line in the message; the setting is named by the error already.
    fn at(&self, error: Error, offset: usize) -> Error {
        let line = line_of(self.text, offset);
        let message = format!("line {line}: {}", error.message());
        Error::settings(error.setting().unwrap_or("settings"), message)
    }
}

/// What a value is, with its article: "an integer".
fn kind_of(value: &DeValue<'_>) -> String {
    let kind = value.type_str();
    let article = if kind.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {kind}")
}

fn set_level(level: &mut FormatLevel, name: &str, path: &str, value: &OptionValue) -> Result<()> {
    match (name, value) {
        ("from", OptionValue::Int(from)) => {
            level.from = usize::try_from(*from).unwrap_or(usize::MAX);
        }
        ("kind", OptionValue::Name(kind)) => level.kind = Some(kind.clone()),
        ("compression", OptionValue::Name(name)) => {
            level.compression = Some(compression_from_name(name).map_err(|error| error.with_setting(path))?);
        }
        ("block_size", OptionValue::Int(size)) => {
            check_block_size(path, *size)?;
            level.block_size = Some(*size);
        }
        ("block_size", OptionValue::Name(text)) => {
            let size = parse_size(text).map_err(|error| error.with_setting(path))?;
            check_block_size(path, size)?;
            level.block_size = Some(size);
        }
        (name, value) if LEVEL_KEYS.contains(&name) => {
            let allowed = if name == "from" {
                "a level's number"
            } else {
                "of the right type"
            };
            return Err(Error::settings(path, format!("{value} is not {allowed}")));
        }
        _ => {
            level.options.insert(name.to_owned(), value.clone());
        }
    }
    Ok(())
}

/// The setting of a section that picks its component.
pub(super) fn kind_key(section: &str) -> &'static str {
    match section {
        "compaction" => "preset",
        "index" => "primary",
        _ => "kind",
    }
}

/// The options of a section's component, if the section has one.
pub(super) fn options_of<'s>(settings: &'s mut Settings, section: &str) -> Option<&'s mut GivenOptions> {
    match section {
        "memtable" => Some(&mut settings.memtable.options),
        "index" => Some(&mut settings.index.options),
        "secondary" => Some(&mut settings.secondary.options),
        "format" => Some(&mut settings.format.options),
        "filter" => Some(&mut settings.filter.options),
        "compaction" => Some(&mut settings.compaction.options),
        "wal" => Some(&mut settings.wal.options),
        _ => None,
    }
}

/// The names of a section's own settings, for messages.
pub(crate) fn own_settings(section: &str) -> String {
    if section.starts_with("format.levels") {
        return LEVEL_KEYS.join(", ");
    }
    let mut known: Vec<_> = FIELDS
        .iter()
        .filter_map(|field| field.path.strip_prefix(section)?.strip_prefix('.'))
        .collect();
    if section == "format" {
        known.push("levels");
    }
    known.join(", ")
}

fn sections() -> BTreeSet<&'static str> {
    FIELDS.iter().filter_map(|field| field.path.split('.').next()).collect()
}

fn names(known: &[&str]) -> String {
    known.join(", ")
}

fn value_of<'t, 'i>(table: &'t DeTable<'i>, name: &str) -> Option<&'t Spanned<DeValue<'i>>> {
    table
        .iter()
        .find(|(key, _)| key.get_ref() == name)
        .map(|(_, value)| value)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(offset)
        .filter(|&&byte| byte == b'\n')
        .count()
        + 1
}
