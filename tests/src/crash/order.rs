//! A watch over the order of writes, syncs and removals.

use std::path::Path;
use std::sync::Arc;

use kodiak::core::storage::Storage;
use kodiak::manifest::{Manifest, State};
use kodiak_storage::{CrashOptions, FaultStorage, Moment, OnOp, OpEvent, OpKind};
use parking_lot::Mutex;

use super::script::DIR;

/// What was seen and should not have been.
pub type Violations = Arc<Mutex<Vec<String>>>;

/// A callback that checks, at each operation on `storage` that matters:
///
/// - a manifest that is about to be synced names only runs whose files are on the disk, with their names;
/// - a log segment that is about to go is not needed by the manifest on the disk, all of whose runs are on the disk;
/// - a file of a run that is about to go is not named by the manifest on the disk.
pub fn watch(storage: &FaultStorage, violations: &Violations) -> OnOp {
    let (storage, violations) = (storage.clone(), Arc::clone(violations));
    Arc::new(move |event| {
        if event.moment == Moment::Before
            && let Err(violation) = settled(&storage, event)
        {
            violations
                .lock()
                .push(format!("before {:?} {}: {violation}", event.kind, event.path.display()));
        }
    })
}

/// A check reads the manifest and looks at files one after the other while other threads go on, so that it may see a run named
/// whose removal is under way. What is really wrong is still so when looked at again.
fn settled(storage: &FaultStorage, event: &OpEvent) -> Result<(), String> {
    let again = || check(storage, event);
    again().or_else(|_| again()).or_else(|_| again())
}

fn check(storage: &FaultStorage, event: &OpEvent) -> Result<(), String> {
    let name = event
        .path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let goes = matches!(event.kind, OpKind::Remove | OpKind::Rename);
    if event.kind == OpKind::Sync && kodiak::manifest::parse_file_name(&name).is_some() {
        let Some(state) = read(&storage.kill_image())? else {
            return Ok(());
        };
        return check_runs(storage, &state);
    }
    if goes && event.path.starts_with(Path::new(DIR).join("wal")) {
        let Some(segment) = name.strip_suffix(".wal").and_then(|number| number.parse::<u64>().ok()) else {
            return Ok(());
        };
        return check_release(storage, &event.path, segment);
    }
    if goes && event.path.starts_with(Path::new(DIR).join("tables")) {
        let Some(run) = name.split('.').next().and_then(|run| run.parse::<u64>().ok()) else {
            return Ok(());
        };
        let Some(state) = read(&on_disk(storage))? else {
            return Ok(());
        };
        let table = event
            .path
            .parent()
            .and_then(Path::file_name)
            .and_then(|id| id.to_string_lossy().parse().ok());
        let named = table
            .and_then(|table: u32| state.tables.get(&table))
            .is_some_and(|table| table.runs.contains_key(run));
        return if named {
            Err("the manifest on the disk still names the run".to_owned())
        } else {
            Ok(())
        };
    }
    Ok(())
}

fn on_disk(storage: &FaultStorage) -> FaultStorage {
    storage.crash_image(&CrashOptions::SYNCED_ONLY)
}

fn read(storage: &FaultStorage) -> Result<Option<State>, String> {
    let failed = |error: kodiak::Error| format!("the manifest cannot be read: {error}");
    if !Manifest::exists(storage, Path::new(DIR)).map_err(failed)? {
        return Ok(None);
    }
    Manifest::read(storage, Path::new(DIR)).map(Some).map_err(failed)
}

fn check_runs(storage: &FaultStorage, state: &State) -> Result<(), String> {
    for (id, table) in &state.tables {
        let dir = Path::new(DIR).join("tables").join(format!("{id:06}"));
        let files = storage.kill_image().list(&dir).map_err(|error| error.to_string())?;
        for run in table.runs.keys() {
            let prefix = format!("{run:010}.");
            let mut count = 0;
            for file in files.iter().filter(|file| file.starts_with(&prefix)) {
                count += 1;
                if !storage.is_durable(&dir.join(file)) {
                    return Err(format!(
                        "it names run {run} of table {id}, but {file} is not on the disk"
                    ));
                }
            }
            if count != 2 {
                return Err(format!("it names run {run} of table {id}, which has {count} files"));
            }
        }
    }
    Ok(())
}

fn check_release(storage: &FaultStorage, path: &Path, segment: u64) -> Result<(), String> {
    let disk = on_disk(storage);
    let state = read(&disk)?.ok_or("there is no manifest on the disk")?;
    if segment >= state.wal_from && was_used(storage, path, segment) {
        return Err(format!(
            "the manifest on the disk needs the log from segment {}",
            state.wal_from
        ));
    }
    check_runs(storage, &state)
}

/// A segment that was prepared in vain has no header, or that of the file's previous life.
fn was_used(storage: &FaultStorage, path: &Path, segment: u64) -> bool {
    let header = storage.kill_image().open(path).and_then(|file| file.read(16, 8));
    header.is_ok_and(|bytes| *bytes == segment.to_le_bytes())
}
