//! Looking into the files of a database: what `kodiak dump` prints. Nothing is changed, and the database may be open.

mod rows;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use kodiak_core::format::{Compression, Projection};
use kodiak_core::index::{IndexContext, Root};
use kodiak_core::options::Options;
use kodiak_core::storage::Storage;
use kodiak_core::{EntryRef, Error, ErrorKind, Op, Result, SeqNo};

use crate::components::Components;
use crate::maintenance::{DataFile, TableFile, TableFiles, read_small};
use crate::manifest::{Change, IndexMeta, Manifest, RunMeta, State, VersionEdit};
use crate::primary::locator::NewestWins;
use crate::secondary::{IndexColumn, IndexedBy, StoredDefinition};
use crate::sidecar::{RangeTombstone, Sidecar, SidecarMeta};

pub use rows::RowReader;

pub use crate::primary::locator::Locator;

/// The name of the upsert operator of indexes that databases keep.
pub const LOCATOR_OPERATOR: &str = NewestWins::NAME;

/// A manifest: its edits, and what they add up to.
#[derive(Debug, Clone)]
pub struct ManifestDump {
    /// The offset of each record in the manifest file, and its edit.
    pub edits: Vec<(u64, VersionEdit)>,
    /// The state after all of them.
    pub state: State,
}

/// Reads the manifest of the database in the directory `db`.
///
/// # Errors
/// `NotFound`; `Corruption` naming file and offset; `Unsupported`, `Io`.
pub fn manifest(storage: &dyn Storage, db: &Path) -> Result<ManifestDump> {
    let mut edits = Vec::new();
    let state = Manifest::dump(storage, db, &mut |offset, edit| {
        edits.push((offset, edit.clone()));
        Ok(())
    })?;
    Ok(ManifestDump { edits, state })
}

impl fmt::Display for ManifestDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (offset, edit) in &self.edits {
            writeln!(f, "edit at {offset}")?;
            edit.changes
                .iter()
                .try_for_each(|change| writeln!(f, "  {}", Line(change)))?;
        }
        let state = &self.state;
        writeln!(f, "database {:016x}", state.identity)?;
        writeln!(
            f,
            "last sequence number {}, log from segment {}",
            state.last_seq, state.wal_from
        )?;
        writeln!(
            f,
            "next run {}, table {}, sorted run {}",
            state.next_run, state.next_table, state.next_sorted_run
        )?;
        if let Some(meta) = &state.catalogue {
            let name = crate::manifest::catalogue_name(meta.number);
            writeln!(f, "catalogue {name}, {}, root {}", meta.kind, meta.root)?;
        }
        for (id, table) in &state.tables {
            writeln!(
                f,
                "table {id} \"{}\": {} runs, flushed below segment {}",
                table.name,
                table.runs.len(),
                table.flushed
            )?;
            if let Some(index) = &table.index {
                writeln!(f, "  primary index: {}", IndexLine(index))?;
            }
            for placed in table.runs.values() {
                let place = placed.place;
                writeln!(
                    f,
                    "  level {} sorted run {}: {}",
                    place.level,
                    place.sorted_run,
                    RunLine(&placed.run)
                )?;
            }
        }
        Ok(())
    }
}

