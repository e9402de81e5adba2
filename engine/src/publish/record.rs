//! `PUBLISHED.json`: what a publication consists of, for readers and for the next publication.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use kodiak_core::batch::TableId;
use kodiak_core::compaction::RunId;
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, Result, SeqNo};
use serde::{Deserialize, Deserializer, Serialize};

use super::columns::Layout;
use super::delta::Vector;
use super::lists::{self, Gone, List};
use super::{RECORD_FILE, scripts, types, write_file};
use crate::db::TableInner;
use crate::exact::why_beyond;

/// The version of the record that is written.
const FORMAT: u32 = 4;
/// Versions that are read: in the first, every file has all columns, in the second under their names and of their types; up to the third
/// the record has what lists have since.
const KNOWN: RangeInclusive<u32> = 1..=FORMAT;

/// A data file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PublishedFile {
    /// Its name in the directory.
    pub file: String,
    /// Its format: parquet, feather or orc.
    pub kind: String,
    /// Bytes of it.
    pub bytes: u64,
    /// All its rows, in the order in which they lie in it.
    pub rows: u64,
    /// How the table's columns lie in it.
    #[serde(flatten)]
    pub layout: Layout,
    /// A Parquet file with one column, `row`: the numbers, from 0, of its rows that are not the table's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<String>,
    /// How many these are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dead_rows: u64,
    /// The run that it is the file of; 0 for none.
    #[serde(default)]
    pub run: RunId,
    /// Nothing in it is newer than the publication.
    #[serde(default)]
    pub settled: bool,
    /// The number of the schema that its rows are of; `None` in records of versions that did not write it.
    #[serde(default)]
    pub schema: Option<u32>,
    /// It holds partial updates.
    #[serde(default, skip_serializing_if = "is_default")]
    pub operands: bool,
    /// The dead rows as Delta tables have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vector>,
    /// The publication in which it became as it is.
    #[serde(skip)]
    pub publication: u64,
}

/// Data files, by the numbers of their runs. Those that are the same in two publications are shared by them.
pub type Files = BTreeMap<RunId, Arc<PublishedFile>>;

/// A publication.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the record.
    pub format: u32,
    /// The identity of the database, in hexadecimal digits.
    pub database: String,
    /// The table's name.
    pub table: String,
    /// The table's number.
    pub table_number: TableId,
    /// The sequence number of the last write that is in it.
    pub sequence: SeqNo,
    /// When it was made, microseconds since 1970.
    pub published_micros: u64,
    /// Rows of the table.
    pub rows: u64,
    /// The table's columns; files may have others besides.
    pub columns: Vec<String>,
    /// The types, as pyarrow names them, of those columns whose types not every file tells.
    #[serde(default)]
    pub types: BTreeMap<String, serde_json::Value>,
    /// True if all rows of all `files`, and nothing else, are the table's, and all files have all columns.
    pub exact: bool,
    /// If not, why not.
    pub why_not_exact: Vec<String>,
    /// The number of the table's schema; `None` in records of versions that did not write it.
    #[serde(default)]
    pub schema: Option<u32>,
    /// The lists that say which data files there are, oldest first.
    #[serde(default)]
    pub lists: Vec<List>,
    /// How columns lie in data files of these schemas, by their numbers; in all others they lie as the table has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub layouts: BTreeMap<u32, Layout>,
    /// The data files: what the lists come to.
    #[serde(default, skip_serializing, deserialize_with = "by_runs")]
    pub files: Files,
    /// The runs of ORC files with times that pyarrow does not read.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub beyond: BTreeSet<RunId>,
    /// What lists know, and is there no more.
    #[serde(skip)]
    pub gone: Gone,
    /// Rows that were merged of partial updates: all its rows are the table's. Perhaps none, for readers to know the columns.
    pub merged: Option<PublishedFile>,
    /// One row, which is none of the table's: the defaults of the columns that files name in `defaults`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<PublishedFile>,
    /// The version of the Delta table, if there is one.
    pub delta_version: Option<u64>,
    /// Its schema, as its log has it.
    pub delta_schema: Option<String>,
    /// Whether its log asks of readers to know deletion vectors; `None` in records of versions whose logs always did.
    #[serde(default)]
    pub delta_vectors: Option<bool>,
    /// Its last checkpoint.
    #[serde(default)]
    pub delta_checkpoint: Checkpoint,
    /// Why there is none.
    pub why_no_delta: Option<String>,
    /// Counts publications.
    pub generation: u64,
    /// Versions of rows with smaller sequence numbers had expired.
    pub expired_below: SeqNo,
}

