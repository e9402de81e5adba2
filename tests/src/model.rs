//! What a database should hold: maps, and what may be missing from them after a crash.

mod kinds;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::history::{Change, Key, ScanOp, Write};
pub use kinds::{Fold, Kind, LIFE, TABLES, TICK};

/// How many snapshots a history holds at once.
pub const SNAPSHOTS: usize = 4;

/// How many backups a history keeps.
pub const BACKUPS: usize = 3;

/// The entries of one table.
pub type Content = BTreeMap<Vec<u8>, Arc<[u8]>>;

/// What all tables hold; `None` where there is no such table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// In the order of [`TABLES`].
    pub tables: [Option<Content>; TABLES.len()],
    /// Ticks of the clock since the beginning.
    pub tick: u64,
}

impl Model {
    /// Carries out one write.
    pub fn apply(&mut self, write: &Write) {
        let kind = TABLES[write.table].1;
        let Some(content) = &mut self.tables[write.table] else {
            return;
        };
        match kind.change(&write.change) {
            Change::Put(Key(key), value) => {
                content.insert(key, kind.encode(value, self.tick).into());
            }
            Change::Delete(Key(key)) => {
                content.remove(&key);
            }
            Change::DeleteRange(Key(start), Key(end)) => {
                if start < end {
                    let mut gone = content.split_off(&start);
                    content.append(&mut gone.split_off(&end));
                }
            }
            Change::Merge(Key(key), operand) => {
                let base = content.get(&key).map(|value| &**value);
                if let Some(merged) = kind.merge(base, &kind.encode(operand, self.tick)) {
                    content.insert(key, merged.into());
                }
            }
        }
    }

    /// Lets the clock go on: what has expired is gone.
    pub fn advance(&mut self, tick: u64) {
        self.tick = tick;
        for ((_, kind), content) in TABLES.iter().zip(&mut self.tables) {
            if let (Kind::Expiring, Some(content)) = (kind, content) {
                content.retain(|_, value| !kind.expired(value, tick));
            }
        }
    }

    /// What a scan of this content, by user keys, yields.
    pub fn scan(content: &Content, scan: &ScanOp) -> Vec<(Vec<u8>, Arc<[u8]>)> {
        let inside = |key: &[u8]| match &scan.prefix {
            Some(Key(prefix)) => key.starts_with(prefix),
            None => {
                (match &scan.start {
                    Bound::Included(Key(start)) => key >= start.as_slice(),
                    Bound::Excluded(Key(start)) => key > start.as_slice(),
                    Bound::Unbounded => true,
                }) && (match &scan.end {
                    Bound::Included(Key(end)) => key <= end.as_slice(),
                    Bound::Excluded(Key(end)) => key < end.as_slice(),
                    Bound::Unbounded => true,
                })
            }
        };
        let mut entries: Vec<_> = content
            .iter()
            .filter(|(key, _)| inside(key))
            .map(|(key, value)| (key.clone(), Arc::clone(value)))
            .collect();
        if scan.reverse {
            entries.reverse();
        }
        match &scan.seek {
            Some((after, Key(key))) if *after <= scan.limit => {
                let rest = entries
                    .iter()
                    .filter(|(at, _)| if scan.reverse { at <= key } else { at >= key })
                    .cloned();
                let rest: Vec<_> = rest.take(scan.limit - entries.len().min(*after)).collect();
                entries.truncate(*after);
                entries.extend(rest);
            }
            _ => entries.truncate(scan.limit),
        }
        entries
    }
}

/// What a crash may leave: some state between the last one that was certainly on disk and the newest one.
#[derive(Debug, Default)]
pub struct Journal {
    /// On disk for certain.
    base: Model,
    /// The commits since, in order, each with the tick at which it was made.
    commits: Vec<(u64, Vec<Write>)>,
}

impl Journal {
    /// Everything so far is on disk.
    pub fn settle(&mut self, model: &Model) {
        self.base = model.clone();
        self.commits.clear();
    }

    /// Notes a commit.
    pub fn commit(&mut self, writes: &[Write], tick: u64) {
        self.commits.push((tick, writes.to_vec()));
    }

    /// A table was created or dropped, which is on disk at once. What was written to it goes with it.
    pub fn replace_table(&mut self, table: usize, content: Option<Content>) {
        self.base.tables[table] = content;
        for (_, commit) in &mut self.commits {
            commit.retain(|write| write.table != table);
        }
    }

    /// Checks what a crash has left: one of the states in the order of the commits, the newest if none may be lost.
    /// `together` asks for one point in time over all tables, and not only in each.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, left: &Model, may_lose: bool, together: bool) -> Result<(), String> {
        let groups: Vec<Vec<usize>> = if together {
            vec![(0..TABLES.len()).collect()]
        } else {
            (0..TABLES.len()).map(|table| vec![table]).collect()
        };
        for group in groups {
            let mut state = self.base.clone();
            let same = |state: &Model| group.iter().all(|&table| same_content(table, state, left));
            let mut found = (may_lose || self.commits.is_empty()) && same(&state);
            for (index, (tick, commit)) in self.commits.iter().enumerate() {
                if found {
                    break;
                }
                state.tick = *tick;
                commit.iter().for_each(|write| state.apply(write));
                found = (may_lose || index + 1 == self.commits.len()) && same(&state);
            }
            if !found {
                let names: Vec<_> = group
                    .iter()
                    .map(|&table| TABLES[table].0.escape_debug().to_string())
                    .collect();
                let what = if may_lose {
                    "no prefix of the commits gives"
                } else {
                    "acknowledged writes are missing from"
                };
                state.advance(left.tick);
                let difference = group
                    .iter()
                    .find_map(|&table| difference(&state.tables[table], &left.tables[table]));
                return Err(format!(
                    "after the crash {what} the content of {} ({} commits since the last sync); against the newest state: {}",
                    names.join(", "),
                    self.commits.len(),
                    difference.unwrap_or_else(|| "none".to_owned())
                ));
            }
        }
        Ok(())
    }
}

/// Compares a table of `state` with what is left of it at a later tick.
fn same_content(table: usize, state: &Model, left: &Model) -> bool {
    let kind = TABLES[table].1;
    match (&state.tables[table], &left.tables[table]) {
        (Some(content), Some(left_content)) if kind == Kind::Expiring => content
            .iter()
            .filter(|(_, value)| !kind.expired(value, left.tick))
            .eq(left_content),
        (content, left_content) => content == left_content,
    }
}

/// The first difference between two contents, in words.
pub fn difference(expected: &Option<Content>, found: &Option<Content>) -> Option<String> {
    let (expected, found) = match (expected, found) {
        (Some(expected), Some(found)) => (expected, found),
        (None, None) => return None,
        (expected, _) => {
            return Some(format!(
                "the table should{} exist",
                if expected.is_some() { "" } else { " not" }
            ));
        }
    };
    let shown = |key: &[u8]| format!("{} ({} bytes)", key[..key.len().min(40)].escape_ascii(), key.len());
    let value = |value: Option<&Arc<[u8]>>| match value {
        Some(value) => format!("{} bytes {}", value.len(), value[..value.len().min(24)].escape_ascii()),
        None => "no value".to_owned(),
    };
    let keys = expected
        .keys()
        .chain(found.keys())
        .filter(|key| expected.get(*key) != found.get(*key))
        .min()?;
    Some(format!(
        "key {} should have {} but has {} ({} entries expected, {} found)",
        shown(keys),
        value(expected.get(keys)),
        value(found.get(keys)),
        expected.len(),
        found.len()
    ))
}
