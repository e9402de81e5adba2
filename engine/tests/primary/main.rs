//! Tables with a primary index: gets ask it once, and answer as they would without, whatever happens to index and runs.

mod answers;
mod chosen;
mod files;
mod support;
mod threads;
mod vectors;

#[path = "../maintenance/common.rs"]
#[allow(dead_code, reason = "shared with the tests of maintenance")]
mod common;
