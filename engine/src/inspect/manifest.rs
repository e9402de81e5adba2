//! What a manifest holds.

use std::fmt;
use std::path::Path;

use kodiak_core::Result;
use kodiak_core::storage::Storage;

use crate::manifest::{Change, IndexMeta, Manifest, RunMeta, State, VersionEdit};
use crate::secondary::{IndexColumn, IndexedBy, StoredDefinition};

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
            Change::AddTimes { table, anew, samples } => {
                let what = if *anew { "all" } else { "more" };
                write!(f, "{what} times of table {table}: {} samples", samples.len())
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
