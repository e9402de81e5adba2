//! What a recorder of metrics is told. It is the process's only one, and so is this test.

use std::collections::BTreeMap;
use std::sync::Arc;

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
    settings.set("compaction.l0_trigger", "20").expect("a setting");
    let db = Builder::new(settings)
        .storage(Arc::new(MemoryStorage::new()))
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
    // A table that is gone has nothing.
    drop(table);
    db.drop_table("t").expect("drop");
    db.stats();
    assert_eq!(told(&snapshotter).get("kodiak_level_runs t 0"), Some(&0.0));
}
