//! Typed tables.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int8Array, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int16Array, Int32Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::{AMPLE, Draw, MemoryFile, Written};
use crate::block::{Codecs, Values};
use crate::entry::{MAX_SEQ, Op};
use crate::format::{Compression, FormatFactory, Projection, WriteOptions};
use crate::options::Options;
use crate::schema::TableSchema;
use crate::{ErrorKind, Result};

const ROWS: usize = 200;

/// Tables of many types, with nulls and deletes, under every projection. Types that the format refuses are left out; a
/// table whose keys or rows cannot be encoded yet is skipped with a printed line.
pub fn typed_tables_round_trip(factory: &FormatFactory, compression: Compression) {
    let tables: [&[&str]; 3] = [&["name"], &["-day", "name"], &["id", "ratio"]];
    for key in tables {
        match round_trip(factory, compression, key) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                eprintln!("skipped: {} with key {key:?}: {error}", factory.component.name);
            }
            Err(error) => panic!("{} with key {key:?}: {error}", factory.component.name),
        }
    }
}

fn columns(draw: &mut Draw) -> Vec<(&'static str, ArrayRef)> {
    let mut some = |null: bool| {
        (0..ROWS)
            .map(|_| (!null || draw.below(4) > 0).then(|| draw.number()))
            .collect::<Vec<_>>()
    };
    let names: Vec<_> = some(false)
        .into_iter()
        .map(|name| name.map(|name| format!("näme{}", name % 1000)))
        .collect();
    vec![
        ("name", Arc::new(StringArray::from(names)) as ArrayRef),
        (
            "id",
            Arc::new(Int64Array::from_iter(
                some(false).into_iter().map(|bits| bits.map(|bits| bits as i64)),
            )),
        ),
        (
            "ratio",
            Arc::new(Float64Array::from_iter(
                some(false).into_iter().map(|bits| bits.map(|bits| bits as f64)),
            )),
        ),
        (
            "day",
            Arc::new(Date32Array::from_iter(
                some(false).into_iter().map(|bits| bits.map(|bits| bits as i32 / 99)),
            )),
        ),
        (
            "flag",
            Arc::new(BooleanArray::from_iter(
                some(true).into_iter().map(|bits| bits.map(|bits| bits % 2 == 0)),
            )),
        ),
        (
            "small",
            Arc::new(Int8Array::from_iter(
                some(true).into_iter().map(|bits| bits.map(|bits| bits as i8)),
            )),
        ),
        (
            "short",
            Arc::new(Int16Array::from_iter(
                some(true).into_iter().map(|bits| bits.map(|bits| bits as i16)),
            )),
        ),
        (
            "int",
            Arc::new(Int32Array::from_iter(
                some(true).into_iter().map(|bits| bits.map(|bits| bits as i32)),
            )),
        ),
        (
            "unsigned",
            Arc::new(UInt32Array::from_iter(
                some(true).into_iter().map(|bits| bits.map(|bits| bits as u32)),
            )),
        ),
        (
            "float",
            Arc::new(Float32Array::from_iter(
                some(true).into_iter().map(|bits| bits.map(|bits| bits as f32)),
            )),
        ),
        (
            "blob",
            Arc::new(BinaryArray::from_iter(
                some(true).into_iter().map(|bits| bits.map(|b| b.to_be_bytes())),
            )),
        ),
        (
            "note",
            Arc::new(StringArray::from_iter(
                some(true).into_iter().map(|bits| bits.map(|b| b.to_string())),
            )),
        ),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from_iter(some(true).into_iter().map(|bits| bits.map(|b| b as i64 >> 8)))
                    .with_timezone("UTC"),
            ),
        ),
    ]
}

/// A table keyed by `key`, and a sorted batch of its run.
fn table(factory: &FormatFactory, key: &[&str], draw: &mut Draw) -> Result<(TableSchema, RecordBatch)> {
    let mut columns = columns(draw);
    columns.retain(|(_, column)| (factory.capabilities.refuses)(column.data_type()).is_none());
    let is_key = |name: &str| key.iter().any(|key| key.trim_start_matches('-') == name);
    let field = |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), !is_key(name));
    let fields: Vec<_> = columns.iter().map(field).collect();
    let schema = TableSchema::new(Arc::new(Schema::new(fields)), key)?;
    let ops: Int8Array = (0..ROWS)
        .map(|_| Some(if draw.below(6) == 0 { Op::Delete } else { Op::Put } as i8))
        .collect();
    // Rows of deletes have nulls wherever there is no key.
    let cleared: Vec<ArrayRef> = columns
        .iter()
        .map(|(name, column)| {
            if is_key(name) {
                return Arc::clone(column);
            }
            let both = concat(&[column.as_ref(), &new_null_array(column.data_type(), 1)]).expect("one type");
            let rows = (0..ROWS).map(|row| if ops.value(row) == 1 { ROWS as u32 } else { row as u32 });
            take(&both, &UInt32Array::from_iter_values(rows), None).expect("rows in range")
        })
        .collect();
    let keys = Codecs::new(&schema).key.encode(&cleared)?;
    let mut order: Vec<u32> = (0..ROWS as u32).collect();
    order.sort_by_key(|&row| (keys.value(row as usize), row));
    let order = UInt32Array::from(order);
    let sorted = |column: &dyn Array| take(column, &order, None).expect("rows in range");
    let mut run: Vec<ArrayRef> = cleared.iter().map(|column| sorted(column.as_ref())).collect();
    run.push(Arc::new(Int64Array::from_iter_values((1..=ROWS as i64).rev())));
    run.push(sorted(&ops));
    Ok((
        schema.clone(),
        RecordBatch::try_new(schema.run_columns(), run).expect("the run's columns"),
    ))
}

