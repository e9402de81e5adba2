//! Values of nothing but nulls inside of lists, structs and maps: they can be of any type.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, make_array, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow::error::ArrowError;

use super::Fitting;

impl Fitting {
    /// The type that a table takes for columns of this one: text for what is nothing but nulls, which no format stores.
    pub fn storable(of: &DataType) -> DataType {
        if *of == DataType::Null {
            return DataType::Utf8;
        }
        let field = |field: &FieldRef| {
            let of = Self::storable(field.data_type());
            Arc::new(field.as_ref().clone().with_data_type(of))
        };
        with_inside(of, inside(of).iter().map(field).collect())
    }
}

/// A column in which what is nothing but nulls has the type that it has in `to`.
///
/// # Errors
/// Those of Arrow.
pub(super) fn with_types(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let from = column.data_type();
    if *from == DataType::Null {
        return Ok(new_null_array(to, column.len()));
    }
    if !has_null(from) || inside(from).len() != inside(to).len() {
        return Ok(Arc::clone(column));
    }
    let data = column.to_data();
    let children = data.child_data().iter().zip(inside(to));
    let children = children
        .map(|(child, to)| with_types(&make_array(child.clone()), to.data_type()))
        .collect::<Result<Vec<_>, _>>()?;
    let fields = inside(from).iter().zip(&children).map(|(field, child)| {
        let nullable = field.is_nullable() || child.null_count() > 0;
        Arc::new(Field::new(field.name(), child.data_type().clone(), nullable))
    });
    let of = with_inside(from, fields.collect());
    let data = data.into_builder().data_type(of);
    let data = data.child_data(children.iter().map(|child| child.to_data()).collect());
    Ok(make_array(data.build()?))
}

fn has_null(of: &DataType) -> bool {
    *of == DataType::Null || inside(of).iter().any(|field| has_null(field.data_type()))
}

/// The columns inside of a type.
fn inside(of: &DataType) -> &[FieldRef] {
    match of {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => std::slice::from_ref(item),
        DataType::Struct(fields) => fields,
        _ => &[],
    }
}

/// A type with these columns inside of it in the place of its own, which are as many.
fn with_inside(of: &DataType, fields: Vec<FieldRef>) -> DataType {
    match (of, fields.first()) {
        (DataType::List(_), Some(item)) => DataType::List(Arc::clone(item)),
        (DataType::LargeList(_), Some(item)) => DataType::LargeList(Arc::clone(item)),
        (DataType::FixedSizeList(_, length), Some(item)) => DataType::FixedSizeList(Arc::clone(item), *length),
        (DataType::Map(_, sorted), Some(entries)) => DataType::Map(Arc::clone(entries), *sorted),
        (DataType::Struct(_), _) => DataType::Struct(Fields::from(fields)),
        (other, _) => other.clone(),
    }
}
