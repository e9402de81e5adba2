//! Changes on their way from the root down.

use kodiak_core::Result;

use super::work::{Child, DirtyNode, Link, Pending, Writer};
use crate::data::buffer::{Buffer, Changes};
use crate::data::merge::{into_buffer, into_leaf};
use crate::data::ranges::{Bounds, Ranges};

/// What a node or leaf has become besides itself: the nodes to its right, each with the key before it.
pub(crate) type Siblings = Vec<(Vec<u8>, Link)>;

impl Writer<'_> {
    /// Applies changes, all within `bounds`, to a node or leaf.
    pub(crate) fn update(
        &mut self,
        link: &mut Link,
        level: u8,
        changes: &Changes<'_>,
        bounds: Bounds<'_>,
    ) -> Result<Siblings> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        if level == 0 {
            return self.update_leaf(link, changes, bounds);
        }
        self.open_node(link, level)?;
        let Link::Node(node) = link else { return Ok(Vec::new()) };
        self.update_node(node, changes, bounds)?;
        self.split_node(node, bounds)
    }

    fn update_leaf(&mut self, link: &mut Link, changes: &Changes<'_>, bounds: Bounds<'_>) -> Result<Siblings> {
        let built = self.with_leaf(link, |writer, block| {
            into_leaf(&mut writer.rules, block, changes, bounds)
        })?;
        self.discard(link)?;
        let block = built.finish();
        if block.body_len() <= self.shape.leaf_bytes || block.len() < 2 {
            *link = self.leaf(block);
            return Ok(Vec::new());
        }
        let mut leaves = self.split_leaf(&block, bounds).into_iter();
        if let Some((_, first)) = leaves.next() {
            *link = first;
        }
        Ok(leaves.collect())
    }

    /// Hands changes to the children of a node, or to their buffers.
    fn update_node(&mut self, node: &mut DirtyNode, changes: &Changes<'_>, bounds: Bounds<'_>) -> Result<()> {
        let buffered = self.shape.buffers_at(node.level);
        // From the right, so that children that split do not move those that are still to come.
        let mut end = changes.range.end;
        let mut next = node.children.len();
        while next > 0 {
            let index = if changes.ranges.is_empty() {
                if end == changes.range.start {
                    break;
                }
                node.keys.route(&changes.points.key(end - 1)).min(next - 1)
            } else {
                next - 1
            };
            next = index;
            let start = match index {
                0 => changes.range.start,
                _ => changes
                    .points
                    .lower_bound_in(changes.range.start..end, node.keys.get(index - 1)),
            };
            let points = start..end;
            end = start;
            let (low, high) = child_bounds(node, index, bounds);
            let within = Bounds {
                low: low.as_deref(),
                high: high.as_deref(),
            };
            let mut ranges = Ranges::default();
            if !changes.ranges.is_empty() {
                ranges = changes.ranges.clip(within);
                if ranges.cover_all(within) {
                    self.empty_child(node, index)?;
                    ranges = Ranges::default();
                }
            }
            let part = Changes {
                points: changes.points,
                range: points,
                ranges: &ranges,
            };
            if part.is_empty() {
                continue;
            }
            if buffered && !self.passes_by(node, index, &part, within) {
                self.push(node, index, &part, within)?;
            } else {
                self.push_down(node, index, &part, within)?;
            }
        }
        if buffered {
            self.flush_overfull(node, bounds)?;
        }
        self.repair(node, bounds)?;
        node.recount();
        Ok(())
    }

    /// Promotion: changes pass by an empty buffer if they are as many as the fullest of evenly filled ones has, so that to wait for
    /// more would not spare the child a change; or if they go to the end of the keys to which all recent ones went.
    fn passes_by(&self, node: &DirtyNode, index: usize, part: &Changes<'_>, within: Bounds<'_>) -> bool {
        if !self.shape.promote || !node.children[index].buffer.is_empty() {
            return false;
        }
        let share = self.shape.buffer_bytes / self.shape.fanout.max(1);
        (self.appending && within.high.is_none()) || part.bytes() >= 2 * share
    }

    /// Adds changes to the buffer of a child.
    fn push(&mut self, node: &mut DirtyNode, index: usize, part: &Changes<'_>, within: Bounds<'_>) -> Result<()> {
        let older = self.take_buffer(&mut node.children[index].buffer)?;
        let merged = into_buffer(&mut self.rules, older.get()?, part, within)?;
        node.children[index].buffer = self.pending(merged);
        Ok(())
    }

    /// Applies changes to a child, whose buffer must be empty.
    fn push_down(&mut self, node: &mut DirtyNode, index: usize, part: &Changes<'_>, within: Bounds<'_>) -> Result<()> {
        let siblings = self.update(&mut node.children[index].link, node.level - 1, part, within)?;
        // No more than that: it counts, and a node is full of children.
        node.children.reserve_exact(siblings.len());
        for (at, (key, link)) in siblings.into_iter().enumerate() {
            node.keys.insert(index + at, &key);
            let child = Child {
                link,
                buffer: Pending::Empty,
            };
            node.children.insert(index + at + 1, child);
        }
        Ok(())
    }

    /// Sends everything that waits in the buffer of a child to the child.
    pub(crate) fn flush(&mut self, node: &mut DirtyNode, index: usize, bounds: Bounds<'_>) -> Result<()> {
        let (low, high) = child_bounds(node, index, bounds);
        let within = Bounds {
            low: low.as_deref(),
            high: high.as_deref(),
        };
        let taken = self.take_buffer(&mut node.children[index].buffer)?;
        let buffer: &Buffer = taken.get()?;
        let whole = !buffer.ranges.is_empty() && buffer.ranges.cover_all(within);
        if whole {
            self.empty_child(node, index)?;
        }
        let none = Ranges::default();
        let ranges = if whole { &none } else { &buffer.ranges };
        self.push_down(node, index, &buffer.slice(0..buffer.points.len(), ranges), within)
    }
}

/// The bounds of a child, in memory of their own.
pub(crate) fn child_bounds(node: &DirtyNode, index: usize, bounds: Bounds<'_>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let low = match index {
        0 => bounds.low.map(<[u8]>::to_vec),
        _ => Some(node.keys.get(index - 1).to_vec()),
    };
    let high = if index < node.keys.len() {
        Some(node.keys.get(index).to_vec())
    } else {
        bounds.high.map(<[u8]>::to_vec)
    };
    (low, high)
}