fn round_trip(factory: &FormatFactory, compression: Compression, key: &[&str]) -> Result<()> {
    let mut draw = Draw(17);
    let (schema, batch) = table(factory, key, &mut draw)?;
    let batches = [batch.clone(), batch.slice(3, 100), batch.slice(7, 1)];
    let written = Written::new(factory, compression, &schema, &batches, AMPLE)?;
    let own = schema.columns().fields().len();
    for (index, batch) in batches.iter().enumerate() {
        let keys = written.codecs.key.encode(&batch.columns()[..own])?;
        let block = written.block(index, &Projection::All)?;
        let all = Arc::clone(&block).columns()?;
        let Values::Columns(values, _) = all.values() else {
            panic!("a typed table's values are columns")
        };
        assert_eq!(values.columns(), &batch.columns()[..own], "all columns");
        for row in (0..batch.num_rows()).step_by(9) {
            let found = block.find(keys.value(row), MAX_SEQ)?.expect("the key is there");
            assert_eq!(keys.value(found.row), keys.value(row));
            if found.op != Op::Delete {
                let mut value = Vec::new();
                match written
                    .codecs
                    .row
                    .encode(&batch.columns()[..own], found.row, &mut value)
                {
                    Ok(()) => assert_eq!(found.value, value, "the value of row {row}"),
                    Err(error) if error.kind() == ErrorKind::Unsupported => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let some = [own - 1, 0];
        let part = written.block(index, &Projection::Columns(some.into()))?.columns()?;
        let Values::Columns(values, _) = part.values() else {
            panic!("a typed table's values are columns")
        };
        assert_eq!(
            values.columns(),
            some.map(|column| Arc::clone(batch.column(column))),
            "some columns"
        );
        let only = written.block(index, &Projection::Keys)?.columns()?;
        for block in [all, part, only] {
            assert_eq!(block.keys(), &keys);
            assert_eq!(
                block.seqs(),
                batch
                    .column(own)
                    .as_any()
                    .downcast_ref::<Int64Array>()
                    .expect("_seq")
                    .values()
            );
            assert_eq!(
                block.ops(),
                batch
                    .column(own + 1)
                    .as_any()
                    .downcast_ref::<Int8Array>()
                    .expect("_op")
                    .values()
            );
        }
        let outside = Projection::Columns([own].into());
        assert!(
            written.block(index, &outside).is_err(),
            "a column that the table does not have"
        );
    }
    Ok(())
}

/// A table with a column of a type that the format says it cannot hold cannot be created, and the error names the column;
/// one with a type that it says it can hold can.
pub fn refused_types_are_refused(factory: &FormatFactory, compression: Compression) {
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let types = [
        DataType::UInt8,
        DataType::Int64,
        DataType::Float16,
        DataType::Float64,
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::FixedSizeBinary(5),
        DataType::Decimal128(20, 3),
        DataType::Timestamp(TimeUnit::Nanosecond, None),
        DataType::Time64(TimeUnit::Microsecond),
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        DataType::List(Arc::clone(&item)),
        DataType::Struct(vec![item].into()),
    ];
    for data_type in types {
        let fields = vec![
            Field::new("key", DataType::Utf8, false),
            Field::new("odd", data_type.clone(), true),
        ];
        let Ok(schema) = TableSchema::new(Arc::new(Schema::new(fields)), &["key"]) else {
            continue;
        };
        let options = WriteOptions {
            compression,
            options: Options::defaults(factory.component.options),
        };
        let created = (factory.create)().create(Box::new(MemoryFile::default()), &schema, &options);
        match ((factory.capabilities.refuses)(&data_type), created) {
            (None, Ok(_)) => {}
            (Some(_), Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                assert!(error.message().contains("odd"), "{error}");
            }
            (refused, created) => panic!(
                "{data_type}: refuses {refused:?}, but create gave {:?}",
                created.map(|_| ())
            ),
        }
    }
}
