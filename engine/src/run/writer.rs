//! Writing one run: blocks, then the sidecar.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::buffer::Buffer;
use kodiak_core::block::ColumnBlock;
use kodiak_core::compaction::RunId;
use kodiak_core::filter::{FilterFactory, hash_key};
use kodiak_core::format::{BlockWriter, FormatFactory, WriteOptions};
use kodiak_core::options::Options;
use kodiak_core::{EntryRef, Op, Result, SeqNo};

use super::builder::BlockBuilder;
use super::context::RunContext;
use crate::manifest::RunMeta;
use crate::range_delete::RangeTombstones;
use crate::sidecar::{Sidecar, SidecarBuilder, SidecarMeta, StatisticsBuilder};
use crate::typed::Target;

/// The property, without a value, of runs that hold no more than one version of each key.
pub const DISTINCT: &str = "distinct";

/// How a run is to be written.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// The format.
    pub format: &'static FormatFactory,
    /// Its compression and options.
    pub write: WriteOptions,
    /// The run is on a level that runs stay on for long.
    pub lasting: bool,
    /// Bytes of entries in a block.
    pub block_size: usize,
    /// The filter, its options, and bits per key.
    pub filter: (&'static FilterFactory, Options, f64),
    /// Length of the key prefixes that the filter holds; `None` for whole keys.
    pub filter_prefix: Option<usize>,
    /// The database, for the sidecar.
    pub database: u64,
    /// The table, for the sidecar.
    pub table: u32,
}

/// Writes one run. Dropped without [`finish`](Self::finish), it removes what it wrote.
pub struct RunWriter {
    context: Arc<RunContext>,
    plan: Arc<RunPlan>,
    id: RunId,
    data_path: PathBuf,
    writer: Option<Box<dyn BlockWriter>>,
    builder: BlockBuilder,
    sidecar: SidecarBuilder,
    hashes: Vec<u64>,
    /// The bytes that the last filter hash was made of.
    hashed: Vec<u8>,
    any_hashed: bool,
    /// Some key has several versions.
    repeats: bool,
    bytes_closed: u64,
    done: bool,
}

impl RunWriter {
    /// Starts run `id`, whose rows will be of the schema of `target`.
    ///
    /// # Errors
    /// Those of creating the file.
    pub fn new(context: Arc<RunContext>, target: &Target, plan: Arc<RunPlan>, id: RunId) -> Result<Self> {
        let data_path = context.data_path(id, plan.format.capabilities.extension);
        let mut file = context.storage.create(&data_path)?;
        if plan.lasting {
            file.read_for_long();
        }
        let writer = (plan.format.create)().create(file, target.schema(), &plan.write)?;
        let builder = BlockBuilder::new(target.clone(), plan.block_size);
        let meta = SidecarMeta {
            database: plan.database,
            table: plan.table,
            run: id,
            schema: target.version().fingerprint,
            format: plan.format.component.name.to_owned(),
            compression: plan.write.compression,
            min_seq: SeqNo::MAX,
            ..SidecarMeta::default()
        };
        let sidecar = SidecarBuilder {
            meta,
            statistics: StatisticsBuilder::new(target.schema()),
            ..SidecarBuilder::default()
        };
        Ok(Self {
            context,
            plan,
            id,
            data_path,
            writer: Some(writer),
            builder,
            sidecar,
            hashes: Vec::new(),
            hashed: Vec::new(),
            any_hashed: false,
            repeats: false,
            bytes_closed: 0,
            done: false,
        })
    }

    /// Bytes of the entries taken so far, before compression.
    pub fn bytes(&self) -> u64 {
        self.bytes_closed + self.builder.bytes() as u64
    }

    /// The key of the last entry taken.
    pub fn last_key(&self) -> Option<&[u8]> {
        if self.sidecar.meta.entries == 0 {
            None
        } else if self.builder.rows() > 0 {
            Some(self.builder.last_key())
        } else {
            Some(&self.sidecar.meta.max_key)
        }
    }

    /// Takes an entry; entries come in order.
    #[inline]
    pub fn push(&mut self, entry: EntryRef<'_>) -> Result<()> {
        self.repeats = self.repeats || self.last_key() == Some(entry.key);
        self.builder.push(entry);
        self.hash(entry.key);
        let meta = &mut self.sidecar.meta;
        meta.entries += 1;
        meta.tombstones += u64::from(entry.op == Op::Delete);
        meta.merges += u64::from(entry.op == Op::Merge);
        meta.min_seq = meta.min_seq.min(entry.seq);
        meta.max_seq = meta.max_seq.max(entry.seq);
        if self.builder.bytes() >= self.plan.block_size {
            self.close_block()
        } else {
            Ok(())
        }
    }

    /// Takes rows `from..to` of a block: puts of distinct keys, none of which is the last key taken unless it is one row.
    pub fn push_rows(&mut self, block: &Arc<ColumnBlock>, mut from: usize, to: usize) -> Result<()> {
        self.repeats = self.repeats || self.last_key() == Some(block.key(from));
        while from < to {
            let room = self.plan.block_size.saturating_sub(self.builder.bytes());
            let until = self.builder.rows_within(block, from, to, room);
            self.builder.push_rows(block, from, until);
            let meta = &mut self.sidecar.meta;
            meta.entries += (until - from) as u64;
            for &seq in &block.seqs()[from..until] {
                meta.min_seq = meta.min_seq.min(seq as SeqNo);
                meta.max_seq = meta.max_seq.max(seq as SeqNo);
            }
            if self.plan.filter_prefix.is_none() && self.filters() && until - from > 1 {
                self.hashes.extend((from..until).map(|row| hash_key(block.key(row))));
                self.hashed.clear();
                self.hashed.extend_from_slice(block.key(until - 1));
                self.any_hashed = true;
            } else {
                (from..until).for_each(|row| self.hash(block.key(row)));
            }
            if self.builder.bytes() >= self.plan.block_size {
                self.close_block()?;
            }
            from = until;
        }
        Ok(())
    }

