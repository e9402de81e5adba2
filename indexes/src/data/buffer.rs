//! Buffers: changes that wait in a node for their way down.
//!
//! **The order within a buffer** is fixed by its form: range deletes first, then the changes of single keys, of which there
//! is at most one for each. So a range delete that comes into a buffer removes the changes that it covers, and a key that a
//! range of the same buffer covers has a put or nothing.

use std::ops::Range;

use kodiak_core::varint::Reader;
use kodiak_core::{Error, Result};

use super::block::{Block, Entry, Tag};
use super::builder::Builder;
use super::ranges::{Bounds, Ranges};
use crate::store::piece::HEADER;

/// Changes, newer than everything below the buffer.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub ranges: Ranges,
    pub points: Block,
}

/// What a buffer says about a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    Nothing,
    Put(&'a [u8]),
    Deleted,
    /// Operands, oldest first; what is below counts.
    Upserts(&'a [u8]),
}

/// What a buffer says about a key whose entry in it is this one, and that has these ranges.
#[inline]
pub(super) fn say<'a>(entry: Option<Entry<'a>>, ranges: &Ranges, key: &[u8]) -> Said<'a> {
    if let Some(entry) = entry {
        return match entry.tag {
            Tag::Put => Said::Put(entry.value),
            Tag::Delete => Said::Deleted,
            Tag::Upserts => Said::Upserts(entry.value),
        };
    }
    if !ranges.is_empty() && ranges.covers(key) {
        return Said::Deleted;
    }
    Said::Nothing
}

impl Buffer {
    pub(crate) fn empty() -> Self {
        Self {
            ranges: Ranges::default(),
            points: Block::empty(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.points.is_empty() && self.ranges.is_empty()
    }

    /// Bytes that it takes in the file.
    pub(crate) fn bytes(&self) -> usize {
        self.points.body_len() + self.ranges.bytes()
    }

    pub(crate) fn memory(&self) -> usize {
        self.points.memory() + self.ranges.memory()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Said<'_> {
        say(self.points.find_entry(key), &self.ranges, key)
    }

    /// All of it, or a part.
    pub(crate) fn slice<'a>(&'a self, points: Range<usize>, ranges: &'a Ranges) -> Changes<'a> {
        Changes {
            points: &self.points,
            range: points,
            ranges,
        }
    }

    /// This buffer and that of the next child as one.
    pub(crate) fn concat(&self, right: &Self, bounds: Bounds<'_>) -> Self {
        let mut points = Builder::new(bounds.prefix(), self.points.body_len() + right.points.body_len());
        points.extend(&self.points, 0..self.points.len());
        points.extend(&right.points, 0..right.points.len());
        let mut ranges = self.ranges.clone();
        ranges.union(&right.ranges);
        Self {
            ranges,
            points: points.finish(),
        }
    }

    /// Works on the body of a piece, with room for a header: the points and, if there are any, the ranges.
    pub(crate) fn with_piece<T>(&mut self, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let end = HEADER + self.points.body_len();
        let ranges = &self.ranges;
        self.points.with_piece(|piece| {
            piece.truncate(end);
            if !ranges.is_empty() {
                ranges.encode(piece);
            }
            work(piece)
        })
    }

    /// # Errors
    /// `Corruption` if it is malformed.
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self> {
        let (points, end) = Block::parse(bytes)?;
        let mut reader = Reader::new(&points.piece()[end..]);
        let ranges = if reader.is_empty() {
            Ranges::default()
        } else {
            Ranges::decode(&mut reader)?
        };
        if !reader.is_empty() {
            return Err(Error::corruption("bytes after the end of a buffer"));
        }
        Ok(Self { ranges, points })
    }
}

/// Changes on their way down: those of one child.
#[derive(Debug, Clone)]
pub(crate) struct Changes<'a> {
    pub points: &'a Block,
    pub range: Range<usize>,
    /// Already clipped to the child.
    pub ranges: &'a Ranges,
}

impl Changes<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.range.is_empty() && self.ranges.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.points.bytes_of(self.range.clone()) + self.ranges.bytes()
    }
}
