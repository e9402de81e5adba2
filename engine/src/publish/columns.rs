//! Which columns of a table its files lack, and which files readers cannot make its columns of.
//!
//! Readers find columns by name. So a file of an older schema will do if each column of the table is in it under its name and of its
//! type, or is not in it at all and null in its rows: what was dropped since, moved, added without a default or made nullable needs
//! no other file. Delta tables have no more than that; their readers' mapping of names and wider types is not to be counted upon.

use std::collections::BTreeMap;
use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::schema::TableSchema;

use crate::db::TableInner;

/// The columns of a table, as files of its schemas have them.
pub struct Columns<'t> {
    table: &'t TableInner,
    schema: &'t TableSchema,
    /// By the numbers of schemas that were asked for.
    lacked: BTreeMap<u32, Option<Arc<[String]>>>,
}

impl<'t> Columns<'t> {
    /// Those of `schema`, one of the table's.
    pub fn new(table: &'t TableInner, schema: &'t TableSchema) -> Self {
        Self {
            table,
            schema,
            lacked: BTreeMap::new(),
        }
    }

    /// The columns that files of the table's schema `number` lack, whose rows are null in them; `None` if such files do not read as
    /// the schema says.
    ///
    /// # Errors
    /// `Corruption` if the table has no such schema.
    pub fn lacked_by(&mut self, number: u32) -> Result<Option<Arc<[String]>>> {
        if let Some(known) = self.lacked.get(&number) {
            return Ok(known.clone());
        }
        let file = self.table.schemas.find(number)?;
        let lacked = lacked(&file.schema, self.schema)?.map(Arc::from);
        self.lacked.insert(number, lacked.clone());
        Ok(lacked)
    }
}

fn lacked(file: &TableSchema, schema: &TableSchema) -> Result<Option<Vec<String>>> {
    let mut lacked = Vec::new();
    for (index, field) in schema.columns().fields().iter().enumerate() {
        match file.index_of_number(schema.column_number(index)) {
            Some(own) => {
                let own = file.columns().field(own);
                if own.name() != field.name() || own.data_type() != field.data_type() {
                    return Ok(None);
                }
            }
            None => {
                // Some readers do not tell capital letters from small ones.
                let other = |own: &str| own.to_lowercase() == field.name().to_lowercase();
                if schema.initial(index)?.is_some() || file.columns().fields().iter().any(|own| other(own.name())) {
                    return Ok(None);
                }
                lacked.push(field.name().clone());
            }
        }
    }
    Ok(Some(lacked))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int32Array};
    use arrow::datatypes::{DataType, Field, Schema};
    use kodiak_core::schema::SchemaChange;

    use super::*;

    fn old() -> TableSchema {
        let field = |name: &str| Field::new(name, DataType::Int32, name != "id");
        let columns = Schema::new(vec![field("id"), field("a"), field("b")]);
        TableSchema::new(Arc::new(columns), &["id"]).expect("valid")
    }

    fn lacked_after(changes: &[SchemaChange]) -> Option<Vec<String>> {
        let new = old().altered(1, changes).expect("valid");
        lacked(&old(), &new).expect("readable")
    }

    fn add(name: &str, initial: Option<i32>) -> SchemaChange {
        SchemaChange::Add {
            field: Field::new(name, DataType::Int32, true),
            initial: initial.map(|value| Arc::new(Int32Array::from(vec![value])) as ArrayRef),
        }
    }

    #[test]
    fn files_do_after_alterations_that_leave_names_types_and_nulls() {
        let none = Some(Vec::new());
        assert_eq!(lacked_after(&[SchemaChange::Drop("a".into())]), none);
        assert_eq!(lacked_after(&[SchemaChange::AllowNull("a".into())]), none);
        let order = ["b", "id", "a"].map(String::from).to_vec();
        assert_eq!(lacked_after(&[SchemaChange::Order(order)]), none);
        assert_eq!(lacked_after(&[add("c", None)]), Some(vec!["c".to_owned()]));
    }

    #[test]
    fn files_do_not_after_alterations_that_readers_would_not_see() {
        let rename = |from: &str, to: &str| SchemaChange::Rename {
            from: from.into(),
            to: to.into(),
        };
        assert_eq!(lacked_after(&[rename("a", "c")]), None);
        assert_eq!(lacked_after(&[rename("id", "key")]), None);
        assert_eq!(lacked_after(&[add("c", Some(7))]), None);
        let column = "a".to_owned();
        let to = DataType::Int64;
        assert_eq!(lacked_after(&[SchemaChange::Widen { column, to }]), None);
        // The old values would come back.
        assert_eq!(lacked_after(&[SchemaChange::Drop("a".into()), add("a", None)]), None);
        assert_eq!(lacked_after(&[SchemaChange::Drop("a".into()), add("A", None)]), None);
        assert_eq!(lacked_after(&[SchemaChange::Drop("a".into()), rename("b", "a")]), None);
    }
}
