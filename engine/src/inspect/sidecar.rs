//! What a sidecar holds.

use std::fmt;
use std::path::Path;

use kodiak_core::format::Compression;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, Result, SeqNo};

use crate::maintenance::read_small;
use crate::sidecar::{RangeTombstone, Sidecar, SidecarMeta};

/// One block, as a sidecar tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockDump {
    /// Where its first part begins in the data file.
    pub offset: u64,
    /// Bytes of all its parts.
    pub bytes: u64,
    /// How many parts it has.
    pub parts: usize,
    /// Its rows.
    pub rows: u32,
    /// The key of its first entry.
    pub first_key: Vec<u8>,
    /// The sequence number of its first entry.
    pub first_seq: SeqNo,
}

/// A sidecar.
#[derive(Debug, Clone)]
pub struct SidecarDump {
    /// Facts about its run.
    pub meta: SidecarMeta,
    /// The checksum by which the manifest knows it.
    pub crc: u32,
    /// The blocks of the data file.
    pub blocks: Vec<BlockDump>,
    /// The filter's kind, prefix length and bytes.
    pub filter: Option<(String, Option<usize>, usize)>,
    /// Range deletes.
    pub range_deletes: Vec<RangeTombstone>,
    /// Sequence numbers and when they were written, microseconds since 1970.
    pub times: Vec<(SeqNo, u64)>,
}

/// Reads a sidecar (`.meta`), or that of a data file.
///
/// # Errors
/// `NotFound`; `Corruption` naming file and offset; `Unsupported`, `Io`.
pub fn sidecar(storage: &dyn Storage, path: &Path) -> Result<SidecarDump> {
    let path = path.with_extension(crate::sidecar::EXTENSION);
    let read = || {
        let sidecar = Sidecar::read(read_small(storage, &path)?)?;
        sidecar.verify()?;
        let (layout, fences) = (sidecar.blocks()?, sidecar.fences()?);
        let blocks = (0..layout.len()).map(|index| {
            let (handle, mut first_key) = (layout.handle(index), Vec::new());
            fences.key(index, &mut first_key);
            BlockDump {
                offset: handle.parts.first().map_or(0, |part| part.offset),
                bytes: handle.bytes(),
                parts: handle.parts.len(),
                rows: handle.rows,
                first_key,
                first_seq: fences.seq(index),
            }
        });
        Ok(SidecarDump {
            blocks: blocks.collect(),
            crc: sidecar.crc(),
            filter: sidecar
                .filter()?
                .map(|filter| (filter.kind, filter.prefix, filter.bytes.len())),
            range_deletes: sidecar.range_deletes()?,
            times: sidecar.times()?,
            meta: sidecar.meta().clone(),
        })
    };
    read().map_err(|error: Error| error.with_file(&path))
}

impl fmt::Display for SidecarDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meta = &self.meta;
        let compression: Compression = meta.compression;
        writeln!(
            f,
            "run {} of table {} of database {:016x}, sidecar {:08x}",
            meta.run, meta.table, meta.database, self.crc
        )?;
        writeln!(
            f,
            "format {} {}, {} bytes, schema {:016x}",
            meta.format,
            compression.name(),
            meta.data_bytes,
            meta.schema
        )?;
        let (entries, deletes) = (meta.entries, meta.tombstones);
        writeln!(
            f,
            "{entries} entries, {deletes} tombstones, {} merges, {} range deletes",
            meta.merges, meta.range_deletes
        )?;
        writeln!(
            f,
            "keys \"{}\" to \"{}\"",
            meta.min_key.escape_ascii(),
            meta.max_key.escape_ascii()
        )?;
        writeln!(f, "sequence {} to {}", meta.min_seq, meta.max_seq)?;
        writeln!(
            f,
            "written from {} to {} microseconds since 1970",
            meta.oldest_micros, meta.newest_micros
        )?;
        match &self.filter {
            Some((kind, None, bytes)) => writeln!(f, "filter {kind}, {bytes} bytes")?,
            Some((kind, Some(prefix), bytes)) => {
                writeln!(f, "filter {kind} over {prefix} bytes of keys, {bytes} bytes")?
            }
            None => writeln!(f, "no filter")?,
        }
        for (name, value) in &meta.properties {
            writeln!(f, "property {name} = \"{}\"", value.escape_ascii())?;
        }
        for deleted in &self.range_deletes {
            let (start, end) = (deleted.start.escape_ascii(), deleted.end.escape_ascii());
            writeln!(f, "range delete at {}: \"{start}\" to \"{end}\"", deleted.seq)?;
        }
        for (seq, micros) in &self.times {
            writeln!(f, "up to sequence {seq}: {micros}")?;
        }
        for (index, block) in self.blocks.iter().enumerate() {
            let BlockDump {
                offset,
                bytes,
                parts,
                rows,
                first_key,
                first_seq,
            } = block;
            writeln!(
                f,
                "block {index} at {offset}: {rows} rows, {bytes} bytes in {parts} parts, from \"{}\" at {first_seq}",
                first_key.escape_ascii()
            )?;
        }
        Ok(())
    }
}
