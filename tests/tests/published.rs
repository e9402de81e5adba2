//! Other tools read what is published of a table, and find the table: after random histories of inserts, updates, deletes, range
//! deletes, alterations, flushes and compactions, published again and again.
//!
//! Needs the virtual environment that `tests/interop/setup.sh` makes; without it, the test prints that it was skipped.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::ipc::writer::FileWriter;
use kodiak::{Db, Settings, Table, TableOptions, TableSchema};
use kodiak_tests::tools::Python;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// Histories of each format and kind of table.
const SEEDS: u64 = 3;
/// The name of every table: one that must be quoted.
const TABLE: &str = "the \"table\" isn't plain";

/// The tools that read publications of a format.
fn tools(format: &str) -> &'static [&'static str] {
    match format {
        "parquet" => &["pyarrow", "polars", "duckdb", "deltalake", "polars, delta"],
        "feather" => &["pyarrow", "polars"],
        _ => &["pyarrow"],
    }
}

#[test]
fn other_tools_read_exactly_the_table_that_is_published() {
    let Some(python) = Python::find(env!("CARGO_TARGET_TMPDIR"), "publications") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let mut cases = Vec::new();
    let mut comparisons = 0;
    for format in ["parquet", "feather", "orc"] {
        for kind in [Kind::Bytes, Kind::Rows, Kind::Updated] {
            for seed in 0..SEEDS {
                cases.push(play(dir.path(), format, kind, seed));
                comparisons += tools(format).len();
            }
        }
    }
    python.compare("read_published.py", dir.path(), cases, comparisons);
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Keys and values.
    Bytes,
    /// Typed rows.
    Rows,
    /// Typed rows, and updates of some columns.
    Updated,
}

fn columns() -> SchemaRef {
    let field = |name: &str, data_type, nullable| Field::new(name, data_type, nullable);
    let utc = Some("UTC".into());
    Arc::new(Schema::new(vec![
        field("id", DataType::Int64, false),
        field("flag", DataType::Boolean, true),
        field("tiny", DataType::Int8, true),
        field("small", DataType::Int16, true),
        field("medium", DataType::Int32, true),
        field("single", DataType::Float32, true),
        field("double", DataType::Float64, true),
        field("note \"quoted\"", DataType::Utf8, true),
        field("raw", DataType::Binary, true),
        field("day", DataType::Date32, true),
        field("instant", DataType::Timestamp(TimeUnit::Microsecond, utc), true),
        field("fare", DataType::Decimal128(12, 2), true),
    ]))
}

/// Random rows of a schema, with keys from 0 to 2000.
fn batch(rng: &mut StdRng, schema: &SchemaRef) -> RecordBatch {
    let rows = rng.random_range(1..400);
    let ids: Vec<i64> = (0..rows).map(|_| rng.random_range(0..2000)).collect();
    let column = |field: &Arc<Field>| -> ArrayRef {
        let bits: Vec<Option<u64>> = ids
            .iter()
            .map(|_| (!field.is_nullable() || rng.random_range(0..4) > 0).then(|| rng.next_u64()))
            .collect();
        let each = || bits.iter().copied();
        // 1970 to 2037, to the microsecond.
        let micros = |bits: u64| (bits % 2_145_000_000_000_000) as i64;
        match field.data_type() {
            DataType::Int64 if field.name() == "id" => Arc::new(Int64Array::from(ids.clone())),
            DataType::Int64 => Arc::new(each().map(|bits| bits.map(|bits| bits as i64)).collect::<Int64Array>()),
            DataType::Boolean => Arc::new(
                each()
                    .map(|bits| bits.map(|bits| bits & 1 == 1))
                    .collect::<BooleanArray>(),
            ),
            DataType::Int8 => Arc::new(each().map(|bits| bits.map(|bits| bits as i8)).collect::<Int8Array>()),
            DataType::Int16 => Arc::new(each().map(|bits| bits.map(|bits| bits as i16)).collect::<Int16Array>()),
            DataType::Int32 => Arc::new(each().map(|bits| bits.map(|bits| bits as i32)).collect::<Int32Array>()),
            DataType::Float32 => Arc::new(
                each()
                    .map(|bits| bits.map(|bits| bits as f32 / 3.0))
                    .collect::<Float32Array>(),
            ),
            DataType::Float64 => Arc::new(
                each()
                    .map(|bits| bits.map(|bits| bits as f64 / 7.0))
                    .collect::<Float64Array>(),
            ),
            DataType::Utf8 => Arc::new(
                each()
                    .map(|bits| bits.map(|bits| format!("\u{1F43B} {bits}")))
                    .collect::<StringArray>(),
            ),
            DataType::Binary => Arc::new(each().map(|bits| bits.map(u64::to_le_bytes)).collect::<BinaryArray>()),
            DataType::Date32 => Arc::new(
                each()
                    .map(|bits| bits.map(|bits| (bits % 40_000) as i32))
                    .collect::<Date32Array>(),
            ),
            DataType::Timestamp(_, zone) => {
                let column: TimestampMicrosecondArray = each().map(|bits| bits.map(micros)).collect();
                Arc::new(column.with_timezone_opt(zone.clone()))
            }
            _ => {
                let column: Decimal128Array = each()
                    .map(|bits| bits.map(|bits| i128::from(bits % 1_000_000_000)))
                    .collect();
                Arc::new(column.with_data_type(field.data_type().clone()))
            }
        }
    };
    let arrays = schema.fields().iter().map(column).collect();
    RecordBatch::try_new(Arc::clone(schema), arrays).expect("the columns of the schema")
}

