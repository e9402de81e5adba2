//! Sidecars: the `.meta` file beside each data file, which holds what the block format cannot.
//!
//! A sidecar is a row of sections, then a directory of them with a CRC32 of each, then a footer with a CRC32 of the directory
//! (the bytes are in `docs/formats/sidecar.md`). [`Sidecar::read`] verifies footer, directory and the small `meta` section;
//! the others are verified when they are asked for, so that opening a run costs little until it is searched. Sections are
//! slices of the buffer given, so with a mapped file filter and fence keys are not copied.

mod blocks;
mod builder;
mod fences;
mod sections;
mod statistics;
pub(crate) mod times;

use arrow::buffer::Buffer;
use kodiak_core::batch::TableId;
use kodiak_core::compaction::RunId;
use kodiak_core::format::{Compression, Part};
use kodiak_core::varint::{Reader, put_bytes, put_u64};
use kodiak_core::{Error, Result, SeqNo};

pub use blocks::Blocks;
pub use builder::SidecarBuilder;
pub use fences::{Fences, FencesBuilder};
use sections::{Section, Sections};
pub use statistics::{Statistics, StatisticsBuilder};

/// The ending of sidecar files, without the dot.
pub const EXTENSION: &str = "meta";

/// Facts about a run, in the sidecar's `meta` section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SidecarMeta {
    /// The identity of the database that wrote it.
    pub database: u64,
    /// The table.
    pub table: TableId,
    /// The run.
    pub run: RunId,
    /// The schema's fingerprint, as the engine computes it.
    pub schema: u64,
    /// The block format of the data file.
    pub format: String,
    /// The compression of its blocks.
    pub compression: Compression,
    /// Length of the data file.
    pub data_bytes: u64,
    /// Rows, point tombstones included.
    pub entries: u64,
    /// Point tombstones.
    pub tombstones: u64,
    /// Merge operands.
    pub merges: u64,
    /// Range deletes.
    pub range_deletes: u64,
    /// Smallest user key of entries and range deletes.
    pub min_key: Vec<u8>,
    /// Largest user key of entries; for a range delete, its end.
    pub max_key: Vec<u8>,
    /// Smallest sequence number.
    pub min_seq: SeqNo,
    /// Largest sequence number.
    pub max_seq: SeqNo,
    /// When the oldest entry was written, microseconds since 1970.
    pub oldest_micros: u64,
    /// When the newest entry was written, microseconds since 1970.
    pub newest_micros: u64,
    /// Free-form properties, sorted by name.
    pub properties: Vec<(String, Vec<u8>)>,
}

/// A range delete: keys from `start` (inclusive) to `end` (exclusive) have no value from before `seq`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeTombstone {
    /// The first key deleted.
    pub start: Vec<u8>,
    /// The first key after it that is not.
    pub end: Vec<u8>,
    /// When.
    pub seq: SeqNo,
}

/// The filter of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFilter {
    /// The filter's name in the registry.
    pub kind: String,
    /// If set, it was built from the first so many bytes of each key.
    pub prefix: Option<usize>,
    /// Its serialised form; begins at a multiple of 64 bytes of the sidecar.
    pub bytes: Buffer,
}

/// An open sidecar.
#[derive(Debug, Clone)]
pub struct Sidecar {
    sections: Sections,
    meta: SidecarMeta,
    shared: Vec<Part>,
}

impl Sidecar {
    /// Opens the bytes of a whole sidecar file.
    ///
    /// # Errors
    /// `Corruption` if footer, directory or the `meta` section are not what was written; `Unsupported` for a newer version.
    /// The offset is named; the caller adds the file.
    pub fn read(bytes: Buffer) -> Result<Self> {
        let sections = Sections::open(bytes)?;
        let meta = sections.get(Section::Meta)?;
        let meta = meta.ok_or_else(|| Error::corruption("the sidecar has no section about its run"))?;
        let (meta, shared) = decode_meta(&meta)?;
        Ok(Self { sections, meta, shared })
    }

