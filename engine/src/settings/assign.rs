//! One setting from text, as a command line gives it.

use kodiak_core::options::OptionValue;
use kodiak_core::{Error, ErrorKind, Result};

use super::parse::{kind_key, options_of};
use super::{FIELDS, Field, Settings};

impl Settings {
    /// Sets one setting from text, as a settings file would have it (quotes around names and sizes may be left out):
    /// `set("format.kind", "parquet")`. As there, another component loses the options that were given to the one before.
    ///
    /// # Errors
    /// `InvalidSettings` naming the setting and what is allowed.
    pub fn set(&mut self, path: &str, text: &str) -> Result<()> {
        let value = value_of(path, text)?;
        if let Some(field) = Field::find(path) {
            let before = field.get(self);
            field.set(self, &value)?;
            let (section, key) = path.split_once('.').unwrap_or((path, ""));
            if key == kind_key(section)
                && field.get(self) != before
                && let Some(options) = options_of(self, section)
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
        if let Some(options) = options_of(self, section) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_written_as_in_a_file_but_without_quotes() {
        let mut settings = Settings::default();
        for (path, text) in [
            ("format.kind", "parquet"),
            ("memtable.size", "3MiB"),
            ("filter.bits_per_key", "7.5"),
            ("compaction.l0_trigger", "9"),
        ] {
            settings.set(path, text).expect(path);
        }
        assert_eq!(
            (settings.format.kind.as_str(), settings.memtable.size),
            ("parquet", 3 << 20)
        );
        assert_eq!(settings.compaction.options["l0_trigger"], OptionValue::Int(9));
        settings.set("compaction.preset", "tiered").expect("known");
        assert!(settings.compaction.options.is_empty(), "they were another policy's");
        settings.set("index.primary", "bplus").expect("known");
        settings.set("index.page_size", "16KiB").expect("an option");
        assert_eq!(settings.index.options.len(), 1);
        settings.set("index.primary", "fractal").expect("known");
        assert!(settings.index.options.is_empty(), "they were another index's");
        for (path, text, said) in [
            ("cache.size", "3", "cache.capacity"),
            ("store.size", "3", "memtable.kind"),
            ("memtable.size", "-3", "below 0"),
            ("memtable", "3", "section.key=value"),
        ] {
            let error = settings.set(path, text).expect_err(path);
            assert!(
                error.kind() == ErrorKind::InvalidSettings && error.to_string().contains(said),
                "{error}"
            );
        }
    }
}
