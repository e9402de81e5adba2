//! Columns of lists, structs, maps and dictionaries, inside of each other in random ways.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeListArray, GenericListArray, Int8Array, Int64Array, MapArray,
    OffsetSizeTrait, RecordBatch, StringArray, StructArray, make_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit};

use super::damage::damage;
use super::{AMPLE, Draw, MemoryBytes, Written, fetch};
use crate::block::Values;
use crate::format::{Compression, FormatFactory, Projection};
use crate::schema::TableSchema;

/// How many random tables are tried.
const TABLES: usize = 12;
/// How many damaged forms of each table's blocks are tried.
const DAMAGED: usize = 120;

/// Random nested columns are read back as they were, whole and by projection, their file is recovered, and damage never makes the
/// decoder panic. Types that the format refuses are left out.
pub fn nested_columns_round_trip(factory: &FormatFactory, compression: Compression) {
    for seed in 0..TABLES as u64 {
        let mut draw = Draw(seed + 1);
        let types: Vec<DataType> = (0..100)
            .map(|_| random_nested(&mut draw))
            .filter(|of| (factory.capabilities.refuses)(of).is_none())
            .take(3)
            .collect();
        if types.is_empty() {
            eprintln!("skipped: {} holds no nested columns", factory.component.name);
            return;
        }
        let (schema, batches) = nested_table(&mut draw, &types, &[60, 1, 200]);
        let written = Written::new(factory, compression, &schema, &batches, AMPLE).expect("types that it holds");
        let recovered = (factory.create)()
            .recover(&MemoryBytes(written.bytes.clone()), &schema)
            .expect("a whole file");
        assert_eq!(recovered, written.layout);
        for (index, batch) in batches.iter().enumerate() {
            let some = [types.len(), 0];
            for projection in [Projection::All, Projection::Columns(some.into()), Projection::Keys] {
                let block = written.block(index, &projection).expect("own block").columns();
                let block = block.expect("columns");
                let expected = match projection {
                    Projection::All => (0..=types.len()).collect(),
                    Projection::Columns(_) => some.to_vec(),
                    Projection::Keys => continue,
                };
                let Values::Columns(values, _) = block.values() else {
                    panic!("a typed block")
                };
                for (found, column) in values.columns().iter().zip(expected) {
                    assert_eq!(found, batch.column(column), "seed {seed}: {}", found.data_type());
                }
            }
        }
        let handle = &written.layout.blocks[0];
        let parts: Vec<_> = handle.parts.iter().map(|part| fetch(&written.bytes, part)).collect();
        for round in 0..DAMAGED {
            let mut damaged = parts.clone();
            let part = draw.below(parts.len());
            damaged[part] = damage(&mut draw, &parts[part], round);
            let block = written.decode(handle, &damaged, &Projection::All);
            if let Ok(block) = block.and_then(|block| block.columns()) {
                (0..block.rows()).for_each(|row| drop(block.value(row)));
            }
        }
    }
}

/// A table with a key and columns of `types`, which may all be null, and batches of its runs of so many rows, of which the last is
/// cut from the middle of arrays.
pub fn nested_table(draw: &mut Draw, types: &[DataType], rows: &[usize]) -> (TableSchema, Vec<RecordBatch>) {
    let mut fields = vec![Field::new("id", DataType::Int64, false)];
    let columns = types.iter().enumerate();
    fields.extend(columns.map(|(index, of)| Field::new(format!("c{index}"), of.clone(), true)));
    let schema = TableSchema::new(Arc::new(Schema::new(fields)), &["id"]).expect("a key and values");
    let mut batch = |rows: usize| {
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(0..rows as i64))];
        arrays.extend(types.iter().map(|of| random_column(draw, of, true, rows)));
        arrays.push(Arc::new(Int64Array::from_iter_values((1..=rows as i64).rev())));
        arrays.push(Arc::new(Int8Array::from(vec![0; rows])));
        RecordBatch::try_new(schema.run_columns(), arrays).expect("the run's columns")
    };
    let mut batches: Vec<RecordBatch> = rows.iter().map(|&rows| batch(rows)).collect();
    if let Some(last) = batches.last_mut() {
        *last = last.slice(last.num_rows() / 3, last.num_rows() - last.num_rows() / 2);
    }
    (schema, batches)
}

/// A random type that is nested, up to four levels deep, or a dictionary.
pub fn random_nested(draw: &mut Draw) -> DataType {
    match draw.below(8) {
        0 => dictionary(draw),
        _ => nested(draw, 3),
    }
}

fn dictionary(draw: &mut Draw) -> DataType {
    let index = [DataType::Int32, DataType::UInt32, DataType::Int64][draw.below(3)].clone();
    let values = [DataType::Utf8, DataType::Int64, DataType::Date32][draw.below(3)].clone();
    DataType::Dictionary(Box::new(index), Box::new(values))
}

fn any(draw: &mut Draw, depth: usize) -> DataType {
    if depth > 0 && draw.below(5) < 2 {
        return nested(draw, depth);
    }
    let plain = [
        DataType::Boolean,
        DataType::Int8,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt16,
        DataType::Float64,
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Binary,
        DataType::FixedSizeBinary(3),
        DataType::Decimal128(20, 3),
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Date32,
        dictionary(draw),
    ];
    plain[draw.below(plain.len())].clone()
}

