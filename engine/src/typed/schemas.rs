//! The schemas that a table has had, and what rows of one are under another.
//!
//! Rows are never rewritten because a schema changes. An encoded row names the schema it is of (see `docs/formats/rows.md`), a
//! run's sidecar that of the run; what a reader wants of a row is put together by the numbers of columns: a column that the row
//! has is widened or, for a reader at an older snapshot, narrowed back; one that is newer than the row has its default; one that
//! the reader does not know is left out.

use std::sync::Arc;

use arc_swap::ArcSwap;
use arrow::array::BooleanArray;
use arrow::array::{Array, ArrayRef, BinaryArray, UInt32Array, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options, interleave, nullif, take};
use kodiak_core::block::{Codecs, ColumnBlock, Values};
use kodiak_core::filter::hash_key;
use kodiak_core::rowcodec::row_schema;
use kodiak_core::schema::{TableSchema, widens};
use kodiak_core::{Error, Op, Result, SeqNo, Slice};

/// One schema of a table.
#[derive(Debug)]
pub struct SchemaVersion {
    /// The schema.
    pub schema: Arc<TableSchema>,
    /// Its codecs.
    pub codecs: Codecs,
    /// XXH3 of its stored form, by which sidecars name it.
    pub fingerprint: u64,
    /// XXH3 of the form in which the manifest has it: an older program may have encoded it in another way.
    stored: u64,
    /// False for a layout of files only: nobody reads or writes by it.
    pub in_force: bool,
    /// Readers at this sequence number and later ones read by it, until the next one in force; 0 for those of an earlier opening.
    since: SeqNo,
}

impl SchemaVersion {
    /// A schema in force from `since` on, or a layout of files.
    pub fn new(schema: TableSchema, in_force: bool, since: SeqNo) -> Self {
        let fingerprint = hash_key(&schema.to_bytes());
        Self {
            codecs: Codecs::new(&schema),
            schema: Arc::new(schema),
            fingerprint,
            stored: fingerprint,
            in_force,
            since,
        }
    }

    /// The schema that the manifest has as `bytes`.
    ///
    /// # Errors
    /// Those of [`TableSchema::from_bytes`].
    pub fn stored(bytes: &[u8], in_force: bool) -> Result<Self> {
        Ok(Self {
            stored: hash_key(bytes),
            ..Self::new(TableSchema::from_bytes(bytes)?, in_force, 0)
        })
    }

    /// Its number within the table.
    pub fn number(&self) -> u32 {
        self.schema.number()
    }
}

/// All schemas of a table, by number. Grows only.
#[derive(Debug)]
pub struct Schemas(ArcSwap<Vec<Arc<SchemaVersion>>>);

impl Schemas {
    /// Those of a table: the first is the one it was created with, and numbers rise.
    pub fn new(versions: Vec<SchemaVersion>) -> Self {
        Self(ArcSwap::from_pointee(versions.into_iter().map(Arc::new).collect()))
    }

    /// Those that the manifest, or the table's file, tells of.
    ///
    /// # Errors
    /// `Corruption` for bytes that are no schemas, or whose numbers are others; `Unsupported` for a newer form.
    pub fn stored<'a>(first: &[u8], later: impl Iterator<Item = (u32, bool, &'a [u8])>) -> Result<Self> {
        let mut versions = vec![SchemaVersion::stored(first, true)?];
        for (number, in_force, bytes) in later {
            let version = SchemaVersion::stored(bytes, in_force)?;
            let last = versions.last().map_or(0, SchemaVersion::number);
            if version.number() != number || number <= last {
                let message = format!("schema {number} of a table is stored as schema {}", version.number());
                return Err(Error::corruption(message));
            }
            versions.push(version);
        }
        Ok(Self::new(versions))
    }

    /// All of them, by number.
    pub fn all(&self) -> Arc<Vec<Arc<SchemaVersion>>> {
        self.0.load_full()
    }

    /// The one that writers write and new readers read by.
    pub fn current(&self) -> Arc<SchemaVersion> {
        let all = self.0.load();
        let newest = all.iter().rfind(|version| version.in_force).unwrap_or(&all[0]);
        Arc::clone(newest)
    }

    /// The one that readers at `seq` read by.
    pub fn at(&self, seq: SeqNo) -> Arc<SchemaVersion> {
        let all = self.0.load();
        let then = |version: &&Arc<SchemaVersion>| version.in_force && version.since <= seq;
        Arc::clone(all.iter().rfind(then).unwrap_or(&all[0]))
    }

    /// The one with this number.
    ///
    /// # Errors
    /// `Corruption` if the table has none.
    pub fn find(&self, number: u32) -> Result<Arc<SchemaVersion>> {
        let all = self.0.load();
        let place = all.binary_search_by_key(&number, |version| version.number());
        match place {
            Ok(place) => Ok(Arc::clone(&all[place])),
            Err(_) => Err(Error::corruption(format!(
                "a row is of schema {number} of its table, which the table does not have"
            ))),
        }
    }

    /// The one that a sidecar names.
    ///
    /// # Errors
    /// `Corruption` if the table has none such.
    pub fn of_sidecar(&self, fingerprint: u64) -> Result<Arc<SchemaVersion>> {
        let all = self.0.load();
        let named = |version: &&Arc<SchemaVersion>| [version.fingerprint, version.stored].contains(&fingerprint);
        match all.iter().find(named) {
            Some(version) => Ok(Arc::clone(version)),
            // What has been one schema for ever need not be told apart.
            None if all.len() == 1 => Ok(Arc::clone(&all[0])),
            None => Err(Error::corruption(format!(
                "the sidecar names schema {fingerprint:016x}, which the table does not have"
            ))),
        }
    }

    /// Adds one, whose number is larger than all.
    pub fn push(&self, version: SchemaVersion) {
        let mut all = (*self.0.load_full()).clone();
        all.push(Arc::new(version));
        self.0.store(Arc::new(all));
    }
}

