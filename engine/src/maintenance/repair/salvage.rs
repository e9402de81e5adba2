//! Saving what is whole of a damaged data file.
//!
//! The whole blocks become a run of the same number, first in a directory of its own. Only once that run is complete, sidecar
//! and all, do the damaged files give way to it: a repair that was cut short in between goes on from there.

use std::path::Path;
use std::sync::Arc;

use kodiak_core::block::ColumnBlock;
use kodiak_core::compaction::RunId;
use kodiak_core::entry::{self, EntryRef};
use kodiak_core::format::{Compression, FormatFactory, Projection, WriteOptions};
use kodiak_core::options::Options;
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, ErrorKind, Op, Result, SeqNo};

use super::{LOST_DIR, Repair};
use crate::maintenance::capture::table_dir;
use crate::maintenance::check::{DataFile, TableFiles};
use crate::maintenance::files;
use crate::manifest::RunMeta;
use crate::range_delete::RangeTombstones;
use crate::run::{RunPlan, RunWriter};
use crate::sidecar::{EXTENSION, Sidecar};
use crate::typed::Target;

/// Within the directory of lost files: a directory for each table with runs that are not in their place yet.
const UNPLACED: &str = "unplaced";

/// Puts the whole blocks of a data file, and the range deletes of its sidecar if that can be read, in the place of the run.
/// `None` if there are none.
///
/// # Errors
/// Those of writing.
pub(super) fn salvage(
    repair: &mut Repair<'_>,
    table: &TableFiles,
    run: RunId,
    (data, format): (&DataFile, &'static FormatFactory),
    (old, said): (Option<&Sidecar>, Option<&RunMeta>),
) -> Result<Option<RunMeta>> {
    let dir = repair
        .path
        .join(LOST_DIR)
        .join(UNPLACED)
        .join(format!("{:06}", table.table));
    repair.storage.create_dir_all(&dir)?;
    let target = Target::new(&table.schemas, Arc::clone(data.version()));
    let mut context = table.run_context();
    context.dir.clone_from(&dir);
    let mut writer = RunWriter::new(
        Arc::new(context),
        &target,
        Arc::new(plan(repair, table, target.schema(), format, old)),
        run,
    )?;
    let (mut whole, mut rows) = (Whole::default(), 0u64);
    for (index, handle) in data.layout().blocks.iter().enumerate() {
        rows += u64::from(handle.rows);
        if let Ok(block) = data.block(index, &Projection::All)
            && whole.follows(&block)
        {
            push(&mut writer, &block, &target)?;
            whole.take(&block);
        }
    }
    let tombstones: RangeTombstones = old
        .and_then(|old| old.range_deletes().ok())
        .unwrap_or_default()
        .into_iter()
        .collect();
    let message = match whole.rows == rows {
        true => format!("all its {rows} rows could be saved: they are written anew"),
        false => format!(
            "{} of its {rows} rows could be saved; what the others had replaced or deleted may be back",
            whole.rows
        ),
    };
    repair
        .report
        .problems
        .push(Error::corruption(message).with_file(data.path()));
    if whole.rows == 0 && tombstones.is_empty() {
        return Ok(None);
    }
    let now = repair.storage.now_micros();
    let ages = old.map(|old| (old.meta().oldest_micros, old.meta().newest_micros));
    let ages = ages.or(said.map(|said| (said.oldest_micros, said.newest_micros)));
    let samples = old.and_then(|old| old.times().ok()).unwrap_or_default();
    let meta = writer.finish(&tombstones, ages.unwrap_or((now, now)), |_, newest| {
        match samples.is_empty() {
            true => vec![(newest, now)],
            false => samples,
        }
    })?;
    // It must not be gone after a power loss when the damaged files are.
    for dir in dir.ancestors().take_while(|dir| *dir != repair.path) {
        repair.storage.sync_dir(dir)?;
    }
    repair.storage.sync_dir(repair.path)?;
    place(repair, table.table, &dir, run, format.capabilities.extension)?;
    Ok(Some(meta))
}

/// Puts the complete runs in their places that an earlier repair has left.
///
/// # Errors
/// `Io`; `InvalidSettings` for a format that is not registered.
pub(super) fn resume(repair: &mut Repair<'_>) -> Result<()> {
    let root = repair.path.join(LOST_DIR).join(UNPLACED);
    for name in files::list(&*repair.storage, &root)? {
        let dir = root.join(&name);
        let Ok(table) = name.parse() else { continue };
        for file in files::list(&*repair.storage, &dir)? {
            let Some(run) = file
                .strip_suffix(&format!(".{EXTENSION}"))
                .and_then(|run| run.parse().ok())
            else {
                continue;
            };
            let bytes = files::read_small(&*repair.storage, &dir.join(&file))?;
            // One that is not whole was being written; what it is of is still in its place.
            if let Ok(sidecar) = Sidecar::read(bytes) {
                // A format that is not registered ends the repair: the run may be nowhere else by now.
                let format = repair.resolved.components().formats().find(&sidecar.meta().format)?;
                place(repair, table, &dir, run, format.capabilities.extension)?;
            }
        }
    }
    clear(repair)
}

/// All runs are in their places.
///
/// # Errors
/// `Io`.
pub(super) fn clear(repair: &Repair<'_>) -> Result<()> {
    match repair
        .storage
        .remove_dir_all(&repair.path.join(LOST_DIR).join(UNPLACED))
    {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        cleared => cleared,
    }
}

/// Gives way to a complete run. Its files keep their first names until the second ones are durable.
fn place(repair: &mut Repair<'_>, table: u32, dir: &Path, run: RunId, extension: &str) -> Result<()> {
    let home = table_dir(repair.path, table);
    let names = [extension, EXTENSION].map(|extension| format!("{run:010}.{extension}"));
    if repair.storage.len(&dir.join(&names[0]))?.is_none() {
        // It is in its place already.
        return Ok(());
    }
    let prefix = format!("{run:010}.");
    for name in files::list(&*repair.storage, &home)? {
        if name.starts_with(&prefix) {
            repair.lose(&home.join(name))?;
        }
    }
    for name in &names {
        files::link_or_copy(&*repair.storage, &dir.join(name), &home.join(name))?;
    }
    repair.storage.sync_dir(&home)?;
    for name in &names {
        repair.storage.remove(&dir.join(name))?;
    }
    repair.report.rebuilt.push(home.join(&names[0]));
    Ok(())
}

/// The format stays: it can hold the table's columns.
fn plan(
    repair: &Repair<'_>,
    table: &TableFiles,
    schema: &TableSchema,
    format: &'static FormatFactory,
    old: Option<&Sidecar>,
) -> RunPlan {
    let level = repair.resolved.format_at(0);
    let options = match level.factory.component.name == format.component.name {
        true => level.write.options.clone(),
        false => Options::defaults(format.component.options),
    };
    let filter = &repair.resolved.filter;
    RunPlan {
        format,
        write: WriteOptions {
            compression: old.map_or(Compression::None, |old| old.meta().compression),
            options,
        },
        lasting: true,
        block_size: level.block_size(schema),
        filter: (
            filter.factory,
            filter.options.clone(),
            repair.resolved.settings.filter.bits_per_key,
        ),
        filter_prefix: repair.resolved.settings.filter.prefix,
        database: table.database,
        table: table.table,
    }
}

fn push(writer: &mut RunWriter, block: &ColumnBlock, target: &Target) -> Result<()> {
    for row in 0..block.rows() {
        let (op, mut value) = (block.op(row), block.value(row)?);
        if op != Op::Delete && !target.schema().is_key_value() {
            value = target.encoded(value)?;
        }
        writer.push(EntryRef {
            key: block.key(row),
            seq: block.seq(row),
            op,
            value: &value,
        })?;
    }
    Ok(())
}

/// The rows saved so far.
#[derive(Default)]
struct Whole {
    last: Option<(Vec<u8>, SeqNo)>,
    rows: u64,
}

impl Whole {
    /// True if the rows of a block are in order, and after those saved.
    fn follows(&self, block: &ColumnBlock) -> bool {
        let at = |row: usize| (block.key(row), block.seq(row));
        let last = self.last.as_ref().map(|(key, seq)| (key.as_slice(), *seq));
        block.rows() > 0
            && last.is_none_or(|last| entry::compare(last, at(0)).is_lt())
            && (1..block.rows()).all(|row| entry::compare(at(row - 1), at(row)).is_lt())
    }

    fn take(&mut self, block: &ColumnBlock) {
        let last = block.rows() - 1;
        self.last = Some((block.key(last).to_vec(), block.seq(last)));
        self.rows += block.rows() as u64;
    }
}
