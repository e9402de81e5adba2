//! Files with a JSON object in each line.

use std::sync::Arc;

use arrow::record_batch::RecordBatchReader;
use arrow_json::ReaderBuilder;
use arrow_json::reader::infer_json_schema;
use kodiak::{Error, Result};

use super::source::{Bytes, malformed};

/// Opens a file twice: to infer its schema, and to read it. Where a field has values of several simple types, it becomes
/// text.
pub(super) fn reader(
    open: &dyn Fn(&'static str) -> Result<Bytes>,
    batch_rows: usize,
) -> Result<impl RecordBatchReader + use<>> {
    let (schema, rows) = infer_json_schema(open("looking for types")?, None).map_err(malformed)?;
    if rows == 0 || schema.fields().is_empty() {
        return Err(Error::invalid_input("the file has no JSON objects"));
    }
    let builder = ReaderBuilder::new(Arc::new(schema))
        .with_coerce_primitive(true)
        .with_batch_size(batch_rows);
    builder.build(open("reading")?).map_err(malformed)
}
