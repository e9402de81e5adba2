//! Nested columns of their parts. Files hold nothing for the items and members of what is null, where Arrow mostly has room for them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, LargeListArray, ListArray, MapArray, StructArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;
use kodiak_core::{Error, Result};

use crate::budget::{Budget, spread_offsets};

/// `size` items for each row, those of null rows being null; `items` has only those of the others.
///
/// # Errors
/// `Corruption` if they are not as many.
pub(crate) fn spread(
    items: ArrayRef,
    size: usize,
    nulls: Option<&NullBuffer>,
    budget: &mut Budget,
) -> Result<ArrayRef> {
    let wrong = |rows: usize| {
        Error::corruption(format!(
            "a nested column has {} items where {rows} rows have {size} each",
            items.len()
        ))
    };
    let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else {
        return Ok(items);
    };
    let rows = nulls.len() - nulls.null_count();
    if rows.checked_mul(size) != Some(items.len()) || u32::try_from(items.len()).is_err() {
        return Err(wrong(rows));
    }
    // An index for each, and what the items have on the average.
    let each = items.get_buffer_memory_size() / items.len().max(1) + 5;
    let places = nulls.len().saturating_mul(size);
    budget.take(places, each)?;
    let mut next = 0..items.len() as u32;
    let mut indexes = Vec::with_capacity(places);
    for valid in nulls {
        match valid {
            true => indexes.extend(next.by_ref().take(size).map(Some)),
            false => indexes.extend(std::iter::repeat_n(None, size)),
        }
    }
    take(&items, &UInt32Array::from(indexes), None).map_err(unfit)
}

/// The column of structs with these members.
///
/// # Errors
/// `Corruption` if they do not fit each other.
pub(crate) fn structs(
    data_type: &DataType,
    members: Vec<ArrayRef>,
    nulls: Option<NullBuffer>,
    rows: usize,
) -> Result<ArrayRef> {
    let DataType::Struct(fields) = data_type else {
        return Err(misfit(data_type));
    };
    let made = StructArray::try_new_with_length(fields.clone(), members, nulls, rows);
    made.map(|array| Arc::new(array) as ArrayRef).map_err(unfit)
}

/// Where the items of each row's list end, after a zero, and how many they are; `lengths` has only those of rows that are not null.
///
/// # Errors
/// `Corruption` for lengths that are none, or more items than are counted in 31 bits.
pub(crate) fn ends(lengths: &[i64], nulls: Option<&NullBuffer>, budget: &mut Budget) -> Result<(Vec<i32>, usize)> {
    let rows = nulls.map_or(lengths.len(), NullBuffer::len);
    budget.take(rows + 1, 8)?;
    let mut ends = Vec::with_capacity(lengths.len() + 1);
    ends.push(0);
    let mut end = 0i32;
    for &length in lengths {
        end = i32::try_from(length)
            .ok()
            .filter(|&length| length >= 0)
            .and_then(|length| end.checked_add(length))
            .ok_or_else(|| Error::corruption("the lengths of lists are malformed, or too large"))?;
        ends.push(end);
    }
    let ends = match nulls {
        Some(nulls) => spread_offsets(&ends, nulls),
        None => ends,
    };
    Ok((ends, end as usize))
}

