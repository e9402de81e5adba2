//! Conditions on rows, checked against a schema, and which rows of a batch they are true of.

mod bounds;
mod prune;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, Scalar, new_null_array};
use arrow::compute::kernels::cmp;
use arrow::compute::kernels::comparison::starts_with;
use arrow::compute::{and_kleene, cast, is_null, not, or_kleene};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use kodiak_core::keycodec::ordered::{is_ordered, ordered_value};
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, Result};

use super::predicate::{Comparison, Literal, Node, Predicate};
use super::{Fitting, Target};

/// Conditions may be in each other so deep.
const DEPTH: usize = 1000;

/// A condition on the rows of a table.
#[derive(Debug)]
pub struct Filter {
    condition: Condition,
    /// The columns that it looks at, by their index in the schema.
    columns: Vec<usize>,
    target: Target,
}

#[derive(Debug)]
enum Condition {
    /// Columns by their place in [`Filter::columns`].
    Compare(usize, Comparison, Value),
    /// False if there are no values.
    In(usize, Vec<Value>),
    StartsWith(usize, Value),
    IsNull(usize),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
}

/// A value to compare with.
#[derive(Debug)]
struct Value {
    /// One value of the column's type, not packed in a dictionary.
    array: ArrayRef,
    /// As bytes that compare as the values do; `None` for a null.
    ordered: Option<Vec<u8>>,
}

impl Filter {
    /// Checks a condition against a schema.
    ///
    /// # Errors
    /// `InvalidInput` naming the column that is not there or has no order, or the value that is none of its type.
    pub fn new(predicate: &Predicate, target: &Target) -> Result<Self> {
        let mut columns = Vec::new();
        let condition = Binder {
            schema: target.schema(),
            columns: &mut columns,
        }
        .bind(predicate, 0)?;
        Ok(Self {
            condition,
            columns,
            target: target.clone(),
        })
    }

    /// The columns that it looks at, by their index in the schema.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Which rows it is true of; null where that is not known. `columns` are those of [`columns`](Self::columns), in their order.
    ///
    /// # Errors
    /// `InvalidInput` if Arrow cannot compare what it was given, which checked columns and values are not.
    pub fn evaluate(&self, columns: &[ArrayRef], rows: usize) -> Result<BooleanArray> {
        self.condition
            .evaluate(columns, rows)
            .map_err(|error| Error::invalid_input("the condition cannot be checked on these rows").with_source(error))
    }
}

struct Binder<'a> {
    schema: &'a TableSchema,
    columns: &'a mut Vec<usize>,
}

impl Binder<'_> {
    fn bind(&mut self, predicate: &Predicate, depth: usize) -> Result<Condition> {
        if depth > DEPTH {
            let message = format!("a condition has more than {DEPTH} levels: is_in takes many values at once");
            return Err(Error::invalid_input(message));
        }
        let depth = depth + 1;
        Ok(match &*predicate.0 {
            Node::Compare(name, comparison, literal) => {
                let (place, field) = self.column(name, true)?;
                Condition::Compare(place, *comparison, value(&field, literal)?)
            }
            Node::In(name, literals) => {
                let (place, field) = self.column(name, true)?;
                let values = literals.iter().map(|literal| value(&field, literal));
                Condition::In(place, values.collect::<Result<_>>()?)
            }
            Node::StartsWith(name, literal) => {
                let (place, field) = self.column(name, true)?;
                if !kodiak_core::keycodec::ordered::is_ordered_as_bytes(field.data_type()) {
                    return Err(Error::invalid_input(format!(
                        "column \"{name}\" is of type {}, which has no beginnings: text and binary do",
                        field.data_type()
                    )));
                }
                Condition::StartsWith(place, value(&field, literal)?)
            }
            Node::IsNull(name) => Condition::IsNull(self.column(name, false)?.0),
            Node::And(left, right) => Condition::And(self.boxed(left, depth)?, self.boxed(right, depth)?),
            Node::Or(left, right) => Condition::Or(self.boxed(left, depth)?, self.boxed(right, depth)?),
            Node::Not(inner) => Condition::Not(self.boxed(inner, depth)?),
        })
    }

    fn boxed(&mut self, predicate: &Predicate, depth: usize) -> Result<Box<Condition>> {
        self.bind(predicate, depth).map(Box::new)
    }

    /// The place of a column among those looked at, and what it is.
    fn column(&mut self, name: &str, compared: bool) -> Result<(usize, Field)> {
        let index = super::gather::index_of(self.schema.columns(), name)?;
        let field = self.schema.columns().field(index);
        if compared && !is_ordered(field.data_type()) {
            return Err(Error::invalid_input(format!(
                "column \"{name}\" is of type {}, whose values have no order: a condition can only ask whether it is null",
                field.data_type()
            )));
        }
        let known = self.columns.iter().position(|&column| column == index);
        let place = known.unwrap_or(self.columns.len());
        if known.is_none() {
            self.columns.push(index);
        }
        Ok((place, field.clone()))
    }
}

