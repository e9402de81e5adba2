//! Markers in the directories of tables: where they say that the data files are exact, these are the table, at any moment.

use kodiak::publish::EXACT_FILE;
use kodiak_storage::{CrashOptions, OpKind};

use super::*;

fn dir() -> PathBuf {
    PathBuf::from("/db/tables/000001")
}

pub fn marker(storage: &dyn Storage) -> Option<Value> {
    let file = storage.open(&dir().join(EXACT_FILE)).ok()?;
    let bytes = file.read(0, file.len() as usize).expect("read");
    Some(serde_json::from_slice(&bytes).expect("JSON"))
}

pub fn reasons(storage: &dyn Storage) -> Vec<String> {
    texts(&marker(storage).expect("a marker")["why_not_exact"])
}

/// The rows of all data files, if they are said to be the table.
pub fn read_if_exact(storage: &dyn Storage) -> Option<BTreeMap<String, usize>> {
    let marker = marker(storage)?;
    assert_eq!(
        marker["exact"],
        marker["why_not_exact"].as_array().expect("a list").is_empty()
    );
    if marker["exact"] == false {
        return None;
    }
    let (columns, mut rows, mut count) = (texts(&marker["columns"]), BTreeMap::new(), 0);
    for name in storage.list(&dir()).expect("list") {
        if [".parquet", ".feather", ".orc"].iter().any(|end| name.ends_with(end)) {
            add(&mut rows, &read_file(storage, &dir().join(name), &columns));
            count += 1;
        }
    }
    assert_eq!(marker["files"]["count"], count);
    Some(rows)
}

/// Checks the marker that a closed or crashed database has, opens it, and tells whether it said exact.
fn check(storage: &Arc<FaultStorage>, settings: &Settings, what: &str) -> (Db, Option<Table>, bool) {
    let raw = read_if_exact(&**storage);
    let (db, table) = open(storage, settings);
    if let (Some(raw), Some(table)) = (&raw, &table) {
        assert_eq!(raw, &read_table(table), "{what}");
    }
    (db, table, raw.is_some())
}

impl History {
    /// Some changes, each followed by a look at the marker; returns how often it said exact.
    fn watch(mut self, rounds: usize) -> usize {
        let mut exact = 0;
        for round in 0..rounds {
            let choice = self.rng.random_range(0..14);
            match choice {
                0..=3 => self.write(),
                4 => self.db.flush().expect("flush"),
                5 => self.alter(round),
                6 if self.kind != 3 => {
                    let rows = self.rows(false);
                    self.table.bulk_insert([Ok(rows)]).expect("rows");
                }
                7 => self.storage.jump_clock(2_000_000),
                8 => {
                    drop((self.table, self.db));
                    let (db, table, was) = check(&self.storage, &self.settings, "closed");
                    (self.db, self.table) = (db, table.expect("table"));
                    exact += usize::from(was);
                }
                9 => {
                    let snapshot = self.db.snapshot();
                    self.write();
                    self.db.compact().expect("compact");
                    drop(snapshot);
                }
                10 => {
                    let why = self.table.mark_exact().expect("looked");
                    assert_eq!(read_if_exact(&*self.storage).is_some(), why.is_empty(), "{why:?}");
                }
                11 => {
                    self.table.publish().expect("published");
                }
                _ => self.db.compact().expect("compact"),
            }
            if let Some(raw) = read_if_exact(&*self.storage) {
                exact += 1;
                assert_eq!(raw, read_table(&self.table), "after {choice} in round {round}");
            }
            let report = self.db.verify().expect("verified");
            assert!(report.is_clean(), "{report:?}");
        }
        exact
    }
}

#[test]
fn files_that_are_said_to_be_exact_are_the_table_and_else_there_are_reasons() {
    for (number, format) in ["parquet", "feather", "orc"].into_iter().enumerate() {
        for kind in 0..4 {
            let mut exact = 0;
            for seed in 0..3 {
                exact += History::new(settings(format), kind, seed * 100 + (10 * number + kind) as u64).watch(40);
            }
            // What may expire never is.
            assert_eq!(exact > 5, kind != 2, "{format} kind {kind}: {exact} times");
        }
    }
}

