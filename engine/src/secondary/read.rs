//! Reading a table through an index.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::vec::IntoIter;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, ErrorKind, KeyRange, Result, Slice};

use super::Secondary;
use super::codec::IndexCodec;
use super::scan::{Found, IndexScan};
use super::scope::Scope;
use crate::db::{Snapshot, Table};
use crate::read::ScanBounds;
use crate::typed::some_columns;

/// Rows of a batch.
const BATCH_ROWS: usize = 1024;

/// A read of a table in the order of an index, made by [`Table::index`]; nothing is read before [`batches`](Self::batches),
/// [`keys`](Self::keys) or [`entries`](Self::entries). Rows with equal index columns come in the order of their keys.
#[derive(Debug, Clone)]
#[must_use = "nothing is read before `batches`, `keys` or `entries` is called"]
pub struct IndexRead<'a> {
    table: &'a Table,
    index: Arc<Secondary>,
    range: Range,
    names: Option<Vec<String>>,
    limit: usize,
    reverse: bool,
    snapshot: Option<&'a Snapshot>,
}

#[derive(Debug, Clone)]
enum Range {
    All,
    Extracted(ScanBounds),
    Columns(Bound<RecordBatch>, Bound<RecordBatch>),
}

impl Table {
    /// A read through the secondary index of this name; says what by the methods of [`IndexRead`].
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow::array::{Int64Array, RecordBatch, StringArray};
    /// # use arrow::datatypes::{DataType, Field, Schema};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = kodiak::Db::open(dir.path(), kodiak::Settings::default())?;
    /// # let columns = Arc::new(Schema::new(vec![
    /// #     Field::new("city", DataType::Utf8, false),
    /// #     Field::new("people", DataType::Int64, true),
    /// # ]));
    /// # let cities = db.create_table("cities", kodiak::TableSchema::new(columns.clone(), &["city"])?)?;
    /// # let names = StringArray::from(vec!["Turin", "Bologna", "Milan"]);
    /// # let people = Int64Array::from(vec![Some(841_600), None, Some(1_371_000)]);
    /// # cities.insert(&RecordBatch::try_new(columns, vec![Arc::new(names), Arc::new(people)])?)?;
    /// cities.create_index(kodiak::IndexDefinition::on("by_people", ["people"]))?;
    /// let most: Arc<dyn arrow::array::Array> = Arc::new(Int64Array::from(vec![1_000_000]));
    /// let most = RecordBatch::try_from_iter([("people", most)])?;
    /// for batch in cities.index("by_people")?.key_range(&most..).rev().limit(10).project(["city"]).batches()? {
    ///     assert_eq!(batch?.num_rows(), 1);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound`, listing the indexes there are.
    pub fn index(&self, name: &str) -> Result<IndexRead<'_>> {
        let all = self.inner.secondary.all();
        match all.iter().find(|index| index.name == name) {
            Some(index) => Ok(IndexRead {
                table: self,
                index: Arc::clone(index),
                range: Range::All,
                names: None,
                limit: usize::MAX,
                reverse: false,
                snapshot: None,
            }),
            None => Err(super::create::unknown(&self.inner, name)),
        }
    }
}

impl<'a> IndexRead<'a> {
    /// Only rows whose index columns are in a range, in the order of the index: `key_range(&from..&to)`, `key_range(..=&to)`. The
    /// ends are record batches of one row with the columns of the index, or only the first of them, by name: an end then stands
    /// for all rows that begin so. In a descending column larger values come first, so `from` has the larger one.
    pub fn key_range(mut self, range: impl RangeBounds<RecordBatch>) -> Self {
        self.range = Range::Columns(range.start_bound().cloned(), range.end_bound().cloned());
        self
    }

    /// Only rows whose first index columns have these values: one row of the first columns of the index, by name.
    pub fn prefix(self, columns: &RecordBatch) -> Self {
        self.key_range((Bound::Included(columns), Bound::Included(columns)))
    }

    /// Only entries of which the extractor took out bytes in this range; of an index by an extractor. Of one by columns only `..`,
    /// which is all: other ranges are given by [`key_range`](Self::key_range), and rows with equal values by
    /// [`prefix`](Self::prefix).
    pub fn range(mut self, range: impl KeyRange) -> Self {
        let bounds = ScanBounds::of(range);
        self.range = if bounds == ScanBounds::default() {
            Range::All
        } else {
            Range::Extracted(bounds)
        };
        self
    }

