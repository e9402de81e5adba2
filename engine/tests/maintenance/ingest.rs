use std::path::Path;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use kodiak::core::storage::Storage;
use kodiak::{Error, ErrorKind, MemoryStorage, Result, TableOptions, TableSchema};
use kodiak_storage::{Fault, FaultPlan, FaultRule, FaultStorage};

use super::common::*;

type Pairs = Vec<Result<(Vec<u8>, Vec<u8>)>>;

/// Keys `from..to`, each with `value`.
fn pairs(from: u32, to: u32, value: &str) -> Pairs {
    (from..to)
        .map(|key| Ok((key.to_be_bytes().to_vec(), format!("{value}{key}").into_bytes())))
        .collect()
}

#[test]
fn ingested_entries_are_newer_than_everything_before_and_older_than_everything_after() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    let other = db.create_table("other", TableSchema::key_value()).expect("create");
    // Older versions on disk, frozen and in the active memtable, and range deletes.
    (0..3000u32).for_each(|key| table.put(key.to_be_bytes(), "old").expect("put"));
    db.compact().expect("compact");
    (0..500u32).for_each(|key| table.put(key.to_be_bytes(), "older").expect("put"));
    table
        .delete_range(700u32.to_be_bytes()..900u32.to_be_bytes())
        .expect("delete_range");
    other.put(b"beside", b"1").expect("put");
    let snapshot = db.snapshot();
    let done = table.ingest(pairs(100, 2000, "new")).expect("ingest");
    assert!(done.entries == 1900 && done.runs >= 1 && done.bytes > 0, "{done:?}");
    assert_eq!(done.level, 0, "older runs lie below");
    table.put(150u32.to_be_bytes(), "newest").expect("put");
    table.delete(151u32.to_be_bytes()).expect("delete");
    let check = |db: &kodiak::Db| {
        let table = db.table("t").expect("table");
        for key in 0..3000u32 {
            let expected = match key {
                150 => Some("newest".to_owned()),
                151 => None,
                100..2000 => Some(format!("new{key}")),
                0..100 => Some("older".to_owned()),
                _ => Some("old".to_owned()),
            };
            let found = table.get(key.to_be_bytes()).expect("get");
            assert_eq!(found.as_deref(), expected.as_deref().map(str::as_bytes), "key {key}");
        }
        assert_eq!(
            db.table("other")
                .expect("table")
                .get(b"beside")
                .expect("get")
                .as_deref(),
            Some(&b"1"[..])
        );
    };
    check(&db);
    for key in [100u32, 600, 800, 1999] {
        let before = match key {
            0..500 => Some("older"),
            700..900 => None,
            _ => Some("old"),
        };
        let found = table.get_at(&snapshot, key.to_be_bytes()).expect("get_at");
        assert_eq!(found.as_deref(), before.map(str::as_bytes), "key {key} in the snapshot");
    }
    drop((table, other, snapshot));
    db.close().expect("close");
    let db = open(&storage, "/db");
    check(&db);
    db.compact().expect("compact");
    check(&db);
    let report = db.verify().expect("verify");
    assert!(report.is_clean(), "{report}");
}

#[test]
fn where_nothing_overlaps_runs_go_as_deep_as_others_are() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    assert_eq!(
        table.ingest(pairs(1000, 2000, "a")).expect("into an empty table").level,
        1
    );
    // Background work may have moved the first run further down meanwhile.
    let beside = table.ingest(pairs(2000, 3000, "b")).expect("beside").level;
    assert!(beside >= 1, "level {beside}");
    let over = table.ingest(pairs(1500, 1600, "c")).expect("over").level;
    assert!(over < db.settings().compaction.levels - 1, "level {over}");
    assert_eq!(table.ingest(Pairs::new()).expect("nothing").entries, 0);
    assert_eq!(table.scan(..).expect("scan").count(), 2000);
    assert_eq!(
        table.get(1550u32.to_be_bytes()).expect("get").as_deref(),
        Some(&b"c1550"[..])
    );
    assert!(db.verify().expect("verify").is_clean());
}

