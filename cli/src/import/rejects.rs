//! Rows that are not imported: the first one ends the import, or they go to a file, as JSON objects.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use kodiak::{Error, Result};

use super::rows::Reject;

/// How each rejected row begins.
const HEAD: &[u8] = b"{\"line\":";

/// What becomes of rejected rows.
pub struct Rejects {
    file: Option<(PathBuf, File)>,
    /// How the rows of the file are counted: by line, or by row.
    place: &'static str,
    limit: u64,
    count: u64,
    bytes: u64,
}

impl Rejects {
    /// Rejected rows go to `path`, at most `limit` of them; without one, none is allowed. `done` are the number of rows and
    /// bytes that are there from before: whatever comes behind them is of rows that will be imported anew.
    ///
    /// # Errors
    /// `AlreadyExists` if there is a file and should be none; `Io`.
    pub fn open(path: Option<&Path>, place: &'static str, limit: u64, done: Option<(u64, u64)>) -> Result<Self> {
        let open = |path: &Path| {
            let failed = |error| Error::io("open the file for rejected rows", path, error);
            if done.is_some_and(|(rows, _)| rows == 0) {
                check_ours(path)?;
            }
            let mut options = OpenOptions::new();
            let file = match done {
                None => options.write(true).create_new(true).open(path),
                Some((0, _)) => options.write(true).create(true).truncate(true).open(path),
                Some(_) => options.append(true).open(path),
            };
            let file = file.map_err(failed)?;
            if let Some((rows, bytes)) = done {
                if file.metadata().map_err(failed)?.len() < bytes {
                    let message = format!("{rows} rows were rejected before, and the file does not have them all");
                    return Err(Error::invalid_input(message).with_file(path));
                }
                file.set_len(bytes).map_err(failed)?;
            }
            Ok((path.to_owned(), file))
        };
        let (count, bytes) = done.unwrap_or_default();
        Ok(Self {
            file: path.map(open).transpose()?,
            place,
            limit,
            count,
            bytes,
        })
    }

    /// True if the texts of rows are wanted.
    pub fn wants_texts(&self) -> bool {
        self.file.is_some()
    }

    /// How many rows were rejected, and the bytes they take in the file.
    pub fn done(&self) -> (u64, u64) {
        (self.count, self.bytes)
    }

    /// Writes rejected rows down so that they survive a crash.
    ///
    /// # Errors
    /// `InvalidInput` if there is no file for them, or they are too many; `Io`.
    pub fn write(&mut self, rejects: &[Reject]) -> Result<()> {
        let Some(first) = rejects.first() else { return Ok(()) };
        let Some((path, file)) = &mut self.file else {
            return Err(Error::invalid_input(format!(
                "{} (--rejects FILE goes on without such rows)",
                first.message(self.place)
            )));
        };
        if self.count + rejects.len() as u64 > self.limit {
            return Err(Error::invalid_input(format!(
                "more than {} rows are rejected, the last one being: {}; mend the file or raise --max-rejects, which --resume \
                 goes on with",
                self.limit,
                first.message(self.place)
            ))
            .with_file(&*path));
        }
        let mut out = Vec::new();
        for reject in rejects {
            serde_json::to_writer(&mut out, reject)
                .map_err(|error| Error::invalid_input("a rejected row cannot be written").with_source(error))?;
            out.push(b'\n');
        }
        file.write_all(&out)
            .and_then(|()| file.sync_data())
            .map_err(|error| Error::io("write rejected rows", path, error))?;
        self.count += rejects.len() as u64;
        self.bytes += out.len() as u64;
        Ok(())
    }
}

/// Refuses to write over a file that is none of rejected rows.
fn check_ours(path: &Path) -> Result<()> {
    let mut head = Vec::new();
    match File::open(path).and_then(|file| file.take(HEAD.len() as u64).read_to_end(&mut head)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("open the file for rejected rows", path, error)),
        Ok(_) if head.is_empty() || head == HEAD => Ok(()),
        Ok(_) => {
            let message = "the file for rejected rows exists, and holds something else";
            Err(Error::new(kodiak::ErrorKind::AlreadyExists, message).with_file(path))
        }
    }
}
