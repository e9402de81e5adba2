//! Merges of what has become too small.

use std::ops::Range;

use kodiak_core::Result;

use super::apply::{Siblings, child_bounds};
use super::work::{Child, DirtyNode, Link, Pending, WHOLE, Writer};
use crate::data::buffer::Buffer;
use crate::data::builder::Builder;
use crate::data::ranges::Bounds;

/// What is below one part in so many of its limit is merged with a neighbour.
const UNDERFULL: usize = 4;

impl Writer<'_> {
    /// Merges the children of a node that are in memory and underfull with their neighbours.
    pub(crate) fn repair(&mut self, node: &mut DirtyNode, bounds: Bounds<'_>) -> Result<()> {
        let mut index = node.children.len();
        while index > 0 {
            index -= 1;
            if node.children.len() > 1 && self.is_underfull(&node.children[index].link) {
                let left = index.saturating_sub(1);
                self.merge_children(node, left, bounds)?;
                // It may still be small: it is looked at once more, from one place to the left.
                index = index.min(node.children.len());
            }
        }
        Ok(())
    }

    fn is_underfull(&self, link: &Link) -> bool {
        match link {
            Link::Disk(_) => false,
            Link::Leaf(leaf) => leaf.block.body_len() < self.shape.leaf_bytes / UNDERFULL,
            Link::Node(node) => node.fill(self.shape) < WHOLE / UNDERFULL,
        }
    }

    /// Makes one, or two even ones, of child `left` and the next.
    fn merge_children(&mut self, node: &mut DirtyNode, left: usize, bounds: Bounds<'_>) -> Result<()> {
        let low = child_bounds(node, left, bounds).0;
        let high = child_bounds(node, left + 1, bounds).1;
        let within = Bounds {
            low: low.as_deref(),
            high: high.as_deref(),
        };
        let separator = node.keys.get(left).to_vec();
        let right = node.children.remove(left + 1);
        node.keys.remove(left);
        let buffer = self.merge_buffers(&mut node.children[left], right.buffer, within)?;
        node.children[left].buffer = buffer;
        let child = &mut node.children[left];
        let siblings = match node.level {
            1 => self.merge_leaves(&mut child.link, right.link, within)?,
            level => self.merge_nodes(&mut child.link, right.link, &separator, level - 1, within)?,
        };
        if siblings.is_empty() {
            return Ok(());
        }
        // What waits for both is sent to whichever it is for: a buffer belongs to one child.
        let waiting = self.take_buffer(&mut node.children[left].buffer)?;
        let last = left + siblings.len();
        for (at, (key, link)) in siblings.into_iter().enumerate() {
            node.keys.insert(left + at, &key);
            let child = Child {
                link,
                buffer: Pending::Empty,
            };
            node.children.insert(left + at + 1, child);
        }
        self.distribute(node, left..last + 1, waiting.get()?, bounds)
    }

    /// Gives each of some children its part of a buffer.
    fn distribute(
        &mut self,
        node: &mut DirtyNode,
        children: Range<usize>,
        buffer: &Buffer,
        bounds: Bounds<'_>,
    ) -> Result<()> {
        if buffer.is_empty() {
            return Ok(());
        }
        let mut start = 0;
        for index in children.clone() {
            let (low, high) = child_bounds(node, index, bounds);
            let within = Bounds {
                low: low.as_deref(),
                high: high.as_deref(),
            };
            let end = match &high {
                Some(high) if index + 1 < children.end => buffer.points.lower_bound(high),
                _ => buffer.points.len(),
            };
            let mut points = Builder::new(within.prefix(), buffer.points.bytes_of(start..end));
            points.extend(&buffer.points, start..end);
            let part = Buffer {
                ranges: buffer.ranges.clip(within),
                points: points.finish(),
            };
            node.children[index].buffer = self.pending(part);
            start = end;
        }
        Ok(())
    }

    fn merge_buffers(&mut self, left: &mut Child, mut right: Pending, within: Bounds<'_>) -> Result<Pending> {
        if left.buffer.is_empty() && right.is_empty() {
            return Ok(Pending::Empty);
        }
        let (left, right) = (self.take_buffer(&mut left.buffer)?, self.take_buffer(&mut right)?);
        let merged = left.get()?.concat(right.get()?, within);
        Ok(self.pending(merged))
    }

    fn merge_leaves(&mut self, left: &mut Link, right: Link, within: Bounds<'_>) -> Result<Siblings> {
        let is_empty = |link: &Link| matches!(link, Link::Leaf(leaf) if leaf.block.is_empty());
        if is_empty(&right) {
            return Ok(Vec::new());
        }
        if is_empty(left) {
            *left = right;
            return Ok(Vec::new());
        }
        let built = self.with_leaf(left, |writer, first| {
            writer.with_leaf(&right, |_, second| {
                let mut out = Builder::new(within.prefix(), first.body_len() + second.body_len());
                out.extend(first, 0..first.len());
                out.extend(second, 0..second.len());
                Ok(out)
            })
        })?;
        self.discard(left)?;
        self.discard(&right)?;
        let block = built.finish();
        if block.body_len() <= self.shape.leaf_bytes || block.len() < 2 {
            *left = self.leaf(block);
            return Ok(Vec::new());
        }
        let mut leaves = self.split_leaf(&block, within).into_iter();
        if let Some((_, first)) = leaves.next() {
            *left = first;
        }
        Ok(leaves.collect())
    }

    fn merge_nodes(
        &mut self,
        left: &mut Link,
        mut right: Link,
        key: &[u8],
        level: u8,
        within: Bounds<'_>,
    ) -> Result<Siblings> {
        self.open_node(&mut right, level)?;
        let Link::Node(right) = right else {
            return Ok(Vec::new());
        };
        self.open_node(left, level)?;
        let Link::Node(left) = left else { return Ok(Vec::new()) };
        let DirtyNode {
            keys, children, charge, ..
        } = *right;
        drop(charge);
        left.keys.push(key);
        left.keys.extend(&keys, 0..keys.len());
        left.children.reserve_exact(children.len());
        left.children.extend(children);
        // One of the two may have had a single, empty child.
        self.repair(left, within)?;
        left.recount();
        self.split_node(left, within)
    }
}
