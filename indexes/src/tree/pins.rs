//! Pieces that a view keeps at hand, so that a point read asks the pool for nothing: inner nodes from the first read on, leaves and
//! buffers once they have been asked for often.
//!
//! Nodes are held as anybody holds a piece: counted by the pool, and pinned there. Leaves and buffers are copied ([`Shelf`]); what they
//! were copied from stays in the pool as long as there is room. All views together hold a share of their pool
//! at most; what is beyond it is asked for each time. A read finds a child's place beside its number, as Graefe et al. do
//! ("In-memory performance for big data", PVLDB 8(1), 2014), though not in place of it: nodes never change.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use kodiak_core::Result;

use super::piece::{ChildPtr, Node, Piece};
use crate::data::keys::Heads;
use crate::data::reader::{BlockReader, BufferReader};
use crate::pool::BufferPool;
use crate::pool::shelf::Shelf;
use crate::store::Store;
use crate::store::piece::Ptr;

/// What views hold of a pool once no more nodes are kept for them, and once no more leaves and buffers are, in eighths. Changed nodes may
/// take half of a pool.
const NODES: usize = 3;
const LEAVES: usize = 2;

/// What one view holds.
#[derive(Debug)]
pub(super) struct Pins {
    pool: Arc<BufferPool>,
    top: Pin,
    bytes: AtomicUsize,
    /// What leaves and buffers are copied to.
    shelf: Shelf,
    /// What views held when there was no room for another copy: there is none before it is less.
    full: AtomicUsize,
}

/// The place of a node, filled when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Pin(OnceLock<Box<Pinned>>);

/// The place of a leaf, which is kept there only if no messages wait for it: a read that finds it looks at nothing else.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct LeafPin(OnceLock<BlockReader>);

const _: () = assert!(size_of::<LeafPin>() == 64);

/// The place of a buffer.
#[derive(Debug, Default)]
pub(super) struct BufferPin(OnceLock<BufferReader>);

/// A node, and the places of its children. What finds the child of a key is here, and not one reference further away.
#[derive(Debug)]
pub(super) struct Pinned {
    heads: Heads,
    below: Below,
    piece: Arc<Piece>,
    level: u8,
}

#[derive(Debug)]
enum Below {
    Nodes(Box<[(Pin, BufferPin)]>),
    Leaves(Box<[LeafPin]>),
}

impl Below {
    fn new(level: u8, children: usize) -> Self {
        match level {
            0 | 1 => Self::Leaves((0..children).map(|_| LeafPin::default()).collect()),
            _ => Self::Nodes((0..children).map(|_| Default::default()).collect()),
        }
    }

    fn memory(level: u8, children: usize) -> usize {
        children
            * if level <= 1 {
                size_of::<LeafPin>()
            } else {
                size_of::<(Pin, BufferPin)>()
            }
    }
}

impl Pins {
    /// Of a view of an index whose pieces are in `pool`.
    pub(super) fn new(pool: &Arc<BufferPool>) -> Self {
        Self {
            pool: Arc::clone(pool),
            top: Pin::default(),
            bytes: AtomicUsize::new(0),
            shelf: Shelf::new(pool),
            full: AtomicUsize::new(usize::MAX),
        }
    }

    pub(super) fn top(&self) -> &Pin {
        &self.top
    }

