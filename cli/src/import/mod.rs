//! Reading files of rows into tables.
//!
//! A [`Source`] turns a file into record batches of inferred types; a [`Sink`] writes record batches to a table. Neither
//! knows of the other, so that a table of another kind is one more sink.

mod csv;
mod json;
mod keys;
mod schema;
mod sink;
mod source;

pub use csv::CsvOptions;
pub use keys::RowKeys;
pub use schema::TableArguments;
pub use sink::Sink;
pub use source::Source;
