//! 336,776 flights through every memtable and every format. The file is not part of the repository: without it the tests
//! say so and pass.

use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use arrow_csv::reader::Format;
use kodiak::{Components, Db, Settings, TableSchema};

use crate::histories::small;
use crate::model::collect;

/// What tells flights apart. (The schedule is needed: some numbers leave an airport twice a day.)
const KEY: [&str; 7] = ["year", "month", "day", "carrier", "flight", "origin", "sched_dep_time"];

/// The first `rows` flights, with nulls where the file says NA.
fn flights(rows: usize) -> Option<RecordBatch> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/flights.csv.zip");
    let Ok(file) = std::fs::File::open(&path) else {
        println!("skipped: {} is not there", path.display());
        return None;
    };
    let mut archive = zip::ZipArchive::new(file).expect("an archive");
    let mut text = Vec::new();
    archive
        .by_index(0)
        .expect("one file")
        .read_to_end(&mut text)
        .expect("the file");
    let missing = regex::Regex::new("^(NA)?$").expect("valid");
    let format = Format::default().with_header(true).with_null_regex(missing);
    let (columns, _) = format.infer_schema(Cursor::new(&text), Some(20_000)).expect("columns");
    let fields: Vec<_> = columns
        .fields()
        .iter()
        .map(|field| {
            let required = KEY.contains(&field.name().as_str());
            field.as_ref().clone().with_nullable(!required)
        })
        .collect();
    let columns = Arc::new(arrow::datatypes::Schema::new(fields));
    let reader = arrow_csv::ReaderBuilder::new(Arc::clone(&columns))
        .with_format(format)
        .build(Cursor::new(&text))
        .expect("a reader");
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut left = rows;
    for batch in reader {
        let batch = batch.expect("rows");
        let some = batch.slice(0, batch.num_rows().min(left));
        left -= some.num_rows();
        batches.push(some);
        if left == 0 {
            break;
        }
    }
    Some(concat_batches(&columns, &batches).expect("one schema"))
}

/// The rows in the order of the key.
fn sorted(rows: &RecordBatch) -> RecordBatch {
    let columns: Vec<SortColumn> = KEY
        .iter()
        .map(|name| SortColumn {
            values: rows.column_by_name(name).expect("a key column").clone(),
            options: None,
        })
        .collect();
    let order = lexsort_to_indices(&columns, None).expect("sortable");
    take_record_batch(rows, &order).expect("rows")
}

fn load(dir: &Path, settings: &Settings, rows: &RecordBatch, sorted: &RecordBatch, compact: bool) {
    let db = Db::open(dir, settings.clone()).expect("open");
    let schema = TableSchema::new(rows.schema(), &KEY).expect("valid");
    let table = db.create_table("flights", schema).expect("create");
    for from in (0..rows.num_rows()).step_by(8192) {
        table
            .insert(&rows.slice(from, 8192.min(rows.num_rows() - from)))
            .expect("insert");
    }
    // Dropped with some of it in the log only, not closed.
    drop(table);
    drop(db);
    let db = Db::open(dir, settings.clone()).expect("open");
    let table = db.table("flights").expect("table");
    let found = collect(table.read().batches().expect("read"));
    assert_eq!(found.num_rows(), rows.num_rows(), "the key is unique");
    assert!(found == *sorted, "what came back differs");
    if compact {
        db.compact().expect("compact");
        assert!(
            collect(table.read().batches().expect("read")) == *sorted,
            "what came back after compaction differs"
        );
        let few = collect(table.read().project(["tailnum", "origin"]).batches().expect("read"));
        let indexes = ["tailnum", "origin"].map(|name| rows.schema().index_of(name).expect("a column"));
        assert!(few == sorted.project(&indexes).expect("columns"));
    }
    let names = KEY.map(|name| rows.schema().index_of(name).expect("a column"));
    for row in (0..rows.num_rows()).step_by(rows.num_rows() / 50 + 1) {
        let key = rows.slice(row, 1).project(&names).expect("columns");
        assert_eq!(table.get_row(&key).expect("get").expect("there"), rows.slice(row, 1));
    }
}

#[test]
fn flights_come_back_from_every_memtable_and_format() {
    let Some(rows) = flights(10_000) else { return };
    let sorted = sorted(&rows);
    let components = Components::default();
    for (nth, memtable) in components.memtables().iter().enumerate() {
        for (other, format) in components.formats().iter().enumerate() {
            // Every one with every other, and each compacted at least once.
            let mut settings = small(memtable.component.name, format.component.name);
            settings.memtable.size = 512 << 10;
            settings.format.block_size = Some(32 << 10);
            let dir = tempfile::tempdir().expect("a directory");
            load(dir.path(), &settings, &rows, &sorted, (nth + other) % 2 == 0);
        }
    }
}

#[test]
fn all_flights_come_back_with_the_default_settings() {
    let Some(rows) = flights(usize::MAX) else { return };
    assert_eq!(rows.num_rows(), 336_776);
    let mut settings = Settings::default();
    settings.memtable.size = 8 << 20;
    let dir = tempfile::tempdir().expect("a directory");
    load(dir.path(), &settings, &rows, &sorted(&rows), true);
}
