//! Accounts of space: what each commit writes about pages and roots.
//!
//! A *whole* account lists all free and dead extents; a *partial* one only what its commit has changed, and names the account
//! before it. Opening follows them back to a whole one. One whose commit syncs only once also names every piece that the commit
//! has written, with its checksum: by these an opening tells whether all of them have reached the disk.

use kodiak_core::varint::{Reader, put_u64};
use kodiak_core::{Error, Result};

use super::piece::{Header, Ptr};
use super::space::{Dead, Extent, Fresh, RootInfo, Space};

/// From this version on an account names the pieces to be checked.
const CHECKED: u8 = 2;

/// An account as it lies in the file.
#[derive(Debug)]
pub(crate) struct Account {
    pub generation: u64,
    /// The account before; none if this one is whole.
    pub previous: Option<Ptr>,
    pub roots: Vec<(u64, RootInfo)>,
    /// Whole: where the used part of the file ends.
    end: u64,
    /// Whole: free extents. Partial: those written by this commit.
    extents: Vec<Extent>,
    /// Whole: dead extents. Partial: those that died with this commit.
    dead: Vec<Dead>,
    /// What this commit has written, unless all of it was synced before the slot was written.
    pub written: Vec<Ptr>,
}

/// What an account is to say of its commit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub generation: u64,
    pub roots: &'a [(u64, RootInfo)],
    /// The account before, or none for a whole one.
    pub previous: Option<&'a Ptr>,
    /// It is to name what the commit has written.
    pub checked: bool,
}

fn put_extents(out: &mut Vec<u8>, extents: impl ExactSizeIterator<Item = Extent>) {
    put_u64(out, extents.len() as u64);
    let mut last = 0;
    for extent in extents {
        put_u64(out, extent.page - last);
        put_u64(out, extent.pages);
        last = extent.page;
    }
}

fn put_ptr(out: &mut Vec<u8>, ptr: Option<&Ptr>) {
    out.push(u8::from(ptr.is_some()));
    if let Some(ptr) = ptr {
        ptr.encode(out);
    }
}

fn ptr(reader: &mut Reader<'_>) -> Result<Option<Ptr>> {
    match reader.u8()? {
        0 => Ok(None),
        1 => Ptr::decode(reader).map(Some),
        other => Err(Error::corruption(format!(
            "an account is malformed: {other} is no flag"
        ))),
    }
}

/// Appends the account of a commit that is about to be made of `space`.
pub(crate) fn encode(out: &mut Vec<u8>, space: &Space, entry: Entry<'_>, chain: &[Extent]) -> Result<()> {
    let Entry {
        generation,
        roots,
        previous,
        checked,
    } = entry;
    put_u64(out, generation);
    put_ptr(out, previous);
    put_u64(out, roots.len() as u64);
    for (id, root) in roots {
        put_u64(out, *id);
        out.push(root.level);
        put_ptr(out, root.top.as_ref());
    }
    let dying = space.dying.iter().map(|&(extent, birth)| Dead {
        extent,
        birth,
        death: generation,
    });
    let mut dead: Vec<Dead> = dying.collect();
    if previous.is_some() {
        put_extents(
            out,
            space
                .fresh
                .iter()
                .map(|(&page, &Fresh { pages, .. })| Extent { page, pages }),
        );
    } else {
        // The accounts before this one are free as soon as it counts.
        let mut free = space.free.clone();
        for extent in chain {
            free.add(*extent)?;
        }
        // What only views need is free for whoever opens the file. When the last of them goes it is free here too, which may be at any
        // moment: the account itself may come to lie there.
        let needed = roots.iter().map(|(id, _)| *id).collect();
        for old in &space.dead {
            if old.is_needed(&needed) {
                dead.push(*old);
            } else {
                free.add(old.extent)?;
            }
        }
        put_u64(out, space.end);
        put_extents(out, free.iter());
    }
    put_u64(out, dead.len() as u64);
    for Dead { extent, birth, death } in dead {
        for number in [extent.page, extent.pages, birth, death - birth] {
            put_u64(out, number);
        }
    }
    put_written(out, space.fresh.iter().filter(|_| checked));
    Ok(())
}

