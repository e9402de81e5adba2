//! The tree that both indexes are: nodes above leaves, changed by copying.
//!
//! With buffers in the nodes it is a fractal tree, without them a B+ tree; see [`Shape`].

pub(crate) mod apply;
pub(crate) mod bulk;
pub(crate) mod cursor;
pub(crate) mod dump;
pub(crate) mod flush;
pub(crate) mod handle;
pub(crate) mod piece;
mod pins;
pub(crate) mod read;
pub(crate) mod repair;
pub(crate) mod split;
pub(crate) mod verify;
pub(crate) mod view;
pub(crate) mod work;
mod working;
pub(crate) mod write;

/// What tells one tree from another: how large its parts are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// The kind of index, as the file names it.
    pub kind: &'static str,
    /// The most bytes of a leaf, unless one entry has more.
    pub leaf_bytes: usize,
    /// The most bytes of a node, keys and children.
    pub node_bytes: usize,
    /// The most children of a node of level 1.
    pub bottom_fanout: usize,
    /// The most children of a node above.
    pub fanout: usize,
    /// The most bytes that wait in a node's buffers; 0 for no buffers.
    pub buffer_bytes: usize,
    /// Changes pass by empty buffers where that pays.
    pub promote: bool,
    /// How full a bulk load makes leaves, in percent.
    pub fill: usize,
    /// Pieces are compressed where that saves a page.
    pub compress: bool,
    /// The least pool that it works with.
    pub smallest_pool: usize,
}

impl Shape {
    /// The bytes that the smallest slice may take: a path of nodes and what they become. Nodes without buffers are up to three times
    /// as large in memory as in the file.
    pub(crate) fn least_turn(&self) -> usize {
        if self.buffer_bytes > 0 {
            self.smallest_pool / 2
        } else {
            self.smallest_pool
        }
    }

    /// The most children of a node.
    pub(crate) fn fanout_at(&self, level: u8) -> usize {
        if level == 1 { self.bottom_fanout } else { self.fanout }
    }

    /// True if the nodes of a level have buffers.
    pub(crate) fn buffers_at(&self, level: u8) -> bool {
        self.buffer_bytes > 0 && level > 1
    }
}
