//! Opening: lock, manifest, log, left-overs; then background work.

mod beside;

use std::path::Path;
use std::sync::Arc;

use kodiak_core::storage::{Lock, Storage};
use kodiak_core::wal::WalContext;
use kodiak_core::{Error, ErrorKind, Result, SeqNo};

use super::background::Background;
use super::builder::{Builder, OpenMode};
use super::counters::Counters;
use super::named_files::{check_files, missing};
use super::options::TableOptions;
use super::recovery::{finish_recovery, replay};
use super::shared::{Open, Shared, SharedParts, Tables};
use super::table_state::TableInner;
use super::{Db, left_overs};
use crate::components::Resolved;
use crate::maintenance::replace_file;
use crate::manifest::{Change, Listing, Manifest, State, VersionEdit};
use crate::run::{BlockCache, OpenRuns};
use crate::settings::{SETTINGS_FILE, Settings};

/// The directory of the tables' directories.
pub(crate) const TABLES_DIR: &str = "tables";
/// The directory of the log.
pub(crate) const WAL_DIR: &str = "wal";
/// The lock of the process that has a database open.
pub(crate) const LOCK_FILE: &str = "LOCK";

pub(super) fn open(builder: Builder, path: &Path) -> Result<Db> {
    match builder.mode {
        OpenMode::ReadOnly => beside::retried(Arc::clone(&builder.storage), path, &|| open_once(builder.clone(), path)),
        _ => open_once(builder, path),
    }
}

fn open_once(builder: Builder, path: &Path) -> Result<Db> {
    // Everything that can be wrong with the settings is found before anything is touched.
    let mut resolved = builder
        .components
        .resolve(&builder.settings)
        .map_err(|error| instead(error, path))?;
    let storage = Arc::clone(&builder.storage);
    let begun = storage.monotonic_nanos();
    let read_only = builder.mode == OpenMode::ReadOnly;
    let exists = match is_there(&*storage, path) {
        // What looks like damage may be a database that somebody is making: nobody is under the lock.
        Err(error) if error.kind() == ErrorKind::Corruption && !read_only => {
            let _lock = take_lock(&*storage, path)?;
            is_there(&*storage, path)?
        }
        exists => exists?,
    };
    let recovery = builder.recovery.unwrap_or(builder.settings.wal.recovery);
    if !exists {
        resolved.settings.wal.recovery = recovery;
    }
    match builder.mode {
        OpenMode::CreateNew if exists => {
            return Err(Error::new(ErrorKind::AlreadyExists, "there is a database already").with_file(path));
        }
        OpenMode::OpenExisting | OpenMode::ReadOnly if !exists => {
            return Err(Error::new(ErrorKind::NotFound, "there is no database").with_file(path));
        }
        _ => {}
    }
    let lock = if read_only {
        None
    } else {
        storage.create_dir_all(path)?;
        Some(take_lock(&*storage, path)?)
    };
    let mark = Manifest::mark(&*storage, path);
    let (manifest, state) = if read_only {
        (None, beside::read_manifest(&storage, path)?)
    } else {
        // Asked again under the lock: another process may just have created it.
        let listing = match resolved.catalogue {
            Some(factory) => Listing::Catalogue(factory, resolved.settings.index.catalogue_changes),
            None => Listing::Manifest,
        };
        let manifest = if Manifest::exists(&*storage, path)? {
            Manifest::open_with(Arc::clone(&storage), path, listing)?
        } else {
            let state = State::new(storage.random().max(1));
            Manifest::create(Arc::clone(&storage), path, state)?.listing_in(listing)
        };
        let state = manifest.state().clone();
        (Some(manifest), state)
    };
    if exists {
        check_changes(&*storage, path, &resolved.settings, &state)?;
    }
    let cleaned_later = manifest.as_ref().is_some_and(Manifest::was_listed);
    let context = wal_context(&resolved, &storage, state.identity, path);
    let metrics = resolved.settings.metrics.enabled;
    let parts = SharedParts {
        cache: Arc::new(BlockCache::new(resolved.settings.cache.capacity)),
        open_runs: Arc::new(OpenRuns::new(open_files(&*storage, &resolved.settings))),
        counters: Counters::new(metrics),
        storage: Arc::clone(&storage),
        dir: path.to_owned(),
        operators: builder.operators,
        extractors: builder.extractors,
        lock,
        wal: None,
        manifest,
        as_read: read_only.then(|| state.without_runs()),
        last_seq: state.last_seq,
        next_run: state.next_run.max(1),
        next_sorted_run: state.next_sorted_run.max(1),
        identity: state.identity,
        resolved,
    };
    let mut shared = Shared::new(parts);
    load_tables(&shared, &state)?;
    if !cleaned_later {
        check_files(&shared)?;
    }
    if read_only {
        beside::hold_files(&shared)?;
    }
    let replayed = replay(&shared, &context, &state, recovery);
    if read_only && replayed.as_ref().map_or(true, |report| report.incomplete) {
        beside::check_unreleased(&storage, path, &state)?;
    }
    let report = replayed?;
    shared.replayed(report.last_seq);
    shared.recovered(report.last_seq.max(state.last_seq));
    if read_only {
        shared.read_indexes(&state, &|| Manifest::mark(&*storage, path) != mark)?;
    } else {
        left_overs::remove(&shared, &state, cleaned_later)?;
        shared.open_indexes(&state)?;
        shared.open_secondaries(&state)?;
        finish_recovery(&mut shared, context, &report, &state)?;
        write_settings(&shared)?;
    }
    let micros = storage.monotonic_nanos().saturating_sub(begun) / 1000;
    tracing::info!(dir = %path.display(), records = report.records, torn = report.torn_bytes, micros, "opened");
    let shared = Arc::new(shared);
    let background = if read_only {
        None
    } else {
        Some(Background::start(&shared)?)
    };
    shared.signals.flush.raise();
    Ok(Db {
        open: Arc::new(Open::new(shared, background)),
    })
}

