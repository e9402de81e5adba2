//! Ranges of entries, as iterators.

use std::ops::Bound;
use std::sync::Arc;

use super::{IndexCursor, IndexView};
use crate::{KeyRange, Result};

impl dyn IndexView {
    /// The entries of a range of keys, in their order or, by `rev`, from the end: `view.range("a".."c")`, `view.range(from..)`, and
    /// all of them as `view.range(..)`. Each is a copy; a [cursor](IndexView::cursor) makes none.
    pub fn range(self: &Arc<Self>, keys: impl KeyRange) -> Range {
        let (start, end) = keys.ends();
        Range {
            view: Arc::clone(self),
            start,
            end,
            front: None,
            back: None,
            done: false,
        }
    }
}

/// The entries of a range. After an error there are no more.
#[derive(Debug)]
pub struct Range {
    view: Arc<dyn IndexView>,
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
    /// On the last entry that was handed out from this side.
    front: Option<Box<dyn IndexCursor>>,
    back: Option<Box<dyn IndexCursor>>,
    done: bool,
}

/// A key and its value.
type Entry = (Vec<u8>, Vec<u8>);

impl Range {
    fn begin(&self) -> Result<Box<dyn IndexCursor>> {
        let mut cursor = Arc::clone(&self.view).cursor();
        match &self.start {
            Bound::Unbounded => cursor.seek_first()?,
            Bound::Included(key) | Bound::Excluded(key) => cursor.seek(key)?,
        }
        if let Bound::Excluded(key) = &self.start
            && cursor.key() == Some(key)
        {
            cursor.next()?;
        }
        Ok(cursor)
    }

    fn begin_back(&self) -> Result<Box<dyn IndexCursor>> {
        let mut cursor = Arc::clone(&self.view).cursor();
        match &self.end {
            Bound::Unbounded => cursor.seek_last()?,
            Bound::Excluded(key) => cursor.seek_before(key)?,
            Bound::Included(key) => {
                cursor.seek(key)?;
                if cursor.key() != Some(key) {
                    cursor.seek_before(key)?;
                }
            }
        }
        Ok(cursor)
    }

    fn step(&mut self) -> Result<Option<Entry>> {
        let cursor = match self.front.take() {
            Some(mut cursor) => {
                cursor.next()?;
                cursor
            }
            None => self.begin()?,
        };
        let met = self.back.as_ref().and_then(|back| back.key());
        let inside = |key: &[u8]| within_end(key, &self.end) && met.is_none_or(|met| key < met);
        let found = entry(&*cursor, inside);
        self.front = Some(cursor);
        Ok(found)
    }

    fn step_back(&mut self) -> Result<Option<Entry>> {
        let cursor = match self.back.take() {
            Some(mut cursor) => {
                cursor.prev()?;
                cursor
            }
            None => self.begin_back()?,
        };
        let met = self.front.as_ref().and_then(|front| front.key());
        let inside = |key: &[u8]| within_start(key, &self.start) && met.is_none_or(|met| key > met);
        let found = entry(&*cursor, inside);
        self.back = Some(cursor);
        Ok(found)
    }

    fn take(&mut self, step: impl FnOnce(&mut Self) -> Result<Option<Entry>>) -> Option<Result<Entry>> {
        if self.done {
            return None;
        }
        let found = step(self).transpose();
        self.done = !matches!(found, Some(Ok(_)));
        found
    }
}

impl Iterator for Range {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.take(Self::step)
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.take(Self::step_back)
    }
}

fn entry(cursor: &dyn IndexCursor, inside: impl Fn(&[u8]) -> bool) -> Option<Entry> {
    let (key, value) = (cursor.key()?, cursor.value()?);
    inside(key).then(|| (key.to_vec(), value.to_vec()))
}

fn within_start(key: &[u8], start: &Bound<Vec<u8>>) -> bool {
    match start {
        Bound::Unbounded => true,
        Bound::Included(start) => key >= start.as_slice(),
        Bound::Excluded(start) => key > start.as_slice(),
    }
}

fn within_end(key: &[u8], end: &Bound<Vec<u8>>) -> bool {
    match end {
        Bound::Unbounded => true,
        Bound::Included(end) => key <= end.as_slice(),
        Bound::Excluded(end) => key < end.as_slice(),
    }
}
