use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use kodiak::core::index::Root;
use kodiak::inspect::{self, Locator, SecondaryEntry};
use kodiak::settings::{FENCE, Maintenance};
use kodiak::{Components, Error, LocalStorage};
use kodiak_bench_harness::indexes::{self, Bench, EXPERIMENTS, Experiment, Row, Target};
use kodiak_indexes::IndexFile;

use crate::arguments::{Existing, IndexArguments};
use crate::failure::{Failure, Result};
use crate::output::Output;

/// `kodiak index`
#[derive(Debug, Subcommand)]
pub enum Index {
    /// Say which indexes a table has, or choose them: what is chosen is built before this ends, and holds from now on
    Choose(Choose),
    /// Measure the indexes side by side, with data of 1, 4 and 16 times their pool, and check their targets
    Bench(Run),
    /// Print the nodes of an index file
    Dump(Dump),
    /// Read every byte of an index file and list whatever is wrong (`kodiak verify` also compares a database's indexes with its data)
    Verify(Verify),
}

/// `kodiak index choose`
#[derive(Debug, Args)]
pub struct Choose {
    #[command(flatten)]
    db: Existing,
    /// The table
    table: String,
    #[command(flatten)]
    indexes: IndexArguments,
}

/// `kodiak index bench`
#[derive(Debug, Args)]
pub struct Run {
    /// Mebibytes of the pool; nodes scale with it
    #[arg(long, value_name = "MIB", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pool: u64,
    /// Data as multiples of the pool
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1, 4, 16],
        value_parser = clap::value_parser!(u64).range(1..=1024))]
    times: Vec<u64>,
    /// Entries for the reads in memory
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    memory_entries: u64,
    /// Where the files are made, and removed afterwards [default: the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Run experiments of the literature instead: bt.iibench, bt.nodesize, bt.upsert, bt.sequential, bt.cached, or all
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', conflicts_with_all = ["times", "memory_entries"])]
    experiment: Vec<String>,
}

/// `kodiak index dump`
#[derive(Debug, Args)]
pub struct Dump {
    /// An index file
    file: PathBuf,
    /// A root [default: the newest]
    #[arg(long, value_name = "N")]
    root: Option<u64>,
    /// Print every key with its value instead; in a primary index of a database, where the newest version of the key is; in a secondary
    /// one, which rows have it
    #[arg(long)]
    entries: bool,
}

/// `kodiak index verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// An index file
    file: PathBuf,
}

impl Index {
    pub fn run(self, out: &mut Output) -> Result {
        match self {
            Self::Choose(command) => command.run(out),
            Self::Bench(command) => command.run(out),
            Self::Dump(command) => command.run(out),
            Self::Verify(command) => command.run(out),
        }
    }
}

impl Choose {
    fn run(self, out: &mut Output) -> Result {
        let db = self.db.open()?;
        let table = db.table(&self.table)?;
        let before = table.options().get_indexes().clone();
        let own = self.indexes.apply(before)?;
        if !self.indexes.is_empty() {
            table.set_indexes(own.clone())?;
        }
        let stats = db.stats().tables.into_iter().find(|stats| stats.name == self.table);
        let stats = stats.unwrap_or_default();
        let chosen = |own: bool| if own { "" } else { " (by default)" };
        let primary = stats.index.map_or_else(|| FENCE.to_owned(), |(kind, _)| kind);
        writeln!(out, "primary index: {primary}{}", chosen(own.primary.is_some()))?;
        let vectors = if stats.deletion_vectors { "on" } else { "off" };
        writeln!(
            out,
            "deletion vectors: {vectors}{}",
            chosen(own.deletion_vectors.is_some())
        )?;
        let settings = &db.settings().secondary;
        let kind = own.secondary.as_ref().unwrap_or(&settings.kind);
        writeln!(out, "secondary indexes: {kind}{}", chosen(own.secondary.is_some()))?;
        let maintenance = match own.maintenance.unwrap_or(settings.maintenance) {
            Maintenance::Lazy => "lazy",
            Maintenance::Eager => "eager",
        };
        writeln!(out, "maintenance: {maintenance}{}", chosen(own.maintenance.is_some()))?;
        drop(table);
        Ok(db.close()?)
    }
}

impl Run {
    fn run(self, out: &mut Output) -> Result {
        let bench = Bench {
            pool: (self.pool as usize) << 20,
            times: self.times.into_iter().map(|times| times as usize).collect(),
            memory_entries: self.memory_entries.max(1000),
            dir: self.dir,
        };
        if !self.experiment.is_empty() {
            return experiments(&self.experiment, &bench, out);
        }
        writeln!(out, "{bench}\n")?;
        let rows = telling(out, |tell| indexes::run(&bench, tell))?;
        writeln!(
            out,
            "\nRatios of the times above, \"a over b\" is how many times as long a takes:"
        )?;
        let targets = indexes::targets(&rows);
        for target in &targets {
            writeln!(out, "{target}")?;
        }
        writeln!(out, "{}", indexes::summary(&targets))?;
        writeln!(
            out,
            "Three secondary indexes, sizes of nodes, promotion: `--experiment all`. Indexes of tables, and redb: docs/performance.md."
        )?;
        Ok(())
    }
}