impl Record {
    /// A publication of no files yet.
    pub fn new(database: u64, table: &TableInner, schema: &TableSchema, sequence: SeqNo) -> Self {
        Self {
            format: FORMAT,
            database: format!("{database:016x}"),
            table: table.name.clone(),
            table_number: table.id,
            sequence,
            published_micros: 0,
            rows: 0,
            columns: schema
                .columns()
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect(),
            types: types::of_columns(schema),
            exact: true,
            why_not_exact: Vec::new(),
            schema: Some(schema.number()),
            ..Self::default()
        }
    }

    /// The publication in a directory, whose record has these bytes; `None` if it is not one of this table that can be read.
    pub fn parse(storage: &dyn Storage, dir: &Path, (database, table): (u64, TableId), bytes: &[u8]) -> Option<Self> {
        let mut record: Self = match serde_json::from_slice(bytes) {
            Ok(record) => record,
            Err(error) => {
                let file = dir.join(RECORD_FILE);
                tracing::warn!(%error, file = %file.display(), "the record of a publication cannot be read");
                return None;
            }
        };
        let own = KNOWN.contains(&record.format) && record.database == format!("{database:016x}");
        // Names become paths: they stay within the directory whatever the file says.
        let inside = |name: &str| !name.contains('/') && !name.contains('\\') && name != "..";
        if !own || record.table_number != table || !record.names().all(inside) {
            return None;
        }
        match lists::read(storage, dir, &record.lists) {
            Ok((files, gone)) => {
                record.files.extend(files);
                record.gone = gone;
            }
            Err(error) => {
                tracing::warn!(%error, "a list of a publication's files cannot be read");
                return None;
            }
        }
        for file in record.files.values_mut() {
            if let Some(layout) = file.schema.and_then(|schema| record.layouts.get(&schema)) {
                Arc::make_mut(file).layout = layout.clone();
            }
        }
        let all_inside = record.names().all(inside);
        all_inside.then_some(record)
    }

