//! Runs: sorted, immutable files of entries, with their sidecars.

mod behind;
mod builder;
mod cache;
mod context;
mod cursor;
mod direct;
mod fetch;
mod lazy;
mod open_runs;
mod pruning;
mod reader;
mod reads;
mod removals;
mod rows;
mod sorted;
mod wanted;
mod writer;

pub(crate) use behind::Behind;
pub(crate) use builder::BinaryColumn;
pub(crate) use cache::BlockCache;
pub use cache::CacheStats;
pub(crate) use context::RunContext;
pub(crate) use lazy::Run;
pub(crate) use open_runs::OpenRuns;
pub(crate) use pruning::Pruning;
pub(crate) use reader::{KeyHash, RunReader};
pub use reads::ReadStats;
pub(crate) use removals::Removals;
pub(crate) use rows::Rows;
pub(crate) use sorted::SortedRunCursor;
pub(crate) use wanted::Wanted;
pub(crate) use writer::{RunPlan, RunWriter};
