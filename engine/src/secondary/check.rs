//! Verifying indexes: their files, and what they say against the table.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, BinaryArray};
use kodiak_core::entry::MAX_SEQ;
use kodiak_core::index::{Index, IndexContext, IndexView, MAX_KEY, Root};
use kodiak_core::options::Options;
use kodiak_core::{Error, ErrorKind, Op, Result, shown_key};

use super::entry::{entry_key, pending_key};
use super::scan::IndexScan;
use super::scope::Scope;
use super::walk::{Walk, sources};
use super::{Secondary, StoredDefinition, columns, path};
use crate::components::secondary_owner;
use crate::db::{ScanRange, Shared, TableInner, TableOptions, View};
use crate::maintenance::TableFiles;
use crate::manifest::{SecondaryMeta, SecondaryState, TableState};
use crate::read::ScanBounds;
use crate::run::Run;
use crate::typed::{Schemas, Target};

/// Memory for looking at the index of a database that is not open.
const POOL: usize = 16 << 20;
/// Rows that are compared together.
const CHUNK: usize = 1024;
/// Of one index, so many contradictions are told one by one.
const MOST_TOLD: u64 = 20;

/// What comparing an index with a full scan has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexReport {
    /// Rows of the table that belong into the index.
    pub rows: u64,
    /// Rows that the index has found.
    pub found: u64,
}

/// Contradictions of one index.
struct Told<'p> {
    name: &'p str,
    count: u64,
    problems: &'p mut Vec<Error>,
}

impl Told<'_> {
    fn tell(&mut self, key: &[u8], what: &str) {
        self.count += 1;
        if self.count <= MOST_TOLD {
            let message = format!("index \"{}\": the row with key {} {what}", self.name, shown_key(key));
            self.problems.push(Error::new(ErrorKind::Corruption, message));
        }
    }
}

/// Verifies the indexes of an open table as of now; how many it has.
pub(crate) fn verify_open(shared: &Shared, table: &Arc<TableInner>, problems: &mut Vec<Error>) -> u64 {
    let indexes = table.secondary.all();
    for index in indexes.iter() {
        // The view, and what is visible after it was taken.
        let view = table.view.load_full();
        let seq = shared.visible();
        if !view.secondary.iter().any(|state| Arc::ptr_eq(&state.index, index)) {
            continue; // being built
        }
        let mut check = || {
            let held = table.secondary.open.lock();
            if let Some(open) = held.iter().find(|open| Arc::ptr_eq(&open.index, index)) {
                tell_findings(open.file.index()?, &open.file.path, problems)?;
            }
            drop(held);
            compare(shared, table, &view, index, seq, problems).map(drop)
        };
        let checked = check();
        problems.extend(checked.err());
    }
    indexes.len() as u64
}

fn tell_findings(index: &dyn Index, file: &Path, problems: &mut Vec<Error>) -> Result<()> {
    index.verify(&mut |finding| {
        let error = Error::corruption(finding.what);
        problems.push(error.with_file(file).with_offset(finding.offset));
    })
}

/// Compares an index with a scan of the whole table, at a moment that is visible.
fn compare(
    shared: &Shared,
    table: &Arc<TableInner>,
    view: &Arc<View>,
    index: &Arc<Secondary>,
    seq: u64,
    problems: &mut Vec<Error>,
) -> Result<IndexReport> {
    let hidden_below = table.hidden_below(|| shared.now_micros());
    let scope = Scope::of(table, Arc::clone(view), index, seq, hidden_below)?;
    let mut told = Told {
        name: &index.name,
        count: 0,
        problems,
    };
    let mut report = IndexReport { rows: 0, found: 0 };
    let mut found = std::collections::HashSet::new();
    let mut scan = IndexScan::new(scope, &ScanBounds::default(), false, false)?;
    loop {
        let chunk = scan.next_chunk(CHUNK)?;
        if chunk.is_empty() {
            break;
        }
        for row in chunk {
            report.found += 1;
            let mut key = Vec::new();
            entry_key(row.index_key(), row.user_key(), &mut key);
            // Of each a number stands for the entry, so that this takes little memory.
            if !found.insert(kodiak_core::filter::hash_key(&key)) {
                told.tell(row.user_key(), "is found twice");
            }
        }
    }
    let range = ScanRange {
        seq,
        hidden_below,
        reverse: false,
        prefix: None,
        fill_cache: false,
        filter: None,
        merges_fast: false,
    };
    let target = table.target_at(seq);
    let codec = index.codec(target.schema())?;
    let mut rows = table.scan(view, ScanBounds::default(), range)?;
    loop {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for row in rows.by_ref().take(CHUNK) {
            let (key, value) = row?;
            keys.push(key);
            values.push(value);
        }
        if keys.is_empty() {
            break;
        }
        let own = columns::of_rows(
            &target,
            [&*codec],
            &BinaryArray::from_iter_values(&keys),
            &BinaryArray::from_iter_values(&values),
        )?;
        let index_keys = codec.encode(&own)?;
        for (row, user_key) in keys.iter().enumerate().filter(|(row, _)| index_keys.is_valid(*row)) {
            report.rows += 1;
            let mut key = Vec::new();
            entry_key(index_keys.value(row), user_key, &mut key);
            if !found.contains(&kodiak_core::filter::hash_key(&key)) {
                told.tell(user_key, "is not found through it");
            }
        }
    }
    if report.rows != report.found {
        let message = format!(
            "index \"{}\" finds {} rows where the table has {}",
            index.name, report.found, report.rows
        );
        told.problems.push(Error::new(ErrorKind::Corruption, message));
    }
    Ok(report)
}