    /// Writes it in place of the one before, and returns the bytes. Its lists are there already.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, storage: &dyn Storage, dir: &Path) -> Result<Vec<u8>> {
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| Error::corruption("the record of a publication cannot be written").with_source(error))?;
        let bytes = (json + "\n").into_bytes();
        write_file(storage, &dir.join(RECORD_FILE), &bytes)?;
        Ok(bytes)
    }

    /// The data files, in the order of their runs.
    pub fn data_files(&self) -> impl Iterator<Item = &PublishedFile> {
        self.files.values().map(Arc::as_ref)
    }

    /// Has it say how columns lie in its files.
    pub fn tell_layouts(&mut self) {
        let told = self.data_files().filter(|file| !file.layout.is_plain());
        self.layouts = told
            .filter_map(|file| Some((file.schema?, file.layout.clone())))
            .collect();
    }

    /// How many files have become as they are in this publication or later ones, or are gone since.
    pub fn lines_since(&self, publication: u64) -> u64 {
        let files = self.data_files().filter(|file| file.publication >= publication).count();
        let gone = self.gone.values().filter(|since| **since >= publication).count();
        (files + gone) as u64
    }

    /// The file of a run.
    pub fn file(&self, run: RunId) -> Option<&PublishedFile> {
        self.files.get(&run).map(Arc::as_ref)
    }

    /// What is known of the file of a run without opening it: the number of its schema, and whether it holds operands.
    pub fn facts(&self, run: RunId) -> Option<(u32, bool)> {
        let file = self.file(run)?;
        Some((file.schema?, file.operands))
    }

    /// True if all that can be dead of a run was known.
    pub fn settled(&self, run: RunId) -> bool {
        self.file(run).is_some_and(|file| file.settled)
    }

    /// Counts rows, and says why the files are not exact as they lie.
    pub fn explain(&mut self) {
        let dead: u64 = self.data_files().map(|file| file.dead_rows).sum();
        let merged = self.merged.as_ref().map_or(0, |merged| merged.rows);
        self.rows = self.data_files().map(|file| file.rows).sum::<u64>() - dead + merged;
        if dead > 0 {
            self.why_not_exact.push(format!(
                "{dead} rows of the files are superseded, deleted or expired: the files named by \"dead\" say which"
            ));
        }
        if merged > 0 {
            self.why_not_exact.push(format!(
                "{merged} rows were merged of partial updates, and are in the file named by \"merged\""
            ));
        }
        let lacking = self.data_files().filter(|file| !file.layout.lacks.is_empty()).count();
        if lacking > 0 {
            self.why_not_exact.push(format!(
                "{lacking} files are older than some columns, which are null in their rows: \"lacks\" says which"
            ));
        }
        let told =
            |layout: &Layout| !layout.defaults.is_empty() || !layout.names.is_empty() || !layout.widened.is_empty();
        let older = self.data_files().filter(|file| told(&file.layout)).count();
        if older > 0 {
            self.why_not_exact.push(format!(
                "{older} files are older than names, types or defaults of columns: \"names\", \"widened\" and \"defaults\" say which"
            ));
        }
        self.why_not_exact.extend(why_beyond(self.beyond.len() as u64));
        self.exact = self.why_not_exact.is_empty();
    }

    /// All files of the publication but the Delta table's log.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = self
            .data_files()
            .flat_map(PublishedFile::names)
            .chain(self.names_beside());
        names.chain([RECORD_FILE, scripts::VIEW_FILE, scripts::PYTHON_FILE])
    }

    /// Those that are neither data files, nor what there is for one of these, and have names of their own.
    fn names_beside(&self) -> impl Iterator<Item = &str> {
        let files = self.merged.iter().chain(&self.defaults);
        let names = files.flat_map(PublishedFile::names);
        let lists = self.lists.iter().map(|list| list.file.as_str());
        names.chain(lists)
    }

    /// Files that are there by other names than the table's own, which can be linked again.
    pub fn names_made(&self) -> impl Iterator<Item = &str> {
        let of_files = self.data_files().flat_map(|file| file.names().skip(1));
        of_files.chain(self.names_beside())
    }

    /// The names that it has and `newer` has not.
    pub fn names_without(&self, newer: &Self) -> Vec<String> {
        let mut without = Vec::new();
        for (run, file) in &self.files {
            match newer.files.get(run) {
                Some(new) if Arc::ptr_eq(new, file) => {}
                Some(new) => without.extend(file.names().filter(|name| !new.names().any(|new| new == *name))),
                None => without.extend(file.names()),
            }
        }
        let beside: BTreeSet<&str> = newer.names_beside().collect();
        without.extend(self.names_beside().filter(|name| !beside.contains(name)));
        without.into_iter().map(str::to_owned).collect()
    }
}

impl PublishedFile {
    /// Its name, and those of the files of its dead rows.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let vector = self.vector.as_ref().map(|vector| vector.file.as_str());
        [Some(self.file.as_str()), self.dead.as_deref(), vector]
            .into_iter()
            .flatten()
    }
}

/// The list of files that records had before there were lists.
fn by_runs<'de, D: Deserializer<'de>>(text: D) -> Result<Files, D::Error> {
    let files = Vec::<PublishedFile>::deserialize(text)?;
    Ok(files.into_iter().map(|file| (file.run, Arc::new(file))).collect())
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The last checkpoint of a Delta table's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its version; 0 for none.
    pub version: u64,
    /// Bytes of it.
    pub bytes: u64,
    /// Bytes of the versions since.
    pub bytes_since: u64,
}

#[cfg(test)]
mod tests;
