//! What is published is the table, for readers that know nothing of the engine.

#![allow(clippy::print_stdout, reason = "what a failing test was doing")]

mod altered;
mod continuous;
mod delta;
mod dictionaries;
mod exact;
mod kept;
mod proportion;
mod quiet;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow::compute::{concat_batches, filter_record_batch, take};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use kodiak::core::storage::Storage;
use kodiak::outside::OutsideFile;
use kodiak::publish::{PUBLISHED_DIR, Published, RECORD_FILE};
use kodiak::{Builder, Db, MemoryStorage, Settings, Table, TableOptions, TableSchema};
use kodiak_storage::{FaultStorage, Moment, OpEvent};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

fn settings(format: &str) -> Settings {
    let mut settings = Settings::default();
    settings.memtable.size = 64 << 10;
    settings.format.kind = format.to_owned();
    settings.format.block_size = Some(1 << 10);
    settings.compaction.target_run_size = 64 << 10;
    settings.wal.segment_size = 256 << 10;
    settings
}

/// The rows of a file of a record, all of them: each column as it lies there, null or its default. What was widened stays narrow.
fn read_older(storage: &dyn Storage, dir: &Path, (record, file): (&Value, &Value), columns: &[String]) -> RecordBatch {
    let path = |file: &Value| dir.join(file["file"].as_str().expect("text"));
    let (lacks, defaults) = (texts(&file["lacks"]), texts(&file["defaults"]));
    let own = |name: &String| file["names"][name].as_str().unwrap_or(name).to_owned();
    let held = columns
        .iter()
        .filter(|name| !lacks.contains(name) && !defaults.contains(name));
    let found = read_file(storage, &path(file), &held.map(own).collect::<Vec<_>>());
    let rows = found.num_rows();
    let column = |name: &String| -> (String, ArrayRef) {
        let column = if lacks.contains(name) {
            new_null_array(&DataType::Null, rows)
        } else if defaults.contains(name) {
            let row = read_file(storage, &path(&record["defaults"]), std::slice::from_ref(name));
            assert_eq!(row.num_rows(), 1);
            take(row.column(0), &UInt32Array::from_value(0, rows), None).expect("rows")
        } else {
            found.column_by_name(&own(name)).expect("a column").clone()
        };
        (name.clone(), column)
    };
    RecordBatch::try_from_iter(columns.iter().map(column)).expect("columns")
}

/// The texts of a list, if it is there.
fn texts(list: &Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten();
    texts.map(|text| text.as_str().expect("text").to_owned()).collect()
}

/// The rows of an outside file's columns, all of them.
fn read_file(storage: &dyn Storage, path: &Path, columns: &[String]) -> RecordBatch {
    let file = OutsideFile::open(storage.open(path).expect("open")).expect("a plain file");
    let indexes: Vec<usize> = columns
        .iter()
        .map(|name| file.schema().index_of(name).expect("a column"))
        .collect();
    let schema = Arc::new(file.schema().project(&indexes).expect("columns"));
    let batches: Vec<RecordBatch> = file
        .batches(&indexes)
        .expect("read")
        .map(|batch| batch.expect("batch"))
        .map(|batch| RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec()).expect("columns"))
        .collect();
    concat_batches(&schema, &batches).expect("one schema")
}

/// The data files of a record as objects, by its lists.
fn listed(storage: &dyn Storage, dir: &Path, record: &Value) -> Vec<Value> {
    let mut files = BTreeMap::new();
    for list in record["lists"].as_array().expect("lists") {
        let file = storage
            .open(&dir.join(list["file"].as_str().expect("text")))
            .expect("a list");
        let text = file.read(0, file.len() as usize).expect("read");
        let mut lines = std::str::from_utf8(&text).expect("text").lines();
        let columns: Vec<&str> = lines.next().expect("a header").split(',').collect();
        for line in lines {
            let mut fields: serde_json::Map<String, Value> = columns
                .iter()
                .zip(line.split(','))
                .filter(|(_, field)| !field.is_empty())
                .map(|(column, field)| {
                    (
                        (*column).to_owned(),
                        serde_json::from_str(field).unwrap_or_else(|_| field.into()),
                    )
                })
                .collect();
            let layout = fields.get("schema").map(ToString::to_string).unwrap_or_default();
            fields.extend(record["layouts"][layout].as_object().cloned().unwrap_or_default());
            files.insert(fields["run"].as_u64(), Value::Object(fields));
        }
    }
    files.into_values().filter(|file| file.get("file").is_some()).collect()
}

