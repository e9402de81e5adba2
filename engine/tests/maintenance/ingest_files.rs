//! Ingestion of files that others wrote.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use arrow::ipc::writer::FileWriter;
use kodiak::core::storage::Storage;
use kodiak::{Builder, Db, ErrorKind, MemoryStorage, Settings, Table, TableSchema};

use super::common::*;

fn put(storage: &MemoryStorage, path: &str, bytes: &[u8]) {
    let _ = storage.remove(Path::new(path));
    let mut file = storage.create(Path::new(path)).expect("create");
    file.write_all(bytes).expect("memory");
    file.finish(true).expect("memory");
}

fn feather(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).expect("columns");
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).expect("a writer");
    writer.write(&batch).expect("memory");
    writer.into_inner().expect("memory")
}

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("id", DataType::Int32, false),
        Field::new("score", DataType::Float64, false),
    ]))
}

fn typed(db: &Db) -> Table {
    let schema = TableSchema::new(columns(), &["-id"]).expect("a schema");
    db.create_table("typed", schema).expect("create")
}

/// Rows with these ids, in an order of columns and with types that are not the table's.
fn rows(ids: &[i64]) -> Vec<(&'static str, ArrayRef)> {
    let names: DictionaryArray<Int8Type> = ids.iter().map(|id| (id % 3 != 0).then_some("odd one")).collect();
    vec![
        ("id", Arc::new(Int64Array::from(ids.to_vec()))),
        (
            "score",
            Arc::new(Float32Array::from_iter_values(ids.iter().map(|id| *id as f32 / 2.0))),
        ),
        ("name", Arc::new(names)),
    ]
}

#[test]
fn typed_tables_take_columns_by_name_and_of_types_that_hold_the_same_values() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    let table = typed(&db);
    put(&storage, "/a", &feather(rows(&[90, 80, 70])));
    put(&storage, "/b", &feather(rows(&[60, 50, -1])));
    let done = table.ingest_files(["/a", "/b"]).expect("ingest");
    assert_eq!(done.entries, 6);
    let batches: Vec<RecordBatch> = table
        .read()
        .batches()
        .expect("read")
        .map(|batch| batch.expect("rows"))
        .collect();
    let found = arrow::compute::concat_batches(&batches[0].schema(), &batches).expect("of one schema");
    assert_eq!(
        found.column(1).as_primitive::<Int32Type>().values(),
        &[90, 80, 70, 60, 50, -1]
    );
    assert_eq!(found.column(2).as_primitive::<Float64Type>().value(5), -0.5);
    assert_eq!(
        (
            found.column(0).null_count(),
            found.column(0).as_string::<i32>().value(1)
        ),
        (2, "odd one")
    );
    assert!(db.verify().expect("verify").is_clean());
}

