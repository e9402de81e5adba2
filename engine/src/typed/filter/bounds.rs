//! The range of keys to which a condition narrows a read.

use std::ops::Bound as End;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use kodiak_core::block::Codecs;
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, Result};

use super::{Comparison, Condition, Filter, Value};
use crate::read::ScanBounds;
use crate::typed::keys;

impl Filter {
    /// A range of user keys outside of which no row passes.
    ///
    /// # Errors
    /// Those of encoding keys.
    pub fn key_bounds(&self) -> Result<ScanBounds> {
        let schema = self.target.schema();
        if schema.is_key_value() {
            return Ok(ScanBounds::default());
        }
        let mut all = Vec::new();
        self.condition.conjuncts(&mut all);
        let mut equal: Vec<(usize, &ArrayRef)> = Vec::new();
        for key in schema.key() {
            let place = self.columns.iter().position(|&column| column == key.index);
            let mine = |condition: &&&Condition| place.is_some_and(|place| condition.is_about(place));
            let same = all.iter().filter(mine).find_map(|condition| match condition {
                Condition::Compare(_, Comparison::Eq, value) if value.ordered.is_some() => Some(&value.array),
                _ => None,
            });
            if let Some(value) = same {
                equal.push((key.index, value));
                continue;
            }
            let range = all.iter().filter(mine).filter_map(|condition| condition.range());
            return bounds(schema, self.target.codecs(), &equal, key.index, range, key.descending);
        }
        bounds(schema, self.target.codecs(), &equal, 0, std::iter::empty(), false)
    }
}

/// The user keys with these values in the first columns, whose next one is within `ranges` (ascending by value).
fn bounds<'a>(
    schema: &TableSchema,
    codecs: &Codecs,
    equal: &[(usize, &ArrayRef)],
    next: usize,
    ranges: impl Iterator<Item = (End<&'a Value>, End<&'a Value>)>,
    descending: bool,
) -> Result<ScanBounds> {
    let (mut low, mut high): (End<&Value>, End<&Value>) = (End::Unbounded, End::Unbounded);
    for (from, to) in ranges {
        if value_of(from).is_some_and(|from| value_of(low).is_none_or(|low| from.ordered > low.ordered)) {
            low = from;
        }
        if value_of(to).is_some_and(|to| value_of(high).is_none_or(|high| to.ordered < high.ordered)) {
            high = to;
        }
    }
    if descending {
        std::mem::swap(&mut low, &mut high);
    }
    let row = |last: Option<&Value>| -> Result<Option<RecordBatch>> {
        let last = last.map(|value| (next, &value.array));
        let columns: Vec<(usize, &ArrayRef)> = equal.iter().copied().chain(last).collect();
        if columns.is_empty() {
            return Ok(None);
        }
        let packed = columns.iter().map(|(index, value)| {
            let field = schema.columns().field(*index);
            let wrong = |error| Error::invalid_input("a value cannot be a key").with_source(error);
            Ok((field.name(), cast(value, field.data_type()).map_err(wrong)?))
        });
        let packed = packed.collect::<Result<Vec<_>>>()?;
        RecordBatch::try_from_iter(packed)
            .map(Some)
            .map_err(|error| Error::invalid_input("values cannot be a key").with_source(error))
    };
    // Both ends are told inclusively: what is at an end is looked at anyway.
    let end = |value: Option<&Value>| row(value).map(|row| row.map_or(End::Unbounded, End::Included));
    let (from, to) = (end(value_of(low))?, end(value_of(high))?);
    keys::bounds(schema, codecs, &(from.as_ref(), to.as_ref()))
}

fn value_of(end: End<&Value>) -> Option<&Value> {
    match end {
        End::Included(value) | End::Excluded(value) => Some(value),
        End::Unbounded => None,
    }
}

impl Condition {
    /// The conditions that must all be true, on the top level.
    fn conjuncts<'a>(&'a self, all: &mut Vec<&'a Self>) {
        match self {
            Self::And(left, right) => {
                left.conjuncts(all);
                right.conjuncts(all);
            }
            other => all.push(other),
        }
    }

    fn is_about(&self, place: usize) -> bool {
        match self {
            Self::Compare(column, ..) | Self::In(column, _) | Self::StartsWith(column, _) => *column == place,
            _ => false,
        }
    }

    /// The values between which it can be true. Of a beginning only the lower end is told: keys of descending columns have no
    /// simple upper one.
    fn range(&self) -> Option<(End<&Value>, End<&Value>)> {
        match self {
            Self::Compare(_, comparison, value) if value.ordered.is_some() => Some(match comparison {
                Comparison::Eq => (End::Included(value), End::Included(value)),
                Comparison::Lt | Comparison::Le => (End::Unbounded, End::Included(value)),
                Comparison::Gt | Comparison::Ge => (End::Included(value), End::Unbounded),
            }),
            Self::StartsWith(_, value) if value.ordered.is_some() => Some((End::Included(value), End::Unbounded)),
            Self::In(_, values) => {
                let known = || values.iter().filter(|value| value.ordered.is_some());
                let low = known().min_by(|left, right| left.ordered.cmp(&right.ordered))?;
                let high = known().max_by(|left, right| left.ordered.cmp(&right.ordered))?;
                Some((End::Included(low), End::Included(high)))
            }
            _ => None,
        }
    }
}
