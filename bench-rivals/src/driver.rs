//! The parent: prepares stores, runs every case in a process of its own, engines interleaved, and collects.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;

use crate::bytes::copy_dir;
use crate::cases::{Job, Kind, Measures};
use crate::data::KEY_LEN;
use crate::engine::Result;
use crate::engines::{self, Entry};
use crate::report::{Outcome, Report, Run};
use crate::rows::{self, Case, Store};

/// Kodiak beside other embedded engines: the same rows, the same settings, each run in a fresh process.
#[derive(Debug, Clone, Parser)]
#[command(name = "kodiak-bench-rivals")]
pub struct Options {
    /// Keys loaded.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000_000))]
    pub keys: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(32..=1_000_000))]
    pub value: u64,
    /// Repetitions; the table shows medians.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub repetitions: u32,
    /// Rows to measure; all without.
    #[arg(long, value_delimiter = ',')]
    pub rows: Vec<String>,
    /// Engines to measure; all in this build without.
    #[arg(long, value_delimiter = ',')]
    pub engines: Vec<String>,
    /// Directory for the stores, on the disk that is to be measured.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub dir: PathBuf,
    /// Writes every number as JSON to this file, after each case.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Seconds after which a run is given up.
    #[arg(long, default_value_t = 600)]
    pub limit: u64,
    /// Shows no progress.
    #[arg(long)]
    pub quiet: bool,
}

const MEMTABLE: u64 = 16 << 20;
const MIN_CACHE: u64 = 8 << 20;
/// Writes of the case that syncs each, and entries of the log that is recovered, at most.
const MAX_SYNCED: u64 = 3000;
const MAX_LOGGED: u64 = 1_000_000;

/// Runs one job and prints its numbers as JSON: what the parent starts.
///
/// # Errors
/// Those of the job.
pub fn child(job: &str) -> Result<()> {
    let job: Job = serde_json::from_str(job)?;
    let measures = (engines::find(&job.engine)?.run)(&job)?;
    println!("{}", serde_json::to_string(&measures)?);
    // No destructor may tidy up what a crash would leave.
    std::process::exit(0)
}

/// Runs everything and prints the table.
///
/// # Errors
/// Unknown rows or engines, I/O; failed runs, after the table.
pub fn run(options: &Options) -> Result<()> {
    let rows = rows::select(&options.rows)?;
    let engines: Vec<&'static Entry> = match options.engines.as_slice() {
        [] => engines::ALL.to_vec(),
        names => names.iter().map(|name| engines::find(name)).collect::<Result<_>>()?,
    };
    let work = tempfile::Builder::new()
        .prefix("kodiak-rivals-")
        .tempdir_in(&options.dir)?;
    let mut driver = Driver {
        options,
        work: work.path(),
        prepared: HashMap::new(),
    };
    let mut report = Report::new(options, &engines, &rows);
    for repetition in 0..options.repetitions {
        for case in rows::cases_of(&rows) {
            // Another engine begins each time, so that none always runs behind the same other one.
            let first = repetition as usize % engines.len();
            for engine in engines.iter().cycle().skip(first).take(engines.len()) {
                let outcome = driver.measure(engine, case, repetition);
                if !options.quiet {
                    eprintln!("{:>2}  {:<18} {:<8} {outcome}", repetition + 1, case.name, engine.name);
                }
                report.add(Run {
                    engine: engine.name,
                    case: case.name,
                    outcome,
                });
            }
            // After every case, so that a long measurement that is cut short has not been for nothing.
            report.finish();
            if let Some(path) = &options.json {
                fs::write(path, serde_json::to_string_pretty(&report)?)?;
            }
        }
    }
    println!("{report}");
    match report.failures() {
        0 => Ok(()),
        failures => Err(format!("{failures} runs failed").into()),
    }
}

struct Driver<'a> {
    options: &'a Options,
    work: &'a Path,
    /// What preparing a store came to, by engine and kind of store.
    prepared: HashMap<(&'static str, &'static str), Result<PathBuf, String>>,
}

