//! From rows to the bytes by which an index orders them, and back.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch, UInt8Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use kodiak_core::block::Codecs;
use kodiak_core::schema::TableSchema;
use kodiak_core::{Error, Result};

use super::definition::{IndexedBy, KeyExtractor, StoredDefinition};
use crate::read::ScanBounds;
use crate::typed::key_bounds;

/// The index keys of rows of one schema of a table.
///
/// They are encoded as primary keys are, of columns that all may be null, so that a column that begins to allow nulls is encoded as
/// before, and of one more column with the byte 0 in every row, so that no column is the last and each tells where it ends.
#[derive(Debug)]
pub struct IndexCodec {
    /// The index's own columns, then the one that ends a key.
    codecs: Codecs,
    schema: TableSchema,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Places of the columns in the table's schema.
    Columns(Vec<usize>),
    Extractor(Arc<dyn KeyExtractor>),
}

impl IndexCodec {
    /// For rows of `schema`.
    ///
    /// # Errors
    /// `InvalidInput` if the schema lacks a column, or one has a type without order.
    pub fn new(
        definition: &StoredDefinition,
        schema: &TableSchema,
        extractor: Option<&Arc<dyn KeyExtractor>>,
    ) -> Result<Self> {
        let (source, mut fields, descending) = match (&definition.by, extractor) {
            (IndexedBy::Columns(columns), _) => {
                let place = |number| {
                    schema.index_of_number(number).ok_or_else(|| {
                        Error::invalid_input("the table's schema of that moment lacks a column of the index")
                    })
                };
                let places: Vec<usize> = columns
                    .iter()
                    .map(|column| place(column.number))
                    .collect::<Result<_>>()?;
                let nullable = |&place: &usize| schema.columns().field(place).clone().with_nullable(true);
                let fields: Vec<Field> = places.iter().map(nullable).collect();
                let descending: Vec<bool> = columns.iter().map(|column| column.descending).collect();
                (Source::Columns(places), fields, descending)
            }
            (IndexedBy::Extractor(_), Some(extractor)) => {
                let field = Field::new("extracted", DataType::Binary, true);
                (Source::Extractor(Arc::clone(extractor)), vec![field], vec![false])
            }
            (IndexedBy::Extractor(name), None) => {
                return Err(Error::invalid_input(format!("there is no key extractor \"{name}\"")));
            }
        };
        let mut end = "end".to_owned();
        while fields.iter().any(|field| *field.name() == end) {
            end.push('\'');
        }
        fields.push(Field::new(end, DataType::UInt8, false));
        let sign = |descending: bool| if descending { "-" } else { "" };
        let descending = descending.into_iter().chain([false]);
        let key: Vec<String> = fields
            .iter()
            .zip(descending)
            .map(|(field, descending)| format!("{}{}", sign(descending), field.name()))
            .collect();
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        let schema = TableSchema::new(Arc::new(Schema::new(fields)), &key)?;
        Ok(Self {
            codecs: Codecs::new(&schema),
            schema,
            source,
        })
    }

    /// The index's own columns, as they are called in the schema.
    pub fn fields(&self) -> &[FieldRef] {
        let fields = self.schema.columns().fields();
        &fields[..fields.len() - 1]
    }

    /// Places of its columns in the table's schema; none if they are extracted.
    pub fn places(&self) -> &[usize] {
        match &self.source {
            Source::Columns(places) => places,
            Source::Extractor(_) => &[],
        }
    }

    /// The index's columns of rows given as the table's own.
    fn columns(&self, own: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let extractor = match &self.source {
            Source::Columns(places) => return Ok(places.iter().map(|&place| Arc::clone(&own[place])).collect()),
            Source::Extractor(extractor) => extractor,
        };
        let binary = |column: Option<&ArrayRef>| {
            let column = column.and_then(|column| column.as_any().downcast_ref::<BinaryArray>().cloned());
            column.ok_or_else(|| Error::invalid_input("a key extractor needs keys and values"))
        };
        let (keys, values) = (binary(own.first())?, binary(own.get(1))?);
        let extracted = keys.iter().zip(&values);
        let extracted: BinaryArray = extracted.map(|(key, value)| extractor.extract(key?, value?)).collect();
        Ok(vec![Arc::new(extracted)])
    }

