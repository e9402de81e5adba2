//! Repair of damaged data files.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use kodiak::core::storage::Storage;
use kodiak::{Builder, MemoryStorage, TableSchema};
use kodiak_storage::FaultStorage;

use super::common::*;

/// A closed database with one run of many blocks, and the path of its data file.
fn one_run(storage: &Arc<FaultStorage>, format: &str) -> PathBuf {
    let mut settings = small();
    settings.format.kind = format.to_owned();
    let db = Builder::new(settings)
        .storage(Arc::clone(storage) as Arc<dyn Storage>)
        .open("/db")
        .expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    (0..400u32).for_each(|n| table.put(n.to_be_bytes(), [n as u8; 50]).expect("put"));
    db.compact().expect("compact");
    db.close().expect("close");
    let found = ["feather", "parquet", "orc", "row"]
        .map(|end| table_files(&**storage, "/db/tables/000001", &format!(".{end}")));
    found.concat().remove(0)
}

/// How many of the 400 rows are there; each must be as it was written.
fn rows_left(storage: &Arc<FaultStorage>) -> usize {
    let db = open(storage, "/db");
    let rows = contents(&db)["t"].clone();
    assert!(db.verify().expect("verify").is_clean());
    for (key, value) in &rows {
        assert_eq!(value, &[key[3]; 50], "{key:?}");
    }
    rows.len()
}

#[test]
fn of_a_damaged_data_file_only_the_damaged_blocks_are_lost() {
    for format in ["feather", "parquet", "orc", "row"] {
        for lost_manifest in [false, true] {
            let storage = Arc::new(FaultStorage::with_seed(1));
            let data = one_run(&storage, format);
            flip(&*storage, &data, storage.len(&data).expect("len").expect("there") / 3);
            if lost_manifest {
                lose_manifest(&*storage);
            }
            let report = repair(&storage);
            let left = rows_left(&storage);
            assert!((300..400).contains(&left), "{format}: {left} rows: {report}");
            assert!(
                report.rebuilt.contains(&data) && report.lost.len() >= 2,
                "{format}: {report}"
            );
            let again = repair(&storage);
            assert!(again.problems.is_empty(), "{format}: {again}");
            assert_eq!(rows_left(&storage), left);
        }
    }
}

#[test]
fn whole_blocks_of_typed_tables_are_saved_too() {
    for format in ["feather", "parquet", "orc", "row"] {
        let storage = Arc::new(MemoryStorage::new());
        let mut settings = small();
        settings.format.kind = format.to_owned();
        let db = Builder::new(settings)
            .storage(Arc::clone(&storage) as Arc<dyn Storage>)
            .open("/db")
            .expect("open");
        let arrow = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
        ]));
        let schema = TableSchema::new(Arc::clone(&arrow), &["id"]).expect("a schema");
        let table = db.create_table("t", schema).expect("create");
        let name = |id: i64| (id % 3 != 0).then(|| format!("the name of row {id}"));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(0..600)),
            Arc::new(StringArray::from_iter((0..600).map(name))),
        ];
        let rows = RecordBatch::try_new(arrow, columns).expect("rows");
        table.insert(&rows).expect("insert");
        db.compact().expect("compact");
        db.close().expect("close");
        let ends = ["feather", "parquet", "orc", "row"].map(|end| format!(".{end}"));
        let data = ends
            .map(|end| table_files(&*storage, "/db/tables/000001", &end))
            .concat()
            .remove(0);
        flip(&*storage, &data, storage.len(&data).expect("len").expect("there") / 3);
        let report = repair(&storage);
        let db = open(&storage, "/db");
        let mut left = 0;
        for batch in db.table("t").expect("table").read().batches().expect("read") {
            let batch = batch.expect("a batch");
            let (ids, names) = (
                batch.column(0).as_primitive::<Int64Type>(),
                batch.column(1).as_string::<i32>(),
            );
            for (id, found) in ids.values().iter().zip(names) {
                assert_eq!(found.map(str::to_owned), name(*id), "{format}: row {id}");
                left += 1;
            }
        }
        assert!((300..600).contains(&left), "{format}: {left} rows: {report}");
        assert!(db.verify().expect("verify").is_clean(), "{format}");
    }
}

#[test]
fn saving_blocks_can_be_cut_short_at_any_moment() {
    let mut expected = None;
    for nth in 1u64.. {
        let storage = Arc::new(FaultStorage::with_seed(nth));
        let data = one_run(&storage, "feather");
        flip(&*storage, &data, storage.len(&data).expect("len").expect("there") / 3);
        storage.open_log(&data).expect("open").sync_data().expect("sync");
        lose_power_before(&storage, nth);
        repair(&storage);
        let left = *expected.get_or_insert_with(|| rows_left(&storage));
        let Some(image) = storage.take_crash_image() else {
            assert!(nth > 10, "only {nth} mutations");
            return;
        };
        let image = Arc::new(image);
        repair(&image);
        assert_eq!(rows_left(&image), left, "mutation {nth}");
    }
}

/// Damage that Kodiak's own reads do not meet, as they go by the sidecar: the file is written anew for those that do.
#[test]
fn a_file_that_is_damaged_outside_its_blocks_is_written_anew() {
    for format in ["feather", "parquet", "orc", "row"] {
        let mut seen = 0;
        for at in [0, -1, -3, -6, -8, i64::MAX] {
            let storage = Arc::new(FaultStorage::with_seed(1));
            let data = one_run(&storage, format);
            let len = storage.len(&data).expect("len").expect("there");
            let what = format!("{format}, damaged at {at}");
            match at {
                // A file that has lost its end, without which the blocks of ORC files cannot be read.
                i64::MAX if format == "orc" => continue,
                i64::MAX => truncate(&*storage, &data, len as usize - 4),
                at if at < 0 => flip(&*storage, &data, len.saturating_add_signed(at)),
                at => flip(&*storage, &data, at.unsigned_abs()),
            }
            let found = builder(&storage).verify("/db").expect("verify");
            if found.is_clean() {
                // A byte that nobody goes by.
                continue;
            }
            seen += 1;
            let report = repair(&storage);
            assert!(report.rebuilt.contains(&data), "{what}: {report}");
            let found = builder(&storage).verify("/db").expect("verify");
            assert!(found.is_clean(), "{what}: {found}");
            assert_eq!(rows_left(&storage), 400, "{what}");
            assert!(repair(&storage).problems.is_empty(), "{what}");
        }
        assert!(seen >= 5, "{format}: {seen} kinds of damage are seen");
    }
}
