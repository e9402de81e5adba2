//! Keys that are encoded when they are first looked at: reads of blocks that overlap no others look at none, or at a few.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray};

use super::encode;
use super::fixed::{self, FixedPart};
use super::heads::{self, Heads, KeyPlace};
use super::text::TextPart;
use super::view::{Bytes, Physical, View};
use super::words;
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

/// Key columns, checked so that nothing can go wrong when they are encoded: that may wait, and one key, or what keys begin with,
/// can be had without the others.
#[derive(Debug, Clone)]
pub struct UnmadeKeys {
    parts: Arc<[Part]>,
    /// Of the parts, equally long.
    arrays: Vec<ArrayRef>,
    /// The same.
    columns: Vec<KeyColumn>,
    rows: usize,
    /// Of all keys, about.
    bytes: usize,
}

impl UnmadeKeys {
    /// The keys of columns that are plain, of the parts' types and without nulls where these say so; `None` if they are of
    /// different lengths or may have more than 2 GiB, of which [`encode::columns`] tells.
    ///
    /// # Errors
    /// `InvalidInput` for a type without an order.
    pub(super) fn new(parts: &Arc<[Part]>, arrays: Vec<ArrayRef>) -> Result<Option<Self>> {
        let rows = arrays.first().map_or(0, |array| array.len());
        let (mut bytes, mut most) = (0usize, 0usize);
        let mut columns = Vec::with_capacity(parts.len());
        for (number, (part, array)) in parts.iter().zip(&arrays).enumerate() {
            if array.len() != rows {
                return Ok(None);
            }
            let marker = usize::from(part.nullable) * rows;
            let (own, own_most) = match part.physical()? {
                Physical::Bool => (rows, rows),
                Physical::Fixed { width, .. } => (rows.saturating_mul(width), rows.saturating_mul(width)),
                Physical::Var { .. } => {
                    let values = text_bytes(&encode::view(part, array)?, rows);
                    // Each byte may be one that is escaped.
                    (values + 2 * rows, values.saturating_mul(2) + 2 * rows)
                }
            };
            bytes = bytes.saturating_add(own + marker);
            most = most.saturating_add(own_most + marker);
            columns.push(KeyColumn::new(parts, number, array));
        }
        Ok(i32::try_from(most).is_ok().then(|| Self {
            parts: Arc::clone(parts),
            arrays,
            columns,
            rows,
            bytes,
        }))
    }

    /// How many there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that they take once they are encoded; about so many, if they are not all equally long.
    pub fn memory(&self) -> usize {
        self.bytes + self.rows * size_of::<i32>()
    }

    /// Appends the key of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn put(&self, row: usize, out: &mut Vec<u8>) {
        self.columns.iter().for_each(|column| column.put(row, out));
    }

    /// How the key of a row, from `place` on, compares with one of other rows of the table; `rooms` are room to make keys in.
    ///
    /// # Panics
    /// If there are no such rows.
    #[inline]
    pub fn compare_from(
        &self,
        place: KeyPlace,
        row: usize,
        (other, with): (&Self, usize),
        rooms: (&mut Vec<u8>, &mut Vec<u8>),
    ) -> Ordering {
        let columns = self.columns.iter().zip(&other.columns).skip(place.column);
        for (one, other) in columns {
            let order = one.compare(row, (other, with), (rooms.0, rooms.1));
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    }

    /// How the key of a row, from `place` on, compares with `key`, an encoded one from there on; `room` is room to make keys in.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn compare_encoded_from(&self, place: KeyPlace, row: usize, mut key: &[u8], room: &mut Vec<u8>) -> Ordering {
        for column in self.columns.get(place.column..).unwrap_or_default() {
            let (order, len) = column.compare_encoded(row, key, room);
            if order != Ordering::Equal {
                return order;
            }
            key = key.get(len..).unwrap_or_default();
        }
        0.cmp(&key.len())
    }

    /// Puts the first eight bytes of the key of each row behind the first `skip` ones into `out`, which is empty, as
    /// [`prefix_of`](crate::entry::prefix_of) does. Rows whose keys do not begin with the same `skip` bytes as that of `row` get
    /// anything. Returns up to where rows of which it is the same have the same key.
    pub fn heads(&self, skip: usize, row: usize, out: &mut Vec<u64>) -> KeyPlace {
        heads::heads(&self.columns, skip, row, out)
    }

    /// All of them.
    pub fn encode(&self) -> BinaryArray {
        let fixed = self.columns.iter().map(|column| match column {
            KeyColumn::Fixed(part) => Some(part),
            _ => None,
        });
        match fixed.collect::<Option<Vec<_>>>() {
            Some(parts) => fixed::encode(&parts, self.rows),
            None => words::encode(&self.columns, self.rows).unwrap_or_else(|| self.encode_columns()),
        }
    }

    fn encode_columns(&self) -> BinaryArray {
        // `new` has seen to it that they can be.
        encode::columns(&self.parts, &self.arrays)
            .unwrap_or_else(|_| BinaryArray::from_iter_values(vec![[]; self.rows]))
    }

    #[cfg(test)]
    pub(super) fn columns(&self) -> &[KeyColumn] {
        &self.columns
    }
}

