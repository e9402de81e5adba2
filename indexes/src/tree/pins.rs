//! Inner nodes that a view keeps at hand, so that a point read asks the pool for what is below them only.
//!
//! They are held as anybody holds a piece: counted by the pool, and pinned there. Of a pool they take a small share at most;
//! nodes beyond it are asked for each time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use kodiak_core::Result;

use super::piece::{ChildPtr, Node, Piece};
use crate::store::Store;
use crate::store::piece::Ptr;

/// The share of the pool, one in so many bytes.
const SHARE: usize = 8;

/// The nodes of one view.
#[derive(Debug, Default)]
pub(super) struct Pins {
    top: Pin,
    bytes: AtomicUsize,
}

/// The place of a node, filled when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Pin(OnceLock<Box<Pinned>>);

/// A node, and the places of its children, unless they are leaves.
#[derive(Debug)]
pub(super) struct Pinned {
    piece: Arc<Piece>,
    level: u8,
    below: Box<[Pin]>,
}

impl Pins {
    pub(super) fn top(&self) -> &Pin {
        &self.top
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
        let limit = store.pool.budget_bytes() / SHARE;
        if self.bytes.load(Ordering::Relaxed) >= limit {
            return Ok(None);
        }
        let piece = store.read(ptr)?;
        let node = piece.node(level).map_err(|error| store.at(error, ptr))?;
        let places = if level > 1 { node.children.len() } else { 0 };
        let bytes = piece.memory() + places * size_of::<Pin>();
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > limit {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Ok(None);
        }
        let pinned = pin.0.get_or_init(|| {
            Box::new(Pinned {
                piece,
                level,
                below: (0..places).map(|_| Pin::default()).collect(),
            })
        });
        Ok(Some(pinned))
    }
}

impl Pinned {
    fn node(&self) -> Option<&Node> {
        self.piece.node(self.level).ok()
    }

    /// The child that has `key`, and its number.
    #[inline]
    pub(super) fn route(&self, key: &[u8]) -> (usize, ChildPtr) {
        let node = self.node().expect("it was a node of this level when it was pinned");
        let index = node.route(key);
        (index, node.children[index])
    }

    /// The place of a child; `None` if that is a leaf.
    #[inline]
    pub(super) fn below(&self, index: usize) -> Option<&Pin> {
        self.below.get(index)
    }
}
