//! Openings of databases whose rows expire: the manifest says when rows were written.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kodiak::core::options::OptionValue;
use kodiak::core::storage::Storage;
use kodiak::manifest::Manifest;
use kodiak::{Builder, Db, TableOptions, TableSchema};
use kodiak_storage::{FaultStorage, Moment, OpKind};

use crate::common::small;

const DIR: &str = "/db";
/// When the first row is written, and how long rows live; microseconds.
const BEGIN: u64 = 1_700_000_000_000_000;
const TTL: u64 = 2_000_000_000;
/// From one row to the next.
const STEP: u64 = 2_000_000;

fn builder(storage: &Arc<FaultStorage>) -> Builder {
    let mut settings = small();
    "bplus".clone_into(&mut settings.index.catalogue);
    settings.index.catalogue_changes = 1;
    // Runs stay where they are.
    (settings.backpressure.l0_slowdown, settings.backpressure.l0_stop) = (100_000, 100_000);
    let trigger = OptionValue::Int(1000);
    settings.compaction.options.insert("l0_trigger".to_owned(), trigger);
    Builder::new(settings).storage(Arc::clone(storage) as Arc<dyn Storage>)
}

/// A closed database of so many runs, each of a row.
fn filled(runs: u64) -> Arc<FaultStorage> {
    let storage = Arc::new(FaultStorage::with_seed(1));
    storage.freeze_clock(BEGIN);
    let db = builder(&storage).open(DIR).expect("open");
    let options = TableOptions::new().ttl(Duration::from_micros(TTL));
    let table = db
        .create_table_with("t", TableSchema::key_value(), options)
        .expect("create");
    for number in 0..runs {
        storage.freeze_clock(BEGIN + number * STEP);
        table.put(number.to_be_bytes(), b"v").expect("put");
        db.flush().expect("flush");
    }
    drop(table);
    db.close().expect("close");
    storage
}

/// Opens a database; how many operations on files of runs that took, and how many bytes were read.
fn opened(storage: &Arc<FaultStorage>) -> (Db, u64, u64) {
    let counts = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let (seen, own) = (Arc::clone(&counts), std::thread::current().id());
    storage.on_op(Some(Arc::new(move |event| {
        if event.moment == Moment::Before && std::thread::current().id() == own {
            let ending = event.path.extension().and_then(|ending| ending.to_str());
            let of_run = matches!(ending, Some("meta" | "feather"));
            seen.0.fetch_add(u64::from(of_run), Ordering::Relaxed);
            let bytes = if event.kind == OpKind::Read { event.len } else { 0 };
            seen.1.fetch_add(bytes, Ordering::Relaxed);
        }
    })));
    let db = builder(storage).open(DIR).expect("open");
    storage.on_op(None);
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    (db, count(&counts.0), count(&counts.1))
}

/// The rows are there that have not expired, at several times.
fn check(storage: &FaultStorage, db: &Db, rows: u64) {
    let table = db.table("t").expect("table");
    for gone in [0, 1, rows / 2, rows - 1, rows] {
        // Just before a row expires, and when it has.
        let expires = BEGIN + TTL + gone * STEP;
        for (now, gone) in [(expires - 1, gone), (expires, (gone + 1).min(rows))] {
            storage.freeze_clock(now);
            let found = table.scan(..).expect("scan").count() as u64;
            assert_eq!(found, rows - gone, "{gone} of {rows}");
        }
    }
    storage.freeze_clock(BEGIN + rows * STEP);
}

#[test]
fn an_opening_reads_no_file_of_a_run_and_rows_expire_when_they_should() {
    let read: Vec<u64> = [90, 900]
        .map(|runs| {
            let storage = filled(runs);
            let (db, of_runs, bytes) = opened(&storage);
            assert_eq!(of_runs, 0, "with {runs} runs");
            check(&storage, &db, runs);
            db.close().expect("close");
            bytes
        })
        .to_vec();
    // A few bytes for each run, in the manifest.
    assert!(read[1] < read[0] + 8 * 900, "{read:?} bytes");
}

#[test]
fn what_an_older_manifest_does_not_say_is_read_from_the_runs_once() {
    let storage = filled(20);
    let dir = Path::new(DIR);
    let mut state = Manifest::read(&*storage, dir).expect("read").whole().expect("whole");
    state.catalogue = None;
    for table in state.tables.values_mut() {
        assert_eq!(table.times.as_ref().map(|times| times.len()), Some(20));
        Arc::make_mut(table).times = None;
    }
    for name in storage.list(dir).expect("list") {
        if name.starts_with("MANIFEST") || name.starts_with("CATALOGUE") || name == "CURRENT" {
            storage.remove(&dir.join(name)).expect("remove");
        }
    }
    let shared = Arc::clone(&storage) as Arc<dyn Storage>;
    drop(Manifest::create(shared, dir, state).expect("create"));
    let (db, of_runs, _) = opened(&storage);
    assert!(of_runs >= 20, "{of_runs}");
    // Not yet with a clock by which runs expire: they would be dropped in the background.
    assert_eq!(db.table("t").expect("table").scan(..).expect("scan").count(), 20);
    db.close().expect("close");
    // The first opening made the catalogue.
    let (db, of_runs, _) = opened(&storage);
    assert_eq!(of_runs, 0);
    check(&storage, &db, 20);
}

#[test]
fn times_of_rows_that_have_long_expired_go() {
    let storage = filled(1);
    let (db, ..) = opened(&storage);
    let table = db.table("t").expect("table");
    for number in 0..5000u64 {
        storage.freeze_clock(BEGIN + number * STEP);
        table.put([number as u8 % 2], number.to_be_bytes()).expect("put");
        if number % 2 == 1 {
            db.flush().expect("flush");
        }
    }
    drop(table);
    db.close().expect("close");
    let state = Manifest::read(&*storage, Path::new(DIR)).expect("read");
    let times = state.tables.values().filter_map(|table| table.times.as_ref());
    let most = times.map(|times| times.len()).max();
    assert!(most.is_some_and(|most| most <= 4100), "{most:?}");
}
