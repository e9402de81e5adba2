//! Unique indexes.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use kodiak::settings::Maintenance;
use kodiak::{ErrorKind, IndexDefinition, MemoryStorage};

use crate::support::*;

fn by_unique_age() -> IndexDefinition {
    by_age().unique()
}

#[test]
fn a_row_whose_values_another_has_is_refused_naming_index_and_key() {
    for merging in [false, true] {
        let storage = Arc::new(MemoryStorage::new());
        let db = open(&storage, settings("fractal", Maintenance::Lazy));
        let table = people(&db, merging);
        table.create_index(by_unique_age()).expect("create_index");
        table
            .insert(&batch(&[
                (1, Some(30), None, 0),
                (2, Some(31), None, 0),
                (3, None, None, 0),
            ]))
            .expect("insert");
        // Nulls are like no other value, not even like each other.
        table.insert(&batch(&[(4, None, None, 0)])).expect("insert");
        for flushed in [false, true] {
            let error = table.insert(&batch(&[(9, Some(50), None, 0), (5, Some(30), None, 0)]));
            let error = error.expect_err("taken");
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            let message = error.message();
            assert!(
                message.contains("\"by_age\" is unique") && message.contains("key (1)"),
                "{message}"
            );
            assert!(message.contains("age = (30)"), "{message}");
            assert!(
                table.get_row(&ids(&[9])).expect("get").is_none(),
                "half of a batch was written"
            );
            // Within one batch too.
            table
                .insert(&batch(&[(6, Some(40), None, 0), (7, Some(40), None, 0)]))
                .expect_err("taken");
            // The row itself may be written again.
            table.insert(&batch(&[(1, Some(30), None, 5)])).expect("insert");
            if !flushed {
                db.flush().expect("flush");
            }
        }
        // Exchanged, moved on, and freed, within one batch.
        let mut exchange = db.batch();
        exchange.insert(&table, &batch(&[(1, Some(31), None, 0), (2, Some(30), None, 0)]));
        db.write(exchange).expect("exchange");
        table.delete_keys(&ids(&[1])).expect("delete");
        table.insert(&batch(&[(8, Some(31), None, 0)])).expect("it is free");
        if merging {
            let id: ArrayRef = Arc::new(Int64Array::from(vec![3]));
            let change = RecordBatch::try_from_iter([("id", id), ("age", Arc::clone(age(Some(30)).column(0)))]);
            let error = table.update(&change.expect("batch")).expect_err("taken");
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        }
        let error = table
            .ingest_batches([Ok(batch(&[(20, Some(99), None, 0)]))])
            .expect_err("not checked");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        check(&table, &["by_age"], None);
        check_sound(&db);
    }
}

#[test]
fn a_unique_index_of_rows_that_are_not_is_not_created() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, settings("bplus", Maintenance::Eager));
    let table = people(&db, false);
    let twice = [(1, Some(30), None, 0), (2, Some(31), None, 0), (3, Some(30), None, 0)];
    table.insert(&batch(&twice)).expect("insert");
    for flushed in [false, true] {
        let error = table.create_index(by_unique_age()).expect_err("not unique");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
        assert!(table.indexes().is_empty());
        assert_eq!(table.index("by_age").expect_err("none").kind(), ErrorKind::NotFound);
        if !flushed {
            db.flush().expect("flush");
        }
    }
    table.delete_keys(&ids(&[3])).expect("delete");
    table.create_index(by_unique_age()).expect("unique now");
    table.insert(&batch(&[(4, Some(30), None, 0)])).expect_err("taken");
    db.close().expect("close");
    let db = open(&storage, settings("bplus", Maintenance::Eager));
    let table = db.table("people").expect("table");
    table
        .insert(&batch(&[(4, Some(30), None, 0)]))
        .expect_err("still taken");
    table.drop_index("by_age").expect("drop");
    table.insert(&batch(&[(4, Some(30), None, 0)])).expect("nobody checks");
}

#[test]
fn of_writers_of_one_value_exactly_one_succeeds() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, settings("fractal", Maintenance::Lazy));
    let table = people(&db, false);
    table.create_index(by_unique_age()).expect("create_index");
    const VALUES: i32 = 150;
    let written: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4i64)
            .map(|thread| {
                let (table, db) = (&table, &db);
                scope.spawn(move || {
                    let insert = |value: i32| {
                        let person = (i64::from(value) * 4 + thread, Some(value), None, thread);
                        if value % 40 == 7 * thread as i32 {
                            db.flush().expect("flush");
                        }
                        match table.insert(&batch(&[person])) {
                            Ok(()) => true,
                            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
                            Err(error) => panic!("{error}"),
                        }
                    };
                    (0..VALUES).filter(|value| insert(*value)).count()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    assert_eq!(written.iter().sum::<usize>(), VALUES as usize, "{written:?}");
    let ages: Vec<_> = rows(table.index("by_age").expect("index").batches().expect("read"))
        .into_iter()
        .map(|person| person.1)
        .collect();
    assert_eq!(ages, (0..VALUES).map(Some).collect::<Vec<_>>());
    check_sound(&db);
}