fn write(rng: &mut StdRng, table: &Table, kind: Kind) {
    if kind == Kind::Bytes {
        for _ in 0..rng.random_range(1..300) {
            let key = format!("k{:04}", rng.random_range(0..2000));
            match rng.random_range(0..10) {
                0 => table.delete(key),
                1 => table.delete_range(key.clone()..format!("{key}~")),
                _ => table.put(key, rng.next_u64().to_le_bytes()),
            }
            .expect("write");
        }
        return;
    }
    let rows = batch(rng, table.schema().columns());
    match rng.random_range(0..6) {
        0 => table.delete_keys(&rows),
        1 if kind == Kind::Updated => table.update(&rows.project(&[0, 2]).expect("columns")),
        2 => {
            let start = rng.random_range(0..2000i64);
            let key = |id: i64| ((id as u64) ^ (1 << 63)).to_be_bytes();
            table.delete_range(key(start)..key(start + 40))
        }
        _ => table.insert(&rows),
    }
    .expect("write");
}

/// Changes the columns; those of the key and the one that is updated stay where they are.
fn alter(table: &Table, round: usize) {
    let schema = table.schema();
    let last = schema
        .columns()
        .field(schema.columns().fields().len() - 1)
        .name()
        .clone();
    let small = schema.columns().field(3);
    let alteration = match round % 2 {
        0 => table.alter(),
        _ => table.alter().rename_column(last, format!("renamed {round}")),
    };
    let wider = match small.data_type() {
        DataType::Int16 => DataType::Int32,
        _ => DataType::Int64,
    };
    let zoneless = DataType::Timestamp(TimeUnit::Microsecond, None);
    let alteration = match round % 3 {
        0 if small.data_type() != &wider => alteration.widen_column(small.name(), wider),
        1 => alteration.add_column_with(
            Field::new(format!("added {round}"), zoneless, true),
            Arc::new(TimestampMicrosecondArray::from(vec![round as i64])),
        ),
        _ => alteration.drop_column(schema.columns().field(schema.columns().fields().len() - 2).name()),
    };
    alteration.commit().expect("alter");
}

/// Plays a history, publishing now and then, and says what the last publication must be.
fn play(dir: &Path, format: &str, kind: Kind, seed: u64) -> serde_json::Value {
    // Without spaces, which Polars does not find Delta tables under.
    let name = format!("{format}-{kind:?}-{seed}");
    let mut settings = Settings::default();
    settings.format.kind = format.to_owned();
    settings.format.block_size = 4 << 10;
    settings.memtable.size = 64 << 10;
    settings.compaction.target_run_size = 64 << 10;
    let db = Db::open(dir.join(&name), settings).expect(&name);
    let options = match kind {
        Kind::Updated => TableOptions::new().merge_operator("last-non-null"),
        _ => TableOptions::new(),
    };
    let schema = match kind {
        Kind::Bytes => TableSchema::key_value(),
        _ => TableSchema::new(columns(), &["id"]).expect("valid"),
    };
    let table = db.create_table_with(TABLE, schema, options).expect(&name);
    let mut rng = StdRng::seed_from_u64(seed);
    for round in 0..12 {
        for _ in 0..rng.random_range(1..6) {
            write(&mut rng, &table, kind);
        }
        match rng.random_range(0..6) {
            0 => db.compact().expect(&name),
            1 => db.flush().expect(&name),
            2 | 3 if kind != Kind::Bytes => alter(&table, round),
            _ => {}
        }
        if rng.random() {
            table.publish().expect(&name);
        }
    }
    let published = table.publish().expect(&name);
    let expected = format!("{name}.arrow");
    let file = File::create(dir.join(&expected)).expect("a new file");
    let mut writer = FileWriter::try_new(file, table.schema().columns()).expect("Arrow's own types");
    for batch in table.read().batches().expect("read") {
        writer.write(&batch.expect("rows")).expect("written");
    }
    writer.finish().expect("written");
    // What comes later is not seen.
    write(&mut rng, &table, kind);
    db.compact().expect(&name);
    serde_json::json!({
        "name": name,
        "table": TABLE,
        "published": published.dir.strip_prefix(dir).expect("within"),
        "expected": expected,
        "rows": published.rows,
        "tools": tools(format),
    })
}