fn nested(draw: &mut Draw, depth: usize) -> DataType {
    let kind = draw.below(6);
    let mut field = |name: &str| {
        let of = any(draw, depth - 1);
        Arc::new(Field::new(name, of, draw.below(3) > 0))
    };
    match kind {
        0 => DataType::List(field("item")),
        1 => DataType::LargeList(field("element")),
        2 => DataType::FixedSizeList(field("item"), 3),
        3 => {
            let key = Arc::new(Field::new("keys", DataType::Utf8, false));
            let entries = DataType::Struct(Fields::from(vec![key, field("values")]));
            DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
        }
        _ => DataType::Struct(Fields::from(vec![field("a"), field("b \"quoted\""), field("c")])),
    }
}

/// So many random values of a type; what is null hides others.
pub fn random_column(draw: &mut Draw, of: &DataType, nullable: bool, rows: usize) -> ArrayRef {
    let nulls = (nullable && rows > 0)
        .then(|| NullBuffer::from_iter((0..rows).map(|_| draw.below(4) > 0)))
        .filter(|nulls| nulls.null_count() > 0);
    let mut child = |field: &FieldRef, rows: usize| random_column(draw, field.data_type(), field.is_nullable(), rows);
    match of {
        DataType::Struct(fields) => {
            // What cannot be null may be so where the struct is null.
            let hidden = |column: ArrayRef, field: &FieldRef| match field.is_nullable() {
                true => column,
                false => {
                    let data = column.to_data().into_builder().nulls(nulls.clone());
                    make_array(data.build().expect("as many nulls as rows"))
                }
            };
            let columns = fields.iter().map(|field| hidden(child(field, rows), field)).collect();
            Arc::new(StructArray::new(fields.clone(), columns, nulls))
        }
        DataType::FixedSizeList(item, size) => {
            let items = child(item, rows * *size as usize);
            Arc::new(FixedSizeListArray::new(Arc::clone(item), *size, items, nulls))
        }
        DataType::List(item) => Arc::new(list::<i32>(draw, item, rows, nulls)),
        DataType::LargeList(item) => Arc::new(list::<i64>(draw, item, rows, nulls)),
        DataType::Map(entries, sorted) => {
            let (offsets, count) = offsets::<i32>(draw, rows);
            let of_entries = random_column(draw, entries.data_type(), false, count);
            let of_entries = StructArray::from(of_entries.to_data());
            Arc::new(MapArray::new(Arc::clone(entries), offsets, of_entries, nulls, *sorted))
        }
        plain => values(draw, plain, nulls, rows),
    }
}

fn list<O: OffsetSizeTrait>(
    draw: &mut Draw,
    item: &FieldRef,
    rows: usize,
    nulls: Option<NullBuffer>,
) -> GenericListArray<O> {
    let (offsets, count) = offsets(draw, rows);
    let items = random_column(draw, item.data_type(), item.is_nullable(), count);
    GenericListArray::new(Arc::clone(item), offsets, items, nulls)
}

/// Lists of up to four items, of some columns mostly empty ones; nulls hide items, too.
fn offsets<O: OffsetSizeTrait>(draw: &mut Draw, rows: usize) -> (OffsetBuffer<O>, usize) {
    let few = draw.below(3) == 0;
    let lengths: Vec<usize> = (0..rows)
        .map(|_| if few && draw.below(4) > 0 { 0 } else { draw.below(5) })
        .collect();
    (
        OffsetBuffer::from_lengths(lengths.iter().copied()),
        lengths.iter().sum(),
    )
}

fn values(draw: &mut Draw, of: &DataType, nulls: Option<NullBuffer>, rows: usize) -> ArrayRef {
    let numbers: Vec<Option<i64>> = (0..rows)
        .map(|row| {
            let number = draw.number() as i64 % 100;
            nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)).then_some(number)
        })
        .collect();
    let numbers = || numbers.iter().copied();
    let text = |number: i64| "ä".repeat((number.unsigned_abs() % 7) as usize) + &number.to_string();
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let cast_strictly = |array: ArrayRef| cast_with_options(&array, of, &strict).expect("a cast that there is");
    match of {
        DataType::Boolean => Arc::new(numbers().map(|n| n.map(|n| n % 2 == 0)).collect::<BooleanArray>()),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            cast_strictly(Arc::new(numbers().map(|n| n.map(text)).collect::<StringArray>()))
        }
        DataType::Binary => Arc::new(numbers().map(|n| n.map(text)).collect::<BinaryArray>()),
        DataType::FixedSizeBinary(width) => {
            let all = numbers().map(|n| n.map(|n| n.to_le_bytes()[..*width as usize].to_vec()));
            let made = arrow::array::FixedSizeBinaryArray::try_from_sparse_iter_with_size(all, *width);
            Arc::new(made.expect("bytes of one width"))
        }
        DataType::Dictionary(_, values) => {
            let plain = self::values(draw, values, nulls.clone(), rows);
            cast_strictly(plain)
        }
        DataType::UInt16 => cast_strictly(Arc::new(numbers().map(|n| n.map(i64::abs)).collect::<Int64Array>())),
        DataType::Date32 => {
            let days: Int64Array = numbers().collect();
            cast_strictly(cast(&days, &DataType::Int32).expect("numbers"))
        }
        _ => cast_strictly(Arc::new(numbers().collect::<Int64Array>())),
    }
}
