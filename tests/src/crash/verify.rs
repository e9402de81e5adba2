//! Opening what a crash has left, and comparing it with what was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::AsArray;
use kodiak::core::storage::Storage;
use kodiak::manifest::Manifest;
use kodiak::{Db, Settings};
use kodiak_storage::{CrashOptions, FaultStorage, Moment};
use parking_lot::Mutex;

use super::model::{Contents, Found, Model};
use super::points::{Bounds, Point, WAYS};
use super::script::{DIR, INDEX, Setup};
use crate::published;

/// How thoroughly an image is examined.
#[derive(Debug, Clone, Copy)]
pub struct Depth {
    /// The database is written to, closed and opened again.
    pub reopen: bool,
    /// So many crashes while it is being opened.
    pub crashes: u64,
}

/// Everything in a database.
///
/// # Errors
/// Those of reading.
pub fn read_all(db: &Db) -> Result<Found, kodiak::Error> {
    let contents = |name: String| -> Result<_, kodiak::Error> {
        let scan = db.table(&name)?.scan(..)?;
        let items = scan.map(|item| item.map(|(key, value)| (key.to_vec(), value.to_vec())));
        Ok((name, items.collect::<Result<_, _>>()?))
    };
    db.tables().into_iter().map(contents).collect()
}

fn open(settings: Settings, storage: &FaultStorage) -> Result<(Db, Found), String> {
    let builder = kodiak::Builder::new(settings).storage(Arc::new(storage.clone()));
    let db = builder
        .open(DIR)
        .map_err(|error| format!("it does not open: {error:?}"))?;
    let found = read_all(&db).map_err(|error| format!("it cannot be read: {error:?}"))?;
    check_gets(&db, &found)?;
    Ok((db, found))
}

/// Gets must say what scans say.
fn check_gets(db: &Db, found: &Found) -> Result<(), String> {
    for (name, contents) in found {
        let table = db.table(name).map_err(|error| format!("{error:?}"))?;
        for (key, value) in contents {
            let got = table.get(key).map_err(|error| format!("a get fails: {error:?}"))?;
            if got.as_deref() != Some(value) {
                return Err(format!("a get of {name}/{} differs from the scan", key.escape_ascii()));
            }
        }
        // A crash may have come between creating the table and its index.
        match table.index(INDEX) {
            Ok(index) => {
                let entries = index.entries().map_err(|error| format!("{error:?}"))?;
                let entries = entries.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())));
                let entries: BTreeMap<Vec<u8>, Vec<u8>> = entries
                    .collect::<Result<_, _>>()
                    .map_err(|error| format!("{error:?}"))?;
                if entries != *contents {
                    let counts = (entries.len(), contents.len());
                    return Err(format!(
                        "the index of {name} finds {} entries, a scan {}",
                        counts.0, counts.1
                    ));
                }
            }
            Err(error) if error.kind() == kodiak::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{error:?}")),
        }
    }
    Ok(())
}

/// Examines one image.
///
/// # Errors
/// What is wrong.
pub fn verify(setup: &Setup, model: &Model, point: &Point, depth: Depth) -> Result<(), String> {
    let crashes = (depth.crashes > 0).then(|| watch(point, depth.crashes));
    let result = examine(setup, model, &point.image, &point.bounds, depth.reopen);
    point.image.on_op(None);
    result.map_err(|error| format!("{}, {:?}: {error}", point.label, point.bounds))?;
    let Some(crashes) = crashes else { return Ok(()) };
    let crashes = std::mem::take(&mut *crashes.lock());
    for second in crashes {
        examine(setup, model, &second.image, &second.bounds, false)
            .map_err(|error| format!("{}, {:?}: {error}", second.label, second.bounds))?;
    }
    Ok(())
}

/// Opens an image and compares it with what was promised; with `reopen` also writes to it, and opens it again.
///
/// # Errors
/// What is wrong.
pub fn examine(
    setup: &Setup,
    model: &Model,
    image: &FaultStorage,
    bounds: &Bounds,
    reopen: bool,
) -> Result<(), String> {
    for (name, number, contents) in read_published(image)? {
        if !model.held(number, &name, &contents, 0..=bounds.issued) {
            return Err(format!(
                "{} keys are published of {name}, which never held these",
                contents.len()
            ));
        }
    }
    let (db, found) = open(setup.settings(), image)?;
    model.find(&found, bounds.kept..=bounds.issued, bounds.acknowledged..=bounds.issued)?;
    let closed = |error: kodiak::Error| format!("it cannot be closed: {error:?}");
    if !reopen {
        return db.close().map_err(closed);
    }
    // It must go on working, and what was found must still be there when it is opened again after a power loss.
    let used = |error: kodiak::Error| format!("it cannot be used: {error:?}");
    let mut expected = found;
    for (name, contents) in &mut expected {
        db.table(name)
            .and_then(|table| table.put(b"probe", name))
            .map_err(used)?;
        contents.insert(b"probe".to_vec(), name.clone().into_bytes());
    }
    db.sync().map_err(used)?;
    let later = image.crash_image(&CrashOptions::SYNCED_ONLY);
    db.close().map_err(closed)?;
    for storage in [image, &later] {
        let (db, found) = open(setup.settings(), storage).map_err(|error| format!("the second time {error}"))?;
        if found != expected {
            return Err("it held something else when it was opened again".to_owned());
        }
        db.flush().map_err(used)?;
        db.wait_idle().map_err(used)?;
        let report = db.verify().map_err(used)?;
        if !report.is_clean() {
            return Err(report.to_string());
        }
        db.close().map_err(closed)?;
        check_files(storage)?;
        check_published(setup, storage, &expected)?;
    }
    Ok(())
}

