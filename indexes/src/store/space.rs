//! Which pages of a file are in use, and by which roots.
//!
//! A page is written once and never changed as long as a root needs it. An extent that the working state no longer uses is
//! *dead* from its commit on; the roots from its birth to before its death may still need it, and when the last of them is
//! gone it is free. What was both written and given up since the last commit is free at once: no root has seen it.

use std::collections::{BTreeMap, BTreeSet};

use kodiak_core::{Error, Result};

use super::piece::Ptr;

/// Pages that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Extent {
    pub page: u64,
    pub pages: u64,
}

impl Extent {
    pub(crate) fn of(ptr: &Ptr) -> Self {
        Self {
            page: ptr.page,
            pages: ptr.pages(),
        }
    }

    pub(crate) fn end(&self) -> u64 {
        self.page.saturating_add(self.pages)
    }
}

/// Free extents, by place and by size. Neighbours are joined.
#[derive(Debug, Clone, Default)]
pub(crate) struct FreeMap {
    by_page: BTreeMap<u64, u64>,
    by_size: BTreeSet<(u64, u64)>,
    pages: u64,
}

impl FreeMap {
    fn insert(&mut self, page: u64, pages: u64) {
        self.by_page.insert(page, pages);
        self.by_size.insert((pages, page));
        self.pages += pages;
    }

    fn remove(&mut self, page: u64, pages: u64) {
        self.by_page.remove(&page);
        self.by_size.remove(&(pages, page));
        self.pages -= pages;
    }

    /// # Errors
    /// `Corruption` if a part of it is free already.
    pub(crate) fn add(&mut self, extent: Extent) -> Result<()> {
        let Extent { mut page, mut pages } = extent;
        let before = self
            .by_page
            .range(..=page)
            .next_back()
            .map(|(&page, &pages)| (page, pages));
        let after = self.by_page.range(page..).next().map(|(&page, &pages)| (page, pages));
        if before.is_some_and(|(start, len)| start + len > page) || after.is_some_and(|(start, _)| extent.end() > start)
        {
            return Err(Error::corruption(format!(
                "pages {page} to {} are free twice",
                extent.end()
            )));
        }
        if let Some((start, len)) = before.filter(|(start, len)| start + len == page) {
            self.remove(start, len);
            (page, pages) = (start, len + pages);
        }
        if let Some((start, len)) = after.filter(|(start, _)| extent.end() == *start) {
            self.remove(start, len);
            pages += len;
        }
        self.insert(page, pages);
        Ok(())
    }

    /// The smallest free extent that is large enough, or the part of it that is asked for.
    fn take(&mut self, pages: u64) -> Option<u64> {
        let &(len, page) = self.by_size.range((pages, 0)..).next()?;
        self.remove(page, len);
        if len > pages {
            self.insert(page + pages, len - pages);
        }
        Some(page)
    }

    /// Takes these very pages; false if they are not all free.
    fn carve(&mut self, extent: Extent) -> bool {
        let found = self.by_page.range(..=extent.page).next_back();
        let Some((start, len)) = found.map(|(&start, &len)| (start, len)) else {
            return false;
        };
        if start + len < extent.end() {
            return false;
        }
        self.remove(start, len);
        if start < extent.page {
            self.insert(start, extent.page - start);
        }
        if start + len > extent.end() {
            self.insert(extent.end(), start + len - extent.end());
        }
        true
    }

    /// Takes out the extent that ends at `end`; returns where it starts.
    fn take_last(&mut self, end: u64) -> Option<u64> {
        let (&start, &len) = self.by_page.last_key_value()?;
        (start + len == end).then(|| {
            self.remove(start, len);
            start
        })
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = Extent> {
        self.by_page.iter().map(|(&page, &pages)| Extent { page, pages })
    }

    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }
}

/// An extent that the working state no longer uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dead {
    pub extent: Extent,
    /// The first root that may need it.
    pub birth: u64,
    /// The first root that does not.
    pub death: u64,
}

impl Dead {
    /// True if one of these roots may need it.
    pub(crate) fn is_needed(&self, roots: &BTreeSet<u64>) -> bool {
        roots.range(self.birth..self.death.max(self.birth)).next().is_some()
    }
}

/// What a committed state consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RootInfo {
    /// Its topmost node; without one it is empty.
    pub top: Option<Ptr>,
    /// The level of that node.
    pub level: u8,
}

/// Pages given out since the last commit, and what was written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fresh {
    pub pages: u64,
    /// The bytes of the piece, and its checksum.
    pub len: u32,
    pub crc: u32,
}

/// The state of all pages.
#[derive(Debug, Default)]
pub(crate) struct Space {
    pub free: FreeMap,
    pub dead: Vec<Dead>,
    /// The page after the last that is used, or is free before one that is.
    pub end: u64,
    /// The last commit.
    pub generation: u64,
    /// The roots that have not been released.
    pub roots: BTreeMap<u64, RootInfo>,
    /// Those that the file names, and would still name after a crash.
    pub durable: BTreeSet<u64>,
    /// Open views, by root.
    pub pins: BTreeMap<u64, usize>,
    /// Written since the last commit, by page.
    pub fresh: BTreeMap<u64, Fresh>,
    /// Given up since the last commit, with their birth.
    pub dying: Vec<(Extent, u64)>,
}