/// Keeps others from opening the database.
fn take_lock(storage: &dyn Storage, path: &Path) -> Result<Box<dyn Lock>> {
    storage
        .lock(&path.join(LOCK_FILE))
        .map_err(|error| match error.kind() == ErrorKind::Corruption {
            true => error.with_advice("`kodiak repair` moves it, too"),
            false => error,
        })
}

/// Says what can be done about settings that are kept with the database at `path`, and that this program cannot use.
fn instead(error: Error, path: &Path) -> Error {
    match error.file() == Some(&*path.join(SETTINGS_FILE)) {
        true => error.with_advice(
            "the database was last opened with it, or the file was changed: open the database with a program that knows it, or \
             with other settings, which are then kept with it, or correct the file",
        ),
        false => error,
    }
}

/// Whether there is a database.
fn is_there(storage: &dyn Storage, path: &Path) -> Result<bool> {
    let exists = Manifest::exists(storage, path)?;
    if !exists {
        check_no_remains(storage, path)?;
    }
    Ok(exists)
}

/// Where there is no manifest there must be no data either: a new database would hide it, and remove it as left over.
fn check_no_remains(storage: &dyn Storage, path: &Path) -> Result<()> {
    let list = |dir: &Path| match storage.list(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        names => names,
    };
    let mut remains = None;
    for name in list(path)? {
        let dir = path.join(&name);
        if name == WAL_DIR {
            let segment = list(&dir)?.into_iter().find(|name| name.ends_with(".wal"));
            remains = remains.or(segment.map(|name| dir.join(name)));
        } else if name == TABLES_DIR {
            for table in list(&dir)? {
                let first = list(&dir.join(&table))?.into_iter().next();
                remains = remains.or(first.map(|name| dir.join(&table).join(name)));
            }
        }
    }
    let Some(file) = remains else { return Ok(()) };
    let message = format!(
        "the directory holds data ({}) but no manifest: either the manifest was lost (run `kodiak repair`), or a checkpoint \
         or restore to it was interrupted (remove the directory and make it again)",
        file.strip_prefix(path).unwrap_or(&file).display()
    );
    Err(Error::corruption(message).with_file(path))
}

