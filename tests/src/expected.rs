//! What other tools are to find: the engine's own scan of a table, as an Arrow file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow::ipc::writer::FileWriter;
use kodiak::Table;

/// A type without dictionaries and views, which data files have as plain values, and of which pyarrow does little.
fn plain(field: &FieldRef) -> FieldRef {
    let of = match field.data_type() {
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(item) => DataType::List(plain(item)),
        DataType::LargeList(item) => DataType::LargeList(plain(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(plain(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain).collect()),
        DataType::Map(entries, sorted) => DataType::Map(plain(entries), *sorted),
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(of))
}

/// Writes the engine's own scan to an Arrow file.
///
/// # Panics
/// If the table cannot be read, or the file not be written.
pub fn write_rows(path: &Path, table: &Table) {
    let columns = SchemaRef::clone(table.schema().columns());
    let plain: SchemaRef = Arc::new(Schema::new(columns.fields().iter().map(plain).collect::<Vec<_>>()));
    let batches: Vec<RecordBatch> = table
        .read()
        .batches()
        .expect("read")
        .map(|batch| {
            let batch = batch.expect("rows");
            let arrays = batch.columns().iter().zip(plain.fields());
            let arrays = arrays.map(|(array, field)| cast(array, field.data_type()).expect("plain values"));
            RecordBatch::try_new(Arc::clone(&plain), arrays.collect()).expect("the same columns")
        })
        .collect();
    let all = concat_batches(&plain, &batches).expect("one schema");
    let mut writer = FileWriter::try_new(File::create(path).expect("a file"), &plain).expect("Arrow's own types");
    writer.write(&all).expect("written");
    writer.finish().expect("written");
}
