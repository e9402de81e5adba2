//! What a table should hold, in the order of Arrow's row format.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{SortOptions, concat_batches, interleave_record_batch};
use arrow::row::{OwnedRow, RowConverter, SortField};
use kodiak::{Batches, TableSchema};

/// Rows by key.
#[derive(Clone)]
pub struct Model {
    schema: TableSchema,
    converter: Arc<RowConverter>,
    rows: BTreeMap<OwnedRow, (RecordBatch, usize)>,
}

impl Model {
    pub fn new(schema: &TableSchema) -> Self {
        let fields = schema.key().iter().map(|key| {
            let options = SortOptions {
                descending: key.descending,
                nulls_first: true,
            };
            SortField::new_with_options(schema.columns().field(key.index).data_type().clone(), options)
        });
        let converter = Arc::new(RowConverter::new(fields.collect()).expect("keys can be sorted"));
        Self {
            schema: schema.clone(),
            converter,
            rows: BTreeMap::new(),
        }
    }

    fn keys(&self, batch: &RecordBatch) -> Vec<OwnedRow> {
        let name = |index: usize| self.schema.columns().field(index).name();
        let columns = self
            .schema
            .key()
            .iter()
            .map(|key| batch.column_by_name(name(key.index)).expect("a key column"));
        let columns: Vec<ArrayRef> = columns.cloned().collect();
        let rows = self.converter.convert_columns(&columns).expect("key columns");
        rows.iter().map(|row| row.owned()).collect()
    }

    pub fn insert(&mut self, batch: &RecordBatch) {
        for (row, key) in self.keys(batch).into_iter().enumerate() {
            self.rows.insert(key, (batch.clone(), row));
        }
    }

    pub fn delete(&mut self, batch: &RecordBatch) {
        for key in self.keys(batch) {
            self.rows.remove(&key);
        }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    fn gather<'a>(&'a self, rows: impl Iterator<Item = &'a (RecordBatch, usize)>) -> RecordBatch {
        let rows: Vec<_> = rows.collect();
        let batches: Vec<&RecordBatch> = rows.iter().map(|(batch, _)| batch).collect();
        let indexes: Vec<(usize, usize)> = rows.iter().enumerate().map(|(place, (_, row))| (place, *row)).collect();
        if rows.is_empty() {
            return RecordBatch::new_empty(Arc::clone(self.schema.columns()));
        }
        interleave_record_batch(&batches, &indexes).expect("rows of one schema")
    }

    /// All rows in key order.
    pub fn all(&self) -> RecordBatch {
        self.gather(self.rows.values())
    }

    /// All rows from the last to the first.
    pub fn reversed(&self) -> RecordBatch {
        self.gather(self.rows.values().rev())
    }

    /// The rows between two keys, the second one excluded.
    pub fn range(&self, from: &RecordBatch, to: &RecordBatch) -> RecordBatch {
        let (from, to) = (self.keys(from).remove(0), self.keys(to).remove(0));
        if from >= to {
            return self.gather(std::iter::empty());
        }
        self.gather(self.rows.range(from..to).map(|(_, row)| row))
    }

    /// The row with a key.
    pub fn get(&self, key: &RecordBatch) -> Option<RecordBatch> {
        let key = self.keys(key).remove(0);
        self.rows.get(&key).map(|(batch, row)| batch.slice(*row, 1))
    }
}

/// All batches of a read as one.
pub fn collect(batches: Batches) -> RecordBatch {
    let schema = batches.schema();
    let batches: Vec<RecordBatch> = batches.map(|batch| batch.expect("batch")).collect();
    assert!(
        batches
            .iter()
            .all(|batch| batch.num_rows() > 0 && batch.schema() == schema)
    );
    concat_batches(&schema, &batches).expect("batches of one schema")
}
