//! With `publish.continuous`, what is published is what the runs hold, whatever happens meanwhile.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use kodiak::core::storage::Storage;
use kodiak::publish::{PUBLISHED_DIR, PublicationStats, RECORD_FILE};
use kodiak::{Builder, ErrorKind, Settings, TableOptions, TableSchema};
use kodiak_storage::{CrashOptions, Fault, FaultRule, Moment, OpEvent, OpKind};
use rand::RngExt;

use super::{History, listed, open, read_published, read_table, settings};

pub fn continuous(format: &str) -> Settings {
    let mut settings = settings(format);
    settings.publish.continuous = true;
    settings
}

pub fn dir() -> PathBuf {
    PathBuf::from("/db").join(PUBLISHED_DIR).join("000001")
}

impl History {
    pub fn insert(&mut self) {
        let rows = self.rows(false);
        self.table.insert(&rows).expect("insert");
    }

    pub fn stats(&self) -> PublicationStats {
        self.db.stats().tables[0]
            .publication
            .clone()
            .expect("in the background")
    }

    /// Waits for the background, and finds in the publication what the table had when it was last flushed.
    pub fn check(&self, expected: &BTreeMap<String, usize>) {
        self.db.wait_idle().expect("idle");
        // A compaction may begin just after, and has to be published again.
        let mut stats = self.stats();
        for _ in 0..200 {
            if !stats.due {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            self.db.wait_idle().expect("idle");
            stats = self.stats();
        }
        assert_eq!(&read_published(&*self.storage, &dir()), expected);
        assert!(!stats.due && stats.failure.is_none(), "{stats:?}");
    }

    fn reopen(self, settings: Settings) -> Self {
        let Self {
            storage,
            db,
            table,
            kind,
            rng,
            ..
        } = self;
        drop((table, db));
        let (db, table) = open(&storage, &settings);
        Self {
            table: table.expect("table"),
            storage,
            settings,
            db,
            kind,
            rng,
        }
    }
}

#[test]
fn after_flushes_and_compactions_the_publication_is_the_table() {
    for (number, format) in ["parquet", "feather", "orc"].into_iter().enumerate() {
        for kind in 0..3 {
            let mut history = History::new(continuous(format), kind, 40 + (number * 3 + kind) as u64);
            let mut altered = false;
            for round in 0..25 {
                for _ in 0..history.rng.random_range(0..4) {
                    history.write();
                }
                match history.rng.random_range(0..8) {
                    0 => history.db.compact().expect("compact"),
                    1 => {
                        history.alter(round);
                        altered = true;
                    }
                    2 => drop(history.table.publish().expect("publish")),
                    3 => {
                        history.db.flush().expect("flush");
                        let settings = history.settings.clone();
                        history = history.reopen(settings);
                    }
                    4 => {
                        history.table.withdraw().expect("withdraw");
                        history.insert();
                    }
                    5 => {
                        history.storage.jump_clock(2_000_000);
                        history.insert();
                    }
                    _ => {}
                }
                history.db.flush().expect("flush");
                let expected = read_table(&history.table);
                // What comes now is in memory only, and not published, whether or not the publication was made before. Only
                // after an alteration it may be flushed for that.
                if !altered {
                    history.write();
                }
                history.check(&expected);
            }
        }
    }
}

#[test]
fn a_table_is_published_from_its_creation_and_when_it_is_altered() {
    let mut history = History::new(continuous("parquet"), 0, 3);
    history.check(&BTreeMap::new());
    history.insert();
    history.db.flush().expect("flush");
    history.check(&read_table(&history.table));
    // With rows in memory, which are of the schema before.
    history.insert();
    history
        .table
        .alter()
        .rename_column("number", "count")
        .commit()
        .expect("alter");
    history.check(&read_table(&history.table));
    history.table.alter().drop_column("text").commit().expect("alter");
    history.check(&read_table(&history.table));
}

#[test]
fn ingested_rows_are_published_and_nothing_is_done_when_nothing_has_changed() {
    let mut history = History::new(continuous("parquet"), 0, 4);
    let rows = history.rows(false);
    let ids = rows.column(0).as_primitive::<Int64Type>();
    let rows = rows.slice(
        ids.values()
            .iter()
            .enumerate()
            .max_by_key(|(_, id)| **id)
            .expect("rows")
            .0,
        1,
    );
    history.table.ingest_batches([Ok(rows)]).expect("ingest");
    let expected = read_table(&history.table);
    assert_eq!(expected.len(), 1);
    history.check(&expected);
    let record = |history: &History| {
        let file = history.storage.open(&dir().join(RECORD_FILE)).expect("a record");
        file.read(0, file.len() as usize).expect("read").to_vec()
    };
    let before = record(&history);
    history.db.flush().expect("flush");
    let settings = history.settings.clone();
    let mut history = history.reopen(settings);
    history.check(&expected);
    assert_eq!(record(&history), before, "opening changes nothing");
    assert_eq!(history.stats().publications, 0);
    history.insert();
    history.db.flush().expect("flush");
    history.check(&read_table(&history.table));
    assert_eq!(history.stats().publications, 1);
}

#[test]
fn files_of_the_last_publication_stay_for_those_who_are_about_to_read_them() {
    let mut history = History::new(continuous("parquet"), 0, 12);
    let mut earlier: Vec<Vec<String>> = Vec::new();
    for round in 0..6 {
        history.insert();
        // Each replaces all files.
        history.db.compact().expect("compact");
        history.db.wait_idle().expect("idle");
        let names = history.storage.list(&dir()).expect("list");
        if let Some(last) = earlier.last() {
            assert!(
                last.iter().all(|name| names.contains(name)),
                "round {round}: {last:?}, {names:?}"
            );
        }
        for gone in earlier.iter().rev().skip(1) {
            assert!(
                gone.iter().all(|name| !names.contains(name)),
                "round {round}: {gone:?}, {names:?}"
            );
        }
        let file = history.storage.open(&dir().join(RECORD_FILE)).expect("a record");
        let bytes = file.read(0, file.len() as usize).expect("read");
        let record: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        let files = listed(&*history.storage, &dir(), &record);
        let names = files.iter().map(|file| file["file"].as_str().expect("text").to_owned());
        earlier.push(names.collect());
    }
}

/// A publication that does not get on until this is dropped.
struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Inserts and flushes rows, and holds the publication that this brings about.
fn hold_publication(history: &mut History) -> Held {
    let (held, met) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (hold, meet) = (Arc::clone(&held), Arc::clone(&met));
    history.storage.on_op(Some(Arc::new(move |event: &OpEvent| {
        let here = event.moment == Moment::Before && event.kind == OpKind::Create && event.path.starts_with(dir());
        while here && hold.load(Ordering::Acquire) {
            meet.store(true, Ordering::Release);
            std::thread::yield_now();
        }
    })));
    let held = Held(held);
    history.insert();
    history.db.flush().expect("flush");
    while !met.load(Ordering::Acquire) {
        std::thread::yield_now();
    }
    held
}

#[test]
fn a_burst_of_changes_waits_for_nothing_and_makes_one_more_publication() {
    let mut history = History::new(continuous("parquet"), 0, 5);
    history.db.wait_idle().expect("idle");
    let before = history.stats().publications;
    let held = hold_publication(&mut history);
    // One is under way, and does not get on.
    for _ in 0..6 {
        history.insert();
        history.db.flush().expect("flush");
    }
    history.db.compact().expect("compact");
    assert!(history.stats().due);
    assert_eq!(history.stats().publications, before);
    drop(held);
    history.check(&read_table(&history.table));
    // Compactions in the background may have come between the two.
    let made = history.stats().publications - before;
    assert!((2..=3).contains(&made), "{made}");
}

/// The sequence number of the publication.
fn published_seq(storage: &dyn Storage) -> u64 {
    let file = storage.open(&dir().join(RECORD_FILE)).expect("a record");
    let bytes = file.read(0, file.len() as usize).expect("read");
    let record: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    record["sequence"].as_u64().expect("a number")
}

#[test]
fn after_a_power_loss_no_write_gets_a_number_that_a_publication_has_named() {
    let mut history = History::new(continuous("parquet"), 0, 11);
    let other = history
        .db
        .create_table("other", TableSchema::key_value())
        .expect("create");
    history.db.wait_idle().expect("idle");
    let held = hold_publication(&mut history);
    // The publication after the one that is held finds nothing of its table in memory, and of the other what will be lost.
    history.insert();
    history.db.flush().expect("flush");
    for number in 0..100 {
        other.put(format!("{number}"), "lost").expect("put");
    }
    drop(held);
    history.check(&read_table(&history.table));
    let (named, before) = (published_seq(&*history.storage), history.db.stats().last_seq);
    let left = Arc::new(history.storage.crash_image(&CrashOptions::SYNCED_ONLY));
    let (db, table) = open(&left, &settings("parquet"));
    let survived = db.stats().last_seq;
    assert!(survived < before, "nothing was lost: {survived} of {before}");
    assert!(named <= survived, "publication {named}, last write {survived}");
    assert_eq!(read_published(&*left, &dir()), read_table(&table.expect("table")));
}

#[test]
fn a_publication_that_names_a_lost_write_is_replaced_by_the_next_opening() {
    let mut history = History::new(continuous("parquet"), 0, 12);
    history.insert();
    history.db.flush().expect("flush");
    history.check(&read_table(&history.table));
    let settings = history.settings.clone();
    let History { storage, db, table, .. } = history;
    drop((db, table));
    // As earlier versions left it.
    let path = dir().join(RECORD_FILE);
    let record = || {
        let file = storage.open(&path).expect("a record");
        let bytes = file.read(0, file.len() as usize).expect("read");
        serde_json::from_slice::<serde_json::Value>(&bytes).expect("JSON")
    };
    let mut changed = record();
    changed["sequence"] = (published_seq(&*storage) + 1000).into();
    storage.remove(&path).expect("remove");
    let mut file = storage.create(&path).expect("create");
    file.write_all(changed.to_string().as_bytes()).expect("write");
    file.finish(true).expect("sync");
    let (db, table) = open(&storage, &settings);
    db.wait_idle().expect("idle");
    assert!(published_seq(&*storage) <= db.stats().last_seq);
    assert_eq!(read_published(&*storage, &dir()), read_table(&table.expect("table")));
}

#[test]
fn an_error_while_publishing_harms_nothing_and_the_next_change_repairs_it() {
    let mut history = History::new(continuous("parquet"), 1, 6);
    let (mut failed, mut told) = (0, 0);
    for nth in (1..60).step_by(2) {
        history.db.wait_idle().expect("idle");
        let fault = if nth % 4 == 1 { Fault::Eio } else { Fault::Enospc };
        history
            .storage
            .set_plan(FaultRule::nth_of_any(nth, fault).on_path("/db/published"));
        history.insert();
        history.write();
        history.db.flush().expect("flushes do not depend on it");
        let idle = history.db.wait_idle();
        if history.storage.faults_fired() > 0 && idle.is_err() {
            // A compaction that ends meanwhile has it tried again.
            let tells = history.db.stats().to_string().contains("the last attempt failed");
            (failed, told) = (failed + 1, told + usize::from(tells));
        }
        history.storage.set_plan(FaultRule::nth_of_any(u64::MAX, Fault::Eio));
        history.insert();
        history.db.flush().expect("flush");
        history.check(&read_table(&history.table));
    }
    assert!(failed > 10 && told > failed / 2, "{failed} failures, {told} told");
}

#[test]
fn a_power_loss_while_it_is_published_leaves_a_sound_publication_and_the_next_opening_completes_it() {
    let mut points = 0;
    for point in 1.. {
        let mut history = History::new(continuous("parquet"), 1, 9);
        for _ in 0..3 {
            history.insert();
            history.write();
        }
        history.db.flush().expect("flush");
        history.check(&read_table(&history.table));
        let before = read_table(&history.table);
        history.insert();
        history.write();
        let after = read_table(&history.table);
        assert_ne!(before, after);
        let options = CrashOptions::new([0, 50][point as usize % 2], Default::default(), point);
        history
            .storage
            .crash_at(history.storage.mutations() + 2 * point, Moment::After, options);
        history.db.flush().expect("flush");
        history.check(&after);
        let Some(left) = history.storage.take_crash_image() else {
            break;
        };
        let left = Arc::new(left);
        points += 1;
        let found = read_published(&*left, &dir());
        assert!(found == before || found == after, "point {point}");
        let (db, table) = open(&left, &history.settings);
        let table = table.expect("table");
        db.flush().expect("flush");
        db.wait_idle().expect("idle");
        assert_eq!(read_published(&*left, &dir()), read_table(&table), "point {point}");
    }
    assert!(points > 10, "{points} points");
}

#[test]
fn closing_publishes_what_is_due_and_switched_off_the_last_publication_stays() {
    let mut history = History::new(continuous("parquet"), 0, 7);
    history.insert();
    history.db.flush().expect("flush");
    let expected = read_table(&history.table);
    let mut history = history.reopen(settings("parquet"));
    assert_eq!(read_published(&*history.storage, &dir()), expected);
    history.insert();
    history.db.compact().expect("compact");
    history.db.wait_idle().expect("idle");
    assert_eq!(history.db.stats().tables[0].publication, None);
    assert_ne!(read_table(&history.table), expected);
    assert_eq!(read_published(&*history.storage, &dir()), expected);
    history.table.withdraw().expect("withdraw");
    assert!(history.storage.list(&dir()).is_err());
    // Switched on again, the opening publishes what is there.
    let history = history.reopen(continuous("parquet"));
    history.check(&read_table(&history.table));
}

#[test]
fn rows_that_expire_leave_the_publication_though_nothing_else_happens() {
    for key_value in [false, true] {
        let mut settings = continuous("parquet");
        settings.publish.key_value = key_value;
        let mut history = History::new(settings, 2, 10);
        if key_value {
            let options = TableOptions::new().ttl(Duration::from_secs(5));
            history.db.drop_table("t").expect("drop");
            let table = history.db.create_table_with("t", TableSchema::key_value(), options);
            history.table = table.expect("create");
            history.kind = 3;
        }
        let dir = PathBuf::from("/db")
            .join(PUBLISHED_DIR)
            .join(format!("{:06}", history.table.id()));
        history.write();
        history.storage.jump_clock(3_000_000);
        history.write();
        history.db.flush().expect("flush");
        history.db.wait_idle().expect("idle");
        let before = read_published(&*history.storage, &dir);
        for seconds in [3_000_000, 3_000_000] {
            history.storage.jump_clock(seconds);
            let expected = read_table(&history.table);
            assert!(expected.len() < before.len());
            // The thread looks every second.
            while read_published(&*history.storage, &dir) != expected {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        assert!(read_table(&history.table).is_empty());
    }
}

#[test]
fn dropped_tables_leave_nothing_behind() {
    let mut history = History::new(continuous("parquet"), 0, 8);
    for _ in 0..20 {
        history.insert();
        history.db.flush().expect("flush");
        history.db.drop_table("t").expect("drop");
        history.db.wait_idle().expect("idle");
        // Not even the directory is there if the first was dropped before it was published.
        match history.storage.list(&PathBuf::from("/db").join(PUBLISHED_DIR)) {
            Ok(left) => assert!(left.is_empty(), "{left:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
        }
        assert_eq!(
            history.table.publish().expect_err("dropped").kind(),
            ErrorKind::NotFound
        );
        let schema = TableSchema::clone(&history.table.schema());
        history.table = history.db.create_table("t", schema).expect("create");
    }
}

#[test]
fn key_value_tables_are_published_if_asked_and_databases_open_for_reading_are_not() {
    let mut history = History::new(continuous("parquet"), 3, 2);
    history.write();
    history.db.flush().expect("flush");
    history.db.wait_idle().expect("idle");
    assert!(history.storage.list(&dir()).is_err());
    assert_eq!(history.db.stats().tables[0].publication, None);
    let mut settings_of_all = continuous("parquet");
    settings_of_all.publish.key_value = true;
    let mut history = history.reopen(settings_of_all);
    history.check(&read_table(&history.table));
    history.write();
    history.db.flush().expect("flush");
    history.check(&read_table(&history.table));
    let mut history = History::new(settings("parquet"), 0, 2);
    history.insert();
    history.db.flush().expect("flush");
    let reader = Builder::new(continuous("parquet"))
        .storage(history.storage.clone())
        .read_only()
        .open("/db")
        .expect("open");
    reader.wait_idle().expect("nothing is due");
    reader.close().expect("close");
    assert!(history.storage.list(&dir()).is_err());
}
