//! Creating and dropping indexes of tables in use, altering, other openings and copies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use arrow::datatypes::{DataType, Field};
use kodiak::core::storage::Storage;
use kodiak::settings::Maintenance;
use kodiak::{Builder, ErrorKind, IndexDefinition, MemoryStorage, TableSchema};
use kodiak_storage::FaultStorage;

use crate::common::table_files;
use crate::support::*;

/// Writers go on while indexes come and go, and readers find what scans find.
#[test]
fn indexes_are_created_and_dropped_while_others_write_and_read() {
    for (kind, maintenance) in KINDS.into_iter().zip(MAINTENANCE) {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, settings(kind, maintenance));
        let table = people(&db, false);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for writer in 0..2i64 {
                let (table, db, done) = (&table, &db, &done);
                scope.spawn(move || {
                    let mut round = 0i64;
                    while !done.load(Ordering::SeqCst) || round < 30 {
                        round += 1;
                        let person = |n: i64| (2 * n + writer, Some(((n + round) % 12) as i32), None, round);
                        let people: Vec<Person> = (0..40).map(|n| person((n * 7 + round) % 150)).collect();
                        table.insert(&batch(&people)).expect("insert");
                        table.delete_keys(&ids(&[2 * (round % 150) + writer])).expect("delete");
                        match round % 20 {
                            4 => db.flush().expect("flush"),
                            9 => db.compact().expect("compact"),
                            _ => {}
                        }
                    }
                });
            }
            for round in 0..6 {
                let before = db.snapshot();
                table.create_index(by_age()).expect("create_index");
                let after = db.snapshot();
                check(&table, &["by_age"], Some(&before));
                check(&table, &["by_age"], Some(&after));
                if round % 2 == 1 {
                    check_sound(&db);
                }
                let reading = table
                    .index("by_age")
                    .expect("index")
                    .at(&after)
                    .batches()
                    .expect("read");
                table.drop_index("by_age").expect("drop_index");
                let expected = rows(table.read().at(&after).batches().expect("scan")).len();
                assert_eq!(rows(reading).len(), expected, "a read that was under way");
            }
            done.store(true, Ordering::SeqCst);
        });
        drop(table);
        db.close().expect("close");
        let files = table_files(&*storage, "/db/tables/000001", ".index");
        assert!(files.is_empty(), "files of dropped indexes are left: {files:?}");
    }
}

#[test]
fn writers_do_not_wait_for_the_file_of_an_index() {
    let storage = Arc::new(FaultStorage::with_seed(1));
    let db = open(&storage, settings("bplus", Maintenance::Lazy));
    let table = people(&db, false);
    table.insert(&batch(&[(1, Some(3), None, 0)])).expect("insert");
    let other = db.create_table("other", TableSchema::key_value()).expect("table");
    let operations = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&operations);
    storage.on_op(Some(Arc::new(move |event| {
        if event.path.to_string_lossy().ends_with(".secondary.index") && event.mutation.is_some() {
            count.fetch_add(1, Ordering::SeqCst);
            let (other, (written, done)) = (other.clone(), channel());
            std::thread::spawn(move || written.send(other.put("key", "value")));
            let waited = done.recv_timeout(Duration::from_secs(10));
            waited.expect("a writer waits").expect("put");
        }
    })));
    table.create_index(by_age()).expect("create_index");
    table.drop_index("by_age").expect("drop_index");
    storage.on_op(None);
    assert!(operations.load(Ordering::SeqCst) > 4);
}

