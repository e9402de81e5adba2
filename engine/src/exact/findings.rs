//! Whether the data files of a table are the table, by what is known of its runs. In doubt they are not.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Fields, TimeUnit};
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::Storage;
use kodiak_core::{Result, SeqNo};
use serde::{Deserialize, Serialize};

use super::marker::STRANGERS;
use crate::components::Components;
use crate::db::TableInner;
use crate::maintenance::list_files;
use crate::publish::types;
use crate::run::Run;
use crate::typed::SchemaVersion;
use crate::version::Version;

/// The data files of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Files {
    /// The table is as it was after this write.
    pub sequence: SeqNo,
    /// How many there are.
    pub count: u64,
    /// Bytes of them, and of their sidecars.
    pub bytes: u64,
    /// Rows in them.
    pub rows: u64,
}

impl Files {
    /// Those of a version; the sequence number is not told by it.
    pub fn of(version: &Version) -> Self {
        let totals = version.totals();
        Self {
            sequence: 0,
            count: totals.runs,
            bytes: totals.bytes,
            rows: totals.entries,
        }
    }

    /// True if these are as many, of as many bytes and rows.
    pub fn are(&self, other: &Self) -> bool {
        (self.count, self.bytes, self.rows) == (other.count, other.bytes, other.rows)
    }
}

/// Why the data files of a version are not the table that it makes up, with the schema in force; nothing if they are. Cheap reasons are
/// looked for first, and others only if there are none: then the sidecar of each run is opened, unless it was looked at before.
///
/// # Errors
/// Those of reading the catalogue and the runs.
pub(crate) fn findings(
    version: &Version,
    schema: &SchemaVersion,
    ttl: Option<Duration>,
    components: &Components,
) -> Result<Vec<String>> {
    let mut why = Vec::new();
    if ttl.is_some() {
        why.push("rows expire without a change of the files".to_owned());
    }
    let totals = version.totals();
    if totals.tombstones > 0 {
        why.push(format!("{} rows are deletes", totals.tombstones));
    }
    if totals.range_deletes > 0 {
        why.push(format!("{} range deletes hide rows", totals.range_deletes));
    }
    let sorted_runs = version.sorted_runs().count();
    if sorted_runs > 1 && !version.is_read() {
        why.push(format!(
            "there are {sorted_runs} sorted runs, which may hold several versions of a key"
        ));
    }
    if !why.is_empty() {
        return Ok(why);
    }
    let mut runs: Vec<&Arc<Run>> = version.runs()?.map(|(_, run)| run).collect();
    runs.sort_unstable_by(|one, other| one.min_key().cmp(other.min_key()));
    let (mut overlapping, mut closed, mut last) = (0, 0, None);
    for run in &runs {
        overlapping += usize::from(last.is_some_and(|last: &[u8]| last >= run.min_key()));
        last = last.max(Some(run.max_key()));
        closed += usize::from(!components.formats().find(&run.meta().format)?.capabilities.open);
    }
    if overlapping > 0 {
        why.push(format!(
            "{overlapping} files overlap others in their keys, so that rows may be superseded"
        ));
    }
    if closed > 0 {
        why.push(format!(
            "{closed} files are in a format that other programs do not read"
        ));
    }
    if !why.is_empty() {
        return Ok(why);
    }
    let (mut operands, mut older, mut repeating, mut beyond) = (0, 0, 0, 0);
    for run in runs {
        beyond += u64::from(is_beyond(run, &schema.schema)?);
        let facts = run.row_facts()?;
        operands += facts.operands;
        older += usize::from(facts.schema != schema.number());
        repeating += usize::from(!facts.distinct);
    }
    if operands > 0 {
        why.push(format!("{operands} rows are partial updates or operands, to be merged"));
    }
    if older > 0 {
        why.push(format!(
            "{older} files are of another schema than the table's: columns may lack, or have other names and types"
        ));
    }
    if repeating > 0 {
        why.push(format!(
            "{repeating} files hold several versions of a key, which a snapshot needed, or are not known not to"
        ));
    }
    why.extend(why_beyond(beyond));
    Ok(why)
}

/// True if a run's file has times that its format holds, but pyarrow, which reads them in nanoseconds, does not.
///
/// # Errors
/// Those of reading the file.
pub(crate) fn is_beyond(run: &Run, schema: &TableSchema) -> Result<bool> {
    let times = |of: &DataType| matches!(of, DataType::Timestamp(unit, _) if *unit != TimeUnit::Nanosecond);
    let any = |fields: &Fields| fields.iter().any(|field| types::has(field.data_type(), &times));
    // Such a file is offered in microseconds.
    Ok(run.meta().format == "orc" && any(schema.columns().fields()) && any(run.outside()?.schema().fields()))
}

/// What to say of so many such files.
pub(crate) fn why_beyond(files: u64) -> Option<String> {
    (files > 0).then(|| {
        format!(
            "{files} ORC files have times before the year 1678 or after 2261, which pyarrow does not read: format.kind = \"parquet\" or \"feather\" helps"
        )
    })
}

/// Why reading all data files in a table's directory would read more than those of its version: files are there that others still
/// read, or that are somebody's own.
///
/// # Errors
/// `Io`; those of reading the catalogue.
pub(super) fn strangers(
    storage: &dyn Storage,
    table: &TableInner,
    version: &Version,
    components: &Components,
) -> Result<Vec<String>> {
    let mut own = HashSet::new();
    for (_, run) in version.runs()? {
        let [path, _] = run.paths()?;
        own.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    let data = |name: &String| {
        let extension = Path::new(name).extension().map(|extension| extension.to_string_lossy());
        let mut formats = components.formats().iter();
        extension.is_some_and(|extension| formats.any(|format| format.capabilities.extension == extension))
    };
    let names = list_files(storage, &table.runs.dir)?;
    let strangers = names.iter().filter(|name| data(name) && !own.contains(*name)).count();
    Ok(match strangers {
        0 => Vec::new(),
        count => vec![format!("{count} {STRANGERS}")],
    })
}
