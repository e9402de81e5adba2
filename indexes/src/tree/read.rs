//! Point reads.

use kodiak_core::index::Upsert;
use kodiak_core::{Error, Result};

use super::piece::Piece;
use super::pins::{BufferPin, Pins};
use super::work::{Link, Pending};
use super::working::Work;
use crate::data::block::Block;
use crate::data::buffer::{Buffer, Said};
use crate::data::merge::fold;
use crate::store::Store;
use crate::store::piece::Ptr;

/// What the buffers on the way down have said about a key.
#[derive(Debug, Default)]
struct Heard {
    /// Operands, those of the upper buffers first.
    operands: Vec<Vec<u8>>,
    /// What they apply to, once it is known.
    base: Option<Option<Vec<u8>>>,
}

impl Heard {
    /// Listens to a buffer; true if what is below no longer counts.
    fn hear(&mut self, buffer: &Buffer, key: &[u8]) -> bool {
        self.take(buffer.get(key))
    }

    fn take(&mut self, said: Said<'_>) -> bool {
        match said {
            Said::Nothing => {}
            Said::Put(value) => self.base = Some(Some(value.to_vec())),
            Said::Deleted => self.base = Some(None),
            Said::Upserts(operands) => self.operands.push(operands.to_vec()),
        }
        self.base.is_some()
    }

    fn hear_leaf(&mut self, leaf: &Block, key: &[u8]) {
        self.base = Some(leaf.find_entry(key).map(|entry| entry.value.to_vec()));
    }

    fn conclude(self, upsert: Option<&dyn Upsert>, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut value = self.base.flatten();
        for operands in self.operands.iter().rev() {
            value = fold(upsert, key, value.as_deref(), operands)?;
        }
        Ok(value)
    }
}

/// Hands over the value of a key below a node in the file, which is that of `pins`.
pub(super) fn find(
    store: &Store,
    upsert: Option<&dyn Upsert>,
    pins: &Pins,
    (top, level): (&Ptr, u8),
    key: &[u8],
    found: &mut dyn FnMut(&[u8]),
) -> Result<()> {
    let mut heard = Heard::default();
    let (mut ptr, mut level) = (*top, level);
    let (mut pin, mut place) = (Some(pins.top()), None);
    while level > 0
        && let Some(pinned) = pin.map(|pin| pins.get(store, pin, &ptr, level)).transpose()?.flatten()
    {
        let index = pinned.route(key);
        place = pinned.leaf(index);
        if let Some(leaf) = place.and_then(|leaf| leaf.get())
            && heard.operands.is_empty()
        {
            if let Some(entry) = leaf.find_entry(key) {
                found(entry.value);
            }
            return Ok(());
        }
        let child = pinned.child(index);
        if let Some(pointer) = &child.buffer {
            if hear_at_hand(store, pins, pinned.buffer(index), &mut heard, &pointer.ptr, key)? {
                return hand_over(heard, upsert, key, found);
            }
            // A leaf at hand is read without a look at messages for it, of which there are none as long as the lowest nodes have no
            // buffers.
            place = None;
        }
        pin = pinned.below(index);
        (ptr, level) = (child.ptr, level - 1);
    }
    if level > 0 || !heard.operands.is_empty() {
        descend(store, &mut heard, ptr, level, key)?;
        return hand_over(heard, upsert, key, found);
    }
    let (piece, wanted) = store.read_rated(&ptr)?;
    in_leaf(store, &piece, &ptr, key, found)?;
    if let Some(place) = place.filter(|_| wanted) {
        pins.keep_leaf(place, &piece);
    }
    Ok(())
}

/// Hands over the value of a key in a leaf.
#[inline]
fn in_leaf(store: &Store, piece: &Piece, ptr: &Ptr, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<()> {
    let leaf = piece.leaf().map_err(|error| store.at(error, ptr))?;
    if let Some(entry) = leaf.find_entry(key) {
        found(entry.value);
    }
    Ok(())
}

fn hand_over(heard: Heard, upsert: Option<&dyn Upsert>, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<()> {
    if let Some(value) = heard.conclude(upsert, key)? {
        found(&value);
    }
    Ok(())
}

/// Listens to a buffer, which is kept in its place once it has been asked for often; true if what is below no longer counts.
fn hear_at_hand(
    store: &Store,
    pins: &Pins,
    place: Option<&BufferPin>,
    heard: &mut Heard,
    ptr: &Ptr,
    key: &[u8],
) -> Result<bool> {
    if let Some(reader) = place.and_then(BufferPin::get) {
        return Ok(heard.take(reader.get(key)));
    }
    let (piece, wanted) = store.read_rated(ptr)?;
    let buffer = piece.buffer().map_err(|error| store.at(error, ptr))?;
    let done = heard.hear(buffer, key);
    if let Some(place) = place.filter(|_| wanted) {
        pins.keep_buffer(place, &piece);
    }
    Ok(done)
}

/// Listens to a buffer in the file; true if what is below no longer counts.
fn hear_buffer(store: &Store, heard: &mut Heard, ptr: &Ptr, key: &[u8]) -> Result<bool> {
    let piece = store.read(ptr)?;
    let buffer = piece.buffer().map_err(|error| store.at(error, ptr))?;
    Ok(heard.hear(buffer, key))
}

fn descend(store: &Store, heard: &mut Heard, mut ptr: Ptr, mut level: u8, key: &[u8]) -> Result<()> {
    while level > 0 {
        let piece = store.read(&ptr)?;
        let node = piece.node(level).map_err(|error| store.at(error, &ptr))?;
        let child = node.children[node.route(key)];
        drop(piece);
        if let Some(pointer) = child.buffer
            && hear_buffer(store, heard, &pointer.ptr, key)?
        {
            return Ok(());
        }
        ptr = child.ptr;
        level -= 1;
    }
    let piece = store.read(&ptr)?;
    heard.hear_leaf(piece.leaf().map_err(|error| store.at(error, &ptr))?, key);
    Ok(())
}

/// The value of a key below a node of the working state.
pub(super) fn get_working(
    store: &Store,
    upsert: Option<&dyn Upsert>,
    work: &Work,
    key: &[u8],
) -> Result<Option<Vec<u8>>> {
    let mut heard = Heard::default();
    if heard.take(work.staged.get(key)) {
        return heard.conclude(upsert, key);
    }
    let Some(mut link) = work.top.as_ref() else {
        return heard.conclude(upsert, key);
    };
    let mut level = work.level;
    loop {
        match link {
            Link::Disk(ptr) => {
                descend(store, &mut heard, *ptr, level, key)?;
                break;
            }
            Link::Leaf(leaf) => {
                heard.hear_leaf(&leaf.block, key);
                break;
            }
            Link::Node(node) => {
                let child = &node.children[node.keys.route(key)];
                let done = match &child.buffer {
                    Pending::Empty => false,
                    Pending::Dirty(dirty) => heard.hear(&dirty.buffer, key),
                    Pending::Disk(pointer) => hear_buffer(store, &mut heard, &pointer.ptr, key)?,
                };
                if done {
                    break;
                }
                link = &child.link;
                level = level
                    .checked_sub(1)
                    .ok_or_else(|| Error::corruption("nodes in memory are on wrong levels").with_file(&store.path))?;
            }
        }
    }
    heard.conclude(upsert, key)
}
