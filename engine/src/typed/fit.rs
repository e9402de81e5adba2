//! Columns of someone's file as columns of a table.

mod changed;
mod far;
mod nested;
mod nulls;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, RecordBatch, RecordBatchOptions, Scalar, new_null_array,
};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, Result};

use changed::{changed_nested, changed_text};
use far::with_far_times;

/// A value longer than this is cut in messages, in characters.
const SHOWN: usize = 80;

/// A row that a table cannot hold as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Its number in the batch, from 0.
    pub row: usize,
    /// The column that is at fault.
    pub column: String,
    /// What is wrong with its value.
    pub reason: String,
}

/// Makes a binary value of a text, or says what is wrong with it.
type ReadBinary = fn(&str) -> Result<Vec<u8>>;

/// How columns are turned into a table's: see [`Fitting::fit`].
#[derive(Debug, Clone)]
pub struct Fitting {
    columns: SchemaRef,
    /// The table, if columns that are missing are to hold its defaults.
    table: Option<TableSchema>,
    /// Texts are read as numbers, dates and so on.
    parse: bool,
    /// What makes binary values of texts, if those are not their bytes.
    binary: Option<ReadBinary>,
}

impl Fitting {
    /// Rows for tables of this schema. Columns that are missing hold their defaults.
    pub fn new(schema: &TableSchema) -> Self {
        Self {
            table: Some(schema.clone()),
            ..Self::columns(Arc::clone(schema.columns()))
        }
    }

    /// Rows of these columns.
    pub fn columns(columns: SchemaRef) -> Self {
        Self {
            columns,
            table: None,
            parse: false,
            binary: None,
        }
    }

    /// Nulls are no misfits in columns with these indexes.
    pub(crate) fn allowing_nulls(mut self, columns: &[usize]) -> Self {
        let fields = self.columns.fields().iter().enumerate();
        let fields = fields.map(|(index, field)| match columns.contains(&index) {
            true => Arc::new(field.as_ref().clone().with_nullable(true)),
            false => Arc::clone(field),
        });
        let fields: Vec<FieldRef> = fields.collect();
        self.columns = Arc::new(Schema::new_with_metadata(fields, self.columns.metadata().clone()));
        self
    }

    /// Columns of text become any type: what a CSV file has. So do lists, structs and maps of texts, which have the shape of
    /// the table's.
    pub fn parsing(mut self) -> Self {
        self.parse = true;
        self
    }

    /// Texts become binary values by `read`, which says what is wrong with a text: by themselves they are the bytes.
    pub fn reading_binary(mut self, read: fn(&str) -> Result<Vec<u8>>) -> Self {
        self.binary = Some(read);
        self
    }

    /// Checks that columns of these types can become the table's: each has the name of one, and a type whose values it can
    /// hold.
    ///
    /// # Errors
    /// `InvalidInput` naming the column, and the columns that there are.
    pub fn check(&self, columns: &Schema) -> Result<()> {
        let known = &self.columns;
        for field in columns.fields() {
            let Ok(own) = known.field_with_name(field.name()) else {
                return Err(Error::invalid_input(format!(
                    "the table has no column \"{}\"; its columns are: {}",
                    field.name(),
                    super::conform::names(known.fields())
                )));
            };
            if !self.can(field.data_type(), own.data_type()) {
                return Err(Error::invalid_input(format!(
                    "column \"{}\" has type {}, which the table's type {} cannot hold",
                    field.name(),
                    field.data_type(),
                    own.data_type()
                )));
            }
        }
        for (index, own) in known.fields().iter().enumerate() {
            if !own.is_nullable() && columns.field_with_name(own.name()).is_err() && self.default(index, 0)?.is_none() {
                return Err(Error::invalid_input(format!(
                    "column \"{}\" is missing, and it may not be null; given are: {}",
                    own.name(),
                    super::conform::names(columns.fields())
                )));
            }
        }
        Ok(())
    }

    fn default(&self, index: usize, rows: usize) -> Result<Option<ArrayRef>> {
        let table = self.table.as_ref();
        table.map_or(Ok(None), |table| super::conform::default(table, index, rows))
    }

