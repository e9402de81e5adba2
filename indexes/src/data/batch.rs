//! Bringing a batch into the form of a buffer.

use kodiak_core::index::{Change, MAX_KEY, MAX_VALUE, Updates, Upsert};
use kodiak_core::varint::put_bytes;
use kodiak_core::{Error, ErrorKind, Result};

use super::block::Tag;
use super::buffer::Buffer;
use super::builder::Builder;
use super::merge::fold;
use super::operands::Operands;
use super::ranges::Ranges;
use kodiak_core::index::Displaced;

/// What the changes of one key that have been looked at come to.
enum Sum {
    /// Nothing: what is below counts.
    Nothing,
    /// A range delete.
    Bare,
    Put(Vec<u8>),
    Delete,
    Upserts(Operands),
}

/// Sorts a batch and leaves one change for each key. Values of the batch that its own later changes make dead are told.
///
/// # Errors
/// `InvalidInput` for what is too long, or upserts without operator.
pub(crate) fn to_buffer(
    updates: &Updates,
    upsert: Option<&dyn Upsert>,
    mut displaced: Option<Displaced<'_>>,
) -> Result<Buffer> {
    check(updates, upsert)?;
    let count = updates.point_count();
    let ascending = (1..count).all(|index| updates.key(index - 1) < updates.key(index));
    let mut points = Builder::new(b"", updates.bytes() + 8 * count);
    if ascending && updates.ranges().next().is_none() {
        let mut operands = Vec::new();
        for index in 0..count {
            let (key, change) = updates.point(index);
            match change {
                Change::Put(value) => points.push(Tag::Put, key, value),
                Change::Delete => points.push(Tag::Delete, key, b""),
                Change::Upsert(operand) => {
                    operands.clear();
                    put_bytes(&mut operands, operand);
                    points.push(Tag::Upserts, key, &operands);
                }
            }
        }
        return Ok(Buffer {
            ranges: Ranges::default(),
            points: points.finish(),
        });
    }
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&left, &right| updates.key(left).cmp(updates.key(right)));
    let mut ranges = Ranges::default();
    for (_, range) in updates.ranges() {
        ranges.add(&range.from, range.to.as_deref());
    }
    for group in order.chunk_by(|&left, &right| updates.key(left) == updates.key(right)) {
        let key = updates.key(group[0]);
        // Points before this number are deleted by a range.
        let cut = updates
            .ranges()
            .filter(|(_, range)| *range.from <= *key && super::ranges::before_end(key, range.to.as_deref()))
            .map(|(points, _)| points)
            .max();
        let mut sum = Sum::Nothing;
        let mut bare = false;
        for &index in group {
            if !bare && cut.is_some_and(|cut| index >= cut) {
                tell(&mut displaced, key, &sum);
                (sum, bare) = (Sum::Bare, true);
            }
            sum = add(sum, key, updates.point(index).1, upsert, &mut displaced)?;
        }
        if !bare && cut.is_some() {
            tell(&mut displaced, key, &sum);
            sum = Sum::Bare;
            bare = true;
        }
        match sum {
            Sum::Nothing | Sum::Bare => {}
            Sum::Put(value) => points.push(Tag::Put, key, &value),
            Sum::Delete if bare => {}
            Sum::Delete => points.push(Tag::Delete, key, b""),
            Sum::Upserts(operands) => points.push(Tag::Upserts, key, operands.as_slice()),
        }
    }
    Ok(Buffer {
        ranges,
        points: points.finish(),
    })
}

fn check(updates: &Updates, upsert: Option<&dyn Upsert>) -> Result<()> {
    let key = |key: &[u8]| {
        if key.len() <= MAX_KEY {
            return Ok(());
        }
        Err(Error::invalid_input(format!(
            "a key of {} bytes; an index takes at most {MAX_KEY}",
            key.len()
        )))
    };
    for (_, range) in updates.ranges() {
        key(&range.from)?;
        key(range.to.as_deref().unwrap_or_default())?;
    }
    for index in 0..updates.point_count() {
        let (name, change) = updates.point(index);
        key(name)?;
        let value = match change {
            Change::Put(value) => value,
            Change::Delete => &[],
            Change::Upsert(_) if upsert.is_none() => {
                let message = "an upsert, but the index was opened without an operator for them";
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
            Change::Upsert(operand) => operand,
        };
        if value.len() > MAX_VALUE {
            return Err(Error::invalid_input(format!(
                "a value of {} bytes; an index takes at most {MAX_VALUE}",
                value.len()
            )));
        }
    }
    Ok(())
}

fn tell(displaced: &mut Option<Displaced<'_>>, key: &[u8], sum: &Sum) {
    if let (Some(displaced), Sum::Put(value)) = (displaced, sum) {
        displaced(key, value);
    }
}

fn add(
    sum: Sum,
    key: &[u8],
    change: Change<'_>,
    upsert: Option<&dyn Upsert>,
    displaced: &mut Option<Displaced<'_>>,
) -> Result<Sum> {
    let operand = match change {
        Change::Put(value) => {
            tell(displaced, key, &sum);
            return Ok(Sum::Put(value.to_vec()));
        }
        Change::Delete => {
            tell(displaced, key, &sum);
            return Ok(Sum::Delete);
        }
        Change::Upsert(operand) => operand,
    };
    let newer = Operands::one(operand);
    let base = match sum {
        Sum::Nothing => return Ok(Sum::Upserts(newer)),
        Sum::Upserts(mut older) => {
            older.add(upsert, key, newer.as_slice())?;
            return Ok(Sum::Upserts(older));
        }
        Sum::Put(value) => Some(value),
        Sum::Bare | Sum::Delete => None,
    };
    Ok(match fold(upsert, key, base.as_deref(), newer.as_slice())? {
        Some(value) => Sum::Put(value),
        None => Sum::Delete,
    })
}
