//! Opening: lock, manifest, log, left-overs; then background work.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use kodiak_core::storage::Storage;
use kodiak_core::wal::{RecoveryMode, ReplayReport, WalContext, WalRecord};
use kodiak_core::{Error, ErrorKind, Result};
use kodiak_storage::ReadOnlyStorage;

use super::background::Background;
use super::builder::{Builder, OpenMode};
use super::counters::Counters;
use super::log_end::check_log_end;
use super::named_files::{check_files, missing};
use super::options::TableOptions;
use super::shared::{Open, Shared, SharedParts, Tables};
use super::table_state::{TableInner, View};
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

/// How often an opening for reading begins anew because the process that writes has replaced files in the meantime.
const READ_ONLY_ATTEMPTS: usize = 50;

pub(super) fn open(builder: Builder, path: &Path) -> Result<Db> {
    if builder.mode != OpenMode::ReadOnly {
        return open_once(builder, path);
    }
    let storage = Arc::clone(&builder.storage);
    let mut attempts = 0;
    loop {
        let before = Manifest::mark(&*storage, path);
        match open_once(builder.clone(), path) {
            // What looks like damage, or is not there, may be of a moment that has passed.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corruption)
                    && attempts < READ_ONLY_ATTEMPTS
                    && Manifest::mark(&*storage, path) != before =>
            {
                attempts += 1;
            }
            opened => return opened,
        }
    }
}

