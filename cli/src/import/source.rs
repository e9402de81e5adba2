//! A file as a series of record batches, with a progress bar.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use indicatif::{HumanCount, ProgressBar, ProgressBarIter};
use kodiak::{Error, ErrorKind, Result};

use super::csv::{self, CsvOptions};
use super::json;
use crate::progress;

/// The bytes of a file; reading them moves the progress bar.
pub(super) type Bytes = BufReader<ProgressBarIter<File>>;

/// The rows of a file.
pub struct Source {
    path: PathBuf,
    reader: Box<dyn RecordBatchReader>,
    bar: ProgressBar,
    rows: u64,
}

impl Source {
    /// A CSV file with a header. It is read twice: the first time to find the types of its columns.
    ///
    /// # Errors
    /// `NotFound`, `Io`; `InvalidInput` naming the file and the line.
    pub fn csv(path: &Path, options: &CsvOptions, batch_rows: usize) -> Result<Self> {
        Self::new(path, |open| csv::reader(open, options, batch_rows))
    }

    /// A file with a JSON object in each line. It is read twice, too.
    ///
    /// # Errors
    /// As [`csv`](Self::csv).
    pub fn json_lines(path: &Path, batch_rows: usize) -> Result<Self> {
        Self::new(path, |open| json::reader(open, batch_rows))
    }

    fn new<R: RecordBatchReader + 'static>(
        path: &Path,
        make: impl FnOnce(&dyn Fn(&'static str) -> Result<Bytes>) -> Result<R>,
    ) -> Result<Self> {
        let failed = |source| Error::io("read the rows", path, source);
        let total = std::fs::metadata(path).map_err(failed)?.len();
        let bar = progress::bytes(total);
        let open = |message: &'static str| {
            let file = File::open(path).map_err(failed)?;
            bar.reset();
            bar.set_message(message);
            Ok(BufReader::with_capacity(256 << 10, bar.wrap_read(file)))
        };
        let reader = make(&open).map_err(|error| error.with_file(path));
        if reader.is_err() {
            bar.finish_and_clear();
        }
        Ok(Self {
            path: path.to_owned(),
            reader: Box::new(reader?),
            bar,
            rows: 0,
        })
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        self.reader.schema()
    }
}

impl Iterator for Source {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        if let Ok(batch) = &batch {
            self.rows += batch.num_rows() as u64;
            let rate = self.rows as f64 / self.bar.elapsed().as_secs_f64().max(1e-9);
            self.bar.set_message(format!(
                "{} rows, {} rows/s",
                HumanCount(self.rows),
                HumanCount(rate as u64)
            ));
        }
        Some(batch.map_err(|error| malformed(error).with_file(&self.path)))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// What Arrow says of a file that is not what it should be.
pub(super) fn malformed(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) if source.kind() != std::io::ErrorKind::InvalidData => {
            Error::new(ErrorKind::Io, "cannot read the rows").with_source(source)
        }
        error => Error::invalid_input("the file cannot be understood").with_source(error),
    }
}
