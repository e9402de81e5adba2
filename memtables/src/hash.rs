//! What the hash memtables share: choosing a bucket, their options, and a sorted snapshot of all buckets.

use std::sync::Arc;

use kodiak_core::options::{OptionKind, OptionSpec, Options};
use parking_lot::Mutex;

use crate::stored::Slot;

/// How many bytes of a key choose its bucket.
pub const PREFIX_LENGTH: OptionSpec = OptionSpec {
    name: "prefix_length",
    kind: OptionKind::Int {
        default: 0,
        range: (0, 1 << 20),
    },
    help: "How many bytes of a key choose its bucket; 0 for all of them.",
};

/// How many buckets there are; `default` suits the size of a bucket.
pub const fn bucket_count(default: u64) -> OptionSpec {
    OptionSpec {
        name: "bucket_count",
        kind: OptionKind::Int {
            default,
            range: (1, 1 << 24),
        },
        help: "How many buckets there are.",
    }
}

/// Chooses buckets.
#[derive(Debug)]
pub struct Hasher {
    prefix_length: usize,
    bucket_count: u64,
}

impl Hasher {
    pub fn new(options: &Options) -> Self {
        let prefix_length = match options.size("prefix_length") {
            0 => usize::MAX,
            length => length,
        };
        Self {
            prefix_length,
            bucket_count: options.int("bucket_count"),
        }
    }

    pub fn bucket_count(&self) -> usize {
        self.bucket_count as usize
    }

    /// The bucket of `key`.
    #[inline]
    pub fn bucket(&self, key: &[u8]) -> usize {
        let hash = xxhash_rust::xxh3::xxh3_64(&key[..key.len().min(self.prefix_length)]);
        // The high bits of the product: no division, and any count of buckets.
        ((u128::from(hash) * u128::from(self.bucket_count)) >> 64) as usize
    }
}

/// The sorted snapshot that cursors of a hash memtable share until something is inserted.
#[derive(Debug, Default)]
pub struct SnapshotCache(Mutex<Cached>);

#[derive(Debug, Default)]
struct Cached {
    /// How many entries had been counted before the snapshot was taken: it has at least those.
    len: usize,
    slots: Arc<Vec<Slot>>,
}

impl SnapshotCache {
    /// The last snapshot if nothing was counted since, else a new one: what `collect` gives, sorted. `len` is the count of
    /// entries taken before the call; an entry is counted once it is in place.
    ///
    /// # Safety
    /// The arena of the entries lives as long as `self`.
    #[allow(unsafe_code)]
    pub unsafe fn get(&self, len: usize, collect: impl FnOnce() -> Vec<Slot>) -> Arc<Vec<Slot>> {
        let mut cached = self.0.lock();
        if cached.len < len {
            let mut slots = collect();
            // SAFETY: the caller's promise.
            slots.sort_unstable_by(|left, right| unsafe { left.compare_slot(right) });
            *cached = Cached {
                len,
                slots: Arc::new(slots),
            };
        }
        Arc::clone(&cached.slots)
    }

    /// Bytes that the snapshot takes.
    pub fn memory(&self) -> usize {
        self.0.lock().slots.capacity() * size_of::<Slot>()
    }
}
