//! The working state: nodes that have changed since they were last written hang off one another, those that have not are
//! named by their place in the file.

use std::sync::Arc;

use kodiak_core::index::{Displaced, Upsert};
use kodiak_core::{Error, Result};

use super::Shape;
use super::piece::{BufferPtr, ChildPtr, Node, Piece};
use crate::data::block::Block;
use crate::data::buffer::Buffer;
use crate::data::keys::Keys;
use crate::data::merge::Rules;
use crate::pool::Charge;
use crate::store::Store;
use crate::store::piece::Ptr;

/// A reference to a node or leaf.
#[derive(Debug)]
pub(crate) enum Link {
    Disk(Ptr),
    Leaf(Box<DirtyLeaf>),
    Node(Box<DirtyNode>),
}

#[derive(Debug)]
pub(crate) struct DirtyLeaf {
    pub block: Block,
    pub tick: u32,
    pub charge: Charge,
}

#[derive(Debug)]
pub(crate) struct DirtyNode {
    pub level: u8,
    pub keys: Keys,
    pub children: Vec<Child>,
    pub tick: u32,
    pub charge: Charge,
}

#[derive(Debug)]
pub(crate) struct Child {
    pub link: Link,
    pub buffer: Pending,
}

/// The buffer of a child.
#[derive(Debug)]
pub(crate) enum Pending {
    Empty,
    Disk(BufferPtr),
    Dirty(Box<DirtyBuffer>),
}

#[derive(Debug)]
pub(crate) struct DirtyBuffer {
    pub buffer: Buffer,
    pub tick: u32,
    pub charge: Charge,
}

