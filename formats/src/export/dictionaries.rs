//! One dictionary for each dictionary column of a file, nested or not: Arrow's files may add to a dictionary, but not replace it, and the blocks of
//! a table have dictionaries of their own.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, make_array, new_empty_array};
use arrow::compute::{CastOptions, cast_with_options, concat, take};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::row::{RowConverter, SortField};
use kodiak_core::{Error, Result};

use super::refused;
use crate::nest;

/// The dictionaries of a file so far, of each column in the order in which they are inside of it.
pub(super) struct Dictionaries(Vec<Vec<Growing>>);

/// A dictionary that only grows: values keep their places. It takes memory for each value that the file has.
struct Growing {
    name: String,
    data_type: DataType,
    converter: RowConverter,
    places: HashMap<Box<[u8]>, i64>,
    values: ArrayRef,
}

impl Dictionaries {
    /// No values yet.
    ///
    /// # Errors
    /// `InvalidInput` for values that cannot be compared.
    pub fn new(columns: &SchemaRef) -> Result<Self> {
        let of_column = |field: &FieldRef| {
            let mut growing = Vec::new();
            collect(field.name(), field.data_type(), &mut growing)?;
            Ok(growing)
        };
        columns.fields().iter().map(of_column).collect::<Result<_>>().map(Self)
    }

    /// The same rows with the file's dictionaries.
    ///
    /// # Errors
    /// `InvalidInput` naming a column that has more values than its index counts.
    pub fn unify(&mut self, rows: RecordBatch) -> Result<RecordBatch> {
        if self.0.iter().all(Vec::is_empty) {
            return Ok(rows);
        }
        let columns = rows.columns().iter().zip(&mut self.0);
        let columns = columns.map(|(column, growing)| {
            if growing.is_empty() {
                return Ok(Arc::clone(column));
            }
            let mut growing = growing.iter_mut();
            nest::rebuilt(column, &mut |leaf| match leaf.data_type() {
                DataType::Dictionary(..) => match growing.next() {
                    Some(growing) => growing.unify(leaf),
                    None => Err(Error::invalid_input("a column has more dictionaries than its type")),
                },
                _ => Ok(Arc::clone(leaf)),
            })
        });
        RecordBatch::try_new(rows.schema(), columns.collect::<Result<_>>()?).map_err(refused)
    }
}

/// Appends the dictionaries inside of a type, in the order in which [`nest::rebuilt`] comes by them.
fn collect(name: &str, of: &DataType, out: &mut Vec<Growing>) -> Result<()> {
    match of {
        DataType::Dictionary(_, values) => out.push(Growing {
            name: name.to_owned(),
            data_type: of.clone(),
            converter: RowConverter::new(vec![SortField::new(values.as_ref().clone())]).map_err(refused)?,
            places: HashMap::new(),
            values: new_empty_array(values),
        }),
        DataType::List(inner)
        | DataType::LargeList(inner)
        | DataType::FixedSizeList(inner, _)
        | DataType::Map(inner, _) => collect(name, inner.data_type(), out)?,
        DataType::Struct(fields) => {
            for field in fields {
                collect(name, field.data_type(), out)?;
            }
        }
        _ => {}
    }
    Ok(())
}

impl Growing {
    fn unify(&mut self, column: &ArrayRef) -> Result<ArrayRef> {
        let DataType::Dictionary(index, _) = &self.data_type else {
            return Ok(Arc::clone(column));
        };
        let dictionary = column.as_any_dictionary();
        let nulls = column.logical_nulls();
        let null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        let mut wanted: Vec<Option<i64>> = vec![None; column.len()];
        if !dictionary.values().is_empty() {
            let found = self.converter.convert_columns(&[Arc::clone(dictionary.values())]);
            let found = found.map_err(refused)?;
            // Where each value of the block's dictionary is in the file's, once a row has it.
            let mut known: Vec<Option<i64>> = vec![None; found.num_rows()];
            let mut new = Vec::new();
            for (row, value) in dictionary.normalized_keys().into_iter().enumerate() {
                if null(row) {
                    continue;
                }
                wanted[row] = known[value].or_else(|| {
                    let next = self.places.len() as i64;
                    let place = *self.places.entry(found.row(value).as_ref().into()).or_insert(next);
                    if place == next {
                        new.push(value as u32);
                    }
                    known[value] = Some(place);
                    known[value]
                });
            }
            if !new.is_empty() {
                let new = take(dictionary.values(), &UInt32Array::from(new), None).map_err(refused)?;
                self.values = concat(&[&self.values, &new]).map_err(refused)?;
            }
        }
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let keys = cast_with_options(&Int64Array::from(wanted), index, &strict).map_err(|error| {
            Error::invalid_input(format!(
                "column \"{}\" has more values than the index of a dictionary of type {} counts, and a Feather file has one \
                 dictionary for all its rows: use another format",
                self.name, self.data_type
            ))
            .with_source(error)
        })?;
        let made = keys
            .to_data()
            .into_builder()
            .data_type(self.data_type.clone())
            .add_child_data(self.values.to_data());
        made.build().map(make_array).map_err(refused)
    }
}
