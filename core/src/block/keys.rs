//! Keys of a block compared without being encoded, where they have not been.

use std::cmp::Ordering;

use super::ColumnBlock;
use crate::entry::prefix_of;
use crate::keycodec::{KeyPlace, UnmadeKeys};

impl ColumnBlock {
    /// Puts the first eight bytes of each key, after the first `skip`, into `out`, as [`prefix_of`] does. Rows whose keys do not
    /// begin with the same `skip` bytes as that of `row` get anything. Returns the place from which on keys have to be compared
    /// where these bytes are the same.
    pub fn prefixes(&self, skip: usize, row: usize, out: &mut Vec<u64>) -> KeyPlace {
        out.clear();
        if let Some(keys) = self.unmade() {
            return keys.heads(skip, row, out);
        }
        let (keys, rows) = (self.keys(), 0..self.rows());
        out.extend(rows.map(|row| prefix_of(keys.value(row).get(skip..).unwrap_or_default())));
        KeyPlace::encoded(skip)
    }

    /// How the key of a row compares with one of another block of the table, from `place` on, which is of one of both and no later
    /// than that of the other; `rooms` are room to make keys in.
    #[inline]
    pub fn compare_keys(
        &self,
        row: usize,
        (other, with): (&Self, usize),
        place: KeyPlace,
        rooms: (&mut Vec<u8>, &mut Vec<u8>),
    ) -> Ordering {
        match (self.unmade(), other.unmade()) {
            (Some(keys), Some(others)) => keys.compare_from(place, row, (others, with), rooms),
            (Some(keys), None) => keys.compare_encoded_from(place, row, other.key_behind(with, place), rooms.0),
            (None, Some(others)) => others
                .compare_encoded_from(place, with, self.key_behind(row, place), rooms.0)
                .reverse(),
            (None, None) => self.key_behind(row, place).cmp(other.key_behind(with, place)),
        }
    }

    /// An encoded key from `place` on.
    #[inline]
    fn key_behind(&self, row: usize, place: KeyPlace) -> &[u8] {
        self.key(row).get(place.at..).unwrap_or_default()
    }

    /// What keys are made of, if they have not been made.
    #[inline]
    pub(super) fn unmade(&self) -> Option<&UnmadeKeys> {
        match self.keys.get() {
            None => self.unmade.as_ref(),
            Some(_) => None,
        }
    }
}
