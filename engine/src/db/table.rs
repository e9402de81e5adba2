//! The handle of a table that programs hold.

use std::sync::Arc;

use kodiak_core::batch::TableId;
use kodiak_core::entry::MAX_SEQ;
use kodiak_core::schema::TableSchema;
use kodiak_core::{Op, Result, Slice};

use super::options::TableOptions;
use super::shared::{Open, Shared};
use super::snapshot::Snapshot;
use super::table_state::{ScanRange, TableInner};
use crate::key_range::KeyRange;
use crate::read::{Scan, ScanBounds};
use crate::typed::Target;

/// A table of an open database.
///
/// Handles are cheap to clone, may be used from any thread, and keep the database open. Reads see every write that was
/// acknowledged before they began. The byte-level methods work on every table: in a typed one, keys are encoded primary keys
/// and values encoded rows (see `docs/formats/keys.md`), of the schema in force at the moment that is read at.
#[derive(Debug, Clone)]
pub struct Table {
    pub(crate) open: Arc<Open>,
    pub(crate) inner: Arc<TableInner>,
}

impl Table {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its number within the database.
    pub fn id(&self) -> TableId {
        self.inner.id
    }

    /// Its schema, as of now: [`alter`](Self::alter) changes that of a typed table.
    pub fn schema(&self) -> Arc<TableSchema> {
        Arc::clone(&self.inner.schemas.current().schema)
    }

    /// The schema that it had when the snapshot was taken, by which reads at it read.
    pub fn schema_at(&self, snapshot: &Snapshot) -> Arc<TableSchema> {
        Arc::clone(&self.inner.schemas.at(snapshot.seq()).schema)
    }

    /// Its options: those it was created with, and how its indexes are made and kept by now.
    pub fn options(&self) -> TableOptions {
        let indexes = self.inner.roles.load().own.clone();
        self.inner.options.clone().indexes(indexes)
    }

    fn shared(&self) -> &Shared {
        &self.open.shared
    }

