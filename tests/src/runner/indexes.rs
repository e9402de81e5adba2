//! Secondary indexes, compared with scans.

use std::collections::{BTreeSet, HashSet};

use kodiak::settings::Maintenance;
use kodiak::{ErrorKind, IndexDefinition, IndexOptions, ScanOptions, Slice, Snapshot, Table};

use super::{Outcome, Runner, failed};
use crate::history::Write;
use crate::model::{Content, Model, TABLES};

/// The columns of an index, by `what`: their numbers, and whether they are descending.
pub(super) fn indexed_columns(key_value: bool, what: usize) -> Vec<(u32, bool)> {
    match (key_value, what % KINDS) {
        // Of key-value tables values, which may well be equal; of typed ones a part of the key that no two rows share.
        (_, UNIQUE) => vec![(1, false)],
        (true, 0 | 1) => vec![(1, false)],
        (true, _) => vec![(1, true), (0, false)],
        (false, 0) => vec![(0, false)],
        (false, 1) => vec![(2, false)],
        (false, 2) => vec![(0, true), (2, false)],
        (false, _) => vec![(2, false), (1, true)],
    }
}

/// An index of some columns of a table, by `what`; indexes of a table have different names.
fn definition(table: &Table, what: usize) -> Option<IndexDefinition> {
    let schema = table.schema();
    // Whatever they are called by now.
    let named = |(number, descending): (u32, bool)| {
        let name = schema.columns().field(schema.index_of_number(number)?).name();
        Some(format!("{}{name}", if descending { "-" } else { "" }))
    };
    let columns: Option<Vec<String>> = indexed_columns(schema.is_key_value(), what)
        .into_iter()
        .map(named)
        .collect();
    let definition = IndexDefinition::on(name(what), columns?);
    Some(if what % KINDS == UNIQUE {
        definition.unique()
    } else {
        definition
    })
}

/// Definitions that a table can have; the one that is unique.
const KINDS: usize = 5;
const UNIQUE: usize = 4;

/// Of these, those that refuse no write.
pub const ANY_VALUES: usize = UNIQUE;

fn name(what: usize) -> String {
    format!("index {}", what % KINDS)
}

/// What an index of this name is by.
pub(super) fn what_of(name: &str) -> usize {
    (0..KINDS).find(|&what| self::name(what) == name).unwrap_or_default()
}

/// True if no two entries of a key-value table have the same value.
fn is_unique(content: &Content) -> bool {
    let mut seen = HashSet::new();
    content.values().all(|value| seen.insert(value))
}

/// The entries that every index of a table finds must be those of a scan, and the same from the last to the first.
pub(super) fn check_indexes(table: &Table, snapshot: Option<&Snapshot>) -> Outcome {
    let names: Vec<String> = table.indexes().into_iter().map(|index| index.name).collect();
    if names.is_empty() {
        return Ok(());
    }
    let options = match snapshot {
        Some(snapshot) => ScanOptions::new(..).at(snapshot),
        None => ScanOptions::new(..),
    };
    let scanned = table.scan_with(options).map_err(failed("scan"))?;
    let scanned: Vec<(Slice, Slice)> = scanned.collect::<kodiak::Result<_>>().map_err(failed("scan"))?;
    for name in &names {
        let read = |reverse: bool| -> kodiak::Result<Option<Vec<(Slice, Slice)>>> {
            let mut read = table.index(name)?;
            if let Some(snapshot) = snapshot {
                read = read.at(snapshot);
            }
            if reverse {
                read = read.rev();
            }
            match read.entries() {
                // Columns had other types then, or were not there.
                Err(error) if snapshot.is_some() && error.kind() == kodiak::ErrorKind::InvalidInput => Ok(None),
                entries => entries?.collect::<kodiak::Result<_>>().map(Some),
            }
        };
        let what = format!("index \"{name}\" of table {}", table.name().escape_debug());
        let Some(mut found) = read(false).map_err(|error| format!("{what}: {error}"))? else {
            continue;
        };
        let backward = read(true)
            .map_err(|error| format!("{what}: {error}"))?
            .unwrap_or_default();
        if !backward.iter().eq(found.iter().rev()) {
            return Err(format!("{what} finds others backward than forward"));
        }
        found.sort_by(|one, two| one.0.cmp(&two.0));
        if found != scanned {
            let keys =
                |entries: &[(Slice, Slice)]| entries.iter().map(|entry| entry.0.to_vec()).collect::<BTreeSet<_>>();
            let (found_keys, scanned_keys) = (keys(&found), keys(&scanned));
            let differs = found_keys.symmetric_difference(&scanned_keys).next();
            let differs = differs.map_or_else(String::new, |key| key[..key.len().min(40)].escape_ascii().to_string());
            let counts = (found.len(), scanned.len());
            return Err(format!(
                "{what} finds {} entries where a scan finds {}: {differs}",
                counts.0, counts.1
            ));
        }
    }
    Ok(())
}

