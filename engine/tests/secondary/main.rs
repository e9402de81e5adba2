//! Secondary indexes: they find what a scan of the whole table finds, whatever happens to table and index.

mod answers;
mod copies;
mod crashes;
mod expiry;
mod extracted;
mod flushes;
mod ingestions;
mod live;
mod pending;
mod support;
mod unique;

#[path = "../maintenance/common.rs"]
#[allow(dead_code, reason = "shared with the tests of maintenance")]
mod common;
