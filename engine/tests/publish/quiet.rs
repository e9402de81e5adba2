//! Markers of databases that stay open.

use kodiak::publish::EXACT_FILE;
use kodiak_storage::{Fault, FaultRule, OpKind};

use super::exact::{marker, read_if_exact, reasons};
use super::proportion::short_rows;
use super::*;

#[test]
fn an_open_database_says_exact_when_it_is_asked_or_published_or_quiet_for_a_second() {
    let history = History::new(settings("parquet"), 0, 5);
    let (db, table, storage) = (&history.db, &history.table, &*history.storage);
    let is_exact = || read_if_exact(storage).is_some_and(|rows| rows == read_table(table));
    let insert = |first: i64| {
        table.insert(&short_rows(&history, first..first + 10)).expect("insert");
        assert_eq!(read_if_exact(storage), None);
    };
    insert(0);
    assert_eq!(table.mark_exact().expect("looked"), [""; 0]);
    assert!(is_exact());
    insert(10);
    table.publish().expect("published");
    assert!(is_exact());
    insert(20);
    db.flush().expect("flush");
    let begun = std::time::Instant::now();
    while !is_exact() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", marker(storage));
        std::thread::sleep(Duration::from_millis(20));
    }
    insert(20);
    let why = table.mark_exact().expect("looked");
    assert!(why[0].contains("overlap"), "{why:?}");
    assert_eq!(reasons(storage), why);
}

#[test]
fn nothing_is_written_before_the_marker_is_taken_back() {
    let mut history = History::new(settings("parquet"), 0, 5);
    let rows = history.rows(false);
    history.table.insert(&rows).expect("insert");
    history.db.compact().expect("compact");
    let before = read_table(&history.table);
    assert!(read_if_exact(&*history.storage).is_some());
    let rule = FaultRule::nth(OpKind::Rename, 1, Fault::Eio)
        .on_path(EXACT_FILE)
        .sticky();
    history.storage.set_plan(rule);
    let rows = history.rows(false);
    history.table.insert(&rows).expect_err("it cannot be taken back");
    assert_eq!(read_table(&history.table), before);
    assert_eq!(read_if_exact(&*history.storage), Some(before));
    history.storage.set_plan(kodiak_storage::FaultPlan::none());
    let rows = history.rows(false);
    history.table.insert(&rows).expect("insert");
    assert_eq!(read_if_exact(&*history.storage), None);
}
