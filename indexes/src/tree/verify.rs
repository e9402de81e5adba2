//! Reading every node, and comparing what they use with what the account of space says.

use std::collections::{BTreeMap, HashSet};

use kodiak_core::index::IndexFinding;
use kodiak_core::{Error, ErrorKind, Result};

use super::piece::{Node, Piece};
use crate::data::block::{Block, Tag};
use crate::data::buffer::Buffer;
use crate::data::ranges::Bounds;
use crate::store::Store;
use crate::store::piece::{PAGE, Ptr};
use crate::store::space::Extent;

/// The pieces of the newest root that are younger than root `id`.
///
/// # Errors
/// `Corruption`, `Io`.
pub(crate) fn later_pieces(store: &Store, id: u64) -> Result<Vec<Ptr>> {
    let newest = store.space.lock().roots.last_key_value().map(|(_, root)| *root);
    let mut found = Vec::new();
    if let Some(root) = newest
        && let Some(top) = root.top
    {
        collect_later(store, &top, root.level, id, &mut found)?;
    }
    Ok(found)
}

fn collect_later(store: &Store, ptr: &Ptr, level: u8, id: u64, found: &mut Vec<Ptr>) -> Result<()> {
    // A node is at least as young as everything below it.
    if ptr.birth <= id {
        return Ok(());
    }
    found.push(*ptr);
    if level == 0 {
        return Ok(());
    }
    let piece = store.read_once(ptr)?;
    let node = piece.node(level).map_err(|error| store.at(error, ptr))?;
    for child in &node.children {
        found.extend(child.buffer.map(|pointer| pointer.ptr).filter(|ptr| ptr.birth > id));
        collect_later(store, &child.ptr, level - 1, id, found)?;
    }
    Ok(())
}

struct Verifier<'a> {
    store: &'a Store,
    finding: &'a mut dyn FnMut(IndexFinding),
    /// Pieces that have been looked at: roots share most of theirs.
    seen: HashSet<u64>,
    /// What is in use, by page: how many pages, and by what.
    used: BTreeMap<u64, (u64, &'static str)>,
}

/// Looks at the root slots, the accounts and every root.
///
/// # Errors
/// `Io`.
pub(crate) fn verify(store: &Store, finding: &mut dyn FnMut(IndexFinding)) -> Result<()> {
    store.reread(&mut |offset, what| {
        finding(IndexFinding {
            offset,
            what: what.to_owned(),
        });
    })?;
    let roots: Vec<_> = store.space.lock().roots.values().copied().collect();
    let mut verifier = Verifier {
        store,
        finding,
        seen: HashSet::new(),
        used: BTreeMap::new(),
    };
    for root in roots {
        if let Some(top) = root.top {
            verifier.walk(&top, root.level, Bounds::default())?;
        }
    }
    verifier.compare_space();
    Ok(())
}