    /// The rows of `batch` as rows of the table, and those that cannot be: columns are found by name, columns that are missing
    /// hold their default or null, and a value is converted if the table's type holds exactly the same one.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn fit(&self, batch: &RecordBatch) -> Result<(RecordBatch, Vec<Misfit>)> {
        self.fit_without(batch, &[])
    }

    /// As [`fit`](Self::fit), where some rows lack some columns that others have: of each such column its name, and which rows
    /// lack it. Their nulls there are no nulls, but missing.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn fit_without(
        &self,
        batch: &RecordBatch,
        lacking: &[(String, BooleanArray)],
    ) -> Result<(RecordBatch, Vec<Misfit>)> {
        let own = &self.columns;
        if batch.schema_ref().fields() == own.fields() && batch.columns().iter().all(|column| column.null_count() == 0)
        {
            return Ok((batch.clone(), Vec::new()));
        }
        self.check(batch.schema_ref())?;
        let mut misfits = Vec::new();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(own.fields().len());
        for (index, field) in own.fields().iter().enumerate() {
            let default = |rows| self.default(index, rows);
            let lacking = lacking.iter().find(|(name, _)| name == field.name());
            let column = match (batch.column_by_name(field.name()), lacking) {
                (None, _) => match default(batch.num_rows())? {
                    Some(default) => default,
                    None => new_null_array(field.data_type(), batch.num_rows()),
                },
                (Some(column), None) => self.convert(field, column, &mut misfits)?,
                (Some(column), Some((_, lacking))) => {
                    let before = misfits.len();
                    let converted = self.convert(field, column, &mut misfits)?;
                    match default(1)? {
                        None => converted,
                        Some(default) => {
                            let new = misfits.split_off(before);
                            misfits.extend(new.into_iter().filter(|misfit| !lacking.value(misfit.row)));
                            zip(lacking, &Scalar::new(default), &converted).map_err(|error| {
                                Error::invalid_input("defaults do not fit the rows").with_source(error)
                            })?
                        }
                    }
                }
            };
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let fields: Vec<Field> = own
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect();
        let rows = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(|error| Error::invalid_input("the rows do not fit the table").with_source(error))?;
        misfits.sort_by_key(|misfit| misfit.row);
        // One reason is enough.
        misfits.dedup_by_key(|misfit| misfit.row);
        let rows = match misfits.is_empty() {
            true => rows,
            false => {
                let mut fits = vec![true; batch.num_rows()];
                misfits.iter().for_each(|misfit| fits[misfit.row] = false);
                filter_record_batch(&rows, &BooleanArray::from(fits))
                    .map_err(|error| Error::invalid_input("rows cannot be left out").with_source(error))?
            }
        };
        let rows = RecordBatch::try_new_with_options(
            Arc::clone(own),
            rows.columns().to_vec(),
            &RecordBatchOptions::new().with_row_count(Some(rows.num_rows())),
        )
        .map_err(|error| Error::invalid_input("the rows do not fit the table").with_source(error))?;
        Ok((rows, misfits))
    }

    /// True if values of one type may be values of the other.
    fn can(&self, from: &DataType, to: &DataType) -> bool {
        use DataType as D;
        let dates = |of: &D| matches!(of, D::Date32 | D::Date64);
        let times = |of: &D| matches!(of, D::Time32(_) | D::Time64(_));
        let numbers = |of: &D| of.is_numeric();
        if from == to || *from == D::Null {
            return true;
        }
        if let D::Dictionary(_, values) = to {
            return self.can(from, values);
        }
        match (from, to) {
            (D::List(from) | D::LargeList(from) | D::FixedSizeList(from, _), to) => match to {
                D::List(to) | D::LargeList(to) | D::FixedSizeList(to, _) => self.can(from.data_type(), to.data_type()),
                _ => false,
            },
            (D::Struct(from), D::Struct(to)) => {
                let alike = |(from, to): (&FieldRef, &FieldRef)| {
                    from.name() == to.name() && self.can(from.data_type(), to.data_type())
                };
                from.len() == to.len() && from.iter().zip(to).all(alike)
            }
            (D::Map(from, _), D::Map(to, _)) => match (from.data_type(), to.data_type()) {
                // Their names differ from writer to writer.
                (D::Struct(from), D::Struct(to)) => {
                    let alike = |(from, to): (&FieldRef, &FieldRef)| self.can(from.data_type(), to.data_type());
                    from.iter().zip(to).all(alike)
                }
                _ => false,
            },
            (from, to) if text(from) => text(to) || bytes(to) || (self.parse && !to.is_nested()),
            (from, to) if bytes(from) => bytes(to),
            (from, to) if numbers(from) => numbers(to),
            (from, to) if dates(from) => dates(to) || matches!(to, D::Timestamp(..)),
            (from, to) if times(from) => times(to),
            // A time with a zone is an instant, one without is not.
            (D::Timestamp(_, from), D::Timestamp(_, to)) => from.is_some() == to.is_some(),
            (D::Duration(_), D::Duration(_)) => true,
            _ => false,
        }
    }

    /// Values that are missing and must not be are misfits.
    fn required(&self, field: &Field, column: &ArrayRef, misfits: &mut Vec<Misfit>) {
        if field.is_nullable() || column.logical_null_count() == 0 {
            return;
        }
        let nulls = column.logical_nulls();
        let nulls = nulls.iter().flat_map(|nulls| nulls.iter().enumerate());
        misfits.extend(nulls.filter(|(_, valid)| !valid).map(|(row, _)| Misfit {
            row,
            column: field.name().clone(),
            reason: "it has no value, and must have one".to_owned(),
        }));
    }

    fn convert(&self, field: &Field, column: &ArrayRef, misfits: &mut Vec<Misfit>) -> Result<ArrayRef> {
        let unfit = |error| {
            let message = format!("column \"{}\" cannot become {}", field.name(), field.data_type());
            Error::invalid_input(message).with_source(error)
        };
        if self.parse && column.data_type().is_nested() {
            self.required(field, column, misfits);
            return self.convert_nested(field, column, misfits);
        }
        if let (Some(read), DataType::Utf8, true) = (self.binary, column.data_type(), bytes(field.data_type())) {
            let read = read_binary(read, field, column, misfits);
            self.required(field, column, misfits);
            // A text that is no binary value is a misfit already.
            return self.convert(&field.clone().with_nullable(true), &read, misfits);
        }
        if let (true, DataType::Dictionary(_, values)) = (text(column.data_type()), field.data_type()) {
            let values = field.clone().with_data_type(values.as_ref().clone());
            let values = self.convert(&values, column, misfits)?;
            return cast_with_options(&values, field.data_type(), &CastOptions::default()).map_err(unfit);
        }
        let column = &match column.data_type().is_nested() {
            true => nulls::with_types(column, field.data_type()).map_err(unfit)?,
            false => Arc::clone(column),
        };
        let same = column.data_type() == field.data_type();
        let options = CastOptions {
            safe: true,
            ..CastOptions::default()
        };
        let converted = match (same, field.data_type()) {
            (true, _) => Arc::clone(column),
            // Arrow casts nulls to fewer types, and not back.
            (false, to) if *column.data_type() == DataType::Null => new_null_array(to, column.len()),
            (false, to) => {
                // Arrow reads no texts as these types.
                let between = match to {
                    DataType::Duration(_) if text(column.data_type()) => Some(DataType::Int64),
                    DataType::Float16 if text(column.data_type()) => Some(DataType::Float32),
                    _ => None,
                };
                let column = match between {
                    Some(between) => &cast_with_options(column, &between, &options).map_err(unfit)?,
                    None => column,
                };
                let converted = cast_with_options(column, to, &options).map_err(unfit)?;
                match text(column.data_type()) {
                    true => with_far_times(column, converted).map_err(unfit)?,
                    false => converted,
                }
            }
        };
        self.required(field, column, misfits);
        if same || *column.data_type() == DataType::Null {
            return Ok(converted);
        }
        let changed = if column.data_type().is_nested() {
            let back = cast_with_options(&converted, column.data_type(), &options).map_err(unfit)?;
            changed_nested(column, &back)
        } else if text(column.data_type()) && !text(field.data_type()) && !bytes(field.data_type()) {
            changed_text(field.data_type(), column, &converted).map_err(unfit)?
        } else {
            let back = cast_with_options(&converted, column.data_type(), &options).map_err(unfit)?;
            distinct(&back, column).map_err(unfit)?
        };
        if changed.true_count() > 0 {
            let show = ArrayFormatter::try_new(column, &FormatOptions::default()).map_err(unfit)?;
            for row in changed.values().set_indices().filter(|&row| column.is_valid(row)) {
                let mut value = show.value(row).to_string();
                if let Some((at, _)) = value.char_indices().nth(SHOWN) {
                    value.truncate(at);
                    value.push_str("...");
                }
                misfits.push(Misfit {
                    row,
                    column: field.name().clone(),
                    reason: format!("\"{value}\" is no exact {}", field.data_type()),
                });
            }
        }
        Ok(converted)
    }
}

/// The binary values of texts; those that have none are misfits.
fn read_binary(read: ReadBinary, field: &Field, column: &ArrayRef, misfits: &mut Vec<Misfit>) -> ArrayRef {
    let mut values = Vec::with_capacity(column.len());
    for (row, text) in column.as_string::<i32>().iter().enumerate() {
        let value = text.map(read).transpose().unwrap_or_else(|error| {
            misfits.push(Misfit {
                row,
                column: field.name().clone(),
                reason: error.message().to_owned(),
            });
            None
        });
        values.push(value);
    }
    Arc::new(values.iter().map(Option::as_deref).collect::<BinaryArray>())
}

fn text(of: &DataType) -> bool {
    matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn bytes(of: &DataType) -> bool {
    use DataType as D;
    matches!(of, D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_))
}

#[cfg(test)]
mod tests;
