//! Making one run usable again.

use std::path::PathBuf;

use kodiak_core::block::{ColumnBlock, Values};
use kodiak_core::compaction::RunId;
use kodiak_core::filter::hash_key;
use kodiak_core::format::{Compression, FormatFactory};
use kodiak_core::{Error, ErrorKind, Result};

use super::Repair;
use super::salvage::salvage;
use crate::maintenance::check::{DataFile, Expected, TableFiles, layout_of};
use crate::maintenance::files;
use crate::maintenance::totals::Totals;
use crate::maintenance::totals::with_range_deletes;
use crate::manifest::RunMeta;
use crate::sidecar::{Sidecar, SidecarBuilder, SidecarMeta, StatisticsBuilder};

/// What the manifest is to know of a run whose data file is whole, its sidecar rebuilt if need be; `None` if the run cannot be
/// used. `said` is what a manifest says of it.
pub(super) fn keep(
    repair: &mut Repair<'_>,
    table: &TableFiles,
    run: RunId,
    said: Option<&RunMeta>,
) -> Result<Option<RunMeta>> {
    let sidecar = match readable(table.sidecar(run))? {
        Ok(sidecar) => Some(sidecar),
        Err(error) => {
            repair.report.problems.push(error);
            None
        }
    };
    if let Some(sidecar) = &sidecar {
        let problems = table.check_sidecar(sidecar, run, said);
        let foreign = sidecar.meta().database != table.database || sidecar.meta().table != table.table;
        if problems.is_empty() {
            match check(repair, table, run, sidecar)? {
                Checked::Sound(meta) => return Ok(Some(meta)),
                Checked::Unreadable(data, format) => {
                    return salvage(repair, table, run, (&data, format), (Some(sidecar), said));
                }
                Checked::Damaged => {}
            }
        } else if foreign {
            // Its data is of another database, or of another table of this one.
            repair.report.problems.extend(problems);
            return Ok(None);
        }
        repair.report.problems.extend(problems);
    }
    rebuild(repair, table, run, sidecar.as_ref(), said)
}

/// Passes on what cannot be helped by repair: a disk that cannot be read, files of a newer version.
pub(super) fn readable<T>(result: Result<T>) -> Result<Result<T>> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::Unsupported) => Err(error),
        other => Ok(other),
    }
}