    /// Only these columns, in this order. If they are all columns of the index or of the key, rows are looked at only where
    /// that is needed to know whether they are still what the index says.
    pub fn project<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.names = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// At most so many rows.
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = rows;
        self
    }

    /// From the last row to the first.
    pub fn rev(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// As the table was when the snapshot was taken, be the index younger or not.
    pub fn at(mut self, snapshot: &'a Snapshot) -> Self {
        self.snapshot = Some(snapshot);
        self
    }

    fn scan(&self, rows: bool) -> Result<Rows> {
        let (shared, inner) = (&self.table.open.shared, &self.table.inner);
        shared.check_open()?;
        if let Some(snapshot) = self.snapshot {
            snapshot.check(shared)?;
        }
        let read_only = shared.wal.is_none();
        let scope = Scope::at(shared, inner, &self.index, self.snapshot.map(Snapshot::seq));
        let scope = scope.map_err(|error| beside_writer(read_only, error))?;
        let codec = self.index.codec(inner.target_at(scope.seq).schema())?;
        let bounds = match &self.range {
            Range::All => ScanBounds::default(),
            Range::Extracted(bounds) => codec.extracted(bounds)?,
            Range::Columns(from, to) => codec.bounds(&(from.as_ref(), to.as_ref()))?,
        };
        let scan = IndexScan::new(scope, &bounds, self.reverse, rows);
        Ok(Rows {
            scan: scan.map_err(|error| beside_writer(read_only, error))?,
            read_only,
            left: if bounds.is_empty() { 0 } else { self.limit },
            found: Vec::new().into_iter(),
        })
    }

    /// The encoded primary keys of the rows.
    ///
    /// # Errors
    /// `InvalidInput` for a range that does not fit the index; `Unavailable` if the index is being built or cannot be read;
    /// otherwise as [`Table::get`].
    pub fn keys(self) -> Result<impl Iterator<Item = Result<Slice>>> {
        let rows = self.scan(false)?;
        Ok(rows.map(|found| found.map(|found| Slice::copy_from(found.user_key()))))
    }

    /// Keys and values, of a key-value table; of a typed one, encoded rows. Errors as [`keys`](Self::keys).
    pub fn entries(self) -> Result<IndexEntries> {
        Ok(IndexEntries(self.scan(true)?))
    }

    /// The rows as record batches. Errors as [`keys`](Self::keys); `InvalidInput` for a column that the table does not have.
    pub fn batches(self) -> Result<IndexBatches> {
        let seq = self
            .snapshot
            .map_or_else(|| self.table.open.shared.visible(), Snapshot::seq);
        let target = self.table.inner.target_at(seq);
        let codec = self.index.codec(target.schema())?;
        let indexes = project(target.schema(), self.names.as_deref())?;
        let covered = covers(&codec, target.schema(), &indexes);
        let mut rows = self.scan(!covered)?;
        // An alteration in between would have made these another table's columns.
        if rows.scan.target().version().number() != target.version().number() {
            rows = Self {
                snapshot: self.snapshot,
                ..self.clone()
            }
            .scan(true)?;
            let indexes = project(rows.scan.target().schema(), self.names.as_deref())?;
            return Ok(IndexBatches::new(rows, indexes, false));
        }
        Ok(IndexBatches::new(rows, indexes, covered))
    }
}

fn project(schema: &TableSchema, names: Option<&[String]>) -> Result<Vec<usize>> {
    let own = schema.columns();
    let Some(names) = names else {
        return Ok((0..own.fields().len()).collect());
    };
    let place = |name: &String| {
        own.index_of(name).map_err(|_| {
            let known: Vec<_> = own.fields().iter().map(|field| field.name().as_str()).collect();
            let known = known.join(", ");
            Error::invalid_input(format!("there is no column \"{name}\"; the columns are {known}"))
        })
    };
    names.iter().map(place).collect()
}

/// True if the index and the key have all these columns.
fn covers(codec: &IndexCodec, schema: &TableSchema, indexes: &[usize]) -> bool {
    let has = |index: &usize| codec.places().contains(index) || schema.is_key_column(*index);
    indexes.iter().all(has)
}

/// What an index finds, one by one.
struct Rows {
    scan: IndexScan,
    /// Another process may be changing the index file.
    read_only: bool,
    left: usize,
    found: IntoIter<Found>,
}