#[test]
fn what_does_not_fit_is_refused_with_file_row_and_column_and_leaves_nothing() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    let table = typed(&db);
    let kv = db.create_table("kv", TableSchema::key_value()).expect("create");
    let with = |column: &'static str, array: ArrayRef| {
        let mut rows = rows(&[9, 8, 7]);
        rows.retain(|(name, _)| *name != column);
        rows.push((column, array));
        feather(rows)
    };
    let ints = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let refused = |table: &Table, files: &[(&str, Vec<u8>)], expected: &[&str]| {
        files.iter().for_each(|(path, bytes)| put(&storage, path, bytes));
        let error = table
            .ingest_files(files.iter().map(|(path, _)| path))
            .expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        expected
            .iter()
            .for_each(|text| assert!(error.to_string().contains(text), "{error}: no {text}"));
    };
    let good = feather(rows(&[9, 8, 7]));
    refused(
        &table,
        &[("/f1", feather(rows(&[7, 8])))],
        &["/f1", "row 2", "must ascend"],
    );
    refused(
        &table,
        &[("/f1", good.clone()), ("/f2", good.clone())],
        &["/f2", "row 1", "follow each other"],
    );
    refused(
        &table,
        &[("/f3", with("id", ints(vec![Some(9), Some(8), Some(1 << 40)])))],
        &["row 3", "\"id\"", "Int32"],
    );
    refused(
        &table,
        &[("/f4", with("id", ints(vec![Some(9), None, Some(7)])))],
        &["row 2", "\"id\"", "no value"],
    );
    refused(
        &table,
        &[("/f5", with("more", ints(vec![None; 3])))],
        &["/f5", "\"more\"", "name, id, score"],
    );
    refused(
        &table,
        &[("/f6", feather(rows(&[9]).into_iter().take(2).collect()))],
        &["no column \"name\""],
    );
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["9", "8", "7"]));
    refused(
        &table,
        &[("/f7", with("id", Arc::clone(&texts)))],
        &["\"id\"", "Utf8", "Int32"],
    );
    refused(&kv, &[("/f8", good)], &["/f8", "3 columns", "\"score\" Float32"]);
    refused(
        &kv,
        &[("/f9", feather(vec![("k", texts), ("v", ints(vec![None; 3]))]))],
        &["another type"],
    );
    refused(
        &table,
        &[("/f10", b"id,name\n1,x\n".to_vec())],
        &["/f10", "neither Feather"],
    );
    assert_eq!(
        table.ingest_files(["/none"]).expect_err("missing").kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        table.scan(..).expect("scan").count() + kv.scan(..).expect("scan").count(),
        0
    );
    assert_eq!(
        storage.list(Path::new("/db/tables/000001")).expect("list"),
        ["EXACT.json", "TABLE"]
    );
}

#[test]
fn key_value_tables_take_a_key_and_a_value() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    let texts = |values: [&str; 2]| Arc::new(StringArray::from_iter_values(values)) as ArrayRef;
    let bytes = |values: [&str; 2]| Arc::new(LargeBinaryArray::from_iter_values(values)) as ArrayRef;
    for (columns, expected) in [
        (vec![("word", texts(["a", "b"])), ("meaning", bytes(["1", "2"]))], "1"),
        (vec![("value", texts(["3", "4"])), ("key", bytes(["a", "b"]))], "3"),
    ] {
        put(&storage, "/f", &feather(columns));
        assert_eq!(table.ingest_files(["/f"]).expect("ingest").entries, 2);
        assert_eq!(table.get("a").expect("get").as_deref(), Some(expected.as_bytes()));
    }
}

#[test]
fn data_files_of_kodiak_itself_are_taken_at_their_newest_versions() {
    for format in ["feather", "parquet", "orc"] {
        let storage = Arc::new(MemoryStorage::new());
        let settings = |path: &str| {
            let mut settings: Settings = small();
            settings.format.kind = format.to_owned();
            let storage = Arc::clone(&storage) as Arc<dyn Storage>;
            Builder::new(settings).storage(storage).open(path).expect("open")
        };
        let db = settings("/from");
        let (from, from_kv) = (
            typed(&db),
            db.create_table("kv", TableSchema::key_value()).expect("create"),
        );
        let own = |ids: Vec<i32>| {
            let names = StringArray::from_iter(ids.iter().map(|id| (id % 3 != 0).then(|| format!("{id}"))));
            let scores = Float64Array::from_iter_values(ids.iter().map(|id| f64::from(*id)));
            let columns: Vec<ArrayRef> = vec![Arc::new(names), Arc::new(Int32Array::from(ids)), Arc::new(scores)];
            RecordBatch::try_new(columns_of(&from), columns).expect("columns")
        };
        from.insert(&own((0..50).collect())).expect("insert");
        (0..50u32).for_each(|key| from_kv.put(key.to_be_bytes(), "value").expect("put"));
        // Kept apart by the snapshot, so that the file has several versions.
        let snapshot = db.snapshot();
        from.delete_keys(&own(vec![7, 8])).expect("delete");
        from.insert(&own(vec![9])).expect("insert");
        from_kv.delete(9u32.to_be_bytes()).expect("delete");
        from_kv.put(8u32.to_be_bytes(), "newer").expect("put");
        db.flush().expect("flush");
        drop(snapshot);
        let db = settings("/to");
        let (to, to_kv) = (
            typed(&db),
            db.create_table("kv", TableSchema::key_value()).expect("create"),
        );
        for (table, dir) in [(&to, "000001"), (&to_kv, "000002")] {
            let files = table_files(&*storage, &format!("/from/tables/{dir}"), format);
            assert_eq!(files.len(), 1, "{format}");
            table.ingest_files(&files).expect("ingest");
        }
        for (from, to) in [(&from, &to), (&from_kv, &to_kv)] {
            let all = |table: &Table| {
                table
                    .scan(..)
                    .expect("scan")
                    .map(|item| item.expect("entry"))
                    .collect::<Vec<_>>()
            };
            assert_eq!(all(from), all(to), "{format}");
        }
        assert_eq!(to.scan(..).expect("scan").count(), 48);
    }
}