fn put_written<'f>(out: &mut Vec<u8>, written: impl Iterator<Item = (&'f u64, &'f Fresh)> + Clone) {
    put_u64(out, written.clone().count() as u64);
    let mut last = 0;
    for (&page, fresh) in written {
        put_u64(out, page - last);
        put_u64(out, u64::from(fresh.len));
        out.extend_from_slice(&fresh.crc.to_le_bytes());
        last = page;
    }
}

fn written(reader: &mut Reader<'_>, birth: u64) -> Result<Vec<Ptr>> {
    let mut written = Vec::new();
    let mut page = 0u64;
    for _ in 0..reader.len(reader.remaining())? {
        page = page.saturating_add(reader.u64()?);
        let len = u32::try_from(reader.u64()?).unwrap_or(u32::MAX);
        written.push(Ptr::new(page, len, reader.u32_le()?, birth)?);
    }
    Ok(written)
}

impl Account {
    /// # Errors
    /// `Corruption` if it is malformed.
    pub(crate) fn decode(header: Header, body: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let reader = &mut reader;
        let generation = reader.u64()?;
        let previous = ptr(reader)?;
        let mut roots = Vec::new();
        for _ in 0..reader.len(reader.remaining())? {
            let (id, level, top) = (reader.u64()?, reader.u8()?, ptr(reader)?);
            roots.push((id, RootInfo { top, level }));
        }
        let end = if previous.is_none() { reader.u64()? } else { 0 };
        let mut extents = Vec::new();
        let mut last = 0u64;
        for _ in 0..reader.len(reader.remaining())? {
            let page = last.saturating_add(reader.u64()?);
            extents.push(extent(page, reader.u64()?)?);
            last = page;
        }
        let mut dead = Vec::new();
        for _ in 0..reader.len(reader.remaining())? {
            let extent = extent(reader.u64()?, reader.u64()?)?;
            let birth = reader.u64()?;
            let death = birth.saturating_add(reader.u64()?);
            dead.push(Dead { extent, birth, death });
        }
        let written = match header.version {
            CHECKED.. => written(reader, generation)?,
            _ => Vec::new(),
        };
        if !reader.is_empty() || roots.last().is_none_or(|(id, _)| *id != generation) {
            return Err(Error::corruption("an account of space is malformed"));
        }
        Ok(Self {
            generation,
            previous,
            roots,
            end,
            extents,
            dead,
            written,
        })
    }

    /// Brings `space` from the state before this commit, or from nothing, to the one after it. `own` is where the account is.
    ///
    /// # Errors
    /// `Corruption` if it contradicts what came before.
    pub(crate) fn replay(self, space: &mut Space, own: Extent) -> Result<()> {
        if self.previous.is_some() {
            for extent in self.extents {
                space.carve(extent)?;
            }
        } else {
            space.end = self.end;
            for extent in self.extents {
                if extent.end() > self.end {
                    return Err(Error::corruption("free pages after the end of the file"));
                }
                space.free.add(extent)?;
            }
        }
        space.dead.extend(self.dead);
        space.generation = self.generation;
        space.roots = self.roots.into_iter().collect();
        space.durable = space.roots.keys().copied().collect();
        space.reap()?;
        // Last: it may lie where something dead was that no root of its needs.
        space.carve(own)
    }
}

fn extent(page: u64, pages: u64) -> Result<Extent> {
    let extent = Extent { page, pages };
    if page < 2 || pages == 0 || extent.end() > u64::MAX / super::piece::PAGE / 2 {
        return Err(Error::corruption(format!(
            "an account names pages {page} to {}",
            extent.end()
        )));
    }
    Ok(extent)
}