/// The rows of a publication as text, as any reader finds them by its record; each as often as it is there.
fn read_published(storage: &dyn Storage, dir: &Path) -> BTreeMap<String, usize> {
    let file = storage.open(&dir.join(RECORD_FILE)).expect("a record");
    let bytes = file.read(0, file.len() as usize).expect("read");
    let record: Value = serde_json::from_slice(&bytes).expect("JSON");
    let columns = texts(&record["columns"]);
    let mut files = listed(storage, dir, &record);
    files.extend(Some(record["merged"].clone()).filter(|merged| !merged.is_null()));
    let mut rows = BTreeMap::new();
    let mut count = 0;
    for file in files {
        let mut batch = read_older(storage, dir, (&record, &file), &columns);
        assert_eq!(batch.num_rows() as u64, file["rows"].as_u64().expect("a number"));
        if let Some(dead) = file["dead"].as_str() {
            let dead = read_file(storage, &dir.join(dead), &["row".to_owned()]);
            let dead = dead.column(0).as_primitive::<Int64Type>();
            assert_eq!(dead.len() as u64, file["dead_rows"].as_u64().expect("a number"));
            assert!(dead.values().is_sorted_by(|a, b| a < b));
            let mut alive = vec![true; batch.num_rows()];
            dead.values().iter().for_each(|&row| alive[row as usize] = false);
            batch = filter_record_batch(&batch, &alive.into()).expect("a filter");
        }
        count += batch.num_rows();
        add(&mut rows, &batch);
    }
    assert_eq!(count as u64, record["rows"].as_u64().expect("a number"));
    rows
}

fn add(rows: &mut BTreeMap<String, usize>, batch: &RecordBatch) {
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| arrow::util::display::ArrayFormatter::try_new(column, &Default::default()).expect("shown"))
        .collect();
    for row in 0..batch.num_rows() {
        let text: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
        *rows.entry(text.join("|")).or_insert(0) += 1;
    }
}

/// The rows that the engine reads.
fn read_table(table: &Table) -> BTreeMap<String, usize> {
    let mut rows = BTreeMap::new();
    for batch in table.read().batches().expect("read") {
        add(&mut rows, &batch.expect("batch"));
    }
    rows
}

struct History {
    storage: Arc<FaultStorage>,
    settings: Settings,
    db: Db,
    table: Table,
    kind: usize,
    rng: StdRng,
}

fn open(storage: &Arc<FaultStorage>, settings: &Settings) -> (Db, Option<Table>) {
    let db = Builder::new(settings.clone())
        .storage(storage.clone())
        .open("/db")
        .expect("open");
    let table = db.table("t").ok();
    (db, table)
}

