//! What a scan is asked for.

use super::snapshot::Snapshot;
use kodiak_core::KeyRange;

use crate::read::ScanBounds;

/// What a scan reads and how: a builder for [`Table::scan_with`](super::Table::scan_with).
#[derive(Debug, Clone)]
pub struct ScanOptions<'a> {
    pub(super) bounds: ScanBounds,
    pub(super) prefix: Option<Vec<u8>>,
    pub(super) reverse: bool,
    pub(super) snapshot: Option<&'a Snapshot>,
    pub(super) limit: usize,
    pub(super) fill_cache: bool,
}

impl<'a> ScanOptions<'a> {
    /// Forward over a key range.
    pub fn new(range: impl KeyRange) -> Self {
        Self {
            bounds: ScanBounds::of(range),
            prefix: None,
            reverse: false,
            snapshot: None,
            limit: usize::MAX,
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

    /// Only keys of this range, among those that it would read otherwise: `ScanOptions::prefix("user:").within("user:m"..)`.
    pub fn within(mut self, range: impl KeyRange) -> Self {
        self.bounds = self.bounds.within(ScanBounds::of(range));
        self
    }

    /// At most so many entries, however often the scan is moved about.
    pub fn limit(mut self, entries: usize) -> Self {
        self.limit = entries;
        self
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
