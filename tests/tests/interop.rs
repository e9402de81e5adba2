//! Other tools read the data files and find what the engine says is in them.
//!
//! Needs the virtual environment that `tests/interop/setup.sh` makes; without it, the test prints that it was skipped.

use std::fs::{File, read_dir};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::ipc::writer::FileWriter;
use kodiak::core::format::{Compression, FormatFactory};
use kodiak::{Components, Db, Settings, Table, TableSchema};
use kodiak_tests::tools::Python;

/// Rows that are written at first, and how many of them are then rewritten and deleted.
const ROWS: i64 = 6000;

#[test]
fn other_tools_read_what_the_engine_reads() {
    let Some(python) = Python::find(env!("CARGO_TARGET_TMPDIR"), "interoperability") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let formats: Vec<_> = Components::new()
        .formats()
        .iter()
        .filter(|factory| factory.capabilities.open)
        .collect();
    let made = &|factory: &FormatFactory| -> Vec<_> {
        let compressions = factory.capabilities.compressions.iter();
        compressions
            .flat_map(|&compression| write_tables(dir.path(), factory, compression))
            .collect()
    };
    // Side by side, since they mostly wait for the disk.
    let cases: Vec<serde_json::Value> = std::thread::scope(|scope| {
        let threads: Vec<_> = formats
            .iter()
            .map(|factory| scope.spawn(move || made(factory)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("all is written"))
            .collect()
    });
    // Each format and compression has two tables.
    let comparisons: usize = formats
        .iter()
        .map(|factory| 2 * factory.capabilities.compressions.len() * readers(factory.component.name))
        .sum();
    python.compare("read_files.py", dir.path(), cases, comparisons);
}

/// How many tools read files of a format: pyarrow reads all, Polars all but ORC, DuckDB Parquet.
fn readers(format: &str) -> usize {
    match format {
        "parquet" => 3,
        "feather" => 2,
        _ => 1,
    }
}

/// Fills a key-value table and a typed one and compacts them; what `read_files.py` needs to know of each.
fn write_tables(dir: &Path, factory: &FormatFactory, compression: Compression) -> Vec<serde_json::Value> {
    let name = format!("{}-{}", factory.component.name, compression.name());
    let mut settings = Settings::default();
    settings.format.kind = factory.component.name.to_owned();
    settings.format.compression = compression;
    settings.format.block_size = Some(8 << 10);
    settings.memtable.size = 256 << 10;
    settings.compaction.target_run_size = 128 << 10;
    let db = Db::open(dir.join(&name), settings).expect(&name);
    let bytes = db.create_table("bytes", TableSchema::key_value()).expect(&name);
    fill_bytes(&db, &bytes);
    let columns = columns();
    let schema = TableSchema::new(Arc::clone(&columns), &["origin", "-flight"]).expect("a valid schema");
    let typed = db.create_table("typed", schema).expect(&name);
    fill_typed(&db, &typed, &columns);
    db.compact().expect(&name);
    db.wait_idle().expect(&name);
    let cases = [&bytes, &typed].map(|table| describe(dir, &name, factory, table));
    drop((bytes, typed));
    db.close().expect(&name);
    cases.into()
}

/// Puts, overwrites, deletes and a range delete, spread over several runs.
fn fill_bytes(db: &Db, table: &Table) {
    let key = |number: i64| format!("user{number:06}");
    let value =
        |number: i64, round: u8| -> Vec<u8> { (0..number % 60).map(|at| (number + at) as u8 ^ round).collect() };
    (0..ROWS).for_each(|number| table.put(key(number), value(number, 0)).expect("put"));
    table.put("", "the empty key").expect("put");
    table.put([0, 255, 254], "no text").expect("put");
    db.flush().expect("flush");
    (0..ROWS)
        .step_by(3)
        .for_each(|number| table.put(key(number), value(number, 85)).expect("put"));
    (0..ROWS)
        .step_by(7)
        .for_each(|number| table.delete(key(number)).expect("delete"));
    table.delete_range(key(100)..key(200)).expect("delete_range");
    db.flush().expect("flush");
}

/// Rows of every type that all open formats hold, among them values at the edges of their types.
fn fill_typed(db: &Db, table: &Table, columns: &SchemaRef) {
    table.insert(&batch(columns, 0..ROWS, 0)).expect("insert");
    db.flush().expect("flush");
    table
        .insert(&batch(columns, ROWS / 3..ROWS / 2, 1))
        .expect("insert again");
    table
        .delete_keys(&batch(columns, ROWS / 4..ROWS / 4 + 500, 0))
        .expect("delete");
    db.flush().expect("flush");
}

fn columns() -> SchemaRef {
    let field = |name: &str, data_type, nullable| Field::new(name, data_type, nullable);
    Arc::new(Schema::new(vec![
        field("origin", DataType::Utf8, false),
        field("flight", DataType::Int32, false),
        field("flag", DataType::Boolean, true),
        field("tiny", DataType::Int8, true),
        field("small", DataType::Int16, true),
        field("large", DataType::Int64, true),
        field("single", DataType::Float32, true),
        field("double", DataType::Float64, true),
        field("note", DataType::Utf8, true),
        field("raw", DataType::Binary, true),
        field("day", DataType::Date32, true),
        field("local_time", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        field(
            "instant",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            true,
        ),
        field("fare", DataType::Decimal128(12, 2), true),
    ]))
}

/// The rows of these numbers; `round` changes what is not key.
fn batch(columns: &SchemaRef, numbers: std::ops::Range<i64>, round: i64) -> RecordBatch {
    /// Every fifth value is null, in another place for each column.
    fn some<T>(number: i64, column: i64, value: T) -> Option<T> {
        ((number + column) % 5 != 0).then_some(value)
    }
    let each = || numbers.clone().map(|number| (number, number * 7919 + round));
    let notes = ["", "plain", "ŭnicode \u{1F43B}", "with \"quotes\",\nand a line"];
    // 1970 to 2037, to the microsecond.
    let micros = |mixed: i64| mixed * 1_000_003 * 44_000 % 2_145_000_000_000_000;
    let extremes = [i64::MIN, -1, 0, i64::MAX];
    let floats = [0.0, -1.5, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, f64::NAN];
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            each().map(|(n, _)| ["BOS", "JFK", "SFO"][(n % 3) as usize]),
        )),
        Arc::new(Int32Array::from_iter_values(each().map(|(n, _)| n as i32 - 2000))),
        Arc::new(
            each()
                .map(|(n, mixed)| some(n, 0, mixed % 2 == 0))
                .collect::<BooleanArray>(),
        ),
        Arc::new(each().map(|(n, mixed)| some(n, 1, mixed as i8)).collect::<Int8Array>()),
        Arc::new(
            each()
                .map(|(n, mixed)| some(n, 2, mixed as i16))
                .collect::<Int16Array>(),
        ),
        Arc::new(
            each()
                .map(|(n, mixed)| some(n, 3, extremes[(mixed % 4) as usize]))
                .collect::<Int64Array>(),
        ),
        Arc::new(
            each()
                .map(|(n, mixed)| some(n, 4, mixed as f32 / 3.0))
                .collect::<Float32Array>(),
        ),
        Arc::new(
            each()
                .map(|(n, mixed)| some(n, 0, floats[(mixed % 6) as usize]))
                .collect::<Float64Array>(),
        ),
        Arc::new(
            each()
                .map(|(n, mixed)| some(n, 1, notes[(mixed % 4) as usize]))
                .collect::<StringArray>(),
        ),
        Arc::new(
            each()
                .map(|(n, mixed)| some(n, 2, mixed.to_le_bytes()))
                .collect::<BinaryArray>(),
        ),
        Arc::new(
            each()
                .map(|(n, mixed)| some(n, 3, (mixed % 40_000) as i32 - 10_000))
                .collect::<Date32Array>(),
        ),
        Arc::new(
            each()
                .map(|(n, mixed)| some(n, 4, micros(mixed)))
                .collect::<TimestampMicrosecondArray>(),
        ),
        Arc::new(
            each()
                .map(|(n, mixed)| some(n, 0, micros(mixed)))
                .collect::<TimestampMicrosecondArray>()
                .with_timezone("UTC"),
        ),
        Arc::new(
            each()
                .map(|(n, mixed)| some(n, 1, i128::from(mixed) - 20_000_000))
                .collect::<Decimal128Array>()
                .with_precision_and_scale(12, 2)
                .expect("small numbers"),
        ),
    ];
    RecordBatch::try_new(Arc::clone(columns), arrays).expect("the columns of the schema")
}

