//! From encoded rows to columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray};
use arrow::datatypes::DataType;
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, Result};

use super::Target;

/// How many rows a batch may have so that the indexes of its dictionaries can count their values, whatever these are.
pub fn countable_rows(schema: &TableSchema) -> usize {
    let counted = |data_type: &DataType| match data_type {
        DataType::Dictionary(index, _) => match **index {
            DataType::Int8 => 1 << 7,
            DataType::UInt8 => 1 << 8,
            DataType::Int16 => 1 << 15,
            DataType::UInt16 => 1 << 16,
            _ => usize::MAX,
        },
        _ => usize::MAX,
    };
    let fields = schema.columns().fields().iter();
    fields
        .map(|field| counted(field.data_type()))
        .min()
        .unwrap_or(usize::MAX)
}

/// The target's own columns, in order, of rows given as user keys and values of whatever schemas; a null value (a delete)
/// becomes nulls.
///
/// # Errors
/// `Corruption` for bytes that the table's codecs do not write.
pub fn own_columns(target: &Target, keys: BinaryArray, values: BinaryArray) -> Result<Vec<ArrayRef>> {
    let schema = target.schema();
    if schema.is_key_value() {
        return Ok(vec![Arc::new(keys), Arc::new(values)]);
    }
    let key_columns = target.codecs().key.decode(&keys)?;
    let value_columns = target.decode(&values)?;
    let mut by_index: Vec<(usize, ArrayRef)> = schema.key().iter().map(|key| key.index).zip(key_columns).collect();
    by_index.extend(schema.value_columns().zip(value_columns));
    by_index.sort_by_key(|(index, _)| *index);
    Ok(by_index.into_iter().map(|(_, column)| column).collect())
}

/// As [`own_columns`]; only the columns with these indexes, in this order, if they are told.
///
/// # Errors
/// As [`own_columns`].
pub fn some_columns(
    target: &Target,
    keys: &BinaryArray,
    values: &BinaryArray,
    wanted: Option<&[usize]>,
) -> Result<Vec<ArrayRef>> {
    let Some(wanted) = wanted else {
        return own_columns(target, keys.clone(), values.clone());
    };
    if target.schema().is_key_value() {
        let own = own_columns(target, keys.clone(), values.clone())?;
        return Ok(wanted.iter().map(|&index| Arc::clone(&own[index])).collect());
    }
    let value_columns = target.decode_some(values, &|index| wanted.contains(&index))?;
    columns_of(target, keys, value_columns, wanted)
}

/// The columns with the indexes `wanted`, in this order, given user keys and those of the value columns that are among them.
///
/// # Errors
/// As [`own_columns`].
pub fn columns_of(
    target: &Target,
    keys: &BinaryArray,
    value_columns: Vec<Option<ArrayRef>>,
    wanted: &[usize],
) -> Result<Vec<ArrayRef>> {
    let schema = target.schema();
    let is_wanted = |place: usize| wanted.contains(&schema.key()[place].index);
    let key_columns = target.codecs().key.decode_some(keys, is_wanted)?;
    let places: Vec<usize> = schema.value_columns().collect();
    let column = |&index: &usize| {
        let key = schema.key().iter().position(|key| key.index == index);
        let value = || places.iter().position(|&place| place == index);
        match key {
            Some(key) => key_columns[key].clone(),
            None => value().and_then(|value| value_columns[value].clone()),
        }
        .ok_or_else(|| Error::corruption("a column of rows in memory was not decoded"))
    };
    wanted.iter().map(column).collect()
}
