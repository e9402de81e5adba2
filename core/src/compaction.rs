//! Compaction policies: pure decisions over the shape of a version.
//!
//! A policy sees a [`VersionShape`] and nothing else (no clock, no files, no randomness but a seed in the shape), so that
//! the engine and a simulator run the same code.

use std::fmt::Debug;
use std::sync::Arc;

use crate::Result;
use crate::entry::SeqNo;
use crate::options::Options;
use crate::registry::{Component, impl_factory};

/// A run's number within its database. It is never reused.
pub type RunId = u64;

/// What a policy knows of one run (one data file).
#[derive(Debug, Clone, PartialEq)]
pub struct RunShape {
    /// Its number.
    pub id: RunId,
    /// Smallest user key of its entries and range deletes.
    pub min_key: Arc<[u8]>,
    /// Largest user key of its entries; for a range delete, its end.
    pub max_key: Arc<[u8]>,
    /// Bytes of data file and sidecar.
    pub bytes: u64,
    /// Rows, tombstones included.
    pub entries: u64,
    /// Point tombstones and range deletes.
    pub tombstones: u64,
    /// Rows that rewriting the run would drop, as far as deletion vectors tell: newer versions of their keys are elsewhere, and
    /// no snapshot sees them. 0 in tables without deletion vectors.
    pub dead: u64,
    /// Smallest sequence number in it.
    pub min_seq: SeqNo,
    /// Largest sequence number in it.
    pub max_seq: SeqNo,
    /// When its oldest entry was written, microseconds since 1970.
    pub oldest_micros: u64,
    /// When its newest entry was written, microseconds since 1970.
    pub newest_micros: u64,
    /// True while a compaction that runs already has it as input.
    pub busy: bool,
}

impl RunShape {
    /// True if the key ranges (both inclusive) meet.
    pub fn overlaps(&self, min_key: &[u8], max_key: &[u8]) -> bool {
        &*self.min_key <= max_key && &*self.max_key >= min_key
    }
}

/// A sorted run: runs whose key ranges do not overlap, in key order. Together they are searched as one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SortedRunShape {
    /// In key order.
    pub runs: Vec<RunShape>,
}

impl SortedRunShape {
    /// Bytes of all its runs.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.bytes).sum()
    }

    /// True if one of its runs is an input of a running compaction.
    pub fn busy(&self) -> bool {
        self.runs.iter().any(|run| run.busy)
    }
}

/// One level: sorted runs, newest first. Level 0 gets one sorted run from each flush.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LevelShape {
    /// Newest first.
    pub sorted_runs: Vec<SortedRunShape>,
}

impl LevelShape {
    /// Bytes of all its runs.
    pub fn bytes(&self) -> u64 {
        self.sorted_runs.iter().map(SortedRunShape::bytes).sum()
    }

    /// All its runs, newest sorted run first.
    pub fn runs(&self) -> impl Iterator<Item = &RunShape> {
        self.sorted_runs.iter().flat_map(|sorted| &sorted.runs)
    }
}

/// Everything a policy may look at.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionShape {
    /// From level 0 down; always [`PolicyContext::levels`] long.
    pub levels: Vec<LevelShape>,
    /// The time by the storage's clock, microseconds since 1970.
    pub now_micros: u64,
}

/// What is fixed while a database is open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PolicyContext {
    /// Number of levels, level 0 included.
    pub levels: usize,
    /// Bytes at which a memtable is flushed.
    pub memtable_bytes: u64,
    /// Bytes that an output run should have.
    pub target_run_bytes: u64,
    /// Age in microseconds at which entries expire; 0 for never.
    pub ttl_micros: u64,
    /// Share of a run's rows that are [dead](RunShape::dead) from which it is to be rewritten by itself; 0 for never.
    pub dead_share: f64,
}

/// What to do with the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanKind {
    /// Merge them into new runs.
    Merge,
    /// Hang them under the output level as they are: nothing there overlaps.
    Move,
    /// Delete them: everything in them has expired.
    Drop,
}

/// One compaction.
#[derive(Debug, Clone, PartialEq)]
pub struct CompactionPlan {
    /// What to do.
    pub kind: PlanKind,
    /// The runs that go, from any number of levels.
    pub inputs: Vec<RunId>,
    /// Where the result goes.
    pub output_level: usize,
    /// True: the result joins the newest sorted run of the output level, whose remaining runs it does not overlap.
    /// False: the result becomes a sorted run of its own there, placed by its age.
    pub join: bool,
    /// Why, in the terms of the policy ("L0 has 4 runs"), for the trace.
    pub reason: String,
    /// The most urgent plan is carried out first; at or above 1 the level is over its target.
    pub score: f64,
}

/// Decides what to compact.
///
/// **Promises.** `plan` is a pure function of its arguments. It never names a busy run, names each run once, and a `Merge`
/// that puts its result below level 0 takes in every run that must stay newer than what it leaves behind: for any key,
/// versions in higher levels (and in newer sorted runs of one level) are newer than those below.
pub trait CompactionPolicy: Send + Sync + Debug {
    /// The most urgent compaction, or `None` if the shape is as it should be.
    fn plan(&self, shape: &VersionShape) -> Option<CompactionPlan>;

    /// The merge that would spare readers most although none is due. The engine asks once reads have cost more than the
    /// merge would and takes the plan only then; the promises of [`plan`](Self::plan) hold for it as well.
    fn plan_for_reads(&self, _shape: &VersionShape) -> Option<CompactionPlan> {
        None
    }

    /// Bytes that compaction is behind by, for backpressure.
    fn pending_bytes(&self, shape: &VersionShape) -> u64;

    /// Sorted runs that a level may hold when nothing is due, for the cost model and Monkey's allocation (K_1 .. K_L).
    fn runs_allowed(&self, level: usize) -> usize;

    /// Capacity of one level over that of the level above (T).
    fn size_ratio(&self) -> u64;
}

/// What a policy can do.
#[derive(Debug, Clone, Copy)]
pub struct PolicyCapabilities {
    /// Levels below 0 hold one sorted run each.
    pub leveled: bool,
    /// Drops runs whose entries have all expired without merging.
    pub drops_expired: bool,
}

impl PolicyCapabilities {
    /// The capabilities as `(name, value)`.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        vec![
            ("leveled", self.leveled.to_string()),
            ("drops_expired", self.drops_expired.to_string()),
        ]
    }
}

/// Makes policies of one kind.
#[derive(Debug)]
pub struct PolicyFactory {
    /// Name, summary and options.
    pub component: Component,
    /// What its policies can do.
    pub capabilities: PolicyCapabilities,
    /// Makes a policy.
    pub create: fn(options: &Options, context: PolicyContext) -> Result<Box<dyn CompactionPolicy>>,
}

impl_factory!(PolicyFactory, "compaction policy");