/// Writes what the engine reads from `table` to an Arrow file, and names that and the table's data files.
fn describe(dir: &Path, name: &str, factory: &FormatFactory, table: &Table) -> serde_json::Value {
    let name = format!("{name} {}", table.name());
    let expected = format!("{name}.arrow");
    let mut writer = FileWriter::try_new(
        File::create(dir.join(&expected)).expect("a new file"),
        table.schema().columns(),
    )
    .expect("Arrow's own types");
    let mut rows = 0;
    for batch in table.read().batches().expect("read") {
        let batch = batch.expect("rows");
        rows += batch.num_rows();
        writer.write(&batch).expect("written");
    }
    writer.finish().expect("written");
    assert!(rows > ROWS as usize / 2, "{name} has {rows} rows");
    let database = name.split(' ').next().expect("split yields one at least");
    let runs = format!("{database}/tables/{:06}", table.id());
    let extension = factory.capabilities.extension;
    let mut files: Vec<_> = read_dir(dir.join(&runs))
        .expect("the table's directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("ASCII"))
        .filter(|file| file.ends_with(&format!(".{extension}")))
        .map(|file| format!("{runs}/{file}"))
        .collect();
    files.sort();
    assert!(files.len() > 1, "{name} should have several runs: {files:?}");
    serde_json::json!({
        "name": name,
        "format": factory.component.name,
        "expected": expected,
        "rows": rows,
        "files": files,
    })
}
