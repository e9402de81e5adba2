//! Typed tables: rows as Arrow columns.
//!
//! Rows go in and come out as `RecordBatch`es of the table's schema; the primary key says which row a new one replaces. In
//! the log and the memtables a row is its encoded key and its encoded value columns (see `docs/formats/rows.md`); in runs it
//! is columns, and reads hand those out as they lie wherever nothing has to be merged.

mod alter;
mod batches;
mod columns;
mod conform;
mod copy;
mod filter;
mod filtered;
mod fit;
mod gather;
mod keys;
mod last_non_null;
mod layout;
mod memory;
mod merge;
mod pieces;
mod predicate;
mod read;
mod rows;
mod schemas;
mod sizes;
mod streams;
mod write;

pub use alter::Alteration;
pub(crate) use columns::{countable_rows, own_columns, some_columns};
pub(crate) use conform::complete as complete_batch;
pub(crate) use filter::Filter;
pub use filtered::Batches;
pub use fit::{Fitting, Misfit};
pub(crate) use gather::{Columns, Gather};
pub(crate) use keys::bounds as key_bounds;
pub(crate) use last_non_null::{LastNonNullRow, check_operator};
pub(crate) use pieces::Pieces;
pub use predicate::{Column, Literal, Predicate, col};
pub use read::Read;
pub(crate) use schemas::{SchemaVersion, Schemas, Target};
pub(crate) use sizes::row_bytes;
pub(crate) use write::check_bytes;

use std::ops::RangeBounds;

use arrow::array::RecordBatch;
use kodiak_core::Result;

use crate::db::{Snapshot, Table};
use crate::read::ScanBounds;

impl Table {
    /// Inserts rows; a row whose key exists already replaces the old one, and of rows with equal keys in `rows` the last
    /// one stays. The columns must be the table's own: same names, types and order. Only those that have a default (see
    /// [`Alteration::add_column_with`]) may be missing: the rows get it. A null is a null, whatever the default.
    ///
    /// All rows become visible, and survive a crash, together if their encoded form has at most 4 MiB. A larger batch is
    /// written in steps of about that size, first rows first. To write more at once, or several tables together, use
    /// [`WriteBatch::insert`](crate::WriteBatch::insert); to load much data fast, [`bulk_insert`](Self::bulk_insert).
    ///
    /// # Errors
    /// `InvalidInput` naming the column that does not fit the schema, or holds a null where the schema allows none; before
    /// anything is written. Otherwise as [`put`](Self::put).
    pub fn insert(&self, rows: &RecordBatch) -> Result<()> {
        write::insert(self, rows)
    }

    /// Changes the named columns of rows: `rows` has the key columns and any others of the table, in any order, and the
    /// columns that it lacks, like its nulls, leave the row's values as they are. A row that does not exist is inserted, with
    /// the defaults of the columns for the rest, and nulls where there are none. Atomic as [`insert`](Self::insert).
    ///
    /// The table needs the merge operator `last-non-null`; nothing is read before it is written.
    ///
    /// # Errors
    /// `InvalidInput` naming the column: a column that may not be null and has no default is missing, or one has another type than the schema
    /// says; or if the table has no such operator. Otherwise as [`put`](Self::put).
    pub fn update(&self, rows: &RecordBatch) -> Result<()> {
        write::update(self, rows)
    }

    /// Deletes the rows with these keys; keys without a row are fine. `keys` has the key columns, found by name; other columns
    /// are ignored. Atomic as [`insert`](Self::insert).
    ///
    /// # Errors
    /// `InvalidInput` naming the column that is missing, or has another type than the schema says. Otherwise as
    /// [`put`](Self::put).
    pub fn delete_keys(&self, keys: &RecordBatch) -> Result<()> {
        write::delete_keys(self, keys)
    }

    /// The range of keys that [`Read::key_range`] reads, for calls that take keys as bytes: `delete_range`, `compact_range`,
    /// `approximate_size`. It is that of the table's key columns, which no alteration changes.
    ///
    /// # Errors
    /// `InvalidInput` naming the column if an end is not one row of the first key columns.
    pub fn key_bounds(&self, range: impl RangeBounds<RecordBatch>) -> Result<ScanBounds> {
        let version = self.inner.schemas.current();
        keys::bounds(&version.schema, &version.codecs, &range)
    }

    /// The row with a key: `key` has the key columns, found by name, and one row.
    ///
    /// # Errors
    /// As [`delete_keys`](Self::delete_keys) and [`get`](Self::get).
    pub fn get_row(&self, key: &RecordBatch) -> Result<Option<RecordBatch>> {
        rows::get(self, key, None)
    }

    /// The row that a key had when the snapshot was taken. Errors as [`get_row`](Self::get_row).
    pub fn get_row_at(&self, snapshot: &Snapshot, key: &RecordBatch) -> Result<Option<RecordBatch>> {
        rows::get(self, key, Some(snapshot))
    }

    /// Reads rows as record batches; says what by the methods of [`Read`]. Works on key-value tables as well, whose
    /// columns are `key` and `value`.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow::array::{Int64Array, RecordBatch, StringArray};
    /// # use arrow::datatypes::{DataType, Field, Schema};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = kodiak::Db::open(dir.path(), kodiak::Settings::default())?;
    /// let columns = Schema::new(vec![
    ///     Field::new("city", DataType::Utf8, false),
    ///     Field::new("people", DataType::Int64, true),
    /// ]);
    /// let columns = Arc::new(columns);
    /// let cities = db.create_table("cities", kodiak::TableSchema::new(columns.clone(), &["city"])?)?;
    /// let names = StringArray::from(vec!["Turin", "Bologna", "Milan"]);
    /// let people = Int64Array::from(vec![Some(841_600), None, Some(1_371_000)]);
    /// cities.insert(&RecordBatch::try_new(columns, vec![Arc::new(names), Arc::new(people)])?)?;
    /// for batch in cities.read().project(["people"]).limit(2).batches()? {
    ///     assert_eq!(batch?.num_rows(), 2);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn read(&self) -> Read<'_> {
        Read::new(self)
    }
}
