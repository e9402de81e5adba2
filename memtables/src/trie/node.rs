//! Nodes of the radix tree, and the lists of versions that are its leaves.
//!
//! A node only gains children: it can be read at any time without a lock. When it is full, a larger copy takes its place in
//! the parent, and whoever still reads the old one sees what was there before.

use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32};

use kodiak_core::Result;
use kodiak_core::entry::{EntryRef, SeqNo};

use crate::arena::Arena;
use crate::stored::Stored;

/// Where a child hangs: null, a node, or a leaf.
pub type Link = AtomicPtr<u8>;

/// One version of a key; the entry follows it in the same allocation.
pub struct Leaf {
    older: AtomicPtr<Leaf>,
    pub seq: SeqNo,
    pub stored: Stored,
}

impl Leaf {
    /// A new version in `arena`, which must outlive `'a`.
    ///
    /// # Errors
    /// As [`Stored::size`].
    pub fn new_in<'a>(arena: &Arena<8>, entry: &EntryRef<'_>) -> Result<&'a Self> {
        let place = arena.alloc(size_of::<Self>() + Stored::size(entry)?);
        // SAFETY: the allocation has room for both, is aligned for `Leaf`, and is nobody else's.
        unsafe {
            let stored = Stored::write(place.add(size_of::<Self>()), entry);
            let leaf = place.cast::<Self>();
            leaf.write(Self {
                older: AtomicPtr::new(ptr::null_mut()),
                seq: entry.seq,
                stored,
            });
            Ok(&*leaf.as_ptr())
        }
    }

    /// The next older version.
    #[inline]
    pub fn older<'a>(&self) -> Option<&'a Self> {
        // SAFETY: null, or a version that was complete when it was linked and lives as long as the tree.
        unsafe { self.older.load(Acquire).as_ref() }
    }

    fn set_older(&self, older: &Self) {
        self.older.store(ptr::from_ref(older).cast_mut(), Release);
    }

    /// Puts `new`, of the same key, into the list that starts at `link`, newest first.
    pub fn add_version(link: &Link, newest: &Self, new: &Self) {
        if new.seq > newest.seq {
            new.set_older(newest);
            return Child::Leaf(new).store(link);
        }
        let mut newer = newest;
        while let Some(older) = newer.older() {
            if older.seq < new.seq {
                new.set_older(older);
                break;
            }
            newer = older;
        }
        newer.set_older(new);
    }
}

/// What a link leads to.
#[derive(Clone, Copy)]
pub enum Child<'a> {
    Leaf(&'a Leaf),
    Node(Node),
}

impl Child<'_> {
    /// Follows `link`, which is of a tree that outlives the result.
    #[inline]
    pub fn load(link: &Link) -> Option<Self> {
        let word = link.load(Acquire);
        if word.addr() & 1 == 1 {
            // SAFETY: the tag says that this is a leaf; it was complete when it was linked, and lives as long as the tree.
            return Some(Self::Leaf(unsafe {
                &*word.map_addr(|address| address & !1).cast::<Leaf>()
            }));
        }
        NonNull::new(word).map(|node| Self::Node(Node(node)))
    }

    /// Makes `link` lead here.
    pub fn store(self, link: &Link) {
        link.store(self.word(), Release);
    }

    fn word(self) -> *mut u8 {
        match self {
            Self::Leaf(leaf) => ptr::from_ref(leaf)
                .cast_mut()
                .cast::<u8>()
                .map_addr(|address| address | 1),
            Self::Node(node) => node.0.as_ptr(),
        }
    }

    /// Some entry at or below here.
    pub fn sample(self) -> Stored {
        match self {
            Self::Leaf(leaf) => leaf.stored,
            Self::Node(node) => node.sample(),
        }
    }
}

/// What all nodes start with.
#[repr(C)]
struct Header {
    /// All keys below share this many bytes, and the next one tells the children apart.
    depth: AtomicU32,
    kind: AtomicU8,
    count: AtomicU16,
    /// An entry below this node, to learn the shared bytes from.
    sample: AtomicPtr<u8>,
    /// The leaf of the key that ends here.
    value: Link,
}

#[repr(C)]
struct Node4 {
    header: Header,
    bytes: [AtomicU8; 4],
    children: [Link; 4],
}

#[repr(C)]
struct Node16 {
    header: Header,
    bytes: [AtomicU8; 16],
    children: [Link; 16],
}

#[repr(C)]
struct Node48 {
    header: Header,
    /// One more than the index of the child; 0 if there is none.
    index: [AtomicU8; 256],
    children: [Link; 48],
}

#[repr(C)]
struct Node256 {
    header: Header,
    children: [Link; 256],
}

/// A node of a living tree.
#[derive(Clone, Copy)]
pub struct Node(NonNull<u8>);

// SAFETY: nodes are made of atomics, and the tree keeps their arena.
unsafe impl Send for Node {}

