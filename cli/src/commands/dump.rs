use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use kodiak::components::Components;
use kodiak::core::batch::BatchOp;
use kodiak::{Error, ErrorKind, LocalStorage, inspect};

use crate::bytes::Encoding;
use crate::failure::Result;
use crate::operations::Shown;
use crate::output::Output;

/// `kodiak dump`
#[derive(Debug, Subcommand)]
pub enum Dump {
    /// Print the edits of a database's manifest, and the runs that they add up to
    Manifest(Manifest),
    /// Print what a sidecar (.meta) tells of its run
    Sidecar(File),
    /// Print the entries of a run, given its data file, newest version of a key first; rows of tables with columns as JSON
    Run(Run),
}

/// `kodiak dump manifest`
#[derive(Debug, Args)]
pub struct Manifest {
    /// The directory of the database
    db: PathBuf,
}

/// `kodiak dump sidecar`
#[derive(Debug, Args)]
pub struct File {
    /// The sidecar, or its data file
    file: PathBuf,
}

/// `kodiak dump run`
#[derive(Debug, Args)]
pub struct Run {
    /// The data file, in the directory of its table
    file: PathBuf,
    #[command(flatten)]
    encoding: Encoding,
}

impl Dump {
    pub fn run(self, out: &mut Output) -> Result {
        let storage = LocalStorage::new();
        match self {
            Self::Manifest(Manifest { db }) => write!(out, "{}", inspect::manifest(&storage, &db)?)?,
            Self::Sidecar(File { file }) => write!(out, "{}", inspect::sidecar(&storage, &file)?)?,
            Self::Run(Run { file, encoding }) => return entries(&file, encoding, out),
        }
        Ok(())
    }
}

fn entries(file: &std::path::Path, encoding: Encoding, out: &mut Output) -> Result {
    let mut failed: Option<io::Error> = None;
    let storage = std::sync::Arc::new(LocalStorage::new());
    // What is wrong with the file or its table, the dump will tell.
    let (rows, table) =
        inspect::RowReader::of_run(&*storage, file).map_or((None, 0), |(rows, table)| (Some(rows), table));
    let shown = Shown { rows, encoding };
    let dumped = inspect::run(storage, &Components::new(), file, &mut |entry| {
        let op = BatchOp {
            table,
            op: entry.op,
            key: entry.key,
            value: entry.value,
        };
        writeln!(out, "{} {}", entry.seq, shown.text(&op)).map_err(|error| {
            failed = Some(error);
            Error::new(ErrorKind::Io, "the output cannot be written")
        })
    });
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(dumped?),
    }
}
