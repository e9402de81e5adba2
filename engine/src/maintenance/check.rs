//! Reading one run from end to end, trusting nothing: the ground of verification and repair.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use arrow::buffer::Buffer;
use kodiak_core::batch::TableId;
use kodiak_core::block::ColumnBlock;
use kodiak_core::compaction::RunId;
use kodiak_core::entry;
use kodiak_core::filter::{Filter, hash_key};
use kodiak_core::format::{BlockDecoder, FileLayout, FormatFactory, Part, Projection};
use kodiak_core::storage::{ReadableFile, Storage};
use kodiak_core::{Error, ErrorKind, Result, SeqNo, shown_key};

use super::fetch::{fetch, fetch_mended};
use super::totals::Totals;
use crate::components::Components;
use crate::manifest::RunMeta;
use crate::run::{BlockCache, OpenRuns, RunContext};
use crate::sidecar::{Blocks, Fences, Sidecar};
use crate::typed::{SchemaVersion, Schemas};

/// Memory that one decoded block may take, whatever a file claims.
pub(crate) const MAX_DECODED_BLOCK: usize = 256 << 20;

/// Runs that are open at once while all of a table are compared with its index.
const MAX_OPEN_RUNS: usize = 256;

/// What is needed to read the runs of one table.
#[derive(Debug)]
pub(crate) struct TableFiles {
    pub storage: Arc<dyn Storage>,
    pub components: Components,
    /// The identity of the database; 0 if it is not known.
    pub database: u64,
    pub table: TableId,
    pub dir: PathBuf,
    pub schemas: Arc<Schemas>,
}

impl TableFiles {
    pub fn new(
        storage: Arc<dyn Storage>,
        components: Components,
        (database, table): (u64, TableId),
        dir: PathBuf,
        schemas: Schemas,
    ) -> Self {
        Self {
            storage,
            components,
            database,
            table,
            dir,
            schemas: Arc::new(schemas),
        }
    }

    /// What is needed to read them as an open table does.
    pub fn run_context(&self) -> RunContext {
        RunContext {
            storage: Arc::clone(&self.storage),
            dir: self.dir.clone(),
            schemas: Arc::clone(&self.schemas),
            formats: self.components.formats().clone(),
            filters: self.components.filters().clone(),
            cache: Arc::new(BlockCache::new(0)),
            open_runs: Arc::new(OpenRuns::new(MAX_OPEN_RUNS)),
            removals: Arc::default(),
            replaced: AtomicUsize::new(0),
            dropped: AtomicBool::new(false),
        }
    }

    pub fn sidecar_path(&self, run: RunId) -> PathBuf {
        self.dir.join(format!("{run:010}.{}", crate::sidecar::EXTENSION))
    }

    pub fn data_path(&self, run: RunId, format: &FormatFactory) -> PathBuf {
        self.dir.join(format!("{run:010}.{}", format.capabilities.extension))
    }

    /// Opens a sidecar.
    ///
    /// # Errors
    /// `Corruption`, `NotFound`, `Unsupported`, `Io`; all name the file.
    pub fn sidecar(&self, run: RunId) -> Result<Sidecar> {
        let path = self.sidecar_path(run);
        let bytes = super::files::read_small(&*self.storage, &path)?;
        Sidecar::read(bytes).map_err(|error| error.with_file(path))
    }

    /// Compares a sidecar with what the manifest, or the place where it was found, says of it.
    pub fn check_sidecar(&self, sidecar: &Sidecar, run: RunId, meta: Option<&RunMeta>) -> Vec<Error> {
        let (found, path) = (sidecar.meta(), self.sidecar_path(run));
        let mut problems = Vec::new();
        let mut differ = |what: &str, found: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
            let message = format!("the sidecar's {what} is {found:?}, where {expected:?} is expected");
            problems.push(Error::corruption(message).with_file(&path));
        };
        if self.database != 0 && found.database != self.database {
            differ("database", &found.database, &self.database);
        }
        if found.table != self.table {
            differ("table", &found.table, &self.table);
        }
        if found.run != run {
            differ("run", &found.run, &run);
        }
        let known: Vec<u64> = self.schemas.all().iter().map(|version| version.fingerprint).collect();
        if self.schemas.of_sidecar(found.schema).is_err() || known.len() == 1 && known[0] != found.schema {
            differ("schema", &found.schema, &known);
        }
        if let Some(meta) = meta {
            if sidecar.crc() != meta.sidecar_crc {
                differ("checksum", &sidecar.crc(), &meta.sidecar_crc);
            }
            for (what, found, expected) in [
                ("length of the data file", found.data_bytes, meta.data_bytes),
                ("number of entries", found.entries, meta.entries),
                ("number of tombstones", found.tombstones, meta.tombstones),
                ("number of range deletes", found.range_deletes, meta.range_deletes),
                ("smallest sequence number", found.min_seq, meta.min_seq),
                ("largest sequence number", found.max_seq, meta.max_seq),
                ("oldest time", found.oldest_micros, meta.oldest_micros),
                ("newest time", found.newest_micros, meta.newest_micros),
            ] {
                if found != expected {
                    differ(what, &found, &expected);
                }
            }
            if found.format != meta.format || found.compression != meta.compression {
                differ(
                    "format",
                    &(&found.format, found.compression),
                    &(&meta.format, meta.compression),
                );
            }
        }
        if let Some(meta) = meta
            && (found.min_key[..] != *meta.min_key || found.max_key[..] != *meta.max_key)
        {
            let range = |min: &[u8], max: &[u8]| format!("{} to {}", shown_key(min), shown_key(max));
            let found = range(&found.min_key, &found.max_key);
            let message = format!(
                "the sidecar's keys are {found}, where {} are expected",
                range(&meta.min_key, &meta.max_key)
            );
            problems.push(Error::corruption(message).with_file(&path));
        }
        if let Err(error) = sidecar.verify() {
            problems.push(error.with_file(&path));
        }
        problems
    }
}