/// In a database open for reading only, what looks like damage of an index file may be the work of the process that writes.
fn beside_writer(read_only: bool, error: Error) -> Error {
    let is_index = error
        .file()
        .and_then(std::path::Path::extension)
        .is_some_and(|ending| ending == crate::primary::EXTENSION);
    if !read_only || !is_index || error.kind() != ErrorKind::Corruption {
        return error;
    }
    let message = "the index is not as it was when the database was opened for reading: open it anew; if no other process has \
                   it open for writing, the file is damaged, and the next opening for writing builds it anew";
    Error::new(ErrorKind::Unavailable, message).with_source(error)
}

impl Rows {
    fn advance(&mut self) -> Result<Option<Found>> {
        if self.left == 0 {
            return Ok(None);
        }
        if self.found.len() == 0 {
            let found = self.scan.next_chunk(self.left);
            let found = found.map_err(|error| beside_writer(self.read_only, error))?;
            self.found = found.into_iter();
        }
        let next = self.found.next();
        self.left = if next.is_some() { self.left - 1 } else { 0 };
        Ok(next)
    }
}

impl Iterator for Rows {
    type Item = Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.left = 0;
        }
        next.transpose()
    }
}

/// Iterates over keys and values in the order of an index; made by [`IndexRead::entries`].
pub struct IndexEntries(Rows);

impl Iterator for IndexEntries {
    type Item = Result<(Slice, Slice)>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = match self.0.next()? {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        let key = Slice::copy_from(found.user_key());
        let lost = || Error::corruption("an index has found a row and not read it");
        Some(found.row.map(|row| (key, row)).ok_or_else(lost))
    }
}

/// Iterates over record batches in the order of an index; made by [`IndexRead::batches`]. Each has at least one row.
pub struct IndexBatches {
    rows: Rows,
    /// Of the table's columns, those handed out.
    indexes: Vec<usize>,
    output: SchemaRef,
    /// They are made of index key and user key.
    covered: bool,
}

impl IndexBatches {
    fn new(rows: Rows, indexes: Vec<usize>, covered: bool) -> Self {
        let own = rows.scan.target().schema().columns();
        let fields: Vec<_> = indexes.iter().map(|&index| Arc::clone(&own.fields()[index])).collect();
        Self {
            output: Arc::new(Schema::new_with_metadata(fields, own.metadata().clone())),
            rows,
            indexes,
            covered,
        }
    }

    /// The schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.output)
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let mut found = Vec::new();
        let most = crate::typed::countable_rows(self.rows.scan.target().schema()).min(BATCH_ROWS);
        while found.len() < most {
            let Some(row) = self.rows.advance()? else { break };
            found.push(row);
        }
        if found.is_empty() {
            return Ok(None);
        }
        let columns = match self.covered {
            true => self.of_keys(&found)?,
            false => self.of_rows(&found)?,
        };
        let options = RecordBatchOptions::new().with_row_count(Some(found.len()));
        RecordBatch::try_new_with_options(Arc::clone(&self.output), columns, &options)
            .map(Some)
            .map_err(|error| Error::corruption("rows do not fit the table's schema").with_source(error))
    }

    fn of_keys(&self, found: &[Found]) -> Result<Vec<ArrayRef>> {
        let scan = &self.rows.scan;
        let (target, codec) = (scan.target(), scan.codec());
        let schema = target.schema();
        let index_columns = codec.decode(&BinaryArray::from_iter_values(found.iter().map(Found::index_key)))?;
        let keys = BinaryArray::from_iter_values(found.iter().map(Found::user_key));
        let key_columns = target.codecs().key.decode(&keys)?;
        let column = |index: &usize| {
            if let Some(place) = codec.places().iter().position(|place| place == index) {
                return Ok(Arc::clone(&index_columns[place]));
            }
            let place = schema.key().iter().position(|key| key.index == *index);
            let column = place.and_then(|place| key_columns.get(place)).cloned();
            column.ok_or_else(|| Error::corruption("an index lacks a column that it covers"))
        };
        self.indexes.iter().map(column).collect()
    }

    fn of_rows(&self, found: &[Found]) -> Result<Vec<ArrayRef>> {
        let keys = BinaryArray::from_iter_values(found.iter().map(Found::user_key));
        let rows = BinaryArray::from_iter(found.iter().map(|found| found.row.as_deref()));
        some_columns(self.rows.scan.target(), &keys, &rows, Some(&self.indexes))
    }
}

impl Iterator for IndexBatches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_batch();
        if next.is_err() {
            self.rows.left = 0;
        }
        next.transpose()
    }
}
