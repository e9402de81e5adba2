//! A look at a part of an index, in its order, compared with the model: cheap enough to be taken after each step.

use arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::{SortOptions, concat_batches, take_record_batch};
use arrow::row::{RowConverter, Rows, SortField};
use kodiak::{ErrorKind, IndexRead, Snapshot, Table, TableSchema};

use super::indexes::{indexed_columns, what_of};
use super::reads::read_schema;
use super::shapes::{read_bytes, to_table};
use super::{Outcome, Runner, failed};
use crate::history::Op;
use crate::model::{Content, Kind, TABLES};

/// A table with more rows is looked at after every fourth step only.
const MANY: usize = 40;

/// What is looked at, by random bits.
struct Look(u64);

impl Look {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Part of an index: rows from, or up to but without, one of them, or those with its first column.
#[derive(Debug, Clone, Copy)]
enum Part {
    All,
    From,
    Before,
    Same,
}

/// Rows of the model in the order of an index.
struct Ordered {
    /// In the order of keys, with the model's own columns.
    rows: RecordBatch,
    sorted: Rows,
    order: Vec<usize>,
}

impl Ordered {
    fn new(kind: Kind, content: &Content, columns: &[(u32, bool)]) -> Outcome<Self> {
        let rows = kind.rows(content);
        let sorted = comparable(kind, &rows, columns)?;
        let mut order: Vec<usize> = (0..rows.num_rows()).collect();
        // Rows with equal columns stay in the order of their keys.
        order.sort_by(|&one, &two| sorted.row(one).cmp(&sorted.row(two)));
        Ok(Self { rows, sorted, order })
    }

    /// The rows of a part, in the order of the index.
    fn part(&self, part: Part, end: usize, kind: Kind, columns: &[(u32, bool)]) -> Outcome<Vec<usize>> {
        let all = self.order.iter().copied();
        Ok(match part {
            Part::All => all.collect(),
            Part::From => all
                .filter(|&row| self.sorted.row(row) >= self.sorted.row(end))
                .collect(),
            Part::Before => all.filter(|&row| self.sorted.row(row) < self.sorted.row(end)).collect(),
            Part::Same => {
                let first = comparable(kind, &self.rows, &columns[..1])?;
                all.filter(|&row| first.row(row) == first.row(end)).collect()
            }
        })
    }
}

/// Rows that compare as these columns of them do, by number, descending or not; nulls come first.
fn comparable(kind: Kind, rows: &RecordBatch, columns: &[(u32, bool)]) -> Outcome<Rows> {
    let own = kind.schema();
    let (mut fields, mut arrays): (Vec<SortField>, Vec<ArrayRef>) = Default::default();
    for &(number, descending) in columns {
        let place = own.index_of_number(number).ok_or("the model lacks a column")?;
        let options = SortOptions {
            descending,
            nulls_first: true,
        };
        let array = rows.column(place);
        fields.push(SortField::new_with_options(array.data_type().clone(), options));
        arrays.push(array.clone());
    }
    let converted = RowConverter::new(fields).and_then(|converter| converter.convert_columns(&arrays));
    converted.map_err(|error| error.to_string())
}

/// The columns of these places, as a table of this schema calls and holds them.
fn columns_of(schema: &TableSchema, rows: &RecordBatch, numbers: &[u32]) -> Outcome<RecordBatch> {
    let places: Option<Vec<usize>> = numbers.iter().map(|&number| schema.index_of_number(number)).collect();
    let places = places.ok_or("the table has lost a column")?;
    rows.project(&places).map_err(|error| error.to_string())
}

impl Runner<'_> {
    /// After writes: looks at a part of some index of a table that they were to.
    pub(super) fn look_after(&mut self, op: &Op) -> Outcome {
        let place = match op {
            Op::Write(write) => Some(write.table),
            Op::Batch(writes) => writes.last().map(|write| write.table),
            Op::Ingest { table, .. } => Some(*table),
            _ => None,
        };
        let Some(place) = place else { return Ok(()) };
        self.looks += 1;
        let rows = self.model.tables[place].as_ref().map_or(0, Content::len);
        // What it takes to sort the model goes by that.
        match rows > MANY && !self.looks.is_multiple_of(4) {
            true => Ok(()),
            false => self.look_at_index(place, None),
        }
    }

