//! Bulk load: leaves are filled one after the other, and the nodes above grow along.

use kodiak_core::index::{MAX_KEY, MAX_VALUE};
use kodiak_core::varint::len_u64;
use kodiak_core::{Error, Result};

use super::piece::{ChildPtr, Node, Piece};
use super::split::separator;
use super::work::{Link, Writer};
use crate::data::block::{FIXED, Tag, common_prefix};
use crate::data::builder::Builder;
use crate::data::keys::Keys;
use crate::store::piece::{Kind, Ptr};

/// A node that is being filled, by level.
#[derive(Default)]
struct Open {
    keys: Keys,
    children: Vec<ChildPtr>,
    /// The key before its first child.
    low: Vec<u8>,
}

/// What the entries of a leaf will take once the prefix that their keys have in common is cut off, which is known when all are there.
#[derive(Default)]
struct Filling {
    first: Vec<u8>,
    count: usize,
    /// Bytes of keys and values, with the lengths of the latter.
    bytes: usize,
    longest: usize,
}

/// A leaf is written when its entries take so many times its limit before that is cut off, however little is left of them.
const MOST_UNCUT: usize = 16;

impl Filling {
    /// As it is with another entry.
    fn with(self, key: &[u8], value: &[u8]) -> Self {
        Self {
            first: if self.count == 0 { key.to_vec() } else { self.first },
            count: self.count + 1,
            bytes: self.bytes + key.len() + len_u64(value.len() as u64) + value.len(),
            longest: self.longest.max(key.len()),
        }
    }

    /// Bytes of the leaf's body at most, if `last` is the last key.
    fn body_len(&self, last: &[u8]) -> usize {
        let prefix = common_prefix(&self.first, last);
        let each = len_u64(((self.longest - prefix) as u64) << 2) + size_of::<u32>();
        FIXED + prefix + self.bytes + self.count * each - self.count * prefix
    }
}

struct Load<'w, 'a> {
    writer: &'w mut Writer<'a>,
    /// The node of level 1 first.
    open: Vec<Open>,
}

/// Builds a tree of entries in ascending order; `None` if there are none. Returns the level of its topmost node.
pub(crate) fn load(
    writer: &mut Writer<'_>,
    entries: &mut dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>)>>,
) -> Result<Option<(u8, Link)>> {
    let limit = (writer.shape.leaf_bytes * writer.shape.fill / 100).max(1);
    let mut load = Load {
        writer,
        open: Vec::new(),
    };
    let mut builder = Builder::new(b"", limit);
    let mut filling = Filling::default();
    let mut last: Option<Vec<u8>> = None;
    let mut low = Vec::new();
    for entry in entries {
        let (key, value) = entry?;
        if last.as_ref().is_some_and(|last| *last >= key) || key.len() > MAX_KEY || value.len() > MAX_VALUE {
            return Err(Error::invalid_input(format!(
                "a bulk load takes entries in strictly ascending order, with keys of at most {MAX_KEY} and values of at most \
                 {MAX_VALUE} bytes; the one with key {} is not",
                key[..key.len().min(64)].escape_ascii()
            )));
        }
        let mut with = filling.with(&key, &value);
        if !builder.is_empty() && (with.body_len(&key) > limit || builder.body_len() > MOST_UNCUT * limit) {
            load.leaf(std::mem::replace(&mut builder, Builder::new(b"", limit)), low)?;
            low = separator(last.as_deref().unwrap_or_default(), &key);
            with = Filling::default().with(&key, &value);
        }
        filling = with;
        builder.push(Tag::Put, &key, &value);
        last = Some(key);
    }
    if last.is_none() {
        return Ok(None);
    }
    load.leaf(builder, low)?;
    load.finish().map(Some)
}

impl Load<'_, '_> {
    /// Writes a leaf that starts at `low`.
    fn leaf(&mut self, builder: Builder, low: Vec<u8>) -> Result<()> {
        let mut block = builder.finish();
        if !block.is_empty() {
            // Now that all of its keys are known, what they have in common goes.
            let first = block.key(0);
            let prefix = common_prefix(&first, &block.key(block.len() - 1));
            let mut tight = Builder::new(&first[..prefix], block.body_len());
            tight.extend(&block, 0..block.len());
            block = tight.finish();
        }
        let ptr = block.with_piece(|raw| self.writer.store.write(Kind::Leaf, 0, raw))?;
        self.writer.store.keep(&ptr, Piece::Leaf(block));
        self.add(1, ptr, low)
    }

    /// Adds a child to the open node of a level.
    fn add(&mut self, level: usize, ptr: Ptr, low: Vec<u8>) -> Result<()> {
        if self.open.len() < level {
            self.open.push(Open::default());
        }
        let shape = self.writer.shape;
        let open = &self.open[level - 1];
        let full = open.children.len() >= shape.fanout_at(level as u8)
            || (open.children.len() > 3
                && open.keys.bytes() + low.len() + (open.children.len() + 1) * (Ptr::WIDTH + 3) > shape.node_bytes);
        if full {
            let open = std::mem::take(&mut self.open[level - 1]);
            self.write(level, open)?;
        }
        let open = &mut self.open[level - 1];
        if open.children.is_empty() {
            open.low = low;
        } else {
            open.keys.push(&low);
        }
        open.children.push(ChildPtr { ptr, buffer: None });
        Ok(())
    }

    fn write(&mut self, level: usize, open: Open) -> Result<()> {
        let ptr = self.write_node(level, &open)?;
        self.add(level + 1, ptr, open.low)
    }

    fn write_node(&mut self, level: usize, open: &Open) -> Result<Ptr> {
        let mut raw = Node::encode(&open.keys, &open.children);
        self.writer.store.write(Kind::Node, level as u8, &mut raw)
    }

    /// Writes what is still open, from below.
    fn finish(mut self) -> Result<(u8, Link)> {
        let mut level = 1;
        loop {
            let open = std::mem::take(&mut self.open[level - 1]);
            if level == self.open.len() {
                // The topmost: with a single child it is not needed.
                if let [child] = &*open.children {
                    return Ok((level as u8 - 1, Link::Disk(child.ptr)));
                }
                let ptr = self.write_node(level, &open)?;
                return Ok((level as u8, Link::Disk(ptr)));
            }
            self.write(level, open)?;
            level += 1;
        }
    }
}
