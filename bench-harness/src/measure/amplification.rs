//! Work done for each unit of work asked, from the engine's counters.

use kodiak::Stats;
use serde::{Deserialize, Serialize};

/// The engine's counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Bytes that the program wrote.
    pub user_bytes: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Bytes that flushes wrote.
    pub flushed_bytes: u64,
    /// Bytes that compactions wrote.
    pub compacted_bytes: u64,
    /// Blocks looked into, in the cache or in mapped files.
    pub blocks: u64,
    /// Runs searched for a key.
    pub runs: u64,
    /// Blocks that the cache did not have.
    pub opened: u64,
    /// Time that writers waited, nanoseconds.
    pub stalled_nanos: u64,
}

impl Counted {
    /// From statistics.
    pub fn of(stats: &Stats) -> Self {
        Self {
            user_bytes: stats.user_bytes,
            log_bytes: stats.wal.bytes,
            flushed_bytes: stats.flushes.bytes_written,
            compacted_bytes: stats.compactions.bytes_written,
            blocks: stats.blocks_read(),
            runs: stats.reads.runs,
            opened: stats.cache.misses,
            stalled_nanos: stats.stalls.iter().map(|(_, _, nanos)| nanos).sum(),
        }
    }
}

/// Work per unit of work asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Amplification {
    /// Bytes written (log, flushes, compactions) for each byte that the program wrote; `None` if it wrote none.
    pub write: Option<f64>,
    /// The part of it that the log wrote.
    pub log: Option<f64>,
    /// The part of it that flushes wrote.
    pub flush: Option<f64>,
    /// The part of it that compactions wrote.
    pub compaction: Option<f64>,
    /// Blocks looked into for each operation, in the cache or in mapped files.
    pub blocks: f64,
    /// Runs searched for a key, for each operation.
    #[serde(default)]
    pub runs: f64,
    /// Blocks read and decoded for each operation, because the cache did not have them.
    pub opened: f64,
}

impl Amplification {
    /// What happened since `before`: reads until `after`, when the last operation was done, and writes until `drained`, when
    /// background work was done.
    pub fn between(before: &Counted, after: &Counted, drained: &Counted, operations: u64) -> Self {
        let user = drained.user_bytes - before.user_bytes;
        let per_byte = |bytes: u64| (user > 0).then(|| bytes as f64 / user as f64);
        let log = drained.log_bytes - before.log_bytes;
        let flush = drained.flushed_bytes - before.flushed_bytes;
        let compaction = drained.compacted_bytes - before.compacted_bytes;
        let per_operation = |count: u64| count as f64 / operations.max(1) as f64;
        Self {
            write: per_byte(log + flush + compaction),
            log: per_byte(log),
            flush: per_byte(flush),
            compaction: per_byte(compaction),
            blocks: per_operation(after.blocks - before.blocks),
            runs: per_operation(after.runs - before.runs),
            opened: per_operation(after.opened - before.opened),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_counted_until_drained_and_reads_until_the_last_operation() {
        let before = Counted {
            user_bytes: 100,
            log_bytes: 150,
            ..Counted::default()
        };
        let after = Counted {
            user_bytes: 200,
            log_bytes: 260,
            blocks: 30,
            runs: 20,
            opened: 5,
            ..before
        };
        let drained = Counted {
            flushed_bytes: 90,
            compacted_bytes: 300,
            blocks: 99,
            ..after
        };
        let found = Amplification::between(&before, &after, &drained, 10);
        assert_eq!(found.write, Some(5.0));
        assert_eq!(
            (found.log, found.flush, found.compaction),
            (Some(1.1), Some(0.9), Some(3.0))
        );
        assert_eq!((found.blocks, found.runs, found.opened), (3.0, 2.0, 0.5));
        assert_eq!(Amplification::between(&drained, &drained, &drained, 0).write, None);
    }
}
