//! The log of the Delta table, as it lies.

use std::path::Path;

use arrow::datatypes::DataType;
use kodiak::core::storage::Storage;
use serde_json::Value;

use super::{History, settings};

/// The actions of a version.
fn version(storage: &dyn Storage, dir: &Path, version: u64) -> Vec<Value> {
    let path = dir.join(format!("_delta_log/{version:020}.json"));
    let file = storage.open(&path).expect("a version");
    let bytes = file.read(0, file.len() as usize).expect("read");
    let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect()
}

/// What they are called.
fn names(actions: &[Value]) -> Vec<&str> {
    let name = |action: &'_ Value| -> String {
        action
            .as_object()
            .expect("an action")
            .keys()
            .next()
            .expect("one")
            .clone()
    };
    let known = ["commitInfo", "protocol", "metaData", "remove", "add"];
    let place = |action: &Value| known.iter().position(|known| *known == name(action));
    actions
        .iter()
        .map(|action| known[place(action).expect("a known one")])
        .collect()
}

#[test]
fn the_delta_log_tells_what_has_changed() {
    let mut history = History::new(settings("parquet"), 0, 2);
    let rows = history.rows(false);
    history.table.insert(&rows).expect("insert");
    history.publish();
    let widened = history.table.alter().widen_column("number", DataType::Int64);
    widened.commit().expect("alter");
    history.publish();
    history.table.delete_keys(&rows.slice(0, 1)).expect("delete");
    let dir = history.publish().dir;
    let log = |number| version(&*history.storage, &dir, number);
    assert_eq!(names(&log(0)), ["commitInfo", "protocol", "metaData", "add"]);
    assert_eq!(names(&log(1)), ["commitInfo", "protocol", "metaData", "remove", "add"]);
    let schema = log(1)[2]["metaData"]["schemaString"].as_str().expect("text").to_owned();
    assert!(
        schema.contains(r#""name":"number","nullable":true,"type":"long""#),
        "{schema}"
    );
    // The file whose row was deleted is removed without its vector and added with it; the deletion has a file of its own.
    let deleted = ["commitInfo", "protocol", "metaData", "remove", "add", "add"];
    assert_eq!(names(&log(2)), deleted);
    let log = log(2);
    let vectors = log.iter().filter(|line| !line["add"]["deletionVector"].is_null());
    assert_eq!(vectors.count(), 2);
}

#[test]
fn the_delta_log_asks_for_deletion_vectors_only_while_a_file_has_one() {
    let mut history = History::new(settings("parquet"), 0, 2);
    let rows = history.rows(false);
    history.table.insert(&rows).expect("insert");
    history.publish();
    history.table.delete_keys(&rows.slice(0, 1)).expect("delete");
    history.publish();
    history.table.delete_keys(&rows.slice(1, 1)).expect("delete");
    history.publish();
    history.db.compact().expect("compact");
    let dir = history.publish().dir;
    history.publish();
    let log = |number| version(&*history.storage, &dir, number);
    let asked = |number| {
        let log = log(number);
        let find = |kind: &str| log.iter().find_map(|action| action.get(kind).cloned());
        let (protocol, metadata) = (find("protocol"), find("metaData"));
        assert_eq!(protocol.is_some(), metadata.is_some());
        protocol.map(|protocol| {
            let property = metadata.expect("both")["configuration"]["delta.enableDeletionVectors"].clone();
            let vectors = protocol["readerFeatures"] == serde_json::json!(["deletionVectors"]);
            assert_eq!(vectors, property == "true");
            assert_eq!(protocol["minReaderVersion"], if vectors { 3 } else { 1 });
            vectors
        })
    };
    let all: Vec<Option<bool>> = (0..5).map(asked).collect();
    assert_eq!(all, [Some(false), Some(true), None, Some(false), None]);
    // Who reads on from there meets no trace of vectors.
    let checkpoint = dir.join(format!("_delta_log/{:020}.checkpoint.parquet", 3));
    let found = history.storage.len(&checkpoint).expect("told");
    assert!(found.is_some(), "it has no checkpoint");
    // Where they are needed again, it asks again.
    history.table.insert(&rows).expect("insert");
    history.publish();
    assert_eq!(asked(5), Some(true));
}