impl Pending {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Disk(pointer) => pointer.bytes as usize,
            Self::Dirty(dirty) => dirty.buffer.bytes(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl From<&ChildPtr> for Child {
    fn from(child: &ChildPtr) -> Self {
        Self {
            link: Link::Disk(child.ptr),
            buffer: child.buffer.map_or(Pending::Empty, Pending::Disk),
        }
    }
}

impl DirtyNode {
    /// Memory without its children and buffers.
    fn memory(&self) -> usize {
        size_of::<Self>() + self.keys.memory() + self.children.capacity() * size_of::<Child>()
    }

    /// Counts its memory anew after a change.
    pub(crate) fn recount(&mut self) {
        let bytes = self.memory();
        self.charge.set(bytes);
    }

    /// Bytes that wait in its buffers.
    pub(crate) fn buffered(&self) -> usize {
        self.children.iter().map(|child| child.buffer.bytes()).sum()
    }

    /// Bytes that a child takes in the node, with the key before it.
    fn weight(&self, index: usize, buffers: bool) -> usize {
        let key = if index == 0 {
            0
        } else {
            self.keys.get(index - 1).len() + 2
        };
        let buffer = if buffers { Ptr::WIDTH + 4 } else { 0 };
        key + Ptr::WIDTH + 1 + buffer
    }

    /// How full it is about; [`WHOLE`] is full.
    pub(crate) fn fill(&self, shape: &Shape) -> usize {
        let child = if shape.buffers_at(self.level) {
            2 * Ptr::WIDTH + 5
        } else {
            Ptr::WIDTH + 1
        };
        let bytes = self.keys.bytes() + self.children.len() * child;
        let by_count = self.children.len() * WHOLE / shape.fanout_at(self.level).max(1);
        (bytes * WHOLE / shape.node_bytes).max(by_count)
    }

    /// What each child takes of it; [`WHOLE`] is all that there is.
    pub(crate) fn weights(&self, shape: &Shape) -> Vec<usize> {
        let fanout = shape.fanout_at(self.level);
        let by_count = WHOLE.div_ceil(fanout.max(1));
        (0..self.children.len())
            .map(|index| {
                (self.weight(index, shape.buffers_at(self.level)) * WHOLE)
                    .div_ceil(shape.node_bytes)
                    .max(by_count)
            })
            .collect()
    }
}

/// A full node or leaf, in the units of [`DirtyNode::weights`].
pub(crate) const WHOLE: usize = 1 << 20;

/// What changes a working state.
pub(crate) struct Writer<'a> {
    pub store: &'a Store,
    pub shape: &'a Shape,
    pub rules: Rules<'a>,
    /// Counts slices of batches, so that what was changed longest ago can be told.
    pub tick: u32,
    /// Keys have been coming in ascending order for a while.
    pub appending: bool,
    /// Changed bytes of all indexes of the pool at which a flush stops to write some of them, and that are left between slices.
    pub most_dirty: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(
        store: &'a Store,
        shape: &'a Shape,
        upsert: Option<&'a dyn Upsert>,
        displaced: Option<Displaced<'a>>,
    ) -> Self {
        Self {
            store,
            shape,
            rules: Rules { upsert, displaced },
            tick: 0,
            appending: false,
            most_dirty: store.pool.most_idle(),
        }
    }

    /// The indexes of the pool have more changed bytes than they may keep between slices.
    pub(crate) fn exceeds(&self) -> bool {
        self.store.pool.dirty() > self.most_dirty
    }

    pub(crate) fn leaf(&self, block: Block) -> Link {
        Link::Leaf(Box::new(DirtyLeaf {
            charge: Charge::new(&self.store.tally, block.memory() + size_of::<DirtyLeaf>()),
            block,
            tick: self.tick,
        }))
    }

    pub(crate) fn node(&self, level: u8, keys: Keys, children: Vec<Child>) -> DirtyNode {
        let mut node = DirtyNode {
            level,
            keys,
            children,
            tick: self.tick,
            charge: Charge::new(&self.store.tally, 0),
        };
        node.recount();
        node
    }

    pub(crate) fn pending(&self, buffer: Buffer) -> Pending {
        if buffer.is_empty() {
            return Pending::Empty;
        }
        Pending::Dirty(Box::new(DirtyBuffer {
            charge: Charge::new(&self.store.tally, buffer.memory() + size_of::<DirtyBuffer>()),
            buffer,
            tick: self.tick,
        }))
    }

    /// A tree without entries whose topmost node is of `level`.
    pub(crate) fn empty(&self, level: u8) -> Link {
        let mut link = self.leaf(Block::empty());
        for level in 1..=level {
            let child = Child {
                link,
                buffer: Pending::Empty,
            };
            link = Link::Node(Box::new(self.node(level, Keys::default(), vec![child])));
        }
        link
    }

    /// Takes a node for changing: what the file has of it is given up.
    pub(crate) fn open_node<'n>(&self, link: &'n mut Link, level: u8) -> Result<&'n mut DirtyNode> {
        if let Link::Disk(ptr) = link {
            let piece = self.store.read(ptr)?;
            let node = piece.node(level).map_err(|error| self.store.at(error, ptr))?;
            let (keys, children) = (node.keys.clone(), node.children.iter().map(Child::from).collect());
            // Whoever holds a piece keeps the pool from making room with it.
            drop(piece);
            self.store.kill(ptr)?;
            *link = Link::Node(Box::new(self.node(level, keys, children)));
        }
        match link {
            Link::Node(node) if node.level == level => {
                node.tick = self.tick;
                Ok(node)
            }
            _ => Err(Error::corruption("a node in memory is on the wrong level").with_file(&self.store.path)),
        }
    }

    /// Calls `with` with the entries of a leaf, wherever they are.
    pub(crate) fn with_leaf<T>(&mut self, link: &Link, with: impl FnOnce(&mut Self, &Block) -> Result<T>) -> Result<T> {
        match link {
            Link::Leaf(leaf) => with(self, &leaf.block),
            Link::Disk(ptr) => {
                let piece = self.store.read_once(ptr)?;
                with(self, piece.leaf().map_err(|error| self.store.at(error, ptr))?)
            }
            Link::Node(_) => {
                Err(Error::corruption("a node in memory where a leaf should be").with_file(&self.store.path))
            }
        }
    }

    /// Gives up what the file has of a node or leaf that is about to be replaced.
    pub(crate) fn discard(&self, link: &Link) -> Result<()> {
        match link {
            Link::Disk(ptr) => self.store.kill(ptr),
            _ => Ok(()),
        }
    }

    /// Takes a buffer out of its place, which is empty from then on.
    pub(crate) fn take_buffer(&self, pending: &mut Pending) -> Result<Taken> {
        Ok(match std::mem::replace(pending, Pending::Empty) {
            Pending::Empty => Taken::Own(Buffer::empty()),
            Pending::Dirty(dirty) => Taken::Own(dirty.buffer),
            Pending::Disk(pointer) => {
                let piece = self.store.read_once(&pointer.ptr)?;
                piece.buffer().map_err(|error| self.store.at(error, &pointer.ptr))?;
                self.store.kill(&pointer.ptr)?;
                Taken::Shared(piece)
            }
        })
    }
}

/// A buffer that has been taken out of a node.
pub(crate) enum Taken {
    Own(Buffer),
    /// A piece that is known to be a buffer.
    Shared(Arc<Piece>),
}

impl Taken {
    /// # Errors
    /// None, as long as what is shared is a buffer.
    pub(crate) fn get(&self) -> Result<&Buffer> {
        match self {
            Self::Own(buffer) => Ok(buffer),
            Self::Shared(piece) => piece.buffer(),
        }
    }
}

/// A clean copy of a changed node's children, once all of them are in the file.
pub(crate) fn child_ptrs(node: &DirtyNode) -> Option<Vec<ChildPtr>> {
    node.children
        .iter()
        .map(|child| {
            let Link::Disk(ptr) = child.link else { return None };
            let buffer = match &child.buffer {
                Pending::Empty => None,
                Pending::Disk(pointer) => Some(*pointer),
                Pending::Dirty(_) => return None,
            };
            Some(ChildPtr { ptr, buffer })
        })
        .collect()
}

/// A node in memory as the file will have it.
pub(crate) fn clean(node: &DirtyNode) -> Option<Node> {
    child_ptrs(node).map(|children| Node::new(node.level, node.keys.clone(), children))
}
