//! Runs a plan with one configuration.

mod model;
mod session;
mod workspace;

use std::path::Path;
use std::time::Instant;

use kodiak::{Db, Error, Result, TableSchema};
use serde::{Deserialize, Serialize};

use crate::configuration::Configuration;
use crate::measure::{Amplification, Counted, Measured, MemoryWatch, Resources, directory_bytes};
use crate::plan::Plan;
use crate::workloads::Workload;

use model::Model;
use session::Session;
pub use workspace::Workspace;

/// What became of one configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The configuration's name.
    pub configuration: String,
    /// Its settings, as TOML text.
    pub settings: String,
    /// Its workloads, in order.
    pub workloads: Vec<Measured>,
    /// What it took when they were done.
    pub resources: Resources,
    /// Bytes that the program wrote, over all workloads.
    pub user_bytes: u64,
    /// Bytes that the log, flushes and compactions wrote for them.
    pub written_bytes: u64,
    /// A digest of every entry at the end.
    pub contents: String,
}

impl Outcome {
    /// Bytes written for each byte that the program wrote, over all workloads; `None` if it wrote none.
    pub fn write_amplification(&self) -> Option<f64> {
        (self.user_bytes > 0).then(|| self.written_bytes as f64 / self.user_bytes as f64)
    }
}

/// Is told how far a run is.
pub trait Progress {
    /// A workload of so many operations (or entries, where one operation takes them all) begins.
    fn begin(&mut self, workload: &str, total: u64);
    /// So many of them are done.
    fn done(&mut self, done: u64);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&mut self, _: &str, _: u64) {}
    fn done(&mut self, _: u64) {}
}

/// Runs `plan` with a configuration, in a new directory below `parent` (the system's directory for temporary files if
/// `None`) that is removed afterwards. Every answer is checked outside the time that is measured.
///
/// # Errors
/// Those of making the data and of the database, naming the configuration and workload; `Corruption` for a wrong answer,
/// naming the key.
pub fn run_configuration(
    plan: &Plan,
    configuration: &Configuration,
    parent: Option<&Path>,
    progress: &mut dyn Progress,
) -> Result<Outcome> {
    let named = |error: Error| in_context(error, &format!("configuration {}", configuration.name));
    let workloads = plan.resolve()?;
    let data = plan.data.open()?;
    let dir = match parent {
        Some(parent) => tempfile::tempdir_in(parent).map_err(|source| Error::io("make a directory in", parent, source)),
        None => tempfile::tempdir()
            .map_err(|source| Error::io("make a directory for temporary files in", &std::env::temp_dir(), source)),
    }?;
    let mut memory = MemoryWatch::start();
    let path = dir.path().join("db");
    let db = Db::open(&path, configuration.settings.clone()).map_err(named)?;
    let table = db.create_table("data", TableSchema::key_value()).map_err(named)?;
    let mut session = Session::new(&table, Model::new(&*data), plan.seed);
    let mut measured = Vec::with_capacity(workloads.len());
    for workload in workloads {
        let done = run_workload(&db, &mut session, workload, plan, &mut memory, progress)
            .map_err(|error| named(in_context(error, &format!("workload {}", workload.name))))?;
        measured.push(done);
    }
    let contents = session.check_everything().map_err(named)?;
    memory.look();
    let counted = Counted::of(&db.stats());
    let resources = resources(&db, session.model.live_bytes(), &path, &memory)?;
    db.close().map_err(named)?;
    Ok(Outcome {
        configuration: configuration.name.clone(),
        settings: configuration.settings.to_toml(),
        workloads: measured,
        resources,
        user_bytes: counted.user_bytes,
        written_bytes: counted.log_bytes + counted.flushed_bytes + counted.compacted_bytes,
        contents,
    })
}

fn run_workload(
    db: &Db,
    session: &mut Session<'_>,
    workload: &Workload,
    plan: &Plan,
    memory: &mut MemoryWatch,
    progress: &mut dyn Progress,
) -> Result<Measured> {
    let before = Counted::of(&db.stats());
    let done = session.run(workload, plan.operations, memory, progress)?;
    let after = Counted::of(&db.stats());
    let begun = Instant::now();
    if workload.writes() {
        db.flush()?;
        db.wait_idle()?;
    }
    let drain_seconds = begun.elapsed().as_secs_f64();
    memory.look();
    let drained = Counted::of(&db.stats());
    Ok(Measured {
        workload: workload.name.to_owned(),
        operations: done.operations,
        entries: done.entries,
        seconds: done.latencies.total().as_secs_f64(),
        drain_seconds,
        stalled_seconds: (drained.stalled_nanos - before.stalled_nanos) as f64 / 1e9,
        latency: done.latencies.summary(),
        amplification: Amplification::between(&before, &after, &drained, done.operations),
        answers: format!("{:016x}", done.answers),
    })
}

fn resources(db: &Db, live_bytes: u64, path: &Path, memory: &MemoryWatch) -> Result<Resources> {
    let stats = db.stats();
    let run_bytes = stats.disk_bytes();
    Ok(Resources {
        live_bytes,
        run_bytes,
        directory_bytes: directory_bytes(path)?,
        space_amplification: run_bytes as f64 / live_bytes.max(1) as f64,
        engine_memory_bytes: stats.memory_bytes(),
        peak_memory_bytes: memory.peak(),
    })
}

/// Says where an error happened; its kind, place and cause stay.
fn in_context(error: Error, context: &str) -> Error {
    let mut out = Error::new(error.kind(), format!("{context}: {}", error.message()));
    if let Some(file) = error.file() {
        out = out.with_file(file);
    }
    if let Some(offset) = error.offset() {
        out = out.with_offset(offset);
    }
    if let Some(setting) = error.setting() {
        out = out.with_setting(setting);
    }
    match std::error::Error::source(&error) {
        Some(source) => {
            let text = source.to_string();
            out.with_source(text)
        }
        None => out,
    }
}

#[cfg(test)]
mod tests;
