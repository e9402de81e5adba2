//! Runs: sidecar, data file, and each against the other.

use std::path::{Path, PathBuf};

use kodiak_core::compaction::RunId;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, ErrorKind, Result, shown_key};

use super::VerifyReport;
use crate::maintenance::check::{DataFile, Expected, TableFiles};
use crate::maintenance::files;
use crate::maintenance::totals::{Totals, with_range_deletes};
use crate::manifest::RunMeta;

/// The numbers of the runs of which there is any file.
pub(crate) fn runs_in(storage: &dyn Storage, dir: &Path) -> Vec<RunId> {
    let names = files::list(storage, dir).unwrap_or_default();
    let index = format!(".{}", crate::primary::EXTENSION);
    let mut runs: Vec<RunId> = names
        .iter()
        .filter(|name| !name.ends_with(&index) && !name.ends_with(&format!("{index}.new")))
        .filter_map(|name| name.split_once('.')?.0.parse().ok())
        .collect();
    runs.sort_unstable();
    runs.dedup();
    runs
}

/// Verifies one run: sidecar, data file, and each against the other.
pub(crate) fn verify_run(files: &TableFiles, run: RunId, meta: Option<&RunMeta>, report: &mut VerifyReport) {
    report.runs += 1;
    let (sidecar, sidecar_path) = (files.sidecar(run), files.sidecar_path(run));
    let sidecar = match sidecar {
        Ok(sidecar) => sidecar,
        Err(error) => {
            report.problems.push(error);
            // The data file can still be looked at by itself.
            if let Some(meta) = meta {
                let read = files
                    .components
                    .formats()
                    .find(&meta.format)
                    .map_err(|error| error.with_file(&sidecar_path));
                let opened = read.and_then(|format| DataFile::find(files, &files.data_path(run, format), format));
                match opened {
                    Ok(data) => report.problems.extend(data.read_all(&mut |_, _| Ok(())).1),
                    Err(error) => report.problems.push(error),
                }
            }
            return;
        }
    };
    report.problems.extend(files.check_sidecar(&sidecar, run, meta));
    match verify_data(files, run, &sidecar) {
        Ok(found) => {
            report.blocks += found.blocks;
            report.entries += found.totals.entries;
            report.bytes += found.bytes;
            report.problems.extend(found.problems);
        }
        Err(error) => report.problems.push(error.with_file(sidecar_path)),
    }
}

struct Found {
    blocks: u64,
    bytes: u64,
    totals: Totals,
    problems: Vec<Error>,
}

fn verify_data(files: &TableFiles, run: RunId, sidecar: &crate::sidecar::Sidecar) -> Result<Found> {
    let meta = sidecar.meta();
    let format = files.components.formats().find(&meta.format)?;
    let path: PathBuf = files.data_path(run, format);
    let data = DataFile::open(files, &path, format, sidecar)?;
    let (expected, mut problems) = match Expected::new(sidecar, &files.components) {
        Ok(expected) => (Some(expected), Vec::new()),
        Err(error) if error.kind() == ErrorKind::Corruption => (None, Vec::new()),
        Err(error) => (None, vec![error.with_file(files.sidecar_path(run))]),
    };
    let (totals, damage) = data.read_all(&mut |index, block| match &expected {
        Some(expected) => expected.check(index, block),
        None => Ok(()),
    });
    problems.extend(damage);
    let blocks = data.layout().blocks.len() as u64;
    if problems.is_empty() && expected.is_some() {
        problems.extend(data.check_footer(format).err());
        let expected = with_range_deletes(totals.clone(), &sidecar.range_deletes()?);
        let said = (
            meta.entries,
            meta.tombstones,
            meta.merges,
            meta.min_seq,
            meta.max_seq,
            shown_key(&meta.min_key),
            shown_key(&meta.max_key),
        );
        let is = (
            expected.entries,
            expected.tombstones,
            expected.merges,
            expected.min_seq,
            expected.max_seq,
            shown_key(&expected.min_key),
            shown_key(&expected.max_key),
        );
        let same_keys = (&meta.min_key, &meta.max_key) == (&expected.min_key, &expected.max_key);
        if said != is || !same_keys {
            let message = format!("the sidecar says {said:?} of its entries, where the data file has {is:?}");
            problems.push(Error::corruption(message).with_file(files.sidecar_path(run)));
        }
    }
    let bytes = data.layout().file_bytes + files.storage.len(&files.sidecar_path(run))?.unwrap_or(0);
    Ok(Found {
        blocks,
        bytes,
        totals,
        problems,
    })
}
