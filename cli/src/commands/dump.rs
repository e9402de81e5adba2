use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use kodiak::components::Components;
use kodiak::core::Op;
use kodiak::{Error, ErrorKind, LocalStorage, inspect};

use crate::bytes::Encoding;
use crate::failure::Result;
use crate::output::Output;

/// `kodiak dump`
#[derive(Debug, Subcommand)]
pub enum Dump {
    /// Print the edits of a database's manifest, and the runs that they add up to
    Manifest(Manifest),
    /// Print what a sidecar (.meta) tells of its run
    Sidecar(File),
    /// Print the entries of a run, given its data file, newest version of a key first
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
    let mut text = String::new();
    let dumped = inspect::run(storage, &Components::new(), file, &mut |entry| {
        text.clear();
        encoding.show(entry.key, &mut text);
        let op = match entry.op {
            Op::Put => "put",
            Op::Delete => "delete",
            Op::Merge => "merge",
            Op::RangeDelete => "delete-range",
        };
        if entry.op != Op::Delete {
            text.push('\t');
            encoding.show(entry.value, &mut text);
        }
        writeln!(out, "{} {op} {text}", entry.seq).map_err(|error| {
            failed = Some(error);
            Error::new(ErrorKind::Io, "the output cannot be written")
        })
    });
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(dumped?),
    }
}