    /// The bytes of the whole file.
    pub fn bytes(&self) -> &Buffer {
        self.sections.bytes()
    }

    /// A CRC32 that depends on every byte of the file, so that the manifest can tell this very sidecar from others.
    pub fn crc(&self) -> u32 {
        self.sections.crc()
    }

    /// Facts about the run.
    pub fn meta(&self) -> &SidecarMeta {
        &self.meta
    }

    /// Ranges of the data file that are no block but that the format needs to open it.
    pub fn shared(&self) -> &[Part] {
        &self.shared
    }

    /// The first entry of each block.
    ///
    /// # Errors
    /// `Corruption` if the section is damaged.
    pub fn fences(&self) -> Result<Fences> {
        match self.sections.get(Section::Fences)? {
            Some(bytes) => Fences::decode(bytes),
            None => Err(Error::corruption("the sidecar has no fence keys")),
        }
    }

    /// Where the blocks are.
    ///
    /// # Errors
    /// `Corruption` if the section is damaged, or a block reaches beyond the end of the data file.
    pub fn blocks(&self) -> Result<Blocks> {
        match self.sections.get(Section::Blocks)? {
            Some(bytes) => Blocks::decode(&bytes, self.meta.data_bytes),
            None => Err(Error::corruption("the sidecar does not say where the blocks are")),
        }
    }

    /// The filter, if there is one.
    ///
    /// # Errors
    /// `Corruption` if the section is damaged.
    pub fn filter(&self) -> Result<Option<StoredFilter>> {
        let Some(kind) = self.sections.get(Section::FilterKind)? else {
            return Ok(None);
        };
        let bytes = self.sections.get(Section::Filter)?;
        let bytes = bytes.ok_or_else(|| Error::corruption("the sidecar names a filter but has none"))?;
        let mut reader = Reader::new(&kind);
        let kind = reader.str()?.to_owned();
        let prefix = reader.len(u32::MAX as usize)?;
        Ok(Some(StoredFilter {
            kind,
            prefix: (prefix > 0).then_some(prefix),
            bytes,
        }))
    }

    /// Range deletes, ascending by start, newest first where starts are equal.
    ///
    /// # Errors
    /// `Corruption` if the section is damaged.
    pub fn range_deletes(&self) -> Result<Vec<RangeTombstone>> {
        match self.sections.get(Section::RangeDeletes)? {
            Some(bytes) => decode_range_deletes(&bytes),
            None => Ok(Vec::new()),
        }
    }

    /// Sequence numbers and when they were written (microseconds since 1970), ascending by sequence number.
    ///
    /// # Errors
    /// `Corruption` if the section is damaged.
    pub fn times(&self) -> Result<Vec<(SeqNo, u64)>> {
        match self.sections.get(Section::Times)? {
            Some(bytes) => times::decode(&bytes),
            None => Ok(Vec::new()),
        }
    }

