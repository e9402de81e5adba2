//! What every kind of file is turned into: chunks of rows that know where they are in the file.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use kodiak::Result;
use serde::{Deserialize, Serialize};

/// Where to go on reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Bytes of a text file that are done.
    pub offset: u64,
    /// The line there, from 1.
    pub line: u64,
    /// Rows that are done, rejected ones too.
    pub row: u64,
}

/// A row that is not imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reject {
    /// The line on which it begins, from 1; the number of the row, from 1, in files that have no lines.
    pub line: u64,
    /// The column that is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// The row as it stands in the file, if that is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Reject {
    /// What is wrong, and where.
    pub fn message(&self, place: &str) -> String {
        match &self.column {
            Some(column) => format!("{place} {}: column \"{column}\": {}", self.line, self.reason),
            None => format!("{place} {}: {}", self.line, self.reason),
        }
    }
}

/// Some rows of a file.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The rows that could be read.
    pub rows: Option<RecordBatch>,
    /// Their numbers in the file, from 1.
    pub numbers: Vec<u64>,
    /// The lines on which they begin.
    pub lines: Vec<u64>,
    /// Their texts, if those were asked for.
    pub texts: Vec<String>,
    /// Columns that some objects of a JSON file lack, with which rows do: that is no null.
    pub lacking: Vec<(String, Vec<bool>)>,
    /// The rows that could not be read.
    pub rejects: Vec<Reject>,
    /// Where the next chunk begins.
    pub position: Position,
}

/// The rows of a file.
pub trait Rows {
    /// The columns: those of text files are text.
    fn schema(&self) -> SchemaRef;

    /// The next rows; `None` at the end.
    ///
    /// # Errors
    /// Those of reading; `InvalidInput` or `Corruption` if no more can be made of the file.
    fn next(&mut self) -> Result<Option<Chunk>>;
}