/// A schema to which rows of all others are brought.
#[derive(Debug, Clone)]
pub struct Target {
    schemas: Arc<Schemas>,
    version: Arc<SchemaVersion>,
}

impl Target {
    /// Rows as `version` has them, which is one of `schemas`.
    pub fn new(schemas: &Arc<Schemas>, version: Arc<SchemaVersion>) -> Self {
        Self {
            schemas: Arc::clone(schemas),
            version,
        }
    }

    /// The schema.
    pub fn version(&self) -> &Arc<SchemaVersion> {
        &self.version
    }

    /// The schema.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.version.schema
    }

    /// Its codecs.
    pub fn codecs(&self) -> &Codecs {
        &self.version.codecs
    }

    /// The schema of a block of a typed table.
    ///
    /// # Errors
    /// As [`Schemas::find`].
    pub fn source(&self, block: &ColumnBlock) -> Result<Arc<SchemaVersion>> {
        match block.values() {
            Values::Columns(_, codec) if codec.number() != self.version.number() => self.schemas.find(codec.number()),
            _ => Ok(Arc::clone(&self.version)),
        }
    }

    /// Column `index` of the target, of a block that was decoded whole.
    ///
    /// # Errors
    /// `InvalidInput` for a block of keys only; those of [`convert`](Self::convert).
    pub fn column(&self, block: &ColumnBlock, index: usize) -> Result<ArrayRef> {
        let Values::Columns(batch, _) = block.values() else {
            return Err(Error::invalid_input("the values of this block were not read"));
        };
        let source = self.source(block)?;
        let number = self.schema().column_number(index);
        match source.schema.index_of_number(number) {
            Some(own) => self.convert(&source, batch.column(own), index),
            None => self.missing(block, index),
        }
    }

    /// A column of rows of `source` as column `index` of the target.
    ///
    /// # Errors
    /// `Corruption` for a value that the target's type does not hold.
    pub fn convert(&self, source: &SchemaVersion, column: &ArrayRef, index: usize) -> Result<ArrayRef> {
        if source.number() == self.version.number() {
            return Ok(Arc::clone(column));
        }
        let field = self.schema().columns().field(index);
        let (from, to) = (column.data_type(), field.data_type());
        if from.equals_datatype(to) {
            return Ok(Arc::clone(column));
        }
        // Narrowing back: only what was written before the column was widened can be seen, and that fits.
        let options = CastOptions {
            safe: !widens(from, to),
            ..CastOptions::default()
        };
        cast_with_options(column, to, &options).map_err(|error| {
            let message = format!(
                "column \"{}\" of type {from} holds a value that is no {to}",
                field.name()
            );
            Error::corruption(message).with_source(error)
        })
    }

    /// Column `index` of the target, which a block is too old to have.
    ///
    /// # Errors
    /// `Corruption` for a default that cannot be read.
    pub fn missing(&self, block: &ColumnBlock, index: usize) -> Result<ArrayRef> {
        let delete = Op::Delete as i8;
        let deletes = block.ops().contains(&delete);
        let absent = deletes.then(|| block.ops().iter().map(|&op| op != delete).collect::<NullBuffer>());
        self.filled(index, block.rows(), absent.as_ref())
    }

    /// Column `index` of rows that are older than it; null where `present` says that there is no row.
    fn filled(&self, index: usize, rows: usize, present: Option<&NullBuffer>) -> Result<ArrayRef> {
        let Some(filled) = super::conform::default(self.schema(), index, rows)? else {
            return Ok(new_null_array(self.schema().columns().field(index).data_type(), rows));
        };
        let wrong = |error| Error::corruption("the default of a column cannot be left out").with_source(error);
        match present {
            None => Ok(filled),
            Some(present) => nullif(&filled, &BooleanArray::new(!present.inner(), None)).map_err(wrong),
        }
    }

    /// The value columns of encoded rows of whatever schemas, in the order of [`TableSchema::value_columns`]; a null row (a
    /// delete) is null in all of them.
    ///
    /// # Errors
    /// `Corruption` for bytes that are no rows of the table; `Unsupported` if a column is a dictionary whose key type cannot count
    /// its values.
    pub fn decode(&self, rows: &BinaryArray) -> Result<Vec<ArrayRef>> {
        let own = self.version.number();
        let mut numbers: Vec<u32> = Vec::new();
        for row in rows.iter().flatten() {
            let number = row_schema(row)?;
            if numbers.last() != Some(&number) && !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        match numbers.as_slice() {
            [] => self.codecs().row.decode(rows),
            [only] if *only == own => self.codecs().row.decode(rows),
            [only] => self.decode_group(&*self.schemas.find(*only)?, rows),
            _ => self.decode_mixed(&numbers, rows),
        }
    }

    /// As [`decode`](Self::decode), but of the columns that are not `wanted` by their indexes in the target, there may be none.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_some(&self, rows: &BinaryArray, wanted: &dyn Fn(usize) -> bool) -> Result<Vec<Option<ArrayRef>>> {
        let own = self.version.number();
        let mut numbers = (0..rows.len()).filter(|&row| rows.is_valid(row));
        if numbers.all(|row| row_schema(rows.value(row)).is_ok_and(|number| number == own)) {
            return self.codecs().row.decode_some(rows, wanted);
        }
        Ok(self.decode(rows)?.into_iter().map(Some).collect())
    }

    /// Rows that are all of one other schema.
    fn decode_group(&self, source: &SchemaVersion, rows: &BinaryArray) -> Result<Vec<ArrayRef>> {
        let decoded = source.codecs.row.decode(rows)?;
        if source.number() == self.version.number() {
            return Ok(decoded);
        }
        let places: Vec<usize> = source.schema.value_columns().collect();
        let column = |index: usize| {
            let found = source.schema.index_of_number(self.schema().column_number(index));
            let place = found.and_then(|own| places.iter().position(|&place| place == own));
            match place {
                Some(place) => self.convert(source, &decoded[place], index),
                None => self.filled(index, rows.len(), rows.nulls()),
            }
        };
        self.schema().value_columns().map(column).collect()
    }

    /// Rows of several schemas: those of each are decoded together, and put back in their order.
    fn decode_mixed(&self, numbers: &[u32], rows: &BinaryArray) -> Result<Vec<ArrayRef>> {
        let mut groups: Vec<Vec<u32>> = vec![Vec::new(); numbers.len()];
        let mut places: Vec<(usize, usize)> = Vec::with_capacity(rows.len());
        for row in 0..rows.len() {
            let number = if rows.is_valid(row) {
                row_schema(rows.value(row))?
            } else {
                numbers[0]
            };
            let group = numbers.iter().position(|&known| known == number).unwrap_or(0);
            places.push((group, groups[group].len()));
            groups[group].push(row as u32);
        }
        let wrong = |error| Error::corruption("rows of several schemas cannot be put together").with_source(error);
        let mut decoded: Vec<Vec<ArrayRef>> = Vec::with_capacity(groups.len());
        for (number, group) in numbers.iter().zip(groups) {
            let some = take(rows, &UInt32Array::from(group), None).map_err(wrong)?;
            let some = some
                .as_any()
                .downcast_ref::<BinaryArray>()
                .ok_or_else(|| Error::corruption("rows are not binary"))?;
            decoded.push(self.decode_group(&*self.schemas.find(*number)?, some)?);
        }
        let columns = self.schema().value_columns().count();
        let column = |index: usize| {
            let parts: Vec<&dyn Array> = decoded.iter().map(|columns| columns[index].as_ref()).collect();
            interleave(&parts, &places)
                .map_err(|error| Error::new(kodiak_core::ErrorKind::Unsupported, error.to_string()).with_source(error))
        };
        (0..columns).map(column).collect()
    }

    /// An encoded row as the target encodes it.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn encoded(&self, row: Slice) -> Result<Slice> {
        if row_schema(&row)? == self.version.number() {
            return Ok(row);
        }
        let values = self.decode(&BinaryArray::from_iter_values([&*row]))?;
        let mut out = Vec::new();
        self.encode(&values, 0, &mut out)?;
        Ok(Slice::from(out))
    }

    /// Appends the bytes of one row, given the target's value columns.
    ///
    /// # Errors
    /// Those of the row codec.
    pub fn encode(&self, values: &[ArrayRef], row: usize, out: &mut Vec<u8>) -> Result<()> {
        // The encoder wants the table's own columns; of the key's it looks at none.
        let filler: ArrayRef = Arc::new(UInt32Array::from(vec![0]));
        let mut own = vec![filler; self.schema().columns().fields().len()];
        for (index, column) in self.schema().value_columns().zip(values) {
            own[index] = Arc::clone(column);
        }
        self.codecs().row.encode(&own, row, out)
    }
}