/// Does something that tells rows, and prints them as they come.
fn telling<T>(out: &mut Output, run: impl FnOnce(&mut dyn FnMut(&Row)) -> kodiak::Result<T>) -> Result<T> {
    let mut failed = None;
    let result = run(&mut |row| {
        let written = writeln!(out, "{row}").and_then(|()| out.flush());
        failed = failed.take().or(written.err());
    })?;
    failed.map_or(Ok(result), |error| Err(error.into()))
}

fn experiments(names: &[String], bench: &Bench, out: &mut Output) -> Result {
    let mut wanted = Vec::new();
    for name in names {
        match Experiment::find(name) {
            Some(experiment) => wanted.push(experiment),
            None if name == "all" => wanted.extend(EXPERIMENTS),
            None => {
                let known: Vec<_> = EXPERIMENTS.iter().map(|experiment| experiment.name).collect();
                let message = format!("there is no experiment \"{name}\"; known are {}, all", known.join(", "));
                return Err(Error::invalid_input(message).into());
            }
        }
    }
    for experiment in wanted {
        writeln!(out, "{}: {}", experiment.name, experiment.what)?;
        let targets = telling(out, |tell| experiment.run(bench, tell))?;
        for target in &targets {
            writeln!(out, "{target}")?;
        }
        let seen = if targets.iter().all(Target::holds) {
            "seen"
        } else {
            "NOT seen"
        };
        writeln!(out, "published: {}: {seen}\n", experiment.published)?;
    }
    Ok(())
}

impl Dump {
    fn run(self, out: &mut Output) -> Result {
        let file = IndexFile::open(&LocalStorage::new(), &self.file)?;
        let roots = file.roots();
        let (used, free) = file.space();
        let upsert = match &*file.upsert() {
            "" => String::new(),
            name => format!(", upsert operator {name}"),
        };
        let numbers: Vec<_> = roots.iter().map(|root| root.0.to_string()).collect();
        writeln!(
            out,
            "{}{upsert}{}: roots {}; {used} bytes used, {free} free",
            file.kind(),
            owner(&file),
            numbers.join(", ")
        )?;
        let newest = roots.last().copied();
        let Some(root) = self.root.map(Root).or(newest) else {
            return Ok(());
        };
        if self.entries {
            return print_entries(&file, &self.file, root, out);
        }
        let mut failed = None;
        file.dump(root, &mut |line| {
            failed = failed.take().or(writeln!(out, "{line}").err());
        })?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// What an index file says it is part of.
fn owner(file: &IndexFile) -> String {
    match &*file.owner() {
        [] => String::new(),
        owner => format!(", of \"{}\"", owner.escape_ascii()),
    }
}

/// One line for each key.
fn print_entries(index: &IndexFile, file: &Path, root: Root, out: &mut Output) -> Result {
    let mut failed = None;
    let mut print = |key: &[u8], value: &[u8]| {
        let line = match &*index.upsert() {
            inspect::LOCATOR_OPERATOR => locator_line(key, value)?,
            inspect::SECONDARY_OPERATOR => secondary_line(key, value)?,
            _ => format!("{} {}", key.escape_ascii(), value.escape_ascii()),
        };
        failed = failed.take().or(writeln!(out, "{line}").err());
        Ok(())
    };
    match &*index.upsert() {
        inspect::LOCATOR_OPERATOR | inspect::SECONDARY_OPERATOR => {
            let storage = Arc::new(LocalStorage::new());
            inspect::index(storage, &Components::new(), file, Some(root), &mut print)?;
        }
        // An operator of another program: what is merged already can be read.
        _ => {
            for entry in index.view(root)?.range(..) {
                let (key, value) = entry?;
                print(&key, &value)?;
            }
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

fn locator_line(key: &[u8], value: &[u8]) -> kodiak::Result<String> {
    let Locator {
        run,
        block,
        row,
        seq,
        op,
    } = Locator::decode(value)?;
    let key = key.escape_ascii();
    Ok(format!("{key} in run {run}, block {block}, row {row}: {op:?} at {seq}"))
}

fn secondary_line(key: &[u8], value: &[u8]) -> kodiak::Result<String> {
    let entry = SecondaryEntry::decode(key, value)?;
    let (user_key, seq) = (entry.user_key.escape_ascii(), entry.seq);
    let Some(index_key) = entry.index_key else {
        return Ok(format!("row {user_key} is looked up by every read: at {seq}"));
    };
    let void = entry
        .void
        .map_or_else(String::new, |void| format!(", void from {void} on"));
    Ok(format!(
        "{} of row {user_key}: at {seq}{void}",
        index_key.escape_ascii()
    ))
}

impl Verify {
    fn run(self, out: &mut Output) -> Result {
        let file = IndexFile::open(&LocalStorage::new(), &self.file)?;
        let mut findings = Vec::new();
        file.verify(&mut |finding| findings.push(finding))?;
        for finding in &findings {
            writeln!(out, "at {}: {}", finding.offset, finding.what)?;
        }
        if findings.is_empty() {
            writeln!(
                out,
                "{}{}, {} roots: sound",
                file.kind(),
                owner(&file),
                file.roots().len()
            )?;
            return Ok(());
        }
        let message = format!("{} problems: restore a copy, or build the index anew", findings.len());
        Err(Failure::Error(Error::corruption(message).with_file(self.file)))
    }
}
