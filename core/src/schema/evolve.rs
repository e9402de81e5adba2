//! Schemas that a table has had one after the other.
//!
//! Every column has a number within its table that never changes and is never given out again: it is what rows, files and
//! schemas of different times know a column by. Names may change, and a name that is dropped and added again is another column.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};

use super::{KeyColumn, TableSchema, check_name, widens};
use crate::rowcodec::{decode_value, encode_value};
use crate::varint::{Reader, put_bytes, put_u64};
use crate::{Error, Result};

/// The metadata of a field by which Arrow's writers of Parquet know its number; Iceberg's readers look for it too.
const NUMBER_KEY: &str = "PARQUET:field_id";

/// One step of an alteration.
#[derive(Debug, Clone)]
pub enum SchemaChange {
    /// A new last column. Rows that are there already have the value of `initial` (one row, of the field's type) in it, or null.
    Add {
        /// Its name, type, and whether it may be null; then `initial` may be missing.
        field: Field,
        /// What rows that are older than the column have in it.
        initial: Option<ArrayRef>,
    },
    /// A value column goes, with all that is in it.
    Drop(String),
    /// A column gets another name.
    Rename {
        /// The name it has.
        from: String,
        /// The name it gets.
        to: String,
    },
    /// The columns come in this order; all of them are named.
    Order(Vec<String>),
    /// A value column gets a type that [holds all its values exactly](widens).
    Widen {
        /// Its name.
        column: String,
        /// The type.
        to: DataType,
    },
    /// A value column may be null from now on.
    AllowNull(String),
}

/// What the columns of an altered table stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Evolution {
    /// Of the schema within its table; above 0, which is the one that the table was created with.
    number: u32,
    /// No column with this number or a larger one has ever been in the table.
    next_id: u32,
    /// Of each column, in order.
    columns: Vec<Mark>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    id: u32,
    /// The row codec's bytes of what older rows have in the column; `None` for null.
    initial: Option<Arc<[u8]>>,
}

impl Evolution {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, u64::from(self.number));
        put_u64(out, u64::from(self.next_id));
        for column in &self.columns {
            put_u64(out, u64::from(column.id));
            out.push(u8::from(column.initial.is_some()));
            if let Some(initial) = &column.initial {
                put_bytes(out, initial);
            }
        }
    }

    /// The marks of `columns` columns.
    ///
    /// # Errors
    /// `Corruption` for bytes that `encode` does not produce.
    pub(super) fn decode(bytes: &[u8], columns: usize) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let number = number(&mut reader)?;
        let next_id = number_below(&mut reader, u32::MAX)?;
        let mut marks: Vec<Mark> = Vec::with_capacity(columns);
        for _ in 0..columns {
            let id = number_below(&mut reader, next_id)?;
            if marks.iter().any(|known| known.id == id) {
                return Err(Error::corruption(format!("a table's schema has two columns {id}")));
            }
            let initial = match reader.u8()? {
                0 => None,
                1 => Some(reader.bytes()?.into()),
                _ => return Err(Error::corruption("a table's schema has a malformed column")),
            };
            marks.push(Mark { id, initial });
        }
        if !reader.is_empty() {
            return Err(Error::corruption("a table's schema is followed by more bytes"));
        }
        Ok(Self {
            number,
            next_id,
            columns: marks,
        })
    }

    /// A field that tells the number of its column.
    pub(super) fn numbered(&self, index: usize, field: Field) -> Field {
        let mut metadata = field.metadata().clone();
        metadata.insert(NUMBER_KEY.to_owned(), self.columns[index].id.to_string());
        field.with_metadata(metadata)
    }
}

/// A number of a schema: not 0.
fn number(reader: &mut Reader<'_>) -> Result<u32> {
    match number_below(reader, u32::MAX)? {
        0 => Err(Error::corruption("an altered table's schema has no number")),
        number => Ok(number),
    }
}

fn number_below(reader: &mut Reader<'_>, end: u32) -> Result<u32> {
    Ok(reader.len((end as usize).saturating_sub(1))? as u32)
}

/// A column while a schema is altered.
#[derive(Clone)]
struct Draft {
    field: FieldRef,
    mark: Mark,
    /// Its place in the key and whether it is descending there.
    key: Option<(usize, bool)>,
}

impl TableSchema {
    /// Its number within its table: 0 for the schema that the table was created with, and larger for later ones.
    pub fn number(&self) -> u32 {
        self.evolution.as_ref().map_or(0, |evolution| evolution.number)
    }

    /// The number of the column with this index. Columns of different schemas of a table are the same if this is.
    pub fn column_number(&self, index: usize) -> u32 {
        match &self.evolution {
            Some(evolution) => evolution.columns[index].id,
            None => index as u32,
        }
    }

    /// The index of the column with this number.
    pub fn index_of_number(&self, number: u32) -> Option<usize> {
        match &self.evolution {
            Some(evolution) => evolution.columns.iter().position(|column| column.id == number),
            None => Some(number as usize).filter(|&index| index < self.columns.fields().len()),
        }
    }