#[test]
fn wrong_definitions_are_refused_naming_what_is_wrong() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, settings("bplus", Maintenance::Lazy));
    let table = people(&db, false);
    let refused = |definition: IndexDefinition| table.create_index(definition).expect_err("refused");
    let error = refused(IndexDefinition::on("x", ["size"]));
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.message().contains("\"size\"") && error.message().contains("id, age, town, note"),
        "{error}"
    );
    assert_eq!(
        refused(IndexDefinition::on("x", ["age", "-age"])).kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        refused(IndexDefinition::on("x", Vec::<String>::new())).kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        refused(IndexDefinition::on("", ["age"])).kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        refused(IndexDefinition::extracted("x", "tag")).kind(),
        ErrorKind::InvalidInput
    );
    table.create_index(by_age()).expect("create_index");
    assert_eq!(refused(by_age()).kind(), ErrorKind::AlreadyExists);
    let error = table.index("by_size").expect_err("none");
    assert!(
        error.kind() == ErrorKind::NotFound && error.message().contains("by_age"),
        "{error}"
    );
    assert_eq!(
        table.drop_index("by_size").expect_err("none").kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn columns_keep_their_index_under_another_name_and_are_neither_dropped_nor_widened() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, settings("fractal", Maintenance::Eager));
    let table = people(&db, false);
    table.create_index(by_age()).expect("create_index");
    table
        .insert(&batch(&[(1, Some(3), None, 0), (2, None, None, 0)]))
        .expect("insert");
    db.flush().expect("flush");
    let before = db.snapshot();
    for alteration in [
        table.alter().drop_column("age"),
        table.alter().widen_column("age", DataType::Int64),
    ] {
        let error = alteration.commit().expect_err("indexed");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(
            error.message().contains("\"age\"") && error.message().contains("\"by_age\""),
            "{error}"
        );
    }
    table
        .alter()
        .rename_column("age", "years")
        .drop_column("note")
        .add_column(Field::new("email", DataType::Utf8, true))
        .commit()
        .expect("alter");
    assert_eq!(table.indexes()[0].describe(&table.schema()), "years");
    let years = arrow::array::RecordBatch::try_from_iter([("years", Arc::clone(age(Some(3)).column(0)))]);
    let years = years.expect("batch");
    let found = |read: kodiak::IndexRead<'_>| read.keys().expect("keys").count();
    assert_eq!(found(table.index("by_age").expect("index").prefix(&years)), 1);
    // A snapshot reads by the names of its moment.
    assert_eq!(
        found(table.index("by_age").expect("index").prefix(&age(Some(3))).at(&before)),
        1
    );
    check(&table, &["by_age"], Some(&before));
    db.flush().expect("flush");
    db.compact().expect("compact");
    assert_eq!(found(table.index("by_age").expect("index").prefix(&years)), 1);
    check_sound(&db);
    table.drop_index("by_age").expect("drop");
    table
        .alter()
        .widen_column("years", DataType::Int64)
        .commit()
        .expect("no index is by it");
    table
        .create_index(IndexDefinition::on("by_age", ["years"]))
        .expect("create_index");
    let read = table.index("by_age").expect("index").at(&before).keys();
    assert_eq!(
        read.map(drop).expect_err("another type").kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(found(table.index("by_age").expect("index")), 2);
}

#[test]
fn long_values_are_found_and_too_long_keys_refused() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, settings("fractal", Maintenance::Lazy));
    let table = db.create_table("texts", TableSchema::key_value()).expect("table");
    table
        .create_index(IndexDefinition::on("by_value", ["value"]))
        .expect("create_index");
    let long = |letter: &str, len: usize| letter.repeat(len);
    table.put("a", long("m", 20_000)).expect("put");
    table.put("b", "k").expect("put");
    table.put("c", "z").expect("put");
    let order = || {
        let keys = table.index("by_value").expect("index").keys().expect("keys");
        keys.map(|key| key.expect("key").escape_ascii().to_string())
            .collect::<String>()
    };
    assert_eq!(order(), "bac");
    db.flush().expect("flush");
    assert_eq!(order(), "bac");
    table.put("a", "x").expect("put");
    table.put("c", long("a", 30_000)).expect("put");
    assert_eq!(order(), "cba");
    db.compact().expect("compact");
    assert_eq!(order(), "cba");
    let error = table.put(long("k", 16 << 10), "v").expect_err("too long");
    assert!(
        error.kind() == ErrorKind::InvalidInput && error.message().contains("by_value"),
        "{error}"
    );
    check_sound(&db);
}