    /// The bounds of columns in each block; `None` for a key-value table, and for sidecars from before there were any.
    ///
    /// # Errors
    /// `Corruption` if the section is damaged.
    pub fn statistics(&self) -> Result<Option<Statistics>> {
        match self.sections.get(Section::Statistics)? {
            Some(bytes) => Statistics::decode(&bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Verifies every section.
    ///
    /// # Errors
    /// `Corruption` for the first damaged one.
    pub fn verify(&self) -> Result<()> {
        let (fences, blocks) = (self.fences()?, self.blocks()?);
        if fences.len() != blocks.len() {
            return Err(Error::corruption(format!(
                "{} fence keys for {} blocks",
                fences.len(),
                blocks.len()
            )));
        }
        self.filter()?;
        self.range_deletes()?;
        self.times()?;
        if let Some(statistics) = self.statistics()? {
            if statistics.blocks() != blocks.len() {
                let message = format!(
                    "statistics of {} blocks for {} blocks",
                    statistics.blocks(),
                    blocks.len()
                );
                return Err(Error::corruption(message));
            }
            statistics.verify()?;
        }
        Ok(())
    }
}

fn encode_meta(meta: &SidecarMeta, shared: &[Part], out: &mut Vec<u8>) {
    out.extend_from_slice(&meta.database.to_le_bytes());
    out.extend_from_slice(&meta.schema.to_le_bytes());
    put_u64(out, u64::from(meta.table));
    put_u64(out, meta.run);
    put_bytes(out, meta.format.as_bytes());
    out.push(meta.compression as u8);
    for number in [
        meta.data_bytes,
        meta.entries,
        meta.tombstones,
        meta.merges,
        meta.range_deletes,
    ] {
        put_u64(out, number);
    }
    put_bytes(out, &meta.min_key);
    put_bytes(out, &meta.max_key);
    for number in [meta.min_seq, meta.max_seq, meta.oldest_micros, meta.newest_micros] {
        put_u64(out, number);
    }
    put_u64(out, shared.len() as u64);
    let mut end = 0;
    for part in shared {
        blocks::put_part(out, part, &mut end);
    }
    put_u64(out, meta.properties.len() as u64);
    for (name, value) in &meta.properties {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value);
    }
}

fn decode_meta(bytes: &[u8]) -> Result<(SidecarMeta, Vec<Part>)> {
    let mut reader = Reader::new(bytes);
    let mut meta = SidecarMeta {
        database: reader.u64_le()?,
        schema: reader.u64_le()?,
        table: reader.len(TableId::MAX as usize)? as TableId,
        run: reader.u64()?,
        format: reader.str()?.to_owned(),
        compression: crate::manifest::compression_from_byte(reader.u8()?)?,
        data_bytes: reader.u64()?,
        entries: reader.u64()?,
        tombstones: reader.u64()?,
        merges: reader.u64()?,
        range_deletes: reader.u64()?,
        min_key: reader.bytes()?.to_vec(),
        max_key: reader.bytes()?.to_vec(),
        min_seq: reader.u64()?,
        max_seq: reader.u64()?,
        oldest_micros: reader.u64()?,
        newest_micros: reader.u64()?,
        properties: Vec::new(),
    };
    let count = reader.len(reader.remaining() / blocks::MIN_PART)?;
    let mut shared = Vec::with_capacity(count);
    let mut end = 0;
    for _ in 0..count {
        shared.push(blocks::read_part(&mut reader, &mut end, meta.data_bytes)?);
    }
    let count = reader.len(reader.remaining() / 2)?;
    meta.properties.reserve_exact(count);
    for _ in 0..count {
        meta.properties
            .push((reader.str()?.to_owned(), reader.bytes()?.to_vec()));
    }
    if !reader.is_empty() {
        return Err(Error::corruption(format!(
            "the sidecar's facts have {} bytes too many",
            reader.remaining()
        )));
    }
    Ok((meta, shared))
}

fn encode_range_deletes(range_deletes: &[RangeTombstone], out: &mut Vec<u8>) {
    let mut sorted: Vec<_> = range_deletes.iter().collect();
    sorted.sort_by(|left, right| left.start.cmp(&right.start).then_with(|| right.seq.cmp(&left.seq)));
    put_u64(out, sorted.len() as u64);
    for tombstone in sorted {
        put_bytes(out, &tombstone.start);
        put_bytes(out, &tombstone.end);
        put_u64(out, tombstone.seq);
    }
}

fn decode_range_deletes(bytes: &[u8]) -> Result<Vec<RangeTombstone>> {
    let mut reader = Reader::new(bytes);
    let count = reader.len(reader.remaining() / 3)?;
    let mut range_deletes = Vec::with_capacity(count);
    for _ in 0..count {
        let (start, end) = (reader.bytes()?.to_vec(), reader.bytes()?.to_vec());
        range_deletes.push(RangeTombstone {
            start,
            end,
            seq: reader.u64()?,
        });
    }
    Ok(range_deletes)
}

#[cfg(test)]
mod tests;
