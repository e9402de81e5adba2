//! The two states of a file: what the running system sees, and what the disk holds.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::buffer::Buffer;

use super::image::{BlockSize, Dice};
use crate::page::PageBuf;

pub(super) const CHUNK: usize = 4096;
pub(super) const SECTOR: usize = 512;

type Chunk = [u8; CHUNK];

/// File contents as shared chunks: copying costs a pointer, writing copies what it touches. `None` is all zero.
#[derive(Debug, Clone, Default)]
pub(super) struct Bytes {
    chunks: Arc<Vec<Option<Arc<Chunk>>>>,
    pub(super) len: u64,
}

impl Bytes {
    /// Copies from `offset` into `out`; returns how many bytes there were.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let count = self.len.saturating_sub(offset).min(out.len() as u64) as usize;
        let mut done = 0;
        while done < count {
            let (chunk, start) = split(offset + done as u64);
            let piece = (CHUNK - start).min(count - done);
            let target = &mut out[done..done + piece];
            match self.chunks.get(chunk).and_then(Option::as_ref) {
                Some(bytes) => target.copy_from_slice(&bytes[start..start + piece]),
                None => target.fill(0),
            }
            done += piece;
        }
        count
    }

    fn write(&mut self, offset: u64, bytes: &[u8], mut touched: impl FnMut(usize, u8)) {
        let mut done = 0;
        while done < bytes.len() {
            let (chunk, start) = split(offset + done as u64);
            let piece = (CHUNK - start).min(bytes.len() - done);
            self.chunk_mut(chunk)[start..start + piece].copy_from_slice(&bytes[done..done + piece]);
            let (first, last) = (start / SECTOR, (start + piece - 1) / SECTOR);
            touched(chunk, (first..=last).fold(0, |mask, sector| mask | 1 << sector));
            done += piece;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    fn chunk_mut(&mut self, index: usize) -> &mut Chunk {
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.len() <= index {
            chunks.resize(index + 1, None);
        }
        Arc::make_mut(chunks[index].get_or_insert_with(|| Arc::new([0; CHUNK])))
    }

    /// Takes over the sectors of a chunk that `mask` names.
    fn take_sectors(&mut self, index: usize, mask: u8, from: &Self) {
        let source = from.chunks.get(index).and_then(Option::as_ref);
        if mask == u8::MAX {
            let chunks = Arc::make_mut(&mut self.chunks);
            if chunks.len() <= index {
                chunks.resize(index + 1, None);
            }
            chunks[index] = source.cloned();
            return;
        }
        let target = self.chunk_mut(index);
        for sector in (0..CHUNK / SECTOR).filter(|sector| mask & (1 << sector) != 0) {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            match source {
                Some(bytes) => target[range.clone()].copy_from_slice(&bytes[range]),
                None => target[range].fill(0),
            }
        }
    }

    fn truncate(&mut self, len: u64) {
        self.len = len;
        let keep = len.div_ceil(CHUNK as u64) as usize;
        if self.chunks.len() > keep {
            Arc::make_mut(&mut self.chunks).truncate(keep);
        }
        if let (last, used @ 1..) = split(len)
            && self.chunks.get(last).is_some_and(Option::is_some)
        {
            self.chunk_mut(last)[used..].fill(0);
        }
    }
}

fn split(offset: u64) -> (usize, usize) {
    ((offset / CHUNK as u64) as usize, (offset % CHUNK as u64) as usize)
}

/// A file: its current bytes, its bytes on the disk, and what lies between them.
#[derive(Debug, Default)]
pub(super) struct FileState {
    pub(super) current: Bytes,
    pub(super) durable: Bytes,
    /// By chunk, the sectors written since the last sync.
    dirty: BTreeMap<usize, u8>,
    /// By chunk, the sectors that a failed sync has dropped: readable, yet no later sync saves them.
    lost: BTreeMap<usize, u8>,
    length_dirty: bool,
    mapped: Option<Buffer>,
    pub(super) locked: Arc<AtomicBool>,
}

impl FileState {
    /// A file of `len` zero bytes, none of it on the disk.
    pub(super) fn zeroed(len: u64) -> Self {
        Self {
            current: Bytes {
                chunks: Arc::default(),
                len,
            },
            length_dirty: len > 0,
            ..Self::default()
        }
    }

    /// A file whose bytes are all on the disk.
    pub(super) fn saved(bytes: Bytes) -> Self {
        Self {
            current: bytes.clone(),
            durable: bytes,
            ..Self::default()
        }
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let Self { current, dirty, .. } = self;
        let before = current.len;
        current.write(offset, bytes, |chunk, mask| *dirty.entry(chunk).or_default() |= mask);
        self.length_dirty |= self.current.len != before;
        self.mapped = None;
    }

    /// Lengthens the file with zeros; never cuts it.
    pub(super) fn grow(&mut self, len: u64) {
        if len > self.current.len {
            self.current.len = len;
            self.length_dirty = true;
            self.mapped = None;
        }
    }

    /// Cuts the file; never lengthens it.
    pub(super) fn trim(&mut self, len: u64) {
        if len < self.current.len {
            self.current.truncate(len);
            let kept = len.div_ceil(CHUNK as u64) as usize;
            self.dirty.retain(|&chunk, _| chunk < kept);
            self.lost.retain(|&chunk, _| chunk < kept);
            self.length_dirty = true;
            self.mapped = None;
        }
    }

    /// Saves what was written since the last sync, good or bad.
    pub(super) fn sync(&mut self) {
        for (chunk, mask) in std::mem::take(&mut self.dirty) {
            let lost = self.lost.remove(&chunk).unwrap_or(0) & !mask;
            if lost == 0 {
                self.durable.take_sectors(chunk, u8::MAX, &self.current);
            } else {
                self.durable.take_sectors(chunk, mask, &self.current);
                self.lost.insert(chunk, lost);
            }
        }
        if std::mem::take(&mut self.length_dirty) {
            self.durable.truncate(self.current.len);
        }
    }

    /// What a failing sync does: the waiting bytes are forgotten, but stay readable.
    pub(super) fn drop_unsynced(&mut self) {
        for (chunk, mask) in std::mem::take(&mut self.dirty) {
            *self.lost.entry(chunk).or_default() |= mask;
        }
        self.length_dirty = false;
    }

    pub(super) fn is_durable(&self) -> bool {
        self.dirty.is_empty() && self.lost.is_empty() && self.durable.len == self.current.len
    }

    /// Bytes that a power loss could take, in whole sectors.
    pub(super) fn unsynced_bytes(&self) -> u64 {
        let sectors = |map: &BTreeMap<usize, u8>| map.values().map(|mask| u64::from(mask.count_ones())).sum::<u64>();
        (sectors(&self.dirty) + sectors(&self.lost)) * SECTOR as u64
    }

    /// The same file, with the same unsynced parts, in a system of its own.
    pub(super) fn duplicate(&self) -> Self {
        Self {
            current: self.current.clone(),
            durable: self.durable.clone(),
            dirty: self.dirty.clone(),
            lost: self.lost.clone(),
            length_dirty: self.length_dirty,
            mapped: self.mapped.clone(),
            locked: Arc::default(),
        }
    }

    /// What a power loss leaves.
    pub(super) fn survivor(&self, block: BlockSize, dice: &mut Dice) -> Self {
        if self.is_durable() {
            return Self {
                mapped: self.mapped.clone(),
                ..Self::saved(self.current.clone())
            };
        }
        let mut bytes = self.durable.clone();
        for (&chunk, &mask) in &self.dirty {
            let kept = match block {
                BlockSize::Page if dice.survives() => mask,
                BlockSize::Page => 0,
                BlockSize::Sector => (0..8)
                    .filter(|sector| mask & (1 << sector) != 0 && dice.survives())
                    .fold(0, |kept, sector| kept | 1 << sector),
            };
            if kept != 0 {
                bytes.take_sectors(chunk, kept, &self.current);
            }
        }
        let len = if self.length_dirty {
            dice.length(self.durable.len, self.current.len)
        } else {
            self.durable.len
        };
        bytes.truncate(len);
        Self::saved(bytes)
    }

    /// All bytes in one page-aligned piece, made once for each state of the file.
    pub(super) fn map(&mut self) -> io::Result<Buffer> {
        if let Some(buffer) = &self.mapped {
            return Ok(buffer.clone());
        }
        let len = self.current.len as usize;
        let pages = PageBuf::zeroed(len)?;
        let mut piece = [0; CHUNK];
        for offset in (0..len).step_by(CHUNK) {
            let count = self.current.read(offset as u64, &mut piece);
            pages.write(offset, &piece[..count]);
        }
        let buffer = pages.freeze(len);
        self.mapped = Some(buffer.clone());
        Ok(buffer)
    }
}