    /// Gives `key` a value.
    ///
    /// # Errors
    /// `InvalidInput` for a key or value above the limits; `Io` if the log cannot be written; `Unavailable` after such a
    /// failure, in a database that is closed or open for reading only, or if the table was dropped.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.shared()
            .write_one(&self.inner, Op::Put, key.as_ref(), value.as_ref())
    }

    /// Takes the value of `key` away; a key without a value is fine. Errors as [`put`](Self::put).
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.shared().write_one(&self.inner, Op::Delete, key.as_ref(), &[])
    }

    /// Takes the values of all keys in a range away, at the price of one write. Errors as [`put`](Self::put); besides,
    /// `InvalidInput` for a range without an end, since there is no largest key.
    pub fn delete_range(&self, range: impl KeyRange) -> Result<()> {
        let bounds = range.bounds();
        let end = bounds.end.ok_or_else(|| {
            kodiak_core::Error::invalid_input("a range delete needs an end; to delete everything, drop the table")
        })?;
        if bounds.start >= end {
            return Ok(());
        }
        self.shared()
            .write_one(&self.inner, Op::RangeDelete, &bounds.start, &end)
    }

    /// Adds an operand for the table's merge operator. Errors as [`put`](Self::put); besides, `InvalidInput` if the table has
    /// no operator.
    pub fn merge(&self, key: impl AsRef<[u8]>, operand: impl AsRef<[u8]>) -> Result<()> {
        self.shared()
            .write_one(&self.inner, Op::Merge, key.as_ref(), operand.as_ref())
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// `Corruption` naming file and offset, `Io`, `Unavailable`; what the merge operator returns.
    #[inline]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        let shared = self.shared();
        shared.check_open()?;
        // The view first, then the sequence number: what a flush has dropped from the view is never needed then.
        let view = self.inner.view.load();
        let seq = shared.visible();
        self.inner.get(
            &view,
            key.as_ref(),
            seq,
            self.inner.hidden_below(|| shared.now_micros()),
        )
    }

    /// The value that `key` had when the snapshot was taken. Errors as [`get`](Self::get).
    pub fn get_at(&self, snapshot: &Snapshot, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        let shared = self.shared();
        shared.check_open()?;
        snapshot.check(shared)?;
        let view = self.inner.view.load();
        self.inner.get(
            &view,
            key.as_ref(),
            snapshot.seq(),
            self.inner.hidden_below(|| shared.now_micros()),
        )
    }

    /// The encoded row of a key, and the schema by which it is encoded.
    pub(crate) fn get_encoded(&self, key: &[u8], snapshot: Option<&Snapshot>) -> Result<(Target, Option<Slice>)> {
        let shared = self.shared();
        shared.check_open()?;
        if let Some(snapshot) = snapshot {
            snapshot.check(shared)?;
        }
        let view = self.inner.view.load();
        let seq = snapshot.map_or_else(|| shared.visible(), Snapshot::seq);
        let hidden = self.inner.hidden_below(|| shared.now_micros());
        self.inner.get_row(&view, key, seq, hidden)
    }

    /// The values of several keys at one moment, in the order of the keys. Errors as [`get`](Self::get).
    pub fn multi_get<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<Option<Slice>>> {
        let shared = self.shared();
        shared.check_open()?;
        let view = self.inner.view.load_full();
        let seq = shared.visible();
        let hidden = self.inner.hidden_below(|| shared.now_micros());
        keys.into_iter()
            .map(|key| self.inner.get(&view, key.as_ref(), seq, hidden))
            .collect()
    }

    /// True if `key` has a value. Errors as [`get`](Self::get).
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// The entries of a key range in key order: `scan(..)`, `scan(b"a"..b"b")`. Errors as [`get`](Self::get).
    pub fn scan(&self, range: impl KeyRange) -> Result<Scan> {
        self.scan_with(ScanOptions::new(range))
    }

    /// The entries whose keys begin with `prefix`, in key order. Errors as [`get`](Self::get).
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Scan> {
        self.scan_with(ScanOptions::prefix(prefix))
    }

    /// A scan with options: backward, at a snapshot, past the cache. Errors as [`get`](Self::get).
    pub fn scan_with(&self, options: ScanOptions<'_>) -> Result<Scan> {
        let shared = self.shared();
        shared.check_open()?;
        if let Some(snapshot) = options.snapshot {
            snapshot.check(shared)?;
        }
        let view = self.inner.view.load_full();
        let range = ScanRange {
            seq: options
                .snapshot
                .map_or_else(|| shared.visible(), Snapshot::seq)
                .min(MAX_SEQ),
            hidden_below: self.inner.hidden_below(|| shared.now_micros()),
            reverse: options.reverse,
            prefix: options.prefix.as_deref(),
            fill_cache: options.fill_cache,
            filter: None,
            merges_fast: false,
        };
        self.inner.scan(&view, options.bounds, range)
    }
}

/// What a scan reads and how: a builder for [`Table::scan_with`].
#[derive(Debug, Clone)]
pub struct ScanOptions<'a> {
    bounds: ScanBounds,
    prefix: Option<Vec<u8>>,
    reverse: bool,
    snapshot: Option<&'a Snapshot>,
    fill_cache: bool,
}

impl<'a> ScanOptions<'a> {
    /// Forward over a key range.
    pub fn new(range: impl KeyRange) -> Self {
        Self {
            bounds: range.bounds(),
            prefix: None,
            reverse: false,
            snapshot: None,
            fill_cache: true,
        }
    }

    /// Forward over the keys that begin with `prefix`; runs whose filter knows that they have none are not read.
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        let prefix = prefix.as_ref();
        Self {
            prefix: Some(prefix.to_vec()),
            ..Self::new(ScanBounds::prefix(prefix))
        }
    }

    /// From the end of the range to its start.
    pub fn rev(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// As the table was when the snapshot was taken.
    pub fn at(mut self, snapshot: &'a Snapshot) -> Self {
        self.snapshot = Some(snapshot);
        self
    }

    /// Blocks read are not kept in the cache: for large scans that should not push out what is hot.
    pub fn without_cache(mut self) -> Self {
        self.fill_cache = false;
        self
    }
}