#[test]
fn what_is_not_sorted_or_fails_leaves_nothing() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    table.put(b"here", b"1").expect("put");
    let mut twice = pairs(0, 3000, "x");
    twice.push(Ok((2999u32.to_be_bytes().to_vec(), Vec::new())));
    let mut back = pairs(10, 20, "x");
    back.extend(pairs(5, 6, "x"));
    let mut failing = pairs(0, 3000, "x");
    failing.push(Err(Error::new(ErrorKind::Io, "the source fails")));
    let long = vec![Ok((vec![0; 70 << 20], Vec::new()))];
    for (entries, kind, said) in [
        (twice, ErrorKind::InvalidInput, "entry 3000 is the same"),
        (back, ErrorKind::InvalidInput, "entry 10 is before"),
        (failing, ErrorKind::Io, "the source fails"),
        (long, ErrorKind::InvalidInput, "entry 0"),
    ] {
        let error = table.ingest(entries).expect_err("refused");
        assert!(error.kind() == kind && error.to_string().contains(said), "{error}");
    }
    assert_eq!(table.scan(..).expect("scan").count(), 1);
    assert_eq!(
        storage.list(Path::new("/db/tables/000001")).expect("list"),
        ["EXACT.json", "TABLE"],
        "what was written is removed"
    );
    db.drop_table("t").expect("drop");
    assert_eq!(
        table.ingest(pairs(0, 9, "x")).expect_err("dropped").kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn rows_of_typed_tables_are_ingested() {
    let schema = Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("id", DataType::Int64, false),
    ]));
    let batch = |ids: Vec<i64>| {
        let names = StringArray::from_iter(ids.iter().map(|id| (id % 3 != 0).then(|| format!("name {id}"))));
        RecordBatch::try_new(schema.clone(), vec![Arc::new(names), Arc::new(Int64Array::from(ids))]).expect("columns")
    };
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    let table = db
        .create_table("t", TableSchema::new(schema.clone(), &["id"]).expect("schema"))
        .expect("create");
    table.insert(&batch(vec![-5, 7, 1000])).expect("insert");
    let done = table
        .ingest_batches([Ok(batch((-10..0).collect())), Ok(batch((0..500).collect()))])
        .expect("ingest");
    assert_eq!(done.entries, 510);
    assert_eq!(table.scan(..).expect("scan").count(), 511);
    assert!(db.verify().expect("verify").is_clean());
    let error = table.ingest_batches([Ok(batch(vec![5, 4]))]).expect_err("not sorted");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let wrong = Schema::new(vec![Field::new("id", DataType::Utf8, false)]);
    let wrong = RecordBatch::try_new(Arc::new(wrong), vec![Arc::new(StringArray::from(vec!["x"]))]).expect("columns");
    assert_eq!(
        table.ingest_batches([Ok(wrong)]).expect_err("other columns").kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn entries_expire_by_the_time_of_their_ingestion() {
    let storage = Arc::new(FaultStorage::new());
    storage.freeze_clock(1_000_000_000);
    let db = open(&storage, "/db");
    let options = TableOptions::new().ttl(std::time::Duration::from_secs(10));
    let table = db
        .create_table_with("t", TableSchema::key_value(), options)
        .expect("create");
    table.ingest(pairs(0, 100, "x")).expect("ingest");
    drop(table);
    db.close().expect("close");
    let db = open(&storage, "/db");
    let table = db.table("t").expect("table");
    storage.jump_clock(9_000_000);
    table.put(1000u32.to_be_bytes(), b"later").expect("put");
    assert_eq!(table.scan(..).expect("scan").count(), 101);
    storage.jump_clock(2_000_000);
    assert_eq!(
        table.scan(..).expect("scan").count(),
        1,
        "the ingested have expired, the later one has not"
    );
}

#[test]
fn writers_go_on_during_ingestions_and_lose_nothing() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for key in 0..20_000u32 {
                let key = (1_000_000 + key).to_be_bytes();
                table.put(key, b"written").expect("put");
                assert_eq!(table.get(key).expect("get").as_deref(), Some(&b"written"[..]));
            }
        });
        for round in 0..6u32 {
            table
                .ingest(pairs(0, 1000, &format!("round {round} ")))
                .expect("ingest");
            let first = table.get(5u32.to_be_bytes()).expect("get").expect("there");
            assert_eq!(&*first, format!("round {round} 5").as_bytes());
        }
        writer.join().expect("no panic");
    });
    assert_eq!(table.scan(..).expect("scan").count(), 21_000);
    db.compact().expect("compact");
    assert_eq!(table.scan(..).expect("scan").count(), 21_000);
}