#[test]
fn what_makes_files_inexact_is_told() {
    let mut history = History::new(settings("parquet"), 1, 1);
    let (db, table, storage) = (history.db.clone(), history.table.clone(), Arc::clone(&history.storage));
    let told = |what: &str| {
        db.compact().expect("compact");
        let why = reasons(&*storage);
        assert!(why.iter().any(|why| why.contains(what)), "{what}: {why:?}");
    };
    assert!(reasons(&*storage)[0].contains("nobody has looked"));
    let (rows, nulls) = (history.rows(false), history.rows(true));
    table.insert(&rows).expect("insert");
    db.compact().expect("compact");
    assert_eq!(read_if_exact(&*storage), Some(read_table(&table)));
    let snapshot = db.snapshot();
    table.insert(&rows.slice(0, 1)).expect("insert");
    assert!(reasons(&*storage)[0].contains("nobody has looked"));
    told("several versions of a key");
    table.delete_keys(&rows.slice(0, 1)).expect("delete");
    told("1 rows are deletes");
    drop(snapshot);
    table.update(&nulls.slice(0, 1)).expect("update");
    let snapshot = db.snapshot();
    table.update(&nulls.slice(0, 1)).expect("update");
    told("partial updates");
    drop(snapshot);
    table
        .alter()
        .add_column(Field::new("more", DataType::Int32, true))
        .commit()
        .expect("altered");
    db.compact().expect("compact");
    assert_eq!(read_if_exact(&*storage), Some(read_table(&table)));
    // Somebody's own file in the directory.
    drop(
        storage
            .create(&dir().join("mine.parquet"))
            .expect("a file")
            .finish(true),
    );
    table.insert(&history.rows(false)).expect("insert");
    told("somebody's own");
    storage.remove(&dir().join("mine.parquet")).expect("removed");
    // What is left in the log is told at the end.
    let rows = history.rows(false);
    table.insert(&rows).expect("insert");
    let settings = history.settings.clone();
    drop((history, table, db));
    assert!(reasons(&*storage)[0].contains("in the log only"));
    // And what a session makes of it that writes nothing.
    let (db, table) = open(&storage, &settings);
    let rows_before = read_table(&table.expect("table"));
    db.flush().expect("flush");
    drop(db);
    assert!(!reasons(&*storage).iter().any(|why| why.contains("in the log only")));
    let (db, table) = open(&storage, &settings);
    let table = table.expect("table");
    db.compact().expect("compact");
    assert_eq!(read_if_exact(&*storage), Some(rows_before));
    table.delete_keys(&rows.slice(0, 1)).expect("delete");
    db.flush().expect("flush");
    drop((table, db));
    assert!(reasons(&*storage)[0].contains("deletes"));
}

#[test]
fn whoever_looks_waits_for_what_is_about_to_end() {
    let mut history = History::new(settings("parquet"), 0, 5);
    let (rows, more) = (history.rows(false), history.rows(false));
    history.table.insert(&rows).expect("insert");
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (end, may_end) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let table = history.table.clone();
        let ingestion = scope.spawn(move || {
            // An ingestion that fails in its second batch.
            let batches = (0..2).map(|number| match number {
                0 => Ok(more.slice(0, 1)),
                _ => {
                    begun.send(()).expect("somebody waits");
                    may_end.recv().expect("somebody sends");
                    Err(kodiak::Error::invalid_input("no more"))
                }
            });
            table.ingest_batches(batches)
        });
        has_begun.recv().expect("the ingestion begins");
        let db = history.db.clone();
        let compaction = scope.spawn(move || db.compact());
        std::thread::sleep(std::time::Duration::from_millis(20));
        end.send(()).expect("the ingestion waits");
        assert!(ingestion.join().expect("no panic").is_err());
        compaction.join().expect("no panic").expect("compact");
    });
    assert_eq!(read_if_exact(&*history.storage), Some(read_table(&history.table)));
}

#[test]
fn reasons_that_pass_do_not_stay() {
    // Rows in the log of a database that was not closed, whose marker has an older reason.
    let mut history = History::new(settings("parquet"), 0, 5);
    let (storage, options) = (Arc::clone(&history.storage), history.settings.clone());
    let rows = history.rows(false);
    history.table.insert(&rows).expect("insert");
    let snapshot = history.db.snapshot();
    history.table.insert(&rows).expect("insert");
    history.db.compact().expect("compact");
    assert!(reasons(&*storage)[0].contains("several versions"));
    drop(snapshot);
    let more = history.rows(false);
    history.table.insert(&more).expect("insert");
    let (killed, expected) = (Arc::new(storage.kill_image()), read_table(&history.table));
    // The opening flushes them, and the session does nothing else.
    let (db, table) = open(&killed, &options);
    assert_eq!(read_table(&table.expect("table")), expected);
    drop(db);
    let why = reasons(&*killed);
    assert!(!why.iter().any(|why| why.contains("several versions")), "{why:?}");
    // Files that a reader still needed.
    let reading = history.table.read().batches().expect("a read");
    history.db.compact().expect("compact");
    let why = reasons(&*storage);
    assert!(why[0].contains("not the table's any more"), "{why:?}");
    drop(reading);
    let expected = read_table(&history.table);
    drop(history);
    assert_eq!(read_if_exact(&*storage), Some(expected));
}