/// The column of lists or maps that end there, with these items, or keys and values.
///
/// # Errors
/// `Corruption` if they do not fit each other.
pub(crate) fn lists(
    data_type: &DataType,
    ends: Vec<i32>,
    mut children: Vec<ArrayRef>,
    nulls: Option<NullBuffer>,
    budget: &mut Budget,
) -> Result<ArrayRef> {
    let rows = ends.len() - 1;
    if let DataType::Map(entries, sorted) = data_type {
        let items = children.first().map_or(0, |child| child.len());
        let of = structs(entries.data_type(), children, None, items)?.as_struct().clone();
        let made = MapArray::try_new(Arc::clone(entries), OffsetBuffer::new(ends.into()), of, nulls, *sorted);
        return made.map(|array| Arc::new(array) as ArrayRef).map_err(unfit);
    }
    let items = children.pop().ok_or_else(|| misfit(data_type))?;
    Ok(match data_type {
        DataType::List(item) => {
            let offsets = OffsetBuffer::new(ends.into());
            Arc::new(ListArray::try_new(Arc::clone(item), offsets, items, nulls).map_err(unfit)?)
        }
        DataType::LargeList(item) => {
            budget.take(ends.len(), 8)?;
            let ends: Vec<i64> = ends.into_iter().map(i64::from).collect();
            let offsets = OffsetBuffer::new(ends.into());
            Arc::new(LargeListArray::try_new(Arc::clone(item), offsets, items, nulls).map_err(unfit)?)
        }
        DataType::FixedSizeList(item, size) => {
            let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            if (0..rows).any(|row| !is_null(row) && ends[row + 1] - ends[row] != *size) {
                return Err(Error::corruption(format!(
                    "a list does not have the {size} items that all have"
                )));
            }
            let items = spread(
                items,
                usize::try_from(*size).unwrap_or_default(),
                nulls.as_ref(),
                budget,
            )?;
            Arc::new(FixedSizeListArray::try_new(Arc::clone(item), *size, items, nulls).map_err(unfit)?)
        }
        other => return Err(misfit(other)),
    })
}

/// The column with what `leaf` makes of everything inside that is not nested, which may have another type.
///
/// # Errors
/// Those of `leaf`; `Corruption` if the parts do not fit each other any more.
pub(crate) fn rebuilt(column: &ArrayRef, leaf: &mut dyn FnMut(&ArrayRef) -> Result<ArrayRef>) -> Result<ArrayRef> {
    fn renewed(field: &FieldRef, of: &ArrayRef) -> FieldRef {
        Arc::new(field.as_ref().clone().with_data_type(of.data_type().clone()))
    }
    let nulls = column.nulls().cloned();
    Ok(match column.data_type() {
        DataType::List(item) => {
            let lists = column.as_list::<i32>();
            let items = rebuilt(lists.values(), leaf)?;
            Arc::new(ListArray::try_new(renewed(item, &items), lists.offsets().clone(), items, nulls).map_err(unfit)?)
        }
        DataType::LargeList(item) => {
            let lists = column.as_list::<i64>();
            let items = rebuilt(lists.values(), leaf)?;
            let made = LargeListArray::try_new(renewed(item, &items), lists.offsets().clone(), items, nulls);
            Arc::new(made.map_err(unfit)?)
        }
        DataType::Map(field, sorted) => {
            let maps = column.as_map();
            let entries: ArrayRef = Arc::new(maps.entries().clone());
            let entries = rebuilt(&entries, leaf)?;
            let field = renewed(field, &entries);
            let entries = entries.as_struct().clone();
            let made = MapArray::try_new(field, maps.offsets().clone(), entries, nulls, *sorted);
            Arc::new(made.map_err(unfit)?)
        }
        DataType::FixedSizeList(item, size) => {
            let items = rebuilt(column.as_fixed_size_list().values(), leaf)?;
            Arc::new(FixedSizeListArray::try_new(renewed(item, &items), *size, items, nulls).map_err(unfit)?)
        }
        DataType::Struct(fields) => {
            let mut members = Vec::with_capacity(fields.len());
            for member in column.as_struct().columns() {
                members.push(rebuilt(member, leaf)?);
            }
            let fields: Vec<FieldRef> = fields
                .iter()
                .zip(&members)
                .map(|(field, of)| renewed(field, of))
                .collect();
            let made = StructArray::try_new_with_length(fields.into(), members, nulls, column.len());
            Arc::new(made.map_err(unfit)?)
        }
        _ => leaf(column)?,
    })
}

/// True if a type is a dictionary, or has one inside.
pub(crate) fn has_dictionaries(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(..) => true,
        DataType::List(inner)
        | DataType::LargeList(inner)
        | DataType::FixedSizeList(inner, _)
        | DataType::Map(inner, _) => has_dictionaries(inner.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_dictionaries(field.data_type())),
        _ => false,
    }
}

#[cold]
fn misfit(data_type: &DataType) -> Error {
    Error::corruption(format!("what should be {data_type} lacks its parts"))
}

fn unfit(error: ArrowError) -> Error {
    Error::corruption("the parts of a nested column do not fit each other").with_source(error)
}
