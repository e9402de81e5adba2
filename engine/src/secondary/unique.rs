//! Refusing rows that a unique index does not allow.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, BinaryArray};
use arrow::util::display::array_value_to_string;
use kodiak_core::batch::Batch;
use kodiak_core::{Error, ErrorKind, Op, Result, Slice, shown_key};

use super::Secondary;
use super::codec::IndexCodec;
use super::scan::IndexScan;
use super::scope::Scope;
use crate::db::{Shared, TableInner, View};
use crate::read::{ScanBounds, resolve_merge};
use crate::typed::{Target, own_columns};

/// What a table's rows are once a batch is written, as far as it changes them.
#[derive(Default)]
struct After {
    /// Rows written, or `None` if deleted.
    rows: BTreeMap<Vec<u8>, Option<Slice>>,
    /// Ranges deleted.
    ranges: Vec<ScanBounds>,
}

impl After {
    fn of(shared: &Shared, table: &TableInner, view: &View, target: &Target, batch: &Batch) -> Result<Self> {
        let mut after = Self::default();
        let (seq, hidden) = (shared.visible(), table.hidden_below(|| shared.now_micros()));
        for op in batch.ops() {
            let op = op?;
            if op.table != table.id {
                continue;
            }
            let row = match op.op {
                Op::Put => Some(Slice::copy_from(op.value)),
                Op::Delete => None,
                Op::RangeDelete => {
                    let bounds = ScanBounds {
                        start: op.key.to_vec(),
                        end: Some(op.value.to_vec()),
                    };
                    let deleted = after
                        .rows
                        .range_mut(bounds.start.clone()..op.value.to_vec().max(bounds.start.clone()));
                    deleted.for_each(|(_, row)| *row = None);
                    after.ranges.push(bounds);
                    continue;
                }
                Op::Merge => {
                    let base = match after.rows.get(op.key) {
                        Some(row) => row.clone(),
                        None if after.deleted(op.key) => None,
                        None => table.get_with(target, view, op.key, seq, hidden)?,
                    };
                    let operator = table.operator_for(target);
                    let operands = [Slice::copy_from(op.value)];
                    Some(resolve_merge(operator.as_deref(), op.key, base.as_deref(), &operands)?)
                }
            };
            after.rows.insert(op.key.to_vec(), row);
        }
        Ok(after)
    }

    /// True if a range delete of the batch takes a row that it does not write otherwise.
    fn deleted(&self, key: &[u8]) -> bool {
        self.ranges.iter().any(|range| range.meets(key, key))
    }
}

/// Checks what a batch writes to a table; the caller keeps other writers of the table out.
///
/// # Errors
/// `AlreadyExists` naming index and key; those of reading.
pub(super) fn check(shared: &Shared, table: &Arc<TableInner>, batch: &Batch) -> Result<()> {
    let view = table.view.load_full();
    let target = table.target();
    let after = After::of(shared, table, &view, &target, batch)?;
    let written = after.rows.iter().filter_map(|(key, row)| Some((key, row.as_ref()?)));
    let (keys, rows): (Vec<&Vec<u8>>, Vec<&Slice>) = written.unzip();
    if keys.is_empty() {
        return Ok(());
    }
    let own = own_columns(
        &target,
        BinaryArray::from_iter_values(&keys),
        BinaryArray::from_iter_values(&rows),
    )?;
    let indexes = table.secondary.all();
    for index in indexes.iter().filter(|index| index.definition.unique) {
        // While it is being built it has not all rows: they are checked when it has.
        if !view.secondary.iter().any(|state| Arc::ptr_eq(&state.index, index)) {
            index.check_whole()?;
            continue;
        }
        let codec = index.codec(target.schema())?;
        let index_keys = codec.encode(&own)?;
        let mut seen: HashMap<&[u8], &[u8]> = HashMap::new();
        for row in (0..keys.len()).filter(|&row| index_keys.is_valid(row)) {
            let index_key = index_keys.value(row);
            if codec.has_null(index_key)? {
                continue;
            }
            if let Some(other) = seen.insert(index_key, keys[row]) {
                return Err(taken(index, &codec, &target, index_key, other));
            }
            let scope = Scope::at(shared, table, index, None)?;
            let mut scan = IndexScan::new(scope, &ScanBounds::prefix(index_key), false, false)?;
            loop {
                let found = scan.next_chunk(usize::MAX)?;
                if found.is_empty() {
                    break;
                }
                let stays =
                    |key: &[u8]| key != keys[row].as_slice() && !after.rows.contains_key(key) && !after.deleted(key);
                if let Some(other) = found.iter().find(|found| stays(found.user_key())) {
                    return Err(taken(index, &codec, &target, index_key, other.user_key()));
                }
            }
        }
    }
    Ok(())
}

/// Looks for two rows with one index key, in the state of `scope`.
///
/// # Errors
/// `AlreadyExists` naming index and key; those of reading.
pub(super) fn check_all(scope: Scope, stop: &dyn Fn() -> Result<()>) -> Result<()> {
    let index = Arc::clone(&scope.index.index);
    let mut scan = IndexScan::new(scope, &ScanBounds::default(), false, false)?;
    let mut before: Option<(Vec<u8>, Vec<u8>)> = None;
    loop {
        stop()?;
        let found = scan.next_chunk(usize::MAX)?;
        if found.is_empty() {
            return Ok(());
        }
        for row in found {
            if let Some((index_key, other)) = &before
                && index_key == row.index_key()
                && !scan.codec().has_null(index_key)?
            {
                return Err(taken(&index, scan.codec(), scan.target(), index_key, other));
            }
            before = Some((row.index_key().to_vec(), row.user_key().to_vec()));
        }
    }
}

fn taken(index: &Secondary, codec: &IndexCodec, target: &Target, index_key: &[u8], other: &[u8]) -> Error {
    let shown = |columns: Result<Vec<arrow::array::ArrayRef>>| {
        let shown = columns.map(|columns| {
            let texts = columns
                .iter()
                .map(|column| shown_text(array_value_to_string(column, 0).unwrap_or_default()));
            texts.collect::<Vec<_>>().join(", ")
        });
        shown.unwrap_or_default()
    };
    let values = shown(codec.decode(&BinaryArray::from_iter_values([index_key])));
    let key = match target.schema().is_key_value() {
        true => shown_key(other),
        false => shown(target.codecs().key.decode(&BinaryArray::from_iter_values([other]))),
    };
    let names: Vec<_> = codec.fields().iter().map(|field| field.name().as_str()).collect();
    let message = format!(
        "index \"{}\" is unique, and the row with key ({key}) has {} = ({values}) already",
        index.name,
        names.join(", ")
    );
    Error::new(ErrorKind::AlreadyExists, message)
}

/// So many characters of a value are shown.
const SHOWN_TEXT: usize = 64;

fn shown_text(text: String) -> String {
    match text.char_indices().nth(SHOWN_TEXT) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn long_values_are_cut_between_characters() {
        let shown = |text: String| super::shown_text(text);
        assert_eq!(shown("\u{e9}".repeat(64)), "\u{e9}".repeat(64));
        assert_eq!(
            shown("\u{e9}".repeat(65)),
            format!("{}... (130 bytes)", "\u{e9}".repeat(64))
        );
    }
}
