//! Schemas as text: columns as they are written down for `--schema`, `--schema-file` and `kodiak alter`, and printed.
//!
//! ```text
//! schema  = column { ("," | line break) column }       a comment goes from # to the end of its line
//! column  = name ":" type [ "not null" ]
//! name    = text without "," or #, whose < and ( are closed again | '"' any text, with "" for " '"'
//! item    = [ name ":" ] type [ "not null" ]           a column that has a name by itself
//! type    = word [ "(" argument { "," argument } ")" ]
//!         | "list<" item ">" | "large_list<" item ">" | "fixed_list<" item "," length ">"
//!         | "struct<" [ column { "," column } ] ">"
//!         | "map<" item "," item ">" | "sorted_map<" item "," item ">"
//!         | "dictionary<" type "," type ">"
//! ```
//!
//! Between two of these there may be spaces, and inside of brackets line breaks.

mod pieces;
mod show;
#[cfg(test)]
mod tests;
mod types;

use arrow::datatypes::{Field, Schema};
use kodiak::{Error, Result, TableSchema};
use pieces::{Piece, Problem, without_comments};
use show::show;
pub use show::show_all;

/// The columns of a schema that is written down.
///
/// # Errors
/// `InvalidInput` naming the column that cannot be understood, and where.
pub fn parse(text: &str) -> Result<Schema> {
    let told = |problem: Problem| problem.in_text(text);
    let plain = without_comments(text);
    let mut fields: Vec<Field> = Vec::new();
    for piece in Piece::whole(&plain).columns().map_err(told)? {
        let field = column(piece).map_err(told)?;
        if fields.iter().any(|other| other.name() == field.name()) {
            let what = format!("two columns are called \"{}\"", field.name());
            return Err(told(Problem::at(piece, what)));
        }
        fields.push(field);
    }
    match fields.is_empty() {
        true => Err(Error::invalid_input("the schema has no columns")),
        false => Ok(Schema::new(fields)),
    }
}

/// A column as it is written in a schema.
///
/// # Errors
/// `InvalidInput` naming the column, and where it cannot be understood.
pub fn parse_column(text: &str) -> Result<Field> {
    column(Piece::whole(text)).map_err(|problem| problem.in_text(text))
}

/// Checks that a table has the columns that were written down for it.
///
/// # Errors
/// `InvalidInput` naming the table and the first column that differs.
pub fn check_same(table: &str, written: &TableSchema, own: &TableSchema) -> Result<()> {
    if written.columns().fields() == own.columns().fields() {
        return Ok(());
    }
    let shown = |schema: &TableSchema, index: usize| match schema.columns().fields().get(index) {
        Some(field) => show(field),
        None => "no more".to_owned(),
    };
    let mut places = 0..=own.columns().fields().len();
    let differs = places.find(|&index| written.columns().fields().get(index) != own.columns().fields().get(index));
    let index = differs.unwrap_or_default();
    Err(Error::invalid_input(format!(
        "table \"{table}\" exists, with other columns than --schema says: it has {}, where --schema says {}",
        shown(own, index),
        shown(written, index)
    )))
}

fn column(piece: Piece<'_>) -> Result<Field, Problem> {
    let (name, rest) = piece.named()?;
    let name = name.ok_or_else(|| {
        let what = format!("\"{}\": write COLUMN:TYPE, such as year:int16", piece.text());
        Problem::at(piece, what)
    })?;
    types::field(name.clone(), rest).map_err(|problem| problem.of_column(name))
}
