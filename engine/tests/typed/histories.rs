//! Random histories of random schemas, through every memtable and every format.

use std::sync::Arc;

use arrow::array::RecordBatch;
use kodiak::{Builder, Components, Db, MemoryStorage, Settings, Snapshot, Table, TableSchema};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::filters;
use crate::model::{Model, collect};
use crate::schemas;

pub fn small(memtable: &str, format: &str) -> Settings {
    let mut settings = Settings::default();
    settings.memtable.kind = memtable.to_owned();
    settings.memtable.size = 64 << 10;
    settings.format.kind = format.to_owned();
    settings.format.block_size = Some(4 << 10);
    settings.compaction.target_run_size = 64 << 10;
    settings.wal.segment_size = 256 << 10;
    settings.cache.capacity = 1 << 20;
    settings
}

/// The key columns of one row.
fn key_of(schema: &TableSchema, batch: &RecordBatch, row: usize) -> RecordBatch {
    let indexes: Vec<usize> = schema.key().iter().map(|key| key.index).collect();
    batch.slice(row, 1).project(&indexes).expect("key columns")
}

fn check(rng: &mut StdRng, table: &Table, model: &Model) {
    filters::check(rng, &table.read());
    let expected = model.all();
    assert_eq!(collect(table.read().batches().expect("read")), expected);
    let rows = rng.random_range(1..200);
    assert_eq!(
        collect(table.read().batch_size(rows).batches().expect("read")),
        expected
    );
    assert_eq!(collect(table.read().rev().batches().expect("read")), model.reversed());
    let limit = rng.random_range(0..=model.len());
    assert_eq!(
        collect(table.read().limit(limit).batches().expect("read")),
        expected.slice(0, limit)
    );
    // Some columns in another order.
    let schema = table.schema();
    let fields = schema.columns().fields();
    let mut some: Vec<usize> = (0..fields.len()).filter(|_| rng.random()).collect();
    some.reverse();
    let names: Vec<&str> = some.iter().map(|&index| fields[index].name().as_str()).collect();
    let projected = collect(table.read().project(names).batches().expect("read"));
    assert_eq!(projected, expected.project(&some).expect("columns"));
    if model.len() == 0 {
        return;
    }
    let (a, b) = (rng.random_range(0..model.len()), rng.random_range(0..model.len()));
    let (from, to) = (
        key_of(&table.schema(), &expected, a),
        key_of(&table.schema(), &expected, b),
    );
    let range = collect(table.read().key_range(&from..&to).batches().expect("read"));
    assert_eq!(range, model.range(&from, &to), "rows {a}..{b}");
    let range = collect(table.read().key_range(&from..=&to).batches().expect("read"));
    assert_eq!(range.num_rows(), if a <= b { b - a + 1 } else { 0 });
    for _ in 0..5 {
        let row = rng.random_range(0..model.len());
        let key = key_of(&table.schema(), &expected, row);
        assert_eq!(
            table.get_row(&key).expect("get").expect("there"),
            expected.slice(row, 1)
        );
    }
}

struct History {
    storage: Arc<MemoryStorage>,
    settings: Settings,
    db: Db,
    table: Table,
    model: Model,
    rng: StdRng,
}

