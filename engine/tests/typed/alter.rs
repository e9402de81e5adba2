//! Tables whose columns change while they are in use.

mod cases;
mod faults;
mod model;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch};
use arrow::datatypes::Field;
use kodiak::core::rowcodec::RowCodec;
use kodiak::core::storage::Storage;
use kodiak::settings::FormatLevel;
use kodiak::{
    Builder, Components, Db, MemoryStorage, ScanOptions, Settings, Snapshot, Table, TableOptions, TableSchema,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::histories::small;
use crate::model::collect;
use model::{Column, Model, TYPES, Value, array, value, wider};

struct History {
    storage: Arc<MemoryStorage>,
    settings: Settings,
    db: Db,
    table: Table,
    model: Model,
    merges: bool,
    held: Vec<(Snapshot, Model)>,
    rng: StdRng,
}

fn open(storage: &Arc<MemoryStorage>, settings: &Settings, dir: &str) -> Db {
    Builder::new(settings.clone())
        .storage(storage.clone())
        .open(dir)
        .expect("open")
}

impl History {
    fn new(settings: Settings, seed: u64) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, &settings, "/db");
        let mut rng = StdRng::seed_from_u64(seed);
        let model = Model::new(&mut rng);
        let [first, second] = model.key_names();
        let schema = TableSchema::new(model.schema(), &[&first, &second]).expect("valid");
        let merges = seed.is_multiple_of(2);
        let options = if merges {
            TableOptions::new().merge_operator("last-non-null")
        } else {
            TableOptions::new()
        };
        let table = db.create_table_with("t", schema, options).expect("create");
        Self {
            storage,
            settings,
            db,
            table,
            model,
            merges,
            held: Vec::new(),
            rng,
        }
    }

    fn insert(&mut self) {
        let count = self.rng.random_range(1..60);
        let rows = self.model.random_rows(&mut self.rng, count);
        let columns = self.model.some_columns(&mut self.rng);
        let batch = self.model.batch(&columns, rows.iter().map(|(_, row)| row));
        if self.rng.random() {
            self.table.insert(&batch).expect("insert");
        } else {
            let mut writes = self.db.batch();
            writes.insert(&self.table, &batch);
            self.db.write(writes).expect("write");
        }
        self.model.insert(&columns, rows);
    }

    fn ingest(&mut self) {
        let mut rows = self.model.random_rows(&mut self.rng, 20);
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows.dedup_by(|a, b| a.0 == b.0);
        let columns = self.model.some_columns(&mut self.rng);
        let batch = self.model.batch(&columns, rows.iter().map(|(_, row)| row));
        self.table.ingest_batches([Ok(batch)]).expect("ingest");
        self.model.insert(&columns, rows);
    }

    fn delete(&mut self) {
        let rows = self.model.random_rows(&mut self.rng, 6);
        let keys: Vec<Column> = self
            .model
            .columns
            .iter()
            .filter(|column| column.number < 2)
            .cloned()
            .collect();
        let batch = self.model.batch(&keys, rows.iter().map(|(_, row)| row));
        self.table.delete_keys(&batch).expect("delete");
        rows.iter().for_each(|(key, _)| drop(self.model.rows.remove(key)));
    }

    /// Some columns of some rows.
    fn update(&mut self) {
        if !self.merges {
            return self.insert();
        }
        let rows = self.model.random_rows(&mut self.rng, 15);
        let rng = &mut self.rng;
        let defaults = &self.model.defaults;
        let needed = |column: &Column| !column.nullable && !defaults.contains_key(&column.number);
        let kept = |column: &&Column| column.number < 2 || needed(column) || rng.random();
        let columns: Vec<Column> = self.model.columns.iter().filter(kept).cloned().collect();
        let batch = self.model.batch(&columns, rows.iter().map(|(_, row)| row));
        self.table.update(&batch).expect("update");
        for (key, row) in rows {
            let defaults = &self.model.defaults;
            let own = self.model.rows.entry(key).or_insert_with(|| defaults.clone());
            for (number, value) in row {
                if value != Value::Null && columns.iter().any(|column| column.number == number) {
                    own.insert(number, value);
                }
            }
        }
    }

    fn alter(&mut self) {
        let mut alteration = self.table.alter();
        for _ in 0..self.rng.random_range(1..4) {
            let values: Vec<usize> = (0..self.model.columns.len())
                .filter(|&place| self.model.columns[place].number >= 2)
                .collect();
            let any = values.get(self.rng.random_range(0..values.len().max(1))).copied();
            alteration = match (self.rng.random_range(0..7), any) {
                (0, _) => {
                    let data_type = TYPES[self.rng.random_range(0..TYPES.len())].clone();
                    let column = self.model.new_column(data_type, true);
                    let field = Field::new(&column.name, column.data_type.clone(), true);
                    self.model.columns.push(column);
                    alteration.add_column(field)
                }
                (1, _) => {
                    let data_type = TYPES[self.rng.random_range(0..TYPES.len())].clone();
                    let nullable = self.rng.random();
                    let column = self.model.new_column(data_type, nullable);
                    let initial = value(&mut self.rng, &column.data_type, nullable);
                    let given: ArrayRef = array(&column.data_type, std::iter::once(&initial));
                    let field = Field::new(&column.name, column.data_type.clone(), nullable);
                    for row in self.model.rows.values_mut() {
                        row.insert(column.number, initial.clone());
                    }
                    if initial != Value::Null {
                        self.model.defaults.insert(column.number, initial);
                    }
                    self.model.columns.push(column);
                    alteration.add_column_with(field, given)
                }
                (2, Some(place)) => alteration.drop_column(self.model.columns.remove(place).name),
                (3, _) => {
                    let place = self.rng.random_range(0..self.model.columns.len());
                    let name = self.model.free_name();
                    let old = std::mem::replace(&mut self.model.columns[place].name, name.clone());
                    alteration.rename_column(old, name)
                }
                (4, _) => {
                    let by = self.rng.random_range(0..self.model.columns.len());
                    self.model.columns.rotate_left(by);
                    alteration.order_columns(self.model.columns.iter().map(|column| column.name.clone()))
                }
                (5, Some(place)) => {
                    let column = &mut self.model.columns[place];
                    let targets = wider(&column.data_type);
                    if targets.is_empty() {
                        continue;
                    }
                    column.data_type = targets[self.rng.random_range(0..targets.len())].clone();
                    alteration.widen_column(&column.name, column.data_type.clone())
                }
                (6, Some(place)) => {
                    self.model.columns[place].nullable = true;
                    alteration.allow_null(&self.model.columns[place].name)
                }
                _ => continue,
            };
        }
        alteration.commit().expect("alter");
        assert_eq!(*self.table.schema().columns(), self.model.schema());
    }

    fn reopen(&mut self) {
        self.held.clear();
        // Dropped, not closed, so that the log is replayed.
        let other = Arc::new(MemoryStorage::new());
        let elsewhere = open(&other, &self.settings, "/none");
        let table = elsewhere
            .create_table("none", TableSchema::key_value())
            .expect("create");
        self.table = table;
        self.db = elsewhere;
        self.db = open(&self.storage, &self.settings, "/db");
        self.table = self.db.table("t").expect("table");
    }

    fn step(&mut self) {
        match self.rng.random_range(0..14) {
            0..=3 => self.insert(),
            4 => self.delete(),
            5 => self.update(),
            6 | 7 => self.alter(),
            8 => self.db.flush().expect("flush"),
            9 => self.db.compact().expect("compact"),
            10 => self.held.push((self.db.snapshot(), self.model.clone())),
            11 if !self.held.is_empty() => {
                let place = self.rng.random_range(0..self.held.len());
                self.held.remove(place);
            }
            12 => self.ingest(),
            13 => self.reopen(),
            _ => {}
        }
    }

    fn check(&mut self) {
        check(&mut self.rng, &self.table, &self.model, None);
        for (snapshot, model) in &self.held {
            check(&mut self.rng, &self.table, model, Some(snapshot));
        }
    }

    fn run(mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
            self.check();
        }
        let report = self.db.verify().expect("verify");
        assert!(report.is_clean(), "{report}");
        self.copies_and_repairs();
    }

    /// A checkpoint, and repairs of it, hold what the table does.
    fn copies_and_repairs(&mut self) {
        self.held.clear();
        let builder = || Builder::new(self.settings.clone()).storage(self.storage.clone());
        let lost: [fn(&str) -> bool; 3] = [
            |_| false,
            |name| name.ends_with(".meta"),
            |name| name.starts_with("MANIFEST") || name == "CURRENT",
        ];
        for (number, lost) in lost.iter().enumerate() {
            let dir = format!("/copy{number}");
            self.db.checkpoint(&dir).expect("checkpoint");
            for place in [dir.clone(), format!("{dir}/tables/000001")] {
                for name in self.storage.list(Path::new(&place)).expect("list") {
                    if lost(&name) {
                        self.storage.remove(&Path::new(&place).join(name)).expect("remove");
                    }
                }
            }
            let report = builder().repair(&dir).expect("repair");
            assert!(report.lost.is_empty(), "{report}");
            let copy = open(&self.storage, &self.settings, &dir);
            let table = copy.table("t").expect("table");
            assert_eq!(*table.schema(), *self.table.schema());
            check(&mut self.rng, &table, &self.model, None);
            copy.close().expect("close");
            assert!(builder().verify(&dir).expect("verify").is_clean());
        }
    }
}