    fn filters(&self) -> bool {
        self.plan.filter.2 > 0.0
    }

    #[inline]
    fn hash(&mut self, key: &[u8]) {
        if !self.filters() {
            return;
        }
        let key = self.plan.filter_prefix.map_or(key, |len| &key[..len.min(key.len())]);
        if self.any_hashed && self.hashed == key {
            return;
        }
        self.hashed.clear();
        self.hashed.extend_from_slice(key);
        self.any_hashed = true;
        self.hashes.push(hash_key(key));
    }

    fn close_block(&mut self) -> Result<()> {
        let Some((first, seq)) = self.builder.first() else {
            return Ok(());
        };
        let last = self.builder.last_key();
        self.sidecar.fences.push(first, seq, last);
        if self.sidecar.meta.min_key.is_empty() && self.bytes_closed == 0 {
            self.sidecar.meta.min_key = first.to_vec();
        }
        self.sidecar.meta.max_key.clear();
        self.sidecar.meta.max_key.extend_from_slice(last);
        self.bytes_closed += self.builder.bytes() as u64;
        let batch = self.builder.take()?;
        self.sidecar.statistics.push(batch.columns())?;
        match &mut self.writer {
            Some(writer) => writer.write(&batch),
            None => Ok(()),
        }
    }

    /// Finishes data file and sidecar, synced both (the directory is the caller's to sync). `tombstones` are the range
    /// deletes of the run's key range; `times` when its oldest and newest entry were written; `samples` what the sidecar
    /// remembers of when sequence numbers were given out.
    ///
    /// # Errors
    /// Those of writing; what was written is removed then.
    pub fn finish(
        mut self,
        tombstones: &RangeTombstones,
        times: (u64, u64),
        samples: impl FnOnce(SeqNo, SeqNo) -> Vec<(SeqNo, u64)>,
    ) -> Result<RunMeta> {
        self.close_block()?;
        if let Some(writer) = self.writer.take() {
            self.sidecar.layout = writer.finish(true)?;
        }
        let (factory, options, bits) = &self.plan.filter;
        if self.filters()
            && let Some(bytes) = (factory.build)(options, &self.hashes, *bits)?
        {
            self.sidecar.filter = Some((factory.component.name.to_owned(), self.plan.filter_prefix, bytes));
        }
        self.cover(tombstones);
        let meta = &mut self.sidecar.meta;
        if meta.min_seq == SeqNo::MAX {
            meta.min_seq = 0;
        }
        (meta.oldest_micros, meta.newest_micros) = times;
        if !self.repeats {
            meta.properties.push((DISTINCT.to_owned(), Vec::new()));
        }
        meta.data_bytes = self.sidecar.layout.file_bytes;
        self.sidecar.times = samples(meta.min_seq, meta.max_seq);
        let bytes = self.sidecar.write()?;
        let path = self.context.sidecar_path(self.id);
        let mut file = self.context.storage.create(&path)?;
        file.write_all(&bytes)
            .map_err(|source| kodiak_core::Error::io("write the sidecar", &path, source))?;
        file.finish(true)?;
        self.done = true;
        let len = bytes.len() as u64;
        let crc = Sidecar::read(Buffer::from_vec(bytes))?.crc();
        Ok(self.meta(len, crc))
    }

    /// Range deletes widen the bounds of the run.
    fn cover(&mut self, tombstones: &RangeTombstones) {
        let meta = &mut self.sidecar.meta;
        for tombstone in tombstones.iter() {
            let empty = meta.entries == 0 && meta.range_deletes == 0;
            if empty || tombstone.start < meta.min_key {
                meta.min_key.clone_from(&tombstone.start);
            }
            if empty || tombstone.end > meta.max_key {
                meta.max_key.clone_from(&tombstone.end);
            }
            meta.min_seq = meta.min_seq.min(tombstone.seq);
            meta.max_seq = meta.max_seq.max(tombstone.seq);
            meta.range_deletes += 1;
            self.sidecar.range_deletes.push(tombstone);
        }
    }

    fn meta(&self, sidecar_bytes: u64, sidecar_crc: u32) -> RunMeta {
        let meta = &self.sidecar.meta;
        RunMeta {
            id: self.id,
            format: meta.format.clone(),
            compression: meta.compression,
            data_bytes: meta.data_bytes,
            sidecar_bytes,
            sidecar_crc,
            entries: meta.entries,
            tombstones: meta.tombstones,
            range_deletes: meta.range_deletes,
            blocks: self.sidecar.layout.blocks.len() as u64,
            min_key: meta.min_key.as_slice().into(),
            max_key: meta.max_key.as_slice().into(),
            min_seq: meta.min_seq,
            max_seq: meta.max_seq,
            oldest_micros: meta.oldest_micros,
            newest_micros: meta.newest_micros,
        }
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.writer.take();
        for path in [self.data_path.clone(), self.context.sidecar_path(self.id)] {
            if let Err(error) = self.context.storage.remove(&path)
                && error.kind() != kodiak_core::ErrorKind::NotFound
            {
                tracing::warn!(%error, "an unfinished run could not be removed");
            }
        }
    }
}
