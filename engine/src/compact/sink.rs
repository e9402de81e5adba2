//! Where the rewriter puts what it keeps.

use std::sync::Arc;

use kodiak_core::block::ColumnBlock;
use kodiak_core::{EntryRef, Result};

/// Takes entries in order.
pub trait Sink {
    /// One entry; in a typed table its value is the row's bytes.
    fn entry(&mut self, entry: EntryRef<'_>) -> Result<()>;

    /// Rows `from..to` of a block: puts of distinct keys.
    fn rows(&mut self, block: &Arc<ColumnBlock>, from: usize, to: usize) -> Result<()>;
}
