//! Flushes of overfull buffers, and subtrees that a range delete takes away as a whole.

use kodiak_core::{Error, Result};

use super::piece::BufferPtr;
use super::work::{DirtyNode, Link, Pending, Writer};
use crate::data::block::Block;
use crate::data::ranges::Bounds;
use crate::store::piece::Ptr;

impl Writer<'_> {
    /// Flushes the fullest buffers of a node until the rest is within the limit.
    pub(crate) fn flush_overfull(&mut self, node: &mut DirtyNode, bounds: Bounds<'_>) -> Result<()> {
        while node.buffered() > self.shape.buffer_bytes {
            let fullest = (0..node.children.len()).max_by_key(|&index| node.children[index].buffer.bytes());
            let Some(fullest) = fullest else { break };
            self.flush(node, fullest, bounds)?;
            if self.exceeds() {
                self.write_below(node)?;
            }
        }
        Ok(())
    }

    /// Takes away everything that a child has.
    pub(crate) fn empty_child(&mut self, node: &mut DirtyNode, index: usize) -> Result<()> {
        let empty = self.empty(node.level - 1);
        let child = &mut node.children[index];
        let buffer = std::mem::replace(&mut child.buffer, Pending::Empty);
        let link = std::mem::replace(&mut child.link, empty);
        self.drop_buffer(buffer)?;
        self.drop_link(link, node.level - 1)
    }

    fn drop_buffer(&mut self, buffer: Pending) -> Result<()> {
        match buffer {
            Pending::Empty => {}
            Pending::Dirty(dirty) => self.tell_all(&dirty.buffer.points),
            Pending::Disk(pointer) => self.drop_buffer_at(&pointer)?,
        }
        Ok(())
    }

    fn drop_buffer_at(&mut self, pointer: &BufferPtr) -> Result<()> {
        if self.rules.displaced.is_some() {
            let piece = self.store.read_once(&pointer.ptr)?;
            let buffer = piece.buffer().map_err(|error| self.store.at(error, &pointer.ptr))?;
            self.tell_all(&buffer.points);
        }
        self.store.kill(&pointer.ptr)
    }

    fn drop_link(&mut self, link: Link, level: u8) -> Result<()> {
        match link {
            Link::Disk(ptr) => self.drop_disk(&ptr, level),
            Link::Leaf(leaf) => {
                self.tell_all(&leaf.block);
                Ok(())
            }
            Link::Node(node) if level > 0 => {
                for child in node.children {
                    self.drop_buffer(child.buffer)?;
                    self.drop_link(child.link, level - 1)?;
                }
                Ok(())
            }
            Link::Node(_) => {
                Err(Error::corruption("a node in memory is on the wrong level").with_file(&self.store.path))
            }
        }
    }

    /// Gives up a subtree in the file. Its leaves are read only if somebody wants to know what was in them.
    fn drop_disk(&mut self, ptr: &Ptr, level: u8) -> Result<()> {
        if level == 0 {
            if self.rules.displaced.is_some() {
                let piece = self.store.read_once(ptr)?;
                self.tell_all(piece.leaf().map_err(|error| self.store.at(error, ptr))?);
            }
            return self.store.kill(ptr);
        }
        let piece = self.store.read(ptr)?;
        let node = piece.node(level).map_err(|error| self.store.at(error, ptr))?;
        for child in &node.children {
            if let Some(buffer) = &child.buffer {
                self.drop_buffer_at(buffer)?;
            }
            self.drop_disk(&child.ptr, level - 1)?;
        }
        self.store.kill(ptr)
    }

    fn tell_all(&mut self, block: &Block) {
        if self.rules.displaced.is_none() {
            return;
        }
        let mut key = Vec::new();
        for index in 0..block.len() {
            block.key_into(index, &mut key);
            self.rules.displaced(&key, block.entry(index));
        }
    }
}
