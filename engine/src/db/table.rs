//! The handle of a table that programs hold.

use std::sync::Arc;

use kodiak_core::batch::TableId;
use kodiak_core::entry::MAX_SEQ;
use kodiak_core::schema::TableSchema;
use kodiak_core::{KeyRange, Op, Result, SeqNo, Slice};

use super::options::TableOptions;
use super::scan_options::ScanOptions;
use super::shared::{Open, Shared};
use super::snapshot::Snapshot;
use super::table_state::{ScanRange, TableInner, View};
use super::write::WriteBatch;
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

    /// Takes the values of all keys in a range away, at the price of one write, and of one read before it if the range has no end.
    /// Errors as [`put`](Self::put) and [`get`](Self::get).
    pub fn delete_range(&self, range: impl KeyRange) -> Result<()> {
        let bounds = ScanBounds::of(range);
        let Some(end) = &bounds.end else {
            return self.delete_from(&bounds.start);
        };
        if bounds.is_empty() {
            return Ok(());
        }
        self.shared()
            .write_one(&self.inner, Op::RangeDelete, &bounds.start, end)
    }

    /// Takes the values of all keys that begin with `prefix` away; errors and price as with [`delete_range`](Self::delete_range).
    pub fn delete_prefix(&self, prefix: impl AsRef<[u8]>) -> Result<()> {
        self.delete_range(ScanBounds::prefix(prefix.as_ref()))
    }

    /// There is no largest key that a range could end with, but the last one that has a value: writes acknowledged before the
    /// call are at or below it, and others are as if they came later.
    fn delete_from(&self, start: &[u8]) -> Result<()> {
        self.shared().check_writable()?;
        let last = self.scan_with(ScanOptions::new(start..).rev())?.next().transpose()?;
        let Some((last, _)) = last else { return Ok(()) };
        let mut batch = WriteBatch::new(self.shared().limits());
        batch.delete_range(self, start, &last).delete(self, &last);
        self.shared().write_batch(batch, self.shared().settings.wal.sync)
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
    ///
    /// Keys of several tables are read at one moment by [`multi_get_at`](Self::multi_get_at) with one snapshot.
    pub fn multi_get<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<Option<Slice>>> {
        self.shared().check_open()?;
        // The view first: see `get`.
        let view = self.inner.view.load_full();
        self.get_all(&view, self.shared().visible(), keys)
    }

    /// The values that several keys had when the snapshot was taken, in the order of the keys. Errors as [`get`](Self::get).
    pub fn multi_get_at<K: AsRef<[u8]>>(
        &self,
        snapshot: &Snapshot,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Slice>>> {
        self.shared().check_open()?;
        snapshot.check(self.shared())?;
        self.get_all(&self.inner.view.load_full(), snapshot.seq(), keys)
    }

    fn get_all<K: AsRef<[u8]>>(
        &self,
        view: &View,
        seq: SeqNo,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Slice>>> {
        let hidden = self.inner.hidden_below(|| self.shared().now_micros());
        keys.into_iter()
            .map(|key| self.inner.get(view, key.as_ref(), seq, hidden))
            .collect()
    }

    /// True if `key` has a value. Errors as [`get`](Self::get).
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// The first entry in key order. Errors as [`get`](Self::get).
    pub fn first_key_value(&self) -> Result<Option<(Slice, Slice)>> {
        self.scan(..)?.next().transpose()
    }

    /// The last entry in key order. Errors as [`get`](Self::get).
    pub fn last_key_value(&self) -> Result<Option<(Slice, Slice)>> {
        self.scan_with(ScanOptions::new(..).rev())?.next().transpose()
    }

    /// True if no key has a value. Errors as [`get`](Self::get).
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.first_key_value()?.is_none())
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
        let limit = options.limit;
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
        Ok(self.inner.scan(&view, options.bounds, range)?.limited(limit))
    }
}