/// The values of a key column, as they lie.
#[derive(Debug, Clone)]
pub(super) enum KeyColumn {
    /// Of fixed width, none of them null.
    Fixed(FixedPart),
    /// Ascending texts or bytes, none of them null.
    Text(TextPart),
    /// Any, of the part with this number.
    Other(Arc<[Part]>, usize, ArrayRef),
}

impl KeyColumn {
    fn new(parts: &Arc<[Part]>, number: usize, array: &ArrayRef) -> Self {
        let part = &parts[number];
        let fixed = FixedPart::new(part, array).map(Self::Fixed);
        fixed
            .or_else(|| TextPart::new(part, array).map(Self::Text))
            .unwrap_or_else(|| Self::Other(Arc::clone(parts), number, Arc::clone(array)))
    }

    /// Nothing follows its values, which have no end of their own.
    pub(super) fn is_tail(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Text(part) => part.tail,
            Self::Other(parts, number, _) => parts[*number].tail,
        }
    }

    /// How many bytes a value takes at most, as far as that is easily told.
    pub(super) fn most_bytes(&self) -> Option<usize> {
        match self {
            Self::Fixed(part) => Some(part.len()),
            Self::Text(part) => Some(part.most_bytes()),
            Self::Other(..) => None,
        }
    }

    /// Adds whole values; false if there are zeros in them that take two bytes in a key.
    pub(super) fn add_words(&self, heads: &mut Heads<'_>) -> bool {
        match self {
            Self::Fixed(part) => part.add_heads(0, heads),
            Self::Text(part) => return part.add_heads(0, 0, heads),
            Self::Other(..) => return false,
        }
        true
    }

    /// Appends the value of a row.
    #[inline]
    pub(super) fn put(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Fixed(part) => part.put(row, out),
            Self::Text(part) => part.put(row, out),
            Self::Other(parts, number, array) => Viewed::new(&parts[*number], array).put(row, out),
        }
    }

    /// How the value of a row compares with one of another column of the same part.
    #[inline]
    fn compare(&self, row: usize, (other, with): (&Self, usize), rooms: (&mut Vec<u8>, &mut Vec<u8>)) -> Ordering {
        match (self, other) {
            (Self::Fixed(one), Self::Fixed(other)) => one.compare(row, other, with),
            (Self::Text(one), Self::Text(other)) => one.compare(row, other, with),
            _ => {
                rooms.0.clear();
                self.put(row, rooms.0);
                rooms.1.clear();
                other.put(with, rooms.1);
                rooms.0.cmp(&rooms.1)
            }
        }
    }

    /// How the value of a row compares with the one that `key`, the rest of an encoded key, begins with, and how many bytes that takes
    /// if it is the same.
    #[inline]
    fn compare_encoded(&self, row: usize, key: &[u8], room: &mut Vec<u8>) -> (Ordering, usize) {
        match self {
            Self::Fixed(part) => return (part.compare_encoded(row, key), part.len()),
            Self::Text(part) => {
                if let Some(len) = part.len_in(row, key) {
                    return (Ordering::Equal, len);
                }
            }
            Self::Other(..) => {}
        }
        room.clear();
        self.put(row, room);
        (room.as_slice().cmp(&key[..room.len().min(key.len())]), room.len())
    }

    /// Adds what values have behind their first `skip` bytes, which are those of `row`.
    pub(super) fn add_heads(&self, skip: usize, row: usize, heads: &mut Heads<'_>) {
        match self {
            Self::Fixed(part) => part.add_heads(skip, heads),
            Self::Text(part) => {
                if !part.add_heads(skip, row, heads) {
                    heads.add_encoded(skip, part.rows(), |row, out| part.put(row, out));
                }
            }
            Self::Other(parts, number, array) => {
                let viewed = Viewed::new(&parts[*number], array);
                heads.add_encoded(skip, array.len(), |row, out| viewed.put(row, out));
            }
        }
    }
}

/// A column of any kind, looked at.
struct Viewed<'a> {
    part: &'a Part,
    /// `None` never, as [`UnmadeKeys::new`] has seen.
    view: Option<(View<'a>, Physical)>,
}

impl<'a> Viewed<'a> {
    fn new(part: &'a Part, array: &'a ArrayRef) -> Self {
        Self {
            part,
            view: View::new(array).zip(part.physical),
        }
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) {
        if let Some((view, physical)) = &self.view {
            encode::put_row(self.part, *physical, view, row, out);
        }
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