impl Space {
    /// Pages for something new.
    pub(crate) fn allocate(&mut self, pages: u64) -> Extent {
        let page = self.free.take(pages).unwrap_or_else(|| {
            let page = self.end;
            self.end += pages;
            page
        });
        let (len, crc) = (0, 0);
        self.fresh.insert(page, Fresh { pages, len, crc });
        Extent { page, pages }
    }

    /// A piece is about to be written to pages that were given out for it.
    pub(crate) fn note(&mut self, ptr: &Ptr) {
        if let Some(fresh) = self.fresh.get_mut(&ptr.page) {
            (fresh.len, fresh.crc) = (ptr.len, ptr.crc);
        }
    }

    /// What is free at the end is no longer a part of the file.
    pub(crate) fn cut_tail(&mut self) {
        if let Some(start) = self.free.take_last(self.end) {
            self.end = start;
        }
    }

    /// Pages written since the last commit.
    pub(crate) fn fresh_pages(&self) -> u64 {
        self.fresh.values().map(|fresh| fresh.pages).sum()
    }

    /// Gives a piece of the working state up. True if its pages are free at once.
    ///
    /// # Errors
    /// `Corruption` if it is not in use.
    pub(crate) fn kill(&mut self, ptr: &Ptr) -> Result<bool> {
        let extent = Extent::of(ptr);
        if ptr.birth > self.generation {
            if self.fresh.remove(&extent.page).map(|fresh| fresh.pages) != Some(extent.pages) {
                return Err(Error::corruption("a node is given up twice"));
            }
            self.free.add(extent)?;
            return Ok(true);
        }
        self.dying.push((extent, ptr.birth));
        Ok(false)
    }

    /// Marks pages as used that an account in the file says are.
    ///
    /// # Errors
    /// `Corruption` if they are in use already.
    pub(crate) fn carve(&mut self, extent: Extent) -> Result<()> {
        // What lies beyond the end was free, if it was ever used: extents that came and went between two commits are in no
        // account. So the extent may begin before the end that the accounts know, and end after it.
        if extent.end() > self.end {
            let new = Extent {
                page: self.end,
                pages: extent.end() - self.end,
            };
            self.free.add(new)?;
            self.end = extent.end();
        }
        if self.free.carve(extent) {
            return Ok(());
        }
        let message = format!("pages {} to {} are used twice", extent.page, extent.end());
        Err(Error::corruption(message))
    }

    /// Takes back everything since the last commit.
    pub(crate) fn rollback(&mut self) -> Result<()> {
        self.dying.clear();
        for (page, Fresh { pages, .. }) in std::mem::take(&mut self.fresh) {
            self.free.add(Extent { page, pages })?;
        }
        Ok(())
    }

    /// What was given up since the last commit is dead from this one on.
    pub(crate) fn bury(&mut self, generation: u64) {
        let dying = std::mem::take(&mut self.dying).into_iter();
        self.dead.extend(dying.map(|(extent, birth)| Dead {
            extent,
            birth,
            death: generation,
        }));
        self.fresh.clear();
        self.generation = generation;
    }

    /// Frees what no root needs any more; returns what.
    ///
    /// # Errors
    /// `Corruption` if something is free twice.
    pub(crate) fn reap(&mut self) -> Result<Vec<Extent>> {
        let needed: BTreeSet<u64> = self
            .roots
            .keys()
            .chain(&self.durable)
            .chain(self.pins.keys())
            .copied()
            .collect();
        let mut freed = Vec::new();
        self.dead.retain(|dead| {
            let keep = dead.is_needed(&needed);
            if !keep {
                freed.push(dead.extent);
            }
            keep
        });
        for extent in &freed {
            self.free.add(*extent)?;
        }
        Ok(freed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_across_the_known_end_is_carved() {
        let mut space = Space {
            end: 10,
            ..Space::default()
        };
        space.free.add(Extent { page: 6, pages: 4 }).expect("apart");
        space
            .carve(Extent { page: 8, pages: 5 })
            .expect("free, or beyond the end");
        assert_eq!(space.end, 13);
        assert_eq!(space.free.iter().collect::<Vec<_>>(), [Extent { page: 6, pages: 2 }]);
        space.carve(Extent { page: 7, pages: 2 }).expect_err("page 8 is in use");
    }

    #[test]
    fn only_what_is_free_at_the_end_is_cut() {
        let mut space = Space {
            end: 20,
            ..Space::default()
        };
        space.free.add(Extent { page: 4, pages: 2 }).expect("apart");
        space.cut_tail();
        assert_eq!((space.end, space.free.pages()), (20, 2));
        space.free.add(Extent { page: 15, pages: 5 }).expect("apart");
        space.cut_tail();
        assert_eq!((space.end, space.free.pages()), (15, 2));
        assert_eq!(space.allocate(3), Extent { page: 15, pages: 3 });
    }

    #[test]
    fn the_smallest_extent_that_fits_is_taken_and_neighbours_join() {
        let mut free = FreeMap::default();
        for (page, pages) in [(2, 3), (10, 8), (30, 4)] {
            free.add(Extent { page, pages }).expect("apart");
        }
        assert_eq!(free.take(4), Some(30));
        assert_eq!(free.take(4), Some(10));
        assert_eq!(free.take(5), None);
        free.add(Extent { page: 5, pages: 5 }).expect("apart");
        free.add(Extent { page: 10, pages: 4 }).expect("apart");
        assert_eq!(free.iter().collect::<Vec<_>>(), [Extent { page: 2, pages: 16 }]);
        free.add(Extent { page: 17, pages: 2 })
            .expect_err("page 17 is free already");
        assert_eq!(free.pages(), 16);
    }
}
