//! Opening runs and finding keys in them.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::buffer::Buffer;
use kodiak_core::block::{Block, ColumnBlock, FoundVersion};
use kodiak_core::compaction::RunId;
use kodiak_core::filter::{Filter, hash_key};
use kodiak_core::format::{BlockDecoder, Compression, Projection};
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::ReadableFile;
use kodiak_core::{Error, ErrorKind, Result, SeqNo};

use super::cache::BlockCache;
use super::context::RunContext;
use super::direct::{DirectBlock, Slot};
use super::fetch::fetch;
use super::rows::Rows;
use crate::manifest::RunMeta;
use crate::primary::locator::Locator;
use crate::range_delete::RangeTombstones;
use crate::sidecar::{Blocks, Fences, Sidecar, Statistics};
use crate::typed::SchemaVersion;

/// Memory that one decoded block may take, whatever a file claims.
const MAX_DECODED_BLOCK: usize = 256 << 20;

/// The hash of a key, computed when the first filter asks.
#[derive(Debug, Default, Clone, Copy)]
pub struct KeyHash(Option<u64>);

impl KeyHash {
    #[inline]
    fn of(&mut self, key: &[u8]) -> u64 {
        *self.0.get_or_insert_with(|| hash_key(key))
    }
}

/// An open run.
#[derive(Debug)]
pub struct RunReader {
    id: RunId,
    path: PathBuf,
    version: Arc<SchemaVersion>,
    sidecar: Sidecar,
    fences: Fences,
    blocks: Blocks,
    filter: Option<Box<dyn Filter>>,
    filter_prefix: Option<usize>,
    /// The range deletes.
    pub tombstones: RangeTombstones,
    pub(super) file: Arc<dyn ReadableFile>,
    map: Option<Buffer>,
    /// A block's columns are in the mapped file as they are: only encoded keys take work and memory.
    lies_decoded: bool,
    decoder: Arc<dyn BlockDecoder>,
    cache: Arc<BlockCache>,
    /// Blocks that are searched in the mapped file, each checked and opened once; empty if the format must decode.
    direct: Box<[Slot]>,
    /// One bit for each block of a mapped file whose checksum has been verified, and that was decoded.
    verified: Box<[AtomicU64]>,
    /// One bit for each block of a mapped file whose rows are known to be puts of distinct keys.
    plain: Box<[AtomicU64]>,
    /// Read when the first filter asks.
    statistics: OnceLock<Option<Arc<Statistics>>>,
    /// Made when it is first needed.
    first_rows: OnceLock<Arc<[u32]>>,
}

