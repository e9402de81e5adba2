//! How the columns of a table lie in its files, and which files readers cannot make the table's columns of.
//!
//! Readers find columns by name. So a file of an older schema will do as it lies if each column of the table is in it under its name
//! and of its type, or is not in it at all and null in its rows: what was dropped since, moved, added without a default or made
//! nullable needs no other file. Of names, types and defaults that were others, the view and `read.py` are told by the record. Delta
//! tables have no more than names and nulls (of their readers, Polars and pyarrow know neither its mapping of names nor its wider types):
//! where there can be one, such files are rewritten, or there is none, as the setting `publish.delta` says.

use std::collections::BTreeMap;
use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::schema::TableSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{delta, types};
use crate::db::TableInner;
use crate::settings::DeltaTables;
use crate::version::Version;

/// How the columns of a table lie in one of its files, as far as not under their names and of their types.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    /// Columns that the file does not have, in the table's order: its rows are older than they, and null in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
    /// Columns that it does not have either, but that have their default in its rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub defaults: Vec<String>,
    /// Columns that have another name in it, and which.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
    /// Columns that have a narrower type in it, with that type where files do not tell it, as in the record's `types`, or null.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub widened: BTreeMap<String, Value>,
}

impl Layout {
    /// All columns are there as the table has them.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Readers that find columns by name find the table in the file.
    fn is_found_by_name(&self) -> bool {
        self.defaults.is_empty() && self.names.is_empty() && self.widened.is_empty()
    }
}

/// How the columns of a table lie in files of a schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Lies {
    /// Where not as the table has them.
    pub layout: Arc<Layout>,
    /// Readers that find columns by name, and know no more than nulls, find the table in the file.
    pub by_name: bool,
}

/// The columns of a table, as files of its schemas have them.
pub struct Columns<'t> {
    table: &'t TableInner,
    schema: &'t TableSchema,
    /// There is to be a Delta table, and can be one.
    delta: bool,
    /// By the numbers of schemas that were asked for.
    layouts: BTreeMap<u32, Lies>,
}

impl<'t> Columns<'t> {
    /// Those of `schema`, one of the table's, in the files of a version; whether there are to be Delta tables.
    ///
    /// # Errors
    /// Those of reading the catalogue.
    pub fn new(table: &'t TableInner, schema: &'t TableSchema, version: &Version, wanted: DeltaTables) -> Result<Self> {
        let mut filled = version.runs()?.filter(|(_, run)| run.meta().entries > 0);
        let delta = wanted == DeltaTables::Always
            && filled.all(|(_, run)| run.meta().format == "parquet")
            && delta::columns(schema).is_ok();
        Ok(Self {
            table,
            schema,
            delta,
            layouts: BTreeMap::new(),
        })
    }

    /// How the columns lie in files of the table's schema `number`; `None` if such files must be rewritten.
    ///
    /// # Errors
    /// `Corruption` if the table has no such schema.
    pub fn in_files_of(&mut self, number: u32) -> Result<Option<Lies>> {
        let found = match self.layouts.get(&number) {
            Some(known) => known.clone(),
            None => {
                let file = self.table.schemas.find(number)?;
                let found = lies(&file.schema, self.schema)?;
                self.layouts.insert(number, found.clone());
                found
            }
        };
        Ok((!self.delta || found.by_name).then_some(found))
    }
}

/// How the columns of `schema` lie in files of another one.
fn lies(file: &TableSchema, schema: &TableSchema) -> Result<Lies> {
    let mut layout = Layout::default();
    // Some readers do not tell capital letters from small ones.
    let mut mistaken = false;
    for (index, field) in schema.columns().fields().iter().enumerate() {
        let name = field.name();
        let held = file.columns().fields().iter();
        let alike = held.filter(|own| own.name().to_lowercase() == name.to_lowercase());
        match file.index_of_number(schema.column_number(index)) {
            Some(own) => {
                let own = file.columns().field(own);
                mistaken |= alike.count() > 1;
                if own.name() != name {
                    layout.names.insert(name.clone(), own.name().clone());
                }
                if own.data_type() != field.data_type() {
                    layout.widened.insert(name.clone(), types::told(own.data_type()));
                }
            }
            None => {
                mistaken |= alike.count() > 0;
                match schema.initial(index)? {
                    Some(_) => layout.defaults.push(name.clone()),
                    None => layout.lacks.push(name.clone()),
                }
            }
        }
    }
    Ok(Lies {
        by_name: layout.is_found_by_name() && !mistaken,
        layout: Arc::new(layout),
    })
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
        let found = lies(&old(), &new).expect("readable");
        found.by_name.then(|| found.layout.lacks.clone())
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

    #[test]
    fn other_names_types_and_defaults_are_told_where_no_reader_goes_by_names_alone() {
        let rename = |from: &str, to: &str| SchemaChange::Rename {
            from: from.into(),
            to: to.into(),
        };
        let (column, to) = ("b".to_owned(), DataType::Int64);
        let changes = [
            rename("a", "x"),
            SchemaChange::Widen { column, to },
            rename("b", "a"),
            add("new", Some(7)),
            add("none", None),
        ];
        let new = old().altered(1, &changes).expect("valid");
        let found = lies(&old(), &new).expect("readable").layout;
        let names = [("x", "a"), ("a", "b")].map(|(name, own)| (name.to_owned(), own.to_owned()));
        let expected = Layout {
            lacks: vec!["none".to_owned()],
            defaults: vec!["new".to_owned()],
            names: BTreeMap::from(names),
            widened: BTreeMap::from([("a".to_owned(), Value::Null)]),
        };
        assert_eq!(*found, expected);
        let own = lies(&new, &new).expect("readable");
        assert!(own.by_name && own.layout.is_plain());
    }
}
