//! What keys begin with, from their columns as they lie: keys that differ in it need not be encoded to be compared.

use super::unmade::KeyColumn;
use crate::entry::prefix_of;

/// Bytes of a head.
pub(super) const HEAD: usize = 8;

/// A place in keys where a column begins, before which keys whose first bytes are known to be the same do not differ. How far that
/// goes depends on the rows of a block; of the places of several blocks the least one is good for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPlace {
    /// The number of the column; the largest one where keys are encoded.
    pub(crate) column: usize,
    /// Bytes of a key before it.
    pub(crate) at: usize,
}

impl KeyPlace {
    /// The place behind `skip` bytes of encoded keys, which are compared from any place on.
    pub fn encoded(skip: usize) -> Self {
        Self {
            column: usize::MAX,
            at: skip,
        }
    }
}

/// Puts the first eight bytes of the key of each row behind the first `skip` ones into `out`, which is empty, as
/// [`prefix_of`](crate::entry::prefix_of) does. Rows whose keys do not begin with the same `skip` bytes as that of `row` get
/// anything. Returns up to where rows with the same head have the same key.
pub(super) fn heads(columns: &[KeyColumn], skip: usize, row: usize, out: &mut Vec<u64>) -> KeyPlace {
    let (mut first, mut start, mut key) = (0, 0, Vec::new());
    // The column in which what is skipped ends: those before it are the same in all rows.
    while first + 1 < columns.len() {
        columns[first].put(row, &mut key);
        if key.len() > skip {
            break;
        }
        (first, start) = (first + 1, key.len());
    }
    let mut heads = Heads::new(out, Filled::Alike(0));
    let (mut place, mut rest) = (
        KeyPlace {
            column: first,
            at: start,
        },
        skip - start,
    );
    for (index, column) in columns.iter().enumerate().skip(first) {
        column.add_heads(rest, row, &mut heads);
        rest = 0;
        match &heads.filled {
            // A value that nothing follows may be what another one begins with.
            Filled::Alike(bytes) if *bytes <= HEAD && !column.is_tail() => {
                place = KeyPlace {
                    column: index + 1,
                    at: skip + bytes,
                };
            }
            _ => {}
        }
        if heads.is_full() {
            break;
        }
    }
    place
}

/// Heads in the making.
pub(super) struct Heads<'o> {
    out: &'o mut Vec<u64>,
    filled: Filled,
}

/// How many bytes of the heads there are, eight or more if they are full.
pub(super) enum Filled {
    /// As many in each.
    Alike(usize),
    /// In each of them.
    Each(Vec<u8>),
}

impl<'o> Heads<'o> {
    /// Goes on with heads of which so much is filled.
    pub(super) fn new(out: &'o mut Vec<u64>, filled: Filled) -> Self {
        Self { out, filled }
    }

    /// How much of them is filled.
    pub(super) fn finish(self) -> Filled {
        self.filled
    }

    /// Adds what a column's values, which are `len` bytes long in every row, begin with.
    #[inline]
    pub(super) fn add_alike(&mut self, len: usize, words: impl Iterator<Item = u64>) {
        match &mut self.filled {
            Filled::Alike(0) if self.out.is_empty() => {
                self.out.extend(words);
                self.filled = Filled::Alike(len);
            }
            Filled::Alike(bytes) => {
                let shift = 8 * *bytes as u32;
                let pairs = self.out.iter_mut().zip(words);
                pairs.for_each(|(head, word)| *head |= word >> shift);
                *bytes += len;
            }
            Filled::Each(_) => self.add_each(words.map(|word| (word, len))),
        }
    }

    /// Adds what a column's values begin with, and how long each is.
    pub(super) fn add_each(&mut self, words: impl Iterator<Item = (u64, usize)>) {
        let rows = self.out.len();
        let mut filled = match std::mem::replace(&mut self.filled, Filled::Alike(0)) {
            Filled::Alike(0) if rows == 0 => Vec::new(),
            Filled::Alike(bytes) => vec![bytes.min(HEAD) as u8; rows],
            Filled::Each(filled) => filled,
        };
        if rows == 0 {
            let put = |(word, len): (u64, usize)| {
                filled.push(len.min(HEAD) as u8);
                word
            };
            self.out.extend(words.map(put));
        } else {
            for ((head, bytes), (word, len)) in self.out.iter_mut().zip(&mut filled).zip(words) {
                *head |= word.checked_shr(8 * u32::from(*bytes)).unwrap_or(0);
                *bytes = (usize::from(*bytes) + len).min(HEAD) as u8;
            }
        }
        self.filled = Filled::Each(filled);
    }