struct Line<'c>(&'c Change);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Change::Identity(identity) => write!(f, "database {identity:016x}"),
            Change::Catalogue(meta) => write!(
                f,
                "runs of the catalogue {}, {}, root {}",
                crate::manifest::catalogue_name(meta.number),
                meta.kind,
                meta.root
            ),
            Change::CreateTable {
                id,
                name,
                schema,
                options,
            } => write!(
                f,
                "create table {id} \"{}\" ({} bytes of schema, {} of options)",
                name.escape_debug(),
                schema.len(),
                options.len()
            ),
            Change::DropTable(table) => write!(f, "drop table {table}"),
            Change::TableOptions { table, options } => write!(f, "options of table {table}: {} bytes", options.len()),
            Change::AddRun { table, place, run } => {
                write!(
                    f,
                    "add to table {table}, level {}, sorted run {}: {}",
                    place.level,
                    place.sorted_run,
                    RunLine(run)
                )
            }
            Change::RemoveRun { table, run } => write!(f, "remove run {run} from table {table}"),
            Change::MoveRun { table, run, place } => {
                write!(
                    f,
                    "move run {run} of table {table} to level {}, sorted run {}",
                    place.level, place.sorted_run
                )
            }
            Change::LastSeq(seq) => write!(f, "last sequence number {seq}"),
            Change::WalFrom(segment) => write!(f, "log needed from segment {segment}"),
            Change::LogEnd(seq) => write!(f, "log closed at sequence number {seq}"),
            Change::Flushed { table, segment } => write!(f, "table {table} flushed below segment {segment}"),
            Change::AddSchema {
                table,
                number,
                in_force,
                schema,
            } => {
                let what = if *in_force { "schema" } else { "layout" };
                write!(f, "{what} {number} of table {table}: {} bytes", schema.len())
            }
            Change::NextIds { run, table, sorted_run } => {
                write!(f, "next run {run}, table {table}, sorted run {sorted_run}")
            }
            Change::SetIndex { table, index: None } => write!(f, "no index of table {table}"),
            Change::SetIndex {
                table,
                index: Some(index),
            } => write!(f, "index of table {table}: {}", IndexLine(index)),
            Change::AddSecondary {
                table,
                name,
                definition,
            } => write!(f, "index \"{name}\" of table {table}: {}", definition_line(definition)),
            Change::DropSecondary { table, name } => write!(f, "index \"{name}\" of table {table} goes"),
            Change::SetSecondary {
                table,
                name,
                index: None,
            } => write!(f, "index \"{name}\" of table {table} is to be built"),
            Change::SetSecondary {
                table,
                name,
                index: Some(index),
            } => {
                let exact = if index.exact { ", exact" } else { "" };
                write!(
                    f,
                    "index \"{name}\" of table {table}: {}{exact}",
                    IndexLine(&index.file)
                )
            }
            Change::MarkDead { table, dead: None } => write!(f, "no deletion vectors of table {table}"),
            Change::MarkDead {
                table,
                dead: Some(marks),
            } => {
                let what = if marks.anew { "dead" } else { "newly dead" };
                write!(f, "{what} rows of table {table}:")?;
                let mut runs = marks.runs.iter();
                runs.try_for_each(|(run, dead)| write!(f, " {} of run {run}", dead.count()))
            }
        }
    }
}

/// What an index is of, in words.
fn definition_line(definition: &[u8]) -> String {
    match StoredDefinition::from_bytes(definition) {
        Ok(definition) => {
            let unique = if definition.unique { "unique, " } else { "" };
            match definition.by {
                IndexedBy::Extractor(name) => format!("{unique}by extractor \"{name}\""),
                IndexedBy::Columns(columns) => {
                    let sign = |column: &IndexColumn| if column.descending { "-" } else { "" };
                    let number = |column: &IndexColumn| format!("{}{}", sign(column), column.number);
                    let numbers: Vec<_> = columns.iter().map(number).collect();
                    format!("{unique}by columns {}", numbers.join(", "))
                }
            }
        }
        Err(error) => error.message().to_owned(),
    }
}

struct IndexLine<'i>(&'i IndexMeta);

impl fmt::Display for IndexLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = crate::primary::file_name(self.0.id);
        write!(f, "{} in {file}, root {}", self.0.kind, self.0.root)
    }
}

struct RunLine<'r>(&'r RunMeta);

