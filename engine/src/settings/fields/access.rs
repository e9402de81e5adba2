//! Reading and writing one setting.

use kodiak_core::options::OptionValue;
use kodiak_core::{Error, Result};

use super::{Access, BLOCK_SIZE, FIELDS, Field};
use crate::settings::Settings;
use crate::settings::units::{format_size, parse_size};

impl Field {
    /// The setting of a dotted path.
    pub fn find(path: &str) -> Option<&'static Self> {
        FIELDS.iter().find(|field| field.path == path)
    }

    /// What may be written: `size`, `count`, `number`, `true or false`, `name of a component`, or the names.
    pub fn allowed(&self) -> String {
        match &self.access {
            Access::Size(_, range) | Access::MaybeSize(_, range) => {
                format!("a size from {} to {}", format_size(range.0), format_size(range.1))
            }
            Access::Count(_, range) | Access::MaybeCount(_, range) => {
                format!("a whole number from {} to {}", range.0, range.1)
            }
            Access::Float(_, range) => format!("a number from {} to {}", range.0, range.1),
            Access::Bool(_) => "true or false".to_owned(),
            Access::Text(_) => "the name of a component".to_owned(),
            Access::Name { names, .. } => format!("one of {}", names.join(", ")),
        }
    }

    /// The value, in the form in which a file would have it; `None` if it is not set.
    pub fn get(&self, settings: &mut Settings) -> Option<OptionValue> {
        Some(match &self.access {
            Access::Size(access, _) => OptionValue::Name(format_size(*access(settings))),
            Access::MaybeSize(access, _) => OptionValue::Name(format_size((*access(settings))?)),
            Access::Count(access, _) => OptionValue::Int(*access(settings) as u64),
            Access::MaybeCount(access, _) => OptionValue::Int((*access(settings))? as u64),
            Access::Float(access, _) => OptionValue::Float(*access(settings)),
            Access::Bool(access) => OptionValue::Bool(*access(settings)),
            Access::Text(access) => OptionValue::Name(access(settings).clone()),
            Access::Name { names, get, .. } => OptionValue::Name(names.get(get(settings))?.to_string()),
        })
    }

    /// Sets the value.
    ///
    /// # Errors
    /// `InvalidSettings` naming the setting and what is allowed.
    pub fn set(&self, settings: &mut Settings, value: &OptionValue) -> Result<()> {
        match &self.access {
            Access::Size(access, _) => *access(settings) = self.size(value)?,
            Access::MaybeSize(access, _) => *access(settings) = Some(self.size(value)?),
            Access::Count(access, _) => *access(settings) = self.count(value)?,
            Access::MaybeCount(access, _) => *access(settings) = Some(self.count(value)?),
            Access::Float(access, _) => {
                *access(settings) = match value {
                    OptionValue::Int(value) => *value as f64,
                    OptionValue::Float(value) => *value,
                    _ => return Err(self.refuse(value)),
                }
            }
            Access::Bool(access) => match value {
                OptionValue::Bool(value) => *access(settings) = *value,
                _ => return Err(self.refuse(value)),
            },
            Access::Text(access) => match value {
                OptionValue::Name(value) => access(settings).clone_from(value),
                _ => return Err(self.refuse(value)),
            },
            Access::Name { names, set, .. } => match value {
                OptionValue::Name(name) if names.contains(&name.as_str()) => {
                    set(
                        settings,
                        names.iter().position(|known| known == name).unwrap_or_default(),
                    );
                }
                _ => return Err(self.refuse(value)),
            },
        }
        self.check(settings)
    }

    /// Checks that the value is in its range.
    ///
    /// # Errors
    /// `InvalidSettings` naming the setting and the range.
    pub fn check(&self, settings: &mut Settings) -> Result<()> {
        let good = match &self.access {
            Access::Size(access, range) => (range.0..=range.1).contains(access(settings)),
            Access::MaybeSize(access, range) => access(settings).is_none_or(|v| (range.0..=range.1).contains(&v)),
            Access::Count(access, range) => (range.0..=range.1).contains(access(settings)),
            Access::MaybeCount(access, range) => access(settings).is_none_or(|v| (range.0..=range.1).contains(&v)),
            Access::Float(access, range) => (range.0..=range.1).contains(access(settings)),
            Access::Bool(_) | Access::Text(_) => true,
            Access::Name { names, get, .. } => get(settings) < names.len(),
        };
        match self.get(settings) {
            _ if good => Ok(()),
            Some(value) => Err(self.refuse(&value)),
            None => Err(Error::settings(self.path, format!("is not {}", self.allowed()))),
        }
    }

    fn size(&self, value: &OptionValue) -> Result<u64> {
        match value {
            OptionValue::Int(bytes) => Ok(*bytes),
            OptionValue::Name(text) => parse_size(text).map_err(|error| error.with_setting(self.path)),
            _ => Err(self.refuse(value)),
        }
    }

    fn count(&self, value: &OptionValue) -> Result<usize> {
        match value {
            OptionValue::Int(count) => usize::try_from(*count).map_err(|_| self.refuse(value)),
            _ => Err(self.refuse(value)),
        }
    }

    fn refuse(&self, value: &OptionValue) -> Error {
        Error::settings(self.path, format!("{value} is not {}", self.allowed()))
    }
}

/// Checks the block size of a `[[format.levels]]` entry.
pub(in crate::settings) fn check_block_size(path: &str, size: u64) -> Result<()> {
    if (BLOCK_SIZE.0..=BLOCK_SIZE.1).contains(&size) {
        return Ok(());
    }
    let (low, high) = (format_size(BLOCK_SIZE.0), format_size(BLOCK_SIZE.1));
    Err(Error::settings(
        path,
        format!("{} is not a size from {low} to {high}", format_size(size)),
    ))
}
