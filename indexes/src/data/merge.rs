//! Putting newer changes over older entries: those of a leaf, or those waiting in a buffer.

use std::borrow::Cow;

use kodiak_core::index::{Displaced, MAX_VALUE, Upsert};
use kodiak_core::varint::Reader;
use kodiak_core::{Error, ErrorKind, Result};

use super::block::{Block, Entry, Tag};
use super::buffer::{Buffer, Changes};
use super::builder::Builder;
use super::operands::Operands;
use super::ranges::{Bounds, Ranges};

/// What a merge needs to know besides the entries.
pub(crate) struct Rules<'a> {
    pub upsert: Option<&'a dyn Upsert>,
    pub displaced: Option<Displaced<'a>>,
}

impl Rules<'_> {
    pub(crate) fn displaced(&mut self, key: &[u8], entry: Entry<'_>) {
        if let Some(displaced) = &mut self.displaced
            && entry.tag == Tag::Put
        {
            displaced(key, entry.value);
        }
    }
}

/// Applies operands, oldest first, to a value.
///
/// # Errors
/// `InvalidSettings` without an operator; `InvalidInput` if it makes a value that is too long.
pub(crate) fn fold(
    upsert: Option<&dyn Upsert>,
    key: &[u8],
    base: Option<&[u8]>,
    operands: &[u8],
) -> Result<Option<Vec<u8>>> {
    let Some(upsert) = upsert else {
        let message = "the index holds upserts: open it with the operator that it was made with";
        return Err(Error::new(ErrorKind::InvalidSettings, message));
    };
    let mut value = base.map(<[u8]>::to_vec);
    let mut reader = Reader::new(operands);
    while !reader.is_empty() {
        value = upsert.apply(key, value.as_deref(), reader.bytes()?);
        if value.as_ref().is_some_and(|value| value.len() > MAX_VALUE) {
            return Err(Error::invalid_input(format!(
                "the upsert operator {} made a value of more than {MAX_VALUE} bytes",
                upsert.name()
            )));
        }
    }
    Ok(value)
}

/// Puts changes over the entries of a leaf.
pub(crate) fn into_leaf(
    rules: &mut Rules<'_>,
    older: &Block,
    newer: &Changes<'_>,
    bounds: Bounds<'_>,
) -> Result<Builder> {
    let none = Ranges::default();
    let mut out = Builder::new(bounds.prefix(), older.body_len() + newer.bytes());
    merge(rules, older, &none, newer, true, &mut out)?;
    Ok(out)
}

/// Puts changes over those of a buffer.
pub(crate) fn into_buffer(
    rules: &mut Rules<'_>,
    older: &Buffer,
    newer: &Changes<'_>,
    bounds: Bounds<'_>,
) -> Result<Buffer> {
    let mut out = Builder::new(bounds.prefix(), older.points.body_len() + newer.bytes());
    merge(rules, &older.points, &older.ranges, newer, false, &mut out)?;
    let mut ranges = older.ranges.clone();
    ranges.union(newer.ranges);
    Ok(Buffer {
        ranges,
        points: out.finish(),
    })
}

/// Copies older entries in stretches, without those that range deletes take away.
struct Older<'a> {
    block: &'a Block,
    next: usize,
    /// Stretches that are gone, in order.
    gone: Vec<(usize, usize)>,
    key: Vec<u8>,
}

impl Older<'_> {
    /// Copies everything before entry `to`.
    fn copy_to(&mut self, to: usize, rules: &mut Rules<'_>, out: &mut Builder) {
        while let Some(&(start, end)) = self.gone.first()
            && start < to
        {
            let start = start.max(self.next);
            out.extend(self.block, self.next..start);
            let stop = end.min(to);
            if rules.displaced.is_some() {
                for index in start..stop {
                    self.block.key_into(index, &mut self.key);
                    rules.displaced(&self.key, self.block.entry(index));
                }
            }
            self.next = stop.max(start);
            if end > to {
                return;
            }
            self.gone.remove(0);
        }
        if self.next < to {
            out.extend(self.block, self.next..to);
            self.next = to;
        }
    }
}

fn merge(
    rules: &mut Rules<'_>,
    older: &Block,
    older_ranges: &Ranges,
    newer: &Changes<'_>,
    leaf: bool,
    out: &mut Builder,
) -> Result<()> {
    let gone = newer.ranges.iter().filter_map(|(from, to)| {
        let stretch = (
            older.lower_bound(from),
            to.map_or(older.len(), |to| older.lower_bound(to)),
        );
        (stretch.0 < stretch.1).then_some(stretch)
    });
    let mut old = Older {
        gone: gone.collect(),
        block: older,
        next: 0,
        key: Vec::new(),
    };
    let mut key = Vec::new();
    for index in newer.range.clone() {
        newer.points.key_into(index, &mut key);
        let change = newer.points.entry(index);
        let at = older.lower_bound_from(old.next, &key);
        old.copy_to(at, rules, out);
        let covered = !newer.ranges.is_empty() && newer.ranges.covers(&key);
        let mut below = None;
        if at < older.len() && older.key_is(at, &key) {
            let entry = older.entry(at);
            if covered || change.tag != Tag::Upserts {
                rules.displaced(&key, entry);
            }
            below = (!covered).then_some(entry);
            old.next = at + 1;
        }
        let bare = leaf || covered || (!older_ranges.is_empty() && older_ranges.covers(&key));
        put_over(rules, &key, below, change, bare, out)?;
    }
    old.copy_to(older.len(), rules, out);
    Ok(())
}

/// Writes what a change makes of the entry below it. `bare`: nothing further below can hold the key.
fn put_over(
    rules: &Rules<'_>,
    key: &[u8],
    below: Option<Entry<'_>>,
    change: Entry<'_>,
    bare: bool,
    out: &mut Builder,
) -> Result<()> {
    let below = below.map(|entry| (entry.tag, entry.value));
    if let Some((tag, value)) = resolve(rules, key, below, (change.tag, change.value), bare)? {
        out.push(tag, key, &value);
    }
    Ok(())
}

/// What a change makes of the entry below it; `None` if nothing is left to be said. `bare`: nothing further below can hold the
/// key.
pub(crate) fn resolve<'a>(
    rules: &Rules<'_>,
    key: &[u8],
    below: Option<(Tag, &[u8])>,
    (tag, value): (Tag, &'a [u8]),
    bare: bool,
) -> Result<Option<(Tag, Cow<'a, [u8]>)>> {
    let resolved = match (tag, below) {
        (Tag::Put, _) => return Ok(Some((Tag::Put, Cow::Borrowed(value)))),
        (Tag::Delete, _) => None,
        (Tag::Upserts, Some((Tag::Upserts, older))) => {
            let mut operands = Operands::of(older.to_vec())?;
            operands.add(rules.upsert, key, value)?;
            return Ok(Some((Tag::Upserts, Cow::Owned(operands.into_vec()))));
        }
        (Tag::Upserts, None) if !bare => return Ok(Some((Tag::Upserts, Cow::Borrowed(value)))),
        (Tag::Upserts, Some((Tag::Put, older))) => fold(rules.upsert, key, Some(older), value)?,
        (Tag::Upserts, _) => fold(rules.upsert, key, None, value)?,
    };
    Ok(match resolved {
        Some(value) => Some((Tag::Put, Cow::Owned(value))),
        // Nothing below would have to hear of it.
        None if bare => None,
        None => Some((Tag::Delete, Cow::Borrowed(b""))),
    })
}
