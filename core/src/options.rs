//! Settings of a component, declared by the component itself.
//!
//! A component lists its options with defaults, ranges and help; the builder checks a settings file against the list, so
//! that an unknown or malformed option is refused before anything is built, and `kodiak settings` prints the list.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Error, Result};

/// The value of an option.
#[derive(Debug, Clone, PartialEq)]
pub enum OptionValue {
    /// A count, or a size in bytes (written as "64KiB" in a settings file).
    Int(u64),
    /// A ratio or a number of bits.
    Float(f64),
    /// On or off.
    Bool(bool),
    /// One of the names that the specification lists.
    Name(String),
}

impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Name(value) => write!(f, "{value}"),
        }
    }
}

/// What an option may be, and its default.
#[derive(Debug, Clone, Copy)]
pub enum OptionKind {
    /// A count.
    Int {
        /// Used when the settings do not name the option.
        default: u64,
        /// Smallest and largest value allowed.
        range: (u64, u64),
    },
    /// A size in bytes.
    Bytes {
        /// Used when the settings do not name the option.
        default: u64,
        /// Smallest and largest value allowed.
        range: (u64, u64),
    },
    /// A real number.
    Float {
        /// Used when the settings do not name the option.
        default: f64,
        /// Smallest and largest value allowed.
        range: (f64, f64),
    },
    /// On or off.
    Bool {
        /// Used when the settings do not name the option.
        default: bool,
    },
    /// One of several names; the first is the default.
    Name {
        /// The names allowed.
        names: &'static [&'static str],
    },
}

/// One option of a component.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Its key in the component's section of the settings file.
    pub name: &'static str,
    /// What it may be.
    pub kind: OptionKind,
    /// One sentence of help.
    pub help: &'static str,
}

impl OptionSpec {
    /// The default.
    pub fn default_value(&self) -> OptionValue {
        match self.kind {
            OptionKind::Int { default, .. } | OptionKind::Bytes { default, .. } => OptionValue::Int(default),
            OptionKind::Float { default, .. } => OptionValue::Float(default),
            OptionKind::Bool { default } => OptionValue::Bool(default),
            OptionKind::Name { names } => OptionValue::Name(names[0].to_owned()),
        }
    }

    /// Checks `value` against the kind and range; an integer is accepted where a float is asked.
    ///
    /// # Errors
    /// `InvalidSettings` that says what is allowed.
    pub fn check(&self, value: OptionValue) -> Result<OptionValue> {
        let allowed = match (self.kind, &value) {
            (OptionKind::Int { range, .. } | OptionKind::Bytes { range, .. }, OptionValue::Int(v)) => {
                if (range.0..=range.1).contains(v) {
                    return Ok(value);
                }
                format!("a number from {} to {}", range.0, range.1)
            }
            (OptionKind::Float { range, .. }, OptionValue::Int(v)) => {
                return self.check_float(*v as f64, range);
            }
            (OptionKind::Float { range, .. }, OptionValue::Float(v)) => {
                return self.check_float(*v, range);
            }
            (OptionKind::Bool { .. }, OptionValue::Bool(_)) => return Ok(value),
            (OptionKind::Name { names }, OptionValue::Name(v)) => {
                if names.contains(&v.as_str()) {
                    return Ok(value);
                }
                format!("one of {}", names.join(", "))
            }
            (OptionKind::Int { .. }, _) => "a whole number".to_owned(),
            (OptionKind::Bytes { .. }, _) => "a size such as \"64KiB\"".to_owned(),
            (OptionKind::Float { .. }, _) => "a number".to_owned(),
            (OptionKind::Bool { .. }, _) => "true or false".to_owned(),
            (OptionKind::Name { names }, _) => format!("one of {}", names.join(", ")),
        };
        Err(Error::settings(self.name, format!("{value} is not {allowed}")))
    }

    fn check_float(&self, value: f64, range: (f64, f64)) -> Result<OptionValue> {
        if (range.0..=range.1).contains(&value) {
            return Ok(OptionValue::Float(value));
        }
        Err(Error::settings(
            self.name,
            format!("{value} is not a number from {} to {}", range.0, range.1),
        ))
    }
}