impl History {
    fn new(settings: Settings, schema: &TableSchema, seed: u64) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        let db = Builder::new(settings.clone())
            .storage(storage.clone())
            .open("/db")
            .expect("open");
        let table = db.create_table("t", schema.clone()).expect("create");
        Self {
            storage,
            settings,
            db,
            table,
            model: Model::new(schema),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    fn change(&mut self, rows: usize, distinct: i64) {
        let schema = self.table.schema().clone();
        let batch = schemas::rows(&mut self.rng, &schema, rows, distinct);
        if self.rng.random_bool(0.3) {
            let half = batch.num_rows() / 2;
            let parts = [batch.slice(0, half), batch.slice(half, batch.num_rows() - half)];
            let done = self.table.bulk_insert(parts.map(Ok)).expect("bulk insert");
            assert!(done.entries > 0 && done.entries <= batch.num_rows() as u64);
        } else {
            self.table.insert(&batch).expect("insert");
        }
        self.model.insert(&batch);
        let gone = schemas::rows(&mut self.rng, &schema, rows / 5, distinct);
        self.table.delete_keys(&gone).expect("delete");
        self.model.delete(&gone);
        let absent = gone.slice(0, 1);
        assert_eq!(self.table.get_row(&absent).expect("get"), self.model.get(&absent));
    }

    fn reopen(self) -> Self {
        let Self {
            storage,
            settings,
            db,
            table,
            model,
            rng,
        } = self;
        // Dropped, not closed.
        drop(table);
        drop(db);
        let db = Builder::new(settings.clone())
            .storage(storage.clone())
            .open("/db")
            .expect("open");
        let table = db.table("t").expect("table");
        Self {
            storage,
            settings,
            db,
            table,
            model,
            rng,
        }
    }

    fn run(mut self, rounds: usize, rows: usize, distinct: i64) {
        let mut held: Option<(Snapshot, RecordBatch)> = None;
        for round in 0..rounds {
            self.change(rows, distinct);
            match round % 5 {
                0 => self.db.flush().expect("flush"),
                1 => held = Some((self.db.snapshot(), self.model.all())),
                2 => self.db.compact().expect("compact"),
                3 => {
                    if let Some((snapshot, before)) = held.take() {
                        let then = collect(self.table.read().at(&snapshot).batches().expect("read"));
                        assert_eq!(then, before);
                        filters::check(&mut self.rng, &self.table.read().at(&snapshot));
                        let then = collect(self.table.read().at(&snapshot).rev().batches().expect("read"));
                        assert_eq!(then.num_rows(), before.num_rows());
                    }
                    self.db.compact().expect("compact");
                }
                _ => self = self.reopen(),
            }
            check(&mut self.rng, &self.table, &self.model);
        }
    }
}

/// A random schema that the formats can hold.
fn fitting(rng: &mut StdRng, formats: &[&str]) -> TableSchema {
    let components = Components::default();
    loop {
        let schema = schemas::schema(rng);
        let holds = |name: &&str| {
            let factory = components.formats().find(name).expect("known");
            factory.capabilities.check(name, &schema).is_ok()
        };
        if formats.iter().all(holds) {
            return schema;
        }
    }
}

#[test]
fn histories_agree_with_the_model_for_every_memtable_and_format() {
    let components = Components::default();
    let mut schemas = StdRng::seed_from_u64(11);
    for memtable in components.memtables().iter().map(|factory| factory.component.name) {
        for format in components.formats().iter().map(|factory| factory.component.name) {
            let schema = fitting(&mut schemas, &[format]);
            println!("{memtable} {format} {schema:?}");
            History::new(small(memtable, format), &schema, 5).run(6, 150, 30);
        }
    }
}

#[test]
fn many_schemas_survive_long_histories() {
    let mut seeds = StdRng::seed_from_u64(23);
    for seed in 0..25 {
        let schema = fitting(&mut seeds, &["feather"]);
        println!("seed {seed}: {schema:?}");
        History::new(small("skiplist", "feather"), &schema, seed).run(10, 120, 25);
    }
}

#[test]
fn a_table_whose_levels_have_different_formats_agrees_with_the_model() {
    let mut settings = small("skiplist", "feather");
    settings.format.levels = vec![kodiak::settings::FormatLevel {
        from: 1,
        kind: Some("parquet".to_owned()),
        ..Default::default()
    }];
    let mut seeds = StdRng::seed_from_u64(29);
    for seed in 0..5 {
        let schema = fitting(&mut seeds, &["feather", "parquet"]);
        println!("seed {seed}: {schema:?}");
        History::new(settings.clone(), &schema, seed).run(10, 300, 40);
    }
}

#[test]
fn key_value_tables_are_read_as_batches_too() {
    History::new(small("skiplist", "feather"), &TableSchema::key_value(), 3).run(10, 500, 12);
}
