//! Which columns a read wants of runs, whatever schemas these are of.

use std::sync::Arc;

use kodiak_core::format::Projection;
use kodiak_core::schema::TableSchema;

/// Columns of one schema of a table, wanted of runs of any of its schemas.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    projection: Projection,
    /// The schema by whose indexes the projection is; not needed for everything.
    schema: Option<Arc<TableSchema>>,
}

impl Wanted {
    /// Keys, sequence numbers and operations.
    pub fn keys() -> Self {
        Self {
            projection: Projection::Keys,
            schema: None,
        }
    }

    /// What `projection` says by the indexes of `schema`.
    pub fn new(projection: Projection, schema: &Arc<TableSchema>) -> Self {
        Self {
            projection,
            schema: Some(Arc::clone(schema)),
        }
    }

    /// The projection for blocks of a run of schema `of`: those of the columns that it has, in the order asked for. Everything
    /// if these are as many as the run has, so that a block that was decoded in part has fewer columns than its run.
    pub fn of_run(&self, of: &TableSchema) -> Projection {
        match (&self.projection, &self.schema) {
            (Projection::Columns(indexes), Some(schema)) if schema.number() != of.number() => {
                let own = |&index: &usize| of.index_of_number(schema.column_number(index));
                let own: Arc<[usize]> = indexes.iter().filter_map(own).collect();
                match own.len() < of.columns().fields().len() {
                    true => Projection::Columns(own),
                    false => Projection::All,
                }
            }
            (projection, _) => projection.clone(),
        }
    }
}
