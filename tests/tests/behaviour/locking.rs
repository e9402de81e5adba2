//! One at a time: of all who open a database, one wins, and the others are told `Locked`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Barrier};

use kodiak::core::storage::Storage;
use kodiak::{Builder, Db, ErrorKind, LocalStorage, MemoryStorage, Settings, TableSchema};
use kodiak_core::conformance::extent;
use kodiak_storage::{FaultStorage, Moment};
use parking_lot::Mutex;

fn settings() -> Settings {
    let mut settings = Settings::preset("small-memory").expect("a preset");
    settings.wal.segment_size = 64 << 10;
    settings
}

/// Starts another process that opens the database; what it says about that.
fn other_process(dir: &Path) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hold"))
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the helper starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("it says something");
    (child, line.trim_end().to_owned())
}

fn locked(dir: &Path) {
    let error = Db::open(dir, settings()).expect_err("somebody has it");
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    assert!(error.to_string().contains("LOCK"), "{error} does not name the file");
}

#[test]
fn a_second_handle_in_the_same_process_is_refused_until_the_first_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Db::open(dir.path(), settings()).expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    locked(dir.path());
    locked(&dir.path().join("."));
    let elsewhere = tempfile::tempdir().expect("a directory");
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(dir.path().parent().expect("a parent"), &link).expect("a link");
    locked(&link.join(dir.path().file_name().expect("a name")));
    // A table keeps the database open.
    drop(db);
    locked(dir.path());
    drop(table);
    Db::open(dir.path(), settings())
        .expect("free again")
        .close()
        .expect("close");
    Db::open(dir.path(), settings()).expect("free after a close, too");
}

#[test]
fn another_process_is_refused_and_gets_it_afterwards() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Db::open(dir.path(), settings()).expect("open");
    // Where locks belong to the process, closing any other handle of the file would free them.
    drop(std::fs::File::open(dir.path().join("LOCK")).expect("the lock file"));
    let (mut child, said) = other_process(dir.path());
    assert!(said.starts_with("locked"), "{said}");
    child.wait().expect("it ends");
    db.close().expect("close");
    let (mut child, said) = other_process(dir.path());
    assert_eq!(said, "open");
    locked(dir.path());
    drop(child.stdin.take());
    assert!(child.wait().expect("it ends").success());
    Db::open(dir.path(), settings()).expect("free again");
}

#[test]
fn a_killed_process_frees_the_lock_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    for _ in 0..3 {
        let (mut child, said) = other_process(dir.path());
        assert_eq!(said, "open");
        locked(dir.path());
        child.kill().expect("it can be killed");
        child.wait().expect("it is gone");
        let db = Db::open(dir.path(), settings()).expect("free at once");
        let from = db
            .table("t")
            .expect("table")
            .get(b"from")
            .expect("get")
            .expect("a value");
        assert_eq!(
            &*from,
            child.id().to_string().as_bytes(),
            "what was acknowledged is there"
        );
    }
}

/// A program that was started while the database was open, and goes on, must not hold the lock along with its copy of the handle.
#[test]
fn a_child_process_does_not_keep_the_lock() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Db::open(dir.path(), settings()).expect("open");
    let mut child = Command::new("sleep").arg("60").spawn().expect("it starts");
    locked(dir.path());
    db.close().expect("close");
    let again = Db::open(dir.path(), settings());
    child.kill().expect("ours");
    child.wait().expect("it ends");
    again.expect("free, though the child goes on");
}

/// Several threads try the same at the same moment and hold what they got until all have tried: one must get it.
fn race<T: Send>(rounds: usize, attempt: impl Fn() -> kodiak::Result<T> + Sync) {
    const THREADS: usize = 3;
    for round in 0..rounds {
        let (begin, end) = (Barrier::new(THREADS), Barrier::new(THREADS));
        let outcomes = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    begin.wait();
                    let got = attempt();
                    outcomes
                        .lock()
                        .push(got.as_ref().map(|_| ()).map_err(|error| error.kind()));
                    end.wait();
                });
            }
        });
        let mut outcomes = outcomes.into_inner();
        outcomes.sort_by_key(Result::is_err);
        let expected = [Ok(()), Err(ErrorKind::Locked), Err(ErrorKind::Locked)];
        assert_eq!(outcomes, expected, "round {round}");
    }
}

#[test]
fn of_a_thousand_races_for_the_lock_each_has_one_winner() {
    let dir = tempfile::tempdir().expect("a directory");
    let storage = LocalStorage::new();
    let file = dir.path().join("LOCK");
    race(1000, || storage.lock(&file));
}

/// Whoever looks at a directory while another makes a database there is told that it is locked, not that it is damaged.
#[test]
fn a_database_that_is_being_made_is_not_taken_for_a_damaged_one() {
    let (mut first, mut other) = (0, 0);
    for moment in 1.. {
        let storage = Arc::new(FaultStorage::with_seed(moment));
        let made = Arc::new(Mutex::new(None));
        let (made_in, storage_in) = (Arc::clone(&made), Arc::clone(&storage));
        storage.on_op(Some(Arc::new(move |event| {
            if (event.number, event.moment) == (moment, Moment::Before) {
                let opened = Builder::new(settings()).storage(storage_in.clone()).open("/db");
                *made_in.lock() = Some(opened);
            }
        })));
        let opened = Builder::new(settings()).storage(storage.clone()).open("/db");
        storage.on_op(None);
        match (opened, made.lock().take()) {
            (Ok(_), None) => break,
            (Ok(_), Some(Err(error))) if error.kind() == ErrorKind::Locked => first += 1,
            (Err(error), Some(Ok(_))) if error.kind() == ErrorKind::Locked => other += 1,
            outcomes => panic!("at operation {moment}: {outcomes:?}"),
        }
    }
    assert!(first > 10 && other > 3, "{first} and {other} have won");
}

#[test]
fn of_those_who_race_to_open_a_database_one_wins() {
    let races = extent("KODIAK_LOCK_RACES", [40, 1000, 1000]) as usize;
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    race(races, || Builder::new(settings()).storage(memory.clone()).open("/db"));
    let dir = tempfile::tempdir().expect("a directory");
    // Fewer on a disk, which has to sync several files for each.
    race(races.div_ceil(10), || {
        Builder::new(settings()).open(dir.path().join("db"))
    });
}