impl Verifier<'_> {
    fn tell(&mut self, page: u64, what: impl Into<String>) {
        (self.finding)(IndexFinding {
            offset: page.saturating_mul(PAGE),
            what: what.into(),
        });
    }

    /// Reads a piece; damage is told.
    fn load(&mut self, ptr: &Ptr, what: &'static str) -> Result<Option<Piece>> {
        self.claim(Extent::of(ptr), what);
        match self.store.load(ptr) {
            Ok(piece) => Ok(Some(piece)),
            Err(error) if error.kind() == ErrorKind::Io => Err(error),
            Err(error) => {
                self.tell(ptr.page, error.message());
                Ok(None)
            }
        }
    }

    fn claim(&mut self, extent: Extent, what: &'static str) {
        let before = self
            .used
            .range(..extent.end())
            .next_back()
            .map(|(&page, &(pages, what))| (page, pages, what));
        if let Some((page, pages, other)) = before
            && page + pages > extent.page
        {
            self.tell(
                extent.page,
                format!("pages of a {what} are also those of a {other} at page {page}"),
            );
            return;
        }
        self.used.insert(extent.page, (extent.pages, what));
    }

    fn walk(&mut self, ptr: &Ptr, level: u8, bounds: Bounds<'_>) -> Result<()> {
        if !self.seen.insert(ptr.page) {
            return Ok(());
        }
        let Some(piece) = self.load(ptr, if level == 0 { "leaf" } else { "node" })? else {
            return Ok(());
        };
        let checked = if level == 0 {
            piece.leaf().map(|leaf| self.leaf(ptr, leaf, bounds))
        } else {
            piece.node(level).and_then(|node| self.node(node, bounds))
        };
        match checked {
            Err(error) if error.kind() == ErrorKind::Io => Err(error),
            Err(error) => {
                self.tell(ptr.page, error.message());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn leaf(&mut self, ptr: &Ptr, leaf: &Block, bounds: Bounds<'_>) {
        if (0..leaf.len()).any(|index| leaf.entry(index).tag != Tag::Put) {
            self.tell(ptr.page, "a leaf holds changes that only belong in buffers");
        }
        self.entries(ptr, leaf, bounds);
    }

    fn entries(&mut self, ptr: &Ptr, block: &Block, bounds: Bounds<'_>) {
        let ends = [0, block.len().saturating_sub(1)];
        if !block.is_sorted() {
            self.tell(ptr.page, "entries are out of order");
        } else if !block.is_empty() && ends.iter().any(|&end| !bounds.contain(&block.key(end))) {
            self.tell(ptr.page, "entries are outside the bounds that the nodes above give");
        }
    }

    fn node(&mut self, node: &Node, bounds: Bounds<'_>) -> Result<()> {
        let count = node.keys.len();
        if count > 0 && !(bounds.contain(node.keys.get(0)) && bounds.contain(node.keys.get(count - 1))) {
            return Err(Error::corruption(
                "keys are outside the bounds that the nodes above give",
            ));
        }
        for (index, child) in node.children.iter().enumerate() {
            let within = Bounds {
                low: if index > 0 {
                    Some(node.keys.get(index - 1))
                } else {
                    bounds.low
                },
                high: if index < count {
                    Some(node.keys.get(index))
                } else {
                    bounds.high
                },
            };
            if let Some(pointer) = &child.buffer
                && self.seen.insert(pointer.ptr.page)
                && let Some(piece) = self.load(&pointer.ptr, "buffer")?
            {
                match piece.buffer() {
                    Ok(buffer) => self.buffer(&pointer.ptr, buffer, within),
                    Err(error) => self.tell(pointer.ptr.page, error.message()),
                }
            }
            self.walk(&child.ptr, node.level - 1, within)?;
        }
        Ok(())
    }

    fn buffer(&mut self, ptr: &Ptr, buffer: &Buffer, bounds: Bounds<'_>) {
        self.entries(ptr, &buffer.points, bounds);
        if buffer.ranges.clip(bounds) != buffer.ranges {
            self.tell(
                ptr.page,
                "range deletes are outside the bounds that the nodes above give",
            );
        }
        let points = &buffer.points;
        let covered = |index| buffer.ranges.covers(&points.key(index)) && points.entry(index).tag != Tag::Put;
        if !buffer.ranges.is_empty() && (0..points.len()).any(covered) {
            self.tell(ptr.page, "a change below a range delete of the same buffer");
        }
    }

    /// Every page is used once, dead or free.
    fn compare_space(&mut self) {
        let accounts = self.store.accounts();
        let (free, dead, fresh, end) = {
            let space = self.store.space.lock();
            let free: Vec<Extent> = space.free.iter().collect();
            let dead: Vec<Extent> = space.dead.iter().map(|dead| dead.extent).collect();
            let fresh: Vec<Extent> = space
                .fresh
                .iter()
                .map(|(&page, fresh)| Extent {
                    page,
                    pages: fresh.pages,
                })
                .collect();
            (free, dead, fresh, space.end)
        };
        for extent in accounts {
            self.claim(extent, "account of space");
        }
        for extent in free {
            self.claim(extent, "free extent");
        }
        for extent in fresh {
            self.claim(extent, "node that is not committed yet");
        }
        for extent in dead {
            // An older root may still use it; then it has been claimed already.
            if self
                .used
                .get(&extent.page)
                .is_none_or(|(pages, _)| *pages != extent.pages)
            {
                self.claim(extent, "dead extent");
            }
        }
        let mut next = 2;
        let mut gaps = Vec::new();
        for (&page, &(pages, _)) in &self.used {
            if page > next {
                gaps.push((next, page));
            }
            next = next.max(page + pages);
        }
        if next < end {
            gaps.push((next, end));
        }
        for (start, stop) in gaps {
            self.tell(
                start,
                format!("pages {start} to {stop} are used by nothing, and not free"),
            );
        }
    }
}
