//! What the tables hold after each prefix of a script.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::script::{Action, Change, Step};

/// The contents of a table.
pub type Contents = BTreeMap<Vec<u8>, Vec<u8>>;
/// What was read back from a database: its tables by name.
pub type Found = BTreeMap<String, Contents>;

/// Applies a change to the contents of its table.
pub fn apply(contents: &mut Contents, change: &Change) {
    let key = &change.key;
    match &change.action {
        Action::Put(value) => {
            contents.insert(key.clone(), value.clone());
        }
        Action::Delete => {
            contents.remove(key);
        }
        Action::DeleteRange(end) => contents.retain(|known, _| known < key || known >= end),
        Action::Merge(operand) => contents.entry(key.clone()).or_default().extend_from_slice(operand),
    }
}

/// What each prefix of a script leaves.
#[derive(Debug)]
pub struct Model {
    /// After each number of steps, the contents by creation.
    contents: Vec<Vec<Arc<Contents>>>,
    /// After each number of steps, the tables there are: name and creation.
    tables: Vec<BTreeMap<&'static str, usize>>,
}

impl Model {
    /// The prefixes of `steps`.
    pub fn new(steps: &[Step]) -> Self {
        let created = steps.iter().filter(|step| matches!(step, Step::Create(_))).count();
        let mut contents = vec![vec![Arc::new(Contents::new()); created]];
        let mut tables: Vec<BTreeMap<&'static str, usize>> = vec![BTreeMap::new()];
        let mut next = 0;
        for step in steps {
            let mut now = contents[contents.len() - 1].clone();
            let mut there = tables[tables.len() - 1].clone();
            match step {
                Step::Write(changes) => {
                    changes
                        .iter()
                        .for_each(|change| apply(Arc::make_mut(&mut now[change.table]), change));
                }
                Step::Create(name) => {
                    there.insert(name, next);
                    next += 1;
                }
                Step::Drop(table) => there.retain(|_, known| known != table),
                Step::Flush | Step::Compact | Step::Sync | Step::Choose(..) | Step::Reopen => {}
            }
            contents.push(now);
            tables.push(there);
        }
        Self { contents, tables }
    }

    /// What an undisturbed database holds after so many steps.
    pub fn after(&self, steps: usize) -> Found {
        let table = |(name, table): (&&str, &usize)| ((*name).to_owned(), (*self.contents[steps][*table]).clone());
        self.tables[steps].iter().map(table).collect()
    }

    /// True if a table of this number, counted from 1 in the order of creation, ever had this name and held `contents` after one
    /// of `steps`.
    pub fn held(&self, number: u64, name: &str, contents: &Contents, steps: std::ops::RangeInclusive<usize>) -> bool {
        let Some(table) = (number as usize).checked_sub(1) else {
            return false;
        };
        let named = self.tables.iter().any(|tables| tables.get(name) == Some(&table));
        let held = |step: usize| self.contents[step].get(table).is_some_and(|known| **known == *contents);
        named && steps.into_iter().any(held)
    }

    /// Finds a number of writes in `writes` whose result is `found`, with the tables that there are after a number of steps
    /// in `tables`. Creating and dropping tables takes effect at once, whatever the log keeps of the writes.
    ///
    /// # Errors
    /// What differs from the nearest prefix.
    pub fn find(
        &self,
        found: &Found,
        writes: std::ops::RangeInclusive<usize>,
        tables: std::ops::RangeInclusive<usize>,
    ) -> Result<usize, String> {
        let mut nearest = format!("the tables are {:?}", found.keys());
        let mut fewest = usize::MAX;
        for there in tables.map(|steps| &self.tables[steps]) {
            if !there.keys().copied().eq(found.keys().map(String::as_str)) {
                continue;
            }
            for steps in writes.clone() {
                let differences: Vec<String> = there
                    .iter()
                    .flat_map(|(name, table)| differences(name, &self.contents[steps][*table], &found[*name]))
                    .collect();
                if differences.is_empty() {
                    return Ok(steps);
                }
                if differences.len() < fewest {
                    fewest = differences.len();
                    let shown = differences.iter().take(4).cloned().collect::<Vec<_>>().join("; ");
                    nearest = format!("{fewest} keys differ from the state after {steps} steps: {shown}");
                }
            }
        }
        Err(format!("no prefix of {writes:?} steps: {nearest}"))
    }
}

fn differences(name: &str, expected: &Contents, found: &Contents) -> Vec<String> {
    let show = |value: Option<&Vec<u8>>| match value {
        None => "nothing".to_owned(),
        Some(value) => format!(
            "{} ({} bytes)",
            value[..value.len().min(24)].escape_ascii(),
            value.len()
        ),
    };
    let mut keys: Vec<_> = expected.keys().chain(found.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
        .filter(|key| expected.get(*key) != found.get(*key))
        .map(|key| {
            let (expected, found) = (show(expected.get(key)), show(found.get(key)));
            format!("{name}/{}: {expected} expected, {found} found", key.escape_ascii())
        })
        .collect()
}
