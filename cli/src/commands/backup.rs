use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use kodiak::maintenance::{BackupDir, BackupId, BackupInfo, backups};
use kodiak::{Error, ErrorKind};

use super::checkpoint::BESIDE;
use super::wal::iso_8601;
use crate::arguments::Existing;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::progress;

/// `kodiak backup`
#[derive(Debug, Subcommand)]
pub enum Backup {
    /// Add a backup to a directory, also beside a program that has the database open; files that an earlier backup has are not copied again
    Create(Create),
    /// List the backups in a directory
    List(List),
    /// Compare every file of a backup with its checksum
    Verify(One),
    /// Remove a backup, and the files that no other one needs
    Delete(One),
    /// Make a database of a backup
    Restore(Restore),
}

/// `kodiak backup create`
#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    db: Existing,
    /// The directory of backups; made if there is none
    backups: PathBuf,
}

/// `kodiak backup list`
#[derive(Debug, Args)]
pub struct List {
    /// The directory of backups
    backups: PathBuf,
}

/// One backup.
#[derive(Debug, Args)]
pub struct One {
    /// The directory of backups
    backups: PathBuf,
    /// The number of the backup, or "latest"
    id: Which,
}

/// Which of the backups in a directory.
#[derive(Debug, Clone, Copy)]
enum Which {
    Latest,
    Number(BackupId),
}

impl FromStr for Which {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        match text {
            "latest" => Ok(Self::Latest),
            number => number
                .parse()
                .map(Self::Number)
                .map_err(|_| "give the number of a backup (kodiak backup list tells them), or latest"),
        }
    }
}

impl One {
    fn open(&self) -> kodiak::Result<(BackupDir, BackupId)> {
        let dir = existing(&self.backups)?;
        let id = match self.id {
            Which::Number(id) => id,
            Which::Latest => {
                let known = dir.list()?;
                let latest = known.last().ok_or_else(|| {
                    Error::new(ErrorKind::NotFound, "there are no backups in it").with_file(&self.backups)
                })?;
                latest.id
            }
        };
        Ok((dir, id))
    }
}

/// `kodiak backup restore`
#[derive(Debug, Args)]
pub struct Restore {
    #[command(flatten)]
    from: One,
    /// Where to make the database: an empty directory, or one that does not exist yet
    target: PathBuf,
}

/// A directory of backups that must be there: looking for one makes none.
fn existing(dir: &Path) -> kodiak::Result<BackupDir> {
    if !dir.is_dir() {
        let message = "there is no such directory of backups";
        return Err(Error::new(ErrorKind::NotFound, message).with_file(dir));
    }
    backups(dir)
}

impl Backup {
    pub fn run(self, out: &mut Output) -> Result {
        match self {
            Self::Create(command) => {
                let backup = || command.db.copy(|db| db.backup(&command.backups));
                let (info, beside) = progress::busy("copying", backup)?;
                show(&info, if beside { BESIDE } else { "" }, out)?;
            }
            Self::List(command) => {
                for info in existing(&command.backups)?.list()? {
                    show(&info, "", out)?;
                }
            }
            Self::Verify(one) => {
                let (dir, id) = one.open()?;
                let problems = progress::busy("verifying", || dir.verify(id))?;
                problems.iter().try_for_each(|problem| writeln!(out, "{problem}"))?;
                if !problems.is_empty() {
                    let message = format!("backup {id} has {} problems", problems.len());
                    return Err(Failure::Error(Error::corruption(message)));
                }
                writeln!(out, "no problems")?;
            }
            Self::Delete(one) => {
                let (dir, id) = one.open()?;
                dir.delete(id)?;
            }
            Self::Restore(Restore { from, target }) => {
                let (dir, id) = from.open()?;
                progress::busy("restoring", || dir.restore(id, &target))?;
                writeln!(out, "made {}", target.display())?;
            }
        }
        Ok(())
    }
}

fn show(info: &BackupInfo, beside: &str, out: &mut Output) -> Result {
    let BackupInfo {
        id,
        micros,
        last_seq,
        tables,
        bytes,
        copied,
    } = *info;
    let time = iso_8601(micros);
    writeln!(
        out,
        "{id}\t{time}\t{tables} tables\t{bytes} bytes, {copied} of them new\tup to sequence {last_seq}{beside}"
    )?;
    Ok(())
}