/// A node as what it is.
enum View<'a> {
    /// Up to 16 children in the order of their arrival.
    List(&'a [AtomicU8], &'a [Link]),
    Index(&'a Node48),
    Direct(&'a Node256),
}

impl Node {
    /// A new node with room for 4 children. It must not be used after `arena` (which gives zeroes) is gone.
    pub fn new_in(arena: &Arena<8>, depth: usize, sample: Stored) -> Self {
        Self::of_kind(arena, 0, depth, sample)
    }

    fn of_kind(arena: &Arena<8>, kind: u8, depth: usize, sample: Stored) -> Self {
        let sizes = [
            size_of::<Node4>(),
            size_of::<Node16>(),
            size_of::<Node48>(),
            size_of::<Node256>(),
        ];
        let node = Self(arena.alloc(sizes[usize::from(kind)]));
        let header = node.header();
        header.kind.store(kind, Relaxed);
        header.depth.store(depth as u32, Relaxed);
        header.sample.store(sample.as_ptr(), Relaxed);
        node
    }

    #[inline]
    fn header<'a>(self) -> &'a Header {
        // SAFETY: a node in a zeroed arena that lives as long as the tree; it is made of atomics, and zeroes are valid.
        unsafe { self.0.cast().as_ref() }
    }

    #[inline]
    fn view<'a>(self) -> View<'a> {
        // SAFETY: as for `header`; the kind is set once, before the node is linked, and says what was allocated.
        unsafe {
            match self.header().kind.load(Relaxed) {
                0 => {
                    let node: &Node4 = self.0.cast().as_ref();
                    View::List(&node.bytes, &node.children)
                }
                1 => {
                    let node: &Node16 = self.0.cast().as_ref();
                    View::List(&node.bytes, &node.children)
                }
                2 => View::Index(self.0.cast().as_ref()),
                _ => View::Direct(self.0.cast().as_ref()),
            }
        }
    }

    #[inline]
    pub fn depth(self) -> usize {
        self.header().depth.load(Relaxed) as usize
    }

    pub fn sample(self) -> Stored {
        // SAFETY: set from a `Stored` before the node was linked.
        unsafe { Stored::from_ptr(self.header().sample.load(Relaxed)) }
    }

    /// The link to the leaf of the key that ends here.
    #[inline]
    pub fn value<'a>(self) -> &'a Link {
        &self.header().value
    }

    #[inline]
    fn count(self) -> usize {
        usize::from(self.header().count.load(Acquire))
    }

    /// The link to the child for `byte`.
    #[inline]
    pub fn find<'a>(self, byte: u8) -> Option<&'a Link> {
        match self.view() {
            View::List(bytes, children) => {
                let at = bytes[..self.count()]
                    .iter()
                    .position(|known| known.load(Relaxed) == byte)?;
                Some(&children[at])
            }
            View::Index(node) => match node.index[usize::from(byte)].load(Acquire) {
                0 => None,
                at => Some(&node.children[usize::from(at) - 1]),
            },
            View::Direct(node) => {
                let link = &node.children[usize::from(byte)];
                (!link.load(Relaxed).is_null()).then_some(link)
            }
        }
    }

    /// The first child whose byte is at least `from` (256: none).
    pub fn first_child<'a>(self, from: usize) -> Option<(u8, &'a Link)> {
        match self.view() {
            View::List(bytes, children) => {
                let known = bytes[..self.count()].iter().zip(children);
                let known = known.map(|(byte, link)| (byte.load(Relaxed), link));
                known
                    .filter(|(byte, _)| usize::from(*byte) >= from)
                    .min_by_key(|(byte, _)| *byte)
            }
            _ => (from..256).find_map(|byte| self.find(byte as u8).map(|link| (byte as u8, link))),
        }
    }

    /// The last child whose byte is below `below`.
    pub fn last_child<'a>(self, below: usize) -> Option<(u8, &'a Link)> {
        match self.view() {
            View::List(bytes, children) => {
                let known = bytes[..self.count()].iter().zip(children);
                let known = known.map(|(byte, link)| (byte.load(Relaxed), link));
                known
                    .filter(|(byte, _)| usize::from(*byte) < below)
                    .max_by_key(|(byte, _)| *byte)
            }
            _ => (0..below)
                .rev()
                .find_map(|byte| self.find(byte as u8).map(|link| (byte as u8, link))),
        }
    }

    // Changes: one thread at a time.

    /// Adds a child for a byte that has none; false if the node is full.
    pub fn add(self, byte: u8, child: Child<'_>) -> bool {
        let count = self.count();
        match self.view() {
            View::List(bytes, children) => {
                let (Some(known), Some(link)) = (bytes.get(count), children.get(count)) else {
                    return false;
                };
                known.store(byte, Relaxed);
                child.store(link);
            }
            View::Index(node) => {
                let Some(link) = node.children.get(count) else {
                    return false;
                };
                child.store(link);
                node.index[usize::from(byte)].store(count as u8 + 1, Release);
            }
            View::Direct(node) => child.store(&node.children[usize::from(byte)]),
        }
        self.header().count.store(count as u16 + 1, Release);
        true
    }

    /// A copy of the next larger kind.
    pub fn grown(self, arena: &Arena<8>) -> Self {
        let kind = self.header().kind.load(Relaxed) + 1;
        let larger = Self::of_kind(arena, kind, self.depth(), self.sample());
        larger.value().store(self.value().load(Relaxed), Relaxed);
        let mut from = 0;
        while let Some((byte, link)) = self.first_child(from) {
            if let Some(child) = Child::load(link) {
                larger.add(byte, child);
            }
            from = usize::from(byte) + 1;
        }
        larger
    }
}
