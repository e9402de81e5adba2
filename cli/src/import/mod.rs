//! Reading files of rows into tables.
//!
//! A [`Source`] turns a file into chunks of rows, and [`Rows`](rows::Rows) is what its formats have in common; a [`Sink`] makes
//! write batches of them. [`Rejects`] are the rows that one of the two cannot use, and [`Progress`] is written with each batch,
//! so that an import that was killed goes on where it was.

mod csv;
mod input;
mod json;
mod keys;
mod kind;
mod records;
mod rejects;
mod resume;
mod rows;
mod schema;
mod sink;
mod source;
mod text;
mod transfer;

pub use csv::{CsvOptions, default_delimiter};
pub use input::{Input, is_once};
pub use keys::RowKeys;
pub use records::Records;
pub use rejects::Rejects;
pub use resume::{IMPORTS, Progress};
pub use rows::Position;
pub use schema::{TableArguments, column_index, defaults, is_entries};
pub use sink::{Layout, Sink};
pub use source::{FileFormat, Source};
pub use text::check_plain;
pub use transfer::{Transfer, count_rows, take_back, tell_replaced};