    /// Counts bytes as held, unless views hold that many eighths of the pool.
    fn hold(&self, bytes: usize, eighths: usize) -> bool {
        let held = self.pool.hold(bytes, self.most(eighths));
        if held {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        held
    }

    /// Counts the bytes of a chunk for copies, if there is room for it.
    fn hold_copies(&self, bytes: usize) -> bool {
        let held = self.hold(bytes, LEAVES);
        if !held {
            self.full.store(self.pool.held(), Ordering::Relaxed);
        }
        held
    }

    /// True if it would be in vain to look for room for another copy.
    fn is_full(&self) -> bool {
        self.pool.held() >= self.full.load(Ordering::Relaxed)
    }

    fn most(&self, eighths: usize) -> usize {
        self.pool.budget_bytes() / 8 * eighths
    }

    /// The node at `ptr`, whose place is `pin`; `None` if there is no room to keep it.
    ///
    /// # Errors
    /// Those of reading it.
    #[inline]
    pub(super) fn get<'p>(&self, store: &Store, pin: &'p Pin, ptr: &Ptr, level: u8) -> Result<Option<&'p Pinned>> {
        match pin.0.get() {
            Some(pinned) => Ok(Some(pinned)),
            None => self.fill(store, pin, ptr, level),
        }
    }

    #[cold]
    fn fill<'p>(&self, store: &Store, pin: &'p Pin, ptr: &Ptr, level: u8) -> Result<Option<&'p Pinned>> {
        if self.pool.held() >= self.most(NODES) {
            return Ok(None);
        }
        let piece = store.read(ptr)?;
        let node = piece.node(level).map_err(|error| store.at(error, ptr))?;
        let children = node.children.len();
        let heads = node.heads.clone();
        if !self.hold(piece.memory() + heads.memory() + Below::memory(level, children), NODES) {
            return Ok(None);
        }
        // Of two threads that fill it at once one has counted in vain.
        let pinned = pin.0.get_or_init(|| {
            Box::new(Pinned {
                heads,
                below: Below::new(level, children),
                piece,
                level,
            })
        });
        Ok(Some(pinned))
    }

    /// Keeps a leaf that is asked for often, if there is room.
    #[cold]
    pub(super) fn keep_leaf(&self, pin: &LeafPin, piece: &Piece) {
        let Ok(leaf) = piece.leaf() else { return };
        if self.is_full() {
            return;
        }
        // Of two threads that fill it at once one has copied in vain.
        if let Some(reader) = BlockReader::new(leaf, &self.shelf, |bytes| self.hold_copies(bytes)) {
            let _ = pin.0.set(reader);
        }
    }

    /// Keeps a buffer that is asked for often, if there is room.
    #[cold]
    pub(super) fn keep_buffer(&self, pin: &BufferPin, piece: &Piece) {
        let Ok(buffer) = piece.buffer() else { return };
        if self.is_full() {
            return;
        }
        if let Some(reader) = BufferReader::new(buffer, &self.shelf, |bytes| self.hold_copies(bytes)) {
            let _ = pin.0.set(reader);
        }
    }
}

impl BufferPin {
    /// The buffer, if it is there.
    #[inline]
    pub(super) fn get(&self) -> Option<&BufferReader> {
        self.0.get()
    }
}

impl LeafPin {
    /// The leaf, if it is there.
    #[inline]
    pub(super) fn get(&self) -> Option<&BlockReader> {
        self.0.get()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.pool.let_go(*self.bytes.get_mut());
    }
}

impl Pinned {
    /// The number of the child that has `key`.
    #[inline]
    pub(super) fn route(&self, key: &[u8]) -> usize {
        self.heads.route(|| &self.node().keys, key)
    }

    #[inline]
    pub(super) fn child(&self, index: usize) -> &ChildPtr {
        &self.node().children[index]
    }

    #[inline]
    fn node(&self) -> &Node {
        self.piece
            .node(self.level)
            .expect("it was a node of this level when it was pinned")
    }

    /// The place of a child that is a node.
    #[inline]
    pub(super) fn below(&self, index: usize) -> Option<&Pin> {
        match &self.below {
            Below::Nodes(pins) => pins.get(index).map(|(pin, _)| pin),
            Below::Leaves(_) => None,
        }
    }

    /// The place of the buffer of a child that is a node.
    #[inline]
    pub(super) fn buffer(&self, index: usize) -> Option<&BufferPin> {
        match &self.below {
            Below::Nodes(pins) => pins.get(index).map(|(_, buffer)| buffer),
            Below::Leaves(_) => None,
        }
    }

    /// The place of a child that is a leaf.
    #[inline]
    pub(super) fn leaf(&self, index: usize) -> Option<&LeafPin> {
        match &self.below {
            Below::Leaves(pins) => pins.get(index),
            Below::Nodes(_) => None,
        }
    }
}