#[test]
fn columns_with_a_default_may_be_missing_also_in_runs_that_are_older_than_they() {
    for format in ["feather", "parquet", "orc"] {
        let storage = Arc::new(MemoryStorage::new());
        let opened = |dir: &str| {
            let mut settings = Settings::default();
            settings.format.kind = format.to_owned();
            let builder = Builder::new(settings).storage(Arc::clone(&storage) as Arc<_>);
            builder.open(dir).expect("open")
        };
        let from = opened("/from");
        let table = typed(&from);
        let scores = || Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5]));
        let names = || Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
        let ids: ArrayRef = Arc::new(Int32Array::from(vec![3, 2, 1]));
        let own = RecordBatch::try_new(columns(), vec![names(), ids, scores()]).expect("columns");
        table.insert(&own).expect("insert");
        // A delete has nulls in all columns but the key's.
        table.delete_keys(&own.slice(1, 1)).expect("delete");
        from.flush().expect("flush");
        let run = table_files(&*storage, "/from/tables/000001", format);
        put(&storage, "/outside", &feather(rows(&[9, 8])));

        let db = opened("/to");
        let table = typed(&db);
        let initial = |value: i16| Arc::new(Int16Array::from(vec![value]));
        let altered = table
            .alter()
            .add_column_with(Field::new("rank", DataType::Int16, false), initial(7))
            .add_column_with(Field::new("grade", DataType::Int16, true), initial(8));
        altered.commit().expect("alter");
        table.ingest_files(["/outside"]).expect("ingest");
        table.ingest_files(&run).expect("ingest");
        let batches: Vec<RecordBatch> = table
            .read()
            .batches()
            .expect("read")
            .map(|rows| rows.expect("rows"))
            .collect();
        let found = arrow::compute::concat_batches(&batches[0].schema(), &batches).expect("of one schema");
        assert_eq!(
            found.column(1).as_primitive::<Int32Type>().values(),
            &[9, 8, 3, 1],
            "{format}"
        );
        for (column, value) in [(3, 7), (4, 8)] {
            let column = found.column(column).as_primitive::<Int16Type>();
            assert_eq!(column, &Int16Array::from(vec![value; 4]), "{format}");
        }
        // Without a default, a column that is not there may as well be a mistake.
        let added = table.alter().add_column(Field::new("more", DataType::Int16, true));
        added.commit().expect("alter");
        let error = table.ingest_files(&run).expect_err("refused");
        assert!(error.message().contains("\"more\""), "{error}");
    }
}

fn columns_of(table: &Table) -> SchemaRef {
    Arc::clone(table.schema().columns())
}

#[test]
fn damaged_files_are_refused_whole() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, "/db");
    let table = typed(&db);
    let good = feather(rows(&(0..200).rev().collect::<Vec<_>>()));
    let mut refused = 0;
    for at in (0..good.len()).step_by(7) {
        let mut damaged = good.clone();
        damaged[at] ^= 0x81;
        put(&storage, "/f", &damaged);
        match table.ingest_files(["/f"]) {
            Ok(done) => assert!(done.entries <= 200),
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("/f"), "{error}");
            }
        }
        put(&storage, "/f", &good[..at]);
        table.ingest_files(["/f"]).expect_err("cut short");
    }
    assert!(refused > 10, "only {refused} were refused");
    assert!(db.verify().expect("verify").is_clean());
}
