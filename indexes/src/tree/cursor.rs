//! Cursors. They move through *windows*: stretches of one leaf, with what waits for them in the buffers above already applied.

use std::ops::Range;
use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::index::IndexCursor;

use super::piece::Piece;
use super::view::View;
use crate::data::block::Block;
use crate::data::buffer::Changes;
use crate::data::builder::Builder;
use crate::data::merge::{Rules, into_leaf};
use crate::data::ranges::Bounds;

/// Entries of a leaf that are put together with waiting changes at once.
const WINDOW: usize = 256;

/// Where to look for entries.
#[derive(Debug, Clone, Copy)]
enum Target<'a> {
    /// From this key on.
    From(&'a [u8]),
    /// Before this key, or at the end.
    Before(Option<&'a [u8]>),
}

#[derive(Debug)]
enum Source {
    /// A piece that is known to be a leaf.
    Leaf(Arc<Piece>),
    Own(Block),
}

/// All entries from `low` on and before `high`.
#[derive(Debug)]
struct Window {
    source: Source,
    entries: Range<usize>,
    at: usize,
    low: Option<Vec<u8>>,
    high: Option<Vec<u8>>,
}

impl Window {
    fn block(&self) -> Option<&Block> {
        match &self.source {
            Source::Leaf(piece) => piece.leaf().ok(),
            Source::Own(block) => Some(block),
        }
    }
}

/// A leaf and the buffers above it, the uppermost first.
struct Place {
    leaf: Arc<Piece>,
    buffers: Vec<Arc<Piece>>,
    low: Option<Vec<u8>>,
    high: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) struct Cursor {
    view: Arc<View>,
    window: Option<Window>,
    key: Vec<u8>,
}

impl Cursor {
    pub(crate) fn new(view: Arc<View>) -> Self {
        Self {
            view,
            window: None,
            key: Vec::new(),
        }
    }

    fn locate(&self, target: Target<'_>) -> Result<Option<Place>> {
        let store = &self.view.store;
        let Some(mut ptr) = self.view.info.top else {
            return Ok(None);
        };
        let (mut low, mut high) = (None, None);
        let mut buffers = Vec::new();
        for level in (1..=self.view.info.level).rev() {
            let piece = store.read(&ptr)?;
            let node = piece.node(level).map_err(|error| store.at(error, &ptr))?;
            let index = match target {
                Target::From(key) => node.route(key),
                Target::Before(Some(key)) => node.keys.route_before(key),
                Target::Before(None) => node.keys.len(),
            };
            if index > 0 {
                low = Some(node.keys.get(index - 1).to_vec());
            }
            if index < node.keys.len() {
                high = Some(node.keys.get(index).to_vec());
            }
            let child = node.children[index];
            if let Some(pointer) = child.buffer {
                let buffer = store.read(&pointer.ptr)?;
                buffer.buffer().map_err(|error| store.at(error, &pointer.ptr))?;
                buffers.push(buffer);
            }
            ptr = child.ptr;
        }
        let leaf = store.read(&ptr)?;
        leaf.leaf().map_err(|error| store.at(error, &ptr))?;
        Ok(Some(Place {
            leaf,
            buffers,
            low,
            high,
        }))
    }

    /// The window around a target; `None` in an empty tree.
    fn open(&self, target: Target<'_>) -> Result<Option<Window>> {
        let Some(mut place) = self.locate(target)? else {
            return Ok(None);
        };
        let leaf = place.leaf.leaf()?;
        if place.buffers.is_empty() {
            return Ok(Some(Window {
                at: 0,
                entries: 0..leaf.len(),
                low: place.low,
                high: place.high,
                source: Source::Leaf(place.leaf),
            }));
        }
        let entries = match target {
            Target::From(key) => {
                let start = leaf.lower_bound(key);
                let end = (start + WINDOW).min(leaf.len());
                place.low = Some(key.to_vec());
                if end < leaf.len() {
                    place.high = Some(leaf.key(end));
                }
                start..end
            }
            Target::Before(key) => {
                let end = key.map_or(leaf.len(), |key| leaf.lower_bound(key));
                let start = end.saturating_sub(WINDOW);
                if let Some(key) = key {
                    place.high = Some(key.to_vec());
                }
                if start > 0 {
                    place.low = Some(leaf.key(start));
                }
                start..end
            }
        };
        let (source, entries) = self.merge(&place, entries)?;
        Ok(Some(Window {
            at: entries.start,
            entries,
            low: place.low,
            high: place.high,
            source,
        }))
    }

    /// Applies what waits for a stretch of a leaf.
    fn merge(&self, place: &Place, entries: Range<usize>) -> Result<(Source, Range<usize>)> {
        let bounds = Bounds {
            low: place.low.as_deref(),
            high: place.high.as_deref(),
        };
        let leaf = place.leaf.leaf()?;
        let mut rules = Rules {
            upsert: self.view.upsert.as_deref(),
            displaced: None,
        };
        let mut merged: Option<Block> = None;
        for piece in place.buffers.iter().rev() {
            let buffer = piece.buffer()?;
            let points = &buffer.points;
            let ranges = buffer.ranges.clip(bounds);
            let start = bounds.low.map_or(0, |low| points.lower_bound(low));
            let end = bounds.high.map_or(points.len(), |high| points.lower_bound(high));
            let changes = Changes {
                points,
                range: start..end.max(start),
                ranges: &ranges,
            };
            if changes.is_empty() {
                continue;
            }
            let older = match merged.take() {
                Some(older) => older,
                None => {
                    let mut part = Builder::new(leaf.prefix(), leaf.bytes_of(entries.clone()));
                    part.extend(leaf, entries.clone());
                    part.finish()
                }
            };
            merged = Some(into_leaf(&mut rules, &older, &changes, bounds)?.finish());
        }
        Ok(match merged {
            Some(block) => {
                let entries = 0..block.len();
                (Source::Own(block), entries)
            }
            None => (Source::Leaf(place.leaf.clone()), entries),
        })
    }

    /// Moves to the first entry from `key` on, in whichever window it is.
    fn forward(&mut self, key: &[u8]) -> Result<()> {
        let mut from = key.to_vec();
        self.window = None;
        loop {
            let Some(mut window) = self.open(Target::From(&from))? else {
                return Ok(());
            };
            let Some(block) = window.block() else { return Ok(()) };
            let at = block.lower_bound(&from).max(window.entries.start);
            if at < window.entries.end {
                window.at = at;
                self.window = Some(window);
                self.note();
                return Ok(());
            }
            match window.high.take() {
                Some(high) => from = high,
                None => return Ok(()),
            }
        }
    }

    /// Moves to the last entry before `key`, or to the last of all.
    fn backward(&mut self, key: Option<&[u8]>) -> Result<()> {
        let mut before = key.map(<[u8]>::to_vec);
        self.window = None;
        loop {
            let Some(mut window) = self.open(Target::Before(before.as_deref()))? else {
                return Ok(());
            };
            let Some(block) = window.block() else { return Ok(()) };
            let end = before.as_ref().map_or(block.len(), |key| block.lower_bound(key));
            let end = end.min(window.entries.end);
            if end > window.entries.start {
                window.at = end - 1;
                self.window = Some(window);
                self.note();
                return Ok(());
            }
            match window.low.take() {
                Some(low) => before = Some(low),
                None => return Ok(()),
            }
        }
    }

    /// Remembers the key where it stands.
    fn note(&mut self) {
        if let Some(window) = &self.window
            && let Some(block) = window.block()
        {
            block.key_into(window.at, &mut self.key);
        }
    }
}

impl IndexCursor for Cursor {
    fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.forward(key)
    }

    fn seek_before(&mut self, key: &[u8]) -> Result<()> {
        self.backward(Some(key))
    }

    fn seek_first(&mut self) -> Result<()> {
        self.forward(b"")
    }

    fn seek_last(&mut self) -> Result<()> {
        self.backward(None)
    }

    fn next(&mut self) -> Result<()> {
        let Some(window) = &mut self.window else { return Ok(()) };
        if window.at + 1 < window.entries.end {
            window.at += 1;
            self.note();
            return Ok(());
        }
        match window.high.take() {
            Some(high) => self.forward(&high),
            None => {
                self.window = None;
                Ok(())
            }
        }
    }

    fn prev(&mut self) -> Result<()> {
        let Some(window) = &mut self.window else { return Ok(()) };
        if window.at > window.entries.start {
            window.at -= 1;
            self.note();
            return Ok(());
        }
        match window.low.take() {
            Some(low) => self.backward(Some(&low)),
            None => {
                self.window = None;
                Ok(())
            }
        }
    }

    fn key(&self) -> Option<&[u8]> {
        self.window.as_ref().map(|_| &*self.key)
    }

    fn value(&self) -> Option<&[u8]> {
        let window = self.window.as_ref()?;
        Some(window.block()?.value(window.at))
    }
}
