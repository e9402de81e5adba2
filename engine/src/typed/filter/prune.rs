//! Which blocks of a run hold no row that passes, by what their statistics say.

use arrow::array::{Array, BinaryArray, UInt32Array};
use arrow::compute::take;
use kodiak_core::entry::prefix_end;
use kodiak_core::keycodec::ordered::{Bounds, from_ordered, is_ordered_as_bytes, ordered_value};
use kodiak_core::schema::widens;
use kodiak_core::{Error, Result};

use super::{Comparison, Condition, Filter, Value};
use crate::sidecar::Statistics;
use crate::typed::SchemaVersion;

/// What a condition may come to, one bit each; more than it does come to is no mistake, less is.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const NULL: u8 = 4;
const ANY: u8 = TRUE | FALSE | NULL;

/// The bounds of the values in a block.
type Range = (Vec<u8>, Vec<u8>);

/// What is known of one column in a block.
#[derive(Debug, Clone)]
enum Known {
    Nothing,
    /// Some rows are null.
    Nulls,
    /// Rows are null, and none has a value.
    OnlyNulls,
    /// Values are within the bounds; if `true`, some rows may be null.
    Within(Vec<u8>, Vec<u8>, bool),
}

impl Filter {
    /// For each block of a run of schema `source`, which has `rows` rows by block, whether the condition is true of none of
    /// its rows: of no version of any key, visible or not.
    ///
    /// # Errors
    /// `Corruption` if the statistics cannot be read.
    pub fn excluded(&self, statistics: &Statistics, source: &SchemaVersion, rows: &[u32]) -> Result<Vec<bool>> {
        if statistics.blocks() != rows.len() {
            return Err(Error::corruption(
                "the sidecar has statistics of another number of blocks",
            ));
        }
        let columns = self
            .columns
            .iter()
            .map(|&index| self.known(index, statistics, source, rows));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let excluded = |block: usize| self.condition.outcomes(&|column| &columns[column][block]) & TRUE == 0;
        Ok((0..rows.len()).map(excluded).collect())
    }

    /// What is known of a column of the target in each block.
    fn known(&self, index: usize, statistics: &Statistics, source: &SchemaVersion, rows: &[u32]) -> Result<Vec<Known>> {
        let schema = self.target.schema();
        let Some(own) = source.schema.index_of_number(schema.column_number(index)) else {
            let initial = schema
                .initial(index)?
                .map(|value| ordered_value(&value, 0))
                .transpose()?;
            // Where the default is not null, rows of deletes are.
            let known = match initial.flatten() {
                Some(value) => Known::Within(value.clone(), value, true),
                None => Known::OnlyNulls,
            };
            return Ok(vec![known; rows.len()]);
        };
        let Some(bounds) = statistics.column(own)? else {
            return Ok(vec![Known::Nothing; rows.len()]);
        };
        let (from, to) = (
            source.schema.columns().field(own).data_type(),
            schema.columns().field(index).data_type(),
        );
        let ranges: Vec<Option<Range>> = if from == to || is_ordered_as_bytes(from) && is_ordered_as_bytes(to) {
            bounds.iter().map(|bounds| bounds.range.clone()).collect()
        } else if widens(from, to) {
            widened(from, to, &bounds)?
        } else {
            return Ok(vec![Known::Nothing; rows.len()]);
        };
        let known = |bounds: &Bounds, range: Option<Range>, rows: u32| match range {
            Some((low, high)) => Known::Within(low, high, bounds.nulls > 0),
            None if bounds.nulls >= rows => Known::OnlyNulls,
            None if bounds.nulls > 0 => Known::Nulls,
            None => Known::Nothing,
        };
        let all = bounds.iter().zip(ranges).zip(rows);
        Ok(all.map(|((bounds, range), &rows)| known(bounds, range, rows)).collect())
    }
}