/// Compares everything that can be read, at a snapshot or now, with the model.
fn check(rng: &mut StdRng, table: &Table, model: &Model, snapshot: Option<&Snapshot>) {
    let expected = model.all();
    let read = || match snapshot {
        Some(snapshot) => table.read().at(snapshot),
        None => table.read(),
    };
    assert_eq!(collect(read().batches().expect("read")), expected);
    let reversed = collect(read().rev().batches().expect("read"));
    assert_eq!(reversed.num_rows(), expected.num_rows());
    if expected.num_rows() > 0 {
        let last = expected.num_rows() - 1;
        assert_eq!(reversed.slice(last, 1), expected.slice(0, 1));
    }
    let mut some: Vec<usize> = (0..expected.num_columns()).filter(|_| rng.random()).collect();
    some.reverse();
    let names = some
        .iter()
        .map(|&index| expected.schema_ref().field(index).name().clone());
    let projected = collect(read().project(names).batches().expect("read"));
    assert_eq!(projected, expected.project(&some).expect("columns"));
    if rng.random_bool(0.1) {
        crate::filters::check(rng, &read());
    }
    check_rows(table, model, snapshot, &expected);
}

/// Point reads, and reads of encoded rows.
fn check_rows(table: &Table, model: &Model, snapshot: Option<&Snapshot>, expected: &RecordBatch) {
    let schema = match snapshot {
        Some(snapshot) => table.schema_at(snapshot),
        None => table.schema(),
    };
    let keys: Vec<usize> = schema.key().iter().map(|key| key.index).collect();
    for row in (0..expected.num_rows()).step_by(7) {
        let key = expected.slice(row, 1).project(&keys).expect("columns");
        let found = match snapshot {
            Some(snapshot) => table.get_row_at(snapshot, &key),
            None => table.get_row(&key),
        };
        assert_eq!(found.expect("get").expect("there"), expected.slice(row, 1));
        let read = match snapshot {
            Some(snapshot) => table.read().at(snapshot).prefix(&key),
            None => table.read().prefix(&key),
        };
        assert_eq!(collect(read.batches().expect("read")), expected.slice(row, 1));
    }
    let values: Vec<usize> = schema.value_columns().collect();
    let values = expected.project(&values).expect("columns");
    let options = ScanOptions::new(..);
    let options = match snapshot {
        Some(snapshot) => options.at(snapshot),
        None => options,
    };
    for (options, reverse) in [(options.clone(), false), (options.rev(), true)] {
        let scan = table.scan_with(options).expect("scan");
        let mut entries: Vec<_> = scan.map(|entry| entry.expect("entry")).collect();
        if reverse {
            entries.reverse();
        }
        assert_eq!(entries.len(), model.rows.len());
        for (key, value) in entries.iter().step_by(11).filter(|_| snapshot.is_none()) {
            assert_eq!(table.get(key).expect("get").as_deref(), Some(&**value));
        }
        let encoded = BinaryArray::from_iter_values(entries.iter().map(|(_, value)| &**value));
        let columns = RowCodec::new(&schema)
            .decode(&encoded)
            .expect("rows of the schema that is read by");
        for (column, expected) in columns.iter().zip(values.columns()) {
            assert_eq!(column, expected);
        }
    }
}

#[test]
fn histories_with_alterations_agree_with_the_model_for_every_memtable_and_format() {
    let components = Components::default();
    let mut seed = 0;
    for memtable in components.memtables().iter().map(|factory| factory.component.name) {
        for format in components.formats().iter().map(|factory| factory.component.name) {
            seed += 1;
            println!("{memtable} {format} seed {seed}");
            History::new(small(memtable, format), seed).run(40);
        }
    }
}

#[test]
fn long_histories_with_alterations_agree_with_the_model() {
    for seed in 100..130 {
        println!("seed {seed}");
        let mut settings = small("skiplist", ["feather", "parquet"][seed as usize % 2]);
        settings.index.primary = ["fence", "bplus", "fractal"][seed as usize / 2 % 3].to_owned();
        settings.format.levels = vec![FormatLevel {
            from: 1,
            kind: Some(["row", "orc", "parquet"][seed as usize % 3].to_owned()),
            ..Default::default()
        }];
        History::new(settings, seed).run(80);
    }
}
