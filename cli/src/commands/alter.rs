use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use clap::Args;
use kodiak::{Alteration, Error, Fitting, Table};

use crate::arguments::Existing;
use crate::failure::Result;
use crate::output::Output;
use crate::schema::{parse_column, show_all};

/// `kodiak alter`
#[derive(Debug, Args)]
pub struct Alter {
    #[command(flatten)]
    db: Existing,
    /// The table, which must be a typed one
    table: String,
    /// Drop a column, with all that is in it
    #[arg(long, value_name = "COLUMN")]
    drop: Vec<String>,
    /// Give a column another name
    #[arg(long, value_name = "OLD=NEW", value_parser = pair)]
    rename: Vec<(String, String)>,
    /// Give a column a type that holds all its values exactly: "year:int32"
    #[arg(long, value_name = "COLUMN:TYPE")]
    widen: Vec<String>,
    /// Let a column be null from now on
    #[arg(long, value_name = "COLUMN")]
    allow_null: Vec<String>,
    /// Add a column; rows that are there have the default, or null: "city:text", "rank:int32 not null default 0"
    #[arg(long, value_name = "COLUMN:TYPE")]
    add: Vec<String>,
    /// Put the columns, all of them, in this order
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    order: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
        _ => Err("write OLD=NEW".to_owned()),
    }
}

impl Alter {
    /// Drops, then renames, widens, allows nulls, adds, and orders; all or nothing.
    pub fn run(self, out: &mut Output) -> Result {
        let db = self.db.open()?;
        let table = db.table(&self.table)?;
        self.alteration(&table)?.commit()?;
        write!(out, "{}", show_all(&table.schema()))?;
        Ok(db.close()?)
    }

    fn alteration<'t>(&self, table: &'t Table) -> Result<Alteration<'t>, Error> {
        let mut alteration = table.alter();
        for name in &self.drop {
            alteration = alteration.drop_column(name);
        }
        for (old, new) in &self.rename {
            alteration = alteration.rename_column(old, new);
        }
        for column in &self.widen {
            let field = parse_column(column)?;
            alteration = alteration.widen_column(field.name(), field.data_type().clone());
        }
        for name in &self.allow_null {
            alteration = alteration.allow_null(name);
        }
        for column in &self.add {
            let (field, default) = new_column(column)?;
            alteration = match default {
                Some(default) => alteration.add_column_with(field, default),
                None => alteration.add_column(field),
            };
        }
        if !self.order.is_empty() {
            alteration = alteration.order_columns(&self.order);
        }
        Ok(alteration)
    }
}

/// A column, and the value that follows the word "default".
fn new_column(text: &str) -> Result<(Field, Option<ArrayRef>), Error> {
    const WORD: &str = " default ";
    // Of the same length, so that places in one are places in the other.
    let Some(at) = text.to_ascii_lowercase().find(WORD) else {
        return Ok((parse_column(text)?, None));
    };
    let (field, value) = (parse_column(&text[..at])?, text[at + WORD.len()..].trim());
    let wanted = field.clone().with_nullable(true);
    let texts: ArrayRef = Arc::new(StringArray::from(vec![value]));
    if wanted.data_type() == texts.data_type() {
        return Ok((field, Some(texts)));
    }
    let given = RecordBatch::try_from_iter([(wanted.name(), texts)])
        .map_err(|error| Error::invalid_input("the default is no value").with_source(error))?;
    let columns = Arc::new(Schema::new(vec![wanted]));
    let (fitted, misfits) = Fitting::columns(columns).parsing().fit(&given)?;
    match misfits.first() {
        None if fitted.column(0).null_count() == 0 => Ok((field, Some(Arc::clone(fitted.column(0))))),
        _ => Err(Error::invalid_input(format!(
            "the default of column \"{}\", \"{value}\", is no exact {}",
            field.name(),
            field.data_type()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, Int16Array};

    #[test]
    fn a_new_column_may_have_a_default_of_its_type() {
        let (field, default) = new_column("rank:int16 NOT NULL DEFAULT -7").expect("valid");
        assert!(!field.is_nullable());
        assert_eq!(default.expect("a default").as_ref(), &Int16Array::from(vec![-7]));
        let (_, default) = new_column("day:date default 1970-01-03").expect("valid");
        assert_eq!(default.expect("a default").as_ref(), &Date32Array::from(vec![2]));
        let (_, default) = new_column("text:text default a: b").expect("valid");
        assert_eq!(default.expect("a default").as_ref(), &StringArray::from(vec!["a: b"]));
        let (field, default) = new_column("plain:int8").expect("valid");
        assert!(field.is_nullable() && default.is_none());
        let error = new_column("small:int8 default 300").expect_err("too large");
        assert!(error.message().contains("\"small\""), "{error}");
    }
}
