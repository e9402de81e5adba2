//! What a database should hold: maps, and what may be missing from them after a crash.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use kodiak::core::rowcodec::RowCodec;
use kodiak::{MergeOperator, TableOptions, TableSchema};

use crate::history::{Change, Key, ScanOp, Value, Write};

/// How many snapshots a history holds at once.
pub const SNAPSHOTS: usize = 4;

/// The kinds of table in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Keys and values.
    Plain,
    /// With the merge operator of this name.
    Merging(&'static str),
    /// With typed columns.
    Typed,
}

/// The tables of a history. Their names are such as must not become names of files.
pub const TABLES: [(&str, Kind); 6] = [
    ("plain", Kind::Plain),
    ("../append", Kind::Merging("append")),
    ("/counter\0", Kind::Merging("counter")),
    ("LAST non-null", Kind::Merging("last-non-null")),
    ("fold\u{fc}\u{1f43b}", Kind::Merging("fold")),
    (".", Kind::Typed),
];

/// A merge operator from outside, without `combine`: the operands' order and number both matter.
#[derive(Debug)]
pub struct Fold;

fn fold(state: u64, bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(state.wrapping_mul(31).wrapping_add(7), |state, &byte| {
            (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
        })
}

impl MergeOperator for Fold {
    fn name(&self) -> &str {
        "fold"
    }

    fn merge(&self, _key: &[u8], base: Option<&[u8]>, operands: &[&[u8]]) -> kodiak::Result<Vec<u8>> {
        let start = base.map_or(0, |base| fold_start(Some(base)));
        Ok(operands
            .iter()
            .fold(start, |state, operand| fold(state, operand))
            .to_le_bytes()
            .to_vec())
    }
}

/// The state that a value stands for: any bytes, since values are put as well.
fn fold_start(base: Option<&[u8]>) -> u64 {
    match base {
        None => 0,
        Some(base) => match base.try_into() {
            Ok(bytes) => u64::from_le_bytes(bytes),
            Err(_) => fold(1, base),
        },
    }
}

impl Kind {
    /// The schema of such a table.
    pub fn schema(self) -> TableSchema {
        if self != Self::Typed {
            return TableSchema::key_value();
        }
        let columns = Schema::new(vec![
            Field::new("number", DataType::Int64, true),
            Field::new("id", DataType::Binary, false),
            Field::new("text", DataType::Utf8, true),
        ]);
        TableSchema::new(Arc::new(columns), &["id"]).expect("a valid schema")
    }

    /// The options of such a table.
    pub fn options(self) -> TableOptions {
        match self {
            Self::Merging(operator) => TableOptions::new().merge_operator(operator),
            _ => TableOptions::new(),
        }
    }

    /// The bytes that a put of `value` writes.
    pub fn encode(self, value: Value) -> Vec<u8> {
        match self {
            Self::Plain => value.bytes(),
            Self::Merging("counter") => Value { len: 8, ..value }.bytes(),
            Self::Merging(_) => value.bytes(),
            Self::Typed => {
                let text: Option<String> = (!value.seed.is_multiple_of(5))
                    .then(|| value.bytes().iter().map(|byte| char::from(b' ' + byte % 90)).collect());
                let number = (!value.seed.is_multiple_of(3)).then_some(i64::from(value.seed) - i64::from(u32::MAX / 2));
                let columns: [ArrayRef; 3] = [
                    Arc::new(Int64Array::from(vec![number])),
                    Arc::new(BinaryArray::from_vec(vec![b""])),
                    Arc::new(StringArray::from(vec![text])),
                ];
                let mut row = Vec::new();
                RowCodec::new(&self.schema())
                    .encode(&columns, 0, &mut row)
                    .expect("columns of the schema");
                row
            }
        }
    }

    /// What a merge makes of a value.
    fn merge(self, base: Option<&[u8]>, operand: &[u8]) -> Option<Vec<u8>> {
        let Self::Merging(operator) = self else { return None };
        Some(match operator {
            "append" => [base.unwrap_or_default(), operand].concat(),
            "last-non-null" if operand.is_empty() => base.unwrap_or_default().to_vec(),
            "last-non-null" => operand.to_vec(),
            "counter" => {
                let read = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().expect("counters have eight bytes"));
                base.map_or(0, read).wrapping_add(read(operand)).to_le_bytes().to_vec()
            }
            _ => fold(fold_start(base), operand).to_le_bytes().to_vec(),
        })
    }

    /// True if operands can be merged.
    pub fn merges(self) -> bool {
        matches!(self, Self::Merging(_))
    }
}

/// The entries of one table.
pub type Content = BTreeMap<Vec<u8>, Arc<[u8]>>;

/// What all tables hold; `None` where there is no such table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// In the order of [`TABLES`].
    pub tables: [Option<Content>; TABLES.len()],
}

impl Model {
    /// Carries out one write.
    pub fn apply(&mut self, write: &Write) {
        let kind = TABLES[write.table].1;
        let Some(content) = &mut self.tables[write.table] else {
            return;
        };
        match &write.change {
            Change::Put(Key(key), value) => {
                content.insert(key.clone(), kind.encode(*value).into());
            }
            Change::Delete(Key(key)) => {
                content.remove(key);
            }
            Change::DeleteRange(Key(start), Key(end)) => {
                if start < end {
                    let mut gone = content.split_off(start);
                    content.append(&mut gone.split_off(end));
                }
            }
            Change::Merge(Key(key), operand) => {
                let base = content.get(key).map(|value| &**value);
                if let Some(merged) = kind.merge(base, &kind.encode(*operand)) {
                    content.insert(key.clone(), merged.into());
                }
            }
        }
    }

    /// What a scan of this content yields.
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
    /// The commits since, in order.
    commits: Vec<Vec<Write>>,
}

impl Journal {
    /// Everything so far is on disk.
    pub fn settle(&mut self, model: &Model) {
        self.base = model.clone();
        self.commits.clear();
    }

    /// Notes a commit.
    pub fn commit(&mut self, writes: &[Write]) {
        self.commits.push(writes.to_vec());
    }

    /// A table was created or dropped, which is on disk at once. What was written to it goes with it.
    pub fn replace_table(&mut self, table: usize, content: Option<Content>) {
        self.base.tables[table] = content;
        for commit in &mut self.commits {
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
            let same = |state: &Model| group.iter().all(|&table| state.tables[table] == left.tables[table]);
            let mut found = (may_lose || self.commits.is_empty()) && same(&state);
            for (index, commit) in self.commits.iter().enumerate() {
                if found {
                    break;
                }
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