#[test]
fn a_crash_at_any_moment_leaves_no_marker_that_says_exact_of_files_that_are_not() {
    let (mut points, mut exact) = (0, 0);
    for kind in [0, 3] {
        for point in 1.. {
            let history = History::new(settings("parquet"), kind, 11);
            let (storage, settings) = (Arc::clone(&history.storage), history.settings.clone());
            let options = CrashOptions::new([0, 50, 100][point as usize % 3], Default::default(), point);
            let moment = [Moment::Before, Moment::After][point as usize % 2];
            storage.crash_at(storage.mutations() + 7 * point, moment, options);
            history.watch(14);
            let Some(left) = storage.take_crash_image() else { break };
            let (_db, _, was) = check(&Arc::new(left), &settings, &format!("kind {kind}, point {point}"));
            points += 1;
            exact += usize::from(was);
        }
    }
    assert!(points > 40 && exact > 0, "{exact} of {points}");
}

#[test]
fn a_marker_is_written_when_what_it_says_changes_and_at_no_other_write() {
    let mut history = History::new(settings("feather"), 0, 5);
    let renamed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&renamed);
    history.storage.on_op(Some(Arc::new(move |event: &OpEvent| {
        let own = event.moment == Moment::Before && event.kind == OpKind::Rename;
        if own && event.path.to_string_lossy().contains(EXACT_FILE) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    })));
    for _ in 0..5 {
        history.write();
        history.db.flush().expect("flush");
    }
    assert_eq!(renamed.load(Ordering::Relaxed), 0, "nobody has looked");
    history.db.compact().expect("compact");
    assert_eq!(renamed.load(Ordering::Relaxed), 1);
    history.db.compact().expect("compact");
    assert_eq!(renamed.load(Ordering::Relaxed), 1, "nothing has changed");
    for _ in 0..5 {
        history.write();
    }
    assert_eq!(renamed.load(Ordering::Relaxed), 2, "taken back once");
    history.storage.on_op(None);
}

#[test]
fn checkpoints_begin_with_a_marker_of_their_own_and_readers_leave_it() {
    let mut history = History::new(settings("parquet"), 0, 5);
    let rows = history.rows(false);
    history.table.insert(&rows).expect("insert");
    history.db.checkpoint("/copy").expect("a checkpoint");
    let path = PathBuf::from("/copy/tables/000001").join(EXACT_FILE);
    let text = |storage: &dyn Storage| {
        let file = storage.open(&path).expect("a marker");
        file.read(0, file.len() as usize).expect("read").to_vec()
    };
    let first = text(&*history.storage);
    assert!(String::from_utf8_lossy(&first).contains("nobody has looked"));
    let builder = || Builder::new(history.settings.clone()).storage(history.storage.clone());
    drop(builder().read_only().open("/copy").expect("open"));
    assert_eq!(text(&*history.storage), first);
    drop(builder().open("/copy").expect("open"));
    assert!(String::from_utf8_lossy(&text(&*history.storage)).contains("\"exact\": true"));
}

#[test]
fn verification_finds_markers_that_say_exact_of_files_that_are_not() {
    let mut history = History::new(settings("parquet"), 0, 5);
    let rows = history.rows(false);
    history.table.insert(&rows).expect("insert");
    history.db.compact().expect("compact");
    let (storage, settings) = (Arc::clone(&history.storage), history.settings.clone());
    let path = dir().join(EXACT_FILE);
    let saved = {
        let file = storage.open(&path).expect("a marker");
        file.read(0, file.len() as usize).expect("read").to_vec()
    };
    let put_back = |bytes: &[u8]| {
        storage.remove(&path).expect("remove");
        let mut file = storage.create(&path).expect("create");
        std::io::Write::write_all(&mut file, bytes).expect("write");
        file.finish(true).expect("sync");
    };
    let problems = || {
        let report = Builder::new(settings.clone()).storage(storage.clone()).verify("/db");
        report.expect("verified").problems
    };
    history.table.insert(&rows.slice(0, 1)).expect("insert");
    put_back(&saved);
    let report = history.db.verify().expect("verified");
    assert!(report.problems[0].message().contains("has changed since"), "{report:?}");
    drop(history);
    put_back(&saved);
    assert!(problems()[0].message().contains("in the log only"), "{:?}", problems());
    // An opening for writing does not go by it.
    let (db, table) = open(&storage, &settings);
    assert_eq!(read_if_exact(&*storage), None);
    table.expect("table").flush().expect("flush");
    drop(db);
    put_back(&saved);
    assert!(problems()[0].message().contains("overlap"), "{:?}", problems());
    put_back(b"{");
    assert_eq!(problems().len(), 1);
    let (db, _) = open(&storage, &settings);
    drop(db);
    assert!(problems().is_empty());
}
