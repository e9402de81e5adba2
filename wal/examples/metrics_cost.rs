//! Appends to a log with and without metrics, so that their cost can be counted in instructions, which do not depend on the
//! machine's load:
//!
//! ```sh
//! cargo build --release -p kodiak-wal --example metrics_cost
//! for recorder in off none noop atomic; do for appends in 20000 120000; do
//!     valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/metrics_cost $recorder $appends
//! done; done
//! ```
//!
//! The difference of the two counts, through 100,000, is what one append of 16 + 100 bytes takes: with metrics switched `off`,
//! with them on and `none` to record them, with a recorder that does nothing (`noop`), and with one that adds to atomics, as
//! exporters do (`atomic`). A third argument names the log.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use kodiak_core::batch::Batch;
use kodiak_core::options::Options;
use kodiak_core::wal::{SyncMode, Wal, WalContext};
use kodiak_core::{Op, Result};
use kodiak_storage::LocalStorage;
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, NoopRecorder, Recorder, SharedString, Unit,
    with_local_recorder,
};

/// Counters and gauges in atomics, histograms as all their values.
#[derive(Debug, Default)]
struct Atomic {
    counters: Mutex<Vec<(String, Arc<AtomicU64>)>>,
}

#[derive(Debug, Default)]
struct Values(Mutex<Vec<f64>>);

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(value);
    }
}

impl Recorder for Atomic {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let counter = Arc::new(AtomicU64::new(0));
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters.push((key.name().to_owned(), counter.clone()));
        Counter::from_arc(counter)
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(AtomicU64::new(0)))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Values::default()))
    }
}

fn open(dir: &Path, kind: &str, metrics: bool) -> Result<Box<dyn Wal>> {
    let factory = kodiak_wal::ALL.iter().find(|factory| factory.component.name == kind);
    let factory = factory.unwrap_or(&kodiak_wal::ALL[0]);
    let context = WalContext {
        storage: Arc::new(LocalStorage),
        database: 1,
        dir: dir.to_owned(),
        segment_bytes: 64 << 20,
        max_record_bytes: 16 << 20,
        compress_above: None,
        direct_io: true,
        keep_awake: true,
        metrics,
    };
    (factory.open)(context, &Options::defaults(factory.component.options), 1)
}

/// Returns what the recorder has counted of the appends, if it counts.
fn append(recorder: &str, kind: &str, count: u64) -> Result<Option<u64>> {
    let dir = tempfile::tempdir().map_err(|error| kodiak_core::Error::invalid_input(error.to_string()))?;
    let atomic = Atomic::default();
    // A log asks for its handles when it is opened.
    let wal = match recorder {
        "off" => open(dir.path(), kind, false),
        "noop" => with_local_recorder(&NoopRecorder, || open(dir.path(), kind, true)),
        "atomic" => with_local_recorder(&atomic, || open(dir.path(), kind, true)),
        _ => open(dir.path(), kind, true),
    }?;
    let mut batch = Batch::new();
    batch.push(1, Op::Put, b"0123456789abcdef", &[0x5A; 100]);
    for now in 0..count {
        wal.append(&batch, now, SyncMode::Normal)?;
    }
    wal.close()?;
    let counters = atomic.counters.lock().unwrap_or_else(PoisonError::into_inner);
    let records = counters.iter().find(|(name, _)| name == "kodiak_wal_records_total");
    Ok(records.map(|(_, counter)| counter.load(std::sync::atomic::Ordering::Relaxed)))
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |index: usize| arguments.get(index).map(String::as_str);
    let count = argument(1).and_then(|count| count.parse().ok()).unwrap_or(20_000);
    let recorder = argument(0).unwrap_or("off");
    let recorded = append(recorder, argument(2).unwrap_or("mapped"), count)?;
    println!("{recorder}: {count} appends, recorded: {recorded:?}");
    Ok(())
}

#[cfg(test)]
#[test]
fn only_a_recorder_that_counts_has_counted() {
    for kind in ["mapped", "segment"] {
        for (recorder, recorded) in [("off", None), ("none", None), ("noop", None), ("atomic", Some(3000))] {
            assert_eq!(
                append(recorder, kind, 3000).expect("appends"),
                recorded,
                "{kind}, {recorder}"
            );
        }
    }
}
