//! The working state of an index, and how a slice of a batch changes it.

use std::ops::Range;

use kodiak_core::{Error, ErrorKind, Result};

use super::apply::Siblings;
use super::work::{Child, Link, Pending, Writer};
use crate::data::block::Block;
use crate::data::buffer::Buffer;
use crate::data::keys::Keys;
use crate::data::ranges::{Bounds, Ranges};
use crate::data::staged::Staged;
use crate::store::Store;
use crate::store::space::RootInfo;

/// The working state.
#[derive(Debug)]
pub(super) struct Work {
    pub top: Option<Link>,
    pub level: u8,
    /// Something has changed since the last commit.
    pub changed: bool,
    /// An error left it half way.
    pub broken: bool,
    tick: u32,
    pub recent: Recent,
    /// The newest changes, which are not in the tree yet.
    pub staged: Staged,
}

/// Tells whether keys come in ascending order.
#[derive(Debug, Default)]
pub(super) struct Recent {
    largest: Option<Vec<u8>>,
    /// How many have come in a row that were larger than all before.
    ascending: usize,
}

/// So many ascending keys in a row make a sequence.
const SEQUENCE: usize = 100;

impl Recent {
    pub(super) fn note(&mut self, points: &Block) {
        if points.is_empty() {
            return;
        }
        let above = self.largest.as_deref().is_none_or(|largest| *largest < *points.key(0));
        let last = points.key(points.len() - 1);
        if above {
            self.ascending += points.len();
            self.largest = Some(last);
        } else {
            self.ascending = 0;
            self.largest = self.largest.take().max(Some(last));
        }
    }
}

impl Work {
    pub(super) fn at(root: RootInfo) -> Self {
        Self {
            top: root.top.map(Link::Disk),
            level: root.level,
            changed: false,
            broken: false,
            tick: 0,
            recent: Recent::default(),
            staged: Staged::default(),
        }
    }

    pub(super) fn check(&self, store: &Store) -> Result<()> {
        store.check_sound()?;
        if self.broken {
            let message = "an earlier error has left the working state half way: roll back to the last commit";
            return Err(Error::new(ErrorKind::Unavailable, message).with_file(&store.path));
        }
        Ok(())
    }

    /// Applies one slice of a batch.
    pub(super) fn apply(
        &mut self,
        writer: &mut Writer<'_>,
        buffer: &Buffer,
        points: Range<usize>,
        ranges: &Ranges,
    ) -> Result<()> {
        self.tick += 1;
        writer.tick = self.tick;
        writer.appending = self.recent.ascending >= SEQUENCE;
        let top = self.top.get_or_insert_with(|| writer.empty(0));
        let slice = buffer.slice(points, ranges);
        if ranges.cover_all(Bounds::default()) && slice.range.is_empty() {
            return self.clear(writer);
        }
        let siblings = writer.update(top, self.level, &slice, Bounds::default())?;
        if !siblings.is_empty() {
            self.grow(writer, siblings)?;
        }
        self.shrink(writer)?;
        if let Some(top) = &mut self.top
            && writer.exceeds()
        {
            writer.write_half(top)?;
            // Others may have the rest, of which they could write nothing now.
            if writer.exceeds() && writer.store.pool.is_shared() {
                writer.write_all(top)?;
            }
        }
        Ok(())
    }

    fn clear(&mut self, writer: &mut Writer<'_>) -> Result<()> {
        let Some(top) = self.top.take() else { return Ok(()) };
        let child = Child {
            link: top,
            buffer: Pending::Empty,
        };
        let mut above = writer.node(self.level + 1, Keys::default(), vec![child]);
        writer.empty_child(&mut above, 0)?;
        self.level = 0;
        Ok(())
    }

    /// Puts nodes over what the topmost one has become.
    fn grow(&mut self, writer: &mut Writer<'_>, mut siblings: Siblings) -> Result<()> {
        while !siblings.is_empty() {
            let Some(top) = self.top.take() else { return Ok(()) };
            self.level += 1;
            let mut keys = Keys::default();
            let mut links = vec![top];
            for (key, link) in siblings {
                keys.push(&key);
                links.push(link);
            }
            let buffer = || Pending::Empty;
            let children = links.into_iter().map(|link| Child { link, buffer: buffer() }).collect();
            let mut node = writer.node(self.level, keys, children);
            siblings = writer.split_node(&mut node, Bounds::default())?;
            self.top = Some(Link::Node(Box::new(node)));
        }
        Ok(())
    }

    /// Does without a topmost node that has a single child.
    fn shrink(&mut self, writer: &mut Writer<'_>) -> Result<()> {
        while let Some(Link::Node(node)) = &mut self.top
            && node.children.len() == 1
        {
            if !node.children[0].buffer.is_empty() {
                writer.flush(node, 0, Bounds::default())?;
                continue;
            }
            let Some(child) = node.children.pop() else {
                return Ok(());
            };
            self.top = Some(child.link);
            self.level -= 1;
        }
        if matches!(&self.top, Some(Link::Leaf(leaf)) if leaf.block.is_empty()) {
            self.top = None;
        }
        Ok(())
    }
}
