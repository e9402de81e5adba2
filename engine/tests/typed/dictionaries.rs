//! Dictionaries whose indexes cannot count all the values of a table.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use kodiak::{Db, Settings, TableSchema};

#[test]
fn a_table_may_have_more_values_than_the_index_of_its_dictionary_counts() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut settings = Settings::default();
    settings.format.kind = "row".to_owned();
    let db = Db::open(dir.path(), settings).expect("open");
    let words = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let columns = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int32, false),
        Field::new("word", words, true),
    ]));
    let table = db
        .create_table("t", TableSchema::new(columns.clone(), &["id"]).expect("a schema"))
        .expect("create");
    for from in (0..1000).step_by(100) {
        let words: DictionaryArray<Int8Type> = (from..from + 100)
            .map(|id| (id % 10 != 0).then(|| format!("word {id}")))
            .collect::<Vec<_>>()
            .iter()
            .map(|word| word.as_deref())
            .collect();
        let ids = Int32Array::from_iter_values(from..from + 100);
        let rows = RecordBatch::try_new(columns.clone(), vec![Arc::new(ids), Arc::new(words)]).expect("columns");
        table.insert(&rows).expect("insert");
        if from == 400 {
            db.flush().expect("flush");
        }
    }
    let check = |reverse: bool| {
        let read = table.read();
        let read = if reverse { read.rev() } else { read };
        let mut found = 0;
        for batch in read.batches().expect("read") {
            let batch = batch.expect("a batch that the dictionary can count");
            let texts = arrow::compute::cast(batch.column(1), &DataType::Utf8).expect("texts");
            let ids = batch.column(0).as_primitive::<Int32Type>();
            for (id, text) in ids.values().iter().zip(texts.as_string::<i32>()) {
                assert_eq!(text.map(str::to_owned), (id % 10 != 0).then(|| format!("word {id}")));
                found += 1;
            }
        }
        assert_eq!(found, 1000);
    };
    check(false);
    db.compact().expect("compact");
    check(false);
    check(true);
}