/// What a table can choose of its indexes.
pub const CHOICES: usize = 4 * 3 * 3 * 3;

fn choice(what: usize) -> IndexOptions {
    let kind = |at: usize| [None, Some("bplus"), Some("fractal"), Some("fence")][at].map(str::to_owned);
    let primary = kind(what % 4);
    let indexed = primary.as_deref().is_some_and(|kind| kind != "fence");
    IndexOptions {
        primary,
        deletion_vectors: [None, Some(false), indexed.then_some(true)][what / 4 % 3],
        secondary: kind(what / 12 % 3),
        maintenance: [None, Some(Maintenance::Lazy), Some(Maintenance::Eager)][what / 36 % 3],
    }
}

impl Runner<'_> {
    /// A table chooses its indexes anew.
    pub(super) fn choose(&mut self, place: usize, what: usize) -> Outcome {
        let Some(table) = &self.tables[place] else {
            return Ok(());
        };
        let own = choice(what);
        match table.set_indexes(own.clone()) {
            Ok(()) => self.chosen[place] = own,
            // The smallest pool for the index of the settings need not do for others.
            Err(error)
                if error.kind() == ErrorKind::InvalidSettings
                    && error.setting().is_some_and(|setting| setting.ends_with(".pool")) => {}
            Err(error) => return Err(format!("choose indexes: {error}")),
        }
        check_indexes(table, None)
    }

    /// Creates an index, or drops it if it is there.
    pub(super) fn index(&mut self, place: usize, what: usize) -> Outcome {
        let Some(table) = &self.tables[place] else {
            return Ok(());
        };
        let name = name(what);
        if self.indexes[place].remove(&name) {
            return table.drop_index(&name).map_err(failed("drop an index"));
        }
        let Some(definition) = definition(table, what) else {
            return Ok(());
        };
        let content = self.model.tables[place].as_ref();
        let unique = what % KINDS == UNIQUE;
        let refused = unique && table.schema().is_key_value() && content.is_some_and(|all| !is_unique(all));
        match table.create_index(definition) {
            Err(error) if refused && error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            Ok(()) if refused => return Err("a unique index was made of values that are not".to_owned()),
            created => created.map_err(failed("create an index"))?,
        }
        self.indexes[place].insert(name);
        check_indexes(table, None)
    }

    /// True if the table has a unique index.
    pub(super) fn has_unique(&self, place: usize) -> bool {
        self.indexes[place].contains(&name(UNIQUE))
    }

    /// True if a unique index has to refuse these writes, all of them.
    pub(super) fn are_refused(&self, writes: &[Write]) -> bool {
        let mut after: Option<Model> = None;
        for write in writes.iter().filter(|write| self.has_unique(write.table)) {
            after.get_or_insert_with(|| self.model.clone()).apply(write);
        }
        let Some(after) = after else { return false };
        let of_values = |place: &usize| TABLES[*place].1.schema().is_key_value() && self.has_unique(*place);
        let mut checked = (0..TABLES.len()).filter(of_values);
        checked.any(|place| after.tables[place].as_ref().is_some_and(|content| !is_unique(content)))
    }

    /// What has come of writes that should have been `refused`, or not; true if they were made.
    pub(super) fn judge(&self, written: kodiak::Result<()>, refused: bool) -> Outcome<bool> {
        match written {
            Err(error) if refused && error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Ok(()) if refused => Err("a unique index has let equal values pass".to_owned()),
            written => written.map(|()| true).map_err(failed("write")),
        }
    }

    pub(super) fn read_indexes(&mut self, place: usize, at: Option<usize>) -> Outcome {
        self.look_at_index(place, at)?;
        let Some(table) = &self.tables[place] else {
            return Ok(());
        };
        match at {
            None => check_indexes(table, None),
            Some(slot) => match &self.snapshots[slot] {
                // Of tables that were not there then, a snapshot says nothing.
                Some((snapshot, model)) if model.tables[place].is_some() => check_indexes(table, Some(snapshot)),
                _ => Ok(()),
            },
        }
    }

    /// Whatever has happened, the indexes created and not dropped are there, and no others, and made as was chosen.
    pub(super) fn check_index_names(&self) -> Outcome {
        for (table, expected) in self.tables.iter().zip(&self.indexes) {
            let Some(table) = table else { continue };
            let found: BTreeSet<String> = table.indexes().into_iter().map(|index| index.name).collect();
            if found != *expected {
                return Err(format!(
                    "table {} has the indexes {found:?} instead of {expected:?}",
                    table.name().escape_debug()
                ));
            }
        }
        for (table, expected) in self.tables.iter().zip(&self.chosen) {
            let Some(table) = table else { continue };
            if table.options().get_indexes() != expected {
                let (name, found) = (table.name().escape_debug(), table.options());
                return Err(format!("table {name} has chosen {expected:?}, but says {found:?}"));
            }
        }
        Ok(())
    }
}