impl History {
    /// `kind`: 0 plain rows, 1 with partial updates, 2 with TTL, 3 keys and values.
    fn new(settings: Settings, kind: usize, seed: u64) -> Self {
        let storage = Arc::new(FaultStorage::with_seed(seed));
        storage.freeze_clock(1_000_000);
        let (db, _) = open(&storage, &settings);
        let columns = Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("text", DataType::Utf8, true),
            Field::new("number", DataType::Int32, true),
        ]);
        let schema = match kind {
            3 => TableSchema::key_value(),
            _ => TableSchema::new(Arc::new(columns), &["id"]).expect("valid"),
        };
        let options = match kind {
            1 => TableOptions::new().merge_operator("last-non-null"),
            2 => TableOptions::new().ttl(Duration::from_secs(5)),
            _ => TableOptions::new(),
        };
        let table = db.create_table_with("t", schema, options).expect("create");
        Self {
            storage,
            settings,
            db,
            table,
            kind,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    fn rows(&mut self, nulls: bool) -> RecordBatch {
        let count = self.rng.random_range(1..120);
        let ids: Vec<i64> = (0..count).map(|_| self.rng.random_range(0..400)).collect();
        let texts: Vec<Option<String>> = ids
            .iter()
            .map(|id| (!nulls || self.rng.random()).then(|| format!("{id}-{}", self.rng.random_range(0..1000))))
            .collect();
        let numbers: Vec<Option<i32>> = ids
            .iter()
            .map(|_| self.rng.random::<bool>().then(|| self.rng.random()))
            .collect();
        let schema = self.table.schema();
        let columns = schema.columns().fields().iter().map(|field| -> ArrayRef {
            match field.data_type() {
                DataType::Int64 => Arc::new(Int64Array::from(ids.clone())),
                DataType::Utf8 => Arc::new(StringArray::from(texts.clone())),
                _ => Arc::new(Int32Array::from(numbers.clone())),
            }
        });
        RecordBatch::try_new(Arc::clone(schema.columns()), columns.collect()).expect("columns")
    }

    fn write(&mut self) {
        if self.kind == 3 {
            for _ in 0..self.rng.random_range(1..80) {
                let key = format!("k{:03}", self.rng.random_range(0..400));
                match self.rng.random_range(0..8) {
                    0 => self.table.delete(key),
                    1 => self.table.delete_range(key.clone()..format!("{key}5")),
                    _ => self.table.put(key, format!("{}", self.rng.random_range(0..1000))),
                }
                .expect("write");
            }
            return;
        }
        let rows = self.rows(false);
        match self.rng.random_range(0..6) {
            0 => self.table.delete_keys(&rows.slice(0, rows.num_rows() / 4)),
            1 if self.kind == 1 => {
                let rows = self.rows(true);
                self.table.update(&rows)
            }
            2 => {
                let from = self.table.scan(..).expect("scan").next();
                let Some(from) = from.map(|entry| entry.expect("entry").0) else {
                    return;
                };
                let mut to = from.to_vec();
                let last = to.len() - 1;
                to[last] = to[last].saturating_add(30);
                self.table.delete_range(from.to_vec()..to)
            }
            _ => self.table.insert(&rows),
        }
        .expect("write");
    }

    fn alter(&mut self, round: usize) {
        let schema = self.table.schema();
        if self.kind == 3 || schema.columns().fields().len() < 2 {
            return;
        }
        let name = |index: usize| schema.columns().field(index).name().clone();
        let last = schema.columns().fields().len() - 1;
        match round % 5 {
            _ if schema.is_key_column(1) || schema.is_key_column(last) => Ok(()),
            0 => self.table.alter().rename_column(name(1), format!("c{round}")).commit(),
            1 => self
                .table
                .alter()
                .add_column(Field::new(format!("n{round}"), DataType::Int32, true))
                .commit(),
            2 => {
                let initial: ArrayRef = Arc::new(Int32Array::from(vec![round as i32]));
                self.table
                    .alter()
                    .add_column_with(Field::new(format!("n{round}"), DataType::Int32, true), initial)
                    .commit()
            }
            // Their names change places.
            3 if last > 2 => self
                .table
                .alter()
                .rename_column(name(last), "a")
                .rename_column(name(1), name(last))
                .rename_column("a", name(1))
                .commit(),
            _ => self.table.alter().drop_column(name(last)).commit(),
        }
        .expect("alter");
    }

    fn publish(&self) -> Published {
        let published = self.table.publish().expect("publish");
        assert_eq!(read_published(&*self.storage, &published.dir), read_table(&self.table));
        published
    }

    fn run(mut self, rounds: usize) {
        for round in 0..rounds {
            for _ in 0..self.rng.random_range(1..5) {
                self.write();
            }
            match self.rng.random_range(0..10) {
                0 => self.db.compact().expect("compact"),
                1 | 2 => self.db.flush().expect("flush"),
                3 => self.storage.jump_clock(2_000_000),
                4 => {
                    let dir = self.publish().dir;
                    let before = read_published(&*self.storage, &dir);
                    // Whatever happens afterwards, it stays as it is.
                    self.write();
                    self.db.compact().expect("compact");
                    assert_eq!(read_published(&*self.storage, &dir), before);
                    drop((self.table, self.db));
                    let (db, table) = open(&self.storage, &self.settings);
                    (self.db, self.table) = (db, table.expect("table"));
                    self.db.compact().expect("compact");
                    assert_eq!(read_published(&*self.storage, &dir), before);
                }
                5 => self.alter(round),
                6 => self.table.withdraw().expect("withdraw"),
                _ => {}
            }
            if self.rng.random() {
                self.publish();
            }
        }
        self.publish();
    }
}

#[test]
fn what_is_published_is_the_table_for_every_kind_and_open_format() {
    for (number, format) in ["parquet", "feather", "orc"].into_iter().enumerate() {
        for kind in 0..4 {
            println!("{format} kind {kind}");
            for seed in 0..4 {
                let mut settings = settings(format);
                // Half of them by what deletion vectors know.
                if seed % 2 == 0 {
                    "bplus".clone_into(&mut settings.index.primary);
                    settings.index.deletion_vectors = true;
                }
                History::new(settings, kind, seed * 100 + (10 * number + kind) as u64).run(30);
            }
        }
    }
}

#[test]
fn publishing_again_looks_only_at_what_has_come() {
    let mut history = History::new(settings("parquet"), 0, 7);
    let ids: Vec<i64> = (0..20_000).collect();
    let columns = |ids: &[i64]| -> Vec<ArrayRef> {
        let texts = ids.iter().map(|id| Some(format!("text {id}")));
        vec![
            Arc::new(Int64Array::from(ids.to_vec())),
            Arc::new(texts.collect::<StringArray>()),
            Arc::new(Int32Array::from(vec![1; ids.len()])),
        ]
    };
    let schema = history.table.schema();
    let batch = |ids: &[i64]| RecordBatch::try_new(Arc::clone(schema.columns()), columns(ids)).expect("columns");
    history.table.insert(&batch(&ids)).expect("insert");
    history.db.flush().expect("flush");
    history.table.insert(&batch(&ids)).expect("insert");
    history.db.compact().expect("compact");
    let first = history.publish();
    assert!(first.files > 5 && first.looked_at == first.files, "{first:?}");
    assert!(
        first.why_not_exact.is_empty() && first.why_no_delta.is_none(),
        "{first:?}"
    );
    let again = history.publish();
    assert_eq!((again.looked_at, again.dead_rows), (0, 0));
    history.table.insert(&batch(&[17, 30_000])).expect("insert");
    let third = history.publish();
    assert_eq!(
        (third.looked_at, third.dead_rows, third.rows),
        (1, 1, 20_001),
        "{third:?}"
    );
    assert_eq!(third.why_not_exact.len(), 1);
    history.write();
    history.table.withdraw().expect("withdraw");
    history.table.withdraw().expect("nothing is fine");
    assert!(history.storage.list(&third.dir).is_err(), "the directory is gone");
}

