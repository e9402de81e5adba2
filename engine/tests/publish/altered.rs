//! Altered tables are published without rewriting, where readers find the table in the files as they lie.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::Int32Array;
use arrow::datatypes::{DataType, Field};
use kodiak::Alteration;
use kodiak::publish::{Published, RECORD_FILE};
use serde_json::Value;

use super::{History, settings};
use kodiak::core::storage::Storage;

/// The names of the data files of a publication, and the columns that one of them lacks.
fn files(history: &History, published: &Published) -> (BTreeSet<String>, BTreeSet<String>) {
    let file = history
        .storage
        .open(&published.dir.join(RECORD_FILE))
        .expect("a record");
    let bytes = file.read(0, file.len() as usize).expect("read");
    let record: Value = serde_json::from_slice(&bytes).expect("JSON");
    let (mut names, mut lacked) = (BTreeSet::new(), BTreeSet::new());
    for file in super::listed(&*history.storage, &published.dir, &record) {
        names.insert(file["file"].as_str().expect("text").to_owned());
        lacked.extend(super::texts(&file["lacks"]));
    }
    assert_eq!(record["exact"] == true, published.why_not_exact.is_empty());
    (names, lacked)
}

type Alter = fn(Alteration<'_>) -> Alteration<'_>;

#[test]
fn files_are_rewritten_only_after_alterations_that_their_readers_would_not_see() {
    let int = |name: &str| Field::new(name, DataType::Int32, true);
    // And the columns that files lack afterwards; `None` if they are rewritten, where there can be a Delta table.
    let cases: [(Alter, Option<&[&str]>); 9] = [
        (
            |table| table.add_column(Field::new("new", DataType::Int32, true)),
            Some(&["new"]),
        ),
        (|table| table.order_columns(["number", "text", "id"]), Some(&[])),
        (|table| table.drop_column("text"), Some(&[])),
        (|table| table.allow_null("number"), Some(&[])),
        (
            |table| {
                table
                    .drop_column("text")
                    .add_column(Field::new("other", DataType::Utf8, true))
            },
            Some(&["other"]),
        ),
        (|table| table.rename_column("text", "words"), None),
        (|table| table.widen_column("number", DataType::Int64), None),
        (
            |table| {
                let initial = Arc::new(Int32Array::from(vec![7]));
                table.add_column_with(Field::new("new", DataType::Int32, true), initial)
            },
            None,
        ),
        (
            |table| {
                table
                    .drop_column("text")
                    .add_column(Field::new("text", DataType::Utf8, true))
            },
            None,
        ),
    ];
    for format in ["parquet", "feather", "orc"] {
        for (number, (alter, lacked)) in cases.iter().enumerate() {
            let mut history = History::new(settings(format), 0, number as u64);
            for _ in 0..3 {
                let rows = history.rows(false);
                history.table.insert(&rows).expect("insert");
                history.db.flush().expect("flush");
            }
            history.db.wait_idle().expect("idle");
            let (before, _) = files(&history, &history.publish());
            alter(history.table.alter()).commit().expect("alter");
            let published = history.publish();
            let (after, found) = files(&history, &published);
            let case = format!("{format}, case {number}");
            assert_eq!(before == after, lacked.is_some() || format != "parquet", "{case}");
            if let Some(lacked) = lacked {
                let lacked = lacked.iter().map(|name| (*name).to_owned()).collect();
                assert_eq!(found, lacked, "{case}");
            }
            if format == "parquet" {
                assert_eq!(published.why_no_delta, None, "{case}");
            }
            // Rows of both schemas, and then of the newest one.
            let rows = history.rows(false);
            history.table.insert(&rows).expect("insert");
            history.publish();
            history.table.alter().add_column(int("last")).commit().expect("alter");
            history.publish();
            history.db.compact().expect("compact");
            assert_eq!(files(&history, &history.publish()).1, BTreeSet::new(), "{case}");
        }
    }
}

#[test]
fn without_delta_tables_or_with_those_that_cost_nothing_no_file_is_rewritten() {
    for (choice, word) in [("auto", "publish.delta to \"always\""), ("never", "is \"never\"")] {
        let mut settings = settings("parquet");
        settings.set("publish.delta", choice).expect("a setting");
        let mut history = History::new(settings, 0, 3);
        let rows = history.rows(false);
        history.table.insert(&rows).expect("insert");
        let first = history.publish();
        assert_eq!(first.why_no_delta.is_none(), choice == "auto");
        let (before, _) = files(&history, &first);
        let alter = history.table.alter().rename_column("text", "words");
        alter.widen_column("number", DataType::Int64).commit().expect("alter");
        let published = history.publish();
        assert_eq!(files(&history, &published).0, before, "{choice}");
        let why = published.why_no_delta.expect("a reason");
        assert!(why.contains(word), "{why}");
        let log = published.dir.join("_delta_log");
        assert!(history.storage.list(&log).is_err(), "{choice}: the log is gone");
        // Once nothing speaks against it any more.
        let rows = history.rows(false);
        history.table.insert(&rows).expect("insert");
        history.db.compact().expect("compact");
        assert_eq!(history.publish().why_no_delta.is_none(), choice == "auto");
    }
}