/// What the publications in an image hold, by name and number of their tables, the Delta table's apart from the record's.
///
/// # Errors
/// What cannot be read of them.
fn read_published(storage: &FaultStorage) -> Result<Vec<(String, u64, Contents)>, String> {
    let mut all = Vec::new();
    for found in published::read_all(storage, Path::new(DIR))? {
        for publication in std::iter::once(&found.record).chain(&found.delta) {
            let mut contents = Contents::new();
            for rows in &publication.rows {
                let (keys, values) = (rows.column(0).as_binary::<i32>(), rows.column(1).as_binary::<i32>());
                for (key, value) in keys.iter().flatten().zip(values.iter().flatten()) {
                    if contents.insert(key.to_vec(), value.to_vec()).is_some() {
                        return Err(format!("{} is published twice", key.escape_ascii()));
                    }
                }
            }
            all.push((found.table.clone(), found.number, contents));
        }
    }
    Ok(all)
}

/// With everything in runs, publications must hold what the tables do.
///
/// # Errors
/// What they hold instead.
pub fn check_published(setup: &Setup, storage: &FaultStorage, expected: &Found) -> Result<(), String> {
    let published = read_published(storage)?;
    let tables: BTreeSet<&String> = published.iter().map(|(name, ..)| name).collect();
    if setup.publish && !tables.into_iter().eq(expected.keys()) {
        return Err(format!(
            "{} publications are there of the tables {:?}",
            published.len(),
            expected.keys()
        ));
    }
    match published
        .iter()
        .find(|(name, _, contents)| expected.get(name) != Some(contents))
    {
        Some((name, ..)) => Err(format!("what is published of {name} is not what it holds")),
        None => Ok(()),
    }
}

/// Files of tables and the manifest: exactly those that the manifest names.
///
/// # Errors
/// Names of files that are missing or left over.
pub fn check_files(storage: &FaultStorage) -> Result<(), String> {
    let failed = |error: kodiak::Error| format!("{error:?}");
    let state = Manifest::read(storage, Path::new(DIR)).map_err(failed)?;
    let root = Path::new(DIR).join("tables");
    let (mut expected, mut indexes) = (BTreeSet::new(), BTreeSet::new());
    for (id, table) in &state.tables {
        indexes.extend(
            table
                .index
                .as_ref()
                .map(|index| format!("{id:06}/{:010}.index", index.id)),
        );
        let secondary = table.secondary.values().filter_map(|known| known.index.as_ref());
        indexes.extend(secondary.map(|index| format!("{id:06}/{:010}.secondary.index", index.file.id)));
        for run in table.runs.keys() {
            expected.insert((format!("{id:06}"), run));
        }
    }
    let mut found = BTreeSet::new();
    let mut sidecars = 0;
    for dir in storage.list(&root).map_err(failed)? {
        let files = storage.list(&root.join(&dir)).map_err(failed)?;
        for file in files
            .iter()
            .filter(|file| !["TABLE", "EXACT.json"].contains(&file.as_str()))
        {
            if file.ends_with(".index") {
                let file = format!("{dir}/{file}");
                if !indexes.remove(&file) {
                    return Err(format!("index file {file} is left over"));
                }
                continue;
            }
            let run = file.split('.').next().and_then(|run| run.parse().ok());
            let run = run.ok_or_else(|| format!("{dir}/{file} is not the file of a run"))?;
            sidecars += usize::from(file.ends_with(".meta"));
            found.insert((dir.clone(), run));
        }
    }
    if !indexes.is_empty() {
        return Err(format!(
            "the manifest names the index files {indexes:?}, which are not there"
        ));
    }
    if expected != found || sidecars != found.len() {
        return Err(format!(
            "the manifest names the runs {expected:?}, but there are files of {found:?}"
        ));
    }
    let names = storage.list(Path::new(DIR)).map_err(failed)?;
    let manifests = names
        .iter()
        .filter(|name| kodiak::manifest::parse_file_name(name).is_some())
        .count();
    if manifests != 1 || names.iter().any(|name| name.ends_with(".new")) {
        return Err(format!("files are left over: {names:?}"));
    }
    Ok(())
}

/// Takes images while the image of `point` is being recovered.
fn watch(point: &Point, wanted: u64) -> Arc<Mutex<Vec<Point>>> {
    let seconds = Arc::new(Mutex::new(Vec::new()));
    let (storage, label, bounds) = (point.image.clone(), point.label.clone(), point.bounds);
    let kept = Arc::clone(&seconds);
    let salt = label.len() as u64 + bounds.issued as u64;
    point.image.on_op(Some(Arc::new(move |event| {
        // The first operations of recovery are dense with decisions; later ones are sampled.
        let Some(mutation) = event.mutation else { return };
        if event.moment != Moment::Before || !(mutation + salt).is_multiple_of(5) || mutation > wanted * 5 {
            return;
        }
        let Some((survival, block)) = WAYS[(mutation + salt) as usize % WAYS.len()] else {
            return;
        };
        let image = storage.crash_image(&CrashOptions::new(survival, block, mutation ^ salt));
        let label = format!(
            "{label}; then at mutation {mutation} ({:?} {}) of recovery, {survival} % by {block:?} survive",
            event.kind,
            event.path.display()
        );
        let bounds = Bounds {
            kept: bounds.durable,
            ..bounds
        };
        kept.lock().push(Point { image, bounds, label });
    })));
    seconds
}

/// Examines many images on `threads` threads; returns what is wrong.
pub fn verify_all(
    setup: &Setup,
    model: &Model,
    points: &[Point],
    depth: &(dyn Fn(usize) -> Depth + Sync),
) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(point) = points.get(number) else { break };
                    if let Err(failure) = verify(setup, model, point, depth(number)) {
                        failures.lock().push(failure);
                    }
                }
            });
        }
    });
    failures.into_inner()
}
