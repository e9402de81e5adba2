//! What the bytes of tables with columns mean.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::{Field, Schema};
use kodiak_core::batch::TableId;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, Op, Result};

use crate::maintenance::TableFile;
use crate::manifest::{Manifest, TableState};
use crate::typed::{Schemas, Target, own_columns};

/// Decodes the rows of a database's tables with columns, given as the keys and values of a log or a run.
#[derive(Debug)]
pub struct RowReader {
    tables: BTreeMap<TableId, Arc<Schemas>>,
}

impl RowReader {
    /// Of the tables that the manifest of the database in the directory `db` names.
    ///
    /// # Errors
    /// `NotFound`; `Corruption` naming the file; `Unsupported`, `Io`.
    pub fn of_database(storage: &dyn Storage, db: &Path) -> Result<Self> {
        let state = Manifest::read(storage, db)?;
        Self::of(state.tables.iter().map(|(id, table)| (*id, &**table)))
    }

    /// Of the table in whose directory the run with the data file `path` lies, and that table's number.
    ///
    /// # Errors
    /// As [`of_database`](Self::of_database).
    pub fn of_run(storage: &dyn Storage, path: &Path) -> Result<(Self, TableId)> {
        let dir = path.parent().unwrap_or(Path::new("."));
        let table = TableFile::read(storage, dir)?;
        Ok((Self::of([(table.table, &table.state())])?, table.table))
    }

    fn of<'t>(tables: impl IntoIterator<Item = (TableId, &'t TableState)>) -> Result<Self> {
        let mut known = BTreeMap::new();
        for (id, table) in tables {
            let schemas = table.schemas()?;
            if !schemas.current().schema.is_key_value() {
                known.insert(id, Arc::new(schemas));
            }
        }
        Ok(Self { tables: known })
    }

    /// One row with the table's present columns, or with those of the key alone for a delete; `None` for tables without columns and
    /// those that are not known, whose bytes are all that there is, and for range deletes, whose ends need not be whole keys.
    ///
    /// # Errors
    /// `Corruption` for bytes that the table's schemas do not write.
    pub fn row(&self, table: TableId, op: Op, key: &[u8], value: &[u8]) -> Result<Option<RecordBatch>> {
        let Some(schemas) = self.tables.get(&table).filter(|_| op != Op::RangeDelete) else {
            return Ok(None);
        };
        let target = Target::new(schemas, schemas.current());
        let value = (op != Op::Delete).then_some(value);
        let columns = own_columns(&target, BinaryArray::from(vec![key]), BinaryArray::from(vec![value]))?;
        let schema = target.schema();
        let wanted: Vec<usize> = match value {
            Some(_) => (0..columns.len()).collect(),
            None => schema.key().iter().map(|key| key.index).collect(),
        };
        // An operand may be null where a row may not.
        let nullable = |&index: &usize| -> Field { schema.columns().field(index).clone().with_nullable(true) };
        let fields: Vec<Field> = wanted.iter().map(nullable).collect();
        let columns = wanted.iter().map(|&index| Arc::clone(&columns[index])).collect();
        let row = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
        row.map(Some)
            .map_err(|error| Error::corruption("a row does not fit the table's schema").with_source(error))
    }
}
