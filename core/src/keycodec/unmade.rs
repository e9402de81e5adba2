//! Keys that are encoded when they are first looked at: reads of blocks that overlap no others look at none, or at a few.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray};

use super::encode;
use super::fixed::FixedKeys;
use super::view::{Bytes, Physical, View};
use super::{Part, Result};

/// The user keys of some rows: made, or the columns of which they can be made.
#[derive(Debug, Clone)]
pub enum Keys {
    /// Encoded.
    Made(BinaryArray),
    /// Not yet.
    Unmade(UnmadeKeys),
}

impl Keys {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Made(keys) => keys.len(),
            Self::Unmade(keys) => keys.rows(),
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<BinaryArray> for Keys {
    fn from(keys: BinaryArray) -> Self {
        Self::Made(keys)
    }
}

/// Key columns, checked so that nothing can go wrong when they are encoded: that may wait, and one key can be had without the
/// others.
#[derive(Debug, Clone)]
pub struct UnmadeKeys(Columns);

#[derive(Debug, Clone)]
enum Columns {
    /// Of fixed width, without nulls.
    Fixed(FixedKeys),
    /// Any.
    Other(OtherKeys),
}

impl UnmadeKeys {
    /// The keys of columns that are plain, of the parts' types and without nulls where these say so; `None` if they are of
    /// different lengths or may have more than 2 GiB, of which [`encode::columns`] tells.
    ///
    /// # Errors
    /// `InvalidInput` for a type without an order.
    pub(super) fn new(parts: &Arc<[Part]>, arrays: Vec<ArrayRef>) -> Result<Option<Self>> {
        Ok(match FixedKeys::new(parts, &arrays) {
            Some(keys) => Some(Self(Columns::Fixed(keys))),
            None => OtherKeys::new(parts, arrays)?.map(|keys| Self(Columns::Other(keys))),
        })
    }

    /// How many there are.
    pub fn rows(&self) -> usize {
        match &self.0 {
            Columns::Fixed(keys) => keys.rows(),
            Columns::Other(keys) => keys.rows,
        }
    }

    /// Bytes that they take once they are encoded; about so many, if they are not all equally long.
    pub fn memory(&self) -> usize {
        match &self.0 {
            Columns::Fixed(keys) => keys.memory(),
            Columns::Other(keys) => keys.bytes + keys.rows * size_of::<i32>(),
        }
    }

    /// Appends the key of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn put(&self, row: usize, out: &mut Vec<u8>) {
        match &self.0 {
            Columns::Fixed(keys) => keys.put(row, out),
            Columns::Other(keys) => keys.put(row, out),
        }
    }

    /// Appends what the keys begin with, as [`prefix_of`](crate::entry::prefix_of) tells; false, and nothing, if that takes
    /// no less than to encode them.
    pub fn prefixes(&self, out: &mut Vec<u64>) -> bool {
        match &self.0 {
            Columns::Fixed(keys) => keys.prefixes(out),
            Columns::Other(_) => false,
        }
    }

    /// All of them.
    pub fn encode(&self) -> BinaryArray {
        match &self.0 {
            Columns::Fixed(keys) => keys.encode(),
            Columns::Other(keys) => keys.encode(),
        }
    }
}

#[derive(Debug, Clone)]
struct OtherKeys {
    parts: Arc<[Part]>,
    /// Of the parts, equally long.
    arrays: Vec<ArrayRef>,
    rows: usize,
    /// Of all keys, about.
    bytes: usize,
}

impl OtherKeys {
    fn new(parts: &Arc<[Part]>, arrays: Vec<ArrayRef>) -> Result<Option<Self>> {
        let rows = arrays.first().map_or(0, |array| array.len());
        let (mut bytes, mut most) = (0usize, 0usize);
        for (part, array) in parts.iter().zip(&arrays) {
            if array.len() != rows {
                return Ok(None);
            }
            let marker = usize::from(part.nullable) * rows;
            let own = match part.physical()? {
                Physical::Bool => rows,
                Physical::Fixed { width, .. } => rows.saturating_mul(width),
                Physical::Var { .. } => text_bytes(&encode::view(part, array)?, rows) + 2 * rows,
            };
            bytes = bytes.saturating_add(own + marker);
            // Each byte may be one that is escaped.
            most = most.saturating_add(own.saturating_mul(2) + marker);
        }
        Ok(i32::try_from(most).is_ok().then(|| Self {
            parts: Arc::clone(parts),
            arrays,
            rows,
            bytes,
        }))
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) {
        for (part, array) in self.parts.iter().zip(&self.arrays) {
            // Both are there, as `new` has seen.
            if let (Some(view), Some(physical)) = (View::new(array), part.physical) {
                encode::put_row(part, physical, &view, row, out);
            }
        }
    }

    fn encode(&self) -> BinaryArray {
        // `new` has seen to it that they can be.
        encode::columns(&self.parts, &self.arrays)
            .unwrap_or_else(|_| BinaryArray::from_iter_values(vec![[]; self.rows]))
    }
}

/// The bytes of the values of variable width.
fn text_bytes(view: &View<'_>, rows: usize) -> usize {
    match &view.bytes {
        Bytes::Var { offsets, .. } => (offsets[rows] - offsets[0]) as usize,
        Bytes::LargeVar { offsets, .. } => (offsets[rows] - offsets[0]) as usize,
        _ => (0..rows).map(|row| view.value(row).len()).sum(),
    }
}