impl RunReader {
    /// Opens the files of a run.
    ///
    /// # Errors
    /// `Corruption` naming the file, `NotFound`, `Io`.
    pub(super) fn open(meta: &RunMeta, context: &RunContext) -> Result<Self> {
        let sidecar_path = context.sidecar_path(meta.id);
        let format = context
            .formats
            .find(&meta.format)
            .map_err(|error| error.with_file(&sidecar_path))?;
        let path = context.data_path(meta.id, format.capabilities.extension);
        let sidecar_file = context.storage.open(&sidecar_path)?;
        if sidecar_file.len() != meta.sidecar_bytes {
            return Err(wrong_length(meta.sidecar_bytes, sidecar_file.len()).with_file(sidecar_path));
        }
        let bytes = sidecar_file.read(0, meta.sidecar_bytes as usize)?;
        let in_sidecar = |error: Error| error.with_file(&sidecar_path);
        let sidecar = Sidecar::read(bytes).map_err(in_sidecar)?;
        if sidecar.crc() != meta.sidecar_crc {
            return Err(in_sidecar(Error::corruption(
                "it is not the sidecar that the manifest names",
            )));
        }
        let (fences, blocks) = (
            sidecar.fences().map_err(in_sidecar)?,
            sidecar.blocks().map_err(in_sidecar)?,
        );
        if fences.len() != blocks.len() {
            return Err(in_sidecar(Error::corruption(
                "the sidecar has another number of fence keys than of blocks",
            )));
        }
        let deletes = sidecar.range_deletes().map_err(in_sidecar)?;
        let file = context.storage.open(&path)?;
        if file.len() != meta.data_bytes {
            return Err(wrong_length(meta.data_bytes, file.len()).with_file(path));
        }
        let map = file.map()?;
        let shared: Vec<Buffer> = sidecar
            .shared()
            .iter()
            .map(|part| fetch(&*file, map.as_ref(), part, true))
            .collect::<Result<_>>()
            .map_err(|error| error.with_file(&path))?;
        let version = context.schemas.of_sidecar(sidecar.meta().schema).map_err(in_sidecar)?;
        let decoder = (format.create)()
            .open(&version.schema, &version.codecs, &shared, MAX_DECODED_BLOCK)
            .map_err(|error| error.with_file(&path))?;
        let (filter, filter_prefix) = match sidecar.filter().map_err(in_sidecar)? {
            Some(stored) => {
                let factory = context.filters.find(&stored.kind).map_err(in_sidecar)?;
                (Some((factory.open)(stored.bytes).map_err(in_sidecar)?), stored.prefix)
            }
            None => (None, None),
        };
        let count = blocks.len();
        let lies_decoded =
            map.is_some() && format.capabilities.random_access_without_decode && meta.compression == Compression::None;
        let in_place = lies_decoded && version.schema.is_key_value();
        let words = if map.is_some() { count.div_ceil(64) } else { 0 };
        let bits = || (0..words).map(|_| AtomicU64::new(0)).collect();
        Ok(Self {
            id: meta.id,
            filter,
            filter_prefix,
            tombstones: deletes.into_iter().collect(),
            direct: (0..if in_place { count } else { 0 }).map(|_| Slot::default()).collect(),
            verified: bits(),
            plain: bits(),
            lies_decoded,
            path,
            version,
            sidecar,
            fences,
            blocks,
            file,
            map,
            decoder,
            cache: Arc::clone(&context.cache),
            statistics: OnceLock::new(),
            first_rows: OnceLock::new(),
        })
    }

    /// The number of its run.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// The schema of its rows.
    pub fn schema(&self) -> &TableSchema {
        &self.version.schema
    }

    /// The schema of its rows, with its codecs.
    pub fn schema_version(&self) -> &SchemaVersion {
        &self.version
    }

    /// What is known of the values in its blocks, if the sidecar has it.
    ///
    /// # Errors
    /// `Corruption` naming the sidecar, if that part of the sidecar is damaged.
    pub fn statistics(&self) -> Result<Option<Arc<Statistics>>> {
        if let Some(known) = self.statistics.get() {
            return Ok(known.clone());
        }
        let read = self.sidecar.statistics().map_err(|error| {
            let sidecar = self.path.with_extension(crate::sidecar::EXTENSION);
            error.with_file(sidecar)
        })?;
        Ok(self.statistics.get_or_init(|| read.map(Arc::new)).clone())
    }

    /// How many rows a block has.
    pub fn block_rows(&self, index: usize) -> u32 {
        self.blocks.rows(index)
    }

    /// A filter kept `blocks` of them from being read.
    pub fn note_left_out(&self, blocks: u64) {
        self.cache.reads.left_out(blocks);
    }

    /// How many blocks it has.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The last block whose first entry is at or before `(key, seq)`.
    #[inline]
    pub fn locate(&self, key: &[u8], seq: SeqNo) -> Option<usize> {
        self.fences.locate(key, seq)
    }

    /// The first key of each block.
    pub fn fences(&self) -> &Fences {
        &self.fences
    }

    /// Of each block, the number in the file of its first row.
    ///
    /// # Errors
    /// `Unsupported` if there are more rows than 32 bits can count.
    pub fn first_rows(&self) -> Result<&Arc<[u32]>> {
        if let Some(first_rows) = self.first_rows.get() {
            return Ok(first_rows);
        }
        let too_many = || {
            let message = "a run has more rows than deletion vectors can number: set compaction.target_run_size lower";
            Error::new(ErrorKind::Unsupported, message).with_file(&self.path)
        };
        let (mut end, mut first_rows) = (0u32, Vec::with_capacity(self.blocks()));
        for block in 0..self.blocks() {
            first_rows.push(end);
            end = end.checked_add(self.blocks.rows(block)).ok_or_else(too_many)?;
        }
        Ok(self.first_rows.get_or_init(|| first_rows.into()))
    }

