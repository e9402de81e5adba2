//! Dictionaries of tables are plain values in every published file.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use kodiak::core::storage::Storage;
use kodiak::{Builder, MemoryStorage, TableOptions, TableSchema};

use super::{read_published, settings};

#[test]
fn merged_rows_have_the_types_of_the_files_beside_them() {
    let storage = Arc::new(MemoryStorage::new());
    let db = Builder::new(settings("feather"))
        .storage(storage.clone())
        .open("/db")
        .expect("open");
    let words = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let columns = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("word", words.clone(), true),
        Field::new("number", DataType::Int32, true),
    ]);
    let schema = TableSchema::new(Arc::new(columns), &["id"]).expect("valid");
    let options = TableOptions::new().merge_operator("last-non-null");
    let table = db.create_table_with("t", schema, options).expect("create");
    let ids = |ids: &[i64]| -> ArrayRef { Arc::new(Int64Array::from(ids.to_vec())) };
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "a"]));
    let words = arrow::compute::cast(&texts, &words).expect("a dictionary");
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
    let rows = [
        ("id", ids(&[1, 2, 3]), false),
        ("word", words, true),
        ("number", numbers, true),
    ];
    table
        .insert(&RecordBatch::try_from_iter_with_nullable(rows).expect("rows"))
        .expect("insert");
    db.compact().expect("compact");
    let changed: ArrayRef = Arc::new(Int32Array::from(vec![20]));
    let some = [("id", ids(&[2]), false), ("number", changed, true)];
    table
        .update(&RecordBatch::try_from_iter_with_nullable(some).expect("rows"))
        .expect("update");
    db.flush().expect("flush");
    let published = table.publish().expect("publish");
    assert_eq!(published.merged_rows, 1);
    let names = storage.list(&published.dir).expect("list");
    let files: Vec<&String> = names
        .iter()
        .filter(|name| name.ends_with(".arrow") || name.ends_with(".feather"))
        .collect();
    assert!(files.len() >= 2, "{names:?}");
    for name in files {
        let file = storage.open(&published.dir.join(name)).expect("open");
        let bytes = file.read(0, file.len() as usize).expect("read");
        let reader = arrow::ipc::reader::FileReader::try_new(std::io::Cursor::new(bytes.as_slice()), None);
        let schema = reader.expect("a Feather file").schema();
        assert_eq!(
            schema.field_with_name("word").expect("a column").data_type(),
            &DataType::Utf8,
            "{name}"
        );
    }
    assert_eq!(read_published(&*storage, &published.dir).values().sum::<usize>(), 3);
}