    /// Adds what the bytes of a value that `put` appends begin with, behind the first `skip`.
    pub(super) fn add_encoded(&mut self, skip: usize, rows: usize, put: impl Fn(usize, &mut Vec<u8>)) {
        let mut value = Vec::new();
        self.add_each((0..rows).map(|row| {
            value.clear();
            put(row, &mut value);
            let rest = value.get(skip..).unwrap_or_default();
            (prefix_of(rest), rest.len())
        }));
    }

    fn is_full(&self) -> bool {
        match &self.filled {
            Filled::Alike(bytes) => *bytes >= HEAD,
            Filled::Each(filled) => filled.iter().all(|&bytes| usize::from(bytes) >= HEAD),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, UInt64Array};

    use super::super::Keys;
    use super::super::tests::{Random, TYPES, codec_of, column};
    use super::*;
    use crate::block::{ColumnBlock, Values};
    use crate::entry::common_prefix;

    fn block(keys: impl Into<Keys>) -> ColumnBlock {
        let keys = keys.into();
        let rows = keys.len();
        ColumnBlock::new(keys, vec![1; rows].into(), vec![0; rows].into(), Values::Absent).expect("columns")
    }

    #[test]
    fn heads_and_what_follows_them_compare_as_keys_do() {
        const ROWS: usize = 30;
        let mut random = Random(7);
        let mut compared = 0;
        for _ in 0..600 {
            let count = 1 + random.below(4) as usize;
            let nullable: Vec<bool> = (0..count).map(|_| random.below(4) == 0).collect();
            let descending: Vec<bool> = (0..count).map(|_| random.below(4) == 0).collect();
            let columns: Vec<ArrayRef> = (0..count)
                .map(|index| {
                    column(
                        &TYPES[random.below(TYPES.len() as u64) as usize],
                        ROWS,
                        nullable[index],
                        &mut random,
                    )
                })
                .collect();
            let codec = codec_of(&columns, &nullable, &descending);
            let keys = codec.encode(&columns).expect("every type has an order");
            let mut order: Vec<u64> = (0..ROWS as u64).collect();
            order.sort_by_key(|&row| keys.value(row as usize));
            let order = UInt64Array::from(order);
            let sorted = columns
                .iter()
                .map(|column| arrow::compute::take(column, &order, None).expect("rows"));
            let sorted: Vec<ArrayRef> = sorted.collect();
            // Of rows that have bytes in common, blocks of some with rows around them that may not have these.
            let (from, to) = (random.below(ROWS as u64 - 1) as usize, ROWS);
            let to = from + 1 + random.below((to - from) as u64) as usize;
            let keys = codec.encode(&sorted).expect("as above");
            let skip = common_prefix(keys.value(from), keys.value(to - 1));
            let blocks: Vec<_> = (0..4)
                .map(|number| {
                    let start = random.below(from as u64 + 1) as usize;
                    let end = to + random.below((ROWS - to) as u64 + 1) as usize;
                    let columns: Vec<ArrayRef> = sorted.iter().map(|column| column.slice(start, end - start)).collect();
                    let block = match number {
                        0 => block(codec.encode(&columns).expect("as above")),
                        _ => block(codec.keys(|index| columns.get(index)).expect("as above")),
                    };
                    let mut heads = Vec::new();
                    let place = block.prefixes(skip, from - start, &mut heads);
                    assert_eq!(heads.len(), block.rows());
                    (block, start, heads, place)
                })
                .collect();
            let (mut one, mut other) = (Vec::new(), Vec::new());
            for (left, left_start, heads, left_place) in &blocks {
                for row in from..to {
                    let head = heads[row - left_start];
                    assert_eq!(head, prefix_of(&keys.value(row)[skip..]), "{columns:?}, row {row}");
                    for (right, right_start, heads, right_place) in &blocks {
                        let place = *left_place.min(right_place);
                        for with in (from..to).filter(|with| heads[with - right_start] == head) {
                            let (row_there, with_there) = (row - left_start, with - right_start);
                            let rooms = (&mut one, &mut other);
                            let order = left.compare_keys(row_there, (right, with_there), place, rooms);
                            assert_eq!(order, keys.value(row).cmp(keys.value(with)), "{columns:?}");
                            compared += usize::from(place.column > 0 && place.column < count);
                        }
                    }
                }
            }
        }
        assert!(
            compared > 10_000,
            "columns in the midst of keys were compared {compared} times"
        );
    }
}
