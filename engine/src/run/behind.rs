//! What readers leave behind.

use std::sync::Arc;

use super::reader::RunReader;

/// Bytes of blocks after which those that were read are let go of.
const FORGET_BYTES: u64 = 1 << 20;

/// The blocks that a reader leaves behind and that nobody is expected to read again: without this, the pages of all that a
/// compaction reads would count as memory of the process until its inputs are gone.
#[derive(Debug)]
pub(crate) struct Behind {
    run: Arc<RunReader>,
    /// The first block that was read.
    first: usize,
    /// The first that may still be resident.
    from: usize,
    /// The one read last.
    at: usize,
    bytes: u64,
}

impl Behind {
    /// Of a reader that begins with a block.
    pub fn new(run: &Arc<RunReader>, block: usize) -> Self {
        Self {
            run: Arc::clone(run),
            first: block,
            from: block,
            at: block,
            bytes: 0,
        }
    }

    /// The reader goes to a block.
    pub fn enter(&mut self, block: usize) {
        if block < self.at {
            *self = Self::new(&self.run, block);
            return;
        }
        self.bytes += self.run.block_bytes(self.at);
        self.at = block;
        if self.bytes >= FORGET_BYTES && self.from < block {
            self.run.forget(self.from..block);
            (self.from, self.bytes) = (block, 0);
        }
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        // From the first on: a page fault brings its neighbours along, those just let go of among them.
        self.run.forget(self.first..self.at + 1);
    }
}
