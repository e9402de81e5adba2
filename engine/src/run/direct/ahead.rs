//! What the processor is asked to fetch ahead of need.

use kodiak_core::entry::prefix_of;
use kodiak_core::prefetch::prefetch;

use super::DirectBlock;

impl DirectBlock {
    /// Has the processor fetch what [`lower_bound`](Self::lower_bound) will look at first.
    #[inline]
    pub fn approach(&self, map: &[u8], key: &[u8]) {
        let shared = usize::from(self.packed as u16);
        let head = prefix_of(key.get(shared..).unwrap_or_default());
        if (self.first..=self.last).contains(&head) {
            let (start, _) = self.keys.value(map, self.base(), self.guess(head));
            // Keys are about evenly spread, so that the right place is near.
            for line in -2..=2 {
                prefetch(map.as_ptr().wrapping_add(start).wrapping_offset(64 * line));
            }
        }
    }

    /// Has the processor fetch the values of a row and of some after it.
    #[inline]
    pub fn approach_values(&self, map: &[u8], row: usize) {
        if row < self.rows() {
            let (start, _) = self.values.value(map, self.base(), row);
            for line in 0..4 {
                prefetch(map.as_ptr().wrapping_add(start + 64 * line));
            }
        }
    }

    /// Has the processor fetch the key of a row, and the value, up to two lines of it. Readers of one row after the other need
    /// that where arrays enter a new page, which the processor does not fetch by itself.
    #[inline]
    pub fn fetch(&self, map: &[u8], row: usize) {
        if row < self.rows() {
            let base = self.base();
            let (key, _) = self.keys.value(map, base, row);
            let (value, len) = self.values.value(map, base, row);
            prefetch(map.as_ptr().wrapping_add(key));
            prefetch(map.as_ptr().wrapping_add(value));
            if len > 64 {
                prefetch(map.as_ptr().wrapping_add(value + 64));
            }
        }
    }

    /// Has the processor fetch all of a row but its value.
    #[inline]
    pub fn fetch_version(&self, map: &[u8], row: usize) {
        if row < self.rows() {
            let base = self.base();
            let (key, _) = self.keys.value(map, base, row);
            for place in [key, base + self.seqs as usize + 8 * row, base + self.ops as usize + row] {
                prefetch(map.as_ptr().wrapping_add(place));
            }
        }
    }
}