/// Bounds of a column as those of its wider type.
fn widened(
    from: &arrow::datatypes::DataType,
    to: &arrow::datatypes::DataType,
    bounds: &[Bounds],
) -> Result<Vec<Option<Range>>> {
    let ends = bounds.iter().filter_map(|bounds| bounds.range.as_ref());
    let encoded = BinaryArray::from_iter_values(ends.flat_map(|(low, high)| [low, high]));
    if encoded.is_empty() {
        return Ok(vec![None; bounds.len()]);
    }
    let wrong = |error| Error::corruption("bounds of a block cannot be widened").with_source(error);
    let values = arrow::compute::cast(&from_ordered(from, &encoded)?, to).map_err(wrong)?;
    let mut next = 0;
    let mut end = || -> Result<Vec<u8>> {
        let one = take(&values, &UInt32Array::from(vec![next]), None).map_err(wrong)?;
        next += 1;
        ordered_value(&one, 0)?.ok_or_else(|| Error::corruption("a bound of a block is null once widened"))
    };
    let mut both = |bounds: &Bounds| bounds.range.as_ref().map(|_| Ok((end()?, end()?))).transpose();
    bounds.iter().map(&mut both).collect()
}

impl Condition {
    fn outcomes<'a>(&self, known: &impl Fn(usize) -> &'a Known) -> u8 {
        match self {
            Self::Compare(column, comparison, value) => compared(known(*column), *comparison, value),
            Self::In(column, values) => {
                let each = values
                    .iter()
                    .map(|value| compared(known(*column), Comparison::Eq, value));
                each.fold(FALSE, or)
            }
            Self::StartsWith(column, value) => begins(known(*column), value),
            Self::IsNull(column) => match known(*column) {
                Known::Nothing | Known::Nulls | Known::Within(_, _, true) => TRUE | FALSE,
                Known::OnlyNulls => TRUE,
                Known::Within(_, _, false) => FALSE,
            },
            Self::And(left, right) => not(or(not(left.outcomes(known)), not(right.outcomes(known)))),
            Self::Or(left, right) => or(left.outcomes(known), right.outcomes(known)),
            Self::Not(inner) => not(inner.outcomes(known)),
        }
    }
}

fn not(outcomes: u8) -> u8 {
    let mut turned = outcomes & NULL;
    if outcomes & TRUE != 0 {
        turned |= FALSE;
    }
    if outcomes & FALSE != 0 {
        turned |= TRUE;
    }
    turned
}

/// Whatever each pair of outcomes comes to.
fn or(left: u8, right: u8) -> u8 {
    let mut joined = (left | right) & TRUE;
    joined |= left & right & FALSE;
    // Null unless the other one is true.
    if left & NULL != 0 && right & (FALSE | NULL) != 0 || right & NULL != 0 && left & (FALSE | NULL) != 0 {
        joined |= NULL;
    }
    joined
}

fn outcomes(may_be: bool, may_not_be: bool, may_be_null: bool) -> u8 {
    [(may_be, TRUE), (may_not_be, FALSE), (may_be_null, NULL)]
        .iter()
        .fold(
            0,
            |all, &(possible, outcome)| if possible { all | outcome } else { all },
        )
}

fn compared(known: &Known, comparison: Comparison, value: &Value) -> u8 {
    let Some(value) = &value.ordered else { return NULL };
    let (low, high, nulls) = match known {
        Known::Nothing | Known::Nulls => return ANY,
        Known::OnlyNulls => return NULL,
        Known::Within(low, high, nulls) => (low, high, *nulls),
    };
    let outcomes = |may_be, may_not_be| outcomes(may_be, may_not_be, nulls);
    match comparison {
        Comparison::Eq => outcomes(low <= value && value <= high, low != value || high != value),
        Comparison::Lt => outcomes(low < value, high >= value),
        Comparison::Le => outcomes(low <= value, high > value),
        Comparison::Gt => outcomes(high > value, low <= value),
        Comparison::Ge => outcomes(high >= value, low < value),
    }
}

fn begins(known: &Known, value: &Value) -> u8 {
    let Some(value) = &value.ordered else { return NULL };
    let (low, high, nulls) = match known {
        Known::Nothing | Known::Nulls => return ANY,
        Known::OnlyNulls => return NULL,
        Known::Within(low, high, nulls) => (low, high, *nulls),
    };
    let may = high >= value && prefix_end(value).is_none_or(|end| *low < end);
    let must = low.starts_with(value) && high.starts_with(value);
    outcomes(may, !must, nulls)
}
