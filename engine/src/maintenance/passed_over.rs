//! Settings kept with a database that this program cannot use: whoever reads or mends it does without them where that can be.

use std::path::Path;

use kodiak_core::{Error, Result};

use crate::components::Components;
use crate::db::Builder;
use crate::settings::{SETTINGS_FILE, Settings};

/// What every passed over setting is told with.
const ADVICE: &str = "passed over, and left as it is";

impl Builder {
    /// This builder with defaults in the place of what it was given of the settings that the database at `path` has, and cannot
    /// use; and what that is. What the log is like must be known.
    ///
    /// # Errors
    /// `InvalidSettings` for others.
    pub(super) fn passing_over(mut self, path: &Path) -> Result<(Self, Vec<Error>)> {
        let file = path.join(SETTINGS_FILE);
        let of_log = |error: Error| {
            error.with_advice(
                "the log cannot be read without it: use a program that knows it, or say in the settings what log it is",
            )
        };
        let passed_over = pass_over(
            &self.components,
            &mut self.settings,
            &Settings::default(),
            &|error, section| match section {
                _ if error.file() != Some(&*file) => Err(error),
                "wal" => Err(of_log(error)),
                _ => Ok(error),
            },
        )?;
        Ok((self, passed_over))
    }
}

/// Puts those of other settings in the place of the sections that cannot be used and that `may` be passed over; returns why they cannot.
///
/// # Errors
/// Those of `may`; `InvalidSettings` if that does not help.
pub(super) fn pass_over(
    components: &Components,
    settings: &mut Settings,
    instead: &Settings,
    may: &dyn Fn(Error, &str) -> Result<Error>,
) -> Result<Vec<Error>> {
    let (mut passed_over, mut sections) = (Vec::new(), Vec::new());
    while let Err(error) = components.resolve(settings) {
        let section = error.setting().and_then(|setting| setting.split('.').next());
        let section = section.unwrap_or_default().to_owned();
        if sections.contains(&section) || !replace(settings, &section, instead) {
            return Err(error);
        }
        passed_over.push(may(error, &section)?.with_advice(ADVICE));
        sections.push(section);
    }
    Ok(passed_over)
}

/// Replaces the section of a component; false if it is of none.
fn replace(settings: &mut Settings, section: &str, instead: &Settings) -> bool {
    match section {
        "memtable" => settings.memtable.clone_from(&instead.memtable),
        "format" => settings.format.clone_from(&instead.format),
        "filter" => settings.filter.clone_from(&instead.filter),
        "index" => settings.index.clone_from(&instead.index),
        "secondary" => settings.secondary.clone_from(&instead.secondary),
        "compaction" => settings.compaction.clone_from(&instead.compaction),
        "wal" => settings.wal.clone_from(&instead.wal),
        _ => return false,
    }
    true
}
