//! What a recorder of metrics is told. It is the process's only one, and so is this test.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use kodiak::core::storage::Storage;
use kodiak::{Builder, MemoryStorage, TableSchema};
use kodiak_tests::factors::small;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

/// The numbers that a recorder has, by name and labels.
fn told(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let metrics = snapshotter.snapshot().into_vec().into_iter();
    let number = |value| match value {
        DebugValue::Counter(count) => count as f64,
        DebugValue::Gauge(value) => value.into_inner(),
        DebugValue::Histogram(values) => values.len() as f64,
    };
    metrics
        .map(|(key, _, _, value)| {
            let labels: Vec<_> = key.key().labels().map(|label| label.value().to_owned()).collect();
            (format!("{} {}", key.key().name(), labels.join(" ")), number(value))
        })
        .collect()
}

#[test]
fn a_recorder_of_metrics_gets_the_same_numbers() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().expect("the only recorder");
    let mut settings = small();
    settings.metrics.enabled = true;
    settings.publish.continuous = true;
    let storage = Arc::new(MemoryStorage::new());
    settings.set("compaction.l0_trigger", "20").expect("a setting");
    let db = Builder::new(settings)
        .storage(storage.clone())
        .open("/db")
        .expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    for _ in 0..3 {
        for key in 0..100u32 {
            table.put(key.to_be_bytes(), [0; 50]).expect("put");
        }
        db.flush().expect("flush");
    }
    for key in 0..50u32 {
        table.get(key.to_be_bytes()).expect("get");
    }
    let stats = db.stats();
    let now = told(&snapshotter);
    let level = &stats.tables[0].levels[0];
    for (name, expected) in [
        ("kodiak_user_writes ", 300.0),
        ("kodiak_flush_seconds ", 3.0),
        ("kodiak_run_gets_total ", 50.0),
        ("kodiak_runs_searched_total ", stats.reads.runs as f64),
        ("kodiak_runs_excluded_total ", stats.reads.excluded as f64),
        ("kodiak_cache_misses_total ", stats.cache.misses as f64),
        ("kodiak_memory_bytes ", stats.memory_bytes() as f64),
        ("kodiak_level_runs t 0", 3.0),
        ("kodiak_level_bytes t 0", level.bytes as f64),
    ] {
        assert_eq!(now.get(name), Some(&expected), "{name}: {now:?}");
    }
    // What is published in the background.
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    let typed = db
        .create_table("typed", TableSchema::new(schema.clone(), &["id"]).expect("valid"))
        .expect("create");
    for id in 0..3 {
        let ids = Arc::new(Int64Array::from(vec![id]));
        typed
            .insert(&RecordBatch::try_new(schema.clone(), vec![ids]).expect("columns"))
            .expect("insert");
        db.flush().expect("flush");
        db.wait_idle().expect("idle");
    }
    let tables = db.stats().tables;
    let published: Vec<_> = tables.iter().filter_map(|table| table.publication.as_ref()).collect();
    assert!(published.len() == 1 && published[0].publications >= 3, "{published:?}");
    let now = told(&snapshotter);
    assert_eq!(
        now.get("kodiak_publication_seconds "),
        Some(&(published[0].publications as f64))
    );
    assert_eq!(now.get("kodiak_publication_failures_total "), Some(&0.0));
    // A directory in the way of the record's successor.
    let record = format!("/db/published/{:06}/PUBLISHED.json.new", typed.id());
    storage.create_dir_all(Path::new(&record)).expect("a directory");
    let ids = Arc::new(Int64Array::from(vec![9]));
    typed
        .insert(&RecordBatch::try_new(schema.clone(), vec![ids]).expect("columns"))
        .expect("insert");
    db.flush().expect("flush");
    db.wait_idle().expect_err("it cannot be published");
    assert_eq!(told(&snapshotter).get("kodiak_publication_failures_total "), Some(&1.0));
    // A table that is gone has nothing.
    drop(table);
    db.drop_table("t").expect("drop");
    db.stats();
    assert_eq!(told(&snapshotter).get("kodiak_level_runs t 0"), Some(&0.0));
}
