//! Writing changed nodes to the file: all of them for a commit, or those unchanged for longest when memory is short.

use kodiak_core::{Error, Result};

use super::piece::{BufferPtr, Node, Piece};
use super::work::{DirtyBuffer, DirtyNode, Link, Pending, Writer, child_ptrs, clean};
use crate::data::buffer::Buffer;
use crate::store::piece::{HEADER, Kind, Ptr};

impl Writer<'_> {
    /// Writes everything that has changed below `link`, and itself.
    pub(crate) fn write_all(&mut self, link: &mut Link) -> Result<()> {
        self.write_older(link, u32::MAX)
    }

    /// Writes what is below `link`, or itself, and has last been changed in slice `tick` or before. Children go before their
    /// parents, which have to name them.
    pub(crate) fn write_older(&mut self, link: &mut Link, tick: u32) -> Result<()> {
        match link {
            Link::Disk(_) => {}
            Link::Leaf(leaf) if leaf.tick <= tick => {
                let ptr = leaf.block.with_piece(|raw| self.store.write(Kind::Leaf, 0, raw))?;
                self.replace(link, ptr);
            }
            Link::Leaf(_) => {}
            Link::Node(node) => {
                self.write_children(node, tick)?;
                if node.tick <= tick {
                    let ptr = self.write_node(node)?;
                    self.replace(link, ptr);
                }
            }
        }
        Ok(())
    }

    fn write_children(&mut self, node: &mut DirtyNode, tick: u32) -> Result<()> {
        for child in &mut node.children {
            self.write_older(&mut child.link, tick)?;
            if let Pending::Dirty(dirty) = &mut child.buffer
                && dirty.tick <= tick
            {
                let pointer = self.write_buffer(dirty)?;
                let old = std::mem::replace(&mut child.buffer, Pending::Disk(pointer));
                if let Pending::Dirty(dirty) = old {
                    let DirtyBuffer { buffer, charge, .. } = *dirty;
                    drop(charge);
                    self.store.keep(&pointer.ptr, Piece::Buffer(buffer));
                }
            }
        }
        Ok(())
    }

    fn write_buffer(&mut self, dirty: &mut DirtyBuffer) -> Result<BufferPtr> {
        let buffer: &mut Buffer = &mut dirty.buffer;
        let bytes = u32::try_from(buffer.bytes()).unwrap_or(u32::MAX);
        let ptr = buffer.with_piece(|raw| self.store.write(Kind::Buffer, 0, raw))?;
        Ok(BufferPtr { ptr, bytes })
    }

    fn write_node(&mut self, node: &DirtyNode) -> Result<Ptr> {
        let Some(children) = child_ptrs(node) else {
            return Err(Error::corruption("a node is to be written before its children").with_file(&self.store.path));
        };
        let mut raw = Node::encode(&node.keys, &children);
        debug_assert!(raw.len() > HEADER);
        self.store.write(Kind::Node, node.level, &mut raw)
    }

    /// The file has it now: what was in memory is clean.
    fn replace(&self, link: &mut Link, ptr: Ptr) {
        match std::mem::replace(link, Link::Disk(ptr)) {
            Link::Disk(_) => {}
            Link::Leaf(leaf) => {
                drop(leaf.charge);
                self.store.keep(&ptr, Piece::Leaf(leaf.block));
            }
            Link::Node(node) => {
                if let Some(node) = clean(&node) {
                    self.store.keep(&ptr, Piece::Node(node));
                }
            }
        }
    }

    /// Writes the older half of what has changed below a link.
    pub(crate) fn write_half(&mut self, link: &mut Link) -> Result<()> {
        let mut ticks = Vec::new();
        collect(link, &mut ticks);
        ticks.sort_unstable();
        let Some(&(newest, _)) = ticks.last() else {
            return Ok(());
        };
        let wanted = ticks.iter().map(|(_, bytes)| bytes).sum::<usize>() / 2;
        let mut sum = 0;
        let reached = ticks.iter().find(|(_, bytes)| {
            sum += bytes;
            sum >= wanted
        });
        let tick = reached.map_or(newest, |(tick, _)| *tick);
        // If all were changed at once there is no older half: everything but the path to it goes.
        self.write_older(link, tick)
    }

    /// Writes everything that has changed below a node that is being worked on.
    pub(crate) fn write_below(&mut self, node: &mut DirtyNode) -> Result<()> {
        for child in &mut node.children {
            self.write_all(&mut child.link)?;
        }
        Ok(())
    }
}

/// When each changed leaf and buffer was last changed, and its bytes.
fn collect(link: &Link, ticks: &mut Vec<(u32, usize)>) {
    match link {
        Link::Disk(_) => {}
        Link::Leaf(leaf) => ticks.push((leaf.tick, leaf.block.memory())),
        Link::Node(node) => {
            ticks.push((node.tick, node.keys.memory()));
            for child in &node.children {
                if let Pending::Dirty(dirty) = &child.buffer {
                    ticks.push((dirty.tick, dirty.buffer.memory()));
                }
                collect(&child.link, ticks);
            }
        }
    }
}
