//! Rows that are known by operands only: reads resolve those that have changed, and no others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kodiak::settings::Maintenance;
use kodiak::{Db, MemoryStorage, Table, TableOptions, TableSchema};
use kodiak_storage::FaultStorage;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::*;

const ROWS: i64 = 10_000;

/// Rows of which the age is an operand.
fn updates(ids: impl IntoIterator<Item = i64>, age: impl Fn(i64) -> i32) -> arrow::array::RecordBatch {
    let people: Vec<Person> = ids.into_iter().map(|id| (id, Some(age(id)), None, 0)).collect();
    batch(&people)
}

/// A table with so many pending rows, some of them flushed, each with an age of its own.
fn table(storage: &Arc<MemoryStorage>, pool: u64, unique: bool) -> (Db, Table) {
    let mut settings = settings("bplus", Maintenance::Lazy);
    settings.secondary.pool = pool;
    settings.memtable.size = 8 << 20;
    let db = open(storage, settings);
    let table = people(&db, true);
    // Operands that something lies below stay operands.
    table
        .insert(&updates(0..ROWS, |id| 50_000 + id as i32))
        .expect("insert");
    db.compact().expect("compact");
    table.update(&updates(0..ROWS / 2, |id| id as i32)).expect("update");
    let index = if unique { by_age().unique() } else { by_age() };
    table.create_index(index).expect("create_index");
    table.update(&updates(ROWS / 2..ROWS, |id| id as i32)).expect("update");
    (db, table)
}

fn found(table: &Table, years: i32) -> Vec<i64> {
    let read = table.index("by_age").expect("index").prefix(&age(Some(years)));
    rows(read.batches().expect("read"))
        .iter()
        .map(|person| person.0)
        .collect()
}

fn resolved(table: &Table) -> u64 {
    table.indexes()[0].resolved
}

#[test]
fn reads_resolve_each_pending_row_once_and_then_those_that_change() {
    let (db, table) = table(&Arc::new(MemoryStorage::new()), 64 << 20, false);
    for years in 0..100 {
        assert_eq!(found(&table, years * 97), [i64::from(years * 97)]);
    }
    assert_eq!(resolved(&table), ROWS as u64, "100 reads");
    let before = db.snapshot();
    for id in 0..100 {
        table.update(&updates([id], |_| 20_000)).expect("update");
        assert_eq!(found(&table, 20_000).len() as i64, id + 1);
        assert!(found(&table, id as i32).is_empty());
    }
    assert_eq!(resolved(&table), ROWS as u64 + 100, "one row between two reads");

    // Flushes and compactions change no row.
    db.flush().expect("flush");
    assert_eq!(found(&table, 20_000).len(), 100);
    db.compact().expect("compact");
    assert_eq!(found(&table, 20_000).len(), 100);
    assert_eq!(found(&table, 7_777), [7_777]);
    assert!(resolved(&table) <= 2 * ROWS as u64 + 100, "{}", resolved(&table));

    // A snapshot of before is resolved once.
    let base = resolved(&table);
    for years in 0..100 {
        let read = table.index("by_age").expect("index").prefix(&age(Some(years)));
        assert_eq!(read.at(&before).keys().expect("keys").count(), 1);
    }
    assert!(resolved(&table) - base <= 2 * ROWS as u64);
    check(&table, &["by_age"], None);
    check(&table, &["by_age"], Some(&before));
    check_sound(&db);
}

#[test]
fn checks_of_unique_indexes_resolve_rows_that_have_changed() {
    let (db, table) = table(&Arc::new(MemoryStorage::new()), 64 << 20, true);
    let before = resolved(&table);
    for id in 0..100 {
        table.update(&updates([id], |id| 20_000 + id as i32)).expect("update");
        table
            .update(&updates([id + 500], |id| 20_000 + id as i32 - 500))
            .expect_err("taken");
    }
    // Those written before, all anew as there are now twice as many, and one for each check.
    let resolved = resolved(&table) - before;
    assert!(resolved <= 3 * ROWS as u64 / 2 + 100, "{resolved} rows were resolved");
    check(&table, &["by_age"], None);
    check_sound(&db);
}