/// The values of a dictionary, of whatever depth.
fn unpacked(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => unpacked(values),
        other => other,
    }
}

/// A literal as a value of a column's type, exactly.
fn value(field: &Field, literal: &Literal) -> Result<Value> {
    if literal.value.len() != 1 {
        return Err(Error::invalid_input(format!(
            "column \"{}\" is compared with {} values, not with one",
            field.name(),
            literal.value.len()
        )));
    }
    if literal.value.logical_null_count() > 0 {
        return Ok(Value {
            array: new_null_array(unpacked(field.data_type()), 1),
            ordered: None,
        });
    }
    let own = Field::new(field.name(), unpacked(field.data_type()).clone(), true);
    let given = Schema::new(vec![Field::new(field.name(), literal.value.data_type().clone(), true)]);
    let one = RecordBatch::try_new(Arc::new(given), vec![Arc::clone(&literal.value)])
        .map_err(|error| Error::invalid_input("a value cannot be compared with").with_source(error))?;
    let fitting = Fitting::columns(Arc::new(Schema::new(vec![own]))).parsing();
    let unfit = |why: &str| {
        Error::invalid_input(format!(
            "column \"{}\" of type {} cannot be compared with {literal}: {why}",
            field.name(),
            field.data_type()
        ))
    };
    let (fitted, misfits) = fitting
        .fit(&one)
        .map_err(|error| unfit("its type is another").with_source(error))?;
    if let Some(misfit) = misfits.first() {
        return Err(unfit(&misfit.reason));
    }
    let array = Arc::clone(fitted.column(0));
    Ok(Value {
        ordered: ordered_value(&array, 0)?,
        array,
    })
}

impl Condition {
    fn evaluate(&self, columns: &[ArrayRef], rows: usize) -> Result<BooleanArray, ArrowError> {
        match self {
            Self::Compare(column, comparison, value) => compare(&columns[*column], *comparison, value),
            Self::In(column, values) => {
                let mut found = BooleanArray::from(vec![false; rows]);
                for value in values {
                    found = or_kleene(&found, &compare(&columns[*column], Comparison::Eq, value)?)?;
                }
                Ok(found)
            }
            Self::StartsWith(column, value) => {
                let values = comparable(&columns[*column], value)?;
                starts_with(&values, &Scalar::new(Arc::clone(&value.array)))
            }
            Self::IsNull(column) => is_null(&columns[*column]),
            Self::And(left, right) => and_kleene(&left.evaluate(columns, rows)?, &right.evaluate(columns, rows)?),
            Self::Or(left, right) => or_kleene(&left.evaluate(columns, rows)?, &right.evaluate(columns, rows)?),
            Self::Not(inner) => not(&inner.evaluate(columns, rows)?),
        }
    }
}

/// The column as Arrow compares it with the value: of the same type, or a dictionary of that type.
fn comparable(column: &ArrayRef, value: &Value) -> Result<ArrayRef, ArrowError> {
    let wanted = value.array.data_type();
    match column.data_type() {
        own if own == wanted => Ok(Arc::clone(column)),
        DataType::Dictionary(_, values) if values.as_ref() == wanted => Ok(Arc::clone(column)),
        _ => cast(column, wanted),
    }
}

fn compare(column: &ArrayRef, comparison: Comparison, value: &Value) -> Result<BooleanArray, ArrowError> {
    let column = comparable(column, value)?;
    let value = Scalar::new(Arc::clone(&value.array));
    match comparison {
        Comparison::Eq => cmp::eq(&column, &value),
        Comparison::Lt => cmp::lt(&column, &value),
        Comparison::Le => cmp::lt_eq(&column, &value),
        Comparison::Gt => cmp::gt(&column, &value),
        Comparison::Ge => cmp::gt_eq(&column, &value),
    }
}