/// Verifies an index that a manifest names, in a database that is not open: its file, and that it has every row of the runs.
pub(crate) fn verify_closed(
    files: &TableFiles,
    table: &TableState,
    (name, stored): (&str, &SecondaryState),
    problems: &mut Vec<Error>,
) {
    let context = Arc::new(files.run_context());
    let mut check = || {
        let definition = StoredDefinition::from_bytes(&stored.definition)?;
        let Some(meta) = &stored.index else { return Ok(()) };
        let file = path(&context.dir, meta.file.id);
        let options = TableOptions::from_bytes(&table.options)?;
        let opened = open(files, meta)?;
        tell_findings(&*opened, &file, problems)?;
        if matches!(definition.by, super::IndexedBy::Extractor(_)) {
            return Ok(()); // what programs take out, only they know
        }
        let view = opened.view(Root(meta.file.root))?;
        let runs = table.runs.values();
        let runs: Vec<_> = runs
            .map(|placed| Arc::new(Run::new((*placed.run).clone(), Arc::clone(&context))))
            .collect();
        let index = Arc::new(Secondary::new(name, definition, None));
        let mut told = Told {
            name,
            count: 0,
            problems,
        };
        covers_runs(
            &index,
            &context.schemas,
            &runs,
            options.ttl_micros > 0,
            &view,
            &mut told,
        )
    };
    let checked = check();
    problems.extend(checked.err());
}

fn open(files: &TableFiles, meta: &SecondaryMeta) -> Result<Box<dyn Index>> {
    let factory = files.components.indexes().find(&meta.file.kind)?;
    let options = Options::defaults(factory.component.options);
    (factory.open)(IndexContext {
        storage: Arc::clone(&files.storage),
        path: path(&files.dir, meta.file.id),
        pool: (factory.pool)(POOL.max((factory.smallest_pool)(&options))),
        options,
        upsert: Some(super::operator()),
        owner: secondary_owner((files.database, files.table), meta.file.id),
    })
}

/// Tells of rows, newest in the runs, for which the index has neither an entry nor a note that they are known by operands only.
fn covers_runs(
    index: &Arc<Secondary>,
    schemas: &Arc<Schemas>,
    runs: &[Arc<Run>],
    expires: bool,
    view: &Arc<dyn IndexView>,
    told: &mut Told<'_>,
) -> Result<()> {
    if expires {
        return Ok(());
    }
    let mut deleted = crate::range_delete::RangeTombstones::default();
    for run in runs {
        deleted.extend(&run.tombstones()?);
    }
    let mut walk = Walk::of_target(Target::new(schemas, schemas.current()), [index], sources(runs))?;
    let mut before: Option<Vec<u8>> = None;
    while let Some((key, seq, op)) = walk.current() {
        let newest = before.as_deref() != Some(key);
        let key = key.to_vec();
        if newest && op == Op::Put && deleted.covering(&key, MAX_SEQ) <= seq {
            let mut pending = Vec::new();
            pending_key(&key, &mut pending);
            if let Some(index_key) = walk.index_key(0)? {
                let mut entry = Vec::new();
                entry_key(&index_key, &key, &mut entry);
                let long = entry.len() > MAX_KEY;
                if !long && view.get(&entry)?.is_none() && view.get(&pending)?.is_none() {
                    told.tell(&key, "is in the runs, and not in it");
                }
            }
        }
        before = Some(key);
        walk.next()?;
    }
    Ok(())
}
