//! Lists, structs and maps of texts, whose values become others one by one.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, GenericListArray, LargeListArray, ListArray, MapArray,
    OffsetSizeTrait, StructArray, UInt64Array, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{filter, take};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use kodiak_core::{Error, Result};

use super::{Fitting, Misfit};

impl Fitting {
    /// The values of a nested column as those of another; those of rows that are misfits can be any.
    pub(super) fn convert_nested(
        &self,
        field: &Field,
        column: &ArrayRef,
        misfits: &mut Vec<Misfit>,
    ) -> Result<ArrayRef> {
        let before = misfits.len();
        if let Some(converted) = self.nested(field, column, misfits)? {
            return Ok(converted);
        }
        // Nothing can hold what does not fit: the others are converted, and one of them stands in for it.
        let mut fits = vec![true; column.len()];
        misfits[before..].iter().for_each(|misfit| fits[misfit.row] = false);
        let failed = |error| unfit(field, error);
        let left = filter(column, &BooleanArray::from(fits.clone())).map_err(failed)?;
        if left.is_empty() {
            return Ok(new_null_array(field.data_type(), column.len()));
        }
        let Some(converted) = self.nested(field, &left, &mut Vec::new())? else {
            let message = format!("column \"{}\" cannot become {}", field.name(), field.data_type());
            return Err(Error::invalid_input(message));
        };
        let mut next = 0;
        let places = fits.iter().map(|fits| {
            let place = next.min(left.len() as u64 - 1);
            next += u64::from(*fits);
            place
        });
        take(&converted, &UInt64Array::from_iter_values(places), None).map_err(failed)
    }

    /// `None` if there are misfits.
    fn nested(&self, field: &Field, column: &ArrayRef, misfits: &mut Vec<Misfit>) -> Result<Option<ArrayRef>> {
        let failed = |error| unfit(field, error);
        let nulls = column.nulls().cloned();
        let before = misfits.len();
        let converted: Result<ArrayRef, ArrowError> = match (column.data_type(), field.data_type()) {
            (DataType::List(_), to) => {
                let list = column.as_list::<i32>();
                let Some(values) = self.items(field, to, list, misfits)? else {
                    return Ok(None);
                };
                rebuilt(list, to, values)
            }
            (DataType::LargeList(_), to) => {
                let list = column.as_list::<i64>();
                let Some(values) = self.items(field, to, list, misfits)? else {
                    return Ok(None);
                };
                rebuilt(list, to, values)
            }
            (DataType::Struct(_), DataType::Struct(members)) => {
                let own = column.as_struct();
                let mut columns = Vec::with_capacity(members.len());
                for (member, column) in members.iter().zip(own.columns()) {
                    let row = |row| own.is_valid(row).then_some(row);
                    let path = format!("{}.{}", field.name(), member.name());
                    columns.push(self.inside(path, member, column, row, misfits)?);
                }
                if misfits.len() > before {
                    return Ok(None);
                }
                let columns = columns.into_iter().flatten().collect();
                StructArray::try_new_with_length(members.clone(), columns, nulls, own.len())
                    .map(|array| Arc::new(array) as _)
            }
            (DataType::Map(..), DataType::Map(entries, sorted)) => {
                let map = column.as_map();
                let DataType::Struct(members) = entries.data_type() else {
                    return Ok(None);
                };
                let row = |item| row_of(map.value_offsets(), nulls.as_ref(), item);
                let (key, value) = (&members[0], &members[1]);
                let keys = self.inside(format!("{}{{}}", field.name()), key, map.keys(), row, misfits)?;
                let values = self.inside(format!("{}{{}}", field.name()), value, map.values(), row, misfits)?;
                let (Some(keys), Some(values)) = (keys, values) else {
                    return Ok(None);
                };
                StructArray::try_new(members.clone(), vec![keys, values], None)
                    .and_then(|of| MapArray::try_new(Arc::clone(entries), map.offsets().clone(), of, nulls, *sorted))
                    .map(|array| Arc::new(array) as _)
            }
            (from, to) => Err(ArrowError::CastError(format!("{from} is no {to}"))),
        };
        converted.map(Some).map_err(failed)
    }

