//! Compactions that reads and deletes bring about.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kodiak::{Builder, Db, Settings, Table, TableSchema};
use kodiak_storage::MemoryStorage;

fn open() -> (Db, Table) {
    open_with(Settings::default())
}

fn open_with(settings: Settings) -> (Db, Table) {
    let builder = Builder::new(settings).storage(Arc::new(MemoryStorage::new()));
    let db = builder.open("/db").expect("a new database");
    let table = db.create_table("t", TableSchema::key_value()).expect("a new table");
    (db, table)
}

fn key(n: u32) -> [u8; 4] {
    n.to_be_bytes()
}

/// Scans all of `table` until `enough` says so of the database's runs and tombstones per level.
fn scan_until(db: &Db, table: &Table, keys: usize, enough: impl Fn(&Db) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !enough(db) {
        assert!(
            Instant::now() < deadline,
            "reads have brought about nothing:\n{}",
            db.stats()
        );
        for _ in 0..20 {
            assert_eq!(table.scan(..).expect("opens").count(), keys);
        }
    }
}

#[test]
fn scans_that_pay_for_leftovers_in_level_0_have_them_merged() {
    let (db, table) = open();
    // The first run goes down alone; the second and third overlap it and are too few to be due.
    for round in 0..3 {
        for n in 0..2000 {
            table.put(key(n * 3 + round), [round as u8; 100]).expect("writes");
        }
        db.flush().expect("flushes");
    }
    db.wait_idle().expect("idle");
    let level_zero = |db: &Db| db.stats().tables[0].levels[0].runs;
    assert!(level_zero(&db) > 1, "{}", db.stats());
    scan_until(&db, &table, 6000, |db| level_zero(db) == 0);
}

/// All but ten of 4,000 compacted keys are deleted, and that is flushed.
fn delete_most((db, table): &(Db, Table)) {
    for n in 0..4000 {
        table.put(key(n), [1; 100]).expect("writes");
    }
    db.compact().expect("compacts");
    for n in 10..4000 {
        table.delete(key(n)).expect("deletes");
    }
    db.flush().expect("flushes");
    db.wait_idle().expect("idle");
}

/// Rows in runs, tombstones included.
fn entries(db: &Db) -> u64 {
    let stats = db.stats();
    stats.tables[0].levels.iter().map(|level| level.entries).sum()
}

#[test]
fn scans_over_tombstones_have_them_removed() {
    let settings = Settings::from_toml("compaction.delete_triggered = false").expect("valid");
    let opened = open_with(settings);
    delete_most(&opened);
    let (db, table) = opened;
    assert_eq!(entries(&db), 4000 + 3990);
    scan_until(&db, &table, 10, |db| entries(db) == 10);
}

#[test]
fn tombstones_of_most_rows_have_them_removed() {
    let opened = open();
    delete_most(&opened);
    let (db, table) = opened;
    assert_eq!(entries(&db), 10, "{}", db.stats());
    assert_eq!(table.scan(..).expect("opens").count(), 10);
}
