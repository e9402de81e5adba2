//! From a run's columns to a block: which columns a projection needs, and how they become one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, Int64Array, RecordBatch};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::Schema;
use kodiak_core::block::{Codecs, ColumnBlock, Values};
use kodiak_core::format::Projection;
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, Result};

/// Which of the table's own columns a projection needs, by index: those asked for, and those of the key. The hidden
/// columns are always needed.
///
/// # Errors
/// `InvalidInput` for a column that the table does not have, or for columns of a key-value table.
pub(crate) fn needed(schema: &TableSchema, projection: &Projection) -> Result<Vec<bool>> {
    let own = schema.columns().fields().len();
    let mut needed: Vec<bool> = (0..own).map(|index| schema.is_key_column(index)).collect();
    match projection {
        Projection::All => needed.fill(true),
        Projection::Keys => {}
        Projection::Columns(_) if schema.is_key_value() => {
            return Err(Error::invalid_input(
                "a key-value table is read whole or by its keys, not by columns",
            ));
        }
        Projection::Columns(indexes) => {
            for &index in indexes.iter() {
                match needed.get_mut(index) {
                    Some(column) => *column = true,
                    None => {
                        return Err(Error::invalid_input(format!(
                            "the table has no column {index}, only {own}"
                        )));
                    }
                }
            }
        }
    }
    Ok(needed)
}

/// Makes a block of decoded columns: `columns` are the table's own, those that [`needed`] names being there.
///
/// # Errors
/// `Corruption` if the columns do not fit the schema or each other.
pub(crate) fn assemble(
    schema: &TableSchema,
    codecs: &Codecs,
    projection: &Projection,
    columns: &[Option<ArrayRef>],
    seqs: ScalarBuffer<i64>,
    ops: ScalarBuffer<i8>,
) -> Result<ColumnBlock> {
    if schema.is_key_value() {
        let keys = binary(&columns[0], "key")?;
        let values = match projection {
            Projection::Keys => Values::Absent,
            _ => Values::Binary(binary(&columns[1], "value")?),
        };
        return ColumnBlock::new(keys, seqs, ops, values);
    }
    // The key codec looks at key columns only; the sequence numbers stand in for those that were not read.
    let filler: ArrayRef = Arc::new(Int64Array::new(seqs.clone(), None));
    let filled: Vec<ArrayRef> = columns
        .iter()
        .map(|column| column.as_ref().unwrap_or(&filler).clone())
        .collect();
    let keys = codecs.key.encode(&filled)?;
    let values = values(schema, codecs, projection, columns, seqs.len())?;
    ColumnBlock::new(keys, seqs, ops, values)
}

/// The values of a typed table's block of decoded columns.
///
/// # Errors
/// `Corruption` if the columns do not fit the schema or each other.
pub(crate) fn values(
    schema: &TableSchema,
    codecs: &Codecs,
    projection: &Projection,
    columns: &[Option<ArrayRef>],
    rows: usize,
) -> Result<Values> {
    let all: Vec<usize>;
    let indexes = match projection {
        Projection::Keys => return Ok(Values::Absent),
        Projection::All => {
            all = (0..columns.len()).collect();
            all.as_slice()
        }
        Projection::Columns(indexes) => indexes,
    };
    Ok(Values::Columns(
        project(schema, columns, indexes, rows)?,
        Arc::clone(&codecs.row),
    ))
}

fn project(schema: &TableSchema, columns: &[Option<ArrayRef>], indexes: &[usize], rows: usize) -> Result<RecordBatch> {
    let run = schema.run_columns();
    let fields: Vec<_> = indexes.iter().map(|&index| run.fields()[index].clone()).collect();
    let arrays: Vec<_> = indexes.iter().filter_map(|&index| columns[index].clone()).collect();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|error| Error::corruption("a block's columns do not fit the schema").with_source(error))
}

fn binary(column: &Option<ArrayRef>, name: &str) -> Result<BinaryArray> {
    column
        .as_ref()
        .and_then(|column| column.as_any().downcast_ref::<BinaryArray>())
        .cloned()
        .ok_or_else(|| Error::corruption(format!("column {name} is missing or not binary")))
}