#[test]
fn what_is_published_of_a_dropped_table_goes() {
    let history = History::new(settings("parquet"), 0, 3);
    let dir = history.publish().dir;
    assert_eq!(dir, PathBuf::from("/db").join(PUBLISHED_DIR).join("000001"));
    history.db.drop_table("t").expect("drop");
    assert!(history.storage.list(&dir).is_err());
    // One that was left behind goes at the next opening.
    history.storage.create_dir_all(&dir).expect("a directory");
    let History {
        storage,
        settings,
        db,
        table,
        ..
    } = history;
    drop((table, db));
    let (_db, _) = open(&storage, &settings);
    assert!(storage.list(&dir).is_err());
}

#[test]
fn formats_that_others_do_not_read_are_told() {
    let mut history = History::new(settings("row"), 0, 3);
    let rows = history.rows(false);
    history.table.insert(&rows).expect("insert");
    let error = history.table.publish().expect_err("row files");
    assert!(error.message().contains("\"row\""), "{error}");
}

#[test]
fn a_power_loss_while_publishing_leaves_the_last_publication_or_the_new_one() {
    let mut history = History::new(settings("parquet"), 1, 9);
    for _ in 0..3 {
        history.write();
        history.db.flush().expect("flush");
    }
    let dir = history.publish().dir;
    let before = read_published(&*history.storage, &dir);
    for _ in 0..3 {
        history.write();
    }
    history.db.compact().expect("compact");
    let after = read_table(&history.table);
    assert_ne!(before, after);
    let History {
        storage,
        settings,
        db,
        table,
        ..
    } = history;
    drop((table, db));
    let mut points = 0;
    for point in 1.. {
        let image = Arc::new(storage.kill_image());
        let (db, table) = open(&image, &settings);
        let table = table.expect("table");
        db.wait_idle().expect("idle");
        let options = kodiak_storage::CrashOptions::new([0, 50][point as usize % 2], Default::default(), point);
        image.crash_at(image.mutations() + point, kodiak_storage::Moment::After, options);
        table.publish().expect("publish");
        let Some(left) = image.take_crash_image() else { break };
        let left = Arc::new(left);
        points += 1;
        let found = read_published(&*left, &dir);
        assert!(found == before || found == after, "point {point}");
        let (_db, table) = open(&left, &settings);
        let table = table.expect("table");
        let now = table.publish().expect("publish").dir;
        assert_eq!(read_published(&*left, &now), read_table(&table), "point {point}");
    }
    assert!(points > 15, "{points} points");
}

/// Tells a thread to end, also when something fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_is_written_while_publishing_is_there_next_time_and_no_half_of_a_batch_before() {
    let history = History::new(settings("parquet"), 3, 1);
    history.storage.run_clock();
    for round in 0..20 {
        let (db, table, done) = (&history.db, &history.table, AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0u64.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    // Two keys that always have the same value.
                    let mut batch = db.batch();
                    for twin in ["a", "b"] {
                        batch.put(table, format!("{twin}{}", number % 3000), format!("{round} {number}"));
                    }
                    db.write(batch).expect("write");
                }
            });
            let _end = End(&done);
            let dir = table.publish().expect("publish").dir;
            let found = read_published(&*history.storage, &dir);
            // Binary columns are shown in hexadecimal digits: "a" is 61.
            let values = |twin: &str| -> BTreeMap<String, usize> {
                let own = found
                    .iter()
                    .filter_map(|(row, count)| Some((row.strip_prefix(twin)?.to_owned(), *count)));
                own.collect()
            };
            assert_eq!(values("61"), values("62"));
            assert!(found.values().all(|&count| count == 1));
        });
        history.publish();
    }
}

#[test]
fn an_empty_table_can_be_published() {
    let storage = Arc::new(MemoryStorage::new());
    let db = Builder::new(settings("feather"))
        .storage(storage.clone())
        .open("/db")
        .expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    let published = table.publish().expect("publish");
    assert_eq!((published.rows, published.files), (0, 0));
    assert!(read_published(&*storage, &published.dir).is_empty());
}