    /// The index keys of rows given as the table's own columns; null for rows that are not in the index.
    ///
    /// # Errors
    /// Those of the key codec.
    pub fn encode(&self, own: &[ArrayRef]) -> Result<BinaryArray> {
        let mut columns = self.columns(own)?;
        let rows = columns.first().map_or(0, |column| column.len());
        let absent = match &self.source {
            Source::Extractor(_) => columns[0].nulls().cloned(),
            Source::Columns(_) => None,
        };
        columns.push(Arc::new(UInt8Array::from_value(0, rows)));
        let keys = self.codecs.key.encode(&columns)?;
        match absent {
            None => Ok(keys),
            Some(nulls) => {
                let (offsets, values, _) = keys.into_parts();
                Ok(BinaryArray::new(offsets, values, Some(nulls)))
            }
        }
    }

    /// The index's columns of index keys.
    ///
    /// # Errors
    /// `Corruption` for bytes that `encode` does not produce.
    pub fn decode(&self, keys: &BinaryArray) -> Result<Vec<ArrayRef>> {
        let mut columns = self.codecs.key.decode(keys)?;
        columns.pop();
        Ok(columns)
    }

    /// True if one of the columns is null in this index key.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn has_null(&self, key: &[u8]) -> Result<bool> {
        let columns = self.decode(&BinaryArray::from_iter_values([key]))?;
        Ok(columns.iter().any(|column| column.logical_null_count() > 0))
    }

    /// The index keys of a range whose ends are rows of the first columns of the index, by name.
    ///
    /// # Errors
    /// `InvalidInput` naming the column that is missing or does not fit.
    pub fn bounds(&self, range: &impl RangeBounds<RecordBatch>) -> Result<ScanBounds> {
        let unbounded = matches!(
            (range.start_bound(), range.end_bound()),
            (Bound::Unbounded, Bound::Unbounded)
        );
        if !unbounded && let Source::Extractor(extractor) = &self.source {
            return Err(Error::invalid_input(format!(
                "the index is by the bytes that \"{}\" takes out, not by columns: give a range of these by `range`",
                extractor.name()
            )));
        }
        key_bounds(&self.schema, &self.codecs, range)
    }

    /// The index keys of a range of extracted bytes.
    ///
    /// # Errors
    /// `InvalidInput` for an index by columns.
    pub fn extracted(&self, bounds: &ScanBounds) -> Result<ScanBounds> {
        if !matches!(self.source, Source::Extractor(_)) {
            let names: Vec<_> = self.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(Error::invalid_input(format!(
                "the index is by columns ({}), not by bytes: give the ends of a range as record batches of one row with these columns, \
                 or the first of them, by `key_range`, or equal values by `prefix`",
                names.join(", ")
            )));
        }
        let encode = |bytes: &[u8]| -> Result<Vec<u8>> {
            let mut out = Vec::new();
            let column: ArrayRef = Arc::new(BinaryArray::from_iter_values([bytes]));
            self.codecs.key.encode_prefix(&[column], 0, &mut out)?;
            Ok(out)
        };
        Ok(ScanBounds {
            start: encode(&bounds.start)?,
            end: bounds.end.as_deref().map(encode).transpose()?,
        })
    }

    /// True if the columns have the same types as those of `other`.
    pub fn same_types(&self, other: &Self) -> bool {
        let types = |codec: &Self| {
            let fields = codec.fields().iter();
            fields.map(|field| field.data_type().clone()).collect::<Vec<_>>()
        };
        types(self) == types(other)
    }
}
