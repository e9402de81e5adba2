//! From a run's columns to a block: which columns a projection needs, and how they become one.

use std::sync::{Arc, PoisonError, RwLock};

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{Schema, SchemaRef};
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

/// What the blocks of a file are decoded to.
#[derive(Debug)]
pub(crate) struct Outputs {
    schema: TableSchema,
    codecs: Codecs,
    /// As runs have them.
    columns: SchemaRef,
    whole: SchemaRef,
    /// The columns asked for last, and their schema.
    part: RwLock<Option<(Arc<[usize]>, SchemaRef)>>,
}

impl Outputs {
    /// For blocks of runs of a table.
    pub(crate) fn new(schema: &TableSchema, codecs: &Codecs) -> Self {
        let columns = schema.run_columns();
        let own = columns.fields()[..schema.columns().fields().len()].to_vec();
        Self {
            schema: schema.clone(),
            codecs: codecs.clone(),
            columns,
            whole: Arc::new(Schema::new(own)),
            part: RwLock::new(None),
        }
    }

    /// The table.
    pub(crate) fn schema(&self) -> &TableSchema {
        &self.schema
    }

    /// The columns of a run.
    pub(crate) fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// The schema of the columns with these indexes, made once for many blocks.
    fn part(&self, indexes: &Arc<[usize]>) -> SchemaRef {
        let known = self.part.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, schema)) = known.as_ref()
            && (Arc::ptr_eq(known, indexes) || known == indexes)
        {
            return Arc::clone(schema);
        }
        drop(known);
        let fields: Vec<_> = indexes
            .iter()
            .map(|&index| Arc::clone(&self.columns.fields()[index]))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        *self.part.write().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(indexes), Arc::clone(&schema)));
        schema
    }

    /// As [`assemble`](Self::assemble), of a block that was decoded `before`.
    ///
    /// # Errors
    /// As [`assemble`](Self::assemble).
    pub(crate) fn assemble_again(
        &self,
        before: bool,
        projection: &Projection,
        columns: &[Option<ArrayRef>],
        seqs: ScalarBuffer<i64>,
        ops: ScalarBuffer<i8>,
    ) -> Result<ColumnBlock> {
        if !before || self.schema.is_key_value() {
            return self.assemble(projection, columns, seqs, ops);
        }
        let keys = self.codecs.key.keys(|index| columns.get(index)?.as_ref())?;
        let values = self.values(projection, columns, seqs.len())?;
        ColumnBlock::checked(keys, seqs, ops, values)
    }

    /// Makes a block of decoded columns: `columns` are the table's own, those that [`needed`] names being there.
    ///
    /// # Errors
    /// `Corruption` if the columns do not fit the schema or each other.
    pub(crate) fn assemble(
        &self,
        projection: &Projection,
        columns: &[Option<ArrayRef>],
        seqs: ScalarBuffer<i64>,
        ops: ScalarBuffer<i8>,
    ) -> Result<ColumnBlock> {
        if self.schema.is_key_value() {
            let keys = binary(&columns[0], "key")?;
            let values = match projection {
                Projection::Keys => Values::Absent,
                _ => Values::Binary(binary(&columns[1], "value")?),
            };
            return ColumnBlock::new(keys, seqs, ops, values);
        }
        let keys = self.codecs.key.keys(|index| columns.get(index)?.as_ref())?;
        let values = self.values(projection, columns, seqs.len())?;
        ColumnBlock::new(keys, seqs, ops, values)
    }

    /// The values of a typed table's block of decoded columns.
    ///
    /// # Errors
    /// `Corruption` if the columns do not fit the schema or each other.
    pub(crate) fn values(&self, projection: &Projection, columns: &[Option<ArrayRef>], rows: usize) -> Result<Values> {
        let (schema, arrays): (SchemaRef, Vec<ArrayRef>) = match projection {
            Projection::Keys => return Ok(Values::Absent),
            Projection::All => (Arc::clone(&self.whole), columns.iter().flatten().cloned().collect()),
            Projection::Columns(indexes) => {
                let arrays = indexes.iter().filter_map(|&index| columns[index].clone());
                (self.part(indexes), arrays.collect())
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(schema, arrays, &options)
            .map_err(|error| Error::corruption("a block's columns do not fit the schema").with_source(error))?;
        Ok(Values::Columns(batch, Arc::clone(&self.codecs.row)))
    }
}

fn binary(column: &Option<ArrayRef>, name: &str) -> Result<BinaryArray> {
    column
        .as_ref()
        .and_then(|column| column.as_any().downcast_ref::<BinaryArray>())
        .cloned()
        .ok_or_else(|| Error::corruption(format!("column {name} is missing or not binary")))
}