/// A data file, read block by block.
#[derive(Debug)]
pub(crate) struct DataFile {
    path: PathBuf,
    file: Arc<dyn ReadableFile>,
    layout: FileLayout,
    version: Arc<SchemaVersion>,
    decoder: Arc<dyn BlockDecoder>,
}

impl DataFile {
    /// Opens the data file of the run that a sidecar is of.
    ///
    /// # Errors
    /// `Corruption` naming file and offset; `NotFound`, `Unsupported`, `Io`.
    pub fn open(table: &TableFiles, path: &Path, format: &FormatFactory, sidecar: &Sidecar) -> Result<Self> {
        let version = table.schemas.of_sidecar(sidecar.meta().schema)?;
        // A sidecar that is damaged is reported by itself; the file is then read by its own footer.
        let data = Self::open_as(table, path, format, (version, layout_of(sidecar).ok()), fetch)?;
        let (has, layout) = (data.file.len(), data.layout.file_bytes);
        if has != layout {
            let message = format!("the file has {has} bytes, not {layout}");
            return Err(Error::corruption(message).with_file(path));
        }
        Ok(data)
    }

    /// As [`open`](Self::open), to read its whole blocks: of any length, and with a damaged byte in a short part that they need.
    ///
    /// # Errors
    /// As there.
    pub fn open_damaged(table: &TableFiles, path: &Path, format: &FormatFactory, sidecar: &Sidecar) -> Result<Self> {
        let version = table.schemas.of_sidecar(sidecar.meta().schema)?;
        Self::open_as(table, path, format, (version, layout_of(sidecar).ok()), fetch_mended)
    }