#[test]
fn copies_of_another_kind_build_their_indexes_and_read_only_openings_need_the_file() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, settings("bplus", Maintenance::Lazy));
    let table = people(&db, false);
    table.create_index(by_age().unique()).expect("create_index");
    table
        .insert(&batch(&[(1, Some(3), None, 0), (2, Some(4), None, 0)]))
        .expect("insert");
    db.checkpoint("/copy").expect("checkpoint");
    table.insert(&batch(&[(3, Some(5), None, 0)])).expect("insert");
    db.close().expect("close");
    let builder =
        || Builder::new(settings("fractal", Maintenance::Eager)).storage(Arc::clone(&storage) as Arc<dyn Storage>);
    let copy = builder().open("/copy").expect("open");
    let people = copy.table("people").expect("table");
    check(&people, &["by_age"], None);
    assert_eq!(people.index("by_age").expect("index").keys().expect("keys").count(), 2);
    people
        .insert(&batch(&[(9, Some(4), None, 0)]))
        .expect_err("still unique");

    let read_only = builder().read_only().open("/db").expect("open");
    let people = read_only.table("people").expect("table");
    assert_eq!(rows(people.read().batches().expect("scan")).len(), 3);
    check(&people, &["by_age"], None);
    let files = table_files(&*storage, "/db/tables/000001", ".secondary.index");
    files.iter().for_each(|file| storage.remove(file).expect("remove"));
    let read_only = builder().read_only().open("/db").expect("open");
    let people = read_only.table("people").expect("table");
    assert_eq!(rows(people.read().batches().expect("scan")).len(), 3);
    let error = people
        .index("by_age")
        .expect("known")
        .keys()
        .map(drop)
        .expect_err("refused");
    assert!(
        error.kind() == ErrorKind::Unavailable && error.message().contains("the next opening for writing"),
        "{error}"
    );
}

#[test]
fn damaged_and_missing_files_are_built_anew_and_verified() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, settings("bplus", Maintenance::Lazy));
    let table = people(&db, false);
    table.create_index(by_age()).expect("create_index");
    let all: Vec<Person> = (0..500).map(|id| (id, Some((id % 9) as i32), None, 0)).collect();
    table.insert(&batch(&all)).expect("insert");
    db.flush().expect("flush");
    db.close().expect("close");
    let builder =
        || Builder::new(settings("bplus", Maintenance::Lazy)).storage(Arc::clone(&storage) as Arc<dyn Storage>);
    let report = builder().verify("/db").expect("verify");
    assert!(report.is_clean() && report.secondary_indexes == 1, "{report}");
    let file = table_files(&*storage, "/db/tables/000001", ".index").remove(0);
    storage.remove(&file).expect("remove");
    let report = builder().verify("/db").expect("verify");
    assert!(!report.is_clean(), "{report}");
    let db = builder().open("/db").expect("open");
    let table = db.table("people").expect("table");
    check(&table, &["by_age"], None);
    db.drop_table("people").expect("drop");
    drop(table);
    db.close().expect("close");
    let left = storage.list(std::path::Path::new("/db/tables")).expect("list");
    assert!(left.is_empty(), "{left:?}");
}

/// The index was built with what was in memory and log then; what becomes void of that before it is flushed is noticed.
#[test]
fn what_is_hidden_before_it_is_flushed_is_not_found_after_reopening() {
    let storage = Arc::new(MemoryStorage::new());
    let eager = || settings("fractal", Maintenance::Eager);
    let db = open(&storage, eager());
    let table = db.create_table("texts", TableSchema::key_value()).expect("table");
    for key in ["a", "b", "c"] {
        table.put(key, "old").expect("put");
    }
    table
        .create_index(IndexDefinition::on("by_value", ["value"]))
        .expect("create_index");
    table.delete_range("a".."b").expect("delete_range");
    table.put("b", "new").expect("put");
    drop(table);
    db.close().expect("close");
    let db = open(&storage, eager());
    let table = db.table("texts").expect("table");
    db.flush().expect("flush");
    db.compact().expect("compact");
    let keys = table.index("by_value").expect("index").keys().expect("keys");
    let keys: Vec<_> = keys.map(|key| key.expect("key").to_vec()).collect();
    assert_eq!(keys, [b"b", b"c"]);
    check_sound(&db);
}