    /// The sidecar.
    pub fn sidecar(&self) -> &Sidecar {
        &self.sidecar
    }

    /// False if the filter knows that no key in the run begins with `prefix`.
    pub fn may_contain_prefix(&self, prefix: &[u8]) -> bool {
        match (&self.filter, self.filter_prefix) {
            (Some(filter), Some(len)) if prefix.len() >= len => filter.may_contain(hash_key(&prefix[..len])),
            _ => true,
        }
    }

    /// False if the filter knows that no version of `key` is in the run, which is counted.
    #[inline]
    pub(super) fn may_contain(&self, key: &[u8], hash: &mut KeyHash) -> bool {
        let may_contain = match (&self.filter, self.filter_prefix) {
            (None, _) => true,
            (Some(filter), None) => filter.may_contain(hash.of(key)),
            (Some(filter), Some(len)) => filter.may_contain(hash_key(&key[..len.min(key.len())])),
        };
        if !may_contain {
            self.cache.reads.excluded();
        }
        may_contain
    }

    /// As [`Run::get`].
    #[inline]
    pub(super) fn get(&self, key: &[u8], hash: &mut KeyHash, seq: SeqNo, dated: bool) -> Result<Option<FoundVersion>> {
        if !self.may_contain(key, hash) {
            return Ok(None);
        }
        self.cache.reads.run();
        for block in self.fences.blocks_of(key, seq) {
            if let Some(found) = self.find_in(block, key, seq, dated)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    #[inline]
    pub(super) fn version_at(&self, key: &[u8], locator: &Locator) -> Result<Option<FoundVersion>> {
        let block = locator.block as usize;
        if block >= self.blocks() {
            return Ok(None);
        }
        self.cache.reads.run();
        let found = match self.direct_block(block)? {
            Some((direct, map)) => {
                self.cache.reads.mapped();
                direct.located(map, key, locator)
            }
            None => self.cached(block, true)?.find(key, locator.seq)?,
        };
        Ok(found.filter(|found| found.seq == locator.seq))
    }

    #[inline]
    fn find_in(&self, index: usize, key: &[u8], seq: SeqNo, dated: bool) -> Result<Option<FoundVersion>> {
        if let Some((block, map)) = self.direct_block(index)? {
            self.cache.reads.mapped();
            return block.find(map, key, seq, dated);
        }
        self.cached(index, true)?.find(key, seq)
    }

    /// A block for a cursor: where it lies, if it can be read there; with what `projection` says, or whole if it is in the
    /// cache or if that costs no more. A whole block stays in the cache if `fill_cache`, as the columns that were made of it. If it is read
    /// `once`, what has to be decoded is not read in the mapped file, or its pages would count as memory of the process.
    pub fn rows(&self, index: usize, projection: &Projection, (fill_cache, once): (bool, bool)) -> Result<Rows> {
        if let Some((block, map)) = self.direct_block(index)? {
            self.cache.reads.mapped();
            return Ok(Rows::direct(block, map));
        }
        let apart = once && !self.lies_decoded;
        let whole = match projection {
            _ if apart => self.cache.peek(self.id, index as u32),
            Projection::All => Some(self.cached(index, fill_cache)?),
            // Where it lies decoded, a whole block takes little more, and more reads have use for it.
            _ if self.lies_decoded && fill_cache => Some(self.cached(index, fill_cache)?),
            _ => self.cache.peek(self.id, index as u32),
        };
        let Some(block) = whole else {
            let map = self.map.as_ref().filter(|_| !apart);
            return self.decode_from(map, index, projection)?.columns().map(Rows::Columns);
        };
        let columns = Arc::clone(&block).columns()?;
        let made = !std::ptr::addr_eq(Arc::as_ptr(&block), Arc::as_ptr(&columns));
        if made && fill_cache {
            // The next cursor need not make them again.
            self.cache
                .put(self.id, index as u32, Arc::clone(&columns) as Arc<dyn Block>);
        }
        Ok(Rows::Columns(columns))
    }

    /// Where a block is in the mapped file, if it is searched there.
    #[inline]
    fn direct_block(&self, index: usize) -> Result<Option<(&DirectBlock, &Buffer)>> {
        let (Some(slot), Some(map)) = (self.direct.get(index), &self.map) else {
            return Ok(None);
        };
        let block = match slot.0.get() {
            Some(block) => block,
            None => self.open_direct(slot, map, index)?,
        };
        Ok(block.as_ref().map(|block| (block, map)))
    }

    #[cold]
    fn open_direct<'s>(&self, slot: &'s Slot, map: &Buffer, index: usize) -> Result<&'s Option<DirectBlock>> {
        let block = self.decode(index, &Projection::All)?.columns()?;
        Ok(slot.0.get_or_init(|| DirectBlock::new(&block, map)))
    }