/// What a log needs; `database` is the identity of the one at `path`, 0 if it is not known.
pub(crate) fn wal_context(resolved: &Resolved, storage: &Arc<dyn Storage>, database: u64, path: &Path) -> WalContext {
    let settings = &resolved.settings;
    WalContext {
        storage: Arc::clone(storage),
        database,
        dir: path.join(WAL_DIR),
        segment_bytes: settings.wal.segment_size,
        // A batch may hold many entries of the largest size; what is above is refused before it is allocated.
        max_record_bytes: MAX_BATCH_BYTES.max(4 * (settings.limits.max_key + settings.limits.max_value)),
        compress_above: settings.wal.compress_threshold(),
        direct_io: settings.wal.direct_io,
        keep_awake: settings.wal.keep_awake,
        metrics: settings.metrics.enabled,
    }
}

/// Largest batch that is accepted, in bytes.
const MAX_BATCH_BYTES: u64 = 256 << 20;

/// Compares the settings with those that the database was last opened with.
fn check_changes(storage: &dyn Storage, path: &Path, settings: &Settings, state: &State) -> Result<()> {
    let file = path.join(SETTINGS_FILE);
    let Some(len) = storage.len(&file)? else { return Ok(()) };
    let bytes = storage
        .open(&file)?
        .read(0, usize::try_from(len).unwrap_or(usize::MAX))?;
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Ok(());
    };
    // Settings of a component that this program does not know are not compared.
    let Ok(old) = Settings::from_toml(text) else {
        return Ok(());
    };
    for change in old.changes(settings, state.used_levels())? {
        tracing::info!(?change, "a setting has changed");
    }
    Ok(())
}

fn write_settings(shared: &Shared) -> Result<()> {
    let path = shared.dir.join(SETTINGS_FILE);
    replace_file(&*shared.storage, &path, shared.settings.to_toml().as_bytes())
}

fn load_tables(shared: &Shared, state: &State) -> Result<()> {
    let mut tables = Tables::default();
    let mut told = VersionEdit::new();
    for (&id, table) in &state.tables {
        let schemas = table.schemas()?;
        let options = TableOptions::from_bytes(&table.options)?;
        let inner = shared.new_table(id, &table.name, schemas, options, state.wal_from)?;
        let mut version = (*inner.view.load().version).clone();
        version.load(table, &inner.runs)?;
        crate::compact::change_version(&inner, None, |empty| *empty = version);
        shared.load_secondaries(&inner, &table.secondary)?;
        if inner.options.ttl_micros > 0 {
            match &table.times {
                Some(times) => inner.times.load(times.iter().copied()),
                None => {
                    load_times(&inner)?;
                    told.push(Change::AddTimes {
                        table: id,
                        anew: true,
                        samples: inner.times.between(0, SeqNo::MAX),
                    });
                }
            }
        }
        tables.by_name.insert(table.name.clone(), id);
        tables.by_id.insert(id, Arc::new(inner));
    }
    *shared.tables.write() = tables;
    match shared.manifest.lock().as_mut() {
        Some(manifest) if !told.changes.is_empty() => manifest.append(&told),
        _ => Ok(()),
    }
}

/// When the entries of runs were written, from the sidecars of all of them: a manifest of older programs does not tell.
fn load_times(table: &TableInner) -> Result<()> {
    for (_, run) in table.view.load().version.runs()? {
        let reader = run.reader().map_err(|error| match (error.kind(), error.file()) {
            (ErrorKind::NotFound, Some(file)) => missing(file, &table.name),
            _ => error,
        })?;
        table.times.load(reader.sidecar().times()?);
    }
    Ok(())
}

/// How many files of runs may be open: as many as the settings say, and three quarters of what the system allows, so that logs,
/// indexes and the program's own files find room.
fn open_files(storage: &dyn Storage, settings: &Settings) -> usize {
    let (wanted, allowed) = (settings.limits.max_open_files, storage.open_file_limit());
    allowed.map_or(wanted, |allowed| wanted.min(allowed / 4 * 3).max(8))
}
