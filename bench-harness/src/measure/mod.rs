//! Figures: what a workload cost.

mod amplification;
mod latency;
mod resources;

use serde::{Deserialize, Serialize};

pub use amplification::{Amplification, Counted};
pub use latency::{Latencies, LatencySummary};
pub use resources::{MemoryWatch, Resources, anonymous_memory, directory_bytes};

/// What one workload did with one configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The workload.
    pub workload: String,
    /// Operations done.
    pub operations: u64,
    /// Entries written and read: more than operations where an operation reads many.
    pub entries: u64,
    /// Seconds spent in the engine: neither choosing keys nor checking answers counts.
    pub seconds: f64,
    /// Seconds until flushes and compactions were done afterwards, if it wrote; the next workload begins then.
    pub drain_seconds: f64,
    /// Seconds in which writers were slowed down or stopped.
    pub stalled_seconds: f64,
    /// Seconds that single operations took.
    pub latency: LatencySummary,
    /// Work per operation.
    pub amplification: Amplification,
    /// A digest of every answer, the same for all configurations.
    pub answers: String,
}

impl Measured {
    /// Operations per second; entries per second for a full scan, which is one operation.
    pub fn per_second(&self) -> f64 {
        let done = if self.operations == 1 {
            self.entries
        } else {
            self.operations
        };
        done as f64 / self.seconds.max(1e-9)
    }
}
