//! The cache of decoded blocks, shared by all tables of a database.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kodiak_core::Result;
use kodiak_core::block::Block;
use kodiak_core::compaction::RunId;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::Serialize;

use super::reads::ReadCounters;

type Key = (RunId, u32);

#[derive(Debug, Clone)]
struct ByMemory;

impl Weighter<Key, Arc<dyn Block>> for ByMemory {
    fn weight(&self, _: &Key, block: &Arc<dyn Block>) -> u64 {
        // The entry itself costs about this much beside the block.
        block.memory() as u64 + 96
    }
}

/// Blocks ready to be searched, at most so many bytes of them; which ones stay is decided by a scan-resistant policy
/// (quick_cache's S3-FIFO variant).
pub struct BlockCache {
    blocks: Option<Cache<Key, Arc<dyn Block>, ByMemory>>,
    capacity: u64,
    hits: AtomicU64,
    misses: AtomicU64,
    /// What reads touch, in the cache or past it.
    pub reads: ReadCounters,
}

/// What a cache has done since the database was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CacheStats {
    /// Bytes allowed.
    pub capacity: u64,
    /// Bytes held.
    pub used: u64,
    /// Blocks held.
    pub blocks: u64,
    /// Look-ups that found their block.
    pub hits: u64,
    /// Look-ups that had to read and decode.
    pub misses: u64,
}

impl BlockCache {
    /// A cache of `capacity` bytes; 0 keeps nothing.
    pub fn new(capacity: u64) -> Self {
        // Blocks are 8 to 64 KiB: an estimate that sizes the table, not a limit.
        let expected = (capacity / (16 << 10)).clamp(64, 1 << 22) as usize;
        let blocks = (capacity > 0).then(|| Cache::with_weighter(expected, capacity, ByMemory));
        Self {
            blocks,
            capacity,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            reads: ReadCounters::default(),
        }
    }

    /// The block, from the cache or by `load`; kept unless `fill` is false.
    pub fn get(
        &self,
        run: RunId,
        block: u32,
        fill: bool,
        load: impl FnOnce() -> Result<Arc<dyn Block>>,
    ) -> Result<Arc<dyn Block>> {
        let Some(blocks) = &self.blocks else {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return load();
        };
        if let Some(found) = blocks.get(&(run, block)) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(found);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let loaded = load()?;
        if fill {
            self.put(run, block, Arc::clone(&loaded));
        }
        Ok(loaded)
    }

    /// Keeps a block, in place of the one that was kept.
    pub fn put(&self, run: RunId, block: u32, loaded: Arc<dyn Block>) {
        if let Some(blocks) = &self.blocks {
            blocks.insert((run, block), loaded);
        }
    }

    /// The block, if it is in the cache; a look that finds nothing is not counted.
    pub fn peek(&self, run: RunId, block: u32) -> Option<Arc<dyn Block>> {
        let found = self.blocks.as_ref()?.get(&(run, block))?;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(found)
    }

    /// Forgets the blocks of a run that is gone.
    pub fn forget(&self, run: RunId, blocks: u32) {
        if let Some(cache) = &self.blocks {
            (0..blocks).for_each(|block| {
                cache.remove(&(run, block));
            });
        }
    }

    /// Counters.
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            capacity: self.capacity,
            used: self.blocks.as_ref().map_or(0, Cache::weight),
            blocks: self.blocks.as_ref().map_or(0, |blocks| blocks.len() as u64),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockCache").field("stats", &self.stats()).finish()
    }
}
