//! From a nested column to the levels and values of what is innermost in it: see [`levels`](super::levels).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute;
use arrow::datatypes::{ArrowNativeType, DataType};
use kodiak_core::{Error, Result};

use super::encode::{plain, unexpected_nulls, wrong_type};
use super::plan::{Column, Node};

/// The place of an entry that is absent, or whose list has no items.
const ABSENT: u32 = u32::MAX;

/// What a page of a leaf holds.
#[derive(Debug)]
pub(super) struct Shredded {
    pub repetitions: Vec<u8>,
    pub definitions: Vec<u8>,
    /// What is there, in order.
    pub values: ArrayRef,
}

/// Entries of everything inside a node, and where each is in the node's array.
#[derive(Debug, Clone)]
struct Entries {
    repetitions: Vec<u8>,
    definitions: Vec<u8>,
    places: Vec<u32>,
}

/// Takes `array`, a column of `node`, apart; one for each of its leaves, which are among `columns`.
///
/// # Errors
/// `InvalidInput` if the array is not of the column's type, or has nulls where it must not.
pub(super) fn shred(node: &Node, array: &ArrayRef, columns: &[Column]) -> Result<Vec<Shredded>> {
    if *array.data_type() != node.data_type {
        return Err(Error::invalid_input(format!(
            "a column has type {}, not {}",
            array.data_type(),
            node.data_type
        )));
    }
    let entries = Entries {
        repetitions: vec![0; array.len()],
        definitions: vec![0; array.len()],
        places: (0..array.len() as u32).collect(),
    };
    let mut out = Vec::with_capacity(node.leaves.len());
    descend(node, array, entries, columns, &mut out)?;
    Ok(out)
}

fn descend(
    node: &Node,
    array: &ArrayRef,
    mut entries: Entries,
    columns: &[Column],
    out: &mut Vec<Shredded>,
) -> Result<()> {
    let leaf = &columns[node.leaves.start];
    if u32::try_from(array.len()).is_err() {
        return Err(Error::invalid_input(format!(
            "column \"{}\" of one block has {} items, more than a Parquet page holds: use a smaller format.block_size",
            leaf.name,
            array.len()
        )));
    }
    match node.children.as_slice() {
        [] => {
            let array = plain(leaf, array)?;
            entries.absent(array.nulls(), node, leaf)?;
            out.push(entries.leaf(&array, leaf)?);
        }
        [child] if !matches!(node.data_type, DataType::Struct(_)) => {
            entries.absent(array.nulls(), node, leaf)?;
            let (entries, items) = entries.items(node, array, leaf)?;
            descend(child, &items, entries, columns, out)?;
        }
        children => {
            entries.absent(array.nulls(), node, leaf)?;
            let members = array.as_struct_opt().ok_or_else(|| wrong_type(leaf, array))?;
            for (child, member) in children.iter().zip(members.columns()) {
                descend(child, member, entries.clone(), columns, out)?;
            }
        }
    }
    Ok(())
}

impl Entries {
    /// Raises the definition levels of what is there.
    fn absent(&mut self, nulls: Option<&NullBuffer>, node: &Node, leaf: &Column) -> Result<()> {
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        if !node.nullable && nulls.is_none() {
            return Ok(());
        }
        for (place, level) in self.places.iter_mut().zip(&mut self.definitions) {
            if *place == ABSENT {
                continue;
            }
            // What cannot be null may have nulls where something around it is null: those places are absent already.
            match nulls.is_some_and(|nulls| nulls.is_null(*place as usize)) {
                true if !node.nullable => return Err(unexpected_nulls(leaf)),
                true => *place = ABSENT,
                false => *level += u8::from(node.nullable),
            }
        }
        Ok(())
    }

    /// The entries of the items of lists, and the items.
    fn items(self, node: &Node, array: &ArrayRef, leaf: &Column) -> Result<(Self, ArrayRef)> {
        let further = node.lists + 1;
        match &node.data_type {
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                let entries = self.expand(further, range_of(lists.value_offsets()));
                Ok((entries, Arc::clone(lists.values())))
            }
            DataType::LargeList(_) => {
                let lists = array.as_list::<i64>();
                let entries = self.expand(further, range_of(lists.value_offsets()));
                Ok((entries, Arc::clone(lists.values())))
            }
            DataType::Map(_, _) => {
                let maps = array.as_map();
                let entries = self.expand(further, range_of(maps.value_offsets()));
                Ok((entries, Arc::new(maps.entries().clone())))
            }
            DataType::FixedSizeList(_, _) => {
                let lists = array.as_fixed_size_list();
                let size = lists.value_length() as usize;
                let entries = self.expand(further, |place| (place * size, (place + 1) * size));
                Ok((entries, Arc::clone(lists.values())))
            }
            _ => Err(wrong_type(leaf, array)),
        }
    }

    /// An entry for each item, or one for a list that is absent or empty.
    fn expand(&self, further: u8, range: impl Fn(usize) -> (usize, usize)) -> Self {
        let mut out = Self {
            repetitions: Vec::with_capacity(self.places.len()),
            definitions: Vec::with_capacity(self.places.len()),
            places: Vec::with_capacity(self.places.len()),
        };
        for ((&repetition, &definition), &place) in self.repetitions.iter().zip(&self.definitions).zip(&self.places) {
            let (start, end) = match place {
                ABSENT => (0, 0),
                place => range(place as usize),
            };
            if start == end {
                out.push(repetition, definition, ABSENT);
                continue;
            }
            out.push(repetition, definition + 1, start as u32);
            for place in start + 1..end {
                out.push(further, definition + 1, place as u32);
            }
        }
        out
    }

    fn push(&mut self, repetition: u8, definition: u8, place: u32) {
        self.repetitions.push(repetition);
        self.definitions.push(definition);
        self.places.push(place);
    }

    /// What is there of the leaf's values.
    fn leaf(self, array: &ArrayRef, column: &Column) -> Result<Shredded> {
        let mut there = self.places;
        there.retain(|&place| place != ABSENT);
        let first = there.first().map_or(0, |&place| place as usize);
        let values = if there.iter().zip(first..).all(|(&place, next)| place as usize == next) {
            array.slice(first, there.len())
        } else {
            compute::take(array, &UInt32Array::from(there), None).map_err(|error| {
                Error::invalid_input(format!("column \"{}\" cannot be stored", column.name)).with_source(error)
            })?
        };
        Ok(Shredded {
            repetitions: self.repetitions,
            definitions: self.definitions,
            values,
        })
    }
}

fn range_of<O: ArrowNativeType>(offsets: &[O]) -> impl Fn(usize) -> (usize, usize) {
    move |place| (offsets[place].as_usize(), offsets[place + 1].as_usize())
}
