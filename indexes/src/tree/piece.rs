//! Nodes, and the pieces of the file as they lie in memory.

use kodiak_core::varint::Reader;
use kodiak_core::{Error, Result};

use crate::data::block::Block;
use crate::data::buffer::Buffer;
use crate::data::keys::{Heads, Keys};
use crate::store::piece::{HEADER, Header, Kind, Ptr};

/// A piece as it was read: it never changes.
#[derive(Debug)]
pub(crate) enum Piece {
    Leaf(Block),
    Node(Node),
    Buffer(Buffer),
}

impl Piece {
    /// # Errors
    /// `Corruption` if it is malformed; names neither file nor offset.
    pub(crate) fn parse(header: Header, bytes: Vec<u8>) -> Result<Self> {
        match header.kind {
            Kind::Leaf => {
                let len = bytes.len();
                let (block, end) = Block::parse(bytes)?;
                if end != len {
                    return Err(Error::corruption("bytes after the end of a leaf"));
                }
                Ok(Self::Leaf(block))
            }
            Kind::Buffer => Ok(Self::Buffer(Buffer::parse(bytes)?)),
            Kind::Node => Ok(Self::Node(Node::parse(header.level, &bytes[HEADER..])?)),
            Kind::Space => Err(Error::corruption("an account of space where a node should be")),
        }
    }

    pub(crate) fn memory(&self) -> usize {
        // With what the pool needs to find it.
        let own = match self {
            Self::Leaf(block) => block.memory(),
            Self::Node(node) => node.memory(),
            Self::Buffer(buffer) => buffer.memory(),
        };
        own + 128
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Leaf(_) => "leaf",
            Self::Node(_) => "node",
            Self::Buffer(_) => "buffer",
        }
    }

    /// # Errors
    /// `Corruption` if it is something else.
    pub(crate) fn leaf(&self) -> Result<&Block> {
        match self {
            Self::Leaf(block) => Ok(block),
            other => Err(Error::corruption(format!("a {} where a leaf should be", other.kind()))),
        }
    }

    /// # Errors
    /// `Corruption` if it is something else, or on another level.
    pub(crate) fn node(&self, level: u8) -> Result<&Node> {
        match self {
            Self::Node(node) if node.level == level => Ok(node),
            Self::Node(node) => Err(Error::corruption(format!(
                "a node of level {} where one of level {level} should be",
                node.level
            ))),
            other => Err(Error::corruption(format!("a {} where a node should be", other.kind()))),
        }
    }

    /// # Errors
    /// `Corruption` if it is something else.
    pub(crate) fn buffer(&self) -> Result<&Buffer> {
        match self {
            Self::Buffer(buffer) => Ok(buffer),
            other => Err(Error::corruption(format!(
                "a {} where a buffer should be",
                other.kind()
            ))),
        }
    }
}

/// Where the buffer of a child is, and how large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BufferPtr {
    pub ptr: Ptr,
    pub bytes: u32,
}

/// A child as the file names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChildPtr {
    pub ptr: Ptr,
    pub buffer: Option<BufferPtr>,
}

/// An inner node; those of level 1 stand above leaves, and have no buffers.
#[derive(Debug)]
pub(crate) struct Node {
    pub level: u8,
    pub keys: Keys,
    pub children: Vec<ChildPtr>,
    pub heads: Heads,
}

impl Node {
    pub(crate) fn new(level: u8, keys: Keys, children: Vec<ChildPtr>) -> Self {
        let heads = Heads::new(&keys);
        Self {
            level,
            keys,
            children,
            heads,
        }
    }

    /// The child that has `key`.
    #[inline]
    pub(crate) fn route(&self, key: &[u8]) -> usize {
        self.heads.route(|| &self.keys, key)
    }

    pub(crate) fn memory(&self) -> usize {
        self.keys.memory() + self.heads.memory() + self.children.capacity() * size_of::<ChildPtr>()
    }

    /// The keys; then for each child its place, and a byte that says whether it has a buffer; if so its place and size.
    pub(crate) fn encode(keys: &Keys, children: &[ChildPtr]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + keys.bytes() + children.len() * (2 * Ptr::WIDTH + 5) + 16);
        out.resize(HEADER, 0);
        keys.encode(&mut out);
        for child in children {
            child.ptr.encode(&mut out);
            out.push(u8::from(child.buffer.is_some()));
            if let Some(buffer) = child.buffer {
                buffer.ptr.encode(&mut out);
                out.extend_from_slice(&buffer.bytes.to_le_bytes());
            }
        }
        out
    }

    fn parse(level: u8, body: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let keys = Keys::decode(&mut reader)?;
        let mut children = Vec::with_capacity(keys.len() + 1);
        for _ in 0..=keys.len() {
            let ptr = Ptr::decode(&mut reader)?;
            let buffer = match reader.u8()? {
                0 => None,
                1 => Some(BufferPtr {
                    ptr: Ptr::decode(&mut reader)?,
                    bytes: reader.u32_le()?,
                }),
                other => return Err(Error::corruption(format!("a node is malformed: {other} is no flag"))),
            };
            children.push(ChildPtr { ptr, buffer });
        }
        if !reader.is_empty() || level == 0 || (level == 1 && children.iter().any(|child| child.buffer.is_some())) {
            return Err(Error::corruption("a node is malformed"));
        }
        Ok(Self::new(level, keys, children))
    }
}
