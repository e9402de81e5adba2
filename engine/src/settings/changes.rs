//! What may change between two openings of a database, and when it takes effect.

use std::collections::BTreeMap;
use std::fmt;

use kodiak_core::{Error, Result};

use super::Settings;
use super::explain::{flatten, same};

/// When a changed setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// From this opening on.
    Now,
    /// In runs written from now on; older runs are rewritten as compaction comes to them.
    NewRuns,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => write!(f, "now"),
            Self::NewRuns => write!(f, "in new runs; older ones as compaction rewrites them"),
        }
    }
}

/// A setting that differs from the one that the database was last open with.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The dotted path.
    pub setting: String,
    /// The value before; `-` if it was not set.
    pub old: String,
    /// The value now; `-` if it is not set.
    pub new: String,
    /// When it takes effect.
    pub effect: Effect,
}

/// The differences, in the order of the path. Sections whose values are stored in each run's sidecar (format, filter) change
/// run by run; everything else is a matter of the running process. The one thing that the data itself forbids is to have
/// fewer levels than hold runs.
pub(super) fn changes(old: &Settings, new: &Settings, used_levels: usize) -> Result<Vec<Change>> {
    if new.compaction.levels < used_levels {
        return Err(Error::settings(
            "compaction.levels",
            format!(
                "{} levels are too few: the database has runs down to level {}; keep at least {used_levels}",
                new.compaction.levels,
                used_levels.saturating_sub(1)
            ),
        ));
    }
    let before: BTreeMap<_, _> = flatten(old)
        .into_iter()
        .filter_map(|(path, value)| Some((path, value?)))
        .collect();
    let after: BTreeMap<_, _> = flatten(new)
        .into_iter()
        .filter_map(|(path, value)| Some((path, value?)))
        .collect();
    let mut paths: Vec<&String> = before.keys().chain(after.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    let show = |value: Option<&_>| value.map_or_else(|| "-".to_owned(), ToString::to_string);
    Ok(paths
        .into_iter()
        .filter(|path| !same(before.get(*path), after.get(*path)))
        .map(|path| Change {
            setting: path.clone(),
            old: show(before.get(path)),
            new: show(after.get(path)),
            effect: effect_of(path),
        })
        .collect())
}

fn effect_of(path: &str) -> Effect {
    let by_run = path.starts_with("format.") || path.starts_with("filter.") || path == "compaction.target_run_size";
    if by_run { Effect::NewRuns } else { Effect::Now }
}