fn open_once(builder: Builder, path: &Path) -> Result<Db> {
    // Everything that can be wrong with the settings is found before anything is touched.
    let mut resolved = builder.components.resolve(&builder.settings)?;
    let storage = Arc::clone(&builder.storage);
    let begun = storage.monotonic_nanos();
    let read_only = builder.mode == OpenMode::ReadOnly;
    let exists = match is_there(&*storage, path) {
        // What looks like damage may be a database that somebody is making: nobody is under the lock.
        Err(error) if error.kind() == ErrorKind::Corruption && !read_only => {
            let _lock = storage.lock(&path.join(LOCK_FILE))?;
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
        Some(storage.lock(&path.join(LOCK_FILE))?)
    };
    let mark = Manifest::mark(&*storage, path);
    let (manifest, state) = if read_only {
        let shown = ReadOnlyStorage::new(Arc::clone(&storage));
        (None, Manifest::read(&shown, path)?)
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
    let context = wal_context(&resolved, &storage, path);
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
        hold_files(&shared)?;
    }
    let report = replay(&shared, &context, &state, recovery)?;
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

pub(crate) fn wal_context(resolved: &Resolved, storage: &Arc<dyn Storage>, path: &Path) -> WalContext {
    let settings = &resolved.settings;
    WalContext {
        storage: Arc::clone(storage),
        dir: path.join(WAL_DIR),
        segment_bytes: settings.wal.segment_size,
        // A batch may hold many entries of the largest size; what is above is refused before it is allocated.
        max_record_bytes: MAX_BATCH_BYTES.max(4 * (settings.limits.max_key + settings.limits.max_value)),
        compress_above: settings.wal.compress_threshold(),
        direct_io: settings.wal.direct_io,
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
    for (&id, table) in &state.tables {
        let schemas = table.schemas()?;
        let options = TableOptions::from_bytes(&table.options)?;
        let inner = shared.new_table(id, &table.name, schemas, options, state.wal_from)?;
        let mut version = (*inner.view.load().version).clone();
        version.load(table, &inner.runs)?;
        crate::compact::change_version(&inner, None, |empty| *empty = version);
        shared.load_secondaries(&inner, &table.secondary)?;
        if inner.options.ttl_micros > 0 {
            for (_, run) in inner.view.load().version.runs()? {
                let reader = run.reader().map_err(|error| match (error.kind(), error.file()) {
                    (ErrorKind::NotFound, Some(file)) => missing(file, &table.name),
                    _ => error,
                })?;
                inner.times.load(reader.sidecar().times()?);
            }
        }
        tables.by_name.insert(table.name.clone(), id);
        tables.by_id.insert(id, Arc::new(inner));
    }
    *shared.tables.write() = tables;
    Ok(())
}

/// How many files of runs may be open: as many as the settings say, and three quarters of what the system allows, so that logs,
/// indexes and the program's own files find room.
fn open_files(storage: &dyn Storage, settings: &Settings) -> usize {
    let (wanted, allowed) = (settings.limits.max_open_files, storage.open_file_limit());
    allowed.map_or(wanted, |allowed| wanted.min(allowed / 4 * 3).max(8))
}

/// Opens the files of runs, as far as the limit on open files allows: another process may have the database open for writing, and
/// files that it removes stay readable for those that have them open.
///
/// # Errors
/// `NotFound` if one is gone already: the manifest that was read is not the newest any more.
fn hold_files(shared: &Shared) -> Result<()> {
    let tables = shared.all_tables();
    let views: Vec<_> = tables.iter().map(|table| table.view.load()).collect();
    views.iter().try_for_each(|view| view.version.read())?;
    let runs = views.iter().flat_map(|view| view.version.known_runs());
    for (_, run) in runs.take(open_files(&*shared.storage, &shared.settings)) {
        match run.reader() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
            // Damage is told by the reads that meet it.
            _ => {}
        }
    }
    Ok(())
}

/// Puts what the log holds into memtables.
fn replay(shared: &Shared, context: &WalContext, state: &State, mode: RecoveryMode) -> Result<ReplayReport> {
    let picked = &shared.resolved.wal;
    let mut last_seq = 0;
    // Memtables are flushed in the order in which they were filled: what is not newer than a table's newest run is in a run.
    let in_runs: HashMap<_, _> = state
        .tables
        .iter()
        .map(|(id, table)| (*id, (table.flushed, table.runs.newest())))
        .collect();
    let mut full = Vec::new();
    let mut sink = |record: WalRecord<'_>| -> Result<()> {
        let damaged = |error: Error| error.with_offset(record.offset);
        for (seq, op) in (record.first_seq..).zip(record.ops()) {
            let op = op.map_err(damaged)?;
            // A dropped table's entries are of no use.
            let Some(table) = shared.table(op.table) else { continue };
            if in_runs
                .get(&op.table)
                .is_some_and(|(segment, newest)| record.segment < *segment || seq <= *newest)
            {
                continue;
            }
            let view = table.view.load();
            view.active.insert(op.at(seq))?;
            if !view.active.indexes.is_empty() {
                crate::secondary::replay(&table, op, seq)?;
            }
            view.active.touch(record.timestamp_micros);
            table.times.note(seq, record.timestamp_micros);
            if view.active.memory() >= shared.settings.memtable.size as usize {
                full.push(table);
            }
        }
        // Not earlier: a batch is flushed as a whole, or not at all.
        for table in full.drain(..) {
            if table.view.load().active.memory() >= shared.settings.memtable.size as usize {
                start_slot(shared, &table, record.segment)?;
            }
        }
        last_seq = last_seq.max(record.last_seq());
        Ok(())
    };
    let mut report = (picked.factory.replay)(context, &picked.options, state.log_from(), mode, &mut sink)?;
    report.last_seq = report.last_seq.max(last_seq);
    if let Err(error) = check_log_end(state, report.last_seq, &context.dir) {
        if mode != RecoveryMode::SkipCorrupt {
            return Err(error);
        }
        tracing::warn!(last_seq = report.last_seq, end = state.log_end, "the log lacks its end");
        forget_log_end(shared)?;
    }
    Ok(report)
}

/// The log lacks its end, and what is there is to be taken. That is told once: the mark goes with any change of what the log has to have.
#[cold]
fn forget_log_end(shared: &Shared) -> Result<()> {
    match shared.manifest.lock().as_mut() {
        Some(manifest) => {
            let from = manifest.state().wal_from;
            manifest.append(&VersionEdit::new().with(Change::WalFrom(from)))
        }
        None => Ok(()),
    }
}

/// During replay: the active memtable is full.
fn start_slot(shared: &Shared, table: &Arc<TableInner>, segment: u64) -> Result<()> {
    let view = table.view.load_full();
    let frozen = std::iter::once(&view.active).chain(&view.frozen).cloned().collect();
    let active = Arc::new(shared.new_slot(segment, &table.secondary.all())?);
    table.view.store(Arc::new(View {
        active,
        frozen,
        version: Arc::clone(&view.version),
        index: view.index.clone(),
        secondary: Arc::clone(&view.secondary),
    }));
    Ok(())
}

/// What was replayed from so many segments or fewer is not flushed.
const REPLAYED_SEGMENTS: u64 = 8;

/// After replay: opens the log for appending; what was replayed is made safe before anything new is accepted.
fn finish_recovery(shared: &mut Shared, context: WalContext, report: &ReplayReport, state: &State) -> Result<()> {
    // Without a log there are no segments to count on from; a number below a table's mark would mean that it is flushed.
    let flushed = state.tables.values().map(|table| table.flushed).max().unwrap_or(0);
    let first = report.next_segment.max(state.wal_from).max(flushed);
    let replayed: Vec<Arc<TableInner>> = shared.all_tables();
    for name in shared.storage.list(&context.dir).unwrap_or_default() {
        let path = context.dir.join(name);
        if path.extension().is_some_and(|extension| extension == "wal") {
            shared.storage.open_log(&path)?.sync_data()?;
        }
    }
    let picked = &shared.resolved.wal;
    shared.wal = Some((picked.factory.open)(context, &picked.options, first)?);
    // What was replayed goes on being written to if the log may be read again, and is not too long: or each of many short
    // openings would leave a run.
    let closed = report.closed || report.records == 0;
    let goes_on = closed && report.torn_bytes == 0 && report.skipped == 0;
    let oldest = first.saturating_sub(REPLAYED_SEGMENTS);
    for table in &replayed {
        let active = Arc::clone(&table.view.load().active);
        if !active.is_empty() && (!goes_on || active.first_segment() <= oldest) {
            start_slot(shared, table, first)?;
        }
        table.view.load().active.advance_segment(first, 0);
    }
    // A process that ended before it could, or whose last flush was cut short.
    shared.check_writable()?.release(state.wal_from)?;
    // A log that ends in damage must not be read again: its end would cut off what follows. Nor may one be relied on that was
    // not closed: if a sync has failed, it may be readable and yet lost with the power, in spite of the sync above. So its
    // records are written to runs before anything that comes after them is accepted.
    if report.torn_bytes > 0 {
        tracing::warn!(dir = %shared.dir.display(), bytes = report.torn_bytes, "the end of the log is cut off");
    }
    if !goes_on {
        while shared.flush_next()? {}
        shared.release_log()?;
    }
    Ok(())
}
