//! The subcommands, one file each.

mod alter;
mod backup;
mod checkpoint;
mod compact;
mod compare;
mod compare_one;
mod create;
mod delete;
mod drop_table;
mod dump;
mod export;
mod get;
mod import;
mod index;
mod ingest;
mod merge;
mod publish;
mod put;
mod repair;
mod scan;
mod secondary;
mod settings;
mod stats;
mod tables;
mod update;
mod verify;
mod wal;

use clap::Subcommand;

use crate::failure::Result;
use crate::output::Output;

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a database, and tables in it
    Create(create::Create),
    /// List the tables of a database
    Tables(tables::Tables),
    /// Give a key a value
    Put(put::Put),
    /// Merge an operand into the value of a key, in a table that has a merge operator
    Merge(merge::Merge),
    /// Print the value of a key
    Get(get::Get),
    /// Change columns of a row of a typed table, by its key
    Update(update::Update),
    /// Take the value of a key, or of a range of keys, away
    Delete(delete::Delete),
    /// Print the entries of a key range in key order
    Scan(scan::Scan),
    /// Read a CSV, JSON lines, Parquet, Feather or ORC file into a table
    Import(import::Import),
    /// Write a table as a CSV, JSON lines, Parquet, Feather or ORC file, in key order
    Export(export::Export),
    /// Take sorted Feather, Parquet and ORC files into a table, past the log and memtables
    Ingest(ingest::Ingest),
    /// Add, drop, rename, reorder and widen the columns of a typed table
    Alter(alter::Alter),
    /// Create, drop, list and read secondary indexes
    #[command(subcommand)]
    Secondary(secondary::Secondary),
    /// Make a table readable for other programs, exactly and without copying it: DuckDB, Polars, pyarrow, Delta
    Publish(publish::Publish),
    /// Drop a table and everything in it
    DropTable(drop_table::DropTable),
    /// Merge each table into one sorted run
    Compact(compact::Compact),
    /// Print what a database consists of
    Stats(stats::Stats),
    /// Explain settings, and list the components that they can name
    #[command(subcommand)]
    Settings(settings::Settings),
    /// Make a copy of a database that shares its files where the file system allows it, also beside a program that has it open
    Checkpoint(checkpoint::Checkpoint),
    /// Make, list, verify, restore and delete backups
    #[command(subcommand)]
    Backup(backup::Backup),
    /// Read all data of a database and list whatever is wrong; beside a program that has it open, runs only
    Verify(verify::Verify),
    /// Make a damaged database usable again; what cannot be used is moved to lost/
    Repair(repair::Repair),
    /// Print what manifests, sidecars and runs hold
    #[command(subcommand)]
    Dump(dump::Dump),
    /// Choose the indexes of a table, measure indexes, and look into their files
    #[command(subcommand)]
    Index(index::Index),
    /// Look into write-ahead logs
    #[command(subcommand)]
    Wal(wal::Wal),
    /// Run the same work with several configurations and print them side by side
    #[command(after_help = compare::workloads_help())]
    Compare(compare::Compare),
    /// Run one configuration: what `compare` starts for each, so that none inherits memory from another
    #[command(hide = true)]
    CompareOne(compare_one::CompareOne),
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// Those of the command.
    pub fn run(self, out: &mut Output) -> Result {
        match self {
            Self::Create(command) => command.run(out),
            Self::Tables(command) => command.run(out),
            Self::Put(command) => command.run(),
            Self::Merge(command) => command.run(),
            Self::Get(command) => command.run(out),
            Self::Update(command) => command.run(),
            Self::Delete(command) => command.run(),
            Self::Scan(command) => command.run(out),
            Self::Import(command) => command.run(out),
            Self::Export(command) => command.run(out),
            Self::Ingest(command) => command.run(out),
            Self::Alter(command) => command.run(out),
            Self::Secondary(command) => command.run(out),
            Self::Publish(command) => command.run(out),
            Self::DropTable(command) => command.run(),
            Self::Compact(command) => command.run(out),
            Self::Stats(command) => command.run(out),
            Self::Settings(command) => command.run(out),
            Self::Checkpoint(command) => command.run(out),
            Self::Backup(command) => command.run(out),
            Self::Verify(command) => command.run(out),
            Self::Repair(command) => command.run(out),
            Self::Dump(command) => command.run(out),
            Self::Index(command) => command.run(out),
            Self::Wal(command) => command.run(out),
            Self::Compare(command) => command.run(out),
            Self::CompareOne(command) => command.run(out),
        }
    }
}