    /// Opens a data file without a sidecar, of whatever schema of the table it is.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn find(table: &TableFiles, path: &Path, format: &FormatFactory) -> Result<Self> {
        let (mut opens, mut failure) = (None, None);
        for version in table.schemas.all().iter().rev() {
            match Self::open_as(table, path, format, (Arc::clone(version), None), fetch) {
                // Not every format tells in its footer what its columns are.
                Ok(data) if data.layout.blocks.is_empty() || data.block(0, &Projection::All).is_ok() => {
                    return Ok(data);
                }
                Ok(data) => opens = opens.or(Some(data)),
                Err(error) if matches!(error.kind(), ErrorKind::Corruption) => failure = failure.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        // Its first block is damaged, as whoever reads on will see.
        let none = || failure.unwrap_or_else(|| Error::corruption("the table has no schema").with_file(path));
        opens.ok_or_else(none)
    }

    fn open_as(
        table: &TableFiles,
        path: &Path,
        format: &FormatFactory,
        (version, layout): (Arc<SchemaVersion>, Option<FileLayout>),
        fetch: fn(&dyn ReadableFile, &Part) -> Result<Buffer>,
    ) -> Result<Self> {
        let in_file = |error: Error| error.with_file(path);
        let file = table.storage.open(path)?;
        let layout = match layout {
            Some(layout) => layout,
            None => (format.create)().recover(&*file, &version.schema).map_err(in_file)?,
        };
        let shared = layout
            .shared
            .iter()
            .map(|part| fetch(&*file, part))
            .collect::<Result<Vec<_>>>()
            .map_err(in_file)?;
        let decoder = (format.create)()
            .open(&version.schema, &version.codecs, &shared, MAX_DECODED_BLOCK)
            .map_err(in_file)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            layout,
            version,
            decoder,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The schema of its rows.
    pub fn version(&self) -> &Arc<SchemaVersion> {
        &self.version
    }

    /// Where its blocks are.
    pub fn layout(&self) -> &FileLayout {
        &self.layout
    }

    /// Compares the layout with the one that the file's own footer tells, by which other programs read it.
    ///
    /// # Errors
    /// `Corruption`.
    pub fn check_footer(&self, format: &FormatFactory) -> Result<()> {
        let found = (format.create)()
            .check(&*self.file, &self.version.schema)
            .map_err(|error| error.with_file(&self.path))?;
        if found == self.layout {
            return Ok(());
        }
        let message = "the file's own footer tells of other blocks than its sidecar, or of blocks with other checksums";
        Err(Error::corruption(message).with_file(&self.path))
    }

    /// Reads, verifies and decodes a block.
    ///
    /// # Errors
    /// `Corruption` naming file and offset; `Io`.
    pub fn block(&self, index: usize, projection: &Projection) -> Result<Arc<ColumnBlock>> {
        let handle = &self.layout.blocks[index];
        let offset = handle.parts.first().map_or(0, |part| part.offset);
        let read = || {
            let parts = handle
                .parts
                .iter()
                .map(|part| fetch(&*self.file, part))
                .collect::<Result<Vec<_>>>()?;
            let block = self.decoder.decode(handle, &parts, projection)?.columns()?;
            if block.rows() != handle.rows as usize {
                return Err(Error::corruption(format!(
                    "a block has {} rows, not {}",
                    block.rows(),
                    handle.rows
                )));
            }
            Ok(block)
        };
        read().map_err(|error| error.with_offset(offset).with_file(&self.path))
    }

    fn problem(&self, index: usize, message: impl Into<String>) -> Error {
        let offset = self.layout.blocks[index].parts.first().map_or(0, |part| part.offset);
        Error::corruption(message).with_file(&self.path).with_offset(offset)
    }

    /// Reads all blocks in order; `each` gets those that are whole. Returns their totals and what is wrong: damaged blocks,
    /// entries out of order.
    pub fn read_all(&self, each: &mut dyn FnMut(usize, &ColumnBlock) -> Result<(), String>) -> (Totals, Vec<Error>) {
        let (mut totals, mut problems) = (Totals::default(), Vec::new());
        let mut last: Option<(Vec<u8>, SeqNo)> = None;
        for index in 0..self.layout.blocks.len() {
            let block = match self.block(index, &Projection::All) {
                Ok(block) => block,
                Err(error) => {
                    problems.push(error);
                    continue;
                }
            };
            let before = |row: usize| match row.checked_sub(1) {
                Some(before) => Some((block.key(before), block.seq(before))),
                None => last.as_ref().map(|(key, seq)| (key.as_slice(), *seq)),
            };
            let here = |row: usize| (block.key(row), block.seq(row));
            let disorder = (0..block.rows())
                .find(|&row| before(row).is_some_and(|before| entry::compare(before, here(row)).is_ge()));
            if let Some(row) = disorder {
                problems.push(self.problem(
                    index,
                    format!("row {row} of block {index} is not after the row before it"),
                ));
            }
            totals.add(&block);
            last = Some((totals.max_key.clone(), block.seq(block.rows() - 1)));
            if let Err(message) = each(index, &block) {
                problems.push(self.problem(index, message));
            }
        }
        (totals, problems)
    }
}

/// The layout that a sidecar tells.
///
/// # Errors
/// `Corruption`.
pub(crate) fn layout_of(sidecar: &Sidecar) -> Result<FileLayout> {
    let blocks: Blocks = sidecar.blocks()?;
    Ok(FileLayout {
        blocks: (0..blocks.len()).map(|index| blocks.handle(index)).collect(),
        shared: sidecar.shared().to_vec(),
        file_bytes: sidecar.meta().data_bytes,
    })
}

/// What a sidecar says of blocks, to be compared with them.
pub(crate) struct Expected {
    fences: Fences,
    filter: Option<(Box<dyn Filter>, Option<usize>)>,
}

impl Expected {
    /// Of a sidecar.
    ///
    /// # Errors
    /// `Corruption`; `InvalidSettings` for a filter that is not registered.
    pub fn new(sidecar: &Sidecar, components: &Components) -> Result<Self> {
        let filter = match sidecar.filter()? {
            Some(stored) => Some((
                (components.filters().find(&stored.kind)?.open)(stored.bytes)?,
                stored.prefix,
            )),
            None => None,
        };
        let (fences, blocks) = (sidecar.fences()?, sidecar.blocks()?.len());
        if fences.len() != blocks {
            return Err(Error::corruption(format!(
                "{} fence keys for {blocks} blocks",
                fences.len()
            )));
        }
        Ok(Self { fences, filter })
    }

    /// Compares block `index`.
    pub fn check(&self, index: usize, block: &ColumnBlock) -> Result<(), String> {
        let mut key = Vec::new();
        self.fences.key(index, &mut key);
        if key != block.key(0) || self.fences.seq(index) != block.seq(0) {
            return Err(format!(
                "the first entry of block {index} is not the one that the sidecar says"
            ));
        }
        if index + 1 == self.fences.len() && self.fences.last_key() != block.key(block.rows() - 1) {
            return Err("the last key is not the one that the sidecar says".to_owned());
        }
        if let Some((filter, prefix)) = &self.filter {
            let hash = |key: &[u8]| hash_key(prefix.map_or(key, |len| &key[..len.min(key.len())]));
            if let Some(row) = (0..block.rows()).find(|&row| !filter.may_contain(hash(block.key(row)))) {
                return Err(format!("the filter denies the key of row {row} of block {index}"));
            }
        }
        Ok(())
    }
}
