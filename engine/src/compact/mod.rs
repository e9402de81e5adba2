//! Rewriting: what flushes and compactions have in common, and the executor of compaction plans.

mod asked;
mod inputs;
mod job;
mod outputs;
mod plan;
mod retention;
mod sink;

pub(crate) use job::change_version;
pub(crate) use outputs::{OutputPlan, Outputs, remove_runs};
pub(crate) use retention::{Retention, Rewriter};

#[cfg(test)]
mod tests;
