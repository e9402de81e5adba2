use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use clap::{Args, Subcommand};
use kodiak::secondary::IndexedBy;
use kodiak::{Error, Fitting, IndexDefinition, Table};

use crate::arguments::Existing;
use crate::export::{CsvWriter, JsonWriter, Target, TextOut, entry_texts};
use crate::failure::{Result, written};
use crate::output::Output;
use crate::rows;

/// `kodiak secondary`
#[derive(Debug, Subcommand)]
pub enum Secondary {
    /// Create an index of a table by some of its columns
    Create(Create),
    /// Drop an index
    Drop(Named),
    /// List the indexes of a table
    List(List),
    /// Print the rows that an index finds, in its order, as CSV or JSON lines
    Read(Read),
}

/// `kodiak secondary create`
#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    named: Named,
    /// The columns, in this order; "-delay" is descending. Those of a key-value table are key and value
    #[arg(
        long,
        value_name = "COLUMN,...",
        value_delimiter = ',',
        required = true,
        allow_hyphen_values = true
    )]
    on: Vec<String>,
    /// No two rows may have the same values in them
    #[arg(long)]
    unique: bool,
}

/// A table, and an index of it.
#[derive(Debug, Args)]
pub struct Named {
    #[command(flatten)]
    db: Existing,
    /// The table
    table: String,
    /// The index
    index: String,
}

/// `kodiak secondary list`
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    db: Existing,
    /// The table
    table: String,
}

/// `kodiak secondary read`
#[derive(Debug, Args)]
pub struct Read {
    #[command(flatten)]
    named: Named,
    /// Only rows with these values in the first columns of the index, in quotes as in a CSV file; an empty value is null, and "" an
    /// empty text
    #[arg(long, value_name = "VALUE,...", conflicts_with_all = ["from", "to"], allow_hyphen_values = true)]
    equal: Option<String>,
    /// Begin with these values of the first columns of the index
    #[arg(long, value_name = "VALUE,...", allow_hyphen_values = true)]
    from: Option<String>,
    /// End before these
    #[arg(long, value_name = "VALUE,...", allow_hyphen_values = true)]
    to: Option<String>,
    /// Only these columns, in this order
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    columns: Vec<String>,
    /// At most so many rows
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// From the last row to the first
    #[arg(long)]
    reverse: bool,
    /// Print each row as a JSON object
    #[arg(long)]
    json: bool,
}

impl Secondary {
    pub fn run(self, out: &mut Output) -> Result {
        match self {
            Self::Create(create) => create.run(),
            Self::Drop(named) => {
                let db = named.db.open()?;
                db.table(&named.table)?.drop_index(&named.index)?;
                Ok(db.close()?)
            }
            Self::List(list) => list.run(out),
            Self::Read(read) => read.run(out),
        }
    }
}

impl Create {
    fn run(self) -> Result {
        let mut definition = IndexDefinition::on(&self.named.index, &self.on);
        if self.unique {
            definition = definition.unique();
        }
        let db = self.named.db.open()?;
        db.table(&self.named.table)?.create_index(definition)?;
        Ok(db.close()?)
    }
}

impl List {
    fn run(self, out: &mut Output) -> Result {
        let db = self.db.open_read_only()?;
        let table = db.table(&self.table)?;
        let schema = table.schema();
        for index in table.indexes() {
            let unique = if index.definition.unique { "unique, " } else { "" };
            let exact = if index.exact { "exact, " } else { "" };
            writeln!(
                out,
                "{}: {unique}by {}; {}, {exact}{} bytes",
                index.name,
                index.describe(&schema),
                index.kind,
                index.index.used_bytes
            )?;
        }
        drop(table);
        Ok(db.close()?)
    }
}

impl Read {
    fn run(self, out: &mut Output) -> Result {
        let db = self.named.db.open_read_only()?;
        let table = db.table(&self.named.table)?;
        let mut read = table.index(&self.named.index)?;
        if !self.columns.is_empty() {
            read = read.project(&self.columns);
        }
        let columns = self.index_columns(&table)?;
        if let Some(equal) = &self.equal {
            read = read.prefix(&row(&columns, equal)?);
        } else if self.from.is_some() || self.to.is_some() {
            let end = |text: &Option<String>| text.as_ref().map(|text| row(&columns, text)).transpose();
            read = read.key_range(rows::ends(end(&self.from)?, end(&self.to)?));
        }
        if let Some(limit) = self.limit {
            read = read.limit(limit);
        }
        if self.reverse {
            read = read.rev();
        }
        let batches = read.batches()?;
        let names: Vec<String> = batches
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let text = TextOut::Output(out);
        let mut target = match self.json {
            true => Target::Json(JsonWriter::new(text)),
            false => Target::Csv(CsvWriter::new(text, &names, b',', "").map_err(written)?),
        };
        let mut rows = 0;
        for batch in batches {
            let batch = batch?;
            match table.schema().is_key_value() {
                true => target.write(&entry_texts(&batch, rows + 1, false)?, rows + 1),
                false => target.write(&batch, rows + 1),
            }
            .map_err(written)?;
            rows += batch.num_rows() as u64;
        }
        target.finish().map_err(written)?;
        drop(table);
        Ok(db.close()?)
    }

    /// The columns of the index, in its order.
    fn index_columns(&self, table: &Table) -> Result<Vec<Field>> {
        let schema = table.schema();
        let index = table.indexes().into_iter().find(|index| index.name == self.named.index);
        let by = match index.map(|index| index.definition.by) {
            Some(IndexedBy::Columns(columns)) => columns,
            _ => return Ok(Vec::new()),
        };
        let places = by.iter().filter_map(|column| schema.index_of_number(column.number));
        Ok(places.map(|place| schema.columns().field(place).clone()).collect())
    }
}

/// One row of the first columns of an index, from text: nothing is a null, unless in quotes.
fn row(columns: &[Field], text: &str) -> Result<RecordBatch> {
    let values = match text {
        "" => vec![(String::new(), false)],
        _ => rows::split(text)?,
    };
    if values.len() > columns.len() {
        let message = format!(
            "{} values are given for an index by {} columns",
            values.len(),
            columns.len()
        );
        return Err(Error::invalid_input(message).into());
    }
    let columns: Vec<Field> = columns[..values.len()]
        .iter()
        .map(|field| field.clone().with_nullable(true))
        .collect();
    let texts = columns.iter().zip(&values).map(|(column, (value, quoted))| {
        let value = (*quoted || !value.is_empty()).then_some(value.as_str());
        let text: ArrayRef = Arc::new(StringArray::from(vec![value]));
        (column.name().as_str(), text, true)
    });
    let texts = RecordBatch::try_from_iter_with_nullable(texts)
        .map_err(|error| Error::invalid_input("the values are no row").with_source(error))?;
    let wanted: SchemaRef = Arc::new(Schema::new(columns));
    let (fitted, misfits) = Fitting::columns(wanted).parsing().fit(&texts)?;
    match misfits.into_iter().next() {
        None => Ok(fitted),
        Some(misfit) => {
            let message = format!("column \"{}\": {}", misfit.column, misfit.reason);
            Err(Error::invalid_input(message).into())
        }
    }
}