    /// What rows that are older than the column with this index have in it, as an array of one value; `None` for null.
    ///
    /// # Errors
    /// `Corruption` for a stored value that is none of the column's type.
    pub fn initial(&self, index: usize) -> Result<Option<ArrayRef>> {
        let mark = self.evolution.as_ref().map(|evolution| &evolution.columns[index]);
        let Some(initial) = mark.and_then(|mark| mark.initial.as_ref()) else {
            return Ok(None);
        };
        decode_value(initial, self.columns.field(index).data_type()).map(Some)
    }

    /// The schema of a new table with these columns.
    #[must_use]
    pub fn without_history(mut self) -> Self {
        self.evolution = None;
        self
    }

    /// True if both have the same columns in the same order and the same key, whatever they have been before.
    pub fn same_columns(&self, other: &Self) -> bool {
        (&self.columns, &self.key, self.key_value) == (&other.columns, &other.key, other.key_value)
    }

    /// True if runs of both have the same columns, under the same numbers.
    pub fn same_layout(&self, other: &Self) -> bool {
        let number = |schema: &Self, index| schema.column_number(index);
        self.same_columns(other)
            && (0..self.columns.fields().len()).all(|index| number(self, index) == number(other, index))
    }

    /// The schema after `changes`, one after the other, under the number `number`.
    ///
    /// # Errors
    /// `InvalidInput` naming the column: it does not exist, exists already, is part of the key, cannot become the type asked for,
    /// cannot be stored, or may not be null and has no value for rows that are there.
    pub fn altered(&self, number: u32, changes: &[SchemaChange]) -> Result<Self> {
        if self.key_value {
            return Err(Error::invalid_input(
                "a key-value table has no columns to alter: only typed tables can be altered",
            ));
        }
        let mut next_id = self.next_id();
        let mut drafts = self.drafts();
        for change in changes {
            apply(&mut drafts, &mut next_id, change)?;
        }
        Self::of_drafts(drafts, number, next_id, self)
    }

    /// The schema of files that readers at `newest` and at older schemas can read: the columns of `newest`, then those of `older`
    /// (newest first) that it has no more, under names that no table can have. `None` if `newest` has all of them.
    ///
    /// # Errors
    /// `InvalidInput` for schemas that are not of one table.
    pub fn layout(newest: &Self, older: &[&Self], number: u32) -> Result<Option<Self>> {
        let mut drafts = newest.drafts();
        let own = drafts.len();
        for draft in older.iter().flat_map(|schema| schema.drafts()) {
            if drafts.iter().all(|known| known.mark.id != draft.mark.id) {
                let name = format!("_dropped_{}", draft.mark.id);
                let field = draft.field.as_ref().clone().with_name(name).with_nullable(true);
                drafts.push(Draft {
                    field: Arc::new(field),
                    ..draft
                });
            }
        }
        if drafts.len() == own {
            return Ok(None);
        }
        let next_id = older
            .iter()
            .map(|schema| schema.next_id())
            .fold(newest.next_id(), u32::max);
        Self::of_drafts(drafts, number, next_id, newest).map(Some)
    }

    fn next_id(&self) -> u32 {
        let evolution = self.evolution.as_ref();
        evolution.map_or(self.columns.fields().len() as u32, |evolution| evolution.next_id)
    }

    fn drafts(&self) -> Vec<Draft> {
        let draft = |(index, field): (usize, &FieldRef)| Draft {
            field: Arc::clone(field),
            mark: match &self.evolution {
                Some(evolution) => evolution.columns[index].clone(),
                None => Mark {
                    id: index as u32,
                    initial: None,
                },
            },
            key: self
                .key
                .iter()
                .position(|key| key.index == index)
                .map(|place| (place, self.key[place].descending)),
        };
        self.columns.fields().iter().enumerate().map(draft).collect()
    }

    fn of_drafts(drafts: Vec<Draft>, number: u32, next_id: u32, before: &Self) -> Result<Self> {
        let mut key: Vec<(usize, KeyColumn)> = Vec::with_capacity(before.key.len());
        for (index, draft) in drafts.iter().enumerate() {
            key.extend(
                draft
                    .key
                    .map(|(place, descending)| (place, KeyColumn { index, descending })),
            );
        }
        key.sort_by_key(|(place, _)| *place);
        let fields: Vec<FieldRef> = drafts.iter().map(|draft| Arc::clone(&draft.field)).collect();
        let columns = Schema::new_with_metadata(fields, before.columns.metadata().clone());
        let key = key.into_iter().map(|(_, column)| column).collect();
        let mut schema = Self::typed(Arc::new(columns), key)?;
        schema.evolution = Some(Arc::new(Evolution {
            number,
            next_id,
            columns: drafts.into_iter().map(|draft| draft.mark).collect(),
        }));
        Ok(schema)
    }
}