#[test]
fn what_does_not_fit_is_resolved_by_every_read_and_what_fits_again_is_kept() {
    let (db, table) = table(&Arc::new(MemoryStorage::new()), 1 << 20, false);
    for years in 0..3 {
        assert_eq!(found(&table, years), [i64::from(years)]);
    }
    assert!(
        resolved(&table) > 3 * ROWS as u64,
        "a pool of 1 MiB has no room for {ROWS}"
    );
    check(&table, &["by_age"], None);
    assert!(
        db.stats().index_memory <= (1 << 20) + (1 << 17),
        "{}",
        db.stats().index_memory
    );
    db.compact().expect("compact");
    assert_eq!(found(&table, 7), [7]);
    table.update(&updates(0..100, |_| 30_000)).expect("update");
    let before = resolved(&table);
    for _ in 0..10 {
        assert_eq!(found(&table, 30_000).len(), 100);
    }
    assert!(resolved(&table) - before <= 200, "{}", resolved(&table) - before);
}

#[test]
fn writers_and_flushes_beside_reads_leave_nothing_out() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, settings("fractal", Maintenance::Lazy));
    let table = people(&db, true);
    table.create_index(by_age()).expect("create_index");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..2i64 {
            let (db, table, over) = (&db, &table, &over);
            scope.spawn(move || {
                let mut random = StdRng::seed_from_u64(thread as u64);
                for round in 0..600 {
                    let id = 2 * random.random_range(0..40) + thread;
                    let age = random.random_range(0..10);
                    table.update(&updates([id], |_| age)).expect("update");
                    // What was acknowledged is found at once.
                    assert!(found(table, age).contains(&id), "{id}, {age} years old");
                    if round % 60 == 59 {
                        db.flush().expect("flush");
                    }
                }
                over.store(true, Ordering::Release);
            });
        }
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                let snapshot = db.snapshot();
                check(&table, &["by_age"], Some(&snapshot));
            }
        });
    });
    check(&table, &["by_age"], None);
    check_sound(&db);
}

/// What a row is changes when the put that its operands are merged into expires, without any write.
#[test]
fn rows_whose_oldest_part_expires_are_found_where_they_are_then() {
    for seed in 0..4 {
        let mut random = StdRng::seed_from_u64(seed);
        let storage = Arc::new(FaultStorage::with_seed(seed));
        let db = open(&storage, settings(KINDS[seed as usize % 2], Maintenance::Lazy));
        let schema = TableSchema::new(columns(), &["id"]).expect("schema");
        let options = TableOptions::new()
            .merge_operator("last-non-null")
            .ttl(Duration::from_secs(1));
        let table = db.create_table_with("people", schema, options).expect("table");
        table.create_index(by_age()).expect("create_index");
        let mut snapshots = Vec::new();
        for _ in 0..200 {
            let id = random.random_range(0..30);
            let age = (random.random_range(0..3) > 0).then(|| random.random_range(0..10));
            let person = batch(&[(id, age, None, 1)]);
            match random.random_range(0..12) {
                0..3 => table.insert(&person).expect("insert"),
                3..8 => table.update(&person).expect("update"),
                8 => table.delete_keys(&ids(&[id])).expect("delete"),
                9 => db.flush().expect("flush"),
                10 if random.random_range(0..3) == 0 => db.compact().expect("compact"),
                _ => {
                    snapshots.push(db.snapshot());
                    snapshots.truncate(3);
                }
            }
            storage.jump_clock(random.random_range(0..120_000));
            check_still(&table, &snapshots);
        }
    }
}

/// The clock of a fault-injecting storage goes on by itself with each look: rows may expire between two reads.
fn check_still(table: &Table, snapshots: &[kodiak::Snapshot]) {
    let all = |table: &Table| rows(table.read().batches().expect("scan"));
    loop {
        let before = all(table);
        let mut through: Vec<Person> = rows(table.index("by_age").expect("index").batches().expect("read"));
        through.sort();
        let at = |snapshot: &kodiak::Snapshot| {
            let read = table.index("by_age").expect("index").at(snapshot);
            let mut people = rows(read.batches().expect("read"));
            people.sort();
            (rows(table.read().at(snapshot).batches().expect("scan")), people)
        };
        let past: Vec<_> = snapshots.iter().map(at).collect();
        if all(table) != before {
            continue;
        }
        assert_eq!(through, before);
        past.iter().for_each(|(scan, people)| assert_eq!(people, scan));
        return;
    }
}
