//! What is done to an index at once.

use std::ops::Range;

use super::Change;

/// Changes that an index takes over together, in the order in which they were added: a later one sees the earlier ones.
/// Adding them in ascending order of keys spares the index a sort.
#[derive(Debug, Clone, Default)]
pub struct Updates {
    /// Keys and values, one after the other.
    bytes: Vec<u8>,
    points: Vec<Point>,
    /// With the number of points that had been added before each.
    ranges: Vec<(usize, RangeDelete)>,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    kind: Kind,
    start: usize,
    key: usize,
    value: usize,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Put,
    Delete,
    Upsert,
}

/// The keys from `from` on and before `to`; without `to`, to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeDelete {
    /// The first key.
    pub from: Vec<u8>,
    /// The key after the last.
    pub to: Option<Vec<u8>>,
}

impl Updates {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `key` this value.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> &mut Self {
        self.push(Kind::Put, key, value)
    }

    /// Takes `key` away, if it is there.
    pub fn delete(&mut self, key: &[u8]) -> &mut Self {
        self.push(Kind::Delete, key, b"")
    }

    /// Computes the value of `key` anew from the one it has and from `operand`, by the index's
    /// [`Upsert`](super::Upsert), without reading now.
    pub fn upsert(&mut self, key: &[u8], operand: &[u8]) -> &mut Self {
        self.push(Kind::Upsert, key, operand)
    }

    /// Takes every key from `from` on and before `to` away; without `to`, to the end.
    pub fn delete_range(&mut self, from: &[u8], to: Option<&[u8]>) -> &mut Self {
        let range = RangeDelete {
            from: from.to_vec(),
            to: to.map(<[u8]>::to_vec),
        };
        self.ranges.push((self.points.len(), range));
        self
    }

    fn push(&mut self, kind: Kind, key: &[u8], value: &[u8]) -> &mut Self {
        self.points.push(Point {
            kind,
            start: self.bytes.len(),
            key: key.len(),
            value: value.len(),
        });
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self
    }

    /// The number of changes.
    pub fn len(&self) -> usize {
        self.points.len() + self.ranges.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty() && self.ranges.is_empty()
    }

    /// Bytes of keys, values and operands.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all changes and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.points.clear();
        self.ranges.clear();
    }

    /// The number of changes of single keys.
    pub fn point_count(&self) -> usize {
        self.points.len()
    }

    /// The key of a change of a single key, and what is done to it, by its number.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline]
    pub fn point(&self, index: usize) -> (&[u8], Change<'_>) {
        let point = self.points[index];
        let (key, value) = (
            self.slice(point.start..point.start + point.key),
            self.slice(point.start + point.key..point.start + point.key + point.value),
        );
        let change = match point.kind {
            Kind::Put => Change::Put(value),
            Kind::Delete => Change::Delete,
            Kind::Upsert => Change::Upsert(value),
        };
        (key, change)
    }

    /// The key alone.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline]
    pub fn key(&self, index: usize) -> &[u8] {
        let point = self.points[index];
        self.slice(point.start..point.start + point.key)
    }

    fn slice(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// The range deletes in order, each with the number of points that came before it and that it therefore deletes.
    pub fn ranges(&self) -> impl Iterator<Item = (usize, &RangeDelete)> {
        self.ranges.iter().map(|(points, range)| (*points, range))
    }
}