    /// The values of lists, or `None` if there are misfits among them.
    fn items<O: OffsetSizeTrait>(
        &self,
        field: &Field,
        to: &DataType,
        list: &GenericListArray<O>,
        misfits: &mut Vec<Misfit>,
    ) -> Result<Option<ArrayRef>> {
        let before = misfits.len();
        let item = match to {
            DataType::List(item) | DataType::LargeList(item) => item,
            DataType::FixedSizeList(item, length) => {
                for row in (0..list.len()).filter(|&row| list.is_valid(row)) {
                    let found = list.value_length(row).as_usize();
                    if found != *length as usize {
                        misfits.push(Misfit {
                            row,
                            column: field.name().clone(),
                            reason: format!("a list of {found} values where the type has {length}"),
                        });
                    }
                }
                item
            }
            _ => {
                let message = format!("column \"{}\" is a list, and cannot become {to}", field.name());
                return Err(Error::invalid_input(message));
            }
        };
        let row = |item| row_of(list.value_offsets(), list.nulls(), item);
        let values = self.inside(format!("{}[]", field.name()), item, list.values(), row, misfits)?;
        Ok(values.filter(|_| misfits.len() == before))
    }

    /// The values inside of a column as those that `to` has, where `row` tells the row of the column that one of them is in, if
    /// any. `None` if there are misfits.
    fn inside(
        &self,
        path: String,
        to: &FieldRef,
        values: &ArrayRef,
        row: impl Fn(usize) -> Option<usize>,
        misfits: &mut Vec<Misfit>,
    ) -> Result<Option<ArrayRef>> {
        let mut found = Vec::new();
        let field = to.as_ref().clone().with_name(path);
        let converted = match values.data_type().is_nested() {
            true => {
                self.required(&field, values, &mut found);
                self.nested(&field, values, &mut found)?
            }
            false => Some(self.convert(&field, values, &mut found)?),
        };
        let before = misfits.len();
        misfits.extend(found.into_iter().filter_map(|misfit| {
            let row = row(misfit.row)?;
            Some(Misfit { row, ..misfit })
        }));
        Ok(converted.filter(|_| misfits.len() == before))
    }
}

/// The row of which a value is an item.
fn row_of<O: OffsetSizeTrait>(offsets: &[O], nulls: Option<&NullBuffer>, item: usize) -> Option<usize> {
    let behind = offsets.partition_point(|offset| offset.as_usize() <= item);
    let row = behind.checked_sub(1).filter(|row| row + 1 < offsets.len())?;
    nulls.is_none_or(|nulls| nulls.is_valid(row)).then_some(row)
}

/// Lists of these values, in rows as they were.
fn rebuilt<O: OffsetSizeTrait>(
    list: &GenericListArray<O>,
    to: &DataType,
    values: ArrayRef,
) -> Result<ArrayRef, ArrowError> {
    let nulls = list.nulls().cloned();
    match to {
        DataType::FixedSizeList(item, length) => {
            // A list that is missing has values, too.
            let places = (0..list.len()).flat_map(|row| {
                let first = list.value_offsets()[row].as_usize() as u64;
                let valid = list.is_valid(row);
                (0..*length as u64).map(move |item| valid.then_some(first + item))
            });
            let values = take(&values, &places.collect::<UInt64Array>(), None)?;
            let array = FixedSizeListArray::try_new(Arc::clone(item), *length, values, nulls)?;
            Ok(Arc::new(array))
        }
        DataType::List(item) if !O::IS_LARGE => {
            let offsets = list.offsets().iter().map(|offset| offset.as_usize() as i32);
            let offsets = arrow::buffer::OffsetBuffer::new(offsets.collect());
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, nulls)?))
        }
        DataType::LargeList(item) => {
            let offsets = list.offsets().iter().map(|offset| offset.as_usize() as i64);
            let offsets = arrow::buffer::OffsetBuffer::new(offsets.collect());
            Ok(Arc::new(LargeListArray::try_new(
                Arc::clone(item),
                offsets,
                values,
                nulls,
            )?))
        }
        other => Err(ArrowError::CastError(format!("a list is no {other}"))),
    }
}

fn unfit(field: &Field, error: ArrowError) -> Error {
    let message = format!("column \"{}\" cannot become {}", field.name(), field.data_type());
    Error::invalid_input(message).with_source(error)
}
