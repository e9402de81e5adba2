//! What `stats` and the metrics tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use kodiak::{Builder, Db, MemoryStorage, Table, TableSchema};
use kodiak_tests::factors::small;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

fn open() -> (Db, Table) {
    let mut settings = small();
    settings.metrics.enabled = true;
    settings.compaction.threads = 1;
    settings.set("compaction.l0_trigger", "20").expect("a setting");
    let db = Builder::new(settings)
        .storage(Arc::new(MemoryStorage::new()))
        .open("/db")
        .expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    (db, table)
}

/// Three runs in level 0, each with every hundredth part of the same keys.
fn fill(db: &Db, table: &Table) {
    for _ in 0..3 {
        for key in 0..100u32 {
            table.put(key.to_be_bytes(), [0; 50]).expect("put");
        }
        db.flush().expect("flush");
    }
}

#[test]
fn statistics_tell_what_reads_and_space_cost() {
    let (db, table) = open();
    assert_eq!(db.stats().read_amplification(), None);
    assert_eq!(db.stats().tables[0].space_amplification(), None);
    let quiet = db.stats().to_string();
    for untold in ["written", "stalls", "compactions", "runs moved", "cache"] {
        assert!(!quiet.contains(untold), "{quiet}");
    }
    fill(&db, &table);
    assert_eq!(db.stats().tables[0].sorted_runs(), 3, "{}", db.stats());
    for key in 0..100u32 {
        assert!(table.get(key.to_be_bytes()).expect("get").is_some());
    }
    let stats = db.stats();
    assert_eq!(stats.reads.gets, 100);
    assert_eq!(stats.read_amplification(), Some(1.0), "the newest run has every key");
    assert!(stats.write_amplification().is_some_and(|factor| factor > 1.0));
    db.compact().expect("compact");
    table.put(b"more", [0; 50]).expect("put");
    db.flush().expect("flush");
    let stats = db.stats();
    assert_eq!(stats.tables[0].sorted_runs(), 2);
    let factor = stats.tables[0].space_amplification().expect("runs");
    assert!(factor > 1.0 && factor < 2.0, "{stats}");
    let told = stats.to_string();
    for line in [
        "2 sorted runs to merge, space amplification at most 1.",
        "point reads: 100 went to the runs and searched 1.00 each",
        "written: 1",
        "compactions: 1",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
}

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
    metrics::with_local_recorder(&recorder, || {
        let (db, table) = open();
        fill(&db, &table);
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
    });
}