fn apply(drafts: &mut Vec<Draft>, next_id: &mut u32, change: &SchemaChange) -> Result<()> {
    match change {
        SchemaChange::Add { field, initial } => {
            check_new(drafts, field.name())?;
            let id = *next_id;
            *next_id = id
                .checked_add(1)
                .filter(|&next| next < u32::MAX)
                .ok_or_else(|| Error::invalid_input("the numbers of columns are used up"))?;
            drafts.push(Draft {
                mark: Mark {
                    id,
                    initial: initial_of(field, initial.as_ref())?,
                },
                field: Arc::new(field.clone()),
                key: None,
            });
        }
        SchemaChange::Drop(name) => {
            let index = value_column(drafts, name, "be dropped")?;
            drafts.remove(index);
        }
        SchemaChange::Rename { from, to } => {
            let index = find(drafts, from)?;
            check_new(drafts, to)?;
            drafts[index].field = Arc::new(drafts[index].field.as_ref().clone().with_name(to));
        }
        SchemaChange::Order(names) => *drafts = reordered(drafts, names)?,
        SchemaChange::Widen { column, to } => {
            let index = value_column(drafts, column, "get another type: user keys are made of it")?;
            widen(&mut drafts[index], to)?;
        }
        SchemaChange::AllowNull(name) => {
            let index = value_column(drafts, name, "become nullable: user keys would change")?;
            drafts[index].field = Arc::new(drafts[index].field.as_ref().clone().with_nullable(true));
        }
    }
    Ok(())
}

fn find(drafts: &[Draft], name: &str) -> Result<usize> {
    drafts
        .iter()
        .position(|draft| draft.field.name() == name)
        .ok_or_else(|| {
            let known: Vec<&str> = drafts.iter().map(|draft| draft.field.name().as_str()).collect();
            Error::invalid_input(format!(
                "there is no column \"{name}\"; the columns are {}",
                known.join(", ")
            ))
        })
}

/// The column of that name, which must not be part of the key.
fn value_column(drafts: &[Draft], name: &str, what: &str) -> Result<usize> {
    let index = find(drafts, name)?;
    if drafts[index].key.is_some() {
        return Err(Error::invalid_input(format!(
            "column \"{name}\" is part of the key, and cannot {what}; it can be renamed and moved"
        )));
    }
    Ok(index)
}

fn check_new(drafts: &[Draft], name: &str) -> Result<()> {
    check_name(name)?;
    if drafts.iter().any(|draft| draft.field.name() == name) {
        return Err(Error::invalid_input(format!("there is a column \"{name}\" already")));
    }
    Ok(())
}

/// The bytes of what older rows have in a new column.
fn initial_of(field: &Field, initial: Option<&ArrayRef>) -> Result<Option<Arc<[u8]>>> {
    let name = field.name();
    if let Some(initial) = initial
        && (initial.len() != 1 || !initial.data_type().equals_datatype(field.data_type()))
    {
        return Err(Error::invalid_input(format!(
            "the default of column \"{name}\" must be one value of type {}, and is {} of type {}",
            field.data_type(),
            initial.len(),
            initial.data_type()
        )));
    }
    match initial.filter(|initial| initial.logical_null_count() == 0) {
        Some(initial) => {
            let bytes = encode_value(initial).ok_or_else(|| {
                let message = format!(
                    "column \"{name}\": values of type {} cannot be stored",
                    field.data_type()
                );
                Error::invalid_input(message)
            })?;
            Ok(Some(bytes.into()))
        }
        None if field.is_nullable() => Ok(None),
        None => Err(Error::invalid_input(format!(
            "column \"{name}\" may not be null, so it needs a default for the rows that are there"
        ))),
    }
}

fn reordered(drafts: &[Draft], names: &[String]) -> Result<Vec<Draft>> {
    let mut ordered: Vec<Draft> = Vec::with_capacity(drafts.len());
    for name in names {
        let draft = &drafts[find(drafts, name)?];
        if ordered.iter().any(|known| known.mark.id == draft.mark.id) {
            return Err(Error::invalid_input(format!(
                "the order of columns names \"{name}\" twice"
            )));
        }
        ordered.push(draft.clone());
    }
    let left_out = drafts
        .iter()
        .find(|draft| ordered.iter().all(|known| known.mark.id != draft.mark.id));
    match left_out {
        None => Ok(ordered),
        Some(draft) => Err(Error::invalid_input(format!(
            "the order of columns does not name \"{}\": name all of them",
            draft.field.name()
        ))),
    }
}

fn widen(draft: &mut Draft, to: &DataType) -> Result<()> {
    let (name, from) = (draft.field.name().clone(), draft.field.data_type().clone());
    if from == *to {
        return Ok(());
    }
    if !widens(&from, to) {
        return Err(Error::invalid_input(format!(
            "column \"{name}\" of type {from} cannot become {to}, which does not hold all its values exactly"
        )));
    }
    if let Some(initial) = &draft.mark.initial {
        let wider = cast_with_options(&decode_value(initial, &from)?, to, &CastOptions::default());
        let wider = wider.map_err(|error| {
            Error::invalid_input(format!("the default of column \"{name}\" cannot become {to}")).with_source(error)
        })?;
        draft.mark.initial = encode_value(&wider).map(Into::into);
    }
    draft.field = Arc::new(draft.field.as_ref().clone().with_data_type(to.clone()));
    Ok(())
}