/// How the files of a run are.
enum Checked {
    /// Sidecar and data file agree: what the manifest is to know of them.
    Sound(RunMeta),
    /// So they do, but other programs cannot read the data file, because it is damaged outside its blocks.
    Unreadable(DataFile, &'static FormatFactory),
    /// They do not agree, or blocks are damaged.
    Damaged,
}

/// Compares sidecar and data file.
fn check(repair: &mut Repair<'_>, table: &TableFiles, run: RunId, sidecar: &Sidecar) -> Result<Checked> {
    let meta = sidecar.meta();
    let format = table.components.formats().find(&meta.format)?;
    let open = || {
        let data = DataFile::open(table, &table.data_path(run, format), format, sidecar)?;
        let expected = Expected::new(sidecar, &table.components)?;
        let (totals, problems) = data.read_all(&mut |index, block| expected.check(index, block));
        Ok((with_range_deletes(totals, &sidecar.range_deletes()?), problems, data))
    };
    let (totals, problems, data) = match readable(open())? {
        Ok(found) => found,
        Err(error) => {
            repair.report.problems.push(error.with_file(table.sidecar_path(run)));
            return Ok(Checked::Damaged);
        }
    };
    let agree = totals
        == Totals {
            entries: meta.entries,
            tombstones: meta.tombstones,
            merges: meta.merges,
            min_key: meta.min_key.clone(),
            max_key: meta.max_key.clone(),
            min_seq: meta.min_seq,
            max_seq: meta.max_seq,
        };
    if problems.is_empty() && agree {
        match data.check_footer(format) {
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            // Its blocks can be read: a footer of a newer version would be damage.
            Err(error) => {
                repair.report.problems.push(error);
                return Ok(Checked::Unreadable(data, format));
            }
            Ok(()) => {}
        }
        let blocks = data.layout().blocks.len() as u64;
        let sidecar_bytes = table.storage.len(&table.sidecar_path(run))?.unwrap_or(0);
        return Ok(Checked::Sound(run_meta(meta, blocks, sidecar_bytes, sidecar.crc())));
    }
    if problems.is_empty() {
        let error = Error::corruption("the sidecar's counts or bounds are not those of the data file");
        repair.report.problems.push(error.with_file(table.sidecar_path(run)));
    }
    repair.report.problems.extend(problems);
    Ok(Checked::Damaged)
}

fn run_meta(meta: &SidecarMeta, blocks: u64, sidecar_bytes: u64, sidecar_crc: u32) -> RunMeta {
    RunMeta {
        id: meta.run,
        format: meta.format.clone(),
        compression: meta.compression,
        data_bytes: meta.data_bytes,
        sidecar_bytes,
        sidecar_crc,
        entries: meta.entries,
        tombstones: meta.tombstones,
        range_deletes: meta.range_deletes,
        blocks,
        min_key: meta.min_key.as_slice().into(),
        max_key: meta.max_key.as_slice().into(),
        min_seq: meta.min_seq,
        max_seq: meta.max_seq,
        oldest_micros: meta.oldest_micros,
        newest_micros: meta.newest_micros,
    }
}

/// The data file of a run, whatever its format.
fn data_file(table: &TableFiles, run: RunId) -> Result<Option<(PathBuf, &'static FormatFactory)>> {
    for format in table.components.formats().iter() {
        let path = table.data_path(run, format);
        if table.storage.len(&path)?.is_some() {
            return Ok(Some((path, format)));
        }
    }
    Ok(None)
}

/// Writes the sidecar anew from the data file, taking over from the old one what can still be read of it; of a damaged data file,
/// a new run.
fn rebuild(
    repair: &mut Repair<'_>,
    table: &TableFiles,
    run: RunId,
    old: Option<&Sidecar>,
    said: Option<&RunMeta>,
) -> Result<Option<RunMeta>> {
    let Some((path, format)) = data_file(table, run)? else {
        let error = Error::corruption("the data file of this sidecar is missing").with_file(table.sidecar_path(run));
        repair.report.problems.push(error);
        return Ok(None);
    };
    let found = match DataFile::find(table, &path, format) {
        // The sidecar is of this version: its checksums tell more than what damaged bytes claim to be.
        Err(error) if error.kind() == ErrorKind::Unsupported && old.is_some() => Err(error),
        found => readable(found)?,
    };
    // Without a sidecar nobody knows the checksums of blocks; where there is one, its checksums decide.
    if let Some(old) = old
        && let Ok(layout) = layout_of(old)
        && !found.as_ref().is_ok_and(|data| layout.blocks == data.layout().blocks)
    {
        let message = "the data file is damaged: its bytes do not have the checksums that its sidecar tells";
        repair.report.problems.push(Error::corruption(message).with_file(&path));
        return match readable(DataFile::open_damaged(table, &path, format, old))? {
            Ok(data) => salvage(repair, table, run, (&data, format), (Some(old), said)),
            Err(error) => {
                repair.report.problems.push(error);
                Ok(None)
            }
        };
    }
    let data = match found {
        Ok(data) => data,
        Err(error) => {
            repair.report.problems.push(error);
            return Ok(None);
        }
    };
    let mut sidecar = SidecarBuilder {
        layout: data.layout().clone(),
        statistics: StatisticsBuilder::new(&data.version().schema),
        ..SidecarBuilder::default()
    };
    let mut hashes: Vec<u64> = Vec::new();
    let mut fill = |_: usize, block: &ColumnBlock| {
        sidecar
            .fences
            .push(block.key(0), block.seq(0), block.key(block.rows() - 1));
        hashes.extend((0..block.rows()).map(|row| hash_key(block.key(row))));
        match block.values() {
            Values::Columns(batch, _) => sidecar
                .statistics
                .push(batch.columns())
                .map_err(|error| error.to_string()),
            _ => Ok(()),
        }
    };
    let (totals, problems) = data.read_all(&mut fill);
    if !problems.is_empty() {
        repair.report.problems.extend(problems);
        return salvage(repair, table, run, (&data, format), (old, said));
    }
    hashes.dedup();
    let filter = &repair.resolved.filter;
    let bits = repair.resolved.settings.filter.bits_per_key;
    if bits > 0.0
        && let Some(bytes) = (filter.factory.build)(&filter.options, &hashes, bits)?
    {
        sidecar.filter = Some((filter.factory.component.name.to_owned(), None, bytes));
    }
    describe(
        &mut sidecar,
        &mut repair.report.problems,
        table,
        run,
        (old, said),
        (format, data.version().fingerprint, totals),
    );
    let now = table.storage.now_micros();
    if sidecar.meta.newest_micros == 0 {
        (sidecar.meta.oldest_micros, sidecar.meta.newest_micros) = (now, now);
    }
    if sidecar.times.is_empty() {
        sidecar.times = vec![(sidecar.meta.max_seq, now)];
    }
    if sidecar.meta.entries == 0 && sidecar.range_deletes.is_empty() {
        return Ok(None);
    }
    let bytes = sidecar.write()?;
    let target = table.sidecar_path(run);
    repair.lose_if_there(&target)?;
    files::replace(&*table.storage, &target, &bytes)?;
    repair.report.rebuilt.push(target);
    let sidecar = Sidecar::read(arrow::buffer::Buffer::from_vec(bytes))?;
    let length = table.storage.len(&table.sidecar_path(run))?.unwrap_or(0);
    Ok(Some(run_meta(
        sidecar.meta(),
        data.layout().blocks.len() as u64,
        length,
        sidecar.crc(),
    )))
}

/// Fills in the facts of a rebuilt sidecar.
fn describe(
    sidecar: &mut SidecarBuilder,
    problems: &mut Vec<Error>,
    table: &TableFiles,
    run: RunId,
    (old, said): (Option<&Sidecar>, Option<&RunMeta>),
    (format, schema, totals): (&FormatFactory, u64, Totals),
) {
    sidecar.range_deletes = old.and_then(|old| old.range_deletes().ok()).unwrap_or_default();
    let known = old
        .map(|old| old.meta().range_deletes)
        .or(said.map(|said| said.range_deletes));
    if known != Some(sidecar.range_deletes.len() as u64) {
        let what = match known {
            Some(_) => "the range deletes of this run are lost",
            None => "the range deletes of this run, if it had any, are lost",
        };
        let message = format!("{what}: what they deleted may be back");
        problems.push(Error::corruption(message).with_file(table.sidecar_path(run)));
    }
    sidecar.times = old.and_then(|old| old.times().ok()).unwrap_or_default();
    let times = old.map(|old| (old.meta().oldest_micros, old.meta().newest_micros));
    let (oldest_micros, newest_micros) = times
        .or(said.map(|said| (said.oldest_micros, said.newest_micros)))
        .unwrap_or_default();
    // The engine asks for it only to know whether a block may be searched where it lies, which decoders check again.
    let compression = old
        .map(|old| old.meta().compression)
        .or(said.map(|said| said.compression));
    let totals = with_range_deletes(totals, &sidecar.range_deletes);
    sidecar.meta = SidecarMeta {
        database: table.database,
        table: table.table,
        run,
        schema,
        format: format.component.name.to_owned(),
        compression: compression.unwrap_or(Compression::Lz4),
        data_bytes: sidecar.layout.file_bytes,
        entries: totals.entries,
        tombstones: totals.tombstones,
        merges: totals.merges,
        range_deletes: sidecar.range_deletes.len() as u64,
        min_key: totals.min_key,
        max_key: totals.max_key,
        min_seq: totals.min_seq,
        max_seq: totals.max_seq,
        oldest_micros,
        newest_micros,
        properties: Vec::new(),
    };
}