impl fmt::Display for RunLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = self.0;
        write!(f, "run {} ({} {}), ", run.id, run.format, run.compression.name())?;
        write!(
            f,
            "{} + {} bytes, {} entries in {} blocks",
            run.data_bytes, run.sidecar_bytes, run.entries, run.blocks
        )?;
        write!(
            f,
            ", {} tombstones, {} range deletes",
            run.tombstones, run.range_deletes
        )?;
        write!(
            f,
            ", keys \"{}\" to \"{}\"",
            run.min_key.escape_ascii(),
            run.max_key.escape_ascii()
        )?;
        write!(
            f,
            ", sequence {} to {}, sidecar {:08x}",
            run.min_seq, run.max_seq, run.sidecar_crc
        )
    }
}

/// Hands over the range deletes and then the entries of a run, given its data file in the directory of its table, whose `TABLE`
/// file tells the schema. Each block is compared with its checksum first. In a typed table keys
/// and values are the row's bytes, which a [`RowReader`] reads.
///
/// # Errors
/// `InvalidInput` for a path that is not of a run; `NotFound`; `Corruption` naming file and offset; `Unsupported`, `Io`;
/// whatever `each` returns.
pub fn run(
    storage: Arc<dyn Storage>,
    components: &Components,
    path: &Path,
    each: &mut dyn FnMut(EntryRef<'_>) -> Result<()>,
) -> Result<()> {
    let id = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .and_then(|stem| stem.parse().ok());
    let (Some(id), Some(dir)) = (id, path.parent()) else {
        return Err(
            Error::invalid_input("not a run: the name of one is its number and the ending of its format")
                .with_file(path),
        );
    };
    let table = TableFile::read(&*storage, dir)?;
    let schemas = table.state().schemas()?;
    let files = TableFiles::new(
        storage,
        components.clone(),
        (table.database, table.table),
        dir.to_owned(),
        schemas,
    );
    let sidecar = files.sidecar(id)?;
    for deleted in sidecar.range_deletes()? {
        each(EntryRef {
            key: &deleted.start,
            seq: deleted.seq,
            op: Op::RangeDelete,
            value: &deleted.end,
        })?;
    }
    let format = components.formats().find(&sidecar.meta().format)?;
    let data = DataFile::open(&files, &files.data_path(id, format), format, &sidecar)?;
    for index in 0..data.layout().blocks.len() {
        let block = data.block(index, &Projection::All)?;
        for row in 0..block.rows() {
            let value = block.value(row)?;
            each(EntryRef {
                key: block.key(row),
                seq: block.seq(row),
                op: block.op(row),
                value: &value,
            })?;
        }
    }
    Ok(())
}

/// Takes a key and its value.
pub type Each<'e> = &'e mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// Hands over every key of an index file with its value, from one of its roots, or from the newest. In an index of a database
/// (whose operator is [`LOCATOR_OPERATOR`]) values are [`Locator`]s.
///
/// # Errors
/// `InvalidSettings` if no component reads the file; `NotFound`; `Corruption` naming file and offset; `Unsupported`, `Io`; whatever
/// `each` returns.
pub fn index(
    storage: Arc<dyn Storage>,
    components: &Components,
    path: &Path,
    root: Option<Root>,
    each: Each<'_>,
) -> Result<()> {
    let mut refused = Error::settings("index.primary", "no index is registered").with_file(path);
    for factory in components.indexes().iter() {
        let options = Options::defaults(factory.component.options);
        let opened = (factory.open)(IndexContext {
            storage: Arc::clone(&storage),
            path: path.to_owned(),
            pool: (factory.pool)((factory.smallest_pool)(&options)),
            options,
            upsert: Some(Arc::new(NewestWins)),
        });
        let index = match opened {
            Err(error) if error.kind() == ErrorKind::InvalidSettings => {
                refused = error;
                continue;
            }
            opened => opened?,
        };
        let newest = index.roots().last().copied();
        let root = root
            .or(newest)
            .ok_or_else(|| Error::corruption("there is no root").with_file(path))?;
        let mut cursor = index.view(root)?.cursor();
        cursor.seek_first()?;
        while let (Some(key), Some(value)) = (cursor.key(), cursor.value()) {
            each(key, value)?;
            cursor.next()?;
        }
        return Ok(());
    }
    Err(refused)
}

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
