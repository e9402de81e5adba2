//! Where and when an index is read, and looks at rows from there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{Array, BinaryArray};
use kodiak_core::memtable::Memtable;
use kodiak_core::{Error, Result, SeqNo, Slice};

use super::codec::IndexCodec;
use super::entry::entry_key;
use super::source::PendingRow;
use super::{Secondary, SecondaryView, columns};
use crate::db::{Shared, TableInner, View};
use crate::typed::Target;

/// Where and when an index is read.
#[derive(Clone)]
pub(super) struct Scope {
    pub table: Arc<TableInner>,
    pub view: Arc<View>,
    pub index: Arc<SecondaryView>,
    pub seq: SeqNo,
    pub hidden_below: SeqNo,
    /// Entries of which some hold, and among them those of all pending rows; without it, each read resolves these.
    pub kept: Option<Arc<dyn Memtable>>,
}

impl Scope {
    /// The newest moment, or a snapshot's.
    ///
    /// # Errors
    /// `Unavailable` if the index cannot be read; those of resolving pending rows.
    pub fn at(
        shared: &Shared,
        table: &Arc<TableInner>,
        index: &Arc<Secondary>,
        snapshot: Option<SeqNo>,
    ) -> Result<Self> {
        // The view first, then the sequence number, as in every read.
        let view = table.view.load_full();
        let seq = snapshot.unwrap_or_else(|| shared.visible());
        let scope = Self::of(table, view, index, seq, table.hidden_below(|| shared.now_micros()))?;
        index.pending.look_up(shared, scope, snapshot.is_some())
    }

    /// A moment that is visible in a view.
    ///
    /// # Errors
    /// `Unavailable` if the view has no such index, or it is broken.
    pub fn of(
        table: &Arc<TableInner>,
        view: Arc<View>,
        index: &Arc<Secondary>,
        seq: SeqNo,
        hidden_below: SeqNo,
    ) -> Result<Self> {
        Ok(Self {
            table: Arc::clone(table),
            index: state(&view, index)?,
            view,
            seq,
            hidden_below,
            kept: None,
        })
    }
}

/// Looks at rows from a scope, and finds the index keys that they have.
pub(super) struct RowReader {
    pub scope: Scope,
    pub target: Target,
    pub codec: Arc<IndexCodec>,
}

impl RowReader {
    /// # Errors
    /// Those of the codec.
    pub fn new(scope: Scope) -> Result<Self> {
        let target = scope.table.target_at(scope.seq);
        let codec = scope.index.index.codec(target.schema())?;
        Ok(Self { scope, target, codec })
    }

    pub fn row(&self, user_key: &[u8]) -> Result<Option<Slice>> {
        Ok(self.row_since(user_key)?.map(|(row, _)| row))
    }

    /// The row, and the oldest version that it is made of.
    fn row_since(&self, user_key: &[u8]) -> Result<Option<(Slice, SeqNo)>> {
        let Scope {
            table,
            view,
            seq,
            hidden_below,
            ..
        } = &self.scope;
        table.get_since(&self.target, view, user_key, *seq, *hidden_below)
    }

    pub fn index_keys(&self, keys: &[&[u8]], rows: &[Slice]) -> Result<BinaryArray> {
        let keys = BinaryArray::from_iter_values(keys);
        let rows = BinaryArray::from_iter_values(rows);
        if keys.is_empty() {
            return Ok(keys);
        }
        self.codec
            .encode(&columns::of_rows(&self.target, [&*self.codec], &keys, &rows)?)
    }

    /// Resolves pending rows.
    ///
    /// # Errors
    /// Those of reading.
    pub fn resolve(&self, rows: &[PendingRow]) -> Result<Vec<ResolvedRow>> {
        let counter = &self.scope.index.index.counters.resolved;
        counter.fetch_add(rows.len() as u64, Ordering::Relaxed);
        let (mut keys, mut values, mut oldest) = (Vec::new(), Vec::new(), Vec::new());
        for (key, _) in rows {
            if let Some((row, since)) = self.row_since(key)? {
                keys.push(key.as_slice());
                values.push(row);
                oldest.push(since);
            }
        }
        let index_keys = self.index_keys(&keys, &values)?;
        let resolved = keys.iter().zip(oldest).enumerate().map(|(place, (key, oldest))| {
            let entry = index_keys.is_valid(place).then(|| {
                let index_key = index_keys.value(place);
                let mut entry = Vec::with_capacity(1 + index_key.len() + key.len());
                entry_key(index_key, key, &mut entry);
                (entry, index_key.len())
            });
            let key = key.to_vec();
            ResolvedRow { key, oldest, entry }
        });
        Ok(resolved.collect())
    }
}

/// A pending row that is there.
pub(super) struct ResolvedRow {
    pub key: Vec<u8>,
    /// The oldest version that it is made of.
    pub oldest: SeqNo,
    /// Its entry and the length of the index key in it, unless the index has no such rows.
    pub entry: Option<(Vec<u8>, usize)>,
}

/// The state of an index in a view.
///
/// # Errors
/// `Unavailable` if the view has none.
fn state(view: &View, index: &Arc<Secondary>) -> Result<Arc<SecondaryView>> {
    index.check_whole()?;
    let state = view.secondary.iter().find(|state| Arc::ptr_eq(&state.index, index));
    state.cloned().ok_or_else(|| {
        let message = format!(
            "index \"{}\" is not ready: it is being built, or was dropped, or its file cannot be used, which the next opening for writing mends",
            index.name
        );
        Error::new(kodiak_core::ErrorKind::Unavailable, message)
    })
}
