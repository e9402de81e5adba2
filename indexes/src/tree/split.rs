//! Splits of what has become too large.

use kodiak_core::Result;

use super::apply::Siblings;
use super::work::{DirtyNode, Link, WHOLE, Writer};
use crate::data::block::{Block, common_prefix};
use crate::data::builder::Builder;
use crate::data::keys::Keys;
use crate::data::ranges::Bounds;

/// Where parts end whose weights are `weights` and may be up to `most` together: evenly, or, if `full`, each as full as it
/// can be but for the last. There are at least two parts, none of them empty, if there are two weights and more than `most`.
pub(crate) fn cuts(weights: impl ExactSizeIterator<Item = usize> + Clone, most: usize, full: bool) -> Vec<usize> {
    let (count, total) = (weights.len(), weights.clone().sum::<usize>());
    let parts = total.div_ceil(most.max(1)).max(1);
    let target = if full { most } else { total.div_ceil(parts) };
    let mut cuts = Vec::new();
    let mut sum = 0;
    for (index, weight) in weights.enumerate() {
        // Evenly: whichever is nearer to the target, with or without this one.
        let over = sum + weight > target
            && (sum + weight > most || full || sum + weight - target > target.saturating_sub(sum));
        if index > 0 && sum > 0 && over {
            cuts.push(index);
            sum = 0;
        }
        sum += weight;
    }
    cuts.push(count);
    cuts
}

/// The shortest key that is after `left` and not after `right`.
pub(crate) fn separator(left: &[u8], right: &[u8]) -> Vec<u8> {
    right[..(common_prefix(left, right) + 1).min(right.len())].to_vec()
}

impl Writer<'_> {
    /// Leaves of the entries of a block that is too large for one; the key before the first means nothing.
    pub(crate) fn split_leaf(&mut self, block: &Block, bounds: Bounds<'_>) -> Siblings {
        let weights = (0..block.len()).map(|index| block.bytes_of(index..index + 1));
        let full = self.appending && bounds.high.is_none();
        let cuts = cuts(weights, self.shape.leaf_bytes.saturating_sub(64).max(1), full);
        let separators: Vec<Vec<u8>> = cuts[..cuts.len() - 1]
            .iter()
            .map(|&cut| separator(&block.key(cut - 1), &block.key(cut)))
            .collect();
        let mut start = 0;
        let mut leaves = Siblings::new();
        for (part, &cut) in cuts.iter().enumerate() {
            let low = if part == 0 {
                bounds.low
            } else {
                Some(&*separators[part - 1])
            };
            let high = separators.get(part).map(|key| &**key).or(bounds.high);
            let mut builder = Builder::new(Bounds { low, high }.prefix(), block.bytes_of(start..cut));
            builder.extend(block, start..cut);
            let key = low.filter(|_| part > 0).unwrap_or_default().to_vec();
            leaves.push((key, self.leaf(builder.finish())));
            start = cut;
        }
        leaves
    }

    /// Splits a node that is too large; it keeps the first part.
    pub(crate) fn split_node(&mut self, node: &mut DirtyNode, bounds: Bounds<'_>) -> Result<Siblings> {
        if node.fill(self.shape) <= WHOLE || node.children.len() < 4 {
            return Ok(Vec::new());
        }
        let weights = node.weights(self.shape);
        let full = self.appending && bounds.high.is_none();
        let cuts = cuts(weights.into_iter(), WHOLE, full);
        let mut siblings = Siblings::new();
        let mut children = std::mem::take(&mut node.children).into_iter();
        let keys = std::mem::take(&mut node.keys);
        let mut start = 0;
        for cut in cuts {
            let mut part = Keys::default();
            part.extend(&keys, start..cut - 1);
            let members = children.by_ref().take(cut - start).collect();
            if start == 0 {
                (node.keys, node.children) = (part, members);
                node.recount();
            } else {
                let sibling = self.node(node.level, part, members);
                siblings.push((keys.get(start - 1).to_vec(), Link::Node(Box::new(sibling))));
            }
            start = cut;
        }
        Ok(siblings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_even_within_the_limit_and_never_empty() {
        for count in 2..200usize {
            for most in [10, 50, 333] {
                let weights: Vec<usize> = (0..count).map(|index| 1 + index * 7919 % 13).collect();
                for full in [false, true] {
                    let cuts = cuts(weights.iter().copied(), most, full);
                    assert_eq!(cuts.last(), Some(&count));
                    let mut start = 0;
                    for cut in cuts {
                        assert!(cut > start, "an empty part");
                        let sum: usize = weights[start..cut].iter().sum();
                        assert!(sum <= most || cut == start + 1, "{sum} of {most}");
                        start = cut;
                    }
                }
            }
        }
    }

    #[test]
    fn a_separator_is_short_and_between_its_keys() {
        for (left, right, expected) in [
            ("apple", "banana", "b"),
            ("abc", "abd", "abd"),
            ("ab", "abc", "abc"),
            ("", "x", "x"),
        ] {
            assert_eq!(separator(left.as_bytes(), right.as_bytes()), expected.as_bytes());
        }
    }
}
