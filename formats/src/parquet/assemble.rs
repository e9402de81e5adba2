//! From the levels and values of what is innermost in a nested column to the column: see [`levels`](super::levels).

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::DataType;
use kodiak_core::{Error, Result};

use super::levels::Levels;
use super::plan::Node;
use crate::budget::Budget;
use crate::nest;

/// A leaf of a column: its values, with a place for each that is absent but whose list has it, and its levels.
pub(super) struct Leaf {
    pub values: ArrayRef,
    pub levels: Levels,
}

/// The column of `node` that `leaves` are the leaves of.
///
/// # Errors
/// `Corruption` if they contradict each other.
pub(super) fn assemble(node: &Node, leaves: &[Leaf], budget: &mut Budget) -> Result<ArrayRef> {
    let (Some(first), true) = (leaves.first(), leaves.len() == node.leaves.len()) else {
        return Err(Error::corruption("a nested column lacks some of its pages"));
    };
    if node.children.is_empty() {
        return Ok(ArrayRef::clone(&first.values));
    }
    let nulls = |leaf: &Leaf, budget: &mut Budget| leaf.levels.nulls(node.lists, node.item, node.present, budget);
    let (places, valid) = nulls(first, budget)?;
    for other in &leaves[1..] {
        if nulls(other, budget)? != (places, valid.clone()) {
            return Err(disagreement());
        }
    }
    let start = node.leaves.start;
    let mut children = Vec::with_capacity(node.children.len());
    for child in &node.children {
        children.push(assemble(
            child,
            &leaves[child.leaves.start - start..child.leaves.end - start],
            budget,
        )?);
    }
    if let DataType::Struct(_) = node.data_type {
        return nest::structs(&node.data_type, children, valid, places);
    }
    let ends = |leaf: &Leaf, budget: &mut Budget| leaf.levels.ends(node.lists, node.item, node.present + 1, budget);
    let of_first = ends(first, budget)?;
    for other in &leaves[1..] {
        if ends(other, budget)? != of_first {
            return Err(disagreement());
        }
    }
    if let (DataType::Map(..), Some(entries)) = (&node.data_type, children.first().and_then(|of| of.as_struct_opt())) {
        // Lists are made of their items, maps of their keys and values.
        children = entries.columns().to_vec();
    }
    nest::lists(&node.data_type, of_first, children, valid, budget)
}

#[cold]
fn disagreement() -> Error {
    Error::corruption("the pages of a nested column disagree")
}