impl Driver<'_> {
    fn measure(&mut self, engine: &Entry, case: &Case, repetition: u32) -> Outcome {
        let applies = match case.store {
            Store::Log => engine.log,
            _ => engine.cache || !case.small_cache,
        };
        if !applies {
            return Outcome::NotApplicable;
        }
        let dir = self.work.join("run");
        let result = self.run_case(engine, case, repetition, &dir);
        let removed = remove(&dir);
        match (result, removed) {
            (Ok(measures), Ok(())) => Outcome::Measured(measures.into_iter().collect()),
            (Err(error), _) | (_, Err(error)) => Outcome::Failed(error.to_string()),
        }
    }

    fn run_case(&mut self, engine: &Entry, case: &Case, repetition: u32, run_dir: &Path) -> Result<Measures> {
        let mut job = self.job(engine, case);
        // All engines read the same keys in the same repetition.
        job.seed = u64::from(repetition) + 1;
        job.dir = match case.store {
            Store::Empty => {
                fs::create_dir(run_dir)?;
                run_dir.to_owned()
            }
            Store::Loaded => self.prepare(engine, &job, "loaded", Kind::Load)?,
            Store::Kib => self.prepare(engine, &job, "kib", Kind::Load)?,
            Store::Copy => {
                copy_dir(&self.prepare(engine, &job, "loaded", Kind::Load)?, run_dir)?;
                run_dir.to_owned()
            }
            Store::Log => {
                copy_dir(&self.prepare(engine, &job, "log", Kind::LoadLog)?, run_dir)?;
                run_dir.to_owned()
            }
        };
        self.spawn(&job)
    }

    fn job(&self, engine: &Entry, case: &Case) -> Job {
        let (mut keys, mut value_len) = (self.options.keys, self.options.value as usize);
        if case.kib {
            (keys, value_len) = (keys / 4, 1024);
        }
        let durable = case.kind == Kind::SyncedFill;
        match case.kind {
            Kind::SyncedFill => keys = keys.min(MAX_SYNCED),
            Kind::Recovery => keys = keys.min(MAX_LOGGED),
            _ => {}
        }
        let data = keys * (KEY_LEN + value_len) as u64;
        let cache = if case.small_cache {
            (data / 8).max(64 << 10)
        } else {
            (2 * data).max(MIN_CACHE)
        };
        // A log is as long as the memtable is large: here nothing may be flushed.
        let memtable = if case.store == Store::Log {
            (4 * data).max(MEMTABLE)
        } else {
            MEMTABLE
        };
        let (engine, kind, dir) = (engine.name.to_owned(), case.kind, PathBuf::new());
        Job {
            engine,
            kind,
            dir,
            keys,
            value_len,
            memtable,
            cache,
            durable,
            seed: 0,
        }
    }

    /// The directory of a prepared store, made at its first use.
    fn prepare(&mut self, engine: &Entry, job: &Job, what: &'static str, kind: Kind) -> Result<PathBuf> {
        if let Some(known) = self.prepared.get(&(engine.name, what)) {
            return Ok(known.clone()?);
        }
        let dir = self.work.join(format!("{}-{what}", engine.name));
        fs::create_dir(&dir)?;
        // The cache of the row that comes first must not decide how the store is loaded.
        let cache = (2 * job.data()).max(MIN_CACHE);
        let job = Job {
            kind,
            dir: dir.clone(),
            cache,
            ..job.clone()
        };
        let start = Instant::now();
        let result = self
            .spawn(&job)
            .map(|_| dir)
            .map_err(|error| format!("preparing \"{what}\": {error}"));
        if !self.options.quiet {
            eprintln!(
                "    {what:<18} {:<8} prepared in {:.1} s",
                engine.name,
                start.elapsed().as_secs_f64()
            );
        }
        self.prepared.insert((engine.name, what), result.clone());
        Ok(result?)
    }

    /// Runs a job in a process of its own.
    fn spawn(&self, job: &Job) -> Result<Measures> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--child")
            .arg(serde_json::to_string(job)?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let out = std::thread::spawn(move || read_all(out));
        let err = std::thread::spawn(move || read_all(err));
        let deadline = Instant::now() + Duration::from_secs(self.options.limit);
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() >= deadline {
                child.kill()?;
                child.wait()?;
                return Err(format!("given up after {} s", self.options.limit).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let out = out.join().map_err(|_| "the reader of its output panicked")?;
        let err = err.join().map_err(|_| "the reader of its errors panicked")?;
        if !status.success() {
            return Err(format!("{status}: {}", err.trim()).into());
        }
        let line = out.lines().last().ok_or("it printed nothing")?;
        Ok(serde_json::from_str(line)?)
    }
}

fn read_all(stream: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // What has been read before a failure is still worth showing.
        let _ = stream.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