/// The options of one component, checked and complete: every option of its list has a value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options(BTreeMap<String, OptionValue>);

impl Options {
    /// The defaults of `specs`.
    pub fn defaults(specs: &[OptionSpec]) -> Self {
        Self(
            specs
                .iter()
                .map(|spec| (spec.name.to_owned(), spec.default_value()))
                .collect(),
        )
    }

    /// `given` over the defaults of `specs`.
    ///
    /// # Errors
    /// `InvalidSettings` for an option that is not in `specs` (listing those that are) or whose value is not allowed.
    pub fn resolve(specs: &[OptionSpec], given: impl IntoIterator<Item = (String, OptionValue)>) -> Result<Self> {
        let mut options = Self::defaults(specs);
        for (name, value) in given {
            let Some(spec) = specs.iter().find(|spec| spec.name == name) else {
                let known: Vec<_> = specs.iter().map(|spec| spec.name).collect();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                return Err(Error::settings(
                    name,
                    format!("unknown option; this component's options are: {known}"),
                ));
            };
            options.0.insert(name, spec.check(value)?);
        }
        Ok(options)
    }

    /// Every option with its value, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &OptionValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The option `name` as a number.
    ///
    /// # Panics
    /// If the component's list has no such number: a mistake in the component, found by its first test.
    pub fn int(&self, name: &str) -> u64 {
        match self.0.get(name) {
            Some(OptionValue::Int(value)) => *value,
            other => panic!("option {name} is {other:?}, not a number"),
        }
    }

    /// The option `name` as a number that fits memory. Panics as [`int`](Self::int) does.
    pub fn size(&self, name: &str) -> usize {
        usize::try_from(self.int(name)).unwrap_or(usize::MAX)
    }

    /// The option `name` as a real number. Panics as [`int`](Self::int) does.
    pub fn float(&self, name: &str) -> f64 {
        match self.0.get(name) {
            Some(OptionValue::Float(value)) => *value,
            other => panic!("option {name} is {other:?}, not a real number"),
        }
    }

    /// The option `name` as a switch. Panics as [`int`](Self::int) does.
    pub fn bool(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(OptionValue::Bool(value)) => *value,
            other => panic!("option {name} is {other:?}, not a switch"),
        }
    }

    /// The option `name` as one of its names. Panics as [`int`](Self::int) does.
    pub fn name(&self, name: &str) -> &str {
        match self.0.get(name) {
            Some(OptionValue::Name(value)) => value,
            other => panic!("option {name} is {other:?}, not a name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[OptionSpec] = &[
        OptionSpec {
            name: "buckets",
            kind: OptionKind::Int {
                default: 8,
                range: (1, 64),
            },
            help: "How many.",
        },
        OptionSpec {
            name: "share",
            kind: OptionKind::Float {
                default: 0.5,
                range: (0.0, 1.0),
            },
            help: "How much.",
        },
        OptionSpec {
            name: "codec",
            kind: OptionKind::Name {
                names: &["none", "lz4"],
            },
            help: "Which.",
        },
    ];

    #[test]
    fn given_values_replace_defaults() {
        let options = Options::resolve(SPECS, [("share".to_owned(), OptionValue::Int(1))]).expect("valid");
        assert_eq!(
            (options.int("buckets"), options.float("share"), options.name("codec")),
            (8, 1.0, "none")
        );
    }

    #[test]
    fn unknown_and_out_of_range_options_say_what_is_allowed() {
        let unknown = Options::resolve(SPECS, [("bucket".to_owned(), OptionValue::Int(1))]).expect_err("unknown");
        assert!(unknown.to_string().contains("buckets, share, codec"), "{unknown}");
        let range = Options::resolve(SPECS, [("buckets".to_owned(), OptionValue::Int(65))]).expect_err("range");
        assert!(range.to_string().contains("from 1 to 64"), "{range}");
        let name = Options::resolve(SPECS, [("codec".to_owned(), OptionValue::Name("zip".into()))]).expect_err("name");
        assert!(name.to_string().contains("none, lz4"), "{name}");
    }
}
