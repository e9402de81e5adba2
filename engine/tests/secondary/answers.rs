//! Random histories.

use std::sync::Arc;

use kodiak::settings::Maintenance;
use kodiak::{Db, MemoryStorage, Snapshot, Table};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::*;

fn person(random: &mut StdRng) -> Person {
    let age = (random.random_range(0..8) > 0).then(|| random.random_range(0..10));
    let town = (random.random_range(0..8) > 0).then(|| format!("town\0{}", random.random_range(0..5)));
    (random.random_range(0..200), age, town, random.random_range(0..1000))
}

struct History {
    random: StdRng,
    storage: Arc<MemoryStorage>,
    kind: &'static str,
    maintenance: Maintenance,
    merging: bool,
    db: Db,
    table: Table,
    snapshots: Vec<Snapshot>,
    indexes: Vec<&'static str>,
}

impl History {
    fn new(seed: u64, kind: &'static str, maintenance: Maintenance, merging: bool) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, settings(kind, maintenance));
        let table = people(&db, merging);
        Self {
            random: StdRng::seed_from_u64(seed),
            storage,
            kind,
            maintenance,
            merging,
            db,
            table,
            snapshots: Vec::new(),
            indexes: Vec::new(),
        }
    }

    fn write(&mut self) {
        match self.random.random_range(0..10) {
            0..5 => {
                let count = self.random.random_range(1..30);
                let people: Vec<Person> = (0..count).map(|_| person(&mut self.random)).collect();
                self.table.insert(&batch(&people)).expect("insert");
            }
            5..7 if self.merging => {
                let people: Vec<Person> = (0..5).map(|_| person(&mut self.random)).collect();
                self.table.update(&batch(&people)).expect("update");
            }
            5..8 => {
                let gone: Vec<i64> = (0..5).map(|_| self.random.random_range(0..200)).collect();
                self.table.delete_keys(&ids(&gone)).expect("delete");
            }
            8 => {
                let from = self.random.random_range(0..200i64);
                let key = |id: i64| (id as u64 ^ (1 << 63)).to_be_bytes();
                self.table
                    .delete_range(key(from)..key(from + 20))
                    .expect("delete_range");
            }
            _ => {
                let mut rows: Vec<Person> = (0..20).map(|_| person(&mut self.random)).collect();
                rows.sort();
                rows.dedup_by_key(|person| person.0);
                self.table.ingest_batches([Ok(batch(&rows))]).expect("ingest");
            }
        }
    }

    fn step(&mut self) {
        match self.random.random_range(0..20) {
            0..10 => self.write(),
            10..13 => self.db.flush().expect("flush"),
            13 => self.db.compact().expect("compact"),
            14 => self.snapshots.push(self.db.snapshot()),
            15 if !self.snapshots.is_empty() => {
                let place = self.random.random_range(0..self.snapshots.len());
                self.snapshots.swap_remove(place);
            }
            16 => self.reopen(),
            17..19 => {
                let (name, definition) = match self.random.random_range(0..2) {
                    0 => ("by_age", by_age()),
                    _ => ("by_town", by_town()),
                };
                if let Some(place) = self.indexes.iter().position(|known| *known == name) {
                    if self.random.random_range(0..3) == 0 {
                        self.table.drop_index(name).expect("drop_index");
                        self.indexes.remove(place);
                    }
                } else {
                    self.table.create_index(definition).expect("create_index");
                    self.indexes.push(name);
                }
            }
            _ => self.db.wait_idle().expect("idle"),
        }
    }

    fn reopen(&mut self) {
        self.snapshots.clear();
        self.db.clone().close().expect("close");
        if self.random.random_range(0..4) == 0 {
            self.kind = KINDS[self.random.random_range(0..2)];
            self.maintenance = MAINTENANCE[self.random.random_range(0..2)];
        }
        self.db = open(&self.storage, settings(self.kind, self.maintenance));
        self.table = self.db.table("people").expect("table");
    }

    fn check(&self) {
        check(&self.table, &self.indexes, None);
        for snapshot in &self.snapshots {
            check(&self.table, &self.indexes, Some(snapshot));
        }
    }
}

#[test]
fn indexes_find_what_scans_find_after_every_step_of_random_histories() {
    for seed in 0..8u64 {
        let kind = KINDS[seed as usize % 2];
        let maintenance = MAINTENANCE[seed as usize / 2 % 2];
        let mut history = History::new(seed, kind, maintenance, seed / 4 % 2 == 1);
        for _ in 0..150 {
            history.step();
            history.check();
        }
        check_sound(&history.db);
        let mut names: Vec<String> = history.table.indexes().into_iter().map(|index| index.name).collect();
        names.sort();
        let mut expected = history.indexes.clone();
        expected.sort_unstable();
        assert_eq!(names, expected);
    }
}

/// What eager maintenance is for: the newest state is read from the index alone.
#[test]
fn an_exact_index_answers_without_a_look_at_rows() {
    for kind in KINDS {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, settings(kind, Maintenance::Eager));
        let table = people(&db, false);
        table.create_index(by_age()).expect("create_index");
        let mut random = StdRng::seed_from_u64(7);
        for _ in 0..20 {
            let people: Vec<Person> = (0..50).map(|_| person(&mut random)).collect();
            table.insert(&batch(&people)).expect("insert");
            table.delete_keys(&ids(&[random.random_range(0..200)])).expect("delete");
            db.flush().expect("flush");
        }
        let looked_up = || table.indexes()[0].looked_up;
        let before = looked_up();
        let found = table
            .index("by_age")
            .expect("index")
            .project(["age", "id"])
            .batches()
            .expect("read");
        let found: usize = found.map(|batch| batch.expect("batch").num_rows()).sum();
        assert!(found > 100 && table.indexes()[0].exact);
        assert_eq!(looked_up(), before, "rows were looked at");
        check(&table, &["by_age"], None);

        // A lazy opening goes on from it, and its first flush ends that.
        db.close().expect("close");
        let db = open(&storage, settings(kind, Maintenance::Lazy));
        let table = db.table("people").expect("table");
        assert!(table.indexes()[0].exact);
        table.insert(&batch(&[(1, Some(77), None, 0)])).expect("insert");
        db.flush().expect("flush");
        assert!(!table.indexes()[0].exact);
        check(&table, &["by_age"], None);
        // An eager one builds it anew.
        db.close().expect("close");
        let db = open(&storage, settings(kind, Maintenance::Eager));
        let table = db.table("people").expect("table");
        assert!(table.indexes()[0].exact);
        check(&table, &["by_age"], None);
    }
}

/// Lazily maintained indexes are cleaned by compactions: no candidate is left that does not hold.
#[test]
fn compactions_take_away_what_has_become_void() {
    for (kind, maintenance) in KINDS.into_iter().zip(MAINTENANCE) {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, settings(kind, maintenance));
        let table = people(&db, false);
        table.create_index(by_age()).expect("create_index");
        let mut random = StdRng::seed_from_u64(3);
        for _ in 0..10 {
            let people: Vec<Person> = (0..100).map(|_| person(&mut random)).collect();
            table.insert(&batch(&people)).expect("insert");
            db.flush().expect("flush");
        }
        db.compact().expect("compact");
        let void = || table.indexes()[0].void;
        let before = void();
        check(&table, &["by_age"], None);
        assert_eq!(void(), before, "{kind}: entries of dropped versions are left");
    }
}
