//! Small databases with an index, and questions to them.

use std::path::PathBuf;
use std::sync::Arc;

use kodiak::core::options::OptionValue;
use kodiak::core::storage::Storage;
use kodiak::{Builder, Db, Settings, Table, TableSchema};

use crate::common::{small, table_files};

pub const KINDS: [&str; 2] = ["bplus", "fractal"];

/// Small databases, with the smallest nodes and pool.
pub fn settings(kind: &str) -> Settings {
    let mut settings = small();
    kind.clone_into(&mut settings.index.primary);
    settings.index.pool = 1 << 20;
    let sizes: &[(&str, u64)] = match kind {
        "bplus" => &[("page_size", 4 << 10)],
        "fractal" => &[("node_size", 16 << 10), ("basement_size", 4 << 10)],
        _ => &[],
    };
    for (name, size) in sizes {
        let value = OptionValue::Int(*size);
        settings.index.options.insert((*name).to_owned(), value);
    }
    // Runs gather on level 0.
    settings
        .compaction
        .options
        .insert("l0_trigger".to_owned(), OptionValue::Int(100));
    (settings.backpressure.l0_slowdown, settings.backpressure.l0_stop) = (100, 200);
    settings
}

pub fn builder(storage: &Arc<impl Storage + 'static>, kind: &str) -> Builder {
    Builder::new(settings(kind)).storage(Arc::clone(storage) as Arc<dyn Storage>)
}

pub fn open(storage: &Arc<impl Storage + 'static>, kind: &str) -> Db {
    builder(storage, kind).open("/db").expect("open")
}

pub fn index_files(storage: &dyn Storage) -> Vec<PathBuf> {
    table_files(storage, "/db/tables/000001", ".index")
}

pub fn table(db: &Db) -> Table {
    db.table_or_create("t", TableSchema::key_value()).expect("table")
}

pub fn key(number: u32) -> String {
    format!("key{number:05}")
}

/// Runs that all have the same keys, with one value each.
pub fn overlapping_runs(table: &Table, db: &Db, runs: u32) {
    for run in 0..runs {
        for number in 0..200 {
            table
                .put(key(number), format!("value {number} of run {run}"))
                .expect("put");
        }
        db.flush().expect("flush");
    }
}

/// The number of runs that `work` has searched.
pub fn searched(db: &Db, work: impl FnOnce()) -> u64 {
    let before = db.stats().reads.runs;
    work();
    db.stats().reads.runs - before
}

pub fn check_sound(db: &Db) {
    let report = db.verify().expect("verify");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.indexes, report.tables, "not every table has an index");
}