    /// Looks at a part of some index of a table, now or at a snapshot.
    pub(super) fn look_at_index(&mut self, place: usize, at: Option<usize>) -> Outcome {
        self.looks += 1;
        let mut look = Look(self.looks.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let indexes = &self.indexes[place];
        let (Some(table), Some((content, snapshot))) = (&self.tables[place], self.content(place, at)) else {
            return Ok(());
        };
        let Some(name) = indexes.iter().nth(look.below(indexes.len().max(1))) else {
            return Ok(());
        };
        let kind = TABLES[place].1;
        let columns = indexed_columns(kind.schema().is_key_value(), what_of(name));
        let ordered = Ordered::new(kind, content, &columns)?;
        let looked = compare(table, snapshot, name, kind, &columns, &ordered, &mut look);
        looked.map_err(|error| format!("index \"{name}\" of table {}: {error}", table.name().escape_debug()))
    }
}

fn compare(
    table: &Table,
    snapshot: Option<&Snapshot>,
    name: &str,
    kind: Kind,
    columns: &[(u32, bool)],
    ordered: &Ordered,
    look: &mut Look,
) -> Outcome {
    let schema = read_schema(table, snapshot);
    let numbers: Vec<u32> = columns.iter().map(|(number, _)| *number).collect();
    let count = ordered.rows.num_rows();
    let part = match count {
        0 => Part::All,
        _ => [Part::All, Part::From, Part::Before, Part::Same][look.below(4)],
    };
    let mut read = table.index(name).map_err(failed("index"))?;
    let mut expected = Vec::new();
    if count > 0 {
        let end = look.below(count);
        let one = to_table(kind, &schema, &ordered.rows.slice(end, 1));
        let whole = columns_of(&schema, &one, &numbers)?;
        read = match part {
            Part::All => read.range(..),
            Part::From => read.key_range(&whole..),
            Part::Before => read.key_range(..&whole),
            Part::Same => read.prefix(&columns_of(&schema, &one, &numbers[..1])?),
        };
        expected = ordered.part(part, end, kind, columns)?;
    }
    if look.below(2) == 0 {
        read = read.rev();
        expected.reverse();
    }
    let limit = if look.below(8) == 0 { usize::MAX } else { look.below(12) };
    expected.truncate(limit);
    read = read.limit(limit);
    if let Some(snapshot) = snapshot {
        read = read.at(snapshot);
    }
    let expected = UInt64Array::from_iter_values(expected.into_iter().map(|row| row as u64));
    let expected = take_record_batch(&ordered.rows, &expected).map_err(|error| error.to_string())?;
    let same = match look.below(3) {
        0 => same_entries(read, kind, &schema, &expected),
        what => {
            // What the index itself has, or all columns.
            let covered = what == 1;
            let own = kind.schema();
            let key = own.key().iter().map(|key| own.column_number(key.index));
            let mut wanted: Vec<u32> = numbers.iter().copied().chain(key).collect();
            wanted.sort_unstable();
            wanted.dedup();
            if !covered {
                wanted = (0..own.columns().fields().len())
                    .map(|place| own.column_number(place))
                    .collect();
            }
            same_columns(read, &schema, &wanted, &to_table(kind, &schema, &expected))
        }
    };
    match same {
        // Columns had other types then.
        Err(error) if snapshot.is_some() && error.kind() == ErrorKind::InvalidInput => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(None) => Ok(()),
        Ok(Some(found)) => Err(format!(
            "{part:?} of {count} rows, at most {limit}: finds {found} rows, not the {} of the model in its order",
            expected.num_rows()
        )),
    }
}

/// How many rows a read finds, if they are not the expected ones.
fn same_entries(
    read: IndexRead<'_>,
    kind: Kind,
    schema: &TableSchema,
    expected: &RecordBatch,
) -> kodiak::Result<Option<usize>> {
    let found: Vec<_> = read.entries()?.collect::<kodiak::Result<_>>()?;
    let expected = kind.entries(expected);
    let same = |((key, row), (expected_key, expected_row)): (&(kodiak::Slice, kodiak::Slice), &(Vec<u8>, _))| {
        let expected_row: &std::sync::Arc<[u8]> = expected_row;
        **key == **expected_key && read_bytes(kind, schema, row).is_ok_and(|row| row == **expected_row)
    };
    let all = found.len() == expected.len() && found.iter().zip(&expected).all(same);
    Ok((!all).then_some(found.len()))
}

/// As [`same_entries`], of some columns of rows of a table of this schema.
fn same_columns(
    read: IndexRead<'_>,
    schema: &TableSchema,
    wanted: &[u32],
    expected: &RecordBatch,
) -> kodiak::Result<Option<usize>> {
    let expected = columns_of(schema, expected, wanted).map_err(kodiak::Error::corruption)?;
    let names: Vec<String> = expected
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let batches = read.project(names).batches()?;
    let shape = batches.schema();
    let found: Vec<RecordBatch> = batches.collect::<kodiak::Result<_>>()?;
    let found = concat_batches(&shape, &found).map_err(|error| kodiak::Error::corruption(error.to_string()))?;
    Ok((found.columns() != expected.columns()).then_some(found.num_rows()))
}