#[test]
fn a_power_loss_during_an_ingestion_leaves_all_of_it_or_nothing() {
    let prepare = |storage: &Arc<FaultStorage>| {
        let db = open(storage, "/db");
        let table = db.create_table("t", TableSchema::key_value()).expect("create");
        table.put(5u32.to_be_bytes(), b"old").expect("put");
        db.sync().expect("sync");
        db
    };
    let outcomes = std::cell::RefCell::new(std::collections::BTreeSet::new());
    crash_everywhere(
        prepare,
        |db| {
            db.table("t")
                .expect("table")
                .ingest(pairs(0, 100, "new"))
                .expect("ingest");
        },
        |image, nth| {
            let db = open(image, "/db");
            let left = contents(&db);
            let left = &left["t"];
            let five = left.get(&5u32.to_be_bytes()[..]).map(|value| value.as_slice());
            match left.len() {
                1 => assert_eq!(five, Some(&b"old"[..]), "mutation {nth}"),
                100 => assert_eq!(five, Some(&b"new5"[..]), "mutation {nth}"),
                count => panic!("mutation {nth}: {count} entries"),
            }
            outcomes.borrow_mut().insert(left.len());
            // What is written now is newer.
            let table = db.table("t").expect("table");
            table.put(5u32.to_be_bytes(), b"newest").expect("put");
            db.flush().expect("flush");
            assert_eq!(
                table.get(5u32.to_be_bytes()).expect("get").as_deref(),
                Some(&b"newest"[..]),
                "mutation {nth}"
            );
        },
    );
    assert_eq!(outcomes.into_inner().len(), 2, "both outcomes were seen");
}

#[test]
fn a_power_loss_never_keeps_an_ingestion_and_loses_an_earlier_write() {
    let prepare = |storage: &Arc<FaultStorage>| {
        let db = open(storage, "/db");
        for name in ["a", "t", "z"] {
            db.create_table(name, TableSchema::key_value()).expect("create");
        }
        db.sync().expect("sync");
        db
    };
    let kept = std::cell::Cell::new(0);
    crash_everywhere(
        prepare,
        |db| {
            // Acknowledged, but only the operating system has them: to the table itself, and to others.
            for (name, key) in [("a", 1u32), ("t", 5), ("z", 2)] {
                let table = db.table(name).expect("table");
                table.put(key.to_be_bytes(), b"before").expect("put");
            }
            let t = db.table("t").expect("table");
            t.ingest(pairs(0, 50, "new")).expect("ingest");
            // Now it has nothing in memory, and the others have.
            db.table("z")
                .expect("table")
                .put(3u32.to_be_bytes(), b"between")
                .expect("put");
            t.ingest(pairs(0, 60, "newer")).expect("ingest");
        },
        |image, nth| {
            let left = contents(&open(image, "/db"));
            let has = |table: &str, key: u32| left[table].contains_key(&key.to_be_bytes()[..]);
            if left["t"].len() >= 50 {
                assert!(has("a", 1) && has("z", 2), "mutation {nth}: an earlier write is lost");
            }
            if left["t"].len() == 60 {
                assert!(has("z", 3), "mutation {nth}: a write between the ingestions is lost");
                kept.set(kept.get() + 1);
            }
        },
    );
    assert!(kept.get() > 0, "the second ingestion was never kept");
}

#[test]
fn an_ingestion_that_fails_hides_no_later_write() {
    for nth in 1..40 {
        let storage = Arc::new(FaultStorage::with_seed(nth));
        let db = open(&storage, "/db");
        let table = db.create_table("t", TableSchema::key_value()).expect("create");
        table.put(5u32.to_be_bytes(), b"old").expect("put");
        storage.set_plan(FaultRule::nth_of_any(nth, Fault::Eio));
        let done = table.ingest(pairs(0, 100, "new"));
        storage.set_plan(FaultPlan::none());
        let written = table.put(7u32.to_be_bytes(), b"after").is_ok();
        drop(table);
        let _ = db.close();
        let db = open(&storage, "/db");
        let table = db.table("t").expect("table");
        let count = table.scan(..).expect("scan").count();
        if written {
            assert_eq!(
                table.get(7u32.to_be_bytes()).expect("get").as_deref(),
                Some(&b"after"[..]),
                "operation {nth}"
            );
        }
        match done {
            Ok(_) => assert_eq!(count, 100, "operation {nth}"),
            Err(_) => assert!(
                [1, 1 + usize::from(written), 100].contains(&count),
                "operation {nth}: {count}"
            ),
        }
    }
}
