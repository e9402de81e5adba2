//! Single cases of alterations.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema};
use kodiak::core::storage::Storage;
use kodiak::{Builder, Db, ErrorKind, MemoryStorage, Settings, Table, TableOptions, TableSchema};

use super::open;
use crate::histories::small;
use crate::model::collect;

pub fn settings() -> Settings {
    small("skiplist", "parquet")
}

/// People with a name and an age.
fn people() -> (Arc<MemoryStorage>, Db, Table) {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, &settings(), "/db");
    let columns = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("age", DataType::Int32, true),
    ]);
    let schema = TableSchema::new(Arc::new(columns), &["id"]).expect("valid");
    let options = TableOptions::new().merge_operator("last-non-null");
    let table = db.create_table_with("people", schema, options).expect("create");
    (storage, db, table)
}

pub fn row<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    let named = columns.map(|(name, column)| (name, column, name != "id" && name != "rank"));
    RecordBatch::try_from_iter_with_nullable(named).expect("columns")
}

pub fn long(value: i64) -> ArrayRef {
    Arc::new(Int64Array::from(vec![value]))
}

pub fn int(value: Option<i32>) -> ArrayRef {
    Arc::new(Int32Array::from(vec![value]))
}

pub fn text(value: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

pub fn ada(table: &Table) {
    let ada = row([("id", long(1)), ("name", text("ada")), ("age", int(Some(36)))]);
    table.insert(&ada).expect("insert");
}

pub fn names(table: &Table) -> Vec<String> {
    let schema = table.schema();
    schema
        .columns()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect()
}

/// The names of the columns in each data file of the table.
fn file_columns(storage: &Arc<MemoryStorage>) -> Vec<Vec<String>> {
    let dir = Path::new("/db/tables/000001");
    let names = storage
        .list(dir)
        .expect("list")
        .into_iter()
        .filter(|name| name.ends_with(".parquet"));
    let columns = |name: String| {
        let file = storage.open(&dir.join(name)).expect("open");
        let file = kodiak::outside::OutsideFile::open(file).expect("a Parquet file");
        let fields = file.schema().fields().clone();
        fields.iter().map(|field| field.name().clone()).collect()
    };
    names.map(columns).collect()
}

#[test]
fn a_name_that_is_dropped_and_added_again_is_a_new_column() {
    let (storage, db, table) = people();
    ada(&table);
    db.flush().expect("flush");
    table.alter().drop_column("age").commit().expect("alter");
    table
        .alter()
        .add_column(Field::new("age", DataType::Int32, true))
        .commit()
        .expect("alter");
    let read = |table: &Table| collect(table.read().batches().expect("read"));
    assert_eq!(read(&table).column(2).null_count(), 1);
    drop((table, db));
    // The file that has the old column looks just like those that have the new one, were it not for the numbers in it.
    for name in storage.list(Path::new("/db/tables/000001")).expect("list") {
        if name.ends_with(".meta") || name == "TABLE" {
            storage
                .remove(&Path::new("/db/tables/000001").join(name))
                .expect("remove");
        }
    }
    let report = Builder::new(settings())
        .storage(storage.clone())
        .repair("/db")
        .expect("repair");
    assert_eq!((report.rebuilt.len(), report.lost.len()), (1, 0), "{report}");
    let db = open(&storage, &settings(), "/db");
    let table = db.table("people").expect("table");
    assert_eq!(read(&table).column(2).null_count(), 1);
    db.compact().expect("compact");
    assert_eq!(read(&table).column(2).null_count(), 1);
}

#[test]
fn a_dropped_column_stays_in_files_as_long_as_a_snapshot_needs_it() {
    let (storage, db, table) = people();
    ada(&table);
    let snapshot = db.snapshot();
    table
        .alter()
        .drop_column("age")
        .rename_column("name", "called")
        .commit()
        .expect("alter");
    let bob = row([("id", long(2)), ("called", text("bob"))]);
    table.insert(&bob).expect("insert");
    let then = |table: &Table| collect(table.read().at(&snapshot).batches().expect("read"));
    for _ in 0..2 {
        db.compact().expect("compact");
        let then = then(&table);
        assert_eq!(then.column(1).as_string::<i32>().value(0), "ada");
        assert_eq!(then.column(2).as_primitive::<Int32Type>().value(0), 36);
        assert_eq!(
            (then.num_rows(), then.schema_ref().field(1).name().as_str()),
            (1, "name")
        );
    }
    assert_eq!(
        file_columns(&storage),
        [["id", "called", "_dropped_2", "_seq", "_op"].map(str::to_owned)]
    );
    let now = collect(table.read().batches().expect("read"));
    assert_eq!((now.num_rows(), now.num_columns()), (2, 2));
    drop(snapshot);
    db.compact().expect("compact");
    assert_eq!(
        file_columns(&storage),
        [["id", "called", "_seq", "_op"].map(str::to_owned)]
    );
}

#[test]
fn older_rows_have_the_default_and_updates_of_them_keep_it() {
    for settle in [|_: &Db| Ok(()), |db: &Db| db.flush(), |db: &Db| db.compact()] {
        let (_, db, table) = people();
        let settle = || settle(&db).expect("settle");
        ada(&table);
        // A row that is nothing but operands when the column comes.
        table
            .update(&row([("id", long(2)), ("age", int(Some(5)))]))
            .expect("update");
        settle();
        table
            .alter()
            .add_column_with(Field::new("rank", DataType::Int32, false), int(Some(7)))
            .add_column_with(Field::new("score", DataType::Int32, true), int(Some(1)))
            .commit()
            .expect("alter");
        for (id, rank, age) in [(1, 8, None), (3, 9, Some(1))] {
            let update = row([("id", long(id)), ("rank", int(Some(rank))), ("age", int(age))]);
            table.update(&update).expect("update");
            settle();
        }
        let all = collect(table.read().batches().expect("read"));
        let column = |name: &str| -> Vec<Option<i32>> {
            let column = all.column_by_name(name).expect("a column");
            column.as_primitive::<Int32Type>().iter().collect()
        };
        assert_eq!(column("age"), [Some(36), Some(5), Some(1)]);
        assert_eq!(column("rank"), [Some(8), Some(7), Some(9)]);
        assert_eq!(
            column("score"),
            [Some(1), Some(1), Some(1)],
            "the third was not given it"
        );
    }
}

#[test]
fn rows_that_are_not_given_a_column_have_its_default_and_nulls_are_nulls() {
    let (_, db, table) = people();
    table
        .alter()
        .add_column_with(Field::new("rank", DataType::Int32, false), int(Some(7)))
        .add_column_with(Field::new("score", DataType::Int32, true), int(Some(1)))
        .widen_column("score", DataType::Int64)
        .commit()
        .expect("alter");
    let short = |id: i64| row([("id", long(id)), ("name", text("x")), ("age", int(None))]);
    table.insert(&short(1)).expect("insert");
    let mut batch = db.batch();
    batch.insert(&table, &short(2));
    batch.update(&table, &row([("id", long(3)), ("name", text("y"))]));
    db.write(batch).expect("write");
    table.ingest_batches([Ok(short(4))]).expect("ingest");
    table.bulk_insert([Ok(short(6)), Ok(short(5))]).expect("bulk");
    let null: ArrayRef = Arc::new(Int64Array::from(vec![None]));
    table
        .insert(&row([
            ("id", long(7)),
            ("name", text("z")),
            ("age", int(None)),
            ("rank", int(Some(0))),
            ("score", null),
        ]))
        .expect("insert");
    // Gone, and back by an update.
    table.delete_keys(&row([("id", long(2))])).expect("delete");
    table
        .update(&row([("id", long(2)), ("age", int(Some(3)))]))
        .expect("update");
    for settle in [|_: &Db| Ok(()), |db: &Db| db.flush(), |db: &Db| db.compact()] {
        settle(&db).expect("settle");
        let all = collect(table.read().batches().expect("read"));
        let ranks = all.column_by_name("rank").expect("there").as_primitive::<Int32Type>();
        let scores = all.column_by_name("score").expect("there").as_primitive::<Int64Type>();
        assert_eq!(ranks.values().to_vec(), [7, 7, 7, 7, 7, 7, 0]);
        let expected: Vec<Option<i64>> = [Some(1); 6].into_iter().chain([None]).collect();
        assert_eq!(scores.iter().collect::<Vec<_>>(), expected);
    }
    // What has no default must be there, and nothing else may.
    let error = table
        .insert(&row([("id", long(8)), ("name", text("x"))]))
        .expect_err("no age");
    assert!(error.message().contains("\"age\""), "{error}");
    let error = table
        .insert(&row([
            ("id", long(8)),
            ("name", text("x")),
            ("age", int(None)),
            ("more", int(None)),
        ]))
        .expect_err("another column");
    assert!(error.message().contains("\"more\""), "{error}");
}

#[test]
fn rows_of_an_older_schema_are_refused() {
    let (_, db, table) = people();
    ada(&table);
    let key = table.scan(..).expect("scan").next().expect("a row").expect("read");
    let mut batch = db.batch();
    let old = row([("id", long(2)), ("name", text("b")), ("age", int(None))]);
    batch.insert(&table, &old);
    let mut bytes = db.batch();
    bytes.put(&table, &key.0, &key.1);
    table
        .alter()
        .add_column(Field::new("city", DataType::Utf8, true))
        .commit()
        .expect("alter");
    let error = table.insert(&old).expect_err("a column is missing");
    assert!(
        error.kind() == ErrorKind::InvalidInput && error.message().contains("\"city\""),
        "{error}"
    );
    for batch in [batch, bytes] {
        let error = db.write(batch).expect_err("filled before");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
    let error = table.put(&key.0, &key.1).expect_err("a row of the schema before");
    assert!(
        error.kind() == ErrorKind::InvalidInput && error.message().contains("altered"),
        "{error}"
    );
    let now = table.get(&key.0).expect("get").expect("there");
    table.put(&key.0, &now).expect("a row of the schema now");
    // Keys are what they were.
    let mut batch = db.batch();
    batch.delete(&table, &key.0);
    db.write(batch).expect("write");
    assert_eq!(table.read().batches().expect("read").count(), 0);
}

#[test]
fn alterations_that_cannot_be_made_change_nothing() {
    let (storage, db, table) = people();
    let before = table.schema();
    for (alteration, said) in [
        (
            table.alter().drop_column("name").drop_column("id"),
            "\"id\" is part of the key",
        ),
        (table.alter().add_column(Field::new("x", DataType::Null, true)), "\"x\""),
        (table.alter().widen_column("age", DataType::Utf8), "\"age\""),
    ] {
        let error = alteration.commit().expect_err(said);
        assert!(
            error.kind() == ErrorKind::InvalidInput && error.message().contains(said),
            "{error}"
        );
    }
    table.alter().commit().expect("nothing to do");
    assert_eq!(*table.schema(), *before);
    let plain = db.create_table("plain", TableSchema::key_value()).expect("create");
    let error = plain.alter().drop_column("value").commit().expect_err("key-value");
    assert!(error.message().contains("key-value"), "{error}");
    db.drop_table("people").expect("drop");
    let error = table.alter().drop_column("age").commit().expect_err("dropped");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    db.close().expect("close");
    let db = Builder::new(settings())
        .storage(storage)
        .read_only()
        .open("/db")
        .expect("open");
    let error = db.table("plain").expect("table").alter().drop_column("value").commit();
    assert_eq!(error.expect_err("read-only").kind(), ErrorKind::Unavailable);
}

#[test]
fn an_alteration_that_was_cut_short_before_the_manifest_knew_leaves_nothing() {
    let (storage, db, table) = people();
    ada(&table);
    table.alter().drop_column("age").commit().expect("alter");
    db.close().expect("close");
    let path = Path::new("/db/tables/000001/TABLE");
    let file = storage.open(path).expect("open");
    let altered = file.read(0, file.len() as usize).expect("read").to_vec();
    let db = open(&storage, &settings(), "/db");
    let table = db.table("people").expect("table");
    table.alter().drop_column("name").commit().expect("alter");
    db.close().expect("close");
    let ahead = storage.open(path).expect("open");
    let ahead = ahead.read(0, ahead.len() as usize).expect("read").to_vec();
    // The manifest of the first alteration with the file of the second.
    let (storage, db, table) = people();
    ada(&table);
    table.alter().drop_column("age").commit().expect("alter");
    db.close().expect("close");
    let identity = storage.open(path).expect("open").read(12, 8).expect("read").to_vec();
    let mut forged = ahead[..ahead.len() - 4].to_vec();
    forged[12..20].copy_from_slice(&identity);
    forged.extend_from_slice(&crc32(&forged));
    storage.remove(path).expect("remove");
    let mut file = storage.create(path).expect("create");
    std::io::Write::write_all(&mut file, &forged).expect("write");
    file.finish(true).expect("sync");
    let verify = || {
        Builder::new(settings())
            .storage(storage.clone())
            .verify("/db")
            .expect("verify")
    };
    assert!(verify().is_clean(), "{}", verify());
    let db = open(&storage, &settings(), "/db");
    let table = db.table("people").expect("table");
    assert_eq!(names(&table), ["id", "name"]);
    let now = storage.open(path).expect("open");
    assert_eq!(now.len(), altered.len() as u64, "the file is as the manifest again");
    table
        .alter()
        .rename_column("name", "n")
        .commit()
        .expect("the number is free");
    db.close().expect("close");
    assert!(verify().is_clean());
}

fn crc32(bytes: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    (!crc).to_le_bytes()
}

/// Tells threads to end.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn readers_and_writers_go_on_while_a_table_is_altered() {
    let (_, db, table) = people();
    ada(&table);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut refused = 0;
            for id in 2.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                let schema = table.schema();
                let with = schema.columns().field_with_name("rank").is_ok();
                let own = row([("id", long(id)), ("name", text("x")), ("age", int(Some(1)))]);
                let more = row([
                    ("id", long(id)),
                    ("name", text("x")),
                    ("age", int(Some(1))),
                    ("rank", int(Some(5))),
                ]);
                if let Err(error) = table.insert(if with { &more } else { &own }) {
                    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
                    refused += 1;
                }
            }
            refused
        });
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while !done.load(Ordering::Relaxed) {
                for batch in table.read().batches().expect("read") {
                    let batch = batch.expect("batch");
                    assert_eq!(batch.column(2).null_count(), 0, "ages");
                    if let Some(ranks) = batch.column_by_name("rank") {
                        let ranks = ranks.as_primitive::<Int32Type>();
                        assert!(ranks.values().iter().all(|&rank| rank == 5) && ranks.null_count() == 0);
                        seen += 1;
                    }
                }
                let found = table.get_row(&row([("id", long(1))])).expect("get").expect("there");
                assert_eq!(found.column(0).as_primitive::<Int64Type>().value(0), 1);
                assert_eq!(found.column(2).as_primitive::<Int32Type>().value(0), 36);
            }
            seen
        });
        // Also when something below fails.
        let end = End(&done);
        for round in 0..30 {
            let rank = Field::new("rank", DataType::Int32, false);
            table
                .alter()
                .add_column_with(rank, int(Some(5)))
                .commit()
                .expect("alter");
            let snapshot = db.snapshot();
            if round % 3 == 0 {
                db.compact().expect("compact");
            }
            table.alter().drop_column("rank").commit().expect("alter");
            if round % 4 == 0 {
                db.flush().expect("flush");
            }
            let then = collect(table.read().at(&snapshot).project(["rank"]).batches().expect("read"));
            assert_eq!(then.column(0).null_count(), 0);
        }
        drop(end);
        let (_, seen) = (writer.join().expect("writer"), reader.join().expect("reader"));
        println!("{seen} batches with the column");
    });
}