    fn cached(&self, index: usize, fill: bool) -> Result<Arc<dyn Block>> {
        self.cache
            .get(self.id, index as u32, fill, || self.decode(index, &Projection::All))
    }

    /// Lets go of the mapped pages of some blocks, which were read once.
    pub fn forget(&self, blocks: Range<usize>) {
        if !self.lies_decoded || blocks.is_empty() {
            return;
        }
        // The parts of a block may be far from each other, but each near those of the next block.
        let (first, last) = (self.blocks.parts(blocks.start), self.blocks.parts(blocks.end - 1));
        for (first, last) in first.iter().zip(last) {
            self.file.forget(first.offset..last.offset + last.len);
        }
    }

    /// Bytes of a block in the file.
    pub fn block_bytes(&self, index: usize) -> u64 {
        self.blocks.parts(index).iter().map(|part| part.len).sum()
    }

    /// Reads, verifies and decodes a block.
    pub fn decode(&self, index: usize, projection: &Projection) -> Result<Arc<dyn Block>> {
        self.decode_from(self.map.as_ref(), index, projection)
    }

    fn decode_from(&self, map: Option<&Buffer>, index: usize, projection: &Projection) -> Result<Arc<dyn Block>> {
        let handle = self.blocks.handle(index);
        let (word, bit) = (index / 64, 1 << (index % 64));
        let verify = self
            .verified
            .get(word)
            .is_none_or(|bits| bits.load(Ordering::Relaxed) & bit == 0);
        let parts: Vec<Buffer> = handle
            .parts
            .iter()
            .map(|part| fetch(&*self.file, map, part, verify))
            .collect::<Result<_>>()
            .map_err(|error| error.with_file(&self.path))?;
        let offset = handle.parts.first().map_or(0, |part| part.offset);
        let block = match verify {
            true => self.decoder.decode(&handle, &parts, projection),
            false => self.decoder.decode_again(&handle, &parts, projection),
        }
        .map_err(|error| error.with_file(&self.path).with_offset(offset))?;
        if block.rows() != handle.rows as usize {
            return Err(
                Error::corruption(format!("a block has {} rows, not {}", block.rows(), handle.rows))
                    .with_file(&self.path)
                    .with_offset(offset),
            );
        }
        if verify && let Some(bits) = self.verified.get(word) {
            bits.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(block)
    }

    /// As [`ColumnBlock::plain`], of a block of this run with this number; may tell a later sequence number. In mapped files it
    /// is looked for once.
    pub fn plain(&self, index: usize, block: &ColumnBlock) -> Option<SeqNo> {
        let bits = self.plain.get(index / 64);
        if bits.is_some_and(|bits| bits.load(Ordering::Relaxed) >> (index % 64) & 1 == 1) {
            return Some(self.sidecar.meta().max_seq);
        }
        let plain = block.plain();
        if let (Some(_), Some(bits)) = (plain, bits) {
            bits.fetch_or(1 << (index % 64), Ordering::Relaxed);
        }
        plain
    }
}

fn wrong_length(expected: u64, found: u64) -> Error {
    Error::corruption(format!("the file has {found} bytes, but the manifest says {expected}"))
}
